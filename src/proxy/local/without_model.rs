//! Model requests for which no model has to run: tokens that are counted, and what a service need not be asked.

use bytes::Bytes;
use pingora_proxy::Session;

use crate::admin::{self, Page};
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Stop;
use crate::proxy::local::count::counted;
use crate::proxy::prepared::answering;
use crate::proxy::request_filter::scan::Scan;
use crate::routing::Plan;
use crate::settings::ProviderKind;
use remuda_formats::client::{Operation, RequestFacts};
use remuda_formats::dialect::exchange::Reply;
use remuda_formats::dialect::ollama::{self, LoadOrUnload};
use remuda_formats::ir::{EmbedInput, EmbedRequest, Embeddings, Refused};

/// What a model request asks for that needs no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// How many tokens a text has.
    Tokens,
    /// That the model is loaded or unloaded.
    Load(LoadOrUnload),
    /// Vectors of nothing, by which Ollama's clients load a model, too.
    NoVectors,
}

/// Returns the answer to a model request for which no model has to run.
///
/// # Errors
/// [`Stop::ClientGone`] if the client leaves while a provider counts tokens.
pub(crate) async fn answered(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    scan: &Scan<'_>,
    plan: &Plan,
) -> Result<Option<Page>, Stop> {
    let Some(asked) = Asked::by(scan.operation, scan.bytes, &scan.facts) else {
        return Ok(None);
    };
    if asked == Asked::Tokens {
        let counted = Box::pin(counted(gateway, session, ctx, plan, scan.bytes));
        if let Some(page) = counted.await? {
            return Ok(Some(page));
        }
    }
    let service = gateway.planner.service_of(plan);
    if asked == Asked::Tokens {
        let counts =
            service.is_some_and(|(provider, _)| provider.settings.kind == ProviderKind::Anthropic);
        return Ok((!counts).then(|| admin::estimated_tokens(scan.bytes)));
    }
    // Servers do load models.
    let Some((_, own)) = service else {
        return Ok(None);
    };
    let model = answering(&scan.facts.model, &own);
    let reply = gateway.upstreams.reply_to(&ctx.inbound, model);
    Ok(asked.page(scan.operation, &reply))
}

impl Asked {
    /// Finds out whether a request needs no model; `None` if it needs one.
    fn by(operation: Operation, body: &Bytes, facts: &RequestFacts<'_>) -> Option<Asked> {
        if operation == Operation::AnthropicCountTokens {
            return Some(Asked::Tokens);
        }
        if !facts.empty_input {
            return None;
        }
        let is_vectorless = match operation {
            Operation::Embed => embeds_nothing(ollama::embed::read_embed(body)),
            Operation::Embeddings => embeds_nothing(ollama::embed::read_embed_legacy(body)),
            _ => false,
        };
        if is_vectorless {
            Some(Asked::NoVectors)
        } else if operation.streams_by_default() {
            LoadOrUnload::of(facts).map(Asked::Load)
        } else {
            None
        }
    }

    /// Returns the answer of a service that would do nothing; `None` if it has to be asked.
    fn page(self, operation: Operation, reply: &Reply) -> Option<Page> {
        let mut body = Vec::new();
        match self {
            Asked::Tokens => return None,
            Asked::Load(load) if operation == Operation::Generate => {
                ollama::generate::write_load(load, reply, &mut body)
            }
            Asked::Load(load) => ollama::chat::write_load(load, reply, &mut body),
            Asked::NoVectors if operation == Operation::Embed => {
                ollama::embed::write_embeddings(&Embeddings::default(), reply, &mut body)
            }
            Asked::NoVectors => {
                ollama::embed::write_embeddings_legacy(&Embeddings::default(), reply, &mut body)
            }
        }
        Some(Page::raw_json(body.into()))
    }
}

/// Returns whether a request that can be read has no text.
fn embeds_nothing(request: Result<EmbedRequest<'_>, Refused>) -> bool {
    request
        .is_ok_and(|request| matches!(request.input, EmbedInput::Texts(texts) if texts.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_needed_for_whatever_has_input() {
        use Operation::{
            AnthropicCountTokens, AnthropicMessages, Chat, Embed, Embeddings, Generate, OpenAiChat,
        };
        let load = Some(Asked::Load(LoadOrUnload::Load));
        let unload = Some(Asked::Load(LoadOrUnload::Unload));
        for (operation, body, expected) in [
            (Generate, r#"{"model":"m"}"#, load),
            (Generate, r#"{"model":"m","prompt":""}"#, load),
            (Generate, r#"{"model":"m","keep_alive":0}"#, unload),
            (Generate, r#"{"model":"m","prompt":"a"}"#, None),
            (Chat, r#"{"model":"m","messages":[]}"#, load),
            (
                Chat,
                r#"{"model":"m","messages":[],"keep_alive":"0s"}"#,
                unload,
            ),
            (
                Chat,
                r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
                None,
            ),
            (Embed, r#"{"model":"m","input":[]}"#, Some(Asked::NoVectors)),
            (Embed, r#"{"model":"m","input":["a"]}"#, None),
            (Embeddings, r#"{"model":"m"}"#, Some(Asked::NoVectors)),
            (Embeddings, r#"{"model":"m","prompt":"a"}"#, None),
            // Other APIs have no such convention: their providers refuse an empty conversation.
            (OpenAiChat, r#"{"model":"m","messages":[]}"#, None),
            (AnthropicMessages, r#"{"model":"m","messages":[]}"#, None),
            (
                AnthropicCountTokens,
                r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
                Some(Asked::Tokens),
            ),
        ] {
            let bytes = Bytes::from_static(body.as_bytes());
            let facts = remuda_formats::client::scan_request(operation, &bytes).unwrap();
            assert_eq!(Asked::by(operation, &bytes, &facts), expected, "{body}");
        }
    }
}
