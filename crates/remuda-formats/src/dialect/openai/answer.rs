//! Answers of all who speak OpenAI's API, streamed or whole, of chats and of completions, as events.

pub(super) mod balance;
mod calls;
mod chunk;
mod reader;
mod sources;
#[cfg(test)]
mod tests;

use reader::Reader;

use crate::dialect::events::{self, Reads as _};
use crate::ir::{Decode, Event, ToolNames};

/// Which of the two an answer is for; they differ in where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `message`, or `delta` in a stream.
    Chat,
    /// `text`
    Completions,
}

/// Reads a streamed answer.
pub(super) fn decoder(api: Api, names: ToolNames) -> Box<dyn Decode> {
    events::stream(Reader::new(api, names))
}

/// Reads a whole answer.
pub(super) fn read_whole(
    api: Api,
    body: &[u8],
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) {
    Reader::new(api, names.clone()).whole(body, emit);
}
