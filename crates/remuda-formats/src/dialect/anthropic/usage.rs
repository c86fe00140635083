//! Token counts. Anthropic's `input_tokens` leaves out what was read from or written to a cache; the neutral model's prompt
//! counts everything once.

use std::io::Write;

use serde::Deserialize;

use crate::ir::{Finish, Usage};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Creation {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Option<u64>,
}

impl Counts {
    /// Takes later counts, which are totals so far and leave out what has not changed.
    pub(super) fn update(&mut self, later: Counts) {
        fn take(into: &mut Option<u64>, from: Option<u64>) {
            // A zero in a later event means "not told again".
            if from.is_some_and(|tokens| tokens > 0) || into.is_none() {
                *into = from;
            }
        }
        take(&mut self.input_tokens, later.input_tokens);
        take(
            &mut self.cache_creation_input_tokens,
            later.cache_creation_input_tokens,
        );
        take(
            &mut self.cache_read_input_tokens,
            later.cache_read_input_tokens,
        );
        take(&mut self.output_tokens, later.output_tokens);
        if later.cache_creation.is_some() {
            self.cache_creation = later.cache_creation;
        }
        if later.output_tokens_details.is_some() {
            self.output_tokens_details = later.output_tokens_details;
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or(0)
            + self.cache_creation_input_tokens.unwrap_or(0);
        Usage {
            prompt: self.input_tokens.map(|input| input + cached),
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_creation_input_tokens,
            cache_write_hour: self
                .cache_creation
                .and_then(|creation| creation.ephemeral_1h_input_tokens),
            output: self.output_tokens,
            reasoning: self
                .output_tokens_details
                .and_then(|details| details.thinking_tokens),
            ..Usage::default()
        }
    }
}

/// Appends `{"input_tokens":…,…}`.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let read = usage.cache_read.unwrap_or(0);
    let written = usage.cache_write.unwrap_or(0);
    let input = usage.prompt.unwrap_or(0).saturating_sub(read + written);
    let output = usage.output.unwrap_or(0);
    let _ = write!(
        out,
        r#"{{"input_tokens":{input},"cache_creation_input_tokens":{written},"cache_read_input_tokens":{read},"output_tokens":{output}"#
    );
    if let Some(hour) = usage.cache_write_hour {
        let short = written.saturating_sub(hour);
        let _ = write!(
            out,
            r#","cache_creation":{{"ephemeral_5m_input_tokens":{short},"ephemeral_1h_input_tokens":{hour}}}"#
        );
    }
    if let Some(reasoning) = usage.reasoning {
        let _ = write!(
            out,
            r#","output_tokens_details":{{"thinking_tokens":{reasoning}}}"#
        );
    }
    out.push(b'}');
}

/// Returns Anthropic's `stop_reason`.
pub(super) fn stop_reason(reason: Finish, met_stop: bool) -> &'static str {
    match reason {
        Finish::Stop if met_stop => "stop_sequence",
        Finish::Stop | Finish::Load | Finish::Unload => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ContextFull => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
        Finish::Filtered => "refusal",
    }
}

/// Returns what a `stop_reason` means. A turn that was paused for a server's tool ends here: nothing goes on by itself.
pub(super) fn finish(stop_reason: &str) -> Finish {
    match stop_reason {
        "max_tokens" | "pause_turn" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextFull,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Filtered,
        _ => Finish::Stop,
    }
}
