//! Bytes on their way to the client: pieces that arrive together leave together, and of a streamed
//! answer only whole lines leave, so that an error line can follow wherever the backend breaks off.

use memchr::{memrchr, memrchr_iter};

/// Bytes of an unfinished line held at most: what Ollama's own client accepts as a line.
const MAX_LINE: usize = 8 * 1024 * 1024;
/// Bytes that are gathered before they are sent.
const ENOUGH: usize = 32 * 1024;
/// A buffer that a large line has grown beyond this is given back.
const KEPT: usize = 64 * 1024;

/// What an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// One body, which is sent as it comes.
    Body,
    /// Lines that end with a newline.
    Line,
    /// Server-sent events, which end with an empty line.
    Event,
}

/// The bytes between a read and a write; reused for the whole answer.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of `bytes` may be sent.
    whole: usize,
    unit: Unit,
    /// What may be sent stops inside a unit that was too large to be held.
    inside: bool,
}

impl Outgoing {
    /// Of lines and events only whole ones are sent.
    pub(super) fn new(unit: Unit) -> Self {
        Self {
            bytes: Vec::new(),
            whole: 0,
            unit,
            inside: false,
        }
    }

    /// Adds what was read.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        let end = match self.unit {
            Unit::Body => Some(self.bytes.len()),
            Unit::Line => memrchr(b'\n', piece).map(|last| before + last + 1),
            Unit::Event => self.event_end(before),
        };
        if let Some(end) = end {
            self.whole = end;
            self.inside = false;
        }
        if self.bytes.len() - self.whole > MAX_LINE {
            self.whole = self.bytes.len();
            self.inside = true;
        }
    }

    /// Where the last event ends whose end is at `from` or later.
    fn event_end(&self, from: usize) -> Option<usize> {
        memrchr_iter(b'\n', &self.bytes[from..])
            .map(|at| from + at)
            .find(|at| {
                let line = &self.bytes[..*at];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                line.ends_with(b"\n") || (line.is_empty() && !self.inside)
            })
            .map(|at| at + 1)
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

    /// Whether what may be sent is all that came, to the end of a unit.
    pub(super) fn is_whole(&self) -> bool {
        self.whole == self.bytes.len() && !self.inside
    }

    /// Whether what may be sent stops inside a unit, which must be ended before another can follow.
    pub(super) fn inside(&self) -> bool {
        self.inside
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
            let mut outgoing = Outgoing::new(Unit::Line);
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
    fn events_pass_whole_however_they_are_split() {
        let events = b"data: a\n\nevent: b\r\ndata: b\r\n\r\ndata: c\ndata: d\n\n";
        let ends = [9, 30, events.len()];
        for split in 0..=events.len() {
            let mut outgoing = Outgoing::new(Unit::Event);
            let mut sent = Vec::new();
            let (first, second) = events.split_at(split);
            outgoing.push(first);
            send(&mut outgoing, &mut sent);
            let whole = ends.iter().rev().find(|end| **end <= split);
            assert_eq!(
                sent,
                events[..whole.copied().unwrap_or(0)],
                "split at {split}"
            );
            assert_eq!(outgoing.is_whole(), split == 0 || ends.contains(&split));
            outgoing.push(second);
            send(&mut outgoing, &mut sent);
            assert_eq!(sent, events, "split at {split}");
            assert!(outgoing.is_whole());
        }
    }

    #[test]
    fn a_unit_too_large_to_be_held_is_known_to_be_open() {
        let mut outgoing = Outgoing::new(Unit::Line);
        outgoing.push(&vec![b'x'; MAX_LINE + 1]);
        assert!(outgoing.inside());
        outgoing.sent();
        outgoing.push(b"xx");
        assert!(outgoing.inside() && outgoing.ready().is_empty());
        outgoing.push(b"\n");
        assert!(!outgoing.inside() && outgoing.is_whole());
    }

    #[test]
    fn an_endless_line_does_not_grow_without_bound() {
        let mut outgoing = Outgoing::new(Unit::Line);
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
        let mut outgoing = Outgoing::new(Unit::Body);
        outgoing.push(b"{\"half");
        assert_eq!(outgoing.ready(), b"{\"half");
    }
}
