//! What an error of a provider means, whichever format it speaks.

use http::HeaderMap;

use super::{anthropic, bedrock, google, ollama, openai};
use crate::ir::Fault;
use crate::provider::ProviderKind;

/// Returns what an error answer of a provider means.
pub fn answered(kind: ProviderKind, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    match kind {
        ProviderKind::Ollama => ollama::fault(status, headers, body),
        ProviderKind::Anthropic => anthropic::fault(status, headers, body),
        ProviderKind::Google => google::fault(status, headers, body),
        ProviderKind::Bedrock => bedrock::fault(status, headers, body),
        ProviderKind::OpenAi
        | ProviderKind::OpenAiCompatible
        | ProviderKind::Azure
        | ProviderKind::OpenRouter
        | ProviderKind::Perplexity => openai::fault(status, headers, body),
    }
}

/// Returns what the body of a service's list of models, of status 200, means if it has an `error` and no list;
/// otherwise `None`.
pub fn within(kind: ProviderKind, body: &[u8]) -> Option<Fault> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Option<&'a serde_json::value::RawValue>,
        data: Option<serde::de::IgnoredAny>,
        models: Option<serde::de::IgnoredAny>,
    }
    // Google's OpenAI routes answer with an array of one.
    let start = body.iter().position(|byte| *byte == b'{')?;
    let mut objects = serde_json::Deserializer::from_slice(&body[start..]).into_iter::<Body<'_>>();
    let first = objects.next()?.ok()?;
    if first.error.is_none() || first.data.is_some() || first.models.is_some() {
        return None;
    }
    match kind {
        ProviderKind::Anthropic => Some(anthropic::fault_within(body)),
        ProviderKind::Google => google::fault_within(body),
        ProviderKind::Bedrock => bedrock::fault_within(body),
        _ => Some(openai::fault_within(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::FaultKind;

    const SERVICES: [ProviderKind; 4] = [
        ProviderKind::OpenAiCompatible,
        ProviderKind::OpenAi,
        ProviderKind::Anthropic,
        ProviderKind::Google,
    ];

    #[test]
    fn a_refused_key_is_known_by_its_words_where_its_status_says_nothing() {
        let object = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        let bare = r#"{"error":{"message":"Invalid API key"}}"#;
        let array = format!("[{object}]");
        for kind in SERVICES {
            for body in [object, bare, &array] {
                // Anthropic answers with an object.
                if kind == ProviderKind::Anthropic && body == array {
                    continue;
                }
                let fault = answered(kind, 400, &HeaderMap::new(), body.as_bytes());
                assert_eq!(fault.kind, FaultKind::Credentials, "{kind:?} {body}");
                let fault = within(kind, body.as_bytes()).unwrap();
                assert_eq!(fault.kind, FaultKind::Credentials, "{kind:?} {body}");
            }
            let fault = answered(kind, 402, &HeaderMap::new(), b"{}");
            assert_eq!(fault.kind, FaultKind::Billing, "{kind:?}");
            let other = br#"{"error":{"message":"the field api_key is not known"}}"#;
            let fault = answered(kind, 400, &HeaderMap::new(), other);
            assert_eq!(fault.kind, FaultKind::InvalidRequest, "{kind:?}");
        }
    }

    #[test]
    fn a_list_is_no_error() {
        for kind in SERVICES {
            for body in [
                r#"{"data":[]}"#,
                r#"{"data":[],"error":null}"#,
                r#"{"data":[],"error":{"message":"no more of them"}}"#,
                "[]",
                "<html>",
                "",
                r#"[{"id":"m","error":null}]"#,
            ] {
                assert!(within(kind, body.as_bytes()).is_none(), "{kind:?} {body}");
            }
        }
    }
}
