//! Parts of messages and thoughts that are done: what was not told of them in pieces is told.

use serde_json::value::RawValue;

use super::super::super::field::{Field, full};
use super::super::calls::Calls;
use super::super::entry::{Entry, Kind, Part, Rest};
use super::super::item::{Happened, Piece, filled, pieces};
use super::super::told::At;
use super::{Reader, number};
use crate::ir::{Event, Json, Text};

impl Reader {
    /// Takes a part that is done: what was not told of it in pieces is told.
    pub(super) fn part(
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
}

/// Tells what was not told of a part of a message, by its place as a text and as a refusal. Whether it says anything.
pub(super) fn tell_piece(
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

/// Returns what a whole part has beyond what was told of it, which is noted as told.
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
pub(super) fn tell_thoughts(
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

/// Reads a part; one that cannot be read says nothing.
fn piece(raw: &RawValue) -> Piece<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}
