//! Backends that come and go, and the choice among those that could all start a request.

use super::*;

#[test]
fn a_waiter_starts_on_a_backend_that_has_just_joined() {
    let mut fleet = Fleet::new(policy());
    let ticket = fleet.arrive(request(A));
    fleet.join(spec(3));
    assert_eq!(fleet.started(), []);
    fleet.observe(3, &[A], &[]);
    assert_eq!(fleet.started(), [(ticket, id(3), true)]);
}

#[test]
fn an_unhealthy_backend_starts_nothing_until_a_good_probe() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    fleet.scheduler.unhealthy(fleet.now, id(0));
    let first = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(first, id(1), false)]);
    let second = fleet.arrive(request(A));
    assert_eq!(fleet.started(), []);
    fleet.observe(0, &[A], &[A]);
    assert_eq!(fleet.started(), [(second, id(0), false)]);
}

#[test]
fn what_runs_on_a_backend_that_leaves_is_still_completed() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    let ticket = fleet.arrive(request(A));
    fleet.scheduler.leave(fleet.now, id(0));
    fleet.scheduler.leave(fleet.now, id(0));
    fleet.settle();
    assert_eq!(fleet.scheduler.snapshot().in_flight, 1);
    fleet.observe(0, &[A], &[A]);
    fleet.complete(ticket);
    let snapshot = fleet.scheduler.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.backends.len()), (0, 1));
}

#[test]
fn a_model_in_use_counts_as_loaded_whatever_the_probe_says() {
    let mut fleet = Fleet::with(&[&[A]]);
    let running = fleet.arrive(request(A));
    fleet.observe(0, &[A, B, C], &[]);
    fleet.complete(running);
    fleet.started();
    let next = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(next, id(0), false)]);
    fleet.complete(next);
    fleet.observe(0, &[A, B, C], &[]);
    fleet.started();
    let cold = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(cold, id(0), true)]);
}

/// Starts `count` requests for A on three backends of many slots and says how often each got one.
fn shares(selector: SelectorKind, weights: [u32; 3], count: usize) -> [usize; 3] {
    let mut fleet = Fleet::new(policy());
    for (order, weight) in (0..).zip(weights) {
        let cost = 1.0 + f64::from(order);
        fleet.join(BackendSpec {
            selector,
            weight,
            cost,
            slots: Some(1000),
            ..spec(order)
        });
        fleet.observe(order, &[A], &[A]);
    }
    (0..count).for_each(|_| {
        fleet.arrive(request(A));
    });
    let mut shares = [0; 3];
    fleet
        .started()
        .iter()
        .for_each(|(_, id, _)| shares[id.0 as usize] += 1);
    shares
}

#[test]
fn selectors_share_the_work_as_they_say() {
    assert_eq!(
        shares(SelectorKind::LeastInFlight, [5, 1, 3], 90),
        [30, 30, 30]
    );
    assert_eq!(
        shares(SelectorKind::RoundRobin, [5, 1, 3], 90),
        [30, 30, 30]
    );
    assert_eq!(shares(SelectorKind::Weighted, [5, 1, 3], 90), [50, 10, 30]);
    assert_eq!(shares(SelectorKind::Cost, [5, 1, 3], 90), [90, 0, 0]);
}

#[test]
fn round_robin_goes_on_where_it_was() {
    let mut fleet = Fleet::new(policy());
    for order in 0..3 {
        fleet.join(BackendSpec {
            selector: SelectorKind::RoundRobin,
            ..spec(order)
        });
        fleet.observe(order, &[A], &[A]);
    }
    for expected in [0, 1, 2, 0, 1] {
        let ticket = fleet.arrive(request(A));
        assert_eq!(fleet.started(), [(ticket, id(expected), false)]);
        fleet.complete(ticket);
    }
}

#[test]
fn who_was_away_does_not_catch_up() {
    let mut fleet = Fleet::new(policy());
    let with = |order| BackendSpec {
        selector: SelectorKind::Weighted,
        slots: Some(1000),
        ..spec(order)
    };
    fleet.join(with(0));
    fleet.observe(0, &[A], &[A]);
    (0..50).for_each(|_| {
        fleet.arrive(request(A));
    });
    fleet.join(with(1));
    fleet.observe(1, &[A], &[A]);
    fleet.started();
    (0..20).for_each(|_| {
        fleet.arrive(request(A));
    });
    let newcomer = fleet
        .started()
        .iter()
        .filter(|(_, backend, _)| *backend == id(1))
        .count();
    assert!((10..=11).contains(&newcomer), "{newcomer}");
}

#[test]
fn fastest_response_prefers_the_fast_and_forgets_the_slow() {
    let mut fleet = Fleet::new(policy());
    for order in 0..2 {
        fleet.join(BackendSpec {
            selector: SelectorKind::FastestResponse,
            ..spec(order)
        });
        fleet.observe(order, &[A], &[A]);
    }
    for (slow, ttft) in [(id(0), 2.0), (id(1), 0.2)] {
        let ticket = fleet.arrive(request(A));
        assert_eq!(fleet.started(), [(ticket, slow, false)]);
        let outcome = RunOutcome {
            ok: true,
            load: None,
            ttft: Some(secs(ttft)),
            ..RunOutcome::default()
        };
        fleet.scheduler.complete(fleet.now, ticket, outcome);
        fleet.settle();
    }
    let ticket = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(ticket, id(1), false)]);
    fleet.pass(600.0);
    fleet.scheduler.complete(
        fleet.now,
        ticket,
        RunOutcome {
            ok: true,
            load: None,
            ttft: Some(secs(1.0)),
            ..RunOutcome::default()
        },
    );
    fleet.observe(0, &[A], &[A]);
    let ticket = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(ticket, id(0), false)]);
}

#[test]
fn without_placement_only_the_selector_counts() {
    let mut fleet = Fleet::new(policy());
    for order in 0..2 {
        fleet.join(BackendSpec {
            placement: Placement::Off,
            ..spec(order)
        });
    }
    fleet.observe(0, &[A, B], &[]);
    fleet.observe(1, &[A], &[A]);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    assert_eq!(
        fleet.started(),
        [(first, id(0), true), (second, id(1), false)]
    );
    let only_here = fleet.arrive(request(B));
    let third = fleet.arrive(request(A));
    fleet.complete(second);
    assert_eq!(fleet.started(), [(third, id(1), false)]);
    fleet.complete(first);
    assert_eq!(fleet.started(), [(only_here, id(0), true)]);
}

#[test]
fn between_providers_the_least_used_goes_first() {
    let mut fleet = Fleet::new(policy());
    for (order, slots) in [(0, 2), (1, 4)] {
        let provider = ProviderId::at(order as usize);
        fleet.join(BackendSpec {
            provider,
            slots: Some(slots),
            ..spec(order)
        });
        fleet.observe(order, &[A], &[A]);
    }
    for expected in [0, 1, 1, 0, 1, 1] {
        let ticket = fleet.arrive(request(A));
        assert_eq!(fleet.started(), [(ticket, id(expected), false)]);
    }
}

#[test]
fn a_snapshot_shows_slots_health_and_loads() {
    let mut fleet = Fleet::with(&[&[A], &[]]);
    fleet.arrive(request(A));
    fleet.arrive(request(B));
    fleet.arrive(request(B));
    fleet.scheduler.unhealthy(fleet.now, id(0));
    let snapshot = fleet.scheduler.snapshot();
    assert_eq!((snapshot.waiting, snapshot.in_flight), (1, 2));
    assert_eq!((snapshot.warm_starts, snapshot.cold_starts), (1, 1));
    let [busy, loading] = snapshot.backends[..] else {
        panic!("two backends")
    };
    assert_eq!(
        (
            busy.id,
            busy.healthy,
            busy.in_flight,
            busy.slots,
            busy.loading
        ),
        (id(0), false, 1, 1, None)
    );
    assert_eq!(
        (loading.id, loading.healthy, loading.loading),
        (id(1), true, Some(B))
    );
}
