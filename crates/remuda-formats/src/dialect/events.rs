//! Drives the reader of a format that streams server-sent events: what is an event, what is none, and which of them make
//! the stream a broken one. The readers of the formats know neither lines nor pieces.

use crate::ir::{Decode, Event, Fault};
use crate::wire::json::tidied;
use crate::wire::sse::{EventSplitter, Item};

/// Bytes of lines that belong to no event which are kept: an error, or an answer that does not stream after all.
const LONGEST_BARE: usize = 1 << 20;

/// An event, or an answer, that is not of the form that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads the events of one form, one after another.
pub(super) trait Reads: Send {
    /// Returns whether the last event has been emitted.
    fn is_over(&self) -> bool;

    /// Returns whether nothing of an answer has come yet.
    fn is_fresh(&self) -> bool;

    /// Returns whether all of the answer has come, but for what ends it; see [`Decode::lacks_nothing`].
    fn lacks_nothing(&self) -> bool {
        false
    }

    /// Returns whether the answer has come no further than words; see [`Decode::is_amid_words`].
    fn is_amid_words(&self) -> bool {
        true
    }

    /// Reads one event of a stream, whose data has no white space around it and is not empty, unless its name is
    /// `error`.
    ///
    /// # Errors
    /// If it cannot be read. Nothing has been emitted then.
    fn event(
        &mut self,
        name: &[u8],
        data: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable>;

    /// Reads a whole answer, up to its end.
    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>));

    /// The body has ended.
    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>));

    /// Emits the failure, unless the last event has been emitted.
    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>));
}

/// Reads a streamed answer in the form that `reader` knows.
pub(super) fn stream(reader: impl Reads + 'static) -> Box<dyn Decode> {
    Box::new(Stream {
        splitter: EventSplitter::default(),
        state: State {
            reader,
            framed: false,
            torn: false,
            bare: Bare::default(),
        },
    })
}

struct Stream<R> {
    splitter: EventSplitter,
    state: State<R>,
}

struct State<R> {
    reader: R,
    /// An event has come: it is a stream.
    framed: bool,
    /// The last that came could not be read.
    torn: bool,
    bare: Bare,
}

impl<R: Reads> Decode for Stream<R> {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let Stream { splitter, state } = self;
        if state.reader.is_over() {
            return;
        }
        if splitter.feed(piece, |item| state.take(item, emit)).is_err() {
            state.reader.fail(too_long(), emit);
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        let Stream { splitter, state } = self;
        if splitter.finish(|item| state.take(item, emit)).is_err() {
            state.reader.fail(too_long(), emit);
        }
        state.end(emit);
    }

    fn lacks_nothing(&self) -> bool {
        let state = &self.state;
        !state.torn && state.bare.is_empty() && state.reader.lacks_nothing()
    }

    fn is_amid_words(&self) -> bool {
        self.state.reader.is_amid_words()
    }
}

impl<R: Reads> State<R> {
    fn take(&mut self, item: Item<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if self.reader.is_over() {
            return;
        }
        match item {
            Item::Event { name, data } => {
                let data = data.trim_ascii();
                if !data.is_empty() || name == b"error" {
                    self.framed = true;
                    self.take_bare(emit);
                    self.read(name, data, emit);
                }
            }
            Item::Raw(line) => self.line(line, emit),
        }
    }

    /// A line that is no field of an event: of a body that does not stream, or of an error that breaks in.
    fn line(&mut self, line: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        // llama.cpp writes an error as a field of that name.
        if let Some(words) = line.strip_prefix(b"error:") {
            self.framed = true;
            self.take_bare(emit);
            return self.read(b"error", words.trim_ascii(), emit);
        }
        let is_whole = self.bare.add(line);
        if self.framed && is_whole {
            self.take_bare(emit);
        }
    }

    /// Reads the lines so far as what stands between events: an error, or nothing that can be read.
    fn take_bare(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.bare.is_empty() {
            let text = std::mem::take(&mut self.bare).text;
            self.read(b"", text.trim_ascii(), emit);
        }
    }

    fn read(&mut self, name: &[u8], data: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        if self.reader.is_over() {
            return;
        }
        self.torn = match self.reader.event(name, data, emit) {
            Ok(()) => false,
            // The libraries of clients read more than is JSON.
            Err(Unreadable) => {
                tidied(data).is_none_or(|tidied| self.reader.event(name, &tidied, emit).is_err())
            }
        };
        if self.torn {
            emit(Event::Malformed);
        }
    }

    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.reader.is_over() {
            return;
        }
        if !self.framed && !self.bare.is_empty() {
            let body = std::mem::take(&mut self.bare).text;
            return self.reader.whole(&body, &mut reframed(emit));
        }
        self.torn |= !self.bare.is_empty();
        match (self.torn, self.reader.is_fresh()) {
            (false, _) => self.reader.end(emit),
            (true, true) => self.reader.fail(
                Fault::garbled("nothing in the provider's stream can be read"),
                emit,
            ),
            (true, false) => self.reader.fail(Fault::incomplete(), emit),
        }
    }
}

fn too_long() -> Fault {
    Fault::garbled("an event of the provider's stream is too long")
}

/// Emits events with the word before them that they come in another framing, unless all there is is a failure.
pub(super) fn reframed(emit: &mut dyn FnMut(Event<'_>)) -> impl FnMut(Event<'_>) {
    let mut told = false;
    move |event| {
        if !told && !matches!(event, Event::Failed(_)) {
            told = true;
            emit(Event::Reframed);
        }
        emit(event);
    }
}

/// Lines without `data:`, until their brackets balance. Google's errors are JSON over several lines.
#[derive(Default)]
struct Bare {
    text: Vec<u8>,
    open: usize,
    in_string: bool,
    escaped: bool,
}

impl Bare {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds a line. Whether the text is a whole now, or can become none.
    fn add(&mut self, line: &[u8]) -> bool {
        if self.text.len() + line.len() >= LONGEST_BARE {
            return true;
        }
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        for &byte in line {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.open += 1,
                b'}' | b']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
        // No text of JSON goes over the end of a line.
        self.open == 0 || self.in_string
    }
}
