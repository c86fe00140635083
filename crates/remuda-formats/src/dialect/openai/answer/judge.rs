//! What a chunk or a whole answer is: an answer, an error in one of many forms, or neither.

use serde_json::value::RawValue;

use super::super::error::{fault_in, fault_of_text};
use super::super::field::full;
use super::chunk::{CallDelta, Choice, Chunk};
use crate::dialect::events::Unreadable;
use crate::ir::{Fault, Finish, Text};
use crate::wire::json::{self, First};

/// What `finish_reason` means; what is not listed is [`Finish::Stop`].
const FINISHES: &[(&str, Finish)] = &[
    ("length", Finish::Length),
    ("max_tokens", Finish::Length),
    // Mistral's, where the context is full.
    ("model_length", Finish::ContextFull),
    ("tool_calls", Finish::ToolCalls),
    ("function_call", Finish::ToolCalls),
    ("tool_use", Finish::ToolCalls),
    ("content_filter", Finish::Filtered),
    ("refusal", Finish::Filtered),
    ("safety", Finish::Filtered),
    ("SAFETY", Finish::Filtered),
];

/// Endings that are failures: OpenRouter's, vLLM's and SGLang's where the engine gave up, and DeepSeek's when it is
/// short of machines.
const FAILURES: &[&str] = &["error", "abort", "insufficient_system_resource"];

/// Returns what is wrong with the choice of a whole answer; one that was filtered has no message.
pub(super) fn misshapen(choice: &Choice<'_>) -> Option<&'static str> {
    let Some(message) = &choice.message else {
        let is_filtered = full(choice.finish_reason)
            .is_some_and(|reason| FINISHES.contains(&(reason.as_escaped(), Finish::Filtered)));
        let is_bare = choice.text.is_none() && choice.error.is_none() && !is_filtered;
        return is_bare.then_some("the choice of the provider's answer has no message");
    };
    let is_content = |content: &RawValue| content.get().starts_with(['"', '[', '{']);
    let is_other = message.content.is_some_and(|content| !is_content(content));
    is_other.then_some("the content of the provider's answer is not a text")
}

/// Returns the error that a choice has, or ends with.
pub(super) fn failure(choice: &Choice<'_>) -> Option<Fault> {
    if let Some(error) = choice.error.filter(|error| !says_nothing(error)) {
        return Some(fault_in(error));
    }
    let reason = full(choice.finish_reason)?;
    let is = |known: &&str| known.eq_ignore_ascii_case(reason.as_escaped());
    FAILURES.iter().any(is).then(|| fault_of_text(""))
}

/// Reads a chunk, or a whole answer. Google's compatible form has errors in a list.
pub(super) fn read(json: &[u8]) -> Option<Chunk<'_>> {
    match json.trim_ascii_start().first()? {
        b'{' => json::parse(json).ok(),
        b'[' => json::parse::<First<Chunk<'_>>>(json)
            .ok()?
            .0
            .filter(is_error),
        _ => None,
    }
}

/// Returns the tool calls of a choice: a list, or from some servers the only one.
pub(super) fn calls_of<'a>(choice: &Choice<'a>) -> Result<Vec<CallDelta<'a>>, Unreadable> {
    let delta = choice.delta.as_ref().or(choice.message.as_ref());
    let Some(calls) = delta.and_then(|delta| delta.tool_calls) else {
        return Ok(Vec::new());
    };
    if calls.get().starts_with('{') {
        serde_json::from_str(calls.get()).map(|call| vec![call])
    } else {
        serde_json::from_str(calls.get())
    }
    .map_err(|_| Unreadable)
}

/// Returns whether a value stands where another could: servers write empty ones for "none".
pub(super) fn says_nothing(value: &RawValue) -> bool {
    let bare = value
        .get()
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace());
    ["false", "0", "\"\"", "{}", "[]"]
        .iter()
        .any(|nothing| bare.clone().eq(nothing.bytes()))
}

/// Returns whether a chunk is an error, or has one.
pub(super) fn is_error(chunk: &Chunk<'_>) -> bool {
    if chunk.error.is_some_and(|error| !says_nothing(error)) {
        return true;
    }
    let is = |field, word| full(field).is_some_and(|text: Text<'_>| text.as_escaped() == word);
    if is(chunk.object, "error") || is(chunk.kind, "error") {
        return true;
    }
    // A server's framework speaks in words of its own.
    let words = || {
        let of_error = full(chunk.kind)
            .is_none_or(|kind| kind.as_escaped().to_ascii_lowercase().contains("error"));
        of_error && full(chunk.message).is_some()
    };
    let errors = || chunk.errors.is_some_and(|errors| !says_nothing(errors));
    chunk.choices.is_none() && (chunk.detail.is_some() || errors() || words())
}

/// Returns what `finish_reason` means.
pub(super) fn finish_of(reason: &Text<'_>) -> Finish {
    let mut known = FINISHES.iter();
    let found = known.find(|(name, _)| *name == reason.as_escaped());
    found.map_or(Finish::Stop, |(_, finish)| *finish)
}
