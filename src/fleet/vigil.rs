//! When a backend is probed besides its regular round: soon after a failure, again and again while it is down, and
//! while it serves requests and says nothing.
//!
//! A state machine without clock and task; `health.rs` asks it several times a second.

use std::time::{Duration, Instant};

/// How soon after a failed request the backend is probed; doubled at each further failure in a row.
const AFTER_A_FAILURE: Duration = Duration::from_millis(250);
/// How soon after a missed probe at first, and how often at least while requests wait for any backend.
const WHILE_DOWN: Duration = Duration::from_secs(1);
/// Then the pause is this part of the time that the backend has been down, up to the regular interval: whoever was down
/// for a few seconds is noticed within one, and who is down for long costs little.
const PART: u32 = 10;
/// A backend with requests in flight that was silent for so long is asked whether it still answers.
pub(super) const SUSPICIOUS: Duration = Duration::from_secs(5);
/// A service that has answered it is asked again after twice as long, up to this: its models may think for minutes.
const LONGEST_TRUST: Duration = Duration::from_secs(20);
/// How long that question may take, whatever is usual: a busy machine is slow, and half of
/// [`super::vitals::SILENT`] is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a backend at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    pub(super) healthy: bool,
    /// It is left out until its time has come, whatever its probes say.
    pub(super) held: bool,
    /// It has requests in flight.
    pub(super) busy: bool,
    /// The time since it was last heard.
    pub(super) unheard: Duration,
    /// The time since it was last heard or seen well.
    pub(super) quiet: Duration,
    /// It is a server of the operator's, and may be asked often.
    pub(super) fleet: bool,
    /// Requests wait for a backend.
    pub(super) wanted: bool,
    /// Between two regular probes.
    pub(super) interval: Duration,
}

/// A probe that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// How long it may take; zero is as long as usual.
    pub(super) patience: Duration,
}

#[derive(Debug)]
pub(super) struct Vigil {
    /// When the last probe began or a request failed.
    since: Instant,
    /// How long after that the next probe comes while it is down.
    pause: Duration,
    /// When the first probe has missed since it was well.
    down_since: Option<Instant>,
    /// A probe is under way.
    probing: bool,
    /// How long it may be silent with requests in flight before it is asked.
    trust: Duration,
}

impl Vigil {
    /// Returns a vigil whose first probe is the regular round's.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            pause: WHILE_DOWN,
            down_since: None,
            probing: false,
            trust: SUSPICIOUS,
        }
    }

    /// Notes a failed request, the last of `setbacks` in a row.
    pub(super) fn failed(&mut self, setbacks: u32, now: Instant) {
        self.since = now;
        self.pause = AFTER_A_FAILURE.saturating_mul(1 << setbacks.saturating_sub(1).min(16));
    }

    /// Notes that the backend has not failed after all, so that the next probe comes at once.
    pub(super) fn acquitted(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Notes that a probe begins.
    pub(super) fn begun(&mut self, now: Instant) {
        self.since = now;
        self.probing = true;
    }

    /// Notes that a probe has ended, `well` or not, which began when the backend was `down` or not.
    pub(super) fn ended(&mut self, well: bool, down: bool, interval: Duration, now: Instant) {
        self.probing = false;
        self.since = now;
        self.down_since = match (well, down) {
            (true, _) => None,
            (false, false) => Some(now),
            (false, true) => self.down_since.or(Some(now)),
        };
        let down_for = |since| now.saturating_duration_since(since);
        let part = self.down_since.map_or(Duration::ZERO, down_for) / PART;
        self.pause = part.max(WHILE_DOWN).min(interval);
    }

    /// Notes that the backend has answered a probe rather than only accepted a connection.
    pub(super) fn answered(&mut self) {
        self.trust = self.trust.saturating_mul(2).min(LONGEST_TRUST);
    }

    /// Returns whether a probe is to begin now.
    pub(super) fn due(&mut self, signs: &Signs, now: Instant) -> Option<Due> {
        if signs.fleet || !signs.busy || signs.unheard < SUSPICIOUS {
            self.trust = SUSPICIOUS;
        }
        if self.probing || signs.held {
            return None;
        }
        let passed = now.saturating_duration_since(self.since);
        if !signs.healthy {
            let pause = if signs.wanted {
                self.pause.min(WHILE_DOWN)
            } else {
                self.pause
            };
            let patience = Duration::ZERO;
            return (passed >= pause.min(signs.interval)).then_some(Due { patience });
        }
        let suspicious = signs.busy && signs.quiet >= self.trust;
        suspicious.then_some(Due { patience: PATIENCE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const DOWN: Signs = Signs {
        healthy: false,
        held: false,
        busy: false,
        unheard: Duration::ZERO,
        quiet: Duration::ZERO,
        fleet: true,
        wanted: false,
        interval: INTERVAL,
    };

    /// When probes begin that all miss at once, in milliseconds.
    fn misses(vigil: &mut Vigil, start: Instant, signs: &Signs, count: usize) -> Vec<u128> {
        let (mut now, mut begun) = (start, Vec::new());
        while begun.len() < count {
            if vigil.due(signs, now).is_some() {
                vigil.begun(now);
                vigil.ended(false, true, signs.interval, now);
                begun.push((now - start).as_millis());
            }
            now += Duration::from_millis(250);
        }
        begun
    }

    #[test]
    fn probes_of_what_is_down_come_soon_and_back_off_to_the_interval() {
        let now = Instant::now();
        let mut vigil = Vigil::new(now);
        // The regular round was the first to miss.
        vigil.begun(now);
        vigil.ended(false, true, INTERVAL, now);
        let times = misses(&mut vigil, now, &DOWN, 200);
        let seconds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        assert_eq!(times[..10], seconds.map(|second| second * 1_000));
        for pair in times.windows(2) {
            let (down, pause) = (pair[0], pair[1] - pair[0]);
            let wanted = (down / 10).clamp(1_000, 60_000);
            // They are looked at every quarter of a second.
            assert!((wanted..=wanted + 250).contains(&pause), "{pair:?}");
        }
        assert_eq!(times[199] - times[198], 60_000);
        // A request has found it down.
        vigil.ended(true, true, INTERVAL, now);
        vigil.failed(1, now);
        let millis = [250, 1_250, 2_250, 3_250];
        assert_eq!(misses(&mut vigil, now, &DOWN, 4), millis);
        // A good one forgets all that, and so does one that was well until it missed some.
        for well in [true, false] {
            misses(&mut vigil, now, &DOWN, 100);
            vigil.ended(well, false, INTERVAL, now);
            assert_eq!(misses(&mut vigil, now, &DOWN, 3), [1_000, 2_000, 3_000]);
        }
    }

    #[test]
    fn while_somebody_waits_they_come_every_second() {
        let now = Instant::now();
        let mut vigil = Vigil::new(now);
        let times = misses(&mut vigil, now, &DOWN, 100);
        let long = Duration::from_millis(times[99] as u64);
        let now = now + long;
        vigil.ended(false, true, INTERVAL, now);
        assert!(vigil.pause > 10 * WHILE_DOWN);
        let wanted = Signs {
            wanted: true,
            ..DOWN
        };
        let every = [1_000, 2_000, 3_000, 4_000];
        assert_eq!(misses(&mut vigil, now, &wanted, 4), every);
        let held = Signs {
            held: true,
            ..wanted
        };
        assert_eq!(vigil.due(&held, now + INTERVAL), None);
    }

    #[test]
    fn who_serves_and_says_nothing_is_asked() {
        let now = Instant::now();
        let mut vigil = Vigil::new(now);
        let signs = |busy, quiet| Signs {
            healthy: true,
            busy,
            unheard: Duration::from_secs(quiet),
            quiet: Duration::from_secs(quiet),
            ..DOWN
        };
        assert_eq!(vigil.due(&signs(false, 100), now), None);
        assert_eq!(vigil.due(&signs(true, 4), now), None);
        let patience = PATIENCE;
        assert_eq!(vigil.due(&signs(true, 5), now), Some(Due { patience }));
        vigil.begun(now);
        assert_eq!(vigil.due(&signs(true, 6), now), None);
    }

    #[test]
    fn a_service_that_thinks_for_long_is_asked_less_often() {
        let now = Instant::now();
        let mut vigil = Vigil::new(now);
        let mut thinking = Signs {
            healthy: true,
            busy: true,
            fleet: false,
            ..DOWN
        };
        let mut waits = Vec::new();
        for _ in 0..5 {
            thinking.quiet = Duration::ZERO;
            while vigil.due(&thinking, now).is_none() {
                thinking.quiet += Duration::from_secs(1);
                thinking.unheard += Duration::from_secs(1);
            }
            waits.push(thinking.quiet.as_secs());
            vigil.begun(now);
            vigil.ended(true, false, INTERVAL, now);
            vigil.answered();
        }
        assert_eq!(waits, [5, 10, 20, 20, 20]);
        // A byte, and it is as at first.
        (thinking.unheard, thinking.quiet) = (Duration::ZERO, Duration::ZERO);
        assert_eq!(vigil.due(&thinking, now), None);
        assert_eq!(vigil.trust, SUSPICIOUS);
        // A connection that is accepted is no answer.
        vigil.begun(now);
        vigil.ended(true, false, INTERVAL, now);
        assert_eq!(vigil.trust, SUSPICIOUS);
    }
}
