//! What is answered without a slot: pages, look-ups, counts of tokens, and what concerns several servers.

pub(super) mod count;
mod forward;
pub(super) mod manage;
pub(super) mod pages;
