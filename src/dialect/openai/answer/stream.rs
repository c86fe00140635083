//! A streamed answer in pieces, and a whole one.

use super::reader::Reader;
use crate::ir::{Decode, Event, Fault, ToolNames};
use crate::wire::sse::{EventSplitter, Item};

/// Bytes of lines that belong to no event which are kept: an error, or an answer that does not stream after all.
const LONGEST_BARE: usize = 1 << 20;

/// Reads the events of one form, one after another.
pub(in super::super) trait Reads: Send {
    /// Whether the last event has been emitted.
    fn is_over(&self) -> bool;

    /// Whether nothing has come yet.
    fn is_fresh(&self) -> bool;

    /// One event of a stream.
    fn event(&mut self, name: &[u8], data: &[u8], emit: &mut dyn FnMut(Event<'_>));

    /// A whole answer, up to its end.
    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>));

    /// The body has ended.
    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>));

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>));
}

/// Reads a streamed answer.
pub(in super::super) fn decoder(names: ToolNames) -> Box<dyn Decode> {
    stream(Reader::new(names))
}

/// Reads a streamed answer in the form that `reader` knows.
pub(in super::super) fn stream(reader: impl Reads + 'static) -> Box<dyn Decode> {
    Box::new(Stream {
        splitter: EventSplitter::default(),
        reader,
        bare: Vec::new(),
    })
}

/// Reads a whole answer.
pub(in super::super) fn read_whole(
    body: &[u8],
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) {
    Reader::new(names.clone()).whole(body, emit);
}

struct Stream<R> {
    splitter: EventSplitter,
    reader: R,
    /// Lines that belong to no event.
    bare: Vec<u8>,
}

impl<R: Reads> Decode for Stream<R> {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let Stream {
            splitter,
            reader,
            bare,
        } = self;
        if reader.is_over() {
            return;
        }
        let fed = splitter.feed(piece, |item| take(item, reader, bare, emit));
        if fed.is_err() {
            reader.fail(too_long(), emit);
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        let Stream {
            splitter,
            reader,
            bare,
        } = self;
        if splitter
            .finish(|item| take(item, reader, bare, emit))
            .is_err()
        {
            reader.fail(too_long(), emit);
        }
        if reader.is_fresh() && !bare.is_empty() {
            return reader.whole(bare, emit);
        }
        reader.end(emit);
    }
}

fn too_long() -> Fault {
    Fault::garbled("an event of the provider's stream is too long")
}

fn take(
    item: Item<'_>,
    reader: &mut impl Reads,
    bare: &mut Vec<u8>,
    emit: &mut dyn FnMut(Event<'_>),
) {
    match item {
        Item::Event { name, data } => reader.event(name, data, emit),
        Item::Raw(line) if reader.is_fresh() && bare.len() + line.len() < LONGEST_BARE => {
            bare.extend_from_slice(line);
            bare.push(b'\n');
        }
        Item::Raw(_) => {}
    }
}
