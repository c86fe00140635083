//! From a provider's events, or its whole response, to those of the neutral model.

mod complete;
mod items;
mod parts;
mod untidy;

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use super::super::error::{fault_in, fault_in_body, fault_in_words};
use super::super::field::{Field, full};
use super::calls::Calls;
use super::entry::{Kind, Part};
use super::item::{Happened, Item, Responded, filled};
use super::sources::Sources;
use super::told::{At, Told};
use crate::dialect::events::{Reads, Unreadable};
use crate::ir::{Event, Fault, Json, Text, ToolNames};
use crate::wire::json;
use untidy::{is_untidy, is_untidy_item};

/// The place in a list of what a response holds in the end.
type Place = Option<u64>;

pub(super) struct Reader {
    started: bool,
    over: bool,
    /// It is one body rather than a stream.
    whole: bool,
    /// Something of the answer could be read.
    said: bool,
    /// The next words of a thought begin a paragraph.
    thought_breaks: bool,
    sources: Sources,
    told: Told,
    calls: Calls,
    /// Calls that have begun without their name, each by its id or its place.
    nameless: HashSet<Box<str>>,
}

impl Reader {
    pub(super) fn new(names: ToolNames) -> Self {
        Reader {
            started: false,
            over: false,
            whole: false,
            said: false,
            thought_breaks: false,
            sources: Sources::default(),
            told: Told::default(),
            calls: Calls::new(names),
            nameless: HashSet::new(),
        }
    }

    /// # Errors
    /// If nothing says what has happened.
    fn happened(
        &mut self,
        kind: &str,
        happened: Happened<'_>,
        data: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        let at = At {
            id: happened.item_id,
            place: number(happened.output_index),
        };
        let content = Part::Content(number(happened.content_index));
        let refusal = Part::Refusal(number(happened.content_index));
        let summary = Part::Summary(number(happened.summary_index));
        match kind {
            "response.output_text.delta" => {
                self.say(at, content, happened.delta, emit);
                self.log(happened.logprobs, emit);
            }
            "response.refusal.delta" => self.refuse(at, refusal, happened.delta, emit),
            "response.reasoning_summary_text.delta" => {
                self.think(at, summary, happened.delta, emit);
            }
            "response.reasoning_text.delta" => self.think(at, content, happened.delta, emit),
            "response.function_call_arguments.delta" => {
                self.argue(Kind::Call, at, happened.delta, emit);
            }
            "response.custom_tool_call_input.delta" => {
                self.argue(Kind::CustomCall, at, happened.delta, emit);
            }
            "response.reasoning_summary_part.added" => {
                // The parts of a summary stand apart, be their numbers what they may.
                self.thought_breaks = true;
            }
            "response.output_text.done"
            | "response.refusal.done"
            | "response.content_part.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_text.done"
            | "response.function_call_arguments.done"
            | "response.custom_tool_call_input.done" => self.part(kind, at, &happened, emit),
            "response.output_item.added" => self.added(&happened, at.place, emit),
            "response.output_item.done" => {
                if let Some(item) = happened.item.map(item) {
                    self.item(&item, at.place, None, emit);
                }
            }
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(&response(happened.response), emit);
                emit(Event::Ping);
            }
            "response.completed" | "response.incomplete" => {
                let is_short = kind == "response.incomplete";
                self.complete(response(happened.response), is_short, emit);
            }
            "response.failed" | "response.cancelled" | "error" => {
                self.fail(failure(&happened, data), emit);
            }
            _ => return self.other(kind, &happened, data, emit),
        }
        Ok(())
    }

    /// Reads an event of another kind.
    fn other(
        &mut self,
        kind: &str,
        happened: &Happened<'_>,
        data: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        match full(happened.thought) {
            // Perplexity's: one event for each thing that it does.
            Some(_) => {
                self.thought_breaks = true;
                self.think(At::default(), Part::Summary(None), happened.thought, emit);
            }
            None if !kind.is_empty() => emit(Event::Ping),
            None if happened.is_error() => self.fail(fault_in_body(data), emit),
            None => return Err(Unreadable),
        }
        Ok(())
    }

    fn start(&mut self, response: &Responded<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let (id, model) = (full(response.id), full(response.model));
        if !self.started && (id.is_some() || model.is_some()) {
            self.started = true;
            emit(Event::Start { id, model });
        }
    }

    fn say(&mut self, at: At<'_>, part: Part, text: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = full(text) {
            let found = self.told.find_or_add(Kind::Message, at);
            self.told.entries[found].tell_part(part, &text);
            self.said = true;
            emit(Event::Text(text));
        }
    }

    fn refuse(&mut self, at: At<'_>, part: Part, text: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = full(text) {
            let found = self.told.find_or_add(Kind::Message, at);
            self.told.entries[found].tell_part(part, &text);
            self.said = true;
            emit(Event::Refusal(text));
        }
    }

    fn log(&mut self, logprobs: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(logprobs) = filled(logprobs) {
            emit(Event::Logprobs(Json::of(logprobs)));
        }
    }

    fn think(&mut self, at: At<'_>, part: Part, text: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let Some(text) = full(text) else { return };
        let found = self.told.find_or_add(Kind::Thought, at);
        let entry = &mut self.told.entries[found];
        let has_told = entry.has_told();
        let breaks = std::mem::take(&mut self.thought_breaks);
        if (entry.tell_part(part, &text) || breaks) && has_told {
            emit(Event::Thinking(Text::escaped(r"\n\n")));
        }
        self.said = true;
        emit(Event::Thinking(text));
    }

    fn argue(&mut self, kind: Kind, at: At<'_>, text: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(fragment) = full(text) {
            Calls::delta(&mut self.told, kind, at, fragment, emit);
        }
    }
}

impl Reads for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_fresh(&self) -> bool {
        !self.started && !self.said && !self.over
    }

    /// Its items and events have ids and numbers that the gateway's writer does not know.
    fn is_amid_words(&self) -> bool {
        false
    }

    fn event(
        &mut self,
        name: &[u8],
        data: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        // Some servers end every stream as those of chat completions end.
        if data.starts_with(b"[DONE]") {
            return Ok(());
        }
        let is_error = name == b"error";
        let happened = if data.starts_with(b"{") {
            json::parse::<Happened<'_>>(data).ok()
        } else {
            None
        };
        if happened.as_ref().is_some_and(is_untidy) {
            return Err(Unreadable);
        }
        let Some(happened) = happened else {
            if !is_error {
                return Err(Unreadable);
            }
            self.fail(fault_in_words(data), emit);
            return Ok(());
        };
        let kind = full(happened.kind).filter(|_| !is_error);
        let kind = match &kind {
            Some(kind) => kind.as_escaped(),
            None => std::str::from_utf8(name).unwrap_or_default(),
        };
        self.happened(kind, happened, data, emit)
    }

    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        self.whole = true;
        let is_object = body.trim_ascii_start().starts_with(b"{");
        match json::parse::<Responded<'_>>(body) {
            Ok(response) if is_object && response.output.iter().flatten().any(is_untidy_item) => {
                let what = "an item of the provider's answer cannot be read";
                self.fail(Fault::garbled(what), emit);
            }
            Ok(response) if is_object && response.is_response() => {
                self.complete(response, false, emit);
            }
            Ok(response) if is_object && response.is_error() => {
                self.fail(fault_in_body(body), emit);
            }
            _ => self.fail(
                Fault::garbled("the provider's answer is not a response"),
                emit,
            ),
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

fn number(field: Field<'_>) -> Option<u64> {
    field.and_then(|number| number.get().parse().ok())
}

/// Reads an item; one that cannot be read is of no known type.
fn item(raw: &RawValue) -> Item<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn response(field: Field<'_>) -> Responded<'_> {
    field
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// Returns the error of an event: in its response, in itself as Perplexity has it, or spread over it.
fn failure(happened: &Happened<'_>, data: &[u8]) -> Fault {
    match response(happened.response).error.or(happened.error) {
        Some(error) => fault_in(error),
        None => fault_in_body(data),
    }
}
