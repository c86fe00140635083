//! The time that limits are counted in: milliseconds since 1970 that never go back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub type Millis = u64;

/// Milliseconds by which two clocks may differ.
const TOLERANCE: Millis = 200;

/// Set by the system's clock once, or by that of the server at which gateways count together, and then going at the
/// pace of the monotonic one.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    origin: AtomicU64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

impl Clock {
    pub fn new() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let origin = since.map_or(0, |since| since.as_millis());
        Clock {
            started: Instant::now(),
            origin: Millis::try_from(origin).unwrap_or(Millis::MAX / 2).into(),
        }
    }

    pub fn now(&self) -> Millis {
        let elapsed = Millis::try_from(self.started.elapsed().as_millis());
        let origin = self.origin.load(Ordering::Relaxed);
        origin.saturating_add(elapsed.unwrap_or(Millis::MAX / 2))
    }

    /// It is `now`. Small differences are left as they are: they come of the way here.
    pub(super) fn set(&self, now: Millis) {
        let own = self.now();
        if own.abs_diff(now) > TOLERANCE {
            let origin = self.origin.load(Ordering::Relaxed);
            let moved = origin.saturating_add(now).saturating_sub(own);
            self.origin.store(moved, Ordering::Relaxed);
        }
    }
}
