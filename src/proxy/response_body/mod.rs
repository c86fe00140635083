//! What stands for Pingora's `response_body_filter`: an answer is relayed and written.

mod answer_head;
pub(super) mod client;
pub(super) mod downstream;
mod end;
pub(super) mod errors;
pub(super) mod head;
pub(super) mod hold;
pub(super) mod interruption;
pub(super) mod limits;
pub(super) mod opening;
mod outgoing;
pub(super) mod page;
mod pump;
pub(super) mod relay;
pub(super) mod responder;
mod rest;
pub(super) mod unsent;
