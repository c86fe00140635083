//! `/v1/responses`: OpenAI's newer API for chats, and Perplexity's, which has its form.

mod answer;
mod called;
mod calls;
mod choice;
mod encode;
mod entry;
mod fit;
mod frame;
mod history;
mod item;
mod item_ids;
mod output;
mod pieces;
mod places;
mod read;
mod saying;
mod sources;
mod told;
mod tools;
mod turns;
mod usage;
mod ways;
mod whole;
mod write;

pub use encode::encoder;
pub use fit::fitted;
pub use item_ids::fitting;
pub use read::read_chat;
pub use whole::write_whole;
pub use write::write_chat;

use answer::Reader;

use crate::dialect::events::{self, Reads as _};
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

/// Ids of reasoning items that this gateway has made: the provider has none, or told it too late. What is signed under
/// such an id goes back only to providers that need no id.
const OWN_THOUGHT: &str = "rs_remuda_";

/// What begins the id of a thought whose text the provider keeps to itself.
const OWN_HIDDEN_THOUGHT: &str = "rs_remuda_hidden_";

/// Reads a streamed answer of a provider.
pub fn decoder(names: ToolNames) -> Box<dyn Decode> {
    events::stream(Reader::new(names))
}

/// Reads a whole answer of a provider, as the same events.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    Reader::new(names.clone()).whole(body, emit);
}

#[cfg(test)]
mod tests;
