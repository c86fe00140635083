//! Reads one line or event after another, and decides what becomes of it.

use super::care::Care;
use super::empty::{self, Emptiness};
use super::seen::Seen;
use super::told;
use crate::client::{ErrorStyle, Operation};
use crate::dialect::ollama::STREAM_BROKEN;
use crate::dialect::openai::unasked;
use crate::ir::{Decode, Event, FaultKind};

/// What becomes of a line or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    /// It passes as it was put right.
    Mended,
    /// It is not for the client.
    LeftOut,
    /// The provider has failed in words that the client's library does not take for a failure.
    Untold,
}

/// What reads one line or event after another.
pub(super) struct Reading<'r> {
    pub(super) operation: Operation,
    pub(super) uncounted: bool,
    pub(super) decoder: &'r mut dyn Decode,
    pub(super) care: &'r mut Care,
    pub(super) seen: &'r mut Seen,
    pub(super) failing: &'r mut Vec<u8>,
    /// The event as it was put right.
    pub(super) mended: Vec<u8>,
}

impl Reading<'_> {
    pub(super) fn unit(&mut self, bytes: &[u8]) -> Fate {
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
    pub(super) fn end(&mut self) {
        let seen = &mut *self.seen;
        self.decoder.finish(&mut |event| seen.event(&event));
        seen.end_unit();
        seen.conclude();
    }

    /// Returns the fault in the client's format.
    pub(super) fn complaint(&self) -> Vec<u8> {
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
