//! What can go wrong with a request and with an attempt, and how a client is told.

pub(super) mod reasons;
pub(super) mod told;
pub(super) mod worded;
