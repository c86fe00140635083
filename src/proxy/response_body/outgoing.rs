//! Bytes on their way to the client: pieces that arrive together leave together. Of a stream they are whole lines or
//! events, as its reader gives them, so that an error can follow wherever the backend breaks off.

/// Bytes that are gathered before they are sent.
const ENOUGH: usize = 32 * 1024;
/// A buffer that a large line has grown beyond this is given back.
const KEPT: usize = 64 * 1024;

/// The bytes between a read and a write; reused for the whole answer.
#[derive(Debug, Default)]
pub(crate) struct Outgoing(Vec<u8>);

impl Outgoing {
    /// Adds what may be sent.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    /// Whether enough is gathered to be worth a write of its own.
    pub(crate) fn enough(&self) -> bool {
        self.0.len() >= ENOUGH
    }

    /// What is to be sent.
    pub(crate) fn ready(&self) -> &[u8] {
        &self.0
    }

    /// [`Self::ready`] is sent.
    pub(crate) fn sent(&mut self) {
        self.0.clear();
        if self.0.capacity() > KEPT {
            self.0 = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_came_and_a_large_buffer_is_given_back() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"one ");
        outgoing.push(b"two");
        assert_eq!(outgoing.ready(), b"one two");
        outgoing.sent();
        outgoing.push(&vec![b'x'; KEPT + 1]);
        assert!(outgoing.enough());
        outgoing.sent();
        assert!(outgoing.ready().is_empty() && outgoing.0.capacity() == 0);
    }
}
