//! When a backend was last heard: any byte of any of its answers, whichever request it belongs to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shared by a backend and the connections to it. To beat costs a look at the clock and a store.
#[derive(Debug)]
pub struct Pulse {
    epoch: Instant,
    /// Milliseconds since the epoch.
    heard: AtomicU64,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            heard: AtomicU64::new(0),
        }
    }

    /// Notes that the backend was heard now.
    pub fn beat(&self) {
        let since = self.epoch.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.heard.store(since, Ordering::Relaxed);
    }

    /// Returns when the backend was last heard, or the start.
    pub(super) fn heard_at(&self) -> Instant {
        self.epoch + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_last_beat() {
        let now = Instant::now();
        let pulse = Pulse::new(now);
        assert_eq!(pulse.heard_at(), now);
        std::thread::sleep(Duration::from_millis(2));
        pulse.beat();
        assert!(pulse.heard_at() > now && pulse.heard_at() <= Instant::now());
    }
}
