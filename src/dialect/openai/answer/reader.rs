//! From chunks to events, with all that servers make of OpenAI's format.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::details::Detail;
use super::super::error::{fault_in, fault_in_body, fault_of_text};
use super::super::field::Field;
use super::super::logprobs;
use super::calls::Calls;
use super::chunk::{CallDelta, Choice, Chunk, Delta, Piece, Timings};
use super::sources::Sources;
use super::stream::Reads;
use crate::ir::{Event, Fault, Finish, Text, ToolNames, Usage};
use crate::wire::json;

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

/// Endings that are failures: OpenRouter's, and DeepSeek's when it is short of machines.
const FAILURES: &[&str] = &["error", "insufficient_system_resource"];

/// So many chunks, or tokens, without anything that can be read are no empty answer, but one in an unknown form.
const TOO_MANY_EMPTY: u64 = 16;

pub(super) struct Reader {
    names: ToolNames,
    started: bool,
    /// Something of the answer could be read.
    said: bool,
    finished: bool,
    over: bool,
    calls: Calls,
    sources: Sources,
    empty: u64,
}

impl Reader {
    pub(super) fn new(names: ToolNames) -> Self {
        Reader {
            names,
            started: false,
            said: false,
            finished: false,
            over: false,
            calls: Calls::default(),
            sources: Sources::default(),
            empty: 0,
        }
    }

    /// `[DONE]`: the server says that this was all, be it without a reason.
    fn done(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        match self.finished || self.said {
            true => self.complete(emit),
            false => self.fail(Fault::incomplete(), emit),
        }
    }

    fn complete(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.finish(Finish::Stop, None, emit);
        if !self.over {
            self.over = true;
            emit(Event::End);
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let choice = chunk.choices.and_then(|choices| choices.0);
        let was_said = self.said;
        self.start(chunk.id, chunk.model, choice.is_some(), emit);
        if let Some(array) = chunk.search_results {
            self.sources.replace(array);
        }
        if let Some(array) = chunk.citations {
            self.sources.addresses(array);
        }
        let mut quiet = true;
        if let Some(choice) = choice {
            quiet = self.choice(choice, emit);
        }
        if self.over {
            return;
        }
        let usage = usage_of(chunk.usage.map(|counts| counts.usage()), chunk.timings);
        if usage != Usage::default() {
            quiet = false;
            emit(Event::Usage(usage));
        }
        if quiet && was_said == self.said {
            emit(Event::Ping);
        }
    }

    /// Azure's first chunks have neither id nor model, and no choice.
    fn start(
        &mut self,
        id: Field<'_>,
        model: Field<'_>,
        has_choice: bool,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        if self.started {
            return;
        }
        let (id, model) = (full(id), full(model));
        if has_choice || id.is_some() {
            self.started = true;
            emit(Event::Start { id, model });
        }
    }

    /// Whether the choice said nothing.
    fn choice(&mut self, choice: Choice<'_>, emit: &mut dyn FnMut(Event<'_>)) -> bool {
        if let Some(error) = choice.error {
            self.fail(fault_in(error), emit);
            return false;
        }
        let reason = full(choice.finish_reason);
        if let Some(reason) = &reason
            && FAILURES.contains(&reason.as_escaped())
        {
            self.fail(fault_of_text(""), emit);
            return false;
        }
        if self.finished {
            return true;
        }
        let mut spoke = false;
        if let Some(text) = full(choice.text) {
            spoke = true;
            emit(Event::Text(text));
        }
        if let Some(delta) = choice.delta.or(choice.message) {
            spoke |= self.delta(delta, emit);
            if self.over {
                return false;
            }
        }
        if let Some(array) = choice.logprobs.and_then(logprobs::read) {
            emit(Event::Logprobs(array));
        }
        self.said |= spoke;
        self.empty += u64::from(!spoke);
        let Some(reason) = reason else {
            return !spoke;
        };
        let known = FINISHES
            .iter()
            .find(|(name, _)| *name == reason.as_escaped());
        let finish = known.map_or(Finish::Stop, |(_, finish)| *finish);
        self.finish(finish, choice.stop_reason.and_then(Text::of), emit);
        false
    }

    fn finish(&mut self, reason: Finish, stop: Option<Text<'_>>, emit: &mut dyn FnMut(Event<'_>)) {
        if self.finished {
            return;
        }
        if !self.said && reason == Finish::Stop && self.empty > TOO_MANY_EMPTY {
            return self.fail(unreadable(), emit);
        }
        self.finished = true;
        self.calls.end(emit);
        self.sources.emit(emit);
        emit(Event::Finish { reason, stop });
    }

    /// Whether the delta said anything.
    fn delta(&mut self, delta: Delta<'_>, emit: &mut dyn FnMut(Event<'_>)) -> bool {
        let mut spoke = false;
        // Servers that know both names say the same under both.
        let thinking = full(delta.reasoning_content).or_else(|| full(delta.reasoning));
        let told = thinking.is_some();
        if let Some(text) = thinking {
            spoke = true;
            emit(Event::Thinking(text));
        }
        if let Some(array) = delta.reasoning_details {
            spoke |= thoughts(array, told, emit);
        }
        if let Some(content) = delta.content {
            spoke |= say(content, emit);
        }
        if let Some(text) = full(delta.refusal) {
            spoke = true;
            emit(Event::Refusal(text));
        }
        if let Some(calls) = delta.tool_calls {
            match serde_json::from_str::<Vec<CallDelta<'_>>>(calls.get()) {
                Ok(calls) => {
                    for call in calls {
                        self.calls.delta(call, &self.names, emit);
                    }
                }
                Err(_) => self.fail(
                    Fault::garbled("the provider's tool calls are no list"),
                    emit,
                ),
            }
        }
        if let Some(function) = delta.function_call {
            self.calls.function(function, &self.names, emit);
        }
        if let Some(array) = delta.annotations {
            self.sources.annotations(array);
        }
        spoke || !self.calls.is_empty()
    }
}

impl Reads for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_fresh(&self) -> bool {
        !self.started && !self.over
    }

    fn event(&mut self, name: &[u8], data: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let data = data.trim_ascii();
        if self.over || data.is_empty() {
            return;
        }
        if data.starts_with(b"[DONE]") {
            return self.done(emit);
        }
        if data.starts_with(b"[") {
            // Google's compatible form has errors in a list.
            return self.fail(fault_in_body(data), emit);
        }
        match json::parse::<Chunk<'_>>(data) {
            Ok(chunk) if name == b"error" || is_error(&chunk) => {
                self.fail(fault_in_body(data), emit)
            }
            Ok(chunk) => self.chunk(chunk, emit),
            Err(_) => self.fail(
                Fault::garbled("the provider's stream holds what is no chunk"),
                emit,
            ),
        }
    }

    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        if body.trim_ascii_start().starts_with(b"[") {
            return self.fail(fault_in_body(body), emit);
        }
        let Ok(chunk) = json::parse::<Chunk<'_>>(body) else {
            return self.fail(
                Fault::garbled("the provider's answer is no JSON object"),
                emit,
            );
        };
        if is_error(&chunk) {
            return self.fail(fault_in_body(body), emit);
        }
        let output = chunk.usage.as_ref().and_then(|counts| {
            let usage = counts.usage();
            Some(usage.output? - usage.reasoning.unwrap_or(0).min(usage.output?))
        });
        let is_answer = chunk
            .choices
            .as_ref()
            .is_some_and(|choices| choices.0.is_some());
        self.chunk(chunk, emit);
        if self.over {
            return;
        }
        if !is_answer {
            return self.fail(Fault::garbled("the provider's answer has no choice"), emit);
        }
        if !self.said && output.is_some_and(|tokens| tokens > TOO_MANY_EMPTY) {
            return self.fail(unreadable(), emit);
        }
        self.complete(emit);
    }

    /// The body has ended: properly only if the server has said why the answer ends.
    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        match self.finished {
            true => self.complete(emit),
            false => self.fail(Fault::incomplete(), emit),
        }
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.over {
            self.over = true;
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

fn unreadable() -> Fault {
    Fault::garbled("the provider's answer has no text that could be read")
}

/// A string that is not empty.
fn full(field: Field<'_>) -> Option<Text<'_>> {
    field.and_then(Text::of).filter(|text| !text.is_empty())
}

/// Whether a chunk is an error, or has one.
fn is_error(chunk: &Chunk<'_>) -> bool {
    const NOTHING: [&str; 4] = ["false", "{}", "\"\"", "[]"];
    if let Some(error) = chunk.error {
        return !NOTHING.contains(&error.get());
    }
    let named = || full(chunk.object).is_some_and(|object| object.as_escaped() == "error");
    chunk.choices.is_none() && (chunk.detail.is_some() || named())
}

/// A text, or a list of parts. Whether it said anything.
fn say(content: &RawValue, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    if let Some(text) = Text::of(content) {
        if text.is_empty() {
            return false;
        }
        emit(Event::Text(text));
        return true;
    }
    let pieces: Vec<Piece<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    let mut spoke = false;
    for piece in pieces {
        if let Some(text) = full(piece.text) {
            spoke = true;
            emit(Event::Text(text));
        }
        if let Some(thinking) = piece.thinking {
            spoke |= think(thinking, emit);
        }
    }
    spoke
}

fn think(thinking: &RawValue, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    if let Some(text) = full(Some(thinking)) {
        emit(Event::Thinking(text));
        return true;
    }
    let pieces: Vec<Piece<'_>> = serde_json::from_str(thinking.get()).unwrap_or_default();
    let mut spoke = false;
    for text in pieces.into_iter().filter_map(|piece| full(piece.text)) {
        spoke = true;
        emit(Event::Thinking(text));
    }
    spoke
}

/// OpenRouter's details: their texts unless they were `told` already, and their proofs.
fn thoughts(array: &RawValue, told: bool, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    #[derive(Deserialize)]
    struct Details<'a>(#[serde(borrow)] Vec<Detail<'a>>);

    let Ok(Details(details)) = serde_json::from_str(array.get()) else {
        return false;
    };
    let mut spoke = false;
    for detail in details {
        let is_full = |text: &Text<'_>| !text.is_empty();
        let text = detail
            .text
            .filter(is_full)
            .or(detail.summary.filter(is_full));
        if let Some(text) = text.filter(|_| !told) {
            spoke = true;
            emit(Event::Thinking(text));
        }
        let id = detail.id.filter(is_full);
        let (data, redacted) = match detail.data.filter(is_full) {
            Some(data) => (Some(data), id.is_none()),
            None => (detail.signature.filter(is_full), false),
        };
        if let Some(data) = data {
            spoke = true;
            emit(Event::Signature { data, redacted, id });
        }
    }
    spoke
}

fn usage_of(counts: Option<Usage>, timings: Option<Timings>) -> Usage {
    let mut usage = counts.unwrap_or_default();
    if let Some(timings) = timings {
        let nanoseconds = |milliseconds: Option<f64>| {
            // The cast saturates.
            milliseconds
                .map(|time| (time * 1e6) as u64)
                .filter(|time| *time > 0)
        };
        usage.prompt_duration = nanoseconds(timings.prompt_ms);
        usage.output_duration = nanoseconds(timings.predicted_ms);
    }
    usage
}
