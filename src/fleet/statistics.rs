//! What one provider has done: attempts of the last minutes, response times, when it was last used, and how its health
//! changed. Attempts and answers are counted without a lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::metrics::AttemptOutcome;

/// Seconds of one part of the window.
const PART: u64 = 10;
/// Parts of the window.
const PARTS: usize = 30;
/// Changes of health that are kept.
const CHANGES: usize = 100;

/// Everything that is counted about one provider.
#[derive(Debug)]
pub struct Statistics {
    window: Window,
    times: Times,
    /// Milliseconds since 1970; 0 before the first attempt.
    last_used: AtomicU64,
    history: Mutex<VecDeque<Change>>,
}

/// Attempts of the last [`Recent::SPAN`], by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    pub attempts: u64,
    pub failed: u64,
}

impl Recent {
    /// How far back it looks.
    pub const SPAN: Duration = Duration::from_secs(PART * PARTS as u64);
}

/// Response times since the start, each from the attempt's beginning to the first content of its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseTimes {
    pub count: u64,
    pub mean: Duration,
    pub min: Duration,
    pub max: Duration,
    /// Too high by a fifth at most, as are the next two.
    pub median: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

/// The health of a provider since a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub at: SystemTime,
    /// Healthy backends.
    pub healthy: usize,
    /// All known backends.
    pub backends: usize,
}

impl Change {
    /// Returns how much of the provider is there: that alone makes a new entry in its history.
    fn kind(&self) -> (bool, bool) {
        (self.healthy > 0, self.healthy == self.backends)
    }
}

impl Statistics {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: Window::new(now),
            times: Times::default(),
            last_used: AtomicU64::new(0),
            history: Mutex::default(),
        }
    }

    /// Counts an attempt that has ended.
    pub fn ended(&self, outcome: AttemptOutcome) {
        self.window.count(outcome.failed(), Instant::now());
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        self.last_used
            .store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts an answer that has begun.
    pub(super) fn answered(&self, response_time: Duration) {
        self.times.observe(response_time);
    }

    /// Something has changed; `count` tells how many backends are healthy, and how many there are. It is asked under the
    /// lock, so that of two changes at once the later entry knows of both.
    pub(super) fn health(&self, at: SystemTime, count: impl FnOnce() -> (usize, usize)) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let (healthy, backends) = count();
        let change = Change {
            at,
            healthy,
            backends,
        };
        if history
            .back()
            .is_some_and(|last| last.kind() == change.kind())
        {
            return;
        }
        if history.len() == CHANGES {
            history.pop_front();
        }
        history.push_back(change);
    }

    /// Returns when an attempt last ended.
    pub fn last_used(&self) -> Option<SystemTime> {
        let millis = self.last_used.load(Ordering::Relaxed);
        (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Returns the attempts of the last minutes.
    pub fn recent(&self, now: Instant) -> Recent {
        self.window.sum(now)
    }

    /// Returns the response times since the start.
    pub fn response_times(&self) -> ResponseTimes {
        self.times.read()
    }

    /// Returns the changes of the provider's health, the oldest first.
    pub fn history(&self) -> Vec<Change> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().copied().collect()
    }
}

/// A sliding window: each part is one word, of the part's number (24 bits), its attempts and its failures (20 bits
/// each), so that one exchange counts an attempt and forgets what was there a whole window ago.
#[derive(Debug)]
struct Window {
    epoch: Instant,
    parts: [AtomicU64; PARTS],
}

impl Window {
    const MOST: u64 = (1 << 20) - 1;

    fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            parts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn number(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.epoch).as_secs() / PART) & ((1 << 24) - 1)
    }

    fn count(&self, failed: bool, now: Instant) {
        let number = self.number(now);
        let update = |word| {
            let (at, attempts, failures) = unpack(word);
            let (attempts, failures) = if at == number {
                (attempts, failures)
            } else {
                (0, 0)
            };
            let attempts = (attempts + 1).min(Self::MOST);
            let failures = (failures + u64::from(failed)).min(Self::MOST);
            Some((number << 40) | (attempts << 20) | failures)
        };
        // The closure never refuses, so the result says nothing.
        let _ = self.parts[number as usize % PARTS].fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            update,
        );
    }

    fn sum(&self, now: Instant) -> Recent {
        let number = self.number(now);
        let mut recent = Recent::default();
        for part in &self.parts {
            let (at, attempts, failures) = unpack(part.load(Ordering::Relaxed));
            if number.wrapping_sub(at) < PARTS as u64 {
                recent.attempts += attempts;
                recent.failed += failures;
            }
        }
        recent
    }
}

fn unpack(word: u64) -> (u64, u64, u64) {
    (word >> 40, (word >> 20) & Window::MOST, word & Window::MOST)
}

/// A histogram of microseconds with four buckets to each power of two.
#[derive(Debug)]
struct Times {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

/// The last one begins at 13 hours.
const BUCKETS: usize = 4 * 35;

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

fn bucket(micros: u64) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let exponent = micros.ilog2();
    let quarter = ((micros >> (exponent - 2)) & 3) as usize;
    (4 * (exponent as usize - 1) + quarter).min(BUCKETS - 1)
}

/// Returns the least value beyond a bucket.
fn end(bucket: usize) -> u64 {
    match bucket {
        0..4 => bucket as u64 + 1,
        _ => (5 + bucket as u64 % 4) << (bucket / 4 - 1),
    }
}

impl Times {
    fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
        self.min.fetch_min(micros, Ordering::Relaxed);
        self.max.fetch_max(micros, Ordering::Relaxed);
    }

    fn read(&self) -> ResponseTimes {
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed));
        let count: u64 = counts.iter().sum();
        if count == 0 {
            return ResponseTimes::default();
        }
        let max = self.max.load(Ordering::Relaxed);
        let quantile = |share: f64| {
            let rank = (count as f64 * share).ceil() as u64;
            let mut seen = 0;
            let found = counts.iter().position(|inside| {
                seen += inside;
                seen >= rank
            });
            let end = end(found.unwrap_or(BUCKETS - 1));
            Duration::from_micros(end.min(max))
        };
        ResponseTimes {
            count,
            mean: Duration::from_micros(self.sum.load(Ordering::Relaxed) / count),
            min: Duration::from_micros(self.min.load(Ordering::Relaxed)),
            max: Duration::from_micros(max),
            median: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_window_forgets_what_is_older() {
        let start = Instant::now();
        let window = Window::new(start);
        for second in 0..600 {
            window.count(second % 4 == 0, start + seconds(second));
        }
        let now = start + seconds(599);
        let expected = Recent {
            attempts: 300,
            failed: 75,
        };
        assert_eq!(window.sum(now), expected);
        let half = window.sum(now + Recent::SPAN / 2);
        assert_eq!(half.attempts, 150);
        assert_eq!(window.sum(now + Recent::SPAN), Recent::default());
    }

    #[test]
    fn a_part_holds_no_more_than_its_bits() {
        let start = Instant::now();
        let window = Window::new(start);
        window.parts[0].store((Window::MOST << 20) | Window::MOST, Ordering::Relaxed);
        window.count(true, start);
        let full = Recent {
            attempts: Window::MOST,
            failed: Window::MOST,
        };
        assert_eq!(window.sum(start), full);
    }

    #[test]
    fn response_times_are_read_back() {
        let times = Times::default();
        assert_eq!(times.read(), ResponseTimes::default());
        for millis in 1..=100 {
            times.observe(Duration::from_millis(millis));
        }
        let read = times.read();
        assert_eq!(read.count, 100);
        assert_eq!(read.mean, Duration::from_micros(50_500));
        assert_eq!(
            (read.min, read.max),
            (Duration::from_millis(1), Duration::from_millis(100))
        );
        for (found, exact) in [(read.median, 50), (read.p95, 95), (read.p99, 99)] {
            let exact = Duration::from_millis(exact);
            assert!(
                found >= exact && found <= exact * 5 / 4,
                "{found:?} for {exact:?}"
            );
        }
    }

    #[test]
    fn only_another_state_makes_an_entry_and_the_oldest_goes() {
        let statistics = Statistics::new(Instant::now());
        let at = |second| UNIX_EPOCH + seconds(second);
        for (second, healthy, backends) in [
            (1, 0, 3),
            (2, 1, 3),
            (3, 2, 3),
            (4, 3, 3),
            (5, 4, 4),
            (6, 0, 0),
        ] {
            statistics.health(at(second), || (healthy, backends));
        }
        let changes = statistics.history();
        let moments: Vec<_> = changes.iter().map(|change| change.at).collect();
        assert_eq!(moments, [at(1), at(2), at(4), at(6)]);
        for second in 10..10 + 2 * CHANGES as u64 {
            statistics.health(at(second), || (second as usize % 2, 1));
        }
        let changes = statistics.history();
        assert_eq!(changes.len(), CHANGES);
        assert_eq!(changes[CHANGES - 1].at, at(9 + 2 * CHANGES as u64));
    }

    #[test]
    fn attempts_are_counted_by_how_they_ended() {
        let statistics = Statistics::new(Instant::now());
        assert_eq!(statistics.last_used(), None);
        for outcome in [
            AttemptOutcome::Ok,
            AttemptOutcome::Refused,
            AttemptOutcome::Reset,
            AttemptOutcome::BrokenStream,
            AttemptOutcome::ClientGone,
        ] {
            statistics.ended(outcome);
        }
        let expected = Recent {
            attempts: 5,
            failed: 2,
        };
        assert_eq!(statistics.recent(Instant::now()), expected);
        assert!(statistics.last_used().is_some());
    }

    proptest! {
        #[test]
        fn every_time_lies_in_its_bucket(micros in 0..end(BUCKETS - 1)) {
            let bucket = bucket(micros);
            prop_assert!(micros < end(bucket));
            prop_assert!(bucket == 0 || end(bucket - 1) <= micros);
        }
    }
}
