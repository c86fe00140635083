//! How long an answer that has begun may keep silent: by the pause that its provider may make, by the moment until which all
//! of it may last, and hardly at all once nothing is missing of it but its own end.

use std::time::{Duration, Instant};

use crate::proxy::attempt::reader::LAST_END;

/// The silence that an answer may keep. Times go in and come out, so that it needs no clock.
#[derive(Debug)]
pub(crate) struct Patience {
    /// The longest pause between two pieces.
    pause: Duration,
    /// The moment until which the whole answer may last.
    limit: Option<Instant>,
    /// When the last piece came.
    last: Instant,
    /// Nothing is missing but the end of the last line or event, or of the body's framing.
    nearly_over: bool,
}

impl Patience {
    /// Begins the silence of an answer of which a piece came at `now`.
    pub(crate) fn new(
        pause: Duration,
        limit: Option<Instant>,
        nearly_over: bool,
        now: Instant,
    ) -> Self {
        Patience {
            pause,
            limit,
            last: now,
            nearly_over,
        }
    }

    /// Returns when the silence has lasted for too long.
    pub(crate) fn due(&self) -> Instant {
        let end = if self.nearly_over {
            self.last + self.pause.min(LAST_END)
        } else {
            self.last + self.pause
        };
        self.limit.map_or(end, |limit| limit.min(end))
    }

    /// Notes that a piece has come.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.last = now;
    }

    /// Notes whether the answer is nearly over. Returns whether it was not before, so that it is due earlier than a timer
    /// knows: one that is set too early finds that out by itself.
    pub(crate) fn nears(&mut self, nearly_over: bool) -> bool {
        let before = std::mem::replace(&mut self.nearly_over, nearly_over);
        nearly_over && !before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whichever_bound_comes_first_ends_the_silence() {
        let now = Instant::now();
        let short = LAST_END / 2;
        for (pause, limit, nearly_over, expected) in [
            (30 * SECOND, None, false, 30 * SECOND),
            (30 * SECOND, None, true, LAST_END),
            (short, None, true, short),
            (30 * SECOND, Some(5 * SECOND), false, 5 * SECOND),
            (30 * SECOND, Some(60 * SECOND), false, 30 * SECOND),
            (30 * SECOND, Some(short), true, short),
        ] {
            let limit = limit.map(|limit| now + limit);
            let patience = Patience::new(pause, limit, nearly_over, now);
            assert_eq!(patience.due(), now + expected, "{patience:?}");
        }
    }

    #[test]
    fn every_piece_begins_a_pause_and_none_moves_the_limit() {
        let began = Instant::now();
        let mut patience = Patience::new(30 * SECOND, Some(began + 50 * SECOND), false, began);
        patience.heard(began + 10 * SECOND);
        assert_eq!(patience.due(), began + 40 * SECOND);
        patience.heard(began + 30 * SECOND);
        assert_eq!(patience.due(), began + 50 * SECOND);
    }

    #[test]
    fn a_timer_is_moved_where_the_end_comes_near_and_not_where_it_is_far_again() {
        let mut patience = Patience::new(30 * SECOND, None, false, Instant::now());
        for (nearly_over, moves) in [(false, false), (true, true), (true, false), (false, false)] {
            assert_eq!(patience.nears(nearly_over), moves, "{nearly_over}");
        }
    }
}
