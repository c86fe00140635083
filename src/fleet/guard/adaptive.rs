//! How many requests a provider is sent at once: as many as it may, until it shows that this is too many.
//!
//! Additive increase, multiplicative decrease. Signs of overload are refusals for want of capacity and timeouts, and
//! answers that take `tolerance` times as long to begin as they usually do (the gradient of latency: recent mean over
//! long-term mean). Streamed and whole answers have means of their own, as a whole answer begins when it is finished.

use std::time::{Duration, Instant};

use crate::settings;

/// What is left of the limit after a sign of overload.
const CUT: f64 = 0.75;
/// At most one cut within this, since what was sent before shows the same signs for a while.
const BETWEEN_CUTS: Duration = Duration::from_secs(1);
/// Answers over which the recent mean goes.
const RECENT: f64 = 10.0;
/// Answers over which the long-term mean goes where it rises: it must not take a lasting overload for the usual soon.
const USUAL: f64 = 5_000.0;
/// Answers before anything is concluded from the means.
const ENOUGH: u32 = 30;

#[derive(Debug)]
pub(super) struct Adaptive {
    enabled: bool,
    min: f64,
    max: f64,
    tolerance: f64,
    limit: f64,
    cut_at: Option<Instant>,
    streamed: Latency,
    whole: Latency,
}

#[derive(Debug, Default)]
struct Latency {
    recent: f64,
    usual: f64,
    answers: u32,
}

impl Adaptive {
    /// Makes the limit of a provider with `full` slots.
    pub(super) fn new(policy: &settings::Adaptive, full: usize) -> Self {
        let full = full as f64;
        let max = policy.max.map_or(full, |max| full.min(f64::from(max)));
        Self {
            enabled: policy.enabled,
            min: f64::from(policy.min).min(max).max(1.0),
            max,
            tolerance: policy.tolerance,
            limit: max,
            cut_at: None,
            streamed: Latency::default(),
            whole: Latency::default(),
        }
    }

    /// Returns how many requests may be in flight at once; `None` while there is no reason for fewer than `full`.
    pub(super) fn limit(&self, full: usize) -> Option<usize> {
        let limit = self.limit as usize;
        (limit < full).then_some(limit.max(1))
    }

    /// Notes an answer that began after `latency`, while `in_flight` requests were on their way, itself included.
    pub(super) fn answered(
        &mut self,
        latency: Duration,
        streamed: bool,
        in_flight: usize,
        now: Instant,
    ) {
        if !self.enabled {
            return;
        }
        let means = if streamed {
            &mut self.streamed
        } else {
            &mut self.whole
        };
        means.add(latency.as_secs_f64());
        let gradient = means.gradient();
        if gradient > self.tolerance && in_flight as f64 > self.min {
            self.cut(in_flight, now);
        } else if gradient <= 1.0 + (self.tolerance - 1.0) / 4.0
            && in_flight as f64 >= self.limit * 0.8
        {
            // One more for each round of answers at the limit.
            self.limit = (self.limit + 1.0 / self.limit).min(self.max);
        }
    }

    /// Notes that the provider had no capacity for a request while `in_flight` were on their way.
    pub(super) fn overloaded(&mut self, in_flight: usize, now: Instant) {
        if self.enabled && in_flight as f64 > self.min {
            self.cut(in_flight, now);
        }
    }

    fn cut(&mut self, in_flight: usize, now: Instant) {
        let recently = |at: Instant| now.saturating_duration_since(at) < BETWEEN_CUTS;
        if self.cut_at.is_some_and(recently) {
            return;
        }
        self.cut_at = Some(now);
        self.limit = (self.limit.min(in_flight as f64) * CUT).max(self.min);
    }
}

impl Latency {
    fn add(&mut self, seconds: f64) {
        self.answers = self.answers.saturating_add(1);
        // A plain mean until there are as many answers as the mean goes over.
        let weight = |over: f64| 1.0 / over.min(f64::from(self.answers));
        self.recent += (seconds - self.recent) * weight(RECENT);
        // What is faster than usual soon becomes the usual.
        let over = if self.recent < self.usual {
            RECENT
        } else {
            USUAL
        };
        self.usual += (self.recent - self.usual) * weight(over);
    }

    /// Returns how many times the usual the recent answers took.
    fn gradient(&self) -> f64 {
        if self.answers >= ENOUGH && self.usual > 0.0 {
            self.recent / self.usual
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adaptive() -> (Adaptive, Instant) {
        let adaptive = Adaptive::new(&settings::Adaptive::default(), 100);
        (adaptive, Instant::now())
    }

    /// A provider that serves `capacity` requests at once in a second each, and the others after them; it gets as many
    /// as the limit allows, out of `wanted`.
    fn serve(adaptive: &mut Adaptive, now: &mut Instant, capacity: usize, wanted: usize) {
        let in_flight = wanted.min(adaptive.limit(100).unwrap_or(100));
        let latency = Duration::from_secs_f64((in_flight as f64 / capacity as f64).max(1.0));
        *now += latency;
        for _ in 0..in_flight {
            adaptive.answered(latency, true, in_flight, *now);
        }
    }

    #[test]
    fn it_does_nothing_while_all_is_well() {
        let (mut adaptive, mut now) = adaptive();
        for wanted in (1..100).chain((1..100).rev()) {
            serve(&mut adaptive, &mut now, 100, wanted);
            assert_eq!(adaptive.limit(100), None);
        }
    }

    #[test]
    fn it_comes_down_to_what_a_provider_can_take_and_up_again() {
        let (mut adaptive, mut now) = adaptive();
        for _ in 0..500 {
            serve(&mut adaptive, &mut now, 20, 10);
        }
        for _ in 0..20 {
            serve(&mut adaptive, &mut now, 20, 100);
        }
        let limit = adaptive.limit(100).unwrap();
        assert!((10..=45).contains(&limit), "{limit}");
        for _ in 0..400 {
            serve(&mut adaptive, &mut now, 200, 100);
        }
        assert_eq!(adaptive.limit(100), None);
    }

    #[test]
    fn refusals_cut_it_once_at_a_time_and_not_below_the_least() {
        let (mut adaptive, now) = adaptive();
        for _ in 0..10 {
            adaptive.overloaded(40, now);
        }
        assert_eq!(adaptive.limit(100), Some(30));
        for second in 1..60 {
            adaptive.overloaded(40, now + Duration::from_secs(second));
        }
        assert_eq!(adaptive.limit(100), Some(4));
    }

    #[test]
    fn whole_answers_do_not_look_slow_beside_streams() {
        let (mut adaptive, now) = adaptive();
        for _ in 0..300 {
            adaptive.answered(Duration::from_millis(200), true, 50, now);
            adaptive.answered(Duration::from_secs(20), false, 50, now);
        }
        assert_eq!(adaptive.limit(100), None);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            events in proptest::collection::vec((any::<bool>(), 0u64..5_000, 1usize..200), 1..300),
            max in proptest::option::of(4u32..200),
        ) {
            let policy = settings::Adaptive { max, ..settings::Adaptive::default() };
            let mut adaptive = Adaptive::new(&policy, 100);
            let mut now = Instant::now();
            for (overload, millis, in_flight) in events {
                now += Duration::from_millis(millis);
                if overload { adaptive.overloaded(in_flight, now) } else { adaptive.answered(Duration::from_millis(millis), true, in_flight, now) }
                let limit = adaptive.limit(100).unwrap_or(100);
                prop_assert!(limit >= 4 && limit <= max.unwrap_or(100).min(100) as usize, "{limit}");
            }
        }
    }
}
