//! How many tokens a prompt has: CountTokens, which is asked with the part of a Converse request that is the prompt.

use serde::Deserialize;

use super::json::put;
use super::path::RuntimeOperation;
use super::request;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::ir::{ChatRequest, Refused};
use crate::wire::json::{Fate, PathStep, prune};

/// What of a Converse request is counted; the rest is refused.
const COUNTED: [&str; 4] = [
    "messages",
    "system",
    "toolConfig",
    "additionalModelRequestFields",
];

/// Returns the request for `target`.
pub(super) fn write(
    chat: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let whole = request::write(chat, target)?;
    let prompt = prune(&whole.body, &mut |way, _| match way {
        [PathStep::Key(key)] if !COUNTED.contains(&&**key) => Fate::Drop,
        _ => Fate::Keep,
    });
    let prompt = prompt.expect("the writer of requests writes JSON");
    let mut body = Vec::with_capacity(prompt.len() + 32);
    put(r#"{"input":{"converse":"#, &mut body);
    body.extend_from_slice(&prompt);
    put("}}", &mut body);
    Ok(ProviderRequest {
        path: RuntimeOperation::CountTokens.path(target.model),
        body,
        ..ProviderRequest::default()
    })
}

/// Reads the number of tokens.
pub(super) fn read(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Count {
        input_tokens: u64,
    }
    let count: Count = serde_json::from_slice(body).ok()?;
    Some(count.input_tokens)
}
