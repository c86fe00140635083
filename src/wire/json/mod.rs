//! JSON as bytes: a scanner that finds where values lie, and the escapes of string literals.

mod escape;
mod scanner;
mod syntax;

pub use escape::{escape_into, unescape, write_string};
pub use scanner::{Kind, Literal, MAX_DEPTH, Scanner};
pub use syntax::SyntaxError;

/// A half-open range of bytes within a body: `bytes[start..end]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// The bytes of `body` that this span covers.
    pub fn of(self, body: &[u8]) -> &[u8] {
        &body[self.start..self.end]
    }
}
