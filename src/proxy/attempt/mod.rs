//! What stands for Pingora's `upstream_request_filter` and `response_filter`: one backend that is asked, until its first
//! content.

pub(super) mod answer;
pub(super) mod begin;
mod continuation;
pub(super) mod copy_contract;
pub(super) mod error_status;
pub(super) mod exchange;
mod first_content;
pub(super) mod gather;
mod judge;
pub(super) mod passing;
pub(super) mod patience;
pub(super) mod reader;
mod refusals;
mod second_telling;
mod send;
mod upstream_head;
pub(super) mod upstream_request;
pub(super) mod upstreams;
