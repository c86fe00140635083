//! How many tokens a prompt has: `countTokens`, which is asked with the whole request.

use serde::Deserialize;

use super::json::put;
use super::path::{self, Call};
use super::request;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::ir::{ChatRequest, Refused, Text};

/// Returns the request for `target`.
pub(super) fn write(
    chat: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let whole = request::write(chat, target)?;
    let mut body = Vec::with_capacity(whole.body.len() + 128);
    put(r#"{"generateContentRequest":{"model":"#, &mut body);
    Text::plain(&path::model(target.model)).write(&mut body);
    body.push(b',');
    // It has contents at least.
    body.extend_from_slice(&whole.body[1..]);
    body.push(b'}');
    Ok(ProviderRequest {
        path: Call::Count.path(target.model),
        body,
        ..ProviderRequest::default()
    })
}

/// Reads the number of tokens.
pub(super) fn read(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Count {
        total_tokens: u64,
    }
    let count: Count = serde_json::from_slice(body).ok()?;
    Some(count.total_tokens)
}
