//! A sliding window: how much was taken in the last minute or day, exactly enough never to let more than the limit
//! through.
//!
//! The window is cut into 60 slices. An amount counts from when it is taken until the slice that lies a whole window
//! later has passed, so at most 1/60 of the window longer than it should, and never shorter: in no stretch of the
//! window's length is more let through than the limit. When a burst sits at their seam, two fixed windows let up to twice
//! the limit through, and Pingora's `Rate`, which weights the previous one by its share, nearly as much. Its table, which
//! is hashed to a few counters, is for addresses beyond number; keys are few and known.

use std::time::Duration;

use super::clock::Millis;

/// Slices of a window; one more is counted, for the oldest is only partly in it.
const SLICES: u64 = 60;

/// What was taken, by slices.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Milliseconds of a slice.
    slice: Millis,
    /// How many are counted.
    counted: u64,
    /// The amounts by slice number modulo their count.
    amounts: Box<[u64]>,
    /// The slice of the last call.
    newest: u64,
    total: u64,
}

/// The slice in which an amount was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slice(pub(super) u64);

impl Slice {
    /// Returns the slices from this one to `last`.
    pub(super) fn to(self, last: Slice) -> impl Iterator<Item = Slice> {
        (self.0..=last.0).map(Slice)
    }
}

impl Window {
    /// Returns an empty window. `late` is the number of slices by which an amount may be counted before it is really
    /// taken.
    pub(super) fn new(length: Duration, late: u64) -> Window {
        let length = Millis::try_from(length.as_millis()).unwrap_or(Millis::MAX);
        let counted = SLICES + 1 + late;
        let places = usize::try_from(counted).unwrap_or(usize::MAX);
        Window {
            slice: length.div_ceil(SLICES).max(1),
            counted,
            amounts: vec![0; places].into(),
            newest: 0,
            total: 0,
        }
    }

    /// Moves on to `now`, and gives its slice; what lies before the window is forgotten.
    pub(super) fn advance(&mut self, now: Millis) -> Slice {
        let current = now / self.slice;
        if current >= self.newest + self.counted {
            self.amounts.fill(0);
            self.total = 0;
            self.newest = current;
        }
        while self.newest < current {
            self.newest += 1;
            let place = self.place(self.newest);
            self.total -= std::mem::take(&mut self.amounts[place]);
        }
        Slice(self.newest)
    }

    /// Returns the amount that counts at `now`.
    pub(super) fn used(&mut self, now: Millis) -> u64 {
        self.advance(now);
        self.total
    }

    /// Adds `amount` at `now`.
    pub(super) fn add(&mut self, now: Millis, amount: u64) -> Slice {
        let slice = self.advance(now);
        self.add_to(slice, amount);
        slice
    }

    /// Adds to a slice that may be past.
    pub(super) fn add_to(&mut self, slice: Slice, amount: u64) {
        if self.holds(slice) {
            let place = self.place(slice.0);
            self.amounts[place] += amount;
            self.total += amount;
        }
    }

    /// Takes back what was taken in `slice`, as far as it still counts.
    pub(super) fn give_back(&mut self, slice: Slice, amount: u64) {
        if self.holds(slice) {
            let place = self.place(slice.0);
            let back = amount.min(self.amounts[place]);
            self.amounts[place] -= back;
            self.total -= back;
        }
    }

    /// Returns the time until no more than `amount` counts, if nothing is added meanwhile.
    pub(super) fn until(&mut self, now: Millis, amount: u64) -> Duration {
        self.advance(now);
        if self.total <= amount {
            return Duration::ZERO;
        }
        // From the newest back, for what matters is mostly there: once a slice is gone, what came after it is left.
        let mut left = 0;
        let oldest = (self.newest + 1).saturating_sub(self.counted);
        for slice in (oldest..=self.newest).rev() {
            left += self.amounts[self.place(slice)];
            if left > amount {
                let gone = (slice + self.counted) * self.slice;
                return Duration::from_millis(gone.saturating_sub(now));
            }
        }
        Duration::ZERO
    }

    /// Notes that the clock was set by `ahead` milliseconds: what was taken keeps its age.
    pub(super) fn shift(&mut self, ahead: i64) {
        let slice = i64::try_from(self.slice).unwrap_or(i64::MAX);
        let newest = self.newest.saturating_add_signed(ahead / slice);
        if self.newest == 0 || newest == self.newest {
            return;
        }
        let mut amounts = vec![0; self.amounts.len()];
        for age in 0..self.counted.min(self.newest + 1).min(newest + 1) {
            amounts[self.place(newest - age)] = self.amounts[self.place(self.newest - age)];
        }
        self.total = amounts.iter().sum();
        self.amounts = amounts.into();
        self.newest = newest;
    }

    /// Returns the slices that count and hold anything.
    pub(super) fn amounts(&self) -> impl Iterator<Item = (Slice, u64)> + '_ {
        let slices = self.oldest().to(Slice(self.newest));
        let slices = slices.map(|slice| (slice, self.amounts[self.place(slice.0)]));
        slices.filter(|(_, amount)| *amount > 0)
    }

    /// Returns the amount that was taken in `slice`.
    pub(super) fn amount(&self, slice: Slice) -> u64 {
        if self.holds(slice) {
            self.amounts[self.place(slice.0)]
        } else {
            0
        }
    }

    /// Returns the first slice that counts.
    pub(super) fn oldest(&self) -> Slice {
        Slice((self.newest + 1).saturating_sub(self.counted))
    }

    /// Returns when `slice` is over.
    pub(super) fn end(&self, slice: Slice) -> Millis {
        (slice.0 + 1) * self.slice
    }

    /// Returns how long an amount counts at most.
    pub(super) fn memory(&self) -> Duration {
        Duration::from_millis(self.slice * self.counted)
    }

    fn holds(&self, slice: Slice) -> bool {
        slice.0 <= self.newest && slice.0.saturating_add(self.counted) > self.newest
    }

    fn place(&self, slice: u64) -> usize {
        usize::try_from(slice % self.counted).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_amount_counts_for_the_window_and_one_slice_at_most() {
        let mut window = Window::new(MINUTE, 0);
        window.add(1_000_000_500, 7);
        assert_eq!(window.used(1_000_060_500), 7);
        assert_eq!(window.used(1_000_060_999), 7);
        assert_eq!(window.until(1_000_060_900, 6), Duration::from_millis(100));
        assert_eq!(window.used(1_000_061_000), 0);
        assert_eq!(window.until(1_000_061_000, 0), Duration::ZERO);
    }

    #[test]
    fn what_is_given_back_no_longer_counts() {
        let mut window = Window::new(MINUTE, 0);
        let first = window.add(5_000_000, 10);
        window.add(5_002_000, 5);
        window.give_back(first, 4);
        assert_eq!(window.used(5_003_000), 11);
        assert_eq!(window.until(5_003_000, 10), Duration::from_secs(58));
        assert_eq!(window.until(5_003_000, 5), Duration::from_secs(58));
        assert_eq!(window.until(5_003_000, 4), Duration::from_secs(60));
        // More than there is, and after its time.
        window.give_back(first, 100);
        assert_eq!(window.used(5_003_000), 5);
        assert_eq!(window.used(5_200_000), 0);
        window.give_back(first, 1);
        window.add_to(first, 1);
        assert_eq!(window.used(5_200_000), 0);
    }

    #[test]
    fn a_clock_that_is_set_neither_forgets_nor_keeps() {
        for ahead in [-600_000, -45_000, -1_000, 0, 1_000, 45_000, 600_000] {
            let mut window = Window::new(MINUTE, 1);
            let mut now = 1_000_000_000;
            window.add(now, 7);
            now += 20_000;
            window.add(now, 5);
            window.shift(ahead);
            now = now.saturating_add_signed(ahead);
            assert_eq!(window.used(now), 12, "{ahead}");
            assert_eq!(window.used(now + 30_000), 12, "{ahead}");
            assert_eq!(window.used(now + 45_000), 5, "{ahead}");
            assert_eq!(window.used(now + 65_000), 0, "{ahead}");
        }
        let mut unused = Window::new(MINUTE, 0);
        unused.shift(5_000);
        assert_eq!(unused.used(1_000_000_000), 0);
    }

    proptest! {
        /// Whatever comes when: in no stretch of a minute is more let through than the limit, and what is refused would
        /// have been too much over a minute and a second.
        #[test]
        fn no_stretch_of_the_window_holds_more_than_the_limit(
            steps in proptest::collection::vec((0_u64..20_000, 1_u64..5), 1..400),
            limit in 1_u64..40,
        ) {
            let mut window = Window::new(MINUTE, 0);
            let mut now = 1_700_000_000_000;
            let mut taken: Vec<(u64, u64)> = Vec::new();
            let within = |taken: &[(u64, u64)], now: u64, length: u64| -> u64 {
                taken.iter().filter(|(at, _)| at + length > now).map(|(_, amount)| amount).sum()
            };
            for (step, amount) in steps {
                now += step;
                if window.used(now) + amount <= limit {
                    window.add(now, amount);
                    taken.push((now, amount));
                    prop_assert!(within(&taken, now, 60_000) <= limit);
                } else {
                    prop_assert!(within(&taken, now, 61_000) + amount > limit);
                    let wait = window.until(now, limit.saturating_sub(amount));
                    let then = now + u64::try_from(wait.as_millis()).unwrap();
                    prop_assert!(amount > limit || window.clone().used(then) + amount <= limit);
                    prop_assert!(wait.is_zero() || amount > limit || window.clone().used(then - 1) + amount > limit);
                }
            }
        }
    }
}
