//! Loads of the gateway's own: begun once, held by nobody, and left alone for a while where they fail.

use super::*;

/// As [`Fleet::with`], where loads are the gateway's own.
fn own(loaded: &[&[ModelId]]) -> Fleet {
    let mut fleet = Fleet::with(loaded);
    fleet.scheduler.own_loads(fleet.now);
    fleet
}

impl Fleet {
    /// What has been ordered since the last call.
    fn ordered(&mut self) -> Vec<Load> {
        std::mem::take(&mut self.loads)
    }

    fn load_done(&mut self, load: Ticket) {
        self.scheduler.load_done(self.now, load);
        self.settle();
    }

    fn load_failed(&mut self, load: Ticket) {
        self.scheduler.load_failed(self.now, load);
        self.settle();
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.scheduler.cancel(self.now, ticket);
        self.settle();
    }
}

#[test]
fn those_who_wait_for_a_load_stay_in_line_and_start_when_it_is_done() {
    let mut fleet = own(&[&[], &[]]);
    fleet.teach(A, 1.0, 10.0);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    let loads = fleet.ordered();
    assert_eq!(loads.len(), 1, "{loads:?}");
    assert_eq!(fleet.started(), []);
    fleet.pass(10.0);
    let (load, backend, model, _) = loads[0];
    assert_eq!(model, A);
    fleet.load_done(load);
    assert_eq!(fleet.started(), [(first, backend, false)]);
    fleet.complete(first);
    assert_eq!(fleet.started(), [(second, backend, false)]);
    assert_eq!(fleet.ordered(), []);
}

#[test]
fn a_load_outlives_the_clients_that_wait_for_it() {
    for leaves_at in [0.1, 0.5, 0.9] {
        let mut fleet = own(&[&[], &[]]);
        fleet.teach(A, 1.0, 10.0);
        let gone = fleet.arrive(request(A));
        let loads = fleet.ordered();
        fleet.pass(10.0 * leaves_at);
        fleet.cancel(gone);
        let back = fleet.arrive(request(A));
        assert_eq!(fleet.ordered(), [], "left at {leaves_at}");
        fleet.pass(10.0 * (1.0 - leaves_at));
        fleet.load_done(loads[0].0);
        assert_eq!(fleet.started(), [(back, loads[0].1, false)]);
    }
}

#[test]
fn a_probe_that_finds_the_copy_ends_the_load() {
    let mut fleet = own(&[&[]]);
    let waits = fleet.arrive(request(A));
    let loads = fleet.ordered();
    fleet.observe(0, &[A, B, C], &[]);
    assert_eq!(fleet.started(), []);
    fleet.observe(0, &[A, B, C], &[A]);
    assert_eq!(fleet.started(), [(waits, id(0), false)]);
    // The loader's word comes later and changes nothing.
    fleet.load_done(loads[0].0);
    assert_eq!(fleet.started(), []);
    assert_eq!(fleet.scheduler.loads(fleet.now).count(), 0);
}

#[test]
fn a_load_that_fails_is_tried_elsewhere_and_then_refused_until_the_pause_ends() {
    let mut fleet = own(&[&[], &[]]);
    let waits = fleet.arrive(request(A));
    let first = fleet.ordered();
    fleet.load_failed(first[0].0);
    let second = fleet.ordered();
    assert_ne!(first[0].1, second[0].1);
    fleet.load_failed(second[0].0);
    assert_eq!(fleet.ordered(), []);
    let retry_after = secs(30.0);
    assert_eq!(
        fleet.refusals(),
        [(waits, NoSlot::CannotLoad { retry_after })]
    );
    fleet.pass(10.0);
    let retry_after = secs(20.0);
    assert_eq!(
        fleet.refused(request(A)),
        NoSlot::CannotLoad { retry_after }
    );
    // Its other models are as they were.
    fleet.arrive(request(B));
    let other = fleet.ordered();
    assert_eq!((other.len(), other[0].2), (1, B));
    fleet.load_done(other[0].0);
    fleet.pass(21.0);
    fleet.arrive(request(A));
    let again = fleet.ordered();
    assert_eq!((again.len(), again[0].2), (1, A));
}

#[test]
fn the_pause_after_failures_grows_and_ends_with_success() {
    let mut fleet = own(&[&[]]);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        fleet.arrive(request(A));
        let load = fleet.ordered()[0].0;
        fleet.load_failed(load);
        let (_, refusal) = fleet.refusals()[0];
        let NoSlot::CannotLoad { retry_after } = refusal else {
            panic!("{refusal:?}")
        };
        pauses.push(retry_after.as_secs());
        fleet.pass(retry_after.as_secs_f64());
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900]);
    let ticket = fleet.arrive(request(A));
    let load = fleet.ordered()[0].0;
    fleet.load_done(load);
    fleet.complete(ticket);
    fleet.observe(0, &[A, B, C], &[]);
    fleet.arrive(request(A));
    let load = fleet.ordered()[0].0;
    fleet.load_failed(load);
    let retry_after = secs(30.0);
    assert_eq!(fleet.refusals()[0].1, NoSlot::CannotLoad { retry_after });
}

#[test]
fn who_waits_for_a_load_is_not_sent_away_while_it_runs() {
    let mut fleet = Fleet::new(Policy {
        timeout: secs(20.0),
        ..policy()
    });
    fleet.scheduler.own_loads(fleet.now);
    fleet.join(spec(0));
    fleet.observe(0, &[A], &[]);
    let waits = fleet.arrive(request(A));
    let load = fleet.ordered()[0].0;
    fleet.pass(100.0);
    assert_eq!(fleet.refusals(), []);
    fleet.load_done(load);
    assert_eq!(fleet.started(), [(waits, id(0), false)]);
    let second = fleet.arrive(request(A));
    fleet.pass(21.0);
    let refusals = fleet.refusals();
    assert!(matches!(refusals[..], [(ticket, NoSlot::TimedOut { .. })] if ticket == second));
}

#[test]
fn a_load_takes_no_slot_from_the_models_that_are_there() {
    let mut fleet = own(&[&[B]]);
    fleet.arrive(request(A));
    assert_eq!(fleet.ordered().len(), 1);
    let served = fleet.arrive(request(B));
    assert_eq!(fleet.started(), [(served, id(0), false)]);
}

#[test]
fn a_load_is_shown_while_it_runs() {
    let mut fleet = own(&[&[], &[]]);
    fleet.teach(A, 1.0, 10.0);
    assert_eq!(fleet.scheduler.load_of(fleet.now, A), None);
    fleet.arrive(request(A));
    let (load, backend, model, context) = fleet.ordered()[0];
    fleet.pass(4.0);
    let shown = LoadView {
        backend,
        model,
        elapsed: secs(4.0),
        expected: secs(10.0),
        context,
    };
    assert_eq!(fleet.scheduler.load_of(fleet.now, A), Some(shown));
    fleet.load_done(load);
    assert_eq!(fleet.scheduler.load_of(fleet.now, A), None);
}

#[test]
fn an_answer_during_a_load_of_its_model_says_nothing_of_the_copy() {
    let mut fleet = Fleet::new(policy());
    fleet.scheduler.own_loads(fleet.now);
    fleet.join(BackendSpec {
        slots: Some(3),
        ..spec(0)
    });
    fleet.observe(0, &[A], &[]);
    fleet.arrive(request(A));
    let load = fleet.ordered()[0].0;
    let pinned = fleet.arrive(Arrival {
        pinned: Some(id(0)),
        ..request(A)
    });
    // It may have run in a copy that somebody else has asked for.
    fleet.complete(pinned);
    assert_eq!(fleet.started().len(), 1);
    fleet.load_done(load);
    assert_eq!(fleet.started().len(), 1);
}

#[test]
fn a_context_that_a_client_states_and_no_memory_holds_keeps_the_model_from_nobody() {
    let mut fleet = own(&[&[]]);
    let stated = |tokens| Arrival {
        need: Need {
            tokens: 100,
            stated: Some(tokens),
            ..Need::default()
        },
        ..request(A)
    };
    let greedy = fleet.arrive(stated(1_000_000));
    let other = fleet.arrive(request(A));
    let loads = fleet.ordered();
    let (load, _, _, context) = loads[0];
    assert_eq!((loads.len(), context), (1, Some(1_000_000)));
    let instead = fleet.scheduler.load_without_stated(fleet.now, load);
    assert_eq!(instead, Some(None));
    let again = fleet.scheduler.load_without_stated(fleet.now, load);
    assert_eq!(again, None, "there is nothing else to try");
    let shown = fleet.scheduler.load_of(fleet.now, A).unwrap();
    assert_eq!(shown.context, None);
    fleet.load_done(load);
    assert_eq!(fleet.started(), [(greedy, id(0), false)]);
    fleet.complete(greedy);
    assert_eq!(fleet.started(), [(other, id(0), false)]);
    fleet.complete(other);
    // What could not be had is not asked for again there, and less is.
    for (tokens, asked) in [(2_000_000, None), (1_000_000, None), (9_000, Some(9_000))] {
        fleet.observe(0, &[A, B, C], &[]);
        let ticket = fleet.arrive(stated(tokens));
        let loads = fleet.ordered();
        assert_eq!(loads[0].3, asked, "{tokens}");
        fleet.load_done(loads[0].0);
        fleet.started();
        fleet.complete(ticket);
    }
}

#[test]
fn a_load_whose_context_no_client_has_stated_has_no_other() {
    let mut fleet = own(&[&[]]);
    fleet.arrive(request(A));
    let load = fleet.ordered()[0].0;
    assert_eq!(fleet.scheduler.load_without_stated(fleet.now, load), None);
    assert_eq!(
        fleet.scheduler.load_without_stated(fleet.now, Ticket(99)),
        None
    );
}
