use std::time::Duration;

use proptest::prelude::*;

use super::*;
use BreakerState::{Closed, HalfOpen, Open};
use Went::{Slowly, Well, Wrong};

/// A breaker with a clock that the test turns.
struct Clocked {
    breaker: Breaker,
    now: Instant,
}

impl Clocked {
    fn new(policy: settings::Breaker) -> Self {
        let now = Instant::now();
        Self {
            breaker: Breaker::new(&policy, now),
            now,
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.breaker.tick(self.now);
    }

    fn record(&mut self, went: Went, times: usize) {
        for _ in 0..times {
            self.breaker.record(went, self.now, self.now);
        }
    }

    fn state(&self) -> BreakerState {
        self.breaker.state(self.now)
    }

    fn limit(&self) -> Option<usize> {
        self.breaker.limit(100, self.now)
    }
}

fn clocked() -> Clocked {
    Clocked::new(settings::Breaker::default())
}

#[test]
fn failures_in_a_row_open_it_however_few_requests_there_are() {
    for before in [0, 1, 5, 500] {
        let mut breaker = clocked();
        breaker.record(Well, before);
        breaker.record(Wrong, 4);
        assert_eq!(breaker.state(), Closed, "{before}");
        breaker.record(Wrong, 1);
        assert_eq!(breaker.state(), Open, "{before}");
        let (until, cause) = breaker.breaker.open(breaker.now).unwrap();
        assert_eq!(until, breaker.now + Duration::from_secs(5));
        assert_eq!(cause.to_string(), "5 requests in a row failed");
    }
    // A row with long gaps is none.
    let mut seldom = clocked();
    for _ in 0..20 {
        seldom.record(Wrong, 1);
        seldom.pass(61);
    }
    assert_eq!(seldom.state(), Closed);
}

/// However long it was down: from its recovery on it is half a minute at most.
#[test]
fn it_is_tried_at_short_intervals_however_long_it_was_down() {
    let mut breaker = clocked();
    breaker.record(Wrong, 5);
    let mut pauses = Vec::new();
    for _ in 0..200 {
        let (until, _) = breaker.breaker.open(breaker.now).unwrap();
        let pause = until - breaker.now;
        pauses.push(pause.as_secs());
        breaker.now = until;
        breaker.breaker.tick(until);
        assert_eq!((breaker.state(), breaker.limit()), (HalfOpen, Some(1)));
        breaker.record(Wrong, 1);
    }
    assert_eq!(pauses[..4], [5, 10, 20, 20]);
    assert_eq!(pauses.iter().max(), Some(&20));
    breaker.pass(20);
    breaker.record(Well, 3);
    assert_eq!(breaker.state(), Closed);
    breaker.record(Wrong, 5);
    let (until, _) = breaker.breaker.open(breaker.now).unwrap();
    assert_eq!(until - breaker.now, Duration::from_secs(5));
}

#[test]
fn a_share_of_failures_opens_it_and_a_few_among_many_do_not() {
    let mut breaker = clocked();
    for _ in 0..200 {
        breaker.record(Well, 9);
        breaker.record(Wrong, 1);
        assert_eq!(breaker.state(), Closed);
    }
    breaker.pass(61);
    for _ in 0..4 {
        breaker.record(Wrong, 2);
        breaker.record(Well, 2);
    }
    assert_eq!(breaker.state(), Open);
}

#[test]
fn what_is_past_does_not_count() {
    let mut breaker = clocked();
    for _ in 0..20 {
        breaker.record(Wrong, 4);
        breaker.record(Well, 1);
        breaker.pass(61);
    }
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn slow_answers_open_it() {
    let mut breaker = clocked();
    breaker.record(Well, 2);
    breaker.record(Slowly, 7);
    assert_eq!(breaker.state(), Closed);
    breaker.record(Slowly, 1);
    assert_eq!(breaker.state(), Open);
}

#[test]
fn it_is_tried_out_and_comes_back_by_steps() {
    let mut breaker = clocked();
    breaker.record(Wrong, 10);
    assert_eq!(breaker.limit(), Some(0));
    breaker.pass(4);
    assert_eq!(breaker.state(), Open);
    breaker.pass(1);
    assert_eq!((breaker.state(), breaker.limit()), (HalfOpen, Some(1)));
    breaker.record(Well, 2);
    assert_eq!(breaker.state(), HalfOpen);
    breaker.record(Well, 1);
    assert_eq!((breaker.state(), breaker.limit()), (Closed, Some(3)));
    let mut limits = Vec::new();
    for _ in 0..10 {
        breaker.now = breaker.breaker.next_change(breaker.now).unwrap();
        breaker.breaker.tick(breaker.now);
        limits.push(breaker.limit());
    }
    let risen: Vec<_> = (1..10)
        .map(|tenth| Some(tenth * 10))
        .chain([None])
        .collect();
    assert_eq!(limits, risen);
    assert_eq!(breaker.breaker.next_change(breaker.now), None);
}

#[test]
fn one_failed_trial_opens_it_again_and_late_comers_say_nothing() {
    let mut breaker = clocked();
    let before = breaker.now;
    breaker.record(Wrong, 10);
    breaker.pass(5);
    // Begun before it opened.
    for went in [Well, Well, Well, Wrong] {
        assert!(!breaker.breaker.record(went, before, breaker.now));
    }
    assert_eq!(breaker.state(), HalfOpen);
    breaker.record(Well, 2);
    breaker.record(Wrong, 1);
    assert_eq!(breaker.state(), Open);
    assert_eq!(
        breaker.breaker.open(breaker.now).unwrap().1,
        OpenCause::Trial
    );
    breaker.record(Well, 50);
    assert_eq!(breaker.state(), Open);
}

#[test]
fn it_can_be_turned_off() {
    let mut breaker = Clocked::new(settings::Breaker {
        enabled: false,
        ..settings::Breaker::default()
    });
    breaker.record(Wrong, 1000);
    assert_eq!((breaker.state(), breaker.limit()), (Closed, None));
}

proptest! {
    /// Whatever happens: it opens only after a failure or a slow answer, lets nothing through while open, never
    /// stays open longer than it may, and says when it changes by itself.
    #[test]
    fn it_keeps_its_promises(events in proptest::collection::vec((0u8..4, 0u64..40), 1..200)) {
        let mut breaker = clocked();
        let mut opened_at = None;
        for (event, seconds) in events {
            let before = breaker.state();
            let next = breaker.breaker.next_change(breaker.now);
            let limit = breaker.limit();
            breaker.pass(seconds);
            if next.is_none_or(|next| breaker.now < next) {
                prop_assert_eq!(breaker.limit(), limit);
            }
            let before = match (before, breaker.state()) {
                (Open, HalfOpen) => HalfOpen,
                (before, now) => {
                    prop_assert_eq!(before, now);
                    now
                }
            };
            let went = [Well, Well, Slowly, Wrong][usize::from(event)];
            breaker.record(went, 1);
            match (before, breaker.state()) {
                (Closed | HalfOpen, Open) => {
                    prop_assert_ne!(went, Well);
                    opened_at = Some(breaker.now);
                }
                (Open, Open) => {
                    let open = breaker.now - opened_at.unwrap();
                    prop_assert!(open < LONGEST);
                }
                (HalfOpen, Closed) => prop_assert_eq!(went, Well),
                (before, now) => prop_assert_eq!(before, now),
            }
            if breaker.state() == Open {
                prop_assert_eq!(breaker.limit(), Some(0));
            } else {
                prop_assert_ne!(breaker.limit(), Some(0));
            }
        }
    }
}
