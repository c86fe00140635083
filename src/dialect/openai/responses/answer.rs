//! From a provider's events, or its whole response, to those of the neutral model.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::answer::Reads;
use super::super::error::{fault_in, fault_in_body, fault_of_text};
use super::super::field::Field;
use super::calls::Calls;
use super::item::{Happened, Item, Responded, filled, full, pieces};
use super::sources::Sources;
use crate::ir::{Event, Fault, Finish, Json, Text, ToolNames};
use crate::wire::json;

/// So many tokens without anything that can be read are no empty answer, but one in an unknown form.
const TOO_MANY_EMPTY: u64 = 16;

/// The place in a list of what a response holds in the end.
type Place = Option<u64>;

pub(super) struct Reader {
    names: ToolNames,
    started: bool,
    over: bool,
    /// Something of the answer could be read.
    said: bool,
    /// Of the message, or the reasoning, that is being told: its text has come in pieces.
    told_text: bool,
    told_thought: bool,
    sources: Sources,
    calls: Calls,
}

impl Reader {
    pub(super) fn new(names: ToolNames) -> Self {
        Reader {
            names,
            started: false,
            over: false,
            said: false,
            told_text: false,
            told_thought: false,
            sources: Sources::default(),
            calls: Calls::default(),
        }
    }

    fn happened(&mut self, happened: Happened<'_>, data: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let kind = full(happened.kind).unwrap_or_default();
        let place = happened
            .output_index
            .and_then(|index| index.get().parse().ok());
        match kind.as_escaped() {
            "response.output_text.delta" => self.say(&happened, emit),
            "response.function_call_arguments.delta" => {
                if let Some(fragment) = full(happened.delta) {
                    self.calls.delta(happened.item_id, place, fragment, emit);
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if let Some(text) = full(happened.delta) {
                    self.think(text, emit);
                }
            }
            "response.reasoning_summary_part.added" => {
                // The parts of a summary stand apart.
                let is_first = happened
                    .summary_index
                    .is_none_or(|index| index.get() == "0");
                if !is_first && self.told_thought {
                    self.think(Text::escaped(r"\n\n"), emit);
                }
            }
            "response.refusal.delta" => {
                if let Some(text) = full(happened.delta) {
                    self.told_text = true;
                    self.said = true;
                    emit(Event::Refusal(text));
                }
            }
            "response.output_item.added" => match happened.item.map(item) {
                Some(item) if is(&item, "function_call") => {
                    self.said = true;
                    self.calls.begin(&item, place, &self.names, emit);
                }
                _ => emit(Event::Ping),
            },
            "response.output_item.done" => {
                if let Some(item) = happened.item.map(item) {
                    self.item(&item, place, emit);
                }
            }
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(&response(happened.response), emit);
                emit(Event::Ping);
            }
            "response.completed" | "response.incomplete" => {
                self.complete(response(happened.response), emit);
            }
            "response.failed" | "response.cancelled" | "error" => {
                self.fail(failure(&happened, data), emit);
            }
            _ => match full(happened.thought) {
                // Perplexity's: one event for each thing that it does.
                Some(thought) => {
                    if self.told_thought {
                        self.think(Text::escaped(r"\n\n"), emit);
                    }
                    self.think(thought, emit);
                }
                // An error without a type.
                None if kind.is_empty() && happened.error.is_some() => {
                    self.fail(fault_in_body(data), emit);
                }
                None => emit(Event::Ping),
            },
        }
    }

    fn start(&mut self, response: &Responded<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let (id, model) = (full(response.id), full(response.model));
        if !self.started && (id.is_some() || model.is_some()) {
            self.started = true;
            emit(Event::Start { id, model });
        }
    }

    fn say(&mut self, happened: &Happened<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = full(happened.delta) {
            self.told_text = true;
            self.said = true;
            emit(Event::Text(text));
        }
        if let Some(logprobs) = filled(happened.logprobs) {
            emit(Event::Logprobs(Json::of(logprobs)));
        }
    }

    fn think(&mut self, text: Text<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        self.told_thought = true;
        self.said = true;
        emit(Event::Thinking(text));
    }

    /// An item that is whole. What was told of it in pieces is not told again.
    fn item(&mut self, item: &Item<'_>, place: Place, emit: &mut dyn FnMut(Event<'_>)) {
        match full(item.kind).unwrap_or_default().as_escaped() {
            "message" => {
                if !std::mem::replace(&mut self.told_text, false) {
                    self.message(item, emit);
                }
            }
            "function_call" => {
                self.said = true;
                self.calls.end(item, place, &self.names, emit);
            }
            "reasoning" => self.reasoning(item, emit),
            "search_results" => {
                if let Some(results) = filled(item.results) {
                    self.sources.add(results, emit);
                }
            }
            _ => emit(Event::Ping),
        }
    }

    fn message(&mut self, item: &Item<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        for piece in pieces(item.content) {
            if let Some(text) = full(piece.text) {
                self.said = true;
                emit(Event::Text(text));
            }
            if let Some(refusal) = full(piece.refusal) {
                self.said = true;
                emit(Event::Refusal(refusal));
            }
            if let Some(logprobs) = filled(piece.logprobs) {
                emit(Event::Logprobs(Json::of(logprobs)));
            }
        }
    }

    fn reasoning(&mut self, item: &Item<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.told_thought, false) {
            // The words themselves, or what they come to.
            let words = match filled(item.content) {
                None => item.summary,
                content => content,
            };
            let mut is_first = true;
            for text in pieces(words)
                .into_iter()
                .filter_map(|piece| full(piece.text))
            {
                if !std::mem::replace(&mut is_first, false) {
                    emit(Event::Thinking(Text::escaped(r"\n\n")));
                }
                self.said = true;
                emit(Event::Thinking(text));
            }
        }
        if let Some(data) = full(item.encrypted_content) {
            let id = full(item.id);
            emit(Event::Signature {
                data,
                redacted: false,
                id,
            });
        }
    }

    /// The response has come to its end.
    fn complete(&mut self, response: Responded<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        self.start(&response, emit);
        let status = full(response.status).unwrap_or_default();
        let error = response.error.filter(|error| error.get() != "{}");
        match (error, status.as_escaped()) {
            (Some(error), _) => return self.fail(fault_in(error), emit),
            (None, "failed" | "cancelled") => return self.fail(fault_of_text(""), emit),
            (None, "queued" | "in_progress") => return self.fail(Fault::incomplete(), emit),
            _ => {}
        }
        let usage = response.usage.map(|counts| counts.usage());
        // What was told item by item is repeated here.
        let (unsaid, unfound) = (!self.said, self.sources.is_empty());
        for (place, raw) in response.output.into_iter().flatten().enumerate() {
            let item = item(raw);
            let untold = match is(&item, "search_results") {
                true => unfound,
                false => unsaid,
            };
            if untold {
                self.item(&item, u64::try_from(place).ok(), emit);
            }
        }
        let words = usage.and_then(|usage| {
            let output = usage.output?;
            Some(output - usage.reasoning.unwrap_or(0).min(output))
        });
        let finish = finish(
            &status,
            response.incomplete_details.and_then(|why| why.reason),
        );
        if !self.said && finish == Finish::Stop && words.is_some_and(|words| words > TOO_MANY_EMPTY)
        {
            let fault = Fault::garbled("the provider's answer has no text that could be read");
            return self.fail(fault, emit);
        }
        self.calls.end_all(emit);
        if let Some(usage) = usage {
            emit(Event::Usage(usage));
        }
        emit(Event::Finish {
            reason: finish,
            stop: None,
        });
        self.over = true;
        emit(Event::End);
    }
}

impl Reads for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_fresh(&self) -> bool {
        !self.started && !self.said && !self.over
    }

    fn event(&mut self, _: &[u8], data: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let data = data.trim_ascii();
        // Some servers end every stream as those of chat completions end.
        if self.over || data.is_empty() || data.starts_with(b"[DONE]") {
            return;
        }
        match json::parse::<Happened<'_>>(data) {
            Ok(happened) if data.starts_with(b"{") => self.happened(happened, data, emit),
            _ => self.fail(
                Fault::garbled("the provider's stream holds what is no event"),
                emit,
            ),
        }
    }

    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        match json::parse::<Responded<'_>>(body) {
            Ok(response) if response.status.is_some() || response.output.is_some() => {
                self.complete(response, emit);
            }
            Ok(response) if response.error.is_some() => self.fail(fault_in_body(body), emit),
            _ => self.fail(Fault::garbled("the provider's answer is no response"), emit),
        }
    }

    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.fail(Fault::incomplete(), emit);
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.over, true) {
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

/// An item; one that cannot be read is of no known type.
fn item(raw: &RawValue) -> Item<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn is(item: &Item<'_>, kind: &str) -> bool {
    full(item.kind).is_some_and(|is| is.as_escaped() == kind)
}

fn response(field: Field<'_>) -> Responded<'_> {
    field
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// The error of an event: in its response, in itself as Perplexity has it, or spread over it.
fn failure(happened: &Happened<'_>, data: &[u8]) -> Fault {
    match response(happened.response).error.or(happened.error) {
        Some(error) => fault_in(error),
        None => fault_in_body(data),
    }
}

/// Why a response ended. There is no word for calls: items show them.
fn finish(status: &Text<'_>, reason: Field<'_>) -> Finish {
    if status.as_escaped() != "incomplete" {
        return Finish::Stop;
    }
    match full(reason).unwrap_or_default().as_escaped() {
        "content_filter" => Finish::Filtered,
        _ => Finish::Length,
    }
}
