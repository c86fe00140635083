//! One directory per wire format: its routes, what routing needs of a request, and what is learned
//! from an answer that passes.

pub mod anthropic;
pub mod bedrock;
pub mod blame;
pub mod call_ids;
pub mod clean;
mod events;
pub mod exchange;
pub mod faults;
pub mod form;
pub mod google;
mod local;
pub mod ollama;
pub mod openai;
pub mod overflow;
pub mod plain;
pub mod rate_limits;
pub mod retry_after;
pub mod signature;
mod turns;
