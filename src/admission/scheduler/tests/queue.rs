//! Slots, the order of the queue, its bounds, and what a request is told that cannot have a slot.

use super::*;

#[test]
fn first_come_first_served_within_a_priority() {
    let mut fleet = Fleet::with(&[&[A]]);
    let with = |priority| Arrival {
        priority,
        ..request(A)
    };
    let running = fleet.arrive(with(0));
    let low = fleet.arrive(with(-1));
    let first = fleet.arrive(with(0));
    let second = fleet.arrive(with(0));
    let high = fleet.arrive(with(1));
    assert_eq!(fleet.started(), [(running, id(0), false)]);
    let mut last = running;
    for expected in [high, first, second, low] {
        fleet.complete(last);
        assert_eq!(fleet.started(), [(expected, id(0), false)]);
        last = expected;
    }
}

#[test]
fn an_aged_waiter_goes_before_higher_priorities() {
    let mut fleet = Fleet::with(&[&[A]]);
    let running = fleet.arrive(request(A));
    let low = fleet.arrive(Arrival {
        priority: -1,
        ..request(A)
    });
    fleet.pass(31.0);
    fleet.arrive(Arrival {
        priority: 1,
        ..request(A)
    });
    fleet.started();
    fleet.complete(running);
    assert_eq!(fleet.started(), [(low, id(0), false)]);
}

/// Of ten starts one goes to those who have waited for long, oldest first; the others go by priority.
#[test]
fn aged_waiters_get_their_share_of_the_starts_and_no_more() {
    let mut fleet = Fleet::with(&[&[A]]);
    let with = |priority| Arrival {
        priority,
        ..request(A)
    };
    let mut running = fleet.arrive(request(A));
    fleet.started();
    let low: Vec<_> = (0..5).map(|_| fleet.arrive(with(-1))).collect();
    fleet.pass(31.0);
    let mut low_starts = Vec::new();
    for turn in 0..41 {
        // There is always one with a higher priority.
        fleet.arrive(with(1));
        fleet.complete(running);
        let started = fleet.started();
        let [(ticket, _, _)] = started[..] else {
            panic!("{started:?}")
        };
        if let Some(position) = low.iter().position(|one| *one == ticket) {
            low_starts.push((turn, position));
        }
        running = ticket;
    }
    assert_eq!(low_starts, [(0, 0), (10, 1), (20, 2), (30, 3), (40, 4)]);
}

/// All have waited for long, and the highest that wait go first as it is: the share is for those behind them.
#[test]
fn the_share_of_the_aged_is_not_spent_on_those_who_go_first_anyway() {
    let mut fleet = Fleet::with(&[&[A]]);
    let with = |priority| Arrival {
        priority,
        ..request(A)
    };
    let mut running = fleet.arrive(request(A));
    fleet.started();
    let normal: Vec<_> = (0..60).map(|_| fleet.arrive(with(0))).collect();
    let low: Vec<_> = (0..6).map(|_| fleet.arrive(with(-1))).collect();
    fleet.pass(31.0);
    let mut order = Vec::new();
    for _ in 0..50 {
        fleet.complete(running);
        running = fleet.started()[0].0;
        order.push(running);
    }
    let turns = |class: &[Ticket]| {
        let turns = order.iter().enumerate();
        let own = turns.filter(|(_, ticket)| class.contains(ticket));
        own.map(|(turn, _)| turn).collect::<Vec<_>>()
    };
    assert_eq!(turns(&low), [0, 10, 20, 30, 40]);
    assert!(order.iter().filter(|one| normal.contains(one)).is_sorted());
}

/// What is refused when one of this priority arrives at a full queue.
fn displaced(fleet: &mut Fleet, priority: i32) -> Option<Ticket> {
    let arrival = Arrival {
        priority,
        ..request(A)
    };
    let arrived = fleet.scheduler.arrive(fleet.now, arrival);
    fleet.settle();
    match (arrived, &fleet.refusals()[..]) {
        (Ok(_), [(ticket, NoSlot::QueueFull { .. })]) => Some(*ticket),
        (Err(NoSlot::QueueFull { .. }), []) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_queue_makes_room_for_higher_priorities_and_keeps_some_for_lower_ones() {
    let mut fleet = Fleet::new(Policy {
        queue_size: 20,
        ..policy()
    });
    fleet.join(spec(0));
    fleet.observe(0, &[A], &[A]);
    let with = |priority| Arrival {
        priority,
        ..request(A)
    };
    fleet.arrive(request(A));
    fleet.started();
    let low: Vec<_> = (0..20).map(|_| fleet.arrive(with(-1))).collect();
    // Equals do not push each other out.
    assert_eq!(displaced(&mut fleet, -1), None);
    // The youngest goes first, and a tenth of the places stays theirs.
    for expected in low[2..].iter().rev() {
        assert_eq!(displaced(&mut fleet, 0), Some(*expected));
    }
    assert_eq!(displaced(&mut fleet, 0), None);
    // Of the lowest first, though there are two lower classes now.
    assert_eq!(displaced(&mut fleet, 1), Some(low[1]));
    // The low ones are below their tenth, so that one of the class above makes room.
    let normal = displaced(&mut fleet, -1).expect("room is made");
    assert!(normal > low[19]);
    assert_eq!(displaced(&mut fleet, -1), None);
    assert_eq!(fleet.scheduler.snapshot().waiting, 20);
}

#[test]
fn without_priorities_arrival_alone_counts() {
    let mut fleet = Fleet::new(Policy {
        priorities: false,
        ..policy()
    });
    fleet.join(spec(0));
    fleet.observe(0, &[A], &[A]);
    let running = fleet.arrive(request(A));
    fleet.started();
    let low = fleet.arrive(Arrival {
        priority: -1,
        ..request(A)
    });
    fleet.arrive(Arrival {
        priority: 1,
        ..request(A)
    });
    fleet.complete(running);
    assert_eq!(fleet.started(), [(low, id(0), false)]);
}

#[test]
fn the_queue_is_bounded_but_a_free_slot_needs_no_place_in_it() {
    let mut fleet = Fleet::new(Policy {
        queue_size: 0,
        ..policy()
    });
    fleet.join(spec(0));
    fleet.observe(0, &[A, B], &[A]);
    let cold = fleet.arrive(request(B));
    assert_eq!(fleet.started(), [(cold, id(0), true)]);
    let NoSlot::QueueFull { retry_after } = fleet.refused(request(A)) else {
        panic!("not full")
    };
    assert!(retry_after >= secs(1.0) && retry_after <= secs(60.0));
    assert_eq!(fleet.scheduler.snapshot().waiting, 0);
    fleet.complete(cold);
    let warm = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(warm, id(0), false)]);
}

#[test]
fn a_longer_queue_asks_for_more_patience() {
    let mut fleet = Fleet::new(Policy {
        queue_size: 10,
        ..policy()
    });
    fleet.join(spec(0));
    fleet.observe(0, &[A], &[A]);
    fleet.teach(A, 4.0, 0.0);
    for _ in 0..11 {
        fleet.arrive(request(A));
    }
    // Eleven (the ten and the one that asks) times four seconds on one slot, and the refused one was not counted.
    let NoSlot::QueueFull { retry_after } = fleet.refused(request(A)) else {
        panic!("not full")
    };
    assert!(
        (retry_after.as_secs_f64() - 44.0).abs() < 0.5,
        "{retry_after:?}"
    );
}

#[test]
fn a_timeout_says_whether_a_backend_was_healthy() {
    let mut fleet = Fleet::new(Policy {
        timeout: secs(60.0),
        ..policy()
    });
    fleet.join(spec(0));
    fleet.observe(0, &[A], &[A]);
    fleet.arrive(request(A));
    let late = fleet.arrive(request(A));
    fleet.pass(59.9);
    assert_eq!(fleet.refusals(), []);
    fleet.pass(0.1);
    let refusals = fleet.refusals();
    assert!(
        matches!(refusals[..], [(ticket, NoSlot::TimedOut { healthy: true, .. })] if ticket == late)
    );
    let later = fleet.arrive(request(A));
    fleet.scheduler.unhealthy(fleet.now, id(0));
    fleet.pass(60.0);
    let refusals = fleet.refusals();
    assert!(
        matches!(refusals[..], [(ticket, NoSlot::TimedOut { healthy: false, .. })] if ticket == later)
    );
}

#[test]
fn cancelling_frees_the_place_or_the_slot_at_once() {
    let mut fleet = Fleet::with(&[&[A]]);
    let running = fleet.arrive(request(A));
    let gone = fleet.arrive(request(A));
    let next = fleet.arrive(request(A));
    fleet.scheduler.cancel(fleet.now, gone);
    fleet.settle();
    assert_eq!(fleet.scheduler.snapshot().waiting, 1);
    fleet.started();
    fleet.scheduler.cancel(fleet.now, running);
    fleet.settle();
    assert_eq!(fleet.started(), [(next, id(0), false)]);
    fleet.scheduler.cancel(fleet.now, next);
    fleet.scheduler.cancel(fleet.now, next);
    fleet.settle();
    assert_eq!(fleet.scheduler.snapshot().in_flight, 0);
}

#[test]
fn cancelling_takes_back_a_decision_that_nobody_has_heard() {
    let mut fleet = Fleet::with(&[&[A]]);
    let ticket = fleet.scheduler.arrive(fleet.now, request(A)).unwrap();
    fleet.scheduler.cancel(fleet.now, ticket);
    assert_eq!(fleet.scheduler.next_decision(fleet.now), None);
    assert_eq!(fleet.scheduler.snapshot().in_flight, 0);
}

#[test]
fn the_limit_on_the_whole_holds_and_the_oldest_goes_on() {
    let mut fleet = Fleet::new(Policy {
        max_in_flight: 1,
        ..policy()
    });
    for order in 0..2 {
        fleet.join(spec(order));
    }
    fleet.observe(0, &[A], &[A]);
    fleet.observe(1, &[B], &[B]);
    let a = fleet.arrive(request(A));
    let b = fleet.arrive(request(B));
    let a2 = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(a, id(0), false)]);
    fleet.complete(a);
    assert_eq!(fleet.started(), [(b, id(1), false)]);
    fleet.complete(b);
    assert_eq!(fleet.started(), [(a2, id(0), false)]);
}

#[test]
fn a_limit_that_is_always_reached_starves_nobody() {
    let mut fleet = Fleet::new(Policy {
        max_in_flight: 1,
        ..policy()
    });
    for order in 0..2 {
        fleet.join(spec(order));
        fleet.observe(order, &[A, B], &[A]);
    }
    let mut running = fleet.arrive(request(A));
    let other = fleet.arrive(request(B));
    fleet.arrive(request(A));
    fleet.started();
    for _ in 0..5 {
        fleet.arrive(request(A));
        fleet.pass(7.0);
        fleet.complete(running);
        let started = fleet.started();
        assert_eq!(started.len(), 1);
        if started[0].0 == other {
            return;
        }
        running = started[0].0;
    }
    panic!("the model that is not loaded never had its turn");
}

#[test]
fn the_limit_on_a_provider_holds() {
    let mut fleet = Fleet::new(policy());
    for order in 0..3 {
        let provider = ProviderId::at(usize::from(order == 2));
        let provider_limit = (order < 2).then_some(1);
        fleet.join(BackendSpec {
            provider,
            provider_limit,
            ..spec(order)
        });
        fleet.observe(order, &[A], &[A]);
    }
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    let third = fleet.arrive(request(A));
    assert_eq!(
        fleet.started(),
        [(first, id(0), false), (second, id(2), false)]
    );
    fleet.complete(first);
    assert_eq!(fleet.started(), [(third, id(0), false)]);
}

#[test]
fn a_model_that_nobody_has_is_unknown_once_somebody_has_answered() {
    let mut fleet = Fleet::new(policy());
    let unlisted = Arrival {
        wanted: Wanted::Unlisted,
        ..request(A)
    };
    let early = [fleet.arrive(request(C)), fleet.arrive(unlisted)];
    let any = fleet.arrive(Arrival {
        wanted: Wanted::Any,
        ..request(A)
    });
    fleet.join(spec(0));
    assert_eq!(fleet.refusals(), []);
    fleet.observe(0, &[A], &[]);
    let mut refusals = fleet.refusals();
    refusals.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(refusals, early.map(|ticket| (ticket, NoSlot::UnknownModel)));
    assert_eq!(fleet.started(), [(any, id(0), false)]);
    assert_eq!(fleet.refused(request(C)), NoSlot::UnknownModel);
    assert_eq!(fleet.refused(unlisted), NoSlot::UnknownModel);
}

#[test]
fn a_model_that_vanishes_is_unknown_to_those_who_wait_for_it() {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.arrive(request(A));
    let waiting = fleet.arrive(request(A));
    fleet.observe(0, &[B], &[B]);
    assert_eq!(fleet.refusals(), [(waiting, NoSlot::UnknownModel)]);
}

#[test]
fn a_model_on_an_unhealthy_backend_is_waited_for() {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.scheduler.unhealthy(fleet.now, id(0));
    fleet.settle();
    let waiting = fleet.arrive(request(A));
    assert_eq!(fleet.started(), []);
    fleet.observe(0, &[A], &[A]);
    assert_eq!(fleet.started(), [(waiting, id(0), false)]);
}

#[test]
fn without_a_healthy_backend_the_setting_may_refuse() {
    let mut fleet = Fleet::new(Policy {
        when_unhealthy: WhenUnhealthy::Refuse,
        ..policy()
    });
    let refused = |refusal| matches!(refusal, NoSlot::NoHealthyBackend { .. });
    assert!(refused(fleet.refused(request(A))));
    assert!(refused(fleet.refused(Arrival {
        wanted: Wanted::Any,
        ..request(A)
    })));
    fleet.join(spec(0));
    fleet.observe(0, &[A], &[A]);
    let running = fleet.arrive(request(A));
    let waiting = fleet.arrive(request(A));
    fleet.scheduler.unhealthy(fleet.now, id(0));
    fleet.settle();
    let refusals = fleet.refusals();
    assert!(matches!(refusals[..], [(ticket, refusal)] if ticket == waiting && refused(refusal)));
    assert!(
        refused(
            fleet
                .retry(running)
                .map_or_else(|refusal| refusal, |()| panic!("may not wait"))
        ) || fleet.scheduler.snapshot().in_flight == 0
    );
}

#[test]
fn a_retry_goes_elsewhere_and_keeps_its_place() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    let third = fleet.arrive(request(A));
    fleet.started();
    assert_eq!(fleet.retry(first), Ok(()));
    // Its own backend is free again, and excluded for it alone.
    assert_eq!(fleet.started(), [(third, id(0), false)]);
    let fourth = fleet.arrive(request(A));
    fleet.complete(second);
    assert_eq!(fleet.started(), [(first, id(1), false)]);
    assert_eq!(fleet.retry(first), Err(NoSlot::Exhausted));
    assert_eq!(fleet.started(), [(fourth, id(1), false)]);
}

#[test]
fn a_retry_is_exhausted_when_the_last_other_backend_leaves() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    let first = fleet.arrive(request(A));
    fleet.arrive(request(A));
    assert_eq!(fleet.retry(first), Ok(()));
    fleet.scheduler.leave(fleet.now, id(1));
    fleet.settle();
    assert_eq!(fleet.refusals(), [(first, NoSlot::Exhausted)]);
}

#[test]
fn a_retry_loads_where_no_copy_is_left_to_try() {
    let mut fleet = Fleet::with(&[&[A], &[B]]);
    let ticket = fleet.arrive(request(A));
    let other = fleet.arrive(request(B));
    assert_eq!(fleet.retry(ticket), Ok(()));
    fleet.started();
    fleet.complete(other);
    assert_eq!(fleet.started(), [(ticket, id(1), true)]);
}

#[test]
fn a_retry_loads_though_those_behind_it_can_wait_for_the_copy() {
    let mut fleet = Fleet::with(&[&[A], &[B]]);
    fleet.teach(A, 4.0, 20.0);
    let tried = fleet.arrive(request(A));
    let other = fleet.arrive(request(B));
    assert_eq!(fleet.retry(tried), Ok(()));
    let copy = fleet.arrive(request(A));
    let behind = fleet.arrive(request(A));
    fleet.started();
    fleet.complete(other);
    assert_eq!(fleet.started(), [(tried, id(1), true)]);
    fleet.complete(copy);
    assert_eq!(fleet.started(), [(behind, id(0), false)]);
}

#[test]
fn a_pinned_request_waits_for_its_backend_alone() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    let pinned = |backend| Arrival {
        pinned: Some(id(backend)),
        ..request(B)
    };
    let running = fleet.arrive(pinned(1));
    let waiting = fleet.arrive(pinned(1));
    assert_eq!(fleet.started(), [(running, id(1), true)]);
    fleet.complete(running);
    assert_eq!(fleet.started(), [(waiting, id(1), false)]);
    assert_eq!(fleet.retry(waiting), Err(NoSlot::Exhausted));
    assert_eq!(fleet.refused(pinned(7)), NoSlot::UnknownBackend);
    let lost = fleet.arrive(pinned(1));
    fleet.started();
    let queued = fleet.arrive(pinned(1));
    fleet.scheduler.leave(fleet.now, id(1));
    fleet.settle();
    assert_eq!(fleet.refusals(), [(queued, NoSlot::UnknownBackend)]);
    fleet.complete(lost);
    assert_eq!(fleet.scheduler.snapshot().backends.len(), 1);
}

#[test]
fn nobody_has_to_go_when_the_newcomer_comes_as_another_starts() {
    let mut fleet = Fleet::new(Policy {
        queue_size: 1,
        ageing: secs(3000.0),
        ..policy()
    });
    fleet.join(spec(0));
    fleet.join(spec(1));
    fleet.observe(0, &[A, B, C], &[A]);
    fleet.observe(1, &[B], &[]);
    fleet.teach(A, 1.0, 5.0);
    fleet.arrive(request(A));
    let waits = fleet.arrive(Arrival {
        priority: -1,
        ..request(A)
    });
    fleet.observe(1, &[A, B], &[]);
    assert_eq!(fleet.started().len(), 1);
    // By now it is worth a load, which is decided when the next request comes.
    fleet.now += secs(60.0);
    fleet.arrive(request(A));
    assert_eq!(fleet.refusals(), []);
    assert_eq!(fleet.started().len(), 1);
    fleet.scheduler.cancel(fleet.now, waits);
}
