//! How many requests there were lately and how many of them failed: counts over a window of time that slides in steps.

use std::time::{Duration, Instant};

/// Steps of a window: what is forgotten at once is a tenth of it.
const STEPS: usize = 10;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) all: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

#[derive(Debug)]
pub(super) struct Window {
    step: Duration,
    origin: Instant,
    /// The step, counted from `origin`, that was last written to.
    newest: u64,
    steps: [Counts; STEPS],
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        Self {
            step: (length / STEPS as u32).max(Duration::from_millis(1)),
            origin: now,
            newest: 0,
            steps: [Counts::default(); STEPS],
        }
    }

    /// Returns the counts of the present, to be added to.
    pub(super) fn now(&mut self, now: Instant) -> &mut Counts {
        self.slide(now);
        &mut self.steps[self.newest as usize % STEPS]
    }

    pub(super) fn sum(&mut self, now: Instant) -> Counts {
        self.slide(now);
        self.steps
            .iter()
            .fold(Counts::default(), |sum, step| Counts {
                all: sum.all.saturating_add(step.all),
                failed: sum.failed.saturating_add(step.failed),
                slow: sum.slow.saturating_add(step.slow),
            })
    }

    pub(super) fn clear(&mut self) {
        self.steps = [Counts::default(); STEPS];
    }

    fn slide(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        let step = (since.as_nanos() / self.step.as_nanos()) as u64;
        for passed in (self.newest + 1..=step).take(STEPS) {
            self.steps[passed as usize % STEPS] = Counts::default();
        }
        self.newest = self.newest.max(step);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        window.now(at(0)).all += 1;
        window.now(at(5)).all += 2;
        assert_eq!(window.sum(at(9)).all, 3);
        assert_eq!(window.sum(at(10)).all, 2);
        assert_eq!(window.sum(at(14)).all, 2);
        assert_eq!(window.sum(at(15)).all, 0);
        window.now(at(1_000_000)).failed += 1;
        assert_eq!(window.sum(at(1_000_000)).failed, 1);
    }

    proptest! {
        /// Against a list of all events: never more than were within the window, and none of its last nine tenths lost.
        #[test]
        fn it_counts_as_a_list_would(gaps in proptest::collection::vec(0u64..4_000, 1..60)) {
            let start = Instant::now();
            let mut window = Window::new(Duration::from_secs(10), start);
            let (mut at, mut events) = (0, Vec::new());
            for gap in gaps {
                at += gap;
                window.now(start + Duration::from_millis(at)).all += 1;
                events.push(at);
                let within = |age: u64| events.iter().filter(|event| at - **event < age).count() as u32;
                let sum = window.sum(start + Duration::from_millis(at)).all;
                prop_assert!((within(9_000)..=within(10_000)).contains(&sum), "{sum}");
            }
        }
    }
}
