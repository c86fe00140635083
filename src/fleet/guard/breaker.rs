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

    /// While it is open: until when, and why.
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

    /// As [`Self::record`], but that it stays closed where `may_open` says no to the cause for which it would open.
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

    /// Requests at once that it lets through, of `full` that there could be; `None` is all.
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
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use BreakerState::{Closed, HalfOpen, Open};
    use Went::{Slowly, Well, Wrong};

    /// A breaker with a clock that the test turns.
    struct Clocked {
        breaker: Breaker,
        now: Instant,
    }

    impl Clocked {
        fn new(policy: settings::Breaker) -> Self {
            let now = Instant::now();
            Self {
                breaker: Breaker::new(&policy, now),
                now,
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.breaker.tick(self.now);
        }

        fn record(&mut self, went: Went, times: usize) {
            for _ in 0..times {
                self.breaker.record(went, self.now, self.now);
            }
        }

        fn state(&self) -> BreakerState {
            self.breaker.state(self.now)
        }

        fn limit(&self) -> Option<usize> {
            self.breaker.limit(100, self.now)
        }
    }

    fn clocked() -> Clocked {
        Clocked::new(settings::Breaker::default())
    }

    #[test]
    fn failures_in_a_row_open_it_however_few_requests_there_are() {
        for before in [0, 1, 5, 500] {
            let mut breaker = clocked();
            breaker.record(Well, before);
            breaker.record(Wrong, 4);
            assert_eq!(breaker.state(), Closed, "{before}");
            breaker.record(Wrong, 1);
            assert_eq!(breaker.state(), Open, "{before}");
            let (until, cause) = breaker.breaker.open(breaker.now).unwrap();
            assert_eq!(until, breaker.now + Duration::from_secs(5));
            assert_eq!(cause.to_string(), "5 requests in a row failed");
        }
        // A row with long gaps is none.
        let mut seldom = clocked();
        for _ in 0..20 {
            seldom.record(Wrong, 1);
            seldom.pass(61);
        }
        assert_eq!(seldom.state(), Closed);
    }

    /// However long it was down: from its recovery on it is half a minute at most.
    #[test]
    fn it_is_tried_at_short_intervals_however_long_it_was_down() {
        let mut breaker = clocked();
        breaker.record(Wrong, 5);
        let mut pauses = Vec::new();
        for _ in 0..200 {
            let (until, _) = breaker.breaker.open(breaker.now).unwrap();
            let pause = until - breaker.now;
            pauses.push(pause.as_secs());
            breaker.now = until;
            breaker.breaker.tick(until);
            assert_eq!((breaker.state(), breaker.limit()), (HalfOpen, Some(1)));
            breaker.record(Wrong, 1);
        }
        assert_eq!(pauses[..4], [5, 10, 20, 20]);
        assert_eq!(pauses.iter().max(), Some(&20));
        breaker.pass(20);
        breaker.record(Well, 3);
        assert_eq!(breaker.state(), Closed);
        breaker.record(Wrong, 5);
        let (until, _) = breaker.breaker.open(breaker.now).unwrap();
        assert_eq!(until - breaker.now, Duration::from_secs(5));
    }

    #[test]
    fn a_share_of_failures_opens_it_and_a_few_among_many_do_not() {
        let mut breaker = clocked();
        for _ in 0..200 {
            breaker.record(Well, 9);
            breaker.record(Wrong, 1);
            assert_eq!(breaker.state(), Closed);
        }
        breaker.pass(61);
        for _ in 0..4 {
            breaker.record(Wrong, 2);
            breaker.record(Well, 2);
        }
        assert_eq!(breaker.state(), Open);
    }

    #[test]
    fn what_is_past_does_not_count() {
        let mut breaker = clocked();
        for _ in 0..20 {
            breaker.record(Wrong, 4);
            breaker.record(Well, 1);
            breaker.pass(61);
        }
        assert_eq!(breaker.state(), Closed);
    }

    #[test]
    fn slow_answers_open_it() {
        let mut breaker = clocked();
        breaker.record(Well, 2);
        breaker.record(Slowly, 7);
        assert_eq!(breaker.state(), Closed);
        breaker.record(Slowly, 1);
        assert_eq!(breaker.state(), Open);
    }

    #[test]
    fn it_is_tried_out_and_comes_back_by_steps() {
        let mut breaker = clocked();
        breaker.record(Wrong, 10);
        assert_eq!(breaker.limit(), Some(0));
        breaker.pass(4);
        assert_eq!(breaker.state(), Open);
        breaker.pass(1);
        assert_eq!((breaker.state(), breaker.limit()), (HalfOpen, Some(1)));
        breaker.record(Well, 2);
        assert_eq!(breaker.state(), HalfOpen);
        breaker.record(Well, 1);
        assert_eq!((breaker.state(), breaker.limit()), (Closed, Some(3)));
        let mut limits = Vec::new();
        for _ in 0..10 {
            breaker.now = breaker.breaker.next_change(breaker.now).unwrap();
            breaker.breaker.tick(breaker.now);
            limits.push(breaker.limit());
        }
        let risen: Vec<_> = (1..10)
            .map(|tenth| Some(tenth * 10))
            .chain([None])
            .collect();
        assert_eq!(limits, risen);
        assert_eq!(breaker.breaker.next_change(breaker.now), None);
    }

    #[test]
    fn one_failed_trial_opens_it_again_and_late_comers_say_nothing() {
        let mut breaker = clocked();
        let before = breaker.now;
        breaker.record(Wrong, 10);
        breaker.pass(5);
        // Begun before it opened.
        for went in [Well, Well, Well, Wrong] {
            assert!(!breaker.breaker.record(went, before, breaker.now));
        }
        assert_eq!(breaker.state(), HalfOpen);
        breaker.record(Well, 2);
        breaker.record(Wrong, 1);
        assert_eq!(breaker.state(), Open);
        assert_eq!(
            breaker.breaker.open(breaker.now).unwrap().1,
            OpenCause::Trial
        );
        breaker.record(Well, 50);
        assert_eq!(breaker.state(), Open);
    }

    #[test]
    fn it_can_be_turned_off() {
        let mut breaker = Clocked::new(settings::Breaker {
            enabled: false,
            ..settings::Breaker::default()
        });
        breaker.record(Wrong, 1000);
        assert_eq!((breaker.state(), breaker.limit()), (Closed, None));
    }

    proptest! {
        /// Whatever happens: it opens only after a failure or a slow answer, lets nothing through while open, never
        /// stays open longer than it may, and says when it changes by itself.
        #[test]
        fn it_keeps_its_promises(events in proptest::collection::vec((0u8..4, 0u64..40), 1..200)) {
            let mut breaker = clocked();
            let mut opened_at = None;
            for (event, seconds) in events {
                let before = breaker.state();
                let next = breaker.breaker.next_change(breaker.now);
                let limit = breaker.limit();
                breaker.pass(seconds);
                if next.is_none_or(|next| breaker.now < next) {
                    prop_assert_eq!(breaker.limit(), limit);
                }
                let before = match (before, breaker.state()) {
                    (Open, HalfOpen) => HalfOpen,
                    (before, now) => {
                        prop_assert_eq!(before, now);
                        now
                    }
                };
                let went = [Well, Well, Slowly, Wrong][usize::from(event)];
                breaker.record(went, 1);
                match (before, breaker.state()) {
                    (Closed | HalfOpen, Open) => {
                        prop_assert_ne!(went, Well);
                        opened_at = Some(breaker.now);
                    }
                    (Open, Open) => {
                        let open = breaker.now - opened_at.unwrap();
                        prop_assert!(open < LONGEST);
                    }
                    (HalfOpen, Closed) => prop_assert_eq!(went, Well),
                    (before, now) => prop_assert_eq!(before, now),
                }
                if breaker.state() == Open {
                    prop_assert_eq!(breaker.limit(), Some(0));
                } else {
                    prop_assert_ne!(breaker.limit(), Some(0));
                }
            }
        }
    }
}
