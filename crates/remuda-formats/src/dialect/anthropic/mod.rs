//! Anthropic's Messages API, spoken to clients and to providers.

mod amid;
mod billing;
mod calls;
mod encode;
mod error;
mod fit;
mod management;
mod read;
mod schema;
mod stream;
mod turns;
mod unsigned;
mod usage;
mod whole;
mod write;

#[cfg(test)]
mod tests;

use crate::dialect::form::{ClientChat, ProviderChat};
use crate::wire::units::StreamUnit;
pub use billing::{leave_out_billing, without_billing};
pub use encode::encoder;
pub use error::{fault, fault_within};
pub use fit::fitted;
pub use read::{read_chat, read_count};
pub use stream::{decoder, read_whole};
pub use unsigned::without_thoughts;
pub use whole::write_whole;
pub use write::write_chat;

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
