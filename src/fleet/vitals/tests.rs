use super::*;

const LIMIT: u32 = 2;

/// A request that has just begun went well. Whether the next will change anything, too.
fn served(vitals: &mut Vitals, now: Instant) -> bool {
    vitals.served(&Breaker::default(), now, now)
}

fn refused() -> Miss {
    Miss::NoConnection("refused".to_owned())
}

fn healthy(now: Instant) -> Vitals {
    let mut vitals = Vitals::new(now);
    assert!(!vitals.healthy());
    assert!(vitals.passed(0, true, now));
    assert!(vitals.healthy());
    vitals
}

#[test]
fn misses_in_a_row_eject_once() {
    let now = Instant::now();
    let mut vitals = healthy(now);
    assert!(!vitals.missed(&refused(), None, LIMIT, now));
    assert!(vitals.passed(0, true, now));
    assert!(!vitals.missed(&refused(), None, LIMIT, now));
    assert!(vitals.healthy());
    assert!(vitals.missed(&refused(), None, LIMIT, now));
    assert!(!vitals.healthy());
    assert!(!vitals.missed(&refused(), None, LIMIT, now));
}

#[test]
fn an_answered_request_breaks_the_row() {
    let now = Instant::now();
    let mut vitals = healthy(now);
    assert!(!vitals.missed(&refused(), None, LIMIT, now));
    assert!(!served(&mut vitals, now));
    assert!(!vitals.missed(&refused(), None, LIMIT, now));
    assert!(vitals.healthy());
}

#[test]
fn neither_a_busy_backend_nor_our_own_lack_of_sockets_counts() {
    let now = Instant::now();
    let mut vitals = healthy(now);
    for _ in 0..10 {
        assert!(!vitals.missed(&refused(), Some(Duration::ZERO), LIMIT, now));
        assert!(!vitals.missed(&Miss::NoSocket, None, LIMIT, now));
    }
    assert!(vitals.healthy());
    assert!(!vitals.vanished(false, LIMIT, now));
}

#[test]
fn a_busy_backend_that_is_heard_no_more_is_ejected() {
    let start = Instant::now();
    let silence = Miss::TimedOut(Duration::from_secs(1));
    let second = Duration::from_secs(1);
    let mut vitals = healthy(start);
    // A request is heard while no probe is answered, for however long.
    let mut now = start;
    for _ in 0..100 {
        now += second;
        assert!(!vitals.missed(&silence, Some(second), LIMIT, now));
    }
    let last = now;
    while !vitals.missed(&silence, Some(now - last), LIMIT, now) {
        now += second;
    }
    assert_eq!(now - last, SILENT);
    assert!(!vitals.healthy() && vitals.silent());
    let trouble = vitals.trouble().map(|trouble| &*trouble.text);
    assert_eq!(trouble, Some("no answer within 1s"));
    assert!(vitals.passed(vitals.failures(), true, now));
    assert!(!vitals.silent() && vitals.trouble().is_none());
    // A good probe is as good as a byte: it loads a model.
    assert!(!vitals.missed(&silence, Some(100 * second), LIMIT, now + second));
    assert!(vitals.healthy());
}

#[test]
fn a_server_that_is_slow_to_say_what_is_loaded_is_evicting_or_dead() {
    let start = Instant::now();
    let stuck = Miss::Stuck {
        path: "/api/ps",
        within: Duration::from_secs(1),
    };
    for busy in [None, Some(Duration::from_secs(1_000))] {
        let mut vitals = healthy(start);
        let mut now = start;
        while !vitals.missed(&stuck, busy, LIMIT, now) {
            now += Duration::from_secs(1);
        }
        assert_eq!(now - start, STUCK, "{busy:?}");
    }
}

#[test]
fn a_failed_request_outdates_probes_that_began_before() {
    let now = Instant::now();
    let mut vitals = healthy(now);
    let before = vitals.failures();
    assert_eq!(vitals.failed("broken"), Some(1));
    assert!(!vitals.passed(before, true, now));
    assert!(!vitals.healthy());
    assert_eq!(vitals.failed("broken"), None);
    assert!(vitals.passed(vitals.failures(), true, now));
    assert_eq!(vitals.failed("broken"), Some(3));
    assert!(vitals.passed(vitals.failures(), true, now));
    assert!(!served(&mut vitals, now));
    assert_eq!(vitals.failed("broken"), Some(1));
}

#[test]
fn what_answers_probes_and_fails_requests_is_left_out() {
    let mut now = Instant::now();
    let policy = Breaker::default();
    let mut vitals = healthy(now);
    for round in 1..=policy.failures {
        assert_eq!(vitals.breaker(now), BreakerState::Closed);
        assert!(vitals.failed("broken").is_some());
        assert_eq!(vitals.hold(&policy, now), round == policy.failures);
        assert_eq!(
            vitals.passed(vitals.failures(), true, now),
            round < policy.failures
        );
    }
    assert_eq!(vitals.breaker(now), BreakerState::Open);
    now += policy.open;
    assert_eq!(vitals.breaker(now), BreakerState::HalfOpen);
    assert!(vitals.passed(vitals.failures(), true, now));
    // One failure on trial is enough.
    assert!(served(&mut vitals, now));
    assert!(vitals.failed("broken").is_some() && vitals.hold(&policy, now));
    now += policy.open;
    assert!(vitals.passed(vitals.failures(), true, now));
    let more: Vec<bool> = (0..3).map(|_| served(&mut vitals, now)).collect();
    assert_eq!(more, [true, true, false]);
    assert_eq!(vitals.breaker(now), BreakerState::Closed);
    assert!(vitals.failed("broken").is_some() && !vitals.hold(&policy, now));
}

#[test]
fn what_was_no_fault_of_its_own_is_not_counted() {
    let now = Instant::now();
    let policy = Breaker::default();
    let mut vitals = healthy(now);
    for _ in 0..20 {
        assert_eq!(vitals.failed("500"), Some(1));
        assert!(!vitals.hold(&policy, now));
        vitals.acquit(&policy);
        assert!(vitals.passed(vitals.failures(), true, now));
    }
    for round in 1..=policy.failures {
        vitals.failed("500");
        assert_eq!(vitals.hold(&policy, now), round == policy.failures);
        vitals.passed(vitals.failures(), true, now);
    }
    vitals.acquit(&policy);
    assert_eq!(vitals.breaker(now), BreakerState::Closed);
}

#[test]
fn who_has_been_left_out_is_tried_and_then_sent_more_by_steps() {
    const SLOTS: u32 = 10;
    let mut now = Instant::now();
    let policy = Breaker::default();
    let mut vitals = healthy(now);
    assert_eq!(vitals.new_limit(&policy, SLOTS, now), None);
    let before = now;
    for _ in 0..policy.failures {
        vitals.failed("broken");
        vitals.hold(&policy, now);
        vitals.passed(vitals.failures(), true, now);
    }
    assert_eq!(vitals.new_limit(&policy, SLOTS, now), Some(Some(1)));
    // It goes on with what it was sent before, and that proves nothing.
    for _ in 0..5 {
        assert!(vitals.served(&policy, before, now));
    }
    assert_eq!(vitals.breaker(now), BreakerState::Open);
    now += policy.open;
    assert!(vitals.served(&policy, before, now));
    assert!(vitals.passed(vitals.failures(), true, now));
    assert_eq!(vitals.new_limit(&policy, SLOTS, now), None, "as before");
    assert_eq!(vitals.next_limit(now), None);
    let more = [(); 3].map(|()| served(&mut vitals, now));
    assert_eq!(more, [true, true, false]);
    let mut limits = Vec::new();
    while let Some(next) = vitals.next_limit(now) {
        limits.extend(vitals.new_limit(&policy, SLOTS, now));
        now = next;
        if vitals.new_limit(&policy, SLOTS, now).is_some() {
            limits.push(vitals.limit);
        }
    }
    let risen = (3..10).map(Some).chain([None]);
    assert_eq!(limits, risen.collect::<Vec<_>>());
    // With no more slots than that there is nothing to bound.
    vitals.falls = policy.failures;
    assert!(vitals.hold(&policy, now));
    assert_eq!(vitals.new_limit(&policy, 1, now), None);
}

#[test]
fn only_the_unreachable_vanish_soon() {
    let now = Instant::now();
    let mut gone = healthy(now);
    let mut stuck = healthy(now);
    for _ in 0..LIMIT {
        assert!(!gone.vanished(false, LIMIT, now));
        gone.missed(&refused(), None, LIMIT, now);
        stuck.missed(&Miss::TimedOut(Duration::from_secs(1)), None, LIMIT, now);
    }
    assert!(gone.vanished(false, LIMIT, now));
    assert!(!gone.vanished(true, LIMIT, now));
    assert!(!stuck.vanished(false, LIMIT, now));
    assert!(stuck.vanished(false, LIMIT, now + FORGET_AFTER + Duration::from_secs(1)));
    // A request that fails in between is no probe.
    let mut failed = healthy(now);
    failed.failed("broken");
    assert!(!failed.vanished(false, LIMIT, now));
}
