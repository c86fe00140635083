//! Paths of the Bedrock runtime. A model's name (an id, an inference profile's id or an ARN) is
//! percent-encoded with nothing but RFC 3986's unreserved characters left as they are.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns a name as one segment of a path.
pub fn one_segment(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeOperation {
    Converse,
    ConverseStream,
    Invoke,
    /// Counts the tokens of a foundation model, not of a profile for several regions, whose prefix is left out.
    CountTokens,
}

impl RuntimeOperation {
    /// Returns the path on the wire, to be signed as it is.
    pub fn path(self, model: &str) -> String {
        let model = match self {
            RuntimeOperation::CountTokens => foundation(model),
            _ => model,
        };
        let model = utf8_percent_encode(model, RESERVED);
        format!("/model/{model}/{}", self.name())
    }

    fn name(self) -> &'static str {
        match self {
            RuntimeOperation::Converse => "converse",
            RuntimeOperation::ConverseStream => "converse-stream",
            RuntimeOperation::Invoke => "invoke",
            RuntimeOperation::CountTokens => "count-tokens",
        }
    }
}

/// Returns the model of a cross-region inference profile; any other name is returned as it is.
fn foundation(model: &str) -> &str {
    const REGIONS: [&str; 8] = [
        "us.", "us-gov.", "eu.", "apac.", "jp.", "au.", "ca.", "global.",
    ];
    let own = REGIONS.iter().find_map(|region| model.strip_prefix(region));
    own.filter(|own| own.contains('.')).unwrap_or(model)
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
            assert_eq!(RuntimeOperation::Converse.path(model), path);
        }
        assert_eq!(
            RuntimeOperation::ConverseStream.path("a"),
            "/model/a/converse-stream"
        );
        assert_eq!(RuntimeOperation::Invoke.path("a"), "/model/a/invoke");
        let count = |model| RuntimeOperation::CountTokens.path(model);
        assert_eq!(
            count("us.anthropic.claude-v2"),
            "/model/anthropic.claude-v2/count-tokens"
        );
        assert_eq!(count("us.claude"), "/model/us.claude/count-tokens");
        assert_eq!(count("meta.llama"), "/model/meta.llama/count-tokens");
    }
}
