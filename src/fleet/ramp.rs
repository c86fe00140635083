//! How a limit rises after a trial: by tenths, so that what has just come back is not overrun.

use std::time::{Duration, Instant};

/// Steps in which it rises.
const STEPS: u32 = 10;

/// Requests at once that try out what has failed.
pub(super) const TRIALS: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    from: Instant,
    over: Duration,
}

impl Ramp {
    /// Begins now; `None` if it takes no time.
    pub(super) fn begin(over: Duration, now: Instant) -> Option<Self> {
        (!over.is_zero()).then_some(Self { from: now, over })
    }

    /// Returns how many requests may be in flight at once, from `least` on, of `full` that there could be; `None` when the ramp
    /// is over.
    pub(super) fn limit(&self, full: usize, least: usize, now: Instant) -> Option<usize> {
        let step = self.step(now);
        let risen = full * step as usize / STEPS as usize;
        (step < STEPS).then_some(risen.max(least))
    }

    /// Returns when the limit will be another.
    pub(super) fn next_change(&self, now: Instant) -> Instant {
        let next = self.step(now).saturating_add(1);
        self.from + self.over * next.min(STEPS) / STEPS
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.step(now) >= STEPS
    }

    fn step(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.from);
        let step = (self.over / STEPS).max(Duration::from_nanos(1));
        u32::try_from(passed.as_nanos() / step.as_nanos()).unwrap_or(STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_by_tenths_and_says_when() {
        let mut now = Instant::now();
        assert_eq!(Ramp::begin(Duration::ZERO, now), None);
        let ramp = Ramp::begin(Duration::from_secs(5), now).unwrap();
        let mut limits = vec![ramp.limit(4, 1, now)];
        while !ramp.is_over(now) {
            let next = ramp.next_change(now);
            let just_before = next - Duration::from_nanos(1);
            assert_eq!(ramp.limit(4, 1, just_before), *limits.last().unwrap());
            now = next;
            limits.push(ramp.limit(4, 1, now));
        }
        let risen = [1, 1, 1, 1, 1, 2, 2, 2, 3, 3].map(Some);
        assert_eq!(limits, [&risen[..], &[None]].concat());
        assert_eq!(ramp.limit(4, 1, now + Duration::from_secs(1 << 40)), None);
    }
}
