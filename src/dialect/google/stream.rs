//! Reads `streamGenerateContent?alt=sse`: each event is a piece of the answer, there is no terminator, and an error may
//! break in as bare JSON over several lines.

use std::borrow::Cow;

use super::answer::Answer;
use super::error;
use crate::ir::{Decode, Event, Fault, ToolNames};
use crate::wire::sse::{EventSplitter, Item};

/// Longest error that is collected.
const MAX_BARE: usize = 64 << 10;

/// Reads one answer.
pub(super) struct Stream {
    splitter: EventSplitter,
    answer: Answer<'static>,
    bare: Bare,
}

/// JSON that comes without `data:`, until its brackets balance.
#[derive(Default)]
struct Bare {
    text: Vec<u8>,
    open: usize,
    in_string: bool,
    escaped: bool,
}

impl Stream {
    pub(super) fn new(names: ToolNames) -> Self {
        Stream {
            splitter: EventSplitter::default(),
            answer: Answer::new(Cow::Owned(names)),
            bare: Bare::default(),
        }
    }
}

impl Decode for Stream {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let Stream {
            splitter,
            answer,
            bare,
        } = self;
        if splitter
            .feed(piece, |item| read(item, answer, bare, emit))
            .is_err()
        {
            answer.fail(too_long(), emit);
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        let Stream {
            splitter,
            answer,
            bare,
        } = self;
        if splitter
            .finish(|item| read(item, answer, bare, emit))
            .is_err()
        {
            answer.fail(too_long(), emit);
        }
        if !bare.text.is_empty() {
            answer.fail(Fault::incomplete(), emit);
        }
        answer.end(emit);
    }
}

fn read(
    item: Item<'_>,
    answer: &mut Answer<'static>,
    bare: &mut Bare,
    emit: &mut dyn FnMut(Event<'_>),
) {
    match item {
        // Others that speak Gemini's format end like OpenAI.
        Item::Event {
            data: b"[DONE]", ..
        } => {}
        Item::Event { data: [], .. } => {}
        Item::Event { data, .. } => answer.piece(data, emit),
        Item::Raw(line) => {
            if let Some(json) = bare.line(line) {
                let fault = error::within(json).unwrap_or_else(|| {
                    Fault::garbled("the provider's stream is not one of events")
                });
                answer.fail(fault, emit);
                *bare = Bare::default();
            }
        }
    }
}

fn too_long() -> Fault {
    Fault::garbled("an event of the provider's stream is too long")
}

impl Bare {
    /// Adds a line; gives all of the text once it is a whole, or can become none.
    fn line(&mut self, line: &[u8]) -> Option<&[u8]> {
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        for &byte in line {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.open += 1,
                b'}' | b']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
        // No text of JSON goes over the end of a line.
        let whole = self.open == 0 || self.in_string || self.text.len() > MAX_BARE;
        whole.then_some(self.text.as_slice())
    }
}
