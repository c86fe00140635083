//! Whether requests wait for a backend, so that those that are down are looked at again soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A request that was refused because nobody is there wants the next to fare better.
const REMEMBERED: Duration = Duration::from_secs(2);

/// The requests that wait, and when one was refused for want of a backend.
#[derive(Debug)]
pub(super) struct Waiting {
    epoch: Instant,
    count: AtomicUsize,
    /// Milliseconds since the epoch, and one.
    refused: AtomicU64,
}

impl Waiting {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            count: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Notes that a request waits until the returned value is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Hope {
        self.count.fetch_add(1, Ordering::AcqRel);
        Hope(Arc::clone(self))
    }

    /// Notes that a request was refused.
    pub(super) fn refused(&self) {
        let millis = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.refused.store(millis + 1, Ordering::Release);
    }

    /// Returns whether a backend would be of use now.
    pub(super) fn any(&self, now: Instant) -> bool {
        let refused = match self.refused.load(Ordering::Acquire) {
            0 => None,
            millis => Some(self.epoch + Duration::from_millis(millis - 1)),
        };
        self.count.load(Ordering::Acquire) > 0
            || refused.is_some_and(|at| now.saturating_duration_since(at) < REMEMBERED)
    }
}

/// One request that waits for a backend.
#[derive(Debug)]
pub struct Hope(Arc<Waiting>);

impl Drop for Hope {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_want_a_backend_while_they_wait_and_a_little_longer() {
        let now = Instant::now();
        let waiting = Arc::new(Waiting::new(now));
        assert!(!waiting.any(now));
        let (one, other) = (waiting.enter(), waiting.enter());
        drop(one);
        assert!(waiting.any(now));
        drop(other);
        assert!(!waiting.any(now));
        waiting.refused();
        assert!(waiting.any(Instant::now()));
        assert!(!waiting.any(Instant::now() + REMEMBERED));
    }
}
