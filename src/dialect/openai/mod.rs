//! OpenAI's API, and what the many servers that speak it make of it: OpenAI, Azure, OpenRouter, DeepSeek, vLLM,
//! llama.cpp and others. Each form has a folder.

pub mod chat;
mod details;
mod error;
mod field;
mod frame;
mod sources;
mod usage;

pub use error::error_body;
