//! Where each provider of this family serves an operation.

use crate::dialect::exchange::Target;
use crate::provider::ProviderKind;

/// Returns the path of `operation`, such as `chat/completions`, after the backend's base path.
///
/// Azure has two forms: the deployment in the path and a dated version, or, since 2025, paths as OpenAI has them. Its
/// Responses API names the deployment in the body in both.
pub(super) fn path(target: &Target<'_>, operation: &str) -> String {
    if target.provider.kind != ProviderKind::Azure {
        return format!("/{operation}");
    }
    let Some(version) = target.provider.api_version else {
        return format!("/openai/v1/{operation}");
    };
    match operation {
        "responses" => format!("/openai/responses?api-version={version}"),
        _ => {
            let deployment = percent_encoded(target.model);
            format!("/openai/deployments/{deployment}/{operation}?api-version={version}")
        }
    }
}

/// Returns a name as one segment of a path (RFC 3986 §2.3): nothing in it can end the segment or begin the query.
fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ModelFacts;
    use crate::provider::ProviderProfile;

    #[test]
    fn azure_has_two_forms() {
        let facts = ModelFacts::default();
        let at = |kind, version: Option<&str>, model, operation| {
            let mut provider = ProviderProfile::of_kind("p", kind);
            provider.api_version = version;
            let target = Target {
                model,
                facts: &facts,
                provider,
                stream: false,
            };
            path(&target, operation)
        };
        use ProviderKind::{Azure, OpenAi};
        let dated = Some("2024-10-21");
        assert_eq!(
            at(OpenAi, None, "m", "chat/completions"),
            "/chat/completions"
        );
        assert_eq!(at(Azure, None, "m", "embeddings"), "/openai/v1/embeddings");
        assert_eq!(
            at(Azure, dated, "my/4o ü?", "chat/completions"),
            "/openai/deployments/my%2F4o%20%C3%BC%3F/chat/completions?api-version=2024-10-21"
        );
        assert_eq!(
            at(Azure, dated, "m", "responses"),
            "/openai/responses?api-version=2024-10-21"
        );
    }
}
