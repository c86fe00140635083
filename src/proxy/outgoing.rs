//! Bytes on their way to the client: pieces that arrive together leave together, and of a streamed
//! answer only whole lines leave, so that an error line can follow wherever the backend breaks off.

use memchr::memrchr;

/// Bytes of an unfinished line held at most: what Ollama's own client accepts as a line.
const MAX_LINE: usize = 8 * 1024 * 1024;
/// Bytes that are gathered before they are sent.
const ENOUGH: usize = 32 * 1024;
/// A buffer that a large line has grown beyond this is given back.
const KEPT: usize = 64 * 1024;

/// The bytes between a read and a write; reused for the whole answer.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of `bytes` may be sent.
    whole: usize,
    lines: bool,
}

impl Outgoing {
    /// `lines`: whether the answer is lines or events, of which only whole ones are sent.
    pub(super) fn new(lines: bool) -> Self {
        Self {
            bytes: Vec::new(),
            whole: 0,
            lines,
        }
    }

    /// Adds what was read.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        if !self.lines || self.bytes.len() - self.whole > MAX_LINE {
            self.whole = self.bytes.len();
        } else if let Some(last) = memrchr(b'\n', piece) {
            self.whole = before + last + 1;
        }
    }

    /// Whether enough is gathered to be worth a write of its own.
    pub(super) fn enough(&self) -> bool {
        self.whole >= ENOUGH
    }

    /// What may be sent.
    pub(super) fn ready(&self) -> &[u8] {
        &self.bytes[..self.whole]
    }

    /// [`Self::ready`] is sent.
    pub(super) fn sent(&mut self) {
        self.bytes.drain(..self.whole);
        self.whole = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }

    /// The backend ended properly: an unfinished line is all there will be.
    pub(super) fn end(&mut self) {
        self.whole = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn send(outgoing: &mut Outgoing, sent: &mut Vec<u8>) {
        sent.extend_from_slice(outgoing.ready());
        outgoing.sent();
    }

    proptest! {
        #[test]
        fn lines_pass_unchanged_and_whole_however_they_are_split(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            size in 1usize..20,
            every in 1usize..4,
        ) {
            let mut outgoing = Outgoing::new(true);
            let mut sent = Vec::new();
            for (index, piece) in bytes.chunks(size).enumerate() {
                outgoing.push(piece);
                if index % every == 0 {
                    send(&mut outgoing, &mut sent);
                    prop_assert!(sent.is_empty() || sent.ends_with(b"\n"));
                }
            }
            outgoing.end();
            send(&mut outgoing, &mut sent);
            prop_assert_eq!(sent, bytes);
        }
    }

    #[test]
    fn an_endless_line_does_not_grow_without_bound() {
        let mut outgoing = Outgoing::new(true);
        let mut sent = Vec::new();
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            outgoing.push(&piece);
            assert!(outgoing.bytes.len() <= MAX_LINE + piece.len());
            send(&mut outgoing, &mut sent);
        }
        assert!(sent.len() > 10 * piece.len());
    }

    #[test]
    fn other_bodies_are_not_held() {
        let mut outgoing = Outgoing::new(false);
        outgoing.push(b"{\"half");
        assert_eq!(outgoing.ready(), b"{\"half");
    }
}
