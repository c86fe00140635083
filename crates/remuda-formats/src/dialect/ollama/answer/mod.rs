//! Answers of `/api/generate` and `/api/chat`: one object a line, the last with `done:true`, in both roles.

mod clock;
mod decode;
mod encode;
mod joined;
mod line;
#[cfg(test)]
mod tests;
mod unread;

pub(super) use decode::{decoder, read_whole};
pub(super) use encode::{encoder, write_end, write_quiet, write_whole};
pub use joined::Joined;

/// Which of the two an answer is for; they differ in where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `message`
    Chat,
    /// `response` and `thinking`
    Generate,
}
