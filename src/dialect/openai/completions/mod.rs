//! `/v1/completions`: the continuation of a text, for clients that know no chats and for providers that fill gaps.

mod client;
mod encode;
mod provider;
#[cfg(test)]
mod tests;

pub use client::read_chat;
pub use encode::{encoder, write_whole};
pub use provider::write_chat;

pub use super::chat::{decoder, read_whole};
pub use super::fault;
