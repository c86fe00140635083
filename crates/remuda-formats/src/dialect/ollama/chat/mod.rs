//! `/api/chat`, read and written in both roles.

mod message;
mod read;
#[cfg(test)]
mod tests;
mod tool;
mod turns;
mod write;

pub use read::{load_request, read_chat};
pub use write::write_chat;

use super::answer::{self, Api};
use super::load::LoadOrUnload;
use crate::dialect::exchange::Reply;
use crate::dialect::form::{ClientChat, ProviderChat};
use crate::ir::Text;
use crate::wire::units::StreamUnit;

/// The form as clients speak it.
pub static CLIENT: ClientChat = ClientChat {
    read: read_chat,
    encoder: |reply| answer::encoder(Api::Chat, reply),
    write_whole: |response, reply, out| answer::write_whole(Api::Chat, response, reply, out),
    stream_type: "application/x-ndjson",
    passing: &PROVIDER,
};

/// The form as providers speak it.
pub static PROVIDER: ProviderChat = ProviderChat {
    write: write_chat,
    decoder: |names| answer::decoder(Api::Chat, names),
    read_whole: |body, names, emit| answer::read_whole(Api::Chat, body, names, emit),
    unit: Some(StreamUnit::Line),
};

/// Appends the answer to a request that only loads or unloads: one object, also where a stream was asked for.
pub fn write_load(load: LoadOrUnload, reply: &Reply, out: &mut Vec<u8>) {
    load.write(Api::Chat, reply, out);
}

/// Appends a line of the answer that says nothing, for a client that waits for the first. A `status` says for what it waits,
/// in a field that clients of answers skip.
pub fn write_quiet(model: &Text<'_>, status: Option<&Text<'_>>, out: &mut Vec<u8>) {
    answer::write_quiet(Api::Chat, model, status, out);
}
