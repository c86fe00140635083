//! What has been told of each item of a response. Servers tell an item up to four times: in pieces, as a part that is done,
//! as an item that is done, and in the whole response; of these they may leave out all but one.

use super::super::field::{Field, full};
use super::entry::{Entry, Kind};
use super::item::Item;
use super::places::Places;
use super::saying::Pieces;
use crate::dialect::openai::answer::balance::Balance;

/// Where an event says that its item stands; either may be missing.
#[derive(Clone, Copy, Default)]
pub(super) struct At<'a> {
    pub(super) id: Field<'a>,
    /// Its place among the items.
    pub(super) place: Option<u64>,
}

/// More items than any response has.
const MOST: usize = 4096;

/// The items of one response, in the order in which they began.
#[derive(Default)]
pub(super) struct Told {
    pub(super) entries: Vec<Entry>,
    /// The places of each kind.
    places: [Places; 4],
    /// Items were left out, since they were too many.
    pub(super) too_many: bool,
}

impl Told {
    /// Returns the item that a piece belongs to: its id says so, else its place, for servers that give no ids or others
    /// with every event. Where there is neither, the last of its kind.
    pub(super) fn find(&mut self, kind: Kind, at: At<'_>) -> Option<usize> {
        let id = full(at.id).unwrap_or_default();
        let (entries, places) = (&self.entries, &mut self.places[kind as usize]);
        if let Some(found) = places.of_id(id.as_escaped()) {
            return Some(found);
        }
        match (at.place, id.is_empty()) {
            (Some(place), _) => places.open_at(place, entries),
            (None, true) => places.open(entries),
            (None, false) => places.open_without_id(entries),
        }
    }

    pub(super) fn find_or_add(&mut self, kind: Kind, at: At<'_>) -> usize {
        self.find(kind, at)
            .unwrap_or_else(|| self.add(kind, at, ""))
    }

    pub(super) fn add(&mut self, kind: Kind, at: At<'_>, call_id: &str) -> usize {
        if self.entries.len() == MOST {
            self.too_many = true;
            return MOST - 1;
        }
        let entry = Entry {
            kind,
            id: owned(at.id),
            call_id: call_id.to_owned(),
            place: at.place,
            parts: Vec::new(),
            done: false,
            call: 0,
            has_arguments: false,
            arguments: Pieces::default(),
            balance: Balance::default(),
            contradicted: false,
            again: false,
            early: String::new(),
        };
        let found = self.entries.len();
        self.places[kind as usize].note(found, &entry);
        self.entries.push(entry);
        found
    }

    /// Returns whether an item has begun already, by its own words. Servers exist that give several calls the same
    /// `call_id`: these are told apart by where they stand, else by their own ids.
    pub(super) fn knows(&self, kind: Kind, item: &Item<'_>, place: Option<u64>) -> bool {
        let id = full(item.id).unwrap_or_default();
        let call_id = full(item.call_id).unwrap_or_default();
        let places = &self.places[kind as usize];
        if let Some(found) = places.called_at(call_id.as_escaped(), place) {
            let entry = &self.entries[found];
            if place.is_some() && entry.place.is_some() {
                return true;
            }
            return if id.is_empty() || entry.id.is_empty() {
                !entry.done
            } else {
                entry.id == id.as_escaped()
            };
        }
        places
            .of_id(id.as_escaped())
            .is_some_and(|found| call_id.is_empty() || self.entries[found].call_id.is_empty())
    }

    /// Returns the entry of an item that is told as a whole. A call's own id beats where it stands, unless the call
    /// there is done and stands elsewhere.
    pub(super) fn find_item(
        &mut self,
        kind: Kind,
        item: &Item<'_>,
        place: Option<u64>,
    ) -> Option<usize> {
        let id = full(item.id).unwrap_or_default();
        let call_id = full(item.call_id).unwrap_or_default();
        let call_id = call_id.as_escaped();
        let (entries, places) = (&self.entries, &self.places[kind as usize]);
        if let Some(found) = place.and_then(|place| places.called_exactly_at(call_id, place)) {
            return Some(found);
        }
        let named = places.of_id(id.as_escaped());
        if let Some(found) = named.filter(|found| entries[*found].call_id == call_id) {
            return Some(found);
        }
        if let Some(found) = places.called_at(call_id, place) {
            return Some(found);
        }
        if let Some(found) = places.last_called(call_id)
            && !entries[found].done
        {
            return Some(found);
        }
        let at = At { id: item.id, place };
        self.find(kind, at).filter(|found| {
            let known = self.entries[*found].call_id.as_str();
            call_id.is_empty() || known.is_empty()
        })
    }

    /// Returns the entry of an item of the whole response, the `nth` of its kind there: servers may give it other ids
    /// than before.
    pub(super) fn find_again(&mut self, kind: Kind, item: &Item<'_>, nth: usize) -> Option<usize> {
        let id = full(item.id).unwrap_or_default();
        let call_id = full(item.call_id).unwrap_or_default();
        let (entries, places) = (&self.entries, &mut self.places[kind as usize]);
        let by_id = places.of_id(id.as_escaped());
        if !call_id.is_empty() {
            return places
                .unrepeated(call_id.as_escaped(), entries)
                .or_else(|| by_id.filter(|found| entries[*found].call_id.is_empty()));
        }
        by_id.or_else(|| places.nth(nth))
    }
}

fn owned(field: Field<'_>) -> String {
    full(field).unwrap_or_default().into_inner().into_owned()
}
