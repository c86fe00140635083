//! An answer whose bytes pass as they came. The decoder of its form reads it beside them, the same that a translation
//! reads it with: so both ways have one idea of its first content, its usage, its errors and its end.
//!
//! Of a stream whole lines or events pass, each once it has been read; one that cannot be read does not, and one that the
//! libraries of its form would misread is put right. A whole answer is held until it is known to be what was asked for.

mod calls;
mod empty;
mod label;
mod members;
mod named;
mod plain;
mod seen;
mod shape;
mod told;

#[cfg(test)]
mod tests;

pub(super) use shape::has_vectors;

use super::answer::Ending;
use super::forms;
use super::inputs;
use super::pending::{Pending, completion};
use crate::client::{AnswerFraming, ErrorStyle, Operation};
use crate::dialect::form::ProviderChat;
use crate::dialect::ollama::STREAM_BROKEN;
use crate::dialect::openai::unasked;
use crate::ir::{Class, Decode, Event, Fault, FaultKind, ToolNames, Usage};
use crate::wire::json::Skim;
use crate::wire::ndjson::{BYTE_ORDER_MARK, unmarked};
use crate::wire::units::{Cut, Cutter, StreamUnit};
use calls::Calls;
use empty::Emptiness;
use seen::Seen;

/// Bytes of a whole answer that are held until it is complete, as many as of one line of a stream. What is larger passes
/// as it comes.
const MAX_HELD: usize = 8 << 20;

/// The reader of one answer that passes.
pub struct Passing {
    operation: Operation,
    /// What the request asked for.
    streaming: bool,
    /// The client did not ask for the token counts that come as an event of their own.
    uncounted: bool,
    /// How many vectors it asked for, where that is known.
    vectors: Option<usize>,
    /// The answer may be a text that is no JSON.
    plain: bool,
    shape: Shape,
    /// Of a whole body.
    pending: Pending,
    care: Care,
    seen: Seen,
    out: Vec<u8>,
    /// What the provider said when it failed, as clients of the format read it.
    failing: Vec<u8>,
    /// What the answer's head should say of its bytes, where it says something else.
    label: Option<&'static str>,
}

/// What the answer is made of.
enum Shape {
    Stream(Box<Stream>),
    /// One body, as far as it has come.
    Whole(Vec<u8>),
    /// One body that is too large to be held.
    Large(Box<Skim>),
    /// One body of which nothing is known, or none.
    Unread,
}

struct Stream {
    cutter: Cutter,
    decoder: Box<dyn Decode>,
    pending: Pending,
    /// Past the first line or event, which may begin with a byte order mark. Few libraries read it over.
    begun: bool,
}

/// What is put right of the events that pass.
enum Care {
    Nothing,
    Names,
    Calls(Calls),
}

impl Care {
    fn of(operation: Operation) -> Self {
        match operation {
            Operation::AnthropicMessages | Operation::OpenAiResponses => Care::Names,
            Operation::OpenAiChat => Care::Calls(Calls::default()),
            _ => Care::Nothing,
        }
    }

    /// The event as its client's library wants it; `None` if it is.
    fn mended(&mut self, event: &[u8]) -> Option<Vec<u8>> {
        match self {
            Care::Nothing => None,
            Care::Names => named::named(event),
            Care::Calls(calls) => calls.mended(event),
        }
    }
}

/// What becomes of a line or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    /// It passes as it was put right.
    Mended,
    /// It is not for the client.
    LeftOut,
    /// The provider has failed in words that the client's library does not take for a failure.
    Untold,
}

impl Passing {
    /// `streaming`: what the request asked for, with the operation's default applied. Nothing is read before
    /// [`Self::begin`] has said what comes.
    pub fn new(operation: Operation, streaming: bool) -> Self {
        Passing {
            operation,
            streaming,
            uncounted: false,
            vectors: None,
            plain: false,
            shape: Shape::Unread,
            pending: Pending::default(),
            care: Care::of(operation),
            seen: Seen::default(),
            out: Vec::new(),
            failing: Vec::new(),
            label: None,
        }
    }

    /// Keeps the event from the client that tells the token counts and nothing else.
    #[must_use]
    pub fn uncounted(self) -> Self {
        Passing {
            uncounted: true,
            ..self
        }
    }

    /// Holds the answer against what the request asks for: as many vectors as it has inputs.
    #[must_use]
    pub fn answering(self, body: &[u8]) -> Self {
        Passing {
            vectors: inputs::count(self.operation, body),
            ..self
        }
    }

    /// The answer's head has come. What kind of bytes follow is asked of them and not of their type, but for what may
    /// come in several forms.
    pub fn begin(&mut self, succeeded: bool, content_type: Option<&[u8]>) {
        use Operation::*;
        let has_type = |name: &[u8]| {
            content_type.is_some_and(|given| {
                given.len() >= name.len() && given[..name.len()].eq_ignore_ascii_case(name)
            })
        };
        let stream = |unit, decoder| {
            let cutter = Cutter::new(unit);
            let pending = Pending::default();
            Shape::Stream(Box::new(Stream {
                cutter,
                decoder,
                pending,
                begun: false,
            }))
        };
        // Text or subtitles, if that was asked for.
        self.plain =
            self.operation == Operation::AudioTranscriptions && !has_type(b"application/json");
        self.shape = match self.operation {
            _ if !succeeded => Shape::Unread,
            Root | Version | Tags | Ps | Copy | Delete | BlobHead | BlobPost | OpenAiModels
            | OpenAiModel => Shape::Unread,
            // Some models ignore that a stream was asked for, and say so.
            AudioTranscriptions | OpenAiImages | OpenAiImageEdits => {
                if self.streaming && has_type(b"text/event-stream") {
                    stream(StreamUnit::Event, plain::events())
                } else {
                    Shape::Whole(Vec::new())
                }
            }
            operation if self.streaming && operation.framing() != AnswerFraming::Whole => {
                match (forms::chat_of(operation), operation.framing()) {
                    (Some(chat), AnswerFraming::Sse) => stream(StreamUnit::Event, decoder(chat)),
                    (Some(chat), _) => stream(StreamUnit::Line, decoder(chat)),
                    (None, _) => stream(StreamUnit::Line, plain::progress()),
                }
            }
            _ => Shape::Whole(Vec::new()),
        };
        self.label = match &self.shape {
            Shape::Stream(stream) => label::of_stream(stream.cutter.unit(), content_type),
            Shape::Whole(_) if self.operation != AudioTranscriptions => {
                label::of_value(content_type)
            }
            _ => None,
        };
    }

    /// What the answer's head should say of its bytes, where it says something else.
    pub fn content_type(&self) -> Option<&'static str> {
        self.label
    }

    /// Whether the answer is lines or events rather than one body.
    pub fn streams(&self) -> bool {
        matches!(self.shape, Shape::Stream(_))
    }

    /// Whether the answer is held until it is whole.
    pub fn holds(&self) -> bool {
        matches!(self.shape, Shape::Whole(_))
    }

    /// Whether the answer has begun: until then another backend may be tried.
    pub fn begun(&self) -> bool {
        self.seen.begun
    }

    /// Whether the answer is over, though bytes may still come.
    pub fn over(&self) -> bool {
        self.seen.over()
    }

    /// Why there is no answer, or no more of it.
    pub fn fault(&self) -> Option<&Fault> {
        self.seen.fault.as_ref()
    }

    /// What the provider said when it failed: its line, event or body, or one of the format's own if that is not how
    /// clients know a failure.
    pub fn failing(&self) -> &[u8] {
        &self.failing
    }

    /// What the answer said it cost, once it has.
    pub fn usage(&self) -> Option<Usage> {
        Some(self.seen.usage).filter(|usage| *usage != Usage::default())
    }

    /// Lines or events that carried content: about as many as tokens.
    pub fn content_units(&self) -> u64 {
        self.seen.units
    }

    /// About how many tokens of output have come, for an answer that did not live to tell: four bytes are one, and a
    /// line or an event is at least one.
    pub fn output_so_far(&self) -> u64 {
        self.seen.units.max(self.seen.said / 4)
    }

    /// Bytes that are read as a whole when all have come.
    pub fn held(&self) -> usize {
        match &self.shape {
            Shape::Whole(held) => held.len(),
            _ => 0,
        }
    }

    /// Lines or events that could not be read and were left out.
    pub fn malformed(&self) -> u64 {
        self.seen.malformed
    }

    /// Takes the next bytes of the answer and gives those that pass.
    pub fn feed<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        match &mut self.shape {
            Shape::Stream(_) => self.feed_stream(piece),
            Shape::Whole(held) if held.len() + piece.len() <= MAX_HELD => {
                held.extend_from_slice(piece);
                if !self.plain && self.pending.is_events(held) {
                    // Its end may be long in coming.
                    self.seen.misframed();
                }
                &[]
            }
            Shape::Whole(held) => {
                self.out = std::mem::take(held);
                self.out.extend_from_slice(piece);
                let mut skim = Box::<Skim>::default();
                skim.feed(&self.out);
                self.shape = Shape::Large(skim);
                self.seen.begun = true;
                &self.out
            }
            Shape::Large(skim) => {
                // What was held until then.
                self.out = Vec::new();
                skim.feed(piece);
                piece
            }
            Shape::Unread => {
                self.seen.begun |= !piece.is_empty();
                piece
            }
        }
    }

    fn feed_stream<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        let Shape::Stream(stream) = &mut self.shape else {
            return piece;
        };
        let Stream {
            cutter,
            decoder,
            begun,
            ..
        } = &mut **stream;
        let mut reading = Reading {
            operation: self.operation,
            uncounted: self.uncounted,
            decoder: &mut **decoder,
            care: &mut self.care,
            seen: &mut self.seen,
            failing: &mut self.failing,
            mended: Vec::new(),
        };
        let out = &mut self.out;
        out.clear();
        // What passes is the piece itself up to here, until something else than that passes.
        let mut passed = 0;
        let mut in_place = cutter.is_between();
        cutter.feed(piece, |cut| {
            if reading.seen.over() {
                return;
            }
            let (fate, bytes) = match cut {
                Cut::Whole { bytes, end } => {
                    let unit = if std::mem::replace(begun, true) {
                        bytes
                    } else {
                        unmarked(bytes)
                    };
                    match reading.unit(unit) {
                        Fate::Passes if in_place && unit.len() == bytes.len() => {
                            passed = end;
                            return;
                        }
                        fate => (fate, unit),
                    }
                }
                // One that is too long to be held is one that no client reads either.
                Cut::Part { bytes, .. } => (Fate::Passes, bytes),
            };
            if std::mem::take(&mut in_place) {
                out.extend_from_slice(&piece[..passed]);
            }
            match fate {
                Fate::Passes => out.extend_from_slice(bytes),
                Fate::Mended => out.extend_from_slice(&reading.mended),
                Fate::LeftOut => {}
                Fate::Untold => out.extend_from_slice(&reading.complaint()),
            }
        });
        if in_place {
            &piece[..passed]
        } else {
            &self.out
        }
    }

    /// The body has come to its end. Gives the last bytes for the client.
    pub fn finish(&mut self) -> (Ending, &[u8]) {
        self.out.clear();
        match &mut self.shape {
            Shape::Unread => {
                self.seen.begun = true;
                self.seen.ended = true;
            }
            Shape::Large(skim) => {
                self.seen.ended = true;
                if let Some(members) = std::mem::take(&mut **skim).finish() {
                    self.seen.usage.update(&plain::usage_of(&members));
                }
            }
            Shape::Whole(held) => {
                self.out = std::mem::take(held);
                self.finish_whole();
            }
            Shape::Stream(_) if !self.seen.over() => self.finish_stream(),
            Shape::Stream(_) => {}
        }
        let ending = match self.seen.fault {
            Some(_) => Ending::Failed,
            None => Ending::Complete,
        };
        (ending, &self.out)
    }

    /// Whether the answer lacks nothing but the end of its last line or event, or of its body's framing.
    pub fn nearly_over(&mut self) -> bool {
        let over = self.seen.over();
        match &mut self.shape {
            Shape::Stream(stream) if !over => {
                let Stream {
                    cutter,
                    decoder,
                    pending,
                    ..
                } = &mut **stream;
                pending.is_last(cutter) || (cutter.is_between() && decoder.lacks_nothing())
            }
            Shape::Whole(held) if !over => self.pending.is_whole(held),
            _ => false,
        }
    }

    /// Nothing comes any more although the body is open. Gives the last bytes for the client if the answer is over for
    /// all that.
    pub fn settle(&mut self) -> Option<&[u8]> {
        self.out.clear();
        if self.nearly_over() {
            match std::mem::replace(&mut self.shape, Shape::Unread) {
                Shape::Whole(held) => {
                    self.out = held;
                    self.finish_whole();
                }
                shape => {
                    self.shape = shape;
                    self.finish_stream();
                }
            }
            return Some(&self.out);
        }
        let over = self.seen.over();
        match &mut self.shape {
            Shape::Stream(stream) if !over && stream.cutter.is_between() => {
                let seen = &mut self.seen;
                stream.decoder.finish(&mut |event| match event {
                    // Why it is none is known better.
                    Event::Failed(_) => {}
                    event => seen.event(&event),
                });
                seen.end_unit();
            }
            _ => return None,
        }
        if !self.seen.ended {
            return None;
        }
        self.out.extend_from_slice(terminator(self.operation));
        Some(&self.out)
    }

    fn finish_whole(&mut self) {
        let (seen, body) = (&mut self.seen, &mut self.out);
        if body.starts_with(BYTE_ORDER_MARK) {
            // Few libraries read it over.
            body.drain(..BYTE_ORDER_MARK.len());
        }
        let body = &*body;
        if forms::chat_of(self.operation).is_some() && std::str::from_utf8(body).is_err() {
            let what = "the provider's answer is no UTF-8";
            seen.fault = Some(Fault::garbled(what));
            return;
        }
        let mut emit = |event: Event<'_>| seen.event(&event);
        match forms::chat_of(self.operation) {
            Some(_)
                if matches!(self.operation, Operation::Chat | Operation::Generate)
                    && plain::is_rendered(body) =>
            {
                emit(Event::Foreign);
                emit(Event::End);
            }
            // Its client asks for the answer later.
            Some(_)
                if self.operation == Operation::OpenAiResponses
                    && plain::is_in_background(body) =>
            {
                emit(Event::Foreign);
                emit(Event::End);
            }
            Some(chat) => forms::read_whole(chat, body, &ToolNames::default(), &mut emit),
            None => plain::read_whole(self.operation, body, self.plain, self.vectors, &mut emit),
        }
        seen.end_unit();
        seen.conclude();
        if seen.is_garbled() && shape::is_of_clients(self.operation, body) {
            seen.accept(&plain::usage_of(body));
        }
        if self.seen.failed_by_its_own_words() {
            let told = told::is_told_whole(self.operation, &self.out);
            self.failing = self.seen.words(self.operation, told, &self.out);
        }
    }

    fn finish_stream(&mut self) {
        let Shape::Stream(stream) = &mut self.shape else {
            return;
        };
        let Stream {
            cutter,
            decoder,
            begun,
            ..
        } = &mut **stream;
        let inside = cutter.inside();
        let unit = cutter.unit();
        let mut rest = cutter.finish();
        if !std::mem::replace(begun, true) && rest.starts_with(BYTE_ORDER_MARK) {
            rest.drain(..BYTE_ORDER_MARK.len());
        }
        let bare = rest.len();
        if unit == StreamUnit::Line && plain::is_rendered(&rest) {
            self.seen.accept(&Usage::default());
            self.out = rest;
            return;
        }
        let mut reading = Reading {
            operation: self.operation,
            uncounted: self.uncounted,
            decoder: &mut **decoder,
            care: &mut self.care,
            seen: &mut self.seen,
            failing: &mut self.failing,
            mended: Vec::new(),
        };
        let mut torn = false;
        if bare > 0 {
            // An event without its blank line is none to most libraries; a line without its newline is one.
            rest.extend_from_slice(completion(unit, &rest));
            let before = reading.seen.malformed;
            let fate = reading.unit(&rest);
            // The beginning of one whose end was lost is nothing that the provider got wrong, but where it broke off.
            torn = reading.seen.malformed > before;
            reading.seen.malformed = before;
            match fate {
                Fate::Passes if unit == StreamUnit::Line => {
                    self.out.extend_from_slice(&rest[..bare]);
                }
                Fate::Passes => self.out.extend_from_slice(&rest),
                Fate::Mended => self.out.extend_from_slice(&reading.mended),
                Fate::LeftOut => {}
                Fate::Untold => self.out.extend_from_slice(&reading.complaint()),
            }
        }
        if reading.seen.over() {
            return;
        }
        if torn {
            reading.seen.conclude();
        } else {
            reading.end();
        }
        if reading.seen.fault.is_some() {
            let end = if inside {
                ErrorStyle::of(self.operation).stream_end(502, STREAM_BROKEN, true)
            } else {
                reading.complaint().into()
            };
            self.out.extend_from_slice(&end);
        } else {
            // The provider left it out, and has said all the same that it was done.
            self.out.extend_from_slice(terminator(self.operation));
        }
    }

    /// Ends the client's stream with an error in place of what the provider did not send.
    pub fn break_off(&mut self, text: &'static str) -> &[u8] {
        let inside = match &self.shape {
            Shape::Stream(stream) => stream.cutter.inside(),
            _ => false,
        };
        let fault = Fault::new(Class::Transient, FaultKind::Incomplete, text);
        self.seen.fault.get_or_insert(fault);
        let end = ErrorStyle::of(self.operation).stream_end(502, text, inside);
        self.out = end.into();
        &self.out
    }
}

/// What reads one line or event after another.
struct Reading<'r> {
    operation: Operation,
    uncounted: bool,
    decoder: &'r mut dyn Decode,
    care: &'r mut Care,
    seen: &'r mut Seen,
    failing: &'r mut Vec<u8>,
    /// The event as it was put right.
    mended: Vec<u8>,
}

impl Reading<'_> {
    fn unit(&mut self, bytes: &[u8]) -> Fate {
        let is_text = std::str::from_utf8(bytes).is_ok();
        if !is_text && ErrorStyle::of(self.operation) != ErrorStyle::Ollama {
            // Libraries that read events give the stream up at such a one.
            self.seen.malformed += 1;
            return Fate::LeftOut;
        }
        self.read(bytes);
        if self.seen.unreadable() && !is_text {
            // Whoever reads it as text sees replacement characters, and the rest.
            self.seen.again();
            let text = String::from_utf8_lossy(bytes);
            self.read(text.as_bytes());
        }
        let emptiness = if self.seen.told_nothing() && !self.seen.over() {
            empty::emptiness(self.operation, bytes)
        } else {
            Emptiness::Speaks
        };
        if emptiness == Emptiness::Formless {
            self.seen.event(&Event::Malformed);
        }
        let unreadable = self.seen.unreadable() || emptiness == Emptiness::Blank;
        let told_usage = self.seen.told_usage();
        self.seen.end_unit();
        if self.seen.failed_by_its_own_words() {
            let told = told::is_told(self.operation, bytes);
            *self.failing = self.seen.words(self.operation, told, bytes);
            return if told { Fate::Passes } else { Fate::Untold };
        }
        let left_out =
            unreadable || (self.uncounted && told_usage && unasked::tells_usage_alone(bytes));
        match (self.seen.fault.is_some(), left_out) {
            (true, _) => Fate::Untold,
            (false, true) => Fate::LeftOut,
            (false, false) => match self.care.mended(bytes) {
                Some(mended) => {
                    self.mended = mended;
                    Fate::Mended
                }
                None => Fate::Passes,
            },
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let seen = &mut *self.seen;
        self.decoder.feed(bytes, &mut |event| seen.event(&event));
    }

    /// The body has ended.
    fn end(&mut self) {
        let seen = &mut *self.seen;
        self.decoder.finish(&mut |event| seen.event(&event));
        seen.end_unit();
        seen.conclude();
    }

    /// The fault in the client's format.
    fn complaint(&self) -> Vec<u8> {
        let (status, text) = match &self.seen.fault {
            Some(fault) if fault.kind != FaultKind::Incomplete => {
                (fault.client_status(), &*fault.message)
            }
            _ => (502, STREAM_BROKEN),
        };
        ErrorStyle::of(self.operation)
            .stream_end(status, text, false)
            .into()
    }
}

fn decoder(chat: &ProviderChat) -> Box<dyn Decode> {
    (chat.decoder)(ToolNames::default())
}

/// What ends a stream, where it says nothing that has not been said before.
fn terminator(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::OpenAiChat | Operation::OpenAiCompletions => b"data: [DONE]\n\n",
        Operation::AnthropicMessages => {
            b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        }
        _ => b"",
    }
}
