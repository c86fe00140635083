//! Connections before Pingora reads a request: accepted, within bounds, with their heads watched.

pub(super) mod chunks;
mod early_answers;
pub(super) mod gate;
pub(super) mod guarded;
pub(super) mod half_closed;
pub(super) mod places;
pub(super) mod watch;
