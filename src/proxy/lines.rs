//! Holds back the unfinished last line of a streamed answer, so that the client always holds whole
//! lines, and an error line can follow whenever the backend breaks off.

use memchr::{memchr, memrchr};

/// Bytes of an unfinished line held at most: what Ollama's own client accepts as a line.
const MAX_HELD: usize = 8 * 1024 * 1024;

/// The unfinished line. The usual piece is whole lines and passes without a copy.
#[derive(Debug, Default)]
pub struct LineGate {
    held: Vec<u8>,
}

/// What may be sent now, and what must wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed<'gate, 'piece> {
    /// The line that was held and is now whole; often empty.
    pub first: &'gate [u8],
    /// Whole lines.
    pub rest: &'piece [u8],
    /// The beginning of the next line, for [`LineGate::sent`].
    pub tail: &'piece [u8],
}

impl LineGate {
    /// Splits `piece` at its last newline; `None` when it ends no line and is held as a whole.
    pub fn pass<'gate, 'piece>(&'gate mut self, piece: &'piece [u8]) -> Option<Passed<'gate, 'piece>> {
        let Some(last) = memrchr(b'\n', piece) else {
            self.held.extend_from_slice(piece);
            // No client reads a line this long: let it pass rather than grow.
            return (self.held.len() > MAX_HELD).then_some(Passed { first: &self.held, rest: &[], tail: &[] });
        };
        let (whole, tail) = piece.split_at(last + 1);
        if self.held.is_empty() {
            return Some(Passed { first: &[], rest: whole, tail });
        }
        let ending = memchr(b'\n', whole).map_or(whole.len(), |first| first + 1);
        let (ending, rest) = whole.split_at(ending);
        self.held.extend_from_slice(ending);
        Some(Passed { first: &self.held, rest, tail })
    }

    /// What [`Self::pass`] returned is sent: from now on `tail` is held.
    pub fn sent(&mut self, tail: &[u8]) {
        self.held.clear();
        self.held.extend_from_slice(tail);
    }

    /// The unfinished line.
    pub fn held(&self) -> &[u8] {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(gate: &mut LineGate, piece: &[u8], out: &mut Vec<u8>) {
        if let Some(Passed { first, rest, tail }) = gate.pass(piece) {
            out.extend_from_slice(first);
            out.extend_from_slice(rest);
            gate.sent(tail);
        }
    }

    proptest! {
        #[test]
        fn whole_lines_pass_unchanged_however_they_are_split(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            size in 1usize..20,
        ) {
            let mut gate = LineGate::default();
            let mut out = Vec::new();
            for piece in bytes.chunks(size) {
                through(&mut gate, piece, &mut out);
                prop_assert!(out.is_empty() || out.ends_with(b"\n"));
            }
            out.extend_from_slice(gate.held());
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn an_endless_line_is_let_through() {
        let mut gate = LineGate::default();
        let mut out = Vec::new();
        let piece = vec![b'x'; 1024 * 1024];
        for _ in 0..10 {
            through(&mut gate, &piece, &mut out);
        }
        assert!(gate.held().len() <= MAX_HELD);
        assert_eq!(out.len() + gate.held().len(), 10 * piece.len());
    }
}
