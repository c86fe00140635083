//! Google's Gemini API: `generateContent` and its stream, embeddings, and the list of models.

mod answer;
mod contents;
mod count;
mod embeddings;
mod error;
mod generation;
mod json;
pub mod listing;
mod logprobs;
mod path;
mod request;
mod schema;
mod stream;
mod tools;
mod turns;

#[cfg(test)]
mod tests;

use answer::Answer;
use http::HeaderMap;

use super::events::{self, Reads as _};
use super::exchange::{ProviderRequest, Target};
use super::form::{ProviderChat, ProviderEmbeddings};
use crate::ir::{ChatRequest, Decode, EmbedRequest, Embeddings, Event, Fault, Refused, ToolNames};
use crate::wire::units::StreamUnit;

/// The form of chats.
pub static CHAT: ProviderChat = ProviderChat {
    write: write_chat,
    decoder,
    read_whole,
    unit: Some(StreamUnit::Event),
};

/// The form of embeddings.
pub static EMBEDDINGS: ProviderEmbeddings = ProviderEmbeddings {
    write: write_embed,
    read: read_embeddings,
};

/// Writes the chat as a `generateContent` request, or a `streamGenerateContent` one.
///
/// # Errors
/// If Gemini has no way to say what the client relies on.
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

/// Reads `streamGenerateContent?alt=sse`'s answer.
pub fn decoder(names: ToolNames) -> Box<dyn Decode> {
    events::stream(Answer::new(names))
}

/// Reads `generateContent`'s answer.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    Answer::new(names.clone()).whole(body, emit);
}

/// Writes the requests that together embed all texts, in their order: a hundred texts each.
///
/// # Errors
/// If the input is of token numbers, or the model cannot give such vectors.
pub fn write_embed(
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    embeddings::write(&request, target)
}

/// Reads the answer to one of them.
///
/// # Errors
/// If it holds no vectors.
pub fn read_embeddings(body: &[u8], _headers: &HeaderMap) -> Result<Embeddings, Fault> {
    embeddings::read(body)
}

/// Returns what an answer with another status than 200 means.
pub fn fault(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    error::answered(status, headers, body)
}

/// Returns what an error means that came under status 200; `None` if there is none.
pub fn fault_within(body: &[u8]) -> Option<Fault> {
    error::within(body)
}
