//! Answers of all who speak OpenAI's API, streamed or whole, of chats and of completions, as events.

mod api;
pub(super) mod balance;
mod calls;
mod chunk;
mod judge;
mod reader;
mod say;
mod sources;
#[cfg(test)]
mod tests;

pub(super) use api::Api;
use reader::Reader;

use crate::dialect::events::{self, Reads as _};
use crate::ir::{Decode, Event, ToolNames};

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
