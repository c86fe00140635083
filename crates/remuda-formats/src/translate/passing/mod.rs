//! An answer whose bytes pass as they came. The decoder of its form reads it beside them, the same that a translation
//! reads it with: so both ways have one idea of its first content, its usage, its errors and its end.
//!
//! Of a stream whole lines or events pass, each once it has been read; one that cannot be read does not, and one that the
//! libraries of its form would misread is put right. A whole answer is held until it is known to be what was asked for.

mod calls;
mod care;
mod empty;
mod finish;
mod going_on;
mod label;
mod members;
mod named;
mod plain;
mod reading;
mod seen;
mod shape;
mod told;

#[cfg(test)]
mod tests;

pub(super) use shape::has_vectors;

use super::forms;
use super::inputs;
use super::pending::Pending;
use super::resume::sent::Sent;
use crate::client::{AnswerFraming, Operation};
use crate::dialect::form::ProviderChat;
use crate::ir::{Decode, Fault, ToolNames, Usage};
use crate::wire::json::Skim;
use crate::wire::ndjson::unmarked;
use crate::wire::units::{Cut, Cutter, StreamUnit};
use care::Care;
use reading::{Fate, Reading};
use seen::Seen;

/// Bytes of a whole answer that are held until it is complete, as many as of one line of a stream. What is larger
/// passes as it comes.
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
    /// How far a whole body has come.
    pending: Pending,
    care: Care,
    seen: Seen,
    out: Vec<u8>,
    /// What the provider said when it failed, as clients of the format read it.
    failing: Vec<u8>,
    /// What the answer's head should say of its bytes, where it says something else.
    label: Option<&'static str>,
    /// What its client has been told, where the answer may go on elsewhere.
    sent: Option<Box<Sent>>,
    /// What the client is told of the answer's end, unless it goes on elsewhere.
    untold: Vec<u8>,
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
    /// Whether the first line or event, which may begin with a byte order mark, has passed. Few libraries read it over.
    begun: bool,
}

impl Passing {
    /// Creates a reader; `streaming` is what the request asked for, with the operation's default applied. Nothing is
    /// read before [`Self::begin`] has said what comes.
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
            sent: None,
            untold: Vec::new(),
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

    /// Returns what the answer's head should say of its bytes, where it says something else.
    pub fn content_type(&self) -> Option<&'static str> {
        self.label
    }

    /// Returns whether the answer is lines or events rather than one body.
    pub fn streams(&self) -> bool {
        matches!(self.shape, Shape::Stream(_))
    }

    /// Returns whether the answer is held until it is whole.
    pub fn holds(&self) -> bool {
        matches!(self.shape, Shape::Whole(_))
    }

    /// Returns whether the answer has begun: until then another backend may be tried.
    pub fn begun(&self) -> bool {
        self.seen.begun
    }

    /// Returns whether the answer is over, though bytes may still come.
    pub fn over(&self) -> bool {
        self.seen.over()
    }

    /// Returns why there is no answer, or no more of it.
    pub fn fault(&self) -> Option<&Fault> {
        self.seen.fault.as_ref()
    }

    /// Returns what the provider said when it failed: its line, event or body, or one of the format's own if that is
    /// not how clients know a failure.
    pub fn failing(&self) -> &[u8] {
        &self.failing
    }

    /// Returns what the answer said it cost, once it has.
    pub fn usage(&self) -> Option<Usage> {
        Some(self.seen.usage).filter(|usage| *usage != Usage::default())
    }

    /// Lines or events that carried content: about as many as tokens.
    pub fn content_units(&self) -> u64 {
        self.seen.units
    }

    /// Returns about how many tokens of output have come, for an answer that did not live to tell: four bytes are one,
    /// and a line or an event is at least one.
    pub fn output_so_far(&self) -> u64 {
        self.seen.units.max(self.seen.said / 4)
    }

    /// Returns how many bytes are held, to be read as a whole when all have come.
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
            sent: self.sent.as_deref_mut(),
            untold: &mut self.untold,
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
                Cut::Part { bytes, .. } => (reading.unread(), bytes),
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
}

fn decoder(chat: &ProviderChat) -> Box<dyn Decode> {
    (chat.decoder)(ToolNames::default())
}
