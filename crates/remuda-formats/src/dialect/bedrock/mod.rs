//! Amazon Bedrock: Converse and ConverseStream, embeddings by InvokeModel, listings and signatures.

mod answer;
mod blocks;
mod caching;
mod count;
mod embeddings;
mod error;
mod json;
mod limits;
pub mod listing;
pub mod path;
mod request;
mod response;
pub mod sign;
mod stream;
mod tools;
mod turns;

#[cfg(test)]
mod tests;

use super::exchange::{ProviderRequest, Target};
use super::form::{ProviderChat, ProviderEmbeddings};
use crate::ir::{ChatRequest, Decode, EmbedRequest, Embeddings, Event, Fault, Refused, ToolNames};
use http::HeaderMap;

/// The form of chats.
pub static CHAT: ProviderChat = ProviderChat {
    write: write_chat,
    decoder,
    read_whole,
    unit: None,
};

/// The form of embeddings.
pub static EMBEDDINGS: ProviderEmbeddings = ProviderEmbeddings {
    write: write_embed,
    read: read_embeddings,
};

/// Writes the chat as a Converse request, or ConverseStream's.
///
/// # Errors
/// If Converse has no way to say what the client relies on.
pub fn write_chat(
    request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    request::write(request, target)
}

/// Writes the question how many tokens the chat's prompt has.
///
/// # Errors
/// If the format has no way to say what the client relies on.
pub fn write_count(
    request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    count::write(request, target)
}

/// Reads the answer to it; `None` if it is none.
pub fn read_count(body: &[u8]) -> Option<u64> {
    count::read(body)
}

/// Reads ConverseStream's answer.
pub fn decoder(names: ToolNames) -> Box<dyn Decode> {
    Box::new(stream::Stream::new(names))
}

/// Reads Converse's answer.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    response::read(body, names, emit);
}

/// Writes the requests of InvokeModel that together embed all texts, in their order.
///
/// # Errors
/// If it is not known how the model is asked, or it cannot give such vectors.
pub fn write_embed(
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    embeddings::write(request, target)
}

/// Reads the answer to one of them.
///
/// # Errors
/// If it holds no vectors.
pub fn read_embeddings(body: &[u8], headers: &HeaderMap) -> Result<Embeddings, Fault> {
    embeddings::read(body, headers)
}

/// Returns what an answer with another status than 200 means.
pub fn fault(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    error::answered(status, headers, body)
}

/// Returns what an error means that came under status 200; `None` if there is none.
pub fn fault_within(body: &[u8]) -> Option<Fault> {
    error::in_body(body)
}
