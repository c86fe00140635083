//! Paths of the Bedrock runtime. A model's name (an id, an inference profile's id or an ARN) is
//! percent-encoded with nothing but RFC 3986's unreserved characters left as they are.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name as one segment of a path.
pub fn one_segment(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Converse,
    ConverseStream,
    Invoke,
}

impl Call {
    /// The path on the wire, to be signed as it is.
    pub fn path(self, model: &str) -> String {
        let call = match self {
            Call::Converse => "converse",
            Call::ConverseStream => "converse-stream",
            Call::Invoke => "invoke",
        };
        format!("/model/{}/{call}", utf8_percent_encode(model, RESERVED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment() {
        for (model, path) in [
            (
                "anthropic.claude-v2:1",
                "/model/anthropic.claude-v2%3A1/converse",
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/x",
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse",
            ),
            (
                "../a?b#c%2F é",
                "/model/..%2Fa%3Fb%23c%252F%20%C3%A9/converse",
            ),
        ] {
            assert_eq!(Call::Converse.path(model), path);
        }
        assert_eq!(Call::ConverseStream.path("a"), "/model/a/converse-stream");
        assert_eq!(Call::Invoke.path("a"), "/model/a/invoke");
    }
}
