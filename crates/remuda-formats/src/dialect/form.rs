//! What a dialect offers for each of its forms: a value with the functions that read and write it.
//!
//! Chats and embeddings are of different types, so that neither can be asked for what only the other does.

use http::HeaderMap;

use super::exchange::{ProviderRequest, Reply, Target};
use crate::client::Operation;
use crate::ir::{
    ChatRequest, Decode, EmbedRequest, Embeddings, Encode, Event, Fault, Refused, Response,
    ToolNames,
};
use crate::wire::units::StreamUnit;

/// Reads a client's request for vectors, and whether the client wants them as base64.
pub type ReadEmbedRequest = fn(&[u8]) -> Result<(EmbedRequest<'_>, bool), Refused>;

/// Reads a provider's whole answer to a chat as events.
pub type ReadWhole = fn(&[u8], &ToolNames, &mut dyn FnMut(Event<'_>));

/// A form in which clients ask for chats.
pub struct ClientChat {
    /// Reads a request.
    pub read: fn(&[u8]) -> Result<ChatRequest<'_>, Refused>,
    /// Makes a writer of a streamed answer.
    pub encoder: fn(Reply) -> Box<dyn Encode>,
    /// Appends a whole answer.
    pub write_whole: fn(&Response, &Reply, &mut Vec<u8>),
    /// The content type of a streamed answer.
    pub stream_type: &'static str,
    /// Reads an answer that passes to the client because its provider speaks this form as well.
    pub passing: &'static ProviderChat,
}

/// A form in which clients ask for vectors.
pub struct ClientEmbeddings {
    /// Reads a request, and whether the client wants the vectors as base64.
    pub read: ReadEmbedRequest,
    /// Appends an answer.
    pub write: fn(&Embeddings, &Reply, &mut Vec<u8>),
    pub operation: Operation,
}

/// A form in which providers are asked for chats.
pub struct ProviderChat {
    /// Writes a request.
    pub write: fn(ChatRequest<'_>, &Target<'_>) -> Result<ProviderRequest, Refused>,
    /// Makes a reader of a streamed answer.
    pub decoder: fn(ToolNames) -> Box<dyn Decode>,
    /// Reads a whole answer as the same events.
    pub read_whole: ReadWhole,
    /// What its streams are made of; `None` if that is not lines of text.
    pub unit: Option<StreamUnit>,
}

/// A form in which providers are asked for vectors.
pub struct ProviderEmbeddings {
    /// Writes the requests that together embed all inputs, in their order.
    pub write: fn(EmbedRequest<'_>, &Target<'_>) -> Result<Vec<ProviderRequest>, Refused>,
    /// Reads the answer to one of them.
    pub read: fn(&[u8], &HeaderMap) -> Result<Embeddings, Fault>,
}
