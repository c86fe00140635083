//! An answer that was begun elsewhere and goes on here.

use super::super::resume::interrupted::Interrupted;
use super::super::resume::proof::{Proof, Told};
use crate::ir::{Event, Fault, Usage};

/// An event that clients skip (server-sent events, section 9.2.6 of the HTML standard).
const COMMENT: &[u8] = b": resumed\n\n";

/// What is known of the answer from before.
pub(super) struct Second {
    /// `None` once all that its client has has come again.
    proof: Option<Proof>,
    /// What its client is told if this is another answer.
    fault: Fault,
    /// The client's format has comments, and it has not been told that the answer goes on.
    has_comments: bool,
    differs: bool,
    /// Tokens of the answer that are not in what is told of it here.
    before: u64,
}

impl Second {
    pub(super) fn of(from: &Interrupted, has_comments: bool) -> Self {
        Second {
            proof: Some(from.proof()),
            fault: from.fault().clone(),
            has_comments,
            differs: false,
            before: 0,
        }
    }

    /// Of an answer that is written on from what its client has.
    pub(super) fn written_on(from: &Interrupted, has_comments: bool) -> Self {
        Second {
            proof: None,
            before: from.sent().pieces(),
            ..Second::of(from, has_comments)
        }
    }

    /// Decides what becomes of the next event. Where all that the client has has come, a comment says that the answer goes on.
    pub(super) fn take<'e>(&mut self, event: Event<'e>, out: &mut Vec<u8>) -> Told<'e> {
        let Some(proof) = &mut self.proof else {
            self.announce(out);
            return Told::News(self.summed(event));
        };
        let told = if proof.is_over() {
            Told::News(event)
        } else {
            proof.take(event)
        };
        if proof.is_over() {
            self.proof = None;
            self.announce(out);
        }
        told
    }

    fn announce(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.has_comments) {
            out.extend_from_slice(COMMENT);
        }
    }

    /// Returns the event with the tokens of the whole answer: what was said before was read as a part of the prompt.
    fn summed<'e>(&self, event: Event<'e>) -> Event<'e> {
        match event {
            Event::Usage(usage) if self.before > 0 => Event::Usage(Usage {
                prompt: usage.prompt.map(|all| all.saturating_sub(self.before)),
                output: usage.output.map(|rest| rest + self.before),
                ..usage
            }),
            event => event,
        }
    }

    /// Notes that the answer is another one. Returns what its client is told.
    pub(super) fn differ(&mut self) -> Fault {
        self.differs = true;
        self.fault.clone()
    }

    /// Returns whether the answer is another one than its client has.
    pub(super) fn differs(&self) -> bool {
        self.differs
    }

    /// Returns whether not all that its client has has come again.
    pub(super) fn is_withheld(&self) -> bool {
        self.proof.is_some()
    }
}
