//! How many attempts in vain a provider is sent on top of its requests, so that an outage is not multiplied.
//!
//! Only those count that follow another attempt and fail too: while a provider is well, any number of requests may
//! come to it that another has failed; when nothing works, it gets its share and a few more, not several times as many.

use std::time::{Duration, Instant};

use super::window::Window;
use crate::settings::Retry;

/// What is older does not count.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Budget {
    share: f64,
    floor: u32,
    /// All attempts, and as failed those that followed another and failed.
    window: Window,
}

impl Budget {
    pub(super) fn new(retry: &Retry, now: Instant) -> Self {
        Self {
            share: retry.budget,
            floor: retry.budget_floor,
            window: Window::new(WINDOW, now),
        }
    }

    /// Notes that an attempt has ended; `further` says that it followed another one of the same request.
    pub(super) fn spend(&mut self, further: bool, failed: bool, now: Instant) {
        let counts = self.window.now(now);
        counts.all = counts.all.saturating_add(1);
        if further && failed {
            counts.failed = counts.failed.saturating_add(1);
        }
    }

    /// Returns whether a further attempt may be made.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let counts = self.window.sum(now);
        let share = self.share * f64::from(counts.all - counts.failed);
        f64::from(counts.failed) < f64::from(self.floor) + share
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(now: Instant) -> Budget {
        Budget::new(&Retry::default(), now)
    }

    #[test]
    fn further_attempts_that_work_cost_nothing() {
        let now = Instant::now();
        let mut budget = budget(now);
        for _ in 0..1000 {
            assert!(budget.allows(now));
            budget.spend(true, false, now);
        }
    }

    #[test]
    fn the_floor_serves_where_there_is_little_traffic_and_comes_back() {
        let now = Instant::now();
        let mut budget = budget(now);
        for _ in 0..10 {
            assert!(budget.allows(now));
            budget.spend(true, true, now);
        }
        assert!(!budget.allows(now));
        assert!(budget.allows(now + WINDOW));
    }

    proptest! {
        /// In an outage every request fails, and would be tried again `tries` times.
        #[test]
        fn an_outage_is_not_multiplied(requests in 1u32..2_000, tries in 1u32..6) {
            let now = Instant::now();
            let mut budget = budget(now);
            let mut sent = 0;
            for _ in 0..requests {
                budget.spend(false, true, now);
                sent += 1;
                for _ in 0..tries {
                    if budget.allows(now) {
                        budget.spend(true, true, now);
                        sent += 1;
                    }
                }
            }
            let most = f64::from(requests) * 1.2 + 11.0;
            prop_assert!(f64::from(sent) <= most, "{sent} for {requests}");
        }
    }
}
