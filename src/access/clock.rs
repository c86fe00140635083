//! The time that limits are counted in: milliseconds since 1970 that never go back.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub type Millis = u64;

/// Milliseconds by which two clocks may differ.
const TOLERANCE: Millis = 200;

/// What a server's clock may be set by while gateways count; a greater leap would end every window, or make it last.
const STEP: Millis = 10 * 60 * 1000;
/// The times from 2000 to 2100, in milliseconds since 1970.
const POSSIBLE: RangeInclusive<Millis> = 946_684_800_000..=4_102_444_800_000;

/// Set by the system's clock once, or by that of the server at which gateways count together, and then going at the
/// pace of the monotonic one.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    origin: AtomicU64,
    /// A server has said what time it is.
    is_set: AtomicBool,
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
            is_set: AtomicBool::new(false),
        }
    }

    pub fn now(&self) -> Millis {
        let elapsed = Millis::try_from(self.started.elapsed().as_millis());
        let origin = self.origin.load(Ordering::Relaxed);
        origin.saturating_add(elapsed.unwrap_or(Millis::MAX / 2))
    }

    /// Returns by how many milliseconds a server's clock is ahead of this one; a small difference, which comes of the
    /// way here, counts as none. The first difference may be any that could be; later ones step and do not leap.
    ///
    /// # Errors
    /// [`NoTime`] for what cannot be.
    pub(super) fn differs(&self, server: Millis) -> Result<i64, NoTime> {
        if !POSSIBLE.contains(&server) {
            return Err(NoTime);
        }
        let ahead = i64::try_from(server)
            .ok()
            .zip(i64::try_from(self.now()).ok());
        let ahead = ahead.map(|(server, own)| server - own).ok_or(NoTime)?;
        match ahead.unsigned_abs() {
            ..=TOLERANCE => Ok(0),
            leap if leap > STEP && self.is_set.load(Ordering::Relaxed) => Err(NoTime),
            _ => Ok(ahead),
        }
    }

    /// Goes with the server's clock from now on, which is ahead by so much.
    pub(super) fn step(&self, ahead: i64) {
        self.is_set.store(true, Ordering::Relaxed);
        let origin = self.origin.load(Ordering::Relaxed);
        self.origin
            .store(origin.saturating_add_signed(ahead), Ordering::Relaxed);
    }
}

/// A server's clock says what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoTime;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_clock_is_believed_where_it_can_be_right() {
        let clock = Clock::new();
        let hour = 3_600_000;
        for absurd in [0, 1, 946_684_799_000, 4_102_444_800_001, Millis::MAX] {
            assert_eq!(clock.differs(absurd), Err(NoTime), "{absurd}");
        }
        let ahead = clock.differs(clock.now() + 5 * hour).unwrap();
        clock.step(ahead);
        assert_eq!(clock.differs(clock.now()), Ok(0));
        // From then on it goes at the pace of this machine's.
        for leap in [hour, 24 * hour] {
            assert_eq!(clock.differs(clock.now() + leap), Err(NoTime));
            assert_eq!(clock.differs(clock.now() - leap), Err(NoTime));
        }
        let back = clock.differs(clock.now() - 60_000).unwrap();
        assert!((-61_000..=-59_000).contains(&back), "{back}");
    }
}
