//! When a cold load beats waiting, where it goes, and who goes first when a slot is free.

use super::*;

#[test]
fn an_idle_backend_with_the_model_loaded_starts_at_once() {
    let mut fleet = Fleet::with(&[&[B], &[A], &[A]]);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    assert_eq!(
        fleet.started(),
        [(first, id(1), false), (second, id(2), false)]
    );
}

#[test]
fn a_short_wait_beats_a_long_load() {
    let mut fleet = Fleet::with(&[&[A], &[B]]);
    fleet.teach(A, 4.0, 20.0);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(first, id(0), false)]);
    fleet.complete(first);
    assert_eq!(fleet.started(), [(second, id(0), false)]);
}

#[test]
fn a_long_line_is_worth_a_load_for_the_last_in_it() {
    let mut fleet = Fleet::with(&[&[A], &[B]]);
    fleet.teach(A, 4.0, 20.0);
    let running = fleet.arrive(request(A));
    let line: Vec<_> = (0..5).map(|_| fleet.arrive(request(A))).collect();
    // Five in line: the last would wait 4 s for the one that runs and 4 s for each of four others: as long as a load.
    assert_eq!(fleet.started(), [(running, id(0), false)]);
    let last = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(last, id(1), true)]);
    // Those ahead keep their places at the warm copy.
    fleet.complete(running);
    assert_eq!(fleet.started(), [(line[0], id(0), false)]);
}

#[test]
fn a_load_in_progress_is_shared() {
    let mut fleet = Fleet::with(&[&[], &[], &[]]);
    fleet.teach(A, 4.0, 20.0);
    let loader = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(loader, id(0), true)]);
    fleet.pass(5.0);
    let other = fleet.arrive(request(A));
    // There are empty backends, but a load of its own would take 20 s, the shared one 15 s and an answer.
    assert_eq!(fleet.started(), []);
    // For the next one there would be two answers to wait for.
    let third = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(third, id(1), true)]);
    fleet.pass(15.0);
    fleet.complete(loader);
    assert_eq!(fleet.started(), [(other, id(0), false)]);
}

#[test]
fn a_load_ends_with_the_first_content_for_the_other_slots() {
    let mut fleet = Fleet::new(policy());
    fleet.join(BackendSpec {
        slots: Some(4),
        ..spec(0)
    });
    fleet.observe(0, &[A, B], &[]);
    let loader = fleet.arrive(request(A));
    let others: Vec<_> = (0..2).map(|_| fleet.arrive(request(A))).collect();
    // Another model is not loaded at the same time either.
    fleet.arrive(request(B));
    assert_eq!(fleet.started(), [(loader, id(0), true)]);
    fleet.pass(9.0);
    fleet.scheduler.loaded(fleet.now, loader);
    fleet.settle();
    let started = fleet.started();
    assert_eq!(
        started[..2],
        [(others[0], id(0), false), (others[1], id(0), false)]
    );
    assert_eq!(started.len(), 3);
}

#[test]
fn those_who_find_a_slot_at_a_load_in_progress_wait_for_it() {
    let mut fleet = Fleet::new(policy());
    for order in 0..2 {
        fleet.join(BackendSpec {
            slots: Some(4),
            ..spec(order)
        });
        fleet.observe(order, &[A], &[]);
    }
    // In a line for a single slot the third would wait for longer than a load.
    fleet.teach(A, 5.0, 2.0);
    let loader = fleet.arrive(request(A));
    let others: Vec<_> = (0..3).map(|_| fleet.arrive(request(A))).collect();
    fleet.pass(1.0);
    assert_eq!(fleet.started(), [(loader, id(0), true)]);
    fleet.scheduler.loaded(fleet.now, loader);
    fleet.settle();
    let here = |ticket: &Ticket| (*ticket, id(0), false);
    assert_eq!(fleet.started(), others.iter().map(here).collect::<Vec<_>>());
}

#[test]
fn a_wait_that_grows_is_weighed_again_however_often_probes_come() {
    let mut fleet = Fleet::with(&[&[A], &[]]);
    fleet.teach(A, 4.0, 20.0);
    fleet.arrive(request(A));
    let waiting = fleet.arrive(request(A));
    fleet.started();
    // The one that runs does not end: after three times the usual it is taken to be long, after 28 s it is worth a load.
    for _ in 0..29 * 5 {
        fleet.pass(0.2);
        fleet.observe(0, &[A, B, C], &[A]);
        fleet.observe(1, &[A, B, C], &[]);
        if let [start] = fleet.started()[..] {
            assert_eq!(start, (waiting, id(1), true));
            return;
        }
    }
    panic!("it still waits");
}

#[test]
fn a_load_that_failed_leaves_nothing_in_memory() {
    let mut fleet = Fleet::with(&[&[]]);
    let loader = fleet.arrive(request(A));
    fleet.scheduler.cancel(fleet.now, loader);
    fleet.settle();
    fleet.started();
    let next = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(next, id(0), true)]);
}

#[test]
fn a_freed_backend_takes_the_oldest_that_it_has_loaded() {
    let mut fleet = Fleet::with(&[&[A, B], &[C]]);
    for model in [A, B, C] {
        fleet.teach(model, 4.0, 20.0);
    }
    let a = fleet.arrive(request(A));
    let c = fleet.arrive(request(C));
    let older = fleet.arrive(request(C));
    let b = fleet.arrive(request(B));
    let a2 = fleet.arrive(request(A));
    fleet.started();
    fleet.complete(a);
    assert_eq!(fleet.started(), [(b, id(0), false)]);
    fleet.complete(b);
    assert_eq!(fleet.started(), [(a2, id(0), false)]);
    fleet.complete(c);
    assert_eq!(fleet.started(), [(older, id(1), false)]);
}

#[test]
fn one_that_has_aged_is_loaded_for_before_younger_ones_start() {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.teach(A, 4.0, 20.0);
    let mut running = fleet.arrive(request(A));
    let other = fleet.arrive(request(B));
    fleet.started();
    for _ in 0..7 {
        let next = fleet.arrive(request(A));
        fleet.pass(4.0);
        fleet.complete(running);
        assert_eq!(
            fleet.started(),
            [(next, id(0), false)],
            "A is loaded and B has not aged yet"
        );
        running = next;
    }
    fleet.arrive(request(A));
    fleet.pass(4.0);
    fleet.complete(running);
    assert_eq!(fleet.started(), [(other, id(0), true)]);
}

#[test]
fn an_aged_waiter_loads_at_a_backend_that_has_a_slot_but_not_the_model() {
    let mut fleet = Fleet::with(&[&[A], &[B]]);
    fleet.teach(A, 4.0, 20.0);
    let stuck = fleet.arrive(request(A));
    let waiting = fleet.arrive(request(A));
    fleet.started();
    // The only copy is held by one request that does not end, while the other backend idles.
    fleet.pass(60.0);
    assert_eq!(fleet.started(), [(waiting, id(1), true)]);
    fleet.complete(stuck);
}

#[test]
fn the_eviction_that_hurts_least_is_chosen() {
    let mut fleet = Fleet::with(&[&[A, B], &[A, C]]);
    let new = ModelId(7);
    for (backend, loaded) in [(0, [B, A]), (1, [C, A])] {
        fleet.observe(backend, &[A, B, C, new], &loaded);
    }
    // B is asked for, C is not; both would be the one to go on their backends.
    for _ in 0..5 {
        let ticket = fleet.arrive(request(B));
        fleet.pass(2.0);
        fleet.complete(ticket);
    }
    for (backend, loaded) in [(0, [B, A]), (1, [C, A])] {
        fleet.observe(backend, &[A, B, C, new], &loaded);
    }
    fleet.started();
    let ticket = fleet.arrive(request(new));
    assert_eq!(fleet.started(), [(ticket, id(1), true)]);
    fleet.scheduler.loaded(fleet.now, ticket);
    fleet.complete(ticket);
    let still_warm = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(still_warm, id(0), false)]);
}

#[test]
fn an_empty_backend_is_loaded_before_anything_is_evicted() {
    let mut fleet = Fleet::with(&[&[A, B], &[A, B], &[]]);
    let ticket = fleet.arrive(request(C));
    assert_eq!(fleet.started(), [(ticket, id(2), true)]);
}

#[test]
fn loads_go_where_they_have_been_fast() {
    let mut fleet = Fleet::with(&[&[], &[]]);
    for (backend, load) in [(0, 30.0), (1, 5.0)] {
        let pinned = Arrival {
            pinned: Some(id(backend)),
            ..request(A)
        };
        let ticket = fleet.arrive(pinned);
        fleet.pass(load + 1.0);
        fleet.scheduler.complete(fleet.now, ticket, answered(load));
        fleet.settle();
        fleet.observe(backend, &[A, B, C], &[]);
    }
    fleet.started();
    let ticket = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(ticket, id(1), true)]);
    let until = fleet.scheduler.backends[&id(1)].loading.unwrap().until;
    assert_eq!(until, fleet.now + secs(5.0));
}

#[test]
fn a_load_time_is_guessed_by_size_until_one_is_seen() {
    let mut fleet = Fleet::with(&[&[]]);
    fleet.arrive(request(A));
    let until = fleet.scheduler.backends[&id(0)].loading.unwrap().until;
    assert!(
        (until - fleet.now).abs_diff(secs(8.6)) < secs(0.1),
        "8 GiB at 1 GB/s"
    );
}

#[test]
fn a_model_that_is_waited_for_stays_for_a_while() {
    let mut fleet = Fleet::new(Policy {
        ageing: secs(0.0),
        ..policy()
    });
    fleet.join(BackendSpec {
        vram: Some(10 * GIB),
        ..spec(0)
    });
    fleet.observe(0, &[A, B], &[]);
    fleet.teach(A, 4.0, 20.0);
    fleet.teach(B, 4.0, 20.0);
    let a = fleet.arrive(request(A));
    let b = fleet.arrive(request(B));
    let a2 = fleet.arrive(request(A));
    fleet.pass(20.0);
    fleet.scheduler.loaded(fleet.now, a);
    fleet.pass(4.0);
    fleet.started();
    fleet.complete(a);
    // B is older and aged, but A has only just come and is waited for.
    assert_eq!(fleet.started(), [(a2, id(0), false)]);
    fleet.arrive(request(A));
    fleet.pass(80.0);
    fleet.complete(a2);
    assert_eq!(fleet.started(), [(b, id(0), true)]);
}

#[test]
fn memory_is_learned_from_what_a_load_pushes_out() {
    let mut fleet = Fleet::new(policy());
    fleet.join(BackendSpec {
        vram: None,
        ..spec(0)
    });
    fleet.observe(0, &[A, B, C], &[A]);
    let room = |fleet: &Fleet| {
        fleet.scheduler.backends[&id(0)]
            .victims(ModelId(9), 10 * GIB)
            .map(|victims| victims.len())
    };
    // Nothing is known of the memory: the load may fit.
    assert_eq!(room(&fleet), Some(0));
    let load = |fleet: &mut Fleet, model, loaded: &[ModelId]| {
        let ticket = fleet.arrive(request(model));
        fleet.pass(3.0);
        fleet.observe(0, &[A, B, C], loaded);
        fleet.complete(ticket);
    };
    load(&mut fleet, B, &[A, B]);
    assert_eq!(room(&fleet), Some(0));
    load(&mut fleet, C, &[B, C]);
    assert_eq!(room(&fleet), Some(1));
    // More than was thought to fit is seen to fit after all.
    fleet.observe(0, &[A, B, C], &[A, B, C]);
    let backend = &fleet.scheduler.backends[&id(0)];
    assert_eq!(
        backend.victims(ModelId(9), 1).map(|victims| victims.len()),
        Some(0)
    );
}
