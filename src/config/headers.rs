//! `headers:` of a provider, fields that go with every request to it.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::entries::Entries;
use super::reader::Section;
use super::scalar::{Scalar, text};
use super::yaml::Value;

/// Written by the gateway for each request.
const OWN: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "accept",
    "transfer-encoding",
    "upgrade",
    "te",
];

/// Where kinds put their key.
const KEYS: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

/// A value whose field is named so is as good as a key, and is not printed.
const SECRET: [&str; 5] = ["auth", "key", "token", "secret", "cookie"];

pub(super) struct FieldValue(Arc<str>);

impl Scalar for FieldValue {
    fn read(value: &Value) -> Result<FieldValue, String> {
        text(value)
            .filter(|text| !text.is_empty() && HeaderValue::from_str(text).is_ok())
            .map(|text| FieldValue(text.as_ref().into()))
            .ok_or_else(|| "expected the value of a header field, on one line".into())
    }

    fn write(&self) -> Value {
        (*self.0).into()
    }
}

pub(super) fn used(
    entries: Entries<FieldValue>,
    at: &mut Section<'_, '_>,
) -> Vec<(Arc<str>, Arc<str>)> {
    let mut fields = Vec::new();
    for (name, value) in entries.secret(at, "headers") {
        let mut at = at.section("headers");
        match HeaderName::from_bytes(name.as_bytes()) {
            Err(_) => at.problem(&name, "is no name of a header field"),
            Ok(known) if OWN.contains(&known.as_str()) => {
                at.problem(&name, "is written for each request; remove it");
            }
            Ok(known) if KEYS.contains(&known.as_str()) => {
                at.problem(&name, "is a credential; move it to api_key");
            }
            Ok(_) => fields.push((name.into(), value.0)),
        }
    }
    fields
}

/// Returns the fields as they are printed: what may be a credential is masked.
pub(super) fn written(fields: &[(Arc<str>, Arc<str>)]) -> Entries<FieldValue> {
    let masked = |(name, value): &(Arc<str>, Arc<str>)| {
        let lower = name.to_ascii_lowercase();
        let value = if SECRET.iter().any(|word| lower.contains(word)) {
            "***".into()
        } else {
            Arc::clone(value)
        };
        (name.to_string(), FieldValue(value))
    };
    fields.iter().map(masked).collect()
}
