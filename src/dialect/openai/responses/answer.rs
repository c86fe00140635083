//! From a provider's events, or its whole response, to those of the neutral model.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use super::super::error::{fault_in, fault_in_body, fault_in_words, fault_of_text};
use super::super::field::Field;
use super::calls::Calls;
use super::item::{Happened, Item, Piece, Responded, filled, full, misshapen, pieces};
use super::sources::Sources;
use super::told::{At, Kind, Part, Told};
use crate::dialect::events::{Reads, Unreadable};
use crate::ir::{Event, Fault, Finish, Json, Text, ToolNames};
use crate::wire::json;

/// So many tokens without anything that can be read are no empty answer, but one in an unknown form.
const TOO_MANY_EMPTY: u64 = 16;

/// One would be too many.
const MOST_NAMELESS: usize = 4096;

/// The place in a list of what a response holds in the end.
type Place = Option<u64>;

pub(super) struct Reader {
    names: ToolNames,
    started: bool,
    over: bool,
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
            names,
            started: false,
            over: false,
            said: false,
            thought_breaks: false,
            sources: Sources::default(),
            told: Told::default(),
            calls: Calls::default(),
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
        let summary = Part::Summary(number(happened.summary_index));
        match kind {
            "response.output_text.delta" => {
                self.say(at, content, happened.delta, emit);
                self.log(happened.logprobs, emit);
            }
            "response.refusal.delta" => self.refuse(at, content, happened.delta, emit),
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

    /// An event of another kind.
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
            self.told.entries[found].tell_part(part);
            self.said = true;
            emit(Event::Text(text));
        }
    }

    fn refuse(&mut self, at: At<'_>, part: Part, text: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(text) = full(text) {
            let found = self.told.find_or_add(Kind::Message, at);
            self.told.entries[found].tell_part(part);
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
        if (entry.tell_part(part) || breaks) && has_told {
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

    /// A part that is done, which is told unless it was told in pieces.
    fn part(
        &mut self,
        kind: &str,
        at: At<'_>,
        happened: &Happened<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let content = Part::Content(number(happened.content_index));
        let summary = Part::Summary(number(happened.summary_index));
        let untold = |told: &mut Told, kind, part| {
            told.find(kind, at)
                .is_none_or(|found| !told.entries[found].has_told_part(part))
        };
        let message = untold(&mut self.told, Kind::Message, content);
        match kind {
            "response.output_text.done" if message => {
                self.say(at, content, happened.text, emit);
                self.log(happened.logprobs, emit);
            }
            "response.refusal.done" if message => self.refuse(at, content, happened.refusal, emit),
            "response.content_part.done" => {
                let part = happened.part.map(piece).unwrap_or_default();
                // Of a thought it may be as well, which its item will tell.
                if message
                    && full(part.kind).is_none_or(|kind| kind.as_escaped() != "reasoning_text")
                {
                    self.said_part(at, content, &part, emit);
                }
            }
            "response.reasoning_summary_text.done"
                if untold(&mut self.told, Kind::Thought, summary) =>
            {
                self.think(at, summary, happened.text, emit);
            }
            "response.reasoning_text.done" if untold(&mut self.told, Kind::Thought, content) => {
                self.think(at, content, happened.text, emit);
            }
            "response.function_call_arguments.done" => {
                Calls::arguments(&mut self.told, Kind::Call, at, happened.arguments, emit);
            }
            "response.custom_tool_call_input.done" => {
                Calls::arguments(&mut self.told, Kind::CustomCall, at, happened.input, emit);
            }
            _ => {}
        }
    }

    fn added(&mut self, happened: &Happened<'_>, place: Place, emit: &mut dyn FnMut(Event<'_>)) {
        let Some(item) = happened.item.map(item) else {
            return;
        };
        match Kind::of(&item) {
            // Some servers say it once more, with more of it.
            Some(kind @ (Kind::Call | Kind::CustomCall))
                if !self.told.knows(kind, &item, place) =>
            {
                let begun = self
                    .calls
                    .begin(&mut self.told, &item, kind, place, &self.names, emit);
                self.said |= begun.is_some();
                self.named(&item, place, begun.is_some());
            }
            Some(_) => emit(Event::Ping),
            None => self.foreign(&item, emit),
        }
    }

    /// What a tool of the provider's does, or an item of no known kind.
    fn foreign(&mut self, item: &Item<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let kind = full(item.kind).unwrap_or_default();
        let kind = kind.as_escaped();
        if kind.ends_with("_call") || kind.starts_with("mcp_") {
            self.said = true;
            return emit(Event::Foreign);
        }
        emit(Event::Ping);
    }

    /// An item that is whole; `nth` of its kind where the whole response repeats it. What was told of it is not told again.
    fn item(
        &mut self,
        item: &Item<'_>,
        place: Place,
        nth: Option<usize>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(kind) = Kind::of(item) else {
            return match filled(item.results) {
                Some(results) if is(item, "search_results") => self.sources.add(results, emit),
                _ => self.foreign(item, emit),
            };
        };
        let found = match nth {
            Some(nth) => self.told.find_again(kind, item, nth),
            None => self.told.find_item(kind, item, place),
        };
        let at = At { id: item.id, place };
        match kind {
            Kind::Message | Kind::Thought => {
                let found = found.unwrap_or_else(|| self.told.add(kind, at, ""));
                match kind {
                    Kind::Message => self.message(item, found, emit),
                    _ => self.reasoning(item, found, emit),
                }
                self.told.entries[found].done = true;
            }
            Kind::Call | Kind::CustomCall => {
                let found = found.or_else(|| {
                    self.calls
                        .begin(&mut self.told, item, kind, place, &self.names, emit)
                });
                self.named(item, place, found.is_some());
                if let Some(found) = found {
                    self.said = true;
                    self.told.entries[found].again |= nth.is_some();
                    Calls::end(&mut self.told, found, item, emit);
                }
            }
        }
    }

    /// Whether a call has its name by now.
    fn named(&mut self, item: &Item<'_>, place: Place, is_named: bool) {
        let id = full(item.id).map(Text::into_inner);
        let key = id.or_else(|| Some(place?.to_string().into()));
        let key = key.unwrap_or_default();
        match is_named {
            true => {
                self.nameless.remove(&*key);
            }
            false if self.nameless.len() < MOST_NAMELESS => {
                self.nameless.insert(key.into());
            }
            false => {}
        }
    }

    fn message(&mut self, item: &Item<'_>, found: usize, emit: &mut dyn FnMut(Event<'_>)) {
        if self.told.entries[found].done {
            return;
        }
        for (place, piece) in (0..).zip(pieces(item.content)) {
            let part = Part::Content(Some(place));
            if self.told.entries[found].tell_part(part) {
                self.said |= tell_piece(&piece, emit);
            }
        }
    }

    fn said_part(
        &mut self,
        at: At<'_>,
        part: Part,
        piece: &Piece<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let found = self.told.find_or_add(Kind::Message, at);
        self.told.entries[found].tell_part(part);
        self.said |= tell_piece(piece, emit);
    }

    fn reasoning(&mut self, item: &Item<'_>, found: usize, emit: &mut dyn FnMut(Event<'_>)) {
        let entry = &mut self.told.entries[found];
        if entry.done {
            return;
        }
        if !entry.has_told() {
            // The words themselves, or what they come to.
            let words = match filled(item.content) {
                None => item.summary,
                content => content,
            };
            let texts = pieces(words)
                .into_iter()
                .filter_map(|piece| full(piece.text));
            for text in texts {
                if entry.has_told() {
                    emit(Event::Thinking(Text::escaped(r"\n\n")));
                }
                entry.tell_part(Part::Summary(None));
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
    fn complete(
        &mut self,
        response: Responded<'_>,
        is_short: bool,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        self.start(&response, emit);
        let status = full(response.status).unwrap_or_else(|| match is_short {
            true => Text::escaped("incomplete"),
            false => Text::default(),
        });
        let error = response.error.filter(|error| error.get() != "{}");
        match (error, status.as_escaped()) {
            (Some(error), _) => return self.fail(fault_in(error), emit),
            (None, "failed" | "cancelled") => return self.fail(fault_of_text(""), emit),
            (None, "queued" | "in_progress") => return self.fail(Fault::incomplete(), emit),
            _ => {}
        }
        // What it was asked for has become what it was.
        if let Some(tier) = full(response.service_tier) {
            let fingerprint = None;
            emit(Event::Served {
                tier: Some(tier),
                fingerprint,
            });
        }
        let usage = response.usage.map(|counts| counts.usage());
        let output = response.output.unwrap_or_default();
        let has_output = !output.is_empty();
        if let Some(what) = misshapen(&output).filter(|_| !self.said) {
            return self.fail(Fault::garbled(what), emit);
        }
        self.repeated(output, emit);
        if !self.nameless.is_empty() {
            emit(Event::Malformed);
            return self.fail(Fault::nameless_call(), emit);
        }
        if self.told.too_many {
            let fault = Fault::garbled("the provider's answer has too many items");
            return self.fail(fault, emit);
        }
        let words = usage.and_then(|usage| {
            let output = usage.output?;
            Some(output - usage.reasoning.unwrap_or(0).min(output))
        });
        let finish = finish(
            &status,
            response.incomplete_details.and_then(|why| why.reason),
        );
        let is_plain = finish == Finish::Stop;
        if !self.said && is_plain && !has_output && self.sources.is_empty() {
            return self.fail(Fault::garbled("the provider's answer has no output"), emit);
        }
        if !self.said && is_plain && words.is_some_and(|words| words > TOO_MANY_EMPTY) {
            let fault = Fault::garbled("the provider's answer has no text that could be read");
            return self.fail(fault, emit);
        }
        Calls::end_all(&mut self.told, emit);
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

impl Reader {
    /// What was told item by item comes once more in the whole response.
    fn repeated(&mut self, output: Vec<&RawValue>, emit: &mut dyn FnMut(Event<'_>)) {
        let unfound = self.sources.is_empty();
        let mut seen = [0; 4];
        for (place, raw) in (0..).zip(output) {
            let item = item(raw);
            let kind = Kind::of(&item);
            let mut nth = 0;
            if let Some(kind) = kind {
                nth = seen[kind as usize];
                seen[kind as usize] += 1;
            }
            let is_new = match is(&item, "search_results") {
                true => unfound,
                false => kind.is_some() || !self.said,
            };
            if is_new {
                self.item(&item, Some(place), Some(nth), emit);
            }
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
        let happened = match data.starts_with(b"{") {
            true => json::parse::<Happened<'_>>(data).ok(),
            false => None,
        };
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
        let is_object = body.trim_ascii_start().starts_with(b"{");
        match json::parse::<Responded<'_>>(body) {
            Ok(response) if is_object && response.is_response() => {
                self.complete(response, false, emit);
            }
            Ok(response) if is_object && response.is_error() => {
                self.fail(fault_in_body(body), emit);
            }
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

/// Whether it said anything.
fn tell_piece(piece: &Piece<'_>, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    let (text, refusal) = (full(piece.text), full(piece.refusal));
    let said = text.is_some() || refusal.is_some();
    if let Some(text) = text {
        emit(Event::Text(text));
    }
    if let Some(refusal) = refusal {
        emit(Event::Refusal(refusal));
    }
    if let Some(logprobs) = filled(piece.logprobs) {
        emit(Event::Logprobs(Json::of(logprobs)));
    }
    said
}

fn number(field: Field<'_>) -> Option<u64> {
    field.and_then(|number| number.get().parse().ok())
}

/// A part; one that cannot be read says nothing.
fn piece(raw: &RawValue) -> Piece<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
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
