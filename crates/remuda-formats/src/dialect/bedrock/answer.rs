//! What Converse's whole answer and ConverseStream's events have in common: usage and stop reasons.

use crate::ir::{CacheTtl, Class, Event, Fault, FaultKind, Finish, Text, Usage};
use serde::Deserialize;

/// Cached tokens are not part of `inputTokens`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    /// What was written, by how long it is kept.
    #[serde(default)]
    cache_details: Vec<CacheDetail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    input_tokens: u64,
}

impl CacheDetail {
    fn is_for_an_hour(&self) -> bool {
        CacheTtl::named(self.ttl.as_deref()) == CacheTtl::Hour
    }
}

impl TokenUsage {
    pub(super) fn usage(&self) -> Usage {
        let cached =
            self.cache_read_input_tokens.unwrap_or(0) + self.cache_write_input_tokens.unwrap_or(0);
        Usage {
            prompt: self.input_tokens.map(|tokens| tokens + cached),
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_write_input_tokens,
            cache_write_hour: match &self.cache_details[..] {
                [] => None,
                details => {
                    let hour = details.iter().filter(|detail| detail.is_for_an_hour());
                    Some(hour.map(|detail| detail.input_tokens).sum())
                }
            },
            output: self.output_tokens,
            ..Usage::default()
        }
    }
}

/// What the model thought, or a piece of it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reasoning<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) redacted_content: Option<Text<'a>>,
}

impl Reasoning<'_> {
    /// A signature may come without a text.
    pub(super) fn say(self, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = self.text {
            emit(Event::Thinking(text));
        }
        for (data, redacted) in [(self.signature, false), (self.redacted_content, true)] {
            if let Some(data) = data {
                let id = None;
                emit(Event::Signature { data, redacted, id });
            }
        }
    }
}

/// The fields of the model's own answer that were asked for by `additionalModelResponseFieldPaths`.
#[derive(Deserialize, Default)]
pub(super) struct ModelFields<'a> {
    #[serde(borrow, default)]
    stop_sequence: Option<Text<'a>>,
}

/// Returns why an answer ended, with the stop string that was met.
///
/// # Errors
/// If the model broke down.
pub(super) fn finish<'a>(
    stop_reason: &Text<'_>,
    fields: Option<ModelFields<'a>>,
    called: bool,
) -> Result<(Finish, Option<Text<'a>>), Fault> {
    let reason = match stop_reason.as_escaped() {
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextFull,
        "guardrail_intervened" | "content_filtered" => Finish::Filtered,
        "malformed_model_output" | "malformed_tool_use" => {
            return Err(Fault::new(
                Class::Transient,
                FaultKind::Server,
                "the model wrote what its provider could not read",
            ));
        }
        "tool_use" => Finish::ToolCalls,
        _ if called => Finish::ToolCalls,
        // `end_turn`, `stop_sequence`, and what is not known yet.
        _ => Finish::Stop,
    };
    let stop = fields
        .and_then(|fields| fields.stop_sequence)
        .filter(|_| stop_reason.as_escaped() == "stop_sequence");
    Ok((reason, stop))
}
