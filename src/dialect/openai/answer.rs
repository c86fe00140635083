//! Answers of all who speak OpenAI's API, streamed or whole, of chats and of completions, as events.

mod calls;
mod chunk;
mod reader;
mod sources;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use stream::{Reads, decoder, read_whole, stream};
