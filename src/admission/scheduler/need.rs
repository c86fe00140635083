//! How much context requests need: in classes of powers of two, and as has been learned of a model.

use std::time::Duration;

/// No copy is loaded with less, unless its model was trained for less: requests that need less are of one class.
pub(super) const LEAST: u32 = 4096;
/// `log2` of [`LEAST`].
const LOWEST: u8 = 12;
/// The class of those that need more than half of what can be counted.
const HIGHEST: u8 = 32;
const CLASSES: usize = (HIGHEST - LOWEST + 1) as usize;

/// Requests whose needs have the same power of two as their bound: `2^(k-1) < need <= 2^k`. The lowest class has all smaller
/// ones as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class(u8);

impl Class {
    pub(super) const LOWEST: Self = Self(LOWEST);
    pub(super) const HIGHEST: Self = Self(HIGHEST);

    pub(super) fn of(tokens: u32) -> Self {
        let bound = tokens.max(LEAST).checked_next_power_of_two();
        let log = bound.map_or(u32::from(HIGHEST), u32::trailing_zeros);
        Self(u8::try_from(log).unwrap_or(HIGHEST))
    }

    /// All of the class need more than this.
    pub(super) fn above(self) -> u32 {
        if self == Self::LOWEST {
            0
        } else {
            1 << (self.0 - 1)
        }
    }

    /// None of the class needs more than this.
    pub(super) fn most(self) -> u32 {
        1_u32.checked_shl(self.0.into()).unwrap_or(u32::MAX)
    }

    /// Whether copies of this context hold some of the class and others not.
    pub(super) fn is_split_by(self, context: u32) -> bool {
        context < self.most() && self.has_any_within(context)
    }

    /// Whether one of the class may fit into a copy of this context.
    pub(super) fn has_any_within(self, context: u32) -> bool {
        context > self.above() || self == Self::LOWEST
    }

    fn index(self) -> usize {
        usize::from(self.0 - LOWEST)
    }
}

/// The needs of a model's requests of late: a histogram that forgets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    counts: [f32; CLASSES],
    at: Duration,
    /// What [`Self::usual`] says: asked for far more often than it changes.
    usual: Option<u32>,
}

impl Needs {
    /// τ: a working day's needs count, last week's do not.
    const MEMORY: f64 = 4.0 * 3600.0;
    /// So many requests say something.
    const ENOUGH: f32 = 20.0;
    /// The share of the requests that fit what is loaded for them.
    const SHARE: f32 = 0.99;

    pub(super) fn new(now: Duration) -> Self {
        Self {
            counts: [0.0; CLASSES],
            at: now,
            usual: None,
        }
    }

    pub(super) fn add(&mut self, now: Duration, tokens: u32) {
        let age = now.saturating_sub(self.at).as_secs_f64();
        // Fading in steps costs nothing for most requests.
        if age > Self::MEMORY / 100.0 {
            let fade = (-age / Self::MEMORY).exp() as f32;
            self.counts.iter_mut().for_each(|count| *count *= fade);
            self.at = now;
        }
        self.counts[Class::of(tokens).index()] += 1.0;
        self.usual = self.holds_most();
    }

    /// The context in tokens that holds 99 % of the requests, once enough have been seen.
    pub(super) fn usual(&self) -> Option<u32> {
        self.usual
    }

    fn holds_most(&self) -> Option<u32> {
        let total: f32 = self.counts.iter().sum();
        if total < Self::ENOUGH {
            return None;
        }
        let mut below = 0.0;
        for (class, count) in (LOWEST..).zip(self.counts) {
            below += count;
            if below >= total * Self::SHARE {
                return Some(Class(class).most());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_bounded_by_powers_of_two() {
        for (tokens, above, most) in [
            (0, 0, 4096),
            (4096, 0, 4096),
            (4097, 4096, 8192),
            (8192, 4096, 8192),
            (100_000, 65_536, 131_072),
            (u32::MAX, 1 << 31, u32::MAX),
        ] {
            let class = Class::of(tokens);
            assert_eq!((class.above(), class.most()), (above, most), "{tokens}");
        }
        let class = Class::of(8000);
        assert!(!class.is_split_by(4096) && class.is_split_by(5000) && !class.is_split_by(8192));
        assert!(Class::of(0).is_split_by(2048));
    }

    #[test]
    fn the_usual_need_leaves_out_one_in_a_hundred_and_forgets() {
        let mut needs = Needs::new(Duration::ZERO);
        assert_eq!(needs.usual(), None);
        (0..990).for_each(|_| needs.add(Duration::ZERO, 6000));
        (0..10).for_each(|_| needs.add(Duration::ZERO, 60_000));
        assert_eq!(needs.usual(), Some(8192));
        needs.add(Duration::ZERO, 60_000);
        assert_eq!(needs.usual(), Some(65_536));
        let later = Duration::from_secs(48 * 3600);
        (0..200).for_each(|_| needs.add(later, 100));
        assert_eq!(needs.usual(), Some(4096));
    }
}
