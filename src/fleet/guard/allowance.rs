//! How much is left of a provider's rate limit, between two answers that say so.
//!
//! Providers refill their limits all the time: of `limit`, `limit - remaining` come back within `reset`. What this
//! gateway sends meanwhile is taken off at once, before the provider says so.

use std::time::{Duration, Instant};

use remuda_formats::dialect::rate_limits::Allowance;

/// The most that is waited for on the word of a header field, so that a mistake of a provider's does not shut it out.
const LONGEST: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter(Option<Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    left: f64,
    /// All of it; what is left grows up to here.
    limit: f64,
    /// Units that come back in a second.
    refill: f64,
    at: Instant,
}

impl Meter {
    /// Reads what the provider says of a limit. Nothing is known of it unless the provider says what is left and when it is
    /// back.
    pub(super) fn of(allowance: &Allowance, now: Instant) -> Self {
        let known = || {
            let (remaining, reset) = (allowance.remaining?, allowance.reset?);
            // Where the limit is not told, at least one unit comes back.
            let limit = allowance.limit.unwrap_or(0).max(remaining + 1);
            Some(Known {
                left: remaining as f64,
                limit: limit as f64,
                refill: (limit - remaining) as f64 / reset.as_secs_f64().max(1e-3),
                at: now,
            })
        };
        Self(known())
    }

    pub(super) fn take(&mut self, units: u64, now: Instant) {
        if let Some(known) = &mut self.0 {
            known.left = known.left(now) - units as f64;
            known.at = now;
        }
    }

    /// Returns how long it is until so many units are left; no more than there can be are waited for.
    pub(super) fn wait(&self, units: u64, now: Instant) -> Duration {
        let Some(known) = &self.0 else {
            return Duration::ZERO;
        };
        let missing = (units as f64).min(known.limit) - known.left(now);
        let wait = Duration::try_from_secs_f64(missing / known.refill).unwrap_or_default();
        // Times are kept in nanoseconds, and what has come back in floating point.
        if wait < Duration::from_micros(1) {
            Duration::ZERO
        } else {
            wait.min(LONGEST)
        }
    }
}

impl Known {
    fn left(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + passed * self.refill).min(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowance(limit: Option<u64>, remaining: u64, reset: u64) -> Allowance {
        Allowance {
            limit,
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(reset)),
        }
    }

    #[test]
    fn it_refills_as_providers_do() {
        let now = Instant::now();
        let mut meter = Meter::of(&allowance(Some(100), 40, 60), now);
        assert_eq!(meter.wait(40, now), Duration::ZERO);
        assert_eq!(meter.wait(50, now), Duration::from_secs(10));
        meter.take(40, now);
        assert_eq!(meter.wait(1, now), Duration::from_secs(1));
        assert_eq!(meter.wait(1, now + Duration::from_secs(1)), Duration::ZERO);
        // More than there can ever be is not waited for.
        assert_eq!(meter.wait(1_000, now), Duration::from_secs(100));
    }

    #[test]
    fn without_a_limit_nothing_is_back_before_the_reset() {
        let now = Instant::now();
        let meter = Meter::of(&allowance(None, 0, 30), now);
        assert_eq!(meter.wait(1, now), Duration::from_secs(30));
        let unknown = Allowance {
            remaining: Some(0),
            ..Allowance::default()
        };
        assert_eq!(Meter::of(&unknown, now).wait(1, now), Duration::ZERO);
    }

    proptest! {
        /// However it is used: a wait that is over leaves enough, and none is longer than it may be.
        #[test]
        fn waits_come_to_an_end(
            limit in 1u64..10_000, remaining in 0u64..10_000, reset in 0u64..4_000,
            taken in proptest::collection::vec(0u64..500, 0..20), units in 1u64..2_000,
        ) {
            let now = Instant::now();
            let mut meter = Meter::of(&allowance(Some(limit), remaining, reset), now);
            for units in taken {
                meter.take(units, now);
            }
            let wait = meter.wait(units, now);
            prop_assert!(wait <= LONGEST);
            if wait < LONGEST {
                prop_assert_eq!(meter.wait(units, now + wait), Duration::ZERO);
            }
        }
    }
}
