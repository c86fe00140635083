//! `/api/embed` and the older `/api/embeddings`, read and written in both roles.

mod client;
mod provider;
#[cfg(test)]
mod tests;

pub use client::{read_embed, read_embed_legacy, write_embeddings, write_embeddings_legacy};
pub use provider::{read_embeddings, write_embed};

use crate::client::Operation;
use crate::dialect::form::{ClientEmbeddings, ProviderEmbeddings};

/// The form of `/api/embed` as clients speak it.
pub static CLIENT: ClientEmbeddings = ClientEmbeddings {
    read: |body| read_embed(body).map(|request| (request, false)),
    write: write_embeddings,
    operation: Operation::Embed,
};

/// The form of the older `/api/embeddings`, which only clients speak.
pub static LEGACY_CLIENT: ClientEmbeddings = ClientEmbeddings {
    read: |body| read_embed_legacy(body).map(|request| (request, false)),
    write: write_embeddings_legacy,
    operation: Operation::Embeddings,
};

/// The form of `/api/embed` as servers speak it.
pub static PROVIDER: ProviderEmbeddings = ProviderEmbeddings {
    write: write_embed,
    read: read_embeddings,
};
