//! `/v1/chat/completions`: read from clients and written to them, written to providers and read from them.

mod body;
mod encode;
mod fit;
mod history;
mod read;
mod reasoning;
mod tools;
mod turns;
mod ways;
mod whole;
mod write;

pub use encode::encoder;
pub use fit::fitted;
pub use read::read_chat;
pub use whole::write_whole;
pub use write::write_chat;

pub(super) use read::completion;
pub(super) use turns::data_uri;
pub(super) use write::Writer;

pub use super::fault;

use super::answer::Api;
use crate::dialect::form::{ClientChat, ProviderChat};
use crate::ir::{Decode, Event, Finish, ToolNames};
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
    super::answer::decoder(Api::Chat, names)
}

/// Reads a whole answer of a provider, as the same events.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    super::answer::read_whole(Api::Chat, body, names, emit);
}

/// Returns `finish_reason` as JSON; `functions` asks for the words of 2023.
pub(super) fn finish_reason(finish: Finish, functions: bool) -> &'static str {
    match finish {
        Finish::ToolCalls if functions => "\"function_call\"",
        Finish::Stop | Finish::Load | Finish::Unload => "\"stop\"",
        Finish::Length | Finish::ContextFull => "\"length\"",
        Finish::ToolCalls => "\"tool_calls\"",
        Finish::Filtered => "\"content_filter\"",
    }
}

#[cfg(test)]
mod tests;
