//! `/api/embed` and the older `/api/embeddings`, read and written in both roles.

mod client;
mod provider;
#[cfg(test)]
mod tests;

pub use client::{read_embed, read_embed_legacy, write_embeddings, write_embeddings_legacy};
pub use provider::{read_embeddings, write_embed};
