//! A model in a backend's memory, and one on its way there.

use std::time::Duration;

use super::types::Ticket;
use crate::ids::ModelId;

/// A cold load in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loading {
    pub(super) model: ModelId,
    pub(super) ticket: Ticket,
    /// When it should be over.
    pub(super) until: Duration,
    /// Bytes of GPU memory that it should take.
    pub(super) vram: u64,
}

/// A model in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    pub(super) model: ModelId,
    pub(super) vram: u64,
    /// The time since when it is known to be there.
    pub(super) since: Duration,
    pub(super) expires_at: Duration,
    /// How long it stays after its last use.
    pub(super) keep_alive: Duration,
}
