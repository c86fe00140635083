//! What can go wrong with a request and with an attempt, and how a client is told.

pub(super) mod attempt;
pub(super) mod deadline;
pub(super) mod error_answer;
pub(super) mod reasons;
pub(super) mod told;
