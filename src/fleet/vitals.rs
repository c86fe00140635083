//! When a backend counts as healthy: a state machine over probes and request outcomes.
//!
//! Unhealthy at once when a request fails, or after a number of missed probes in a row, of which those during a request
//! are excused for as long as the backend is heard; healthy again only by a good probe that began later. One that was
//! left out for failing again and again is tried by a few requests first, and then sent more by steps.

use std::time::{Duration, Instant, SystemTime};

use super::guard::BreakerState;
use super::miss::Miss;
use super::ramp::{Ramp, TRIALS};
use super::trouble::Trouble;
use crate::settings::Breaker;

/// An address that answers, but not as an Ollama server, is no member any more after this. (One
/// that cannot be reached at all leaves after the configured number of misses.)
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// A backend with requests in flight of which no byte came, and that answered no probe, for so long, serves nobody. Being
/// busy excuses less: a loaded machine answers late, a stream pauses, but not all of them for so long. `/api/tags` takes
/// no lock in Ollama, so that neither a load nor an eviction keeps it from being answered.
pub(super) const SILENT: Duration = Duration::from_secs(10);

/// An Ollama server that answers `/api/tags` and not `/api/ps` is evicting a model (up to 5 s) or has a runner that hangs
/// (10 s until it is killed). After this nobody is served there.
pub(super) const STUCK: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Vitals {
    healthy: bool,
    /// What is wrong, since the last good probe.
    trouble: Option<Trouble>,
    /// Whether it accepted connections and said nothing, so that it has to answer something to be healthy again.
    silent: bool,
    /// Probes missed in a row.
    misses: u32,
    /// Whether the last missed probe could not even reach the server.
    unreachable: bool,
    /// Failed requests so far. What a probe has found that began before the last of them is out of date.
    failures: u64,
    /// Failed requests since the last one that went well.
    setbacks: u32,
    /// Times in a row that its health ended, or a request to a service failed, without one that went well in between.
    falls: u32,
    /// It has failed so often that it stays out until then, however good its probes are; after that it is on trial.
    held_until: Option<Instant>,
    /// Requests that went well on trial.
    good: u32,
    /// It has proved itself on trial, and is sent more by steps.
    ramp: Option<Ramp>,
    /// What [`Vitals::new_limit`] gave last.
    limit: Option<u32>,
    /// The last good probe, or the start.
    good_at: Instant,
    /// Whether there was a good probe.
    known: bool,
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            healthy: false,
            trouble: None,
            silent: false,
            misses: 0,
            unreachable: false,
            failures: 0,
            setbacks: 0,
            falls: 0,
            held_until: None,
            good: 0,
            ramp: None,
            limit: None,
            good_at: now,
            known: false,
        }
    }

    /// Returns whether any probe was good so far.
    pub(super) fn known(&self) -> bool {
        self.known
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy
    }

    /// Returns whether the first probe was missed, and no other has ended since.
    pub(super) fn never_reached(&self) -> bool {
        !self.known && self.misses == 1
    }

    /// Returns the count that is to be handed back with what a probe found that begins now.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Takes in a good probe, of which something was `heard` or no more than a connection. Returns false if a request
    /// has failed since the probe began, so that it proves nothing.
    pub(super) fn passed(&mut self, failures: u64, heard: bool, now: Instant) -> bool {
        if failures != self.failures || self.held(now).is_some() || (self.silent && !heard) {
            return false;
        }
        if heard || !self.healthy {
            self.good_at = now;
        }
        self.healthy = true;
        self.trouble = None;
        self.silent = false;
        self.misses = 0;
        self.unreachable = false;
        self.known = true;
        true
    }

    /// Takes in a missed probe; `busy` says for how long the backend was not heard if it is serving requests. Returns
    /// true if this ends its health.
    pub(super) fn missed(
        &mut self,
        miss: &Miss,
        busy: Option<Duration>,
        limit: u32,
        now: Instant,
    ) -> bool {
        if matches!(miss, Miss::NoSocket) {
            return false;
        }
        let unseen = now.saturating_duration_since(self.good_at);
        let quiet = busy.map_or(unseen, |unheard| unheard.min(unseen));
        let (excused, over) = match miss {
            Miss::Stuck { .. } => (quiet < STUCK, true),
            _ => (busy.is_some() && quiet < SILENT, busy.is_some()),
        };
        if excused && self.healthy {
            return false;
        }
        self.ail(miss.to_string());
        self.misses = self.misses.saturating_add(1);
        self.unreachable = miss.unreachable();
        let ejected = self.healthy && (over || self.misses >= limit);
        self.healthy &= !ejected;
        self.silent |= ejected && miss.is_silence();
        ejected
    }

    /// Returns whether the backend has to answer something to be healthy again, as a connection is not enough.
    pub(super) fn silent(&self) -> bool {
        self.silent
    }

    /// Returns why the backend is not healthy.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|_| !self.healthy)
    }

    /// Returns the time since when no probe was good.
    pub(super) fn good_at(&self) -> Instant {
        self.good_at
    }

    /// Notes what is wrong: the latest failure is told, with the time of the first since the backend was well.
    fn ail(&mut self, text: String) {
        let since = self.trouble.take().map(|trouble| trouble.since);
        self.trouble = Some(Trouble {
            text,
            since: since.unwrap_or_else(SystemTime::now),
        });
    }

    /// Takes in a failed request; `what` says how it failed. If this ends the backend's health, returns how many have
    /// failed in a row.
    pub(super) fn failed(&mut self, what: &str) -> Option<u32> {
        self.failures += 1;
        self.ail(what.to_owned());
        self.setbacks = self.setbacks.saturating_add(1);
        let ended = std::mem::replace(&mut self.healthy, false);
        // However many requests a server takes with it when it dies, it died once.
        self.falls = self.falls.saturating_add(u32::from(ended));
        ended.then_some(self.setbacks)
    }

    /// Takes in a failed request to a service, whose health it does not end: it counts as a fall towards leaving the backend
    /// out.
    pub(super) fn stumbled(&mut self) {
        self.setbacks = self.setbacks.saturating_add(1);
        self.falls = self.falls.saturating_add(1);
    }

    /// Takes back a failed request that was no fault of the backend's. If that one was why the backend is left out, it is left
    /// out no longer.
    pub(super) fn acquit(&mut self, policy: &Breaker) {
        self.setbacks = self.setbacks.saturating_sub(1);
        let falls = self.falls;
        self.falls = falls.saturating_sub(1);
        // Only this one made it too many.
        if falls == policy.failures && self.good == 0 {
            self.held_until = None;
        }
    }

    /// Leaves the backend out for a while if it has failed too often in a row, whatever its probes say. It is called after each
    /// failure, and returns whether the backend is left out because of that one.
    pub(super) fn hold(&mut self, policy: &Breaker, now: Instant) -> bool {
        let held = policy.enabled && self.falls >= policy.failures && self.held(now).is_none();
        if held {
            self.failures += 1;
            self.held_until = Some(now + policy.open);
            self.good = 0;
            self.ramp = None;
        }
        held
    }

    /// Returns the time until when it is left out.
    pub(super) fn held(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| now < *until)
    }

    /// Returns the backend's breaker: open while it is left out, half-open until it has proved itself.
    pub(super) fn breaker(&self, now: Instant) -> BreakerState {
        match self.held_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Returns how many of its `slots` the backend may use at once, if that has changed since the last call; an inner `None`
    /// stands for all. On trial it is one, as for a provider.
    pub(super) fn new_limit(
        &mut self,
        policy: &Breaker,
        slots: u32,
        now: Instant,
    ) -> Option<Option<u32>> {
        let trials = policy.successes;
        let limit = match (self.held_until, self.ramp) {
            (Some(_), _) => Some(TRIALS as u32),
            (None, Some(ramp)) => {
                let limit = ramp.limit(slots as usize, trials as usize, now);
                limit.and_then(|limit| u32::try_from(limit).ok())
            }
            (None, None) => None,
        };
        let limit = limit.filter(|limit| *limit < slots);
        self.ramp.take_if(|ramp| ramp.is_over(now));
        (std::mem::replace(&mut self.limit, limit) != limit).then_some(limit)
    }

    /// Returns when the limit changes next although nothing happens; `None` if it does not.
    pub(super) fn next_limit(&self, now: Instant) -> Option<Instant> {
        Some(self.ramp?.next_change(now))
    }

    /// Takes in a request that began at `started` and went well. Returns whether the next will change anything, too.
    pub(super) fn served(&mut self, policy: &Breaker, started: Instant, now: Instant) -> bool {
        if let Some(until) = self.held_until {
            // What began before it was left out proves nothing.
            self.good += u32::from(started >= until);
            if self.good < policy.successes {
                return true;
            }
            self.held_until = None;
            self.ramp = Ramp::begin(policy.ramp, now);
        }
        self.setbacks = 0;
        self.falls = 0;
        if self.healthy {
            self.misses = 0;
        }
        false
    }

    /// Returns whether there is no server at this address any more.
    pub(super) fn vanished(&self, busy: bool, limit: u32, now: Instant) -> bool {
        let unanswered =
            self.unreachable || now.saturating_duration_since(self.good_at) > FORGET_AFTER;
        !self.healthy && !busy && self.misses >= limit && unanswered
    }
}

#[cfg(test)]
mod tests;
