//! Response time as a peak-sensitive moving average: it jumps to a slower answer at once and
//! forgets it exponentially.
//!
//! Units: microseconds. With `c` the average, `r` an observed response time and `d` the time since
//! the last observation: `c = r` if `r > c`, else `c = c·w + r·(1 - w)` with `w = exp(-d / τ)`; and
//! read after a further `d`, `c·exp(-d / τ)`, so that a backend that was slow once is tried again.
//! Source: Finagle's `PeakEwma` balancer, tower's `load::peak_ewma`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// τ. Finagle and tower use 10 s for calls of milliseconds; answers of a language model take
/// seconds, and with a shorter memory a backend would be forgotten between two of its answers.
const DECAY: Duration = Duration::from_secs(60);

/// A lock-free peak EWMA: the average (an `f32`) and the time of the last observation
/// (milliseconds since `epoch`, wrapping after 49 days) share one word.
#[derive(Debug)]
pub struct PeakEwma {
    epoch: Instant,
    state: AtomicU64,
}

impl PeakEwma {
    /// Makes an average of nothing yet, with times that are counted from `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            state: AtomicU64::new(0),
        }
    }

    /// Takes one response time that was measured at `now`.
    pub fn observe(&self, response_time: Duration, now: Instant) {
        let seen = response_time.as_secs_f32() * 1e6;
        let at = self.millis(now);
        let update = |packed| {
            let (average, last) = unpack(packed);
            let weight = decay(at.wrapping_sub(last));
            let next = if seen > average {
                seen
            } else {
                average * weight + seen * (1.0 - weight)
            };
            Some(pack(next, at))
        };
        // The closure never refuses, so the result says nothing.
        let _ = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
    }

    /// Returns the average in microseconds, decayed to `now`; 0 if nothing was observed.
    pub fn micros(&self, now: Instant) -> f64 {
        let (average, last) = unpack(self.state.load(Ordering::Acquire));
        if average == 0.0 {
            return 0.0;
        }
        f64::from(average * decay(self.millis(now).wrapping_sub(last)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "wraps after 49 days, by design"
    )]
    fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }
}

fn decay(millis: u32) -> f32 {
    (-(millis as f32) / (DECAY.as_millis() as f32)).exp()
}

fn pack(average: f32, millis: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(millis)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of the word"
)]
fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) {
        assert!(
            (left - right).abs() <= right.abs() * 1e-3 + 1e-3,
            "{left} is not near {right}"
        );
    }

    #[test]
    fn jumps_to_a_peak_and_forgets_it() {
        let start = Instant::now();
        let ewma = PeakEwma::new(start);
        assert_eq!(ewma.micros(start), 0.0);
        ewma.observe(Duration::from_millis(100), start);
        near(ewma.micros(start), 100_000.0);
        ewma.observe(Duration::from_secs(3), start + Duration::from_secs(1));
        near(ewma.micros(start + Duration::from_secs(1)), 3_000_000.0);

        let later = start + Duration::from_secs(1) + DECAY;
        near(ewma.micros(later), 3_000_000.0 / std::f64::consts::E);
        let weight = (-1.0f64).exp();
        ewma.observe(Duration::from_millis(100), later);
        near(
            ewma.micros(later),
            3_000_000.0 * weight + 100_000.0 * (1.0 - weight),
        );
    }

    #[test]
    fn a_time_before_the_epoch_counts_as_the_epoch() {
        let start = Instant::now() + Duration::from_secs(5);
        let ewma = PeakEwma::new(start);
        ewma.observe(Duration::from_millis(7), start - Duration::from_secs(2));
        near(ewma.micros(start - Duration::from_secs(1)), 7_000.0);
    }
}
