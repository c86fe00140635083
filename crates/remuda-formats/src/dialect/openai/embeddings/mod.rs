//! `/v1/embeddings`: read from clients and written to them, written to providers and read from them.

mod answer;
mod ask;
mod client;
#[cfg(test)]
mod tests;

pub use answer::{encoded_as, read_embeddings};
pub use ask::write_embed;
pub use client::{read_embed, write_embeddings};

pub use super::fault;

use crate::client::Operation;
use crate::dialect::form::{ClientEmbeddings, ProviderEmbeddings};

/// The form as clients speak it.
pub static CLIENT: ClientEmbeddings = ClientEmbeddings {
    read: read_embed,
    write: write_embeddings,
    operation: Operation::OpenAiEmbeddings,
};

/// The form as providers speak it.
pub static PROVIDER: ProviderEmbeddings = ProviderEmbeddings {
    write: write_embed,
    read: read_embeddings,
};
