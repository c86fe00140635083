//! An answer that has broken off: what its client has of it, and what a second telling of it begins with.

use std::sync::Arc;

use super::proof::Proof;
use super::sent::Sent;
use crate::dialect::exchange::Reply;
use crate::dialect::form::ClientChat;
use crate::ir::{Encode, Event, Fault};

/// An answer that has broken off, as its client has it.
#[derive(Clone, Debug)]
pub struct Interrupted {
    pub(in super::super) sent: Sent,
    /// What the answer said of itself, if the gateway wrote it.
    pub(in super::super) reply: Option<Reply>,
    /// What its client is told if it does not go on.
    pub(in super::super) fault: Fault,
}

impl Interrupted {
    /// Returns the words that its client has.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Returns what its client is told if it does not go on.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Makes `reply` say of the answer what was said of it before.
    pub(in super::super) fn adopt(&self, reply: &mut Reply) {
        match (&self.reply, self.sent.id()) {
            (Some(first), _) => {
                reply.id = Arc::clone(&first.id);
                reply.created = first.created;
                reply.started = first.started;
                reply.model = first.model.clone();
            }
            (None, Some(id)) => reply.id = id.into(),
            (None, None) => {}
        }
    }

    /// Makes a writer that has written what its client has.
    pub(in super::super) fn encoder(&self, client: &ClientChat, reply: Reply) -> Box<dyn Encode> {
        let mut encoder = (client.encoder)(reply);
        let mut written = Vec::new();
        let start = Event::Start {
            id: None,
            model: None,
        };
        encoder.event(&start, &mut written);
        self.sent.retell(&mut |event| {
            encoder.event(event, &mut written);
            written.clear();
        });
        encoder
    }

    /// Begins the comparison of a second telling with the first.
    pub(in super::super) fn proof(&self) -> Proof {
        Proof::of(&self.sent)
    }
}
