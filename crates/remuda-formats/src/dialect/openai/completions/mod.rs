//! `/v1/completions`: the continuation of a text, for clients that know no chats and for providers that fill gaps.

mod client;
mod encode;
mod provider;
#[cfg(test)]
mod tests;

pub use client::read_chat;
pub use encode::{encoder, write_whole};
pub use provider::write_chat;

pub use super::fault;

use super::answer::{self, Api};
use crate::dialect::form::{ClientChat, ProviderChat};
use crate::ir::{Decode, Event, ToolNames};
use crate::wire::units::StreamUnit;

/// The form as clients speak it.
pub static CLIENT: ClientChat = ClientChat {
    read: read_chat,
    encoder,
    write_whole,
    stream_type: "text/event-stream",
    passing: &PROVIDER,
};

/// The form as providers speak it.
pub static PROVIDER: ProviderChat = ProviderChat {
    write: write_chat,
    decoder,
    read_whole,
    unit: Some(StreamUnit::Event),
};

/// Reads a streamed answer of a provider.
pub fn decoder(names: ToolNames) -> Box<dyn Decode> {
    answer::decoder(Api::Completions, names)
}

/// Reads a whole answer of a provider, as the same events.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    answer::read_whole(Api::Completions, body, names, emit);
}
