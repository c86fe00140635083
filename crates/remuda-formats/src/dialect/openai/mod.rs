//! OpenAI's API, and what the many servers that speak it make of it: OpenAI, Azure, OpenRouter, DeepSeek, vLLM,
//! llama.cpp and others. Each form has a folder.

mod answer;
mod caching;
pub mod chat;
pub mod completions;
mod custom;
mod details;
mod draft;
pub mod elsewhere;
pub mod embeddings;
mod error;
mod field;
mod fit;
pub mod foreign;
mod frame;
mod input;
mod logprobs;
mod object;
mod others;
mod path;
mod place;
mod plain_input;
pub mod responses;
mod schema;
mod serving;
mod shared;
mod sources;
mod tool_shape;
pub mod unasked;
pub mod unsigned;
mod usage;

pub use error::{error_body, fault, fault_in_body as fault_within};
