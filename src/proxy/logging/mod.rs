//! Pingora's `logging`: metrics, the access log and what a request is charged to.

pub(super) mod accounting;
pub(super) mod billing;
pub(super) mod record;
pub(super) mod tags;
