//! The time that limits are counted in: milliseconds since 1970 that never go back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub type Millis = u64;

/// Set by the system's clock once, and then going at the pace of the monotonic one.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    origin: Millis,
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
            origin: Millis::try_from(origin).unwrap_or(Millis::MAX / 2),
        }
    }

    pub fn now(&self) -> Millis {
        let elapsed = Millis::try_from(self.started.elapsed().as_millis());
        self.origin
            .saturating_add(elapsed.unwrap_or(Millis::MAX / 2))
    }
}
