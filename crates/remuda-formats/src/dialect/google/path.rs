//! Paths of the API. A model's name is one segment, whatever a client wrote into it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986's unreserved characters stay as they are.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Generate,
    Stream,
    Embed,
    Count,
}

impl Call {
    /// Returns the path after the base path, which ends with the API's version.
    pub(super) fn path(self, model: &str) -> String {
        let call = match self {
            Call::Generate => "generateContent",
            Call::Stream => "streamGenerateContent?alt=sse",
            Call::Embed => "batchEmbedContents",
            Call::Count => "countTokens",
        };
        let (collection, name) = resource(model);
        let name = utf8_percent_encode(name, RESERVED);
        format!("/{collection}/{name}:{call}")
    }
}

/// Returns the collection that a model is in, and its name there.
fn resource(model: &str) -> (&'static str, &str) {
    if let Some(name) = model.strip_prefix("tunedModels/") {
        return ("tunedModels", name);
    }
    ("models", model.strip_prefix("models/").unwrap_or(model))
}

/// Returns the model as a request's body names it.
pub(super) fn model(model: &str) -> String {
    let (collection, name) = resource(model);
    format!("{collection}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        for (model, path) in [
            ("gemini-2.5-pro", "/models/gemini-2.5-pro:generateContent"),
            (
                "models/gemini-3.8-flash",
                "/models/gemini-3.8-flash:generateContent",
            ),
            ("tunedModels/mine", "/tunedModels/mine:generateContent"),
            ("../files/x", "/models/..%2Ffiles%2Fx:generateContent"),
            ("a?key=b#c", "/models/a%3Fkey%3Db%23c:generateContent"),
            ("a:b/../é", "/models/a%3Ab%2F..%2F%C3%A9:generateContent"),
        ] {
            assert_eq!(Call::Generate.path(model), path);
        }
        assert_eq!(
            Call::Stream.path("m"),
            "/models/m:streamGenerateContent?alt=sse"
        );
        assert_eq!(Call::Embed.path("m"), "/models/m:batchEmbedContents");
    }
}
