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

    /// Returns whether enough is gathered to be worth a write of its own.
    pub(crate) fn enough(&self) -> bool {
        self.0.len() >= ENOUGH
    }

    /// Returns what is to be sent.
    pub(crate) fn ready(&self) -> &[u8] {
        &self.0
    }

    /// Takes out what is to be sent, so that more can be added meanwhile.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// What [`Self::take`] gave is sent; its buffer is used again where nothing has come meanwhile.
    pub(crate) fn sent(&mut self, mut buffer: Vec<u8>) {
        if self.0.is_empty() && buffer.capacity() <= KEPT {
            buffer.clear();
            self.0 = buffer;
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
        let buffer = outgoing.take();
        let capacity = buffer.capacity();
        outgoing.sent(buffer);
        assert!(outgoing.ready().is_empty() && outgoing.0.capacity() == capacity);
        let buffer = outgoing.take();
        outgoing.push(b"meanwhile");
        outgoing.sent(buffer);
        assert_eq!(outgoing.ready(), b"meanwhile");
        outgoing.push(&vec![b'x'; KEPT + 1]);
        assert!(outgoing.enough());
        let buffer = outgoing.take();
        outgoing.sent(buffer);
        assert!(outgoing.ready().is_empty() && outgoing.0.capacity() == 0);
    }
}
