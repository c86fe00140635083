//! The time of day that accounts are kept in: the system's clock, but for its jumps. A clock that is set wrong for a while
//! must neither end a budget's period nor make one last for years.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a clock is set by at once, as when it is put right a little.
const STEP: i128 = HOUR.as_millis() as i128;
const HOUR: Duration = Duration::from_secs(3600);
/// How long a greater jump has to last before it is believed.
const DOUBT: Duration = Duration::from_secs(600);

/// What is known of the system's clock, beside the monotonic one.
#[derive(Clone, Copy, Debug)]
struct Wall {
    /// Milliseconds between the two.
    offset: i128,
    /// When it was last found to have leapt, on the monotonic one.
    leapt_at: Option<Duration>,
    /// What the system's clock says instead, and since when.
    doubt: Option<(i128, Duration)>,
}

impl Wall {
    fn new(elapsed: Duration, wall: i128) -> Wall {
        Wall {
            offset: wall - millis(elapsed),
            leapt_at: None,
            doubt: None,
        }
    }

    /// The time, where the monotonic clock and the system's say that. In milliseconds since 1970.
    fn now(&mut self, elapsed: Duration, wall: i128) -> i128 {
        let offset = wall - millis(elapsed);
        let near = |other: i128| (offset - other).abs() <= STEP;
        if near(self.offset) {
            self.offset = offset;
            self.doubt = None;
            return wall;
        }
        match self.doubt {
            Some((other, since)) if near(other) && elapsed.saturating_sub(since) >= DOUBT => {
                *self = Wall::new(elapsed, wall);
                self.leapt_at = Some(elapsed);
                return wall;
            }
            Some((other, since)) if near(other) => self.doubt = Some((offset, since)),
            _ => self.doubt = Some((offset, elapsed)),
        }
        self.offset + millis(elapsed)
    }
}

fn millis(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX / 2)
}

fn system() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

struct Clock {
    started: Instant,
    wall: Mutex<Wall>,
}

static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock {
    started: Instant::now(),
    wall: Mutex::new(Wall::new(Duration::ZERO, system())),
});

/// Now; a jump of the system's clock by more than an hour counts once it has lasted for ten minutes.
pub fn now() -> SystemTime {
    let clock = &*CLOCK;
    let mut wall = clock.wall.lock().unwrap_or_else(PoisonError::into_inner);
    let now = wall.now(clock.started.elapsed(), system());
    UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap_or(0))
}

/// Whether the system's clock has leapt since this process began, within so long: it may be wrong now, or have been before.
pub fn has_leapt(within: Duration) -> bool {
    let clock = &*CLOCK;
    let wall = clock.wall.lock().unwrap_or_else(PoisonError::into_inner);
    wall.leapt_at
        .is_some_and(|at| clock.started.elapsed().saturating_sub(at) < within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i128 = 1_767_312_000_000;
    const MINUTE: Duration = Duration::from_secs(60);
    const YEAR: i128 = 365 * 24 * 3_600_000;

    #[test]
    fn a_clock_that_is_put_right_a_little_is_believed() {
        let mut wall = Wall::new(Duration::ZERO, START);
        assert_eq!(wall.now(MINUTE, START + 60_000), START + 60_000);
        assert_eq!(wall.now(MINUTE, START - 600_000), START - 600_000);
        assert_eq!(wall.now(2 * MINUTE, START + 600_000), START + 600_000);
    }

    #[test]
    fn a_jump_there_and_back_is_not_noticed() {
        for jump in [YEAR, -YEAR, 2 * 3_600_000] {
            let mut wall = Wall::new(Duration::ZERO, START);
            for minute in 0..9 {
                let elapsed = minute * MINUTE;
                let right = START + millis(elapsed);
                assert_eq!(wall.now(elapsed, right + jump), right);
            }
            let right = START + millis(9 * MINUTE);
            assert_eq!(wall.now(9 * MINUTE, right), right);
            // Another one is another one.
            let right = START + millis(15 * MINUTE);
            assert_eq!(wall.now(15 * MINUTE, right + jump), right);
        }
    }

    #[test]
    fn a_jump_that_lasts_is_the_time() {
        for jump in [YEAR, -YEAR] {
            let mut wall = Wall::new(Duration::ZERO, START);
            wall.now(MINUTE, START + jump);
            let elapsed = 12 * MINUTE;
            let then = START + millis(elapsed) + jump;
            assert_eq!(wall.now(elapsed, then), then);
            assert_eq!(wall.leapt_at, Some(elapsed));
            assert_eq!(wall.now(13 * MINUTE, then + 60_000), then + 60_000);
        }
    }

    #[test]
    fn this_machines_clock_is_read() {
        let differs = now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            .abs_diff(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap()
                    .as_secs(),
            );
        assert!(differs < 5, "{differs}");
        assert!(!has_leapt(DOUBT));
    }
}
