//! When a backend counts as healthy: a state machine over probes and request outcomes.
//!
//! Unhealthy at once when a request fails, or after a number of missed probes in a row, of which
//! those during a request do not count; healthy again only by a good probe that began later.

use std::time::{Duration, Instant};

use super::probe::Miss;

/// An address that answers, but not as an Ollama server, is no member any more after this. (One
/// that cannot be reached at all leaves after the configured number of misses.)
const FORGET_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Vitals {
    healthy: bool,
    /// Probes missed in a row.
    misses: u32,
    /// Whether the last missed probe could not even reach the server.
    unreachable: bool,
    /// Failed requests so far: what a probe that began before the last one found is out of date.
    failures: u64,
    /// Failed requests since the last one that went well.
    setbacks: u32,
    /// The last good probe, or the start.
    good_at: Instant,
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            healthy: false,
            misses: 0,
            unreachable: false,
            failures: 0,
            setbacks: 0,
            good_at: now,
        }
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy
    }

    /// To be handed back with what a probe found that begins now.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// A good probe. False if a request has failed since it began, so that it proves nothing.
    pub(super) fn passed(&mut self, failures: u64, now: Instant) -> bool {
        if failures != self.failures {
            return false;
        }
        self.healthy = true;
        self.misses = 0;
        self.unreachable = false;
        self.good_at = now;
        true
    }

    /// A missed probe; `busy` if the backend is serving requests. True if this ends its health.
    pub(super) fn missed(&mut self, miss: &Miss, busy: bool, limit: u32) -> bool {
        if busy || matches!(miss, Miss::NoSocket) {
            return false;
        }
        self.misses = self.misses.saturating_add(1);
        self.unreachable = miss.unreachable();
        let ejected = self.healthy && self.misses >= limit;
        self.healthy &= !ejected;
        ejected
    }

    /// A failed request. If this ends the backend's health: how many have failed in a row.
    pub(super) fn failed(&mut self) -> Option<u32> {
        self.failures += 1;
        self.setbacks = self.setbacks.saturating_add(1);
        std::mem::replace(&mut self.healthy, false).then_some(self.setbacks)
    }

    /// A request that went well.
    pub(super) fn served(&mut self) {
        self.setbacks = 0;
        if self.healthy {
            self.misses = 0;
        }
    }

    /// Whether there is no server at this address any more.
    pub(super) fn vanished(&self, busy: bool, limit: u32, now: Instant) -> bool {
        let unanswered =
            self.unreachable || now.saturating_duration_since(self.good_at) > FORGET_AFTER;
        !self.healthy && !busy && self.misses >= limit && unanswered
    }
}
