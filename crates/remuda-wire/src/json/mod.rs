//! JSON as bytes: a scanner that finds where values lie, and the escapes of string literals.

mod escape;
mod first;
mod halves;
mod object;
mod prune;
mod scanner;
mod skim;
mod syntax;
mod tidy;

use serde::Deserialize;

pub use escape::{escape_into, unescape, write_string};
pub use first::First;
pub use halves::{cut_half, may_have_halves, whole_characters};
pub use object::Object;
pub use prune::{Fate, PathStep, prune};
pub use scanner::{Kind, Literal, MAX_DEPTH, Scanner};
pub use skim::Skim;
pub use syntax::SyntaxError;
pub use tidy::tidied;

/// Deserializes a value that may borrow from `bytes`.
///
/// That all of it is UTF-8 is checked once, where `serde_json::from_slice` checks each string that it lends. What is
/// not UTF-8 is left to that function, which minds it only in strings that are wanted.
///
/// # Errors
/// If `bytes` is no JSON, or not of the form that is wanted.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// A half-open range of bytes within a body: `bytes[start..end]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSpan {
    pub start: usize,
    pub end: usize,
}

impl ByteSpan {
    /// Returns the bytes of `body` that this span covers.
    pub fn of(self, body: &[u8]) -> &[u8] {
        &body[self.start..self.end]
    }
}
