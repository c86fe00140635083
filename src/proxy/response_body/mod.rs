//! What stands for Pingora's `response_body_filter`: an answer is relayed and written.

pub(super) mod client;
pub(super) mod downstream;
pub(super) mod errors;
pub(super) mod head;
pub(super) mod hold;
pub(super) mod limits;
pub(super) mod opening;
pub(super) mod outgoing;
pub(super) mod relay;
pub(super) mod unsent;
