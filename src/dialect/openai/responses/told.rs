//! What has been told of each item of a response. Servers tell an item up to four times: in pieces, as a part that is done,
//! as an item that is done, and in the whole response; of these they may leave out all but one.

use super::super::field::Field;
use super::item::{Item, full};
use crate::ir::Text;

/// The sorts of items that hold what the model said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Thought,
    Call,
    /// Of a custom tool, whose input is plain text.
    CustomCall,
}

impl Kind {
    pub(super) fn of(item: &Item<'_>) -> Option<Kind> {
        match full(item.kind)?.as_escaped() {
            "message" => Some(Kind::Message),
            "reasoning" => Some(Kind::Thought),
            "function_call" => Some(Kind::Call),
            "custom_tool_call" => Some(Kind::CustomCall),
            _ => None,
        }
    }
}

/// Where an event says that its item stands; either may be missing.
#[derive(Clone, Copy, Default)]
pub(super) struct At<'a> {
    pub(super) id: Field<'a>,
    /// Its place among the items.
    pub(super) place: Option<u64>,
}

/// An item as far as it has been told.
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// As they stand in JSON.
    id: String,
    call_id: String,
    place: Option<u64>,
    /// Its parts of which something was told, as bits.
    parts: u64,
    /// Nothing more of it is expected but its repetition.
    pub(super) done: bool,
    /// Of a call: the whole response has repeated it, so that another of the same id is another.
    pub(super) again: bool,
    /// The number of the call.
    pub(super) call: usize,
    pub(super) has_arguments: bool,
    /// Arguments that came before any piece of them, which repeats them.
    pub(super) early: String,
}

/// A part of an item by its number, which not all servers give.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// Of its content.
    Content(Option<u64>),
    /// Of the summary of a thought.
    Summary(Option<u64>),
}

impl Part {
    /// Half of the bits are for each sort; the last one stands for all parts that follow. What has no number may be any.
    fn bits(self) -> u64 {
        let bits = |number: Option<u64>| number.map_or(u64::from(u32::MAX), |at| 1 << at.min(31));
        match self {
            Part::Content(number) => bits(number),
            Part::Summary(number) => bits(number) << 32,
        }
    }
}

impl Entry {
    pub(super) fn has_told(&self) -> bool {
        self.parts != 0
    }

    pub(super) fn has_told_part(&self, part: Part) -> bool {
        self.parts & part.bits() != 0
    }

    /// Whether it is the first time that something of this part is told.
    pub(super) fn tell_part(&mut self, part: Part) -> bool {
        let is_first = !self.has_told_part(part);
        self.parts |= part.bits();
        is_first
    }
}

/// More items than any response has: each event's item is looked for among them.
const MOST: usize = 4096;

/// The items of one response, in the order in which they began.
#[derive(Default)]
pub(super) struct Told {
    pub(super) entries: Vec<Entry>,
    /// Items were left out, since they were too many.
    pub(super) too_many: bool,
}

impl Told {
    /// The item that a piece belongs to: its id says so, else its place, for servers that give no ids or others with every
    /// event. Where there is neither, the last of its kind.
    pub(super) fn find(&self, kind: Kind, at: At<'_>) -> Option<usize> {
        let id = full(at.id).unwrap_or_default();
        let of_kind = |entry: &&Entry| entry.kind == kind;
        if !id.is_empty()
            && let Some(found) = self.last(|entry| of_kind(&entry) && entry.id == id.as_escaped())
        {
            return Some(found);
        }
        match (at.place, id.is_empty()) {
            (Some(_), _) => {
                self.last(|entry| of_kind(&entry) && !entry.done && entry.place == at.place)
            }
            (None, true) => self.last(|entry| of_kind(&entry) && !entry.done),
            (None, false) => {
                self.last(|entry| of_kind(&entry) && !entry.done && entry.id.is_empty())
            }
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
        self.entries.push(Entry {
            kind,
            id: owned(at.id),
            call_id: call_id.to_owned(),
            place: at.place,
            parts: 0,
            done: false,
            call: 0,
            has_arguments: false,
            again: false,
            early: String::new(),
        });
        self.entries.len() - 1
    }

    /// Whether an item has begun already, by its own words.
    pub(super) fn knows(&self, kind: Kind, item: &Item<'_>) -> bool {
        let (id, call_id) = (full(item.id), full(item.call_id));
        let is = |known: &str, given: &Option<Text<'_>>| {
            let given = given.as_ref().map(Text::as_escaped);
            given == Some(known)
        };
        let same = |entry: &Entry| match call_id.is_some() && !entry.call_id.is_empty() {
            true => is(&entry.call_id, &call_id),
            false => is(&entry.id, &id),
        };
        self.last(|entry| entry.kind == kind && same(entry))
            .is_some()
    }

    /// The entry of an item that is told as a whole. A call's own id beats where it stands.
    pub(super) fn find_item(
        &self,
        kind: Kind,
        item: &Item<'_>,
        place: Option<u64>,
    ) -> Option<usize> {
        let call_id = full(item.call_id).unwrap_or_default();
        if !call_id.is_empty()
            && let Some(found) =
                self.last(|entry| entry.kind == kind && entry.call_id == call_id.as_escaped())
        {
            return Some(found);
        }
        let at = At { id: item.id, place };
        self.find(kind, at).filter(|found| {
            let known = self.entries[*found].call_id.as_str();
            call_id.is_empty() || known.is_empty()
        })
    }

    /// The entry of an item of the whole response, the `nth` of its kind there: servers may give it other ids than before.
    pub(super) fn find_again(&self, kind: Kind, item: &Item<'_>, nth: usize) -> Option<usize> {
        let id = full(item.id).unwrap_or_default();
        let call_id = full(item.call_id).unwrap_or_default();
        let by_id = || self.last(|entry| entry.kind == kind && entry.id == id.as_escaped());
        if !call_id.is_empty() {
            return self
                .last(|entry| {
                    entry.kind == kind && !entry.again && entry.call_id == call_id.as_escaped()
                })
                .or_else(|| by_id().filter(|found| self.entries[*found].call_id.is_empty()));
        }
        let known = (!id.is_empty()).then(by_id).flatten();
        known.or_else(|| {
            let mut of_kind = self.entries.iter().enumerate();
            of_kind
                .by_ref()
                .filter(|(_, entry)| entry.kind == kind)
                .nth(nth)
                .map(|(place, _)| place)
        })
    }

    fn last(&self, is: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.entries.iter().rposition(is)
    }
}

fn owned(field: Field<'_>) -> String {
    full(field).unwrap_or_default().into_inner().into_owned()
}
