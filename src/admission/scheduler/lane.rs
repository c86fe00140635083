//! How many requests one copy serves at once, learned from what they wait inside their server.
//!
//! A lane begins with one. Where a request would wait anyway, it is sent as one too many now and then: if the server serves it
//! beside the others, the lane is wider by one, and if it has to wait, the next try comes later. A request that waits inside
//! although it was none too many makes the lane narrower.

use std::time::Duration;

use super::types::Ticket;

/// A try during which the others ran for less than this tells nothing.
const OVERLAP: Duration = Duration::from_millis(250);
/// What waited for this share of the time in which the others ran has waited for them.
const SHARE: u32 = 4;
/// Less than this is the server's own work and no wait for others.
const NOTICEABLE: Duration = Duration::from_millis(500);
/// The pause after a try that told nothing, and after the first that had to wait.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// Requests that run at once.
    pub(super) width: u32,
    trial: Option<Trial>,
    /// No try before this.
    next: Duration,
    /// The pause that the next vain try makes.
    pause: Duration,
}

/// A request that was sent as one too many.
#[derive(Clone, Copy, Debug)]
struct Trial {
    ticket: Ticket,
    started: Duration,
    /// When the first of the others has ended.
    relieved: Option<Duration>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            width: 1,
            trial: None,
            next: Duration::ZERO,
            pause: LATER,
        }
    }
}

impl Lane {
    pub(super) fn may_try(&self, now: Duration) -> bool {
        self.trial.is_none() && now >= self.next
    }

    pub(super) fn begin(&mut self, now: Duration, ticket: Ticket) {
        self.trial = Some(Trial {
            ticket,
            started: now,
            relieved: None,
        });
    }

    /// A request of the copy has ended. `inside`: how long it has waited inside the server, where that is told; `beside`: how
    /// many others ran when it started; `held`: how long it has run.
    pub(super) fn end(&mut self, now: Duration, ticket: Ticket, end: End) {
        match self.trial {
            Some(trial) if trial.ticket == ticket => {
                self.trial = None;
                self.judge(now, trial, end.inside);
            }
            Some(ref mut trial) => {
                trial.relieved.get_or_insert(now);
            }
            None => {
                let waited = end.inside.unwrap_or_default();
                let others = (1..self.width).contains(&end.beside);
                if others && waited >= NOTICEABLE && waited >= end.held / 10 {
                    self.width -= 1;
                    self.next = now.saturating_add(self.pause);
                }
            }
        }
    }

    fn judge(&mut self, now: Duration, trial: Trial, inside: Option<Duration>) {
        let together = trial.relieved.unwrap_or(now).saturating_sub(trial.started);
        match inside {
            Some(_) if together < OVERLAP => self.next = now.saturating_add(SOON),
            Some(waited) if waited < (together / SHARE).max(OVERLAP / SHARE) => {
                self.width = self.width.saturating_add(1);
                self.pause = LATER;
                self.next = now;
            }
            _ => {
                self.next = now.saturating_add(self.pause);
                self.pause = (self.pause * 2).min(LATEST);
            }
        }
    }
}

/// How a request has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    pub(super) inside: Option<Duration>,
    pub(super) beside: u32,
    pub(super) held: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn waited(seconds: f64) -> End {
        End {
            inside: Some(secs(seconds)),
            ..End::default()
        }
    }

    #[test]
    fn a_try_that_is_served_beside_the_others_widens_the_lane() {
        let mut lane = Lane::default();
        lane.begin(secs(1.0), Ticket(2));
        lane.end(secs(5.0), Ticket(1), End::default());
        lane.end(secs(7.0), Ticket(2), waited(0.0));
        assert_eq!(lane.width, 2);
        assert!(lane.may_try(secs(7.0)));
    }

    #[test]
    fn a_try_that_waits_is_repeated_ever_later() {
        let mut lane = Lane::default();
        let mut now = secs(0.0);
        for pause in [60.0, 120.0, 240.0] {
            lane.begin(now, Ticket(2));
            lane.end(now + secs(4.0), Ticket(1), End::default());
            now += secs(8.0);
            lane.end(now, Ticket(2), waited(4.0));
            assert_eq!(lane.width, 1);
            assert!(!lane.may_try(now + secs(pause - 1.0)));
            now += secs(pause);
            assert!(lane.may_try(now));
        }
    }

    #[test]
    fn a_try_whose_others_ended_at_once_tells_nothing() {
        let mut lane = Lane::default();
        lane.begin(secs(1.0), Ticket(2));
        lane.end(secs(1.1), Ticket(1), End::default());
        lane.end(secs(5.0), Ticket(2), waited(0.1));
        assert_eq!(lane.width, 1);
        assert!(lane.may_try(secs(6.0)));
    }

    #[test]
    fn what_waits_though_it_is_none_too_many_narrows_the_lane() {
        let mut lane = Lane {
            width: 4,
            ..Lane::default()
        };
        let end = End {
            inside: Some(secs(3.0)),
            beside: 3,
            held: secs(6.0),
        };
        lane.end(secs(10.0), Ticket(1), end);
        assert_eq!(lane.width, 3);
        // One that ran alone has not waited for another request of this gateway's.
        lane.end(secs(11.0), Ticket(2), End { beside: 0, ..end });
        assert_eq!(lane.width, 3);
    }
}
