//! Reads one line or event after another, and decides what becomes of it.

use super::super::resume::sent::{Obstacle, Sent};
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
    /// What the client has been told, where the answer may go on elsewhere.
    pub(super) sent: Option<&'r mut Sent>,
    /// What the client is told of the answer's end, unless it goes on elsewhere.
    pub(super) untold: &'r mut Vec<u8>,
}

impl Reading<'_> {
    pub(super) fn unit(&mut self, bytes: &[u8]) -> Fate {
        let before = self.sent.as_ref().map(|sent| sent.mark());
        let fate = self.fate(bytes);
        // What comes with a failure is kept back with it.
        if let (Some(sent), Some(before), true) =
            (&mut self.sent, before, self.seen.fault.is_some())
        {
            sent.rewind(before);
        }
        if self.is_interrupted() {
            self.put_aside(fate, bytes);
            return Fate::LeftOut;
        }
        fate
    }

    fn fate(&mut self, bytes: &[u8]) -> Fate {
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
        let (seen, sent) = (&mut *self.seen, &mut self.sent);
        self.decoder.feed(bytes, &mut |event| {
            if let Some(sent) = sent
                && !seen.over()
            {
                sent.note(&event);
            }
            seen.event(&event);
        });
    }

    /// Lets bytes pass of which it is not known what they say.
    pub(super) fn unread(&mut self) -> Fate {
        if let Some(sent) = &mut self.sent {
            sent.bar(Obstacle::Length);
        }
        Fate::Passes
    }

    /// Returns whether the answer has failed and may go on elsewhere.
    pub(super) fn is_interrupted(&self) -> bool {
        let sent = self.sent.as_ref();
        self.seen.fault.is_some()
            && sent.is_some_and(|sent| sent.obstacle().is_none())
            && self.decoder.is_amid_words()
    }

    /// Puts aside what the client would be told of a failure.
    fn put_aside(&mut self, fate: Fate, bytes: &[u8]) {
        match fate {
            Fate::Passes => self.untold.extend_from_slice(bytes),
            Fate::Mended => self.untold.extend_from_slice(&self.mended),
            Fate::LeftOut => {}
            Fate::Untold => {
                let complaint = self.complaint();
                self.untold.extend_from_slice(&complaint);
            }
        }
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
