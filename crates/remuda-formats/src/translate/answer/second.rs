//! An answer that was begun elsewhere and goes on here.

use super::super::resume::interrupted::Interrupted;
use super::super::resume::proof::{Proof, Told};
use crate::ir::{Event, Fault};

/// An event that clients skip (server-sent events, section 9.2.6 of the HTML standard).
const COMMENT: &[u8] = b": resumed\n\n";

/// What is known of the answer from before.
pub(super) struct Second {
    /// `None` once all that its client has has come again.
    proof: Option<Proof>,
    /// What its client is told if this is another answer.
    fault: Fault,
    /// The client's format has comments.
    has_comments: bool,
    differs: bool,
}

impl Second {
    pub(super) fn of(from: &Interrupted, has_comments: bool) -> Self {
        Second {
            proof: Some(from.proof()),
            fault: from.fault().clone(),
            has_comments,
            differs: false,
        }
    }

    /// Decides what becomes of the next event. Where all that the client has has come, a comment says that the answer goes on.
    pub(super) fn take<'e>(&mut self, event: Event<'e>, out: &mut Vec<u8>) -> Told<'e> {
        let Some(proof) = &mut self.proof else {
            return Told::News(event);
        };
        let told = if proof.is_over() {
            Told::News(event)
        } else {
            proof.take(event)
        };
        if proof.is_over() {
            self.proof = None;
            if self.has_comments {
                out.extend_from_slice(COMMENT);
            }
        }
        told
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
