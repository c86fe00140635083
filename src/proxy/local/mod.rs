//! What is answered without a slot: pages, look-ups, counts of tokens, and what concerns several servers.

mod count;
mod forward;
pub(super) mod look_up;
mod manage;
pub(super) mod pages;
pub(super) mod without_model;
