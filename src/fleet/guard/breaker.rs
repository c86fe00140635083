//! Whether a provider is sent requests at all: closed, open after too many failures, half-open to try it out, and
//! closed again with a limit that rises for a while.

use std::fmt;
use std::time::{Duration, Instant};

use super::window::{Counts, Window};
use crate::fleet::ramp::{Ramp, TRIALS};
use crate::settings;

/// Between two trials at most, unless the first pause is longer: so that what is well again is back within half a minute,
/// however long it was not.
const LONGEST: Duration = Duration::from_secs(20);

/// A breaker's state as metrics and pages show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go through.
    Closed,
    /// A few may try.
    HalfOpen,
    /// None goes through.
    Open,
}

impl BreakerState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// How one request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    Well,
    Slowly,
    Wrong,
}

/// Why a breaker has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenCause {
    /// So many failures in a row.
    InARow(u32),
    /// Failures among all requests of the window.
    Rate { failed: u32, all: u32 },
    /// Slow answers among all requests of the window.
    Slow { slow: u32, all: u32 },
    /// It failed when it was tried again.
    Trial,
    /// A request is trying it.
    OnTrial,
}

impl fmt::Display for OpenCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(count) => write!(f, "{count} requests in a row failed"),
            Self::Rate { failed, all } => write!(f, "{failed} of its last {all} requests failed"),
            Self::Slow { slow, all } => write!(f, "{slow} of its last {all} answers were slow"),
            Self::Trial => f.write_str("it failed again when it was tried"),
            Self::OnTrial => f.write_str("one request is trying whether it is well again"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { ramp: Option<Ramp> },
    Open { until: Instant, cause: OpenCause },
    HalfOpen { since: Instant, good: u32 },
}

#[derive(Debug)]
pub(super) struct Breaker {
    policy: settings::Breaker,
    phase: Phase,
    window: Window,
    /// Failures since the last request that went well.
    in_a_row: u32,
    /// The last of them.
    failed_at: Instant,
    /// Times in a row that it has opened again from a trial.
    reopened: u32,
}

impl Breaker {
    pub(super) fn new(policy: &settings::Breaker, now: Instant) -> Self {
        Self {
            policy: policy.clone(),
            phase: Phase::Closed { ramp: None },
            window: Window::new(policy.window, now),
            in_a_row: 0,
            failed_at: now,
            reopened: 0,
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until, .. } if now < until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns until when the breaker is open, and why; `None` if it is not.
    pub(super) fn open(&self, now: Instant) -> Option<(Instant, OpenCause)> {
        match self.phase {
            Phase::Open { until, cause } if now < until => Some((until, cause)),
            _ => None,
        }
    }

    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.window.sum(now)
    }

    /// Takes in a request that began at `started` and has ended. Returns whether the state has changed.
    pub(super) fn record(&mut self, went: Went, started: Instant, now: Instant) -> bool {
        self.record_if(went, started, now, |_| true)
    }

    /// Does what [`Self::record`] does, but stays closed where `may_open` says no to the cause for which it would open.
    pub(super) fn record_if(
        &mut self,
        went: Went,
        started: Instant,
        now: Instant,
        may_open: impl FnOnce(OpenCause) -> bool,
    ) -> bool {
        if !self.policy.enabled {
            return false;
        }
        self.tick(now);
        match self.phase {
            Phase::Closed { .. } => self.count(went, now, may_open),
            // It was sent before.
            Phase::Open { .. } => false,
            Phase::HalfOpen { since, .. } if started < since => false,
            Phase::HalfOpen { since, good } => self.tried(went, since, good + 1, now),
        }
    }

    /// Takes note of the time. Whether the state has changed.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Open { until, .. } if until <= now => {
                self.phase = Phase::HalfOpen {
                    since: until,
                    good: 0,
                };
                true
            }
            Phase::Closed { ramp: Some(ramp) } if ramp.is_over(now) => {
                self.phase = Phase::Closed { ramp: None };
                false
            }
            _ => false,
        }
    }

    /// Returns how many requests it lets through at once, of `full` that there could be; `None` stands for all.
    pub(super) fn limit(&self, full: usize, now: Instant) -> Option<usize> {
        let trials = self.policy.successes as usize;
        match self.phase {
            Phase::Open { until, .. } if now < until => Some(0),
            Phase::Open { .. } | Phase::HalfOpen { .. } => Some(TRIALS),
            Phase::Closed { ramp } => ramp?.limit(full, trials, now),
        }
    }

    /// Returns when `limit` will be another although nothing happens.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Open { until, .. } => Some(until),
            Phase::Closed { ramp } => Some(ramp?.next_change(now)),
            Phase::HalfOpen { .. } => None,
        }
    }

    /// While it is not closed: what it stands for is well after all. It is closed, and lets everything through.
    pub(super) fn acquit(&mut self) {
        self.window.clear();
        self.in_a_row = 0;
        self.reopened = 0;
        self.phase = Phase::Closed { ramp: None };
    }

    /// Opens anew from now on, for so many failures in a row.
    pub(super) fn open_again(&mut self, now: Instant) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.open_for(OpenCause::InARow(self.in_a_row), now);
    }

    fn count(
        &mut self,
        went: Went,
        now: Instant,
        may_open: impl FnOnce(OpenCause) -> bool,
    ) -> bool {
        let counts = self.window.now(now);
        counts.all = counts.all.saturating_add(1);
        match went {
            Went::Well => {
                self.in_a_row = 0;
                return false;
            }
            Went::Slowly => {
                counts.slow = counts.slow.saturating_add(1);
                self.in_a_row = 0;
            }
            Went::Wrong => {
                counts.failed = counts.failed.saturating_add(1);
                if now.saturating_duration_since(self.failed_at) > self.policy.window {
                    self.in_a_row = 0;
                }
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.failed_at = now;
            }
        }
        match self.too_much(now).filter(|cause| may_open(*cause)) {
            Some(cause) => {
                self.open_for(cause, now);
                true
            }
            None => false,
        }
    }

    /// Returns why the breaker opens, for what a few failures among very many requests are not: a count in a row, or a
    /// share of all.
    fn too_much(&mut self, now: Instant) -> Option<OpenCause> {
        let policy = &self.policy;
        if self.in_a_row >= policy.failures {
            return Some(OpenCause::InARow(self.in_a_row));
        }
        let Counts { all, failed, slow } = self.window.sum(now);
        if all < policy.min_requests {
            return None;
        }
        let share = |part: u32| f64::from(part) / f64::from(all);
        if failed > 0 && share(failed) >= policy.error_rate {
            Some(OpenCause::Rate { failed, all })
        } else if slow > 0 && share(slow) >= policy.slow_rate {
            Some(OpenCause::Slow { slow, all })
        } else {
            None
        }
    }

    fn tried(&mut self, went: Went, since: Instant, good: u32, now: Instant) -> bool {
        if went != Went::Well {
            self.reopened = self.reopened.saturating_add(1);
            self.open_for(OpenCause::Trial, now);
        } else if good >= self.policy.successes {
            self.window.clear();
            self.in_a_row = 0;
            self.reopened = 0;
            self.phase = Phase::Closed {
                ramp: Ramp::begin(self.policy.ramp, now),
            };
        } else {
            self.phase = Phase::HalfOpen { since, good };
            return false;
        }
        true
    }

    fn open_for(&mut self, cause: OpenCause, now: Instant) {
        self.window.clear();
        let open = self.policy.open;
        let pause = open.saturating_mul(1 << self.reopened.min(16));
        self.phase = Phase::Open {
            until: now + pause.min(open.max(LONGEST)),
            cause,
        };
    }

    /// Returns whether it has nothing to remember.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.state(now) == BreakerState::Closed && self.window.sum(now).failed == 0
    }
}

#[cfg(test)]
mod tests;
