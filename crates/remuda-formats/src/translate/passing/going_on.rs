//! An answer that passes and may go on elsewhere if it breaks off: what its client has of it is kept beside the bytes, and
//! what ends it is not told before it is known that nobody goes on with it.

use super::super::resume::interrupted::Interrupted;
use super::super::resume::sent::Sent;
use super::{Passing, Shape};
use crate::ir::{Class, Fault, FaultKind};

impl Passing {
    /// Keeps what the client is told, so that the answer may go on elsewhere if it breaks off: what ends it is not told
    /// before [`Self::give_up`].
    pub fn watch(&mut self) {
        self.sent = Some(Box::default());
    }

    /// Returns what the client has, if the answer may go on elsewhere.
    fn sent(&self) -> Option<&Sent> {
        match &self.shape {
            // What has passed of a line or an event that is too long is not known.
            Shape::Stream(stream) if !stream.cutter.inside() && stream.decoder.is_amid_words() => {
                self.sent.as_deref()
            }
            _ => None,
        }
        .filter(|sent| sent.obstacle().is_none())
    }

    /// Returns whether the answer may go on elsewhere if it breaks off now, or has.
    pub fn may_go_on(&self) -> bool {
        self.sent().is_some()
    }

    /// Returns the answer as its client has it, which broke off as `text` says if the provider did not say why; `None` if
    /// it cannot go on elsewhere.
    pub fn interrupted(&self, text: &'static str) -> Option<Interrupted> {
        let fault = self.seen.fault.clone();
        Some(Interrupted {
            sent: self.sent()?.clone(),
            reply: None,
            fault: fault
                .unwrap_or_else(|| Fault::new(Class::Transient, FaultKind::Incomplete, text)),
        })
    }

    /// Takes that the answer does not go on elsewhere. Returns what the client is told of its end, if that has come.
    pub fn give_up(&mut self) -> &[u8] {
        self.sent = None;
        self.out = std::mem::take(&mut self.untold);
        &self.out
    }
}
