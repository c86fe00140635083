//! One item of a response as far as it has been told.

use super::super::field::full;
use super::item::Item;
use super::saying::Pieces;
use crate::dialect::openai::answer::balance::Balance;
use crate::ir::Text;

/// The sorts of items that hold what the model said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Thought,
    Call,
    /// A call of a custom tool, whose input is plain text.
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

/// An item as far as it has been told.
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The id as it stands in JSON.
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) place: Option<u64>,
    /// Its parts of which something was told, by their keys, with what was told of them.
    pub(super) parts: Vec<(u8, Pieces)>,
    /// Nothing more of it is expected but its repetition.
    pub(super) done: bool,
    /// Whether the whole response has repeated a call, so that another of the same id is another.
    pub(super) again: bool,
    /// The number of the call.
    pub(super) call: usize,
    pub(super) has_arguments: bool,
    /// The pieces of its arguments, or of its input.
    pub(super) arguments: Pieces,
    /// How far the brackets of its arguments are closed.
    pub(super) balance: Balance,
    /// What was told as the whole of its arguments goes on otherwise than the pieces, which are no whole themselves.
    pub(super) contradicted: bool,
    /// Arguments that came before any piece of them, which repeats them.
    pub(super) early: String,
}

/// A part of an item by its number, which not all servers give.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// A part of its content.
    Content(Option<u64>),
    /// A part of its content with which the model declines.
    Refusal(Option<u64>),
    /// A part of the summary of a thought.
    Summary(Option<u64>),
}

/// Keys of each sort of parts: the last but one stands for all parts that follow, the last for those without a number.
const KEYS: u8 = 33;

impl Part {
    fn key(self) -> u8 {
        let (sort, number) = match self {
            Part::Content(number) => (0, number),
            Part::Refusal(number) => (1, number),
            Part::Summary(number) => (2, number),
        };
        let last = KEYS - 1;
        let number = number.map_or(last, |at| {
            u8::try_from(at).map_or(last - 1, |at| at.min(last - 1))
        });
        sort * KEYS + number
    }
}

/// How a part that is told as a whole stands to what was told of it.
pub(super) enum Rest<'a> {
    /// Nothing of it was told.
    Untold(Text<'a>),
    /// What it has beyond that, which may be nothing.
    More(Text<'a>),
    /// It begins otherwise. What was told stands: servers trim and tidy what they repeat.
    Other,
}

impl Entry {
    pub(super) fn has_told(&self) -> bool {
        !self.parts.is_empty()
    }

    pub(super) fn has_told_part(&self, part: Part) -> bool {
        self.place(part).is_some()
    }

    /// Notes a piece of this part, which is told. Whether it is the first.
    pub(super) fn tell_part(&mut self, part: Part, piece: &Text<'_>) -> bool {
        let found = self.place(part);
        let at = found.unwrap_or_else(|| {
            self.parts.push((part.key(), Pieces::default()));
            self.parts.len() - 1
        });
        self.parts[at].1.add(piece);
        found.is_none()
    }

    pub(super) fn rest<'a>(&self, part: Part, whole: Text<'a>) -> Rest<'a> {
        match self.place(part) {
            None => Rest::Untold(whole),
            Some(at) => self.parts[at].1.rest(whole).map_or(Rest::Other, Rest::More),
        }
    }

    /// Returns where a part is noted. What has no number may be any.
    fn place(&self, part: Part) -> Option<usize> {
        let key = part.key();
        let sort = key / KEYS;
        let unnumbered = sort * KEYS + KEYS - 1;
        let known = |wanted: u8| self.parts.iter().position(|(key, _)| *key == wanted);
        known(key).or_else(|| {
            if key == unnumbered {
                self.parts.iter().rposition(|(key, _)| key / KEYS == sort)
            } else {
                known(unnumbered)
            }
        })
    }
}
