//! Items of a response, as they begin, when they are whole, and once more in the whole response.

use serde_json::value::RawValue;

use super::super::super::field::full;
use super::super::calls::Calls;
use super::super::entry::{Kind, Part};
use super::super::item::{Happened, Item, filled, pieces};
use super::super::told::At;
use super::parts::{tell_piece, tell_thoughts};
use super::{Place, Reader, item};
use crate::ir::{Event, Text};

/// One would be too many.
const MOST_NAMELESS: usize = 4096;

impl Reader {
    pub(super) fn added(
        &mut self,
        happened: &Happened<'_>,
        place: Place,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
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

    /// Tells what a tool of the provider's does, or an item of no known kind.
    fn foreign(&mut self, item: &Item<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let kind = full(item.kind).unwrap_or_default();
        let kind = kind.as_escaped();
        if kind.ends_with("_call") || kind.starts_with("mcp_") {
            self.said = true;
            return emit(Event::Foreign);
        }
        emit(Event::Ping);
    }

    /// Takes an item that is whole; `nth` of its kind where the whole response repeats it. What was told of it is not
    /// told again.
    pub(super) fn item(
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

    /// Notes whether a call has its name by now.
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

    /// Takes the items of the whole response, which repeats what was told one by one.
    pub(super) fn repeated(&mut self, output: &[&RawValue], emit: &mut dyn FnMut(Event<'_>)) {
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

fn is(item: &Item<'_>, kind: &str) -> bool {
    full(item.kind).is_some_and(|is| is.as_escaped() == kind)
}
