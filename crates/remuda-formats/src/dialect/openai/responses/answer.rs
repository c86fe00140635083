//! From a provider's events, or its whole response, to those of the neutral model.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::error::{fault_in, fault_in_body, fault_in_words, fault_of_text};
use super::super::field::Field;
use super::calls::{Calls, Contradicted};
use super::entry::{Entry, Kind, Part, Rest};
use super::item::{Happened, Item, Piece, Responded, filled, full, misshapen, pieces};
use super::sources::Sources;
use super::told::{At, Told};
use crate::dialect::events::{Reads, Unreadable};
use crate::ir::{Event, Fault, Finish, Json, Text, ToolNames, Usage};
use crate::wire::json::{self, tidied};

/// So many tokens without anything that can be read are no empty answer, but one in an unknown form.
const TOO_MANY_EMPTY: u64 = 16;

/// One would be too many.
const MOST_NAMELESS: usize = 4096;

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

    /// A part that is done: what was not told of it in pieces is told.
    fn part(
        &mut self,
        kind: &str,
        at: At<'_>,
        happened: &Happened<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let content = Part::Content(number(happened.content_index));
        let refusal = Part::Refusal(number(happened.content_index));
        let summary = Part::Summary(number(happened.summary_index));
        match kind {
            "response.output_text.done" | "response.refusal.done" => {
                let (text, refused) = if kind == "response.refusal.done" {
                    (None, happened.refusal)
                } else {
                    (happened.text, None)
                };
                let piece = Piece {
                    text,
                    refusal: refused,
                    logprobs: happened.logprobs,
                    ..Piece::default()
                };
                self.said_part(at, content, refusal, &piece, emit);
            }
            "response.content_part.done" => {
                let part = happened.part.map(piece).unwrap_or_default();
                // Of a thought it may be as well, which its item will tell.
                if full(part.kind).is_none_or(|kind| kind.as_escaped() != "reasoning_text") {
                    self.said_part(at, content, refusal, &part, emit);
                }
            }
            "response.reasoning_summary_text.done" => {
                self.thought_part(at, summary, happened.text, emit);
            }
            "response.reasoning_text.done" => self.thought_part(at, content, happened.text, emit),
            "response.function_call_arguments.done" => {
                Calls::arguments(&mut self.told, Kind::Call, at, happened.arguments, emit);
            }
            "response.custom_tool_call_input.done" => {
                Calls::arguments(&mut self.told, Kind::CustomCall, at, happened.input, emit);
            }
            _ => {}
        }
    }

    fn said_part(
        &mut self,
        at: At<'_>,
        content: Part,
        refusal: Part,
        piece: &Piece<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        if full(piece.text).or_else(|| full(piece.refusal)).is_some() {
            let found = self.told.find_or_add(Kind::Message, at);
            let entry = &mut self.told.entries[found];
            self.said |= tell_piece(entry, (content, refusal), piece, emit);
        }
    }

    fn thought_part(
        &mut self,
        at: At<'_>,
        part: Part,
        text: Field<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let found = self.told.find(Kind::Thought, at);
        let told = found.map(|found| &mut self.told.entries[found]);
        match (told, full(text)) {
            (Some(entry), Some(whole)) if entry.has_told_part(part) => {
                if let Some(more) = tell_rest(entry, part, whole) {
                    emit(Event::Thinking(more));
                }
            }
            _ => self.think(at, part, text, emit),
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
                let begun = self.calls.begin(&mut self.told, &item, kind, place, emit);
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
                let found =
                    found.or_else(|| self.calls.begin(&mut self.told, item, kind, place, emit));
                self.named(item, place, found.is_some());
                if let Some(found) = found {
                    self.said = true;
                    self.told.entries[found].again |= nth.is_some();
                    Calls::end(&mut self.told, found, item, nth.is_some(), emit);
                }
            }
        }
    }

    /// Whether a call has its name by now.
    fn named(&mut self, item: &Item<'_>, place: Place, is_named: bool) {
        let id = full(item.id).map(Text::into_inner);
        let key = id.or_else(|| Some(place?.to_string().into()));
        let key = key.unwrap_or_default();
        if is_named {
            self.nameless.remove(&*key);
        } else if self.nameless.len() < MOST_NAMELESS {
            self.nameless.insert(key.into());
        }
    }

    fn message(&mut self, item: &Item<'_>, found: usize, emit: &mut dyn FnMut(Event<'_>)) {
        let entry = &mut self.told.entries[found];
        for (place, piece) in (0..).zip(pieces(item.content)) {
            let parts = (Part::Content(Some(place)), Part::Refusal(Some(place)));
            // What is done is only repeated.
            if !entry.done || entry.has_told_part(parts.0) || entry.has_told_part(parts.1) {
                self.said |= tell_piece(entry, parts, &piece, emit);
            }
        }
    }

    fn reasoning(&mut self, item: &Item<'_>, found: usize, emit: &mut dyn FnMut(Event<'_>)) {
        let entry = &mut self.told.entries[found];
        // The words themselves, or what they come to; both if both were told.
        let has_words = if entry.has_told() {
            entry.has_told_part(Part::Content(None))
        } else {
            filled(item.content).is_some()
        };
        let has_summary = if entry.has_told() {
            entry.has_told_part(Part::Summary(None))
        } else {
            !has_words
        };
        for (part, words, is_told) in [
            (Part::Content as fn(_) -> _, item.content, has_words),
            (Part::Summary, item.summary, has_summary),
        ] {
            if is_told && tell_thoughts(entry, part, words, emit) {
                self.said = true;
            }
        }
        if entry.done {
            return;
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
        let status = full(response.status).unwrap_or_else(|| {
            if is_short {
                Text::escaped("incomplete")
            } else {
                Text::default()
            }
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
        let output = response.output.as_deref().unwrap_or_default();
        if let Some(what) = misshapen(output).filter(|_| !self.said) {
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
        let finish = finish(
            &status,
            response.incomplete_details.and_then(|why| why.reason),
        );
        if finish == Finish::Stop
            && let Some(what) = self.lacks(response.output.as_deref(), &status, usage)
        {
            return self.fail(Fault::garbled(what), emit);
        }
        if let Err(Contradicted) = Calls::end_all(&mut self.told, emit) {
            emit(Event::Malformed);
            let what = "the provider's answer tells the arguments of a call in two ways";
            return self.fail(Fault::garbled(what), emit);
        }
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
    /// Returns what an answer that ended by itself lacks: any output, or a text that could be read.
    ///
    /// A body that calls itself completed, with an empty list, is an empty answer, as a chat may have one: nobody else
    /// would serve the request better, and a client of this API is shown it too. A stream may have said something in
    /// events that are not known here.
    fn lacks(
        &self,
        output: Option<&[&RawValue]>,
        status: &Text<'_>,
        usage: Option<Usage>,
    ) -> Option<&'static str> {
        if self.said {
            return None;
        }
        let has_output = output.is_some_and(|output| !output.is_empty());
        let is_stated = self.whole && output.is_some() && status.as_escaped() == "completed";
        if !has_output && self.sources.is_empty() && !is_stated {
            return Some("the provider's answer has no output");
        }
        let words = usage.and_then(|usage| {
            let output = usage.output?;
            Some(output - usage.reasoning.unwrap_or(0).min(output))
        });
        words
            .is_some_and(|words| words > TOO_MANY_EMPTY)
            .then_some("the provider's answer has no text that could be read")
    }

    /// What was told item by item comes once more in the whole response.
    fn repeated(&mut self, output: &[&RawValue], emit: &mut dyn FnMut(Event<'_>)) {
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
            let is_new = if is(&item, "search_results") {
                unfound
            } else {
                kind.is_some() || !self.said
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

/// Tells what was not told of a part of a message, by its place as a text and as a refusal. Whether it says anything.
fn tell_piece(
    entry: &mut Entry,
    (content, refusal): (Part, Part),
    piece: &Piece<'_>,
    emit: &mut dyn FnMut(Event<'_>),
) -> bool {
    let (text, refused) = (full(piece.text), full(piece.refusal));
    let says = text.is_some() || refused.is_some();
    let is_new = !entry.has_told_part(content) && !entry.has_told_part(refusal);
    if let Some(text) = text.and_then(|whole| tell_rest(entry, content, whole)) {
        emit(Event::Text(text));
    }
    if let Some(text) = refused.and_then(|whole| tell_rest(entry, refusal, whole)) {
        emit(Event::Refusal(text));
    }
    if let Some(logprobs) = filled(piece.logprobs).filter(|_| is_new) {
        emit(Event::Logprobs(Json::of(logprobs)));
    }
    says
}

/// What a whole part has beyond what was told of it, which is noted as told.
fn tell_rest<'a>(entry: &mut Entry, part: Part, whole: Text<'a>) -> Option<Text<'a>> {
    match entry.rest(part, whole) {
        Rest::Untold(more) | Rest::More(more) if !more.is_empty() => {
            entry.tell_part(part, &more);
            Some(more)
        }
        _ => None,
    }
}

/// Tells what was not told of the parts of a thought, each in its place. Whether anything was.
fn tell_thoughts(
    entry: &mut Entry,
    part: fn(Option<u64>) -> Part,
    words: Field<'_>,
    emit: &mut dyn FnMut(Event<'_>),
) -> bool {
    let mut told = false;
    for (place, piece) in (0..).zip(pieces(words)) {
        let (part, Some(whole)) = (part(Some(place)), full(piece.text)) else {
            continue;
        };
        let (is_new, more) = match entry.rest(part, whole) {
            Rest::Untold(more) => (true, more),
            Rest::More(more) => (false, more),
            // The parts are numbered otherwise there, so that those that follow may have been told.
            Rest::Other => break,
        };
        if more.is_empty() || (is_new && entry.done) {
            continue;
        }
        if is_new && entry.has_told() {
            emit(Event::Thinking(Text::escaped(r"\n\n")));
        }
        entry.tell_part(part, &more);
        told = true;
        emit(Event::Thinking(more));
    }
    told
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

/// Whether an event holds something of which nothing could be read, although the libraries of clients can.
fn is_untidy(happened: &Happened<'_>) -> bool {
    let response = |raw: &RawValue| match serde_json::from_str::<Responded<'_>>(raw.get()) {
        Ok(response) => response.output.iter().flatten().any(is_untidy_item),
        Err(_) => tidied(raw.get().as_bytes()).is_some(),
    };
    happened.item.as_ref().is_some_and(is_untidy_item)
        || has_repeats::<Piece<'_>>(happened.part)
        || happened.response.is_some_and(response)
}

fn is_untidy_item(raw: &&RawValue) -> bool {
    match serde_json::from_str::<Item<'_>>(raw.get()) {
        Ok(item) => [item.content, item.summary]
            .into_iter()
            .any(has_repeats::<Vec<Piece<'_>>>),
        Err(_) => tidied(raw.get().as_bytes()).is_some(),
    }
}

/// Whether a field cannot be read for nothing but what is tidied of it.
fn has_repeats<'a, T: Deserialize<'a>>(field: Field<'a>) -> bool {
    field.is_some_and(|raw| {
        serde_json::from_str::<T>(raw.get()).is_err() && tidied(raw.get().as_bytes()).is_some()
    })
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
