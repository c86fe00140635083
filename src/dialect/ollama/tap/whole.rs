//! Reads an answer that comes as one body: all of a small one, the end of a large one.

use memchr::memmem;

use super::line::{Object, Report};
use super::{Ending, Operation};
use crate::wire::json::{Scanner, SyntaxError};

/// Bytes of a body's end that are kept; the metrics stand there. Twice as many are held at most.
const KEPT: usize = 64 << 10;

/// The end of a body, which is the whole body while it is small.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.bytes.len() + piece.len() <= 2 * KEPT {
            self.bytes.extend_from_slice(piece);
            return;
        }
        self.cut = true;
        let from_piece = &piece[piece.len().saturating_sub(KEPT)..];
        let kept = KEPT - from_piece.len();
        let drop = self.bytes.len().saturating_sub(kept);
        self.bytes.drain(..drop);
        self.bytes.extend_from_slice(from_piece);
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// The beginning of the body, or bytes that rule an error out once that is gone.
    pub(super) fn head(&self) -> &[u8] {
        if self.cut { b"[" } else { &self.bytes }
    }

    pub(super) fn finish(&mut self, operation: Operation, report: &mut Report) -> Ending {
        let bytes = std::mem::take(&mut self.bytes);
        let object = match Object::read(&bytes) {
            _ if self.cut => Object::search(&bytes),
            _ if bytes.trim_ascii().is_empty() => {
                // Copy and delete answer with nothing.
                report.done = !operation.is_inference();
                return report.ending();
            }
            Ok(object) => object,
            Err(SyntaxError::Eof) => return Ending::Incomplete,
            // A transcription may be plain text.
            Err(_) => Object::default(),
        };
        report.object(object);
        report.done |= report.error.is_none();
        report.ending()
    }
}

impl Object {
    /// Finds members by their literal keys: quotes inside strings are escaped, so that a key cannot
    /// be part of a text.
    fn search(end: &[u8]) -> Object {
        let mut object = Object::default();
        const NUMBERS: [&[u8]; 6] = [
            b"\"prompt_eval_count\":",
            b"\"eval_count\":",
            b"\"prompt_eval_duration\":",
            b"\"eval_duration\":",
            b"\"load_duration\":",
            b"\"total_duration\":",
        ];
        for key in NUMBERS {
            if let Some(value) = value_after(key, end) {
                object.counts.number(&key[1..key.len() - 2], value);
            }
        }
        if let Some(usage) = value_after(b"\"usage\":", end) {
            object.counts.object(usage);
        }
        object
    }
}

fn value_after<'a>(key: &[u8], end: &'a [u8]) -> Option<&'a [u8]> {
    let at = memmem::rfind(end, key)? + key.len();
    Some(Scanner::starting_at(end, at).skip_value().ok()?.of(end))
}
