//! What stands for Pingora's `upstream_peer`: the queue, and the attempts in their turn.

mod beside;
mod candidate;
mod concurrent;
pub(super) mod dispatched;
pub(super) mod failover;
mod hedge;
mod lateness;
mod open_steps;
mod places_in_queue;
pub(super) mod progress;
pub(super) mod prompt_needs;
pub(super) mod queue;
pub(super) mod resume;
pub(super) mod run;
mod silence;
