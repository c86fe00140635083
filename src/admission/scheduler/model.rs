//! One model over the fleet: where it is, where it could start at once, and how it is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::learned::{Mean, Rate};
use super::ready::Ready;
use crate::ids::BackendId;

#[derive(Debug)]
pub(super) struct Model {
    /// Backends that have it on disk, healthy or not.
    pub(super) on_disk: BTreeSet<BackendId>,
    /// Backends on which loading it has failed of late.
    pub(super) failed: BTreeSet<BackendId>,
    /// How many of those that have it on disk are healthy.
    pub(super) healthy: usize,
    /// Healthy backends that have it in memory or load it, where placement is on.
    pub(super) copies: BTreeSet<BackendId>,
    /// Those of its copies that have a free slot and are not still loading it.
    pub(super) ready: Ready,
    pub(super) arrivals: Rate,
    /// Seconds that a warm request holds its slot.
    pub(super) service: Mean,
    /// Seconds that loads have taken, over all backends.
    pub(super) load_time: Mean,
    /// Bytes of GPU memory, as seen anywhere.
    pub(super) vram: Option<u64>,
}

impl Model {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            on_disk: BTreeSet::new(),
            failed: BTreeSet::new(),
            healthy: 0,
            copies: BTreeSet::new(),
            ready: Ready::default(),
            arrivals: Rate::new(now),
            service: Mean::default(),
            load_time: Mean::default(),
            vram: None,
        }
    }
}
