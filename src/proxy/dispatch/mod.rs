//! What stands for Pingora's `upstream_peer`: the queue, and the attempts in their turn.

pub(super) mod attempts;
pub(super) mod concurrent;
pub(super) mod failover;
pub(super) mod hedge;
pub(super) mod places_in_queue;
pub(super) mod progress;
pub(super) mod queue;
pub(super) mod start;
