//! Pingora's `request_filter` up to the plan: who asks, whether they may, the body, and which providers may serve it.

pub(super) mod admit;
pub(super) mod await_plan;
pub(super) mod body;
pub(super) mod body_budget;
pub(super) mod cors;
pub(super) mod hosts;
pub(super) mod identify;
pub(super) mod limits;
pub(super) mod pace;
pub(super) mod plan;
pub(super) mod preferences;
pub(super) mod prepare;
pub(super) mod route;
pub(super) mod scan;
pub(super) mod unpack;
