//! What is answered without a slot: pages, look-ups, counts of tokens, and what concerns several servers.

pub(super) mod copies;
mod count;
mod each_server;
mod forward;
pub(super) mod look_up;
mod manage;
pub(super) mod pages;
pub(super) mod without_model;
