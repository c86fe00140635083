//! One model over the fleet: where it is, where it could start at once, and how it is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::footprint::Footprint;
use super::learned::{Mean, Rate, Rates};
use super::lines::Waiter;
use super::need::Needs;
use super::pace::Reference;
use super::ready::Ready;
use crate::ids::BackendId;

#[derive(Debug)]
pub(super) struct Model {
    /// Backends that have it on disk, healthy or not.
    pub(super) on_disk: BTreeSet<BackendId>,
    /// Backends on which loading it, or a request for it, has failed of late.
    pub(super) failed: BTreeSet<BackendId>,
    /// How many of those that have it on disk are healthy.
    pub(super) healthy: usize,
    /// Healthy backends that have it in memory or load it, where placement is on, by the tokens that the copy's context holds.
    pub(super) copies: BTreeSet<(u32, BackendId)>,
    /// Those of its copies that have a free slot and are not still loading it.
    pub(super) ready: Ready,
    pub(super) arrivals: Rate,
    /// Seconds that a warm request holds its slot.
    pub(super) service: Mean,
    /// Seconds that loads have taken, over all backends.
    pub(super) load_time: Mean,
    /// The most bytes of memory that were seen anywhere.
    pub(super) vram: Option<u64>,
    pub(super) footprint: Footprint,
    pub(super) needs: Needs,
    /// How fast its copies are, over all backends.
    pub(super) rates: Rates,
    /// How fast its copies are beside each other.
    pub(super) reference: Reference,
    /// Backends whose copy is left alone, since it is slow.
    pub(super) drained: BTreeSet<BackendId>,
    /// Loads of the gateway's own that are under way.
    pub(super) loading: usize,
    /// No copy of it is tried with one request too many before this.
    pub(super) next_try: Duration,
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
            footprint: Footprint::default(),
            needs: Needs::new(now),
            rates: Rates::default(),
            reference: Reference::default(),
            drained: BTreeSet::new(),
            loading: 0,
            next_try: Duration::ZERO,
        }
    }

    /// The backends whose copy holds so many tokens.
    pub(super) fn copies_for(&self, tokens: u32) -> impl Iterator<Item = BackendId> {
        let fitting = self.copies.range((tokens, BackendId(0))..);
        fitting.map(|(_, id)| *id)
    }

    pub(super) fn has_copy_for(&self, tokens: u32) -> bool {
        self.copies.last().is_some_and(|(most, _)| *most >= tokens)
    }

    /// Whether the request may have no copy though others of the model do.
    pub(super) fn may_strand(&self, waiter: &Waiter) -> bool {
        !waiter.goes_anywhere() || !self.has_copy_for(waiter.tokens())
    }

    /// How many backends have a copy that holds so many tokens.
    pub(super) fn count_for(&self, tokens: u32) -> usize {
        match self.copies.first() {
            Some((least, _)) if *least < tokens => self.copies_for(tokens).count(),
            _ => self.copies.len(),
        }
    }
}
