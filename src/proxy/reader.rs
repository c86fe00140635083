//! How an answer is read on its way to the client: bytes that pass with a tap at them, or a translation.

use std::time::Duration;

use http::HeaderMap;

use crate::dialect::ollama::{self, First, Framing, Operation, Tap};
use crate::dialect::openai::unasked::UsageFilter;
use crate::ir::{Fault, Usage};
use crate::translate::{self, Translation};

use super::outgoing::Unit;

/// The reader of one answer.
pub(super) enum Reader {
    /// The client's own format.
    Same(Tap),
    /// The same, but for the token counts that the client did not ask for.
    Uncounted(Tap, Box<UsageFilter>),
    /// Boxed: most answers need none.
    Across(Box<Translation>),
}

/// How an answer stands when its body has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Complete,
    /// Its terminator has not come, and the client does not know yet.
    Incomplete,
    /// With an error that the client has been told.
    Error,
}

impl Reader {
    /// Takes what was read and gives what the client gets of it.
    pub(super) fn feed<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        match self {
            Reader::Same(tap) => {
                tap.feed(piece);
                piece
            }
            Reader::Uncounted(tap, filter) => {
                tap.feed(piece);
                filter.feed(piece)
            }
            Reader::Across(translation) => translation.feed(piece),
        }
    }

    /// The body has come to its end; gives what the client still gets.
    pub(super) fn finish(&mut self, headers: &HeaderMap) -> (Ending, &[u8]) {
        match self {
            Reader::Same(tap) => (ending_of(tap), &[]),
            Reader::Uncounted(tap, filter) => (ending_of(tap), filter.finish()),
            Reader::Across(translation) => {
                let (ending, bytes) = translation.finish(headers);
                match ending {
                    translate::Ending::Complete => (Ending::Complete, bytes),
                    translate::Ending::Failed => (Ending::Error, bytes),
                }
            }
        }
    }

    /// Takes over what one call of several gave.
    pub(super) fn part(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        match self {
            Reader::Same(_) | Reader::Uncounted(..) => Ok(()),
            Reader::Across(translation) => translation.part(headers),
        }
    }

    /// Whether what the client gets is written here.
    pub(super) fn translates(&self) -> bool {
        matches!(self, Reader::Across(_))
    }

    /// Whether the client gets a stream.
    pub(super) fn streams(&self) -> bool {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => tap.streams(),
            Reader::Across(translation) => translation.streams(),
        }
    }

    /// What the client's answer is made of.
    pub(super) fn unit(&self, operation: Operation) -> Unit {
        match operation.framing() {
            _ if !self.streams() => Unit::Body,
            Framing::Sse => Unit::Event,
            _ => Unit::Line,
        }
    }

    /// Whether the answer has begun, with content or with an error.
    pub(super) fn begun(&self) -> bool {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => tap.first().is_some(),
            Reader::Across(translation) => translation.begun() || translation.fault().is_some(),
        }
    }

    /// Whether it began with an error line of the client's own format.
    pub(super) fn began_with_error(&self) -> bool {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => {
                matches!(tap.first(), Some(First::Error { .. }))
            }
            Reader::Across(_) => false,
        }
    }

    /// The provider's error in an answer that is translated.
    pub(super) fn fault(&self) -> Option<&Fault> {
        match self {
            Reader::Same(_) | Reader::Uncounted(..) => None,
            Reader::Across(translation) => translation.fault(),
        }
    }

    /// The text of the error that the answer began with, broke off with or was.
    pub(super) fn error_text(&self) -> Option<&str> {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => tap.error(),
            Reader::Across(translation) => translation.fault().map(|fault| &*fault.message),
        }
    }

    /// Whether nothing more is to be read although the body goes on.
    pub(super) fn cut(&self) -> bool {
        matches!(self, Reader::Across(translation) if translation.cut())
    }

    /// What the answer cost.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => tap.usage(),
            Reader::Across(translation) => {
                Some(translation.usage()).filter(|usage| *usage != Usage::default())
            }
        }
    }

    /// About how many tokens of output have come.
    pub(super) fn output_so_far(&self) -> u64 {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => tap.output_so_far(),
            Reader::Across(translation) => translation.output_so_far(),
        }
    }

    pub(super) fn content_lines(&self) -> u64 {
        match self {
            Reader::Same(tap) | Reader::Uncounted(tap, _) => tap.content_lines(),
            Reader::Across(translation) => translation.content_events(),
        }
    }

    pub(super) fn load_duration(&self) -> Option<Duration> {
        self.usage()
            .map(|usage| Duration::from_nanos(usage.load_duration.unwrap_or(0)))
    }
}

fn ending_of(tap: &mut Tap) -> Ending {
    match tap.finish() {
        ollama::Ending::Complete => Ending::Complete,
        ollama::Ending::Incomplete => Ending::Incomplete,
        ollama::Ending::Error => Ending::Error,
    }
}
