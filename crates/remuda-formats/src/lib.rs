//! The wire formats of language models, translated into one another: bytes in, bytes out, without a socket.
//!
//! [`client`] is what clients speak: operations, routes, what is read of a body before it is translated, and the shape
//! of errors. [`dialect`] reads and writes the formats of Ollama, OpenAI, Anthropic, Google and Bedrock, [`ir`] is the
//! neutral model between two of them, [`translate`] joins them, and [`facts`] knows what each model takes. [`wire`] is
//! the framing that they share.

pub mod client;
pub mod dialect;
pub mod facts;
pub mod ir;
pub mod preferences;
pub mod provider;
pub mod translate;

pub use remuda_wire as wire;
