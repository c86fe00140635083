//! Pingora's `request_filter` up to the plan: who asks, whether they may, the body, and which providers may serve it.

pub(super) mod access;
pub(super) mod body;
pub(super) mod chunks;
pub(super) mod cors;
pub(super) mod hosts;
pub(super) mod intake;
pub(super) mod journey;
pub(super) mod naming;
pub(super) mod target;
pub(super) mod unpack;
