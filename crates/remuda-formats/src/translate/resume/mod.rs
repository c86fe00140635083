//! A streamed answer that another server takes over: what has been said of it, and how a second telling is held against
//! that, so that the client reads every word once.

pub(super) mod interrupted;
pub(super) mod proof;
pub(super) mod retelling;
pub(super) mod sent;

#[cfg(test)]
mod tests;
