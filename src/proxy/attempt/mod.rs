//! One backend, with what stands for Pingora's `upstream_request_filter` and `response_filter`.

pub(super) mod exchange;
pub(super) mod gathering;
pub(super) mod lane;
pub(super) mod passing;
pub(super) mod reader;
pub(super) mod refusals;
pub(super) mod upstream_request;
