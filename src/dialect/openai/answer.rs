//! Answers of all who speak OpenAI's API, streamed or whole, of chats and of completions, as events.

mod balance;
mod calls;
mod chunk;
mod reader;
mod sources;
#[cfg(test)]
mod tests;

use reader::Reader;

use crate::dialect::events::{self, Reads as _};
use crate::ir::{Decode, Event, ToolNames};

/// Reads a streamed answer.
pub(super) fn decoder(names: ToolNames) -> Box<dyn Decode> {
    events::stream(Reader::new(names))
}

/// Reads a whole answer.
pub(super) fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    Reader::new(names.clone()).whole(body, emit);
}
