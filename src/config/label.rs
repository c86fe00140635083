//! Names that the operator gives: of client keys, and of what gateways share.

use std::sync::Arc;

use super::scalar::{Scalar, text};
use super::yaml::Value;

/// A name that goes into logs and metrics.
#[derive(Clone)]
pub(super) struct Label(pub(super) Arc<str>);

impl Scalar for Label {
    fn read(value: &Value) -> Result<Label, String> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        text(value)
            .filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(known))
            .map(|name| Label(name.as_ref().into()))
            .ok_or_else(|| "expected a name of up to 64 letters, digits, and - _ .".into())
    }

    fn write(&self) -> Value {
        (*self.0).into()
    }
}
