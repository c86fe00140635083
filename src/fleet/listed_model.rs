//! A model as a service lists it.

use std::sync::Arc;

/// A model as a service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) name: Arc<str>,
    /// Seconds since 1970.
    pub(super) created: Option<u64>,
    /// Tokens that it holds, prompt and answer together.
    pub(super) context: Option<u64>,
}
