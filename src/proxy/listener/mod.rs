//! Connections before Pingora reads a request: accepted, within bounds, with their heads watched.

pub(super) mod chunks;
pub(super) mod gate;
pub(super) mod guarded;
pub(super) mod half_closed;
pub(super) mod places;
