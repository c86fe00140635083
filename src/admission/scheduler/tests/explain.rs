//! What is explained of a start is what is decided, and each backend that takes no part has its reason.

use super::*;

fn explained(fleet: &Fleet, arrival: Arrival) -> StartExplanation {
    fleet
        .scheduler
        .explain(fleet.now, arrival, Scope::default())
}

/// The backends that are candidates, in order.
fn order(explained: &StartExplanation) -> Vec<u32> {
    let ids = explained.candidates.iter().map(|one| one.backend.0);
    ids.collect()
}

fn bars(explained: &StartExplanation) -> Vec<(u32, Bar)> {
    let barred = explained.barred.iter();
    barred.map(|one| (one.backend.0, one.bar)).collect()
}

#[test]
fn a_copy_that_is_free_comes_first_and_loads_follow_by_their_cost() {
    let fleet = Fleet::with(&[&[B, C], &[A], &[]]);
    let told = explained(&fleet, request(A));
    assert_eq!(told.choice, StartChoice::Start(id(1)));
    assert_eq!(order(&told), [1, 2, 0]);
    assert_eq!(told.wait, Some(secs(0.001)));
    let [warm, empty, full] = &told.candidates[..] else {
        panic!("{told:?}");
    };
    assert_eq!((warm.state, warm.cost()), (CopyState::Loaded, secs(0.0)));
    // 8 GiB from a fast disk.
    let load = secs(8.0 * GIB as f64 / 1e9);
    assert_eq!(
        (empty.state, empty.expected.load),
        (CopyState::OnDisk, load)
    );
    assert_eq!((empty.penalty, &empty.evicts), (secs(0.0), &vec![]));
    assert_eq!(full.evicts.len(), 1);
    assert_eq!((told.waiting, told.second, bars(&told)), (0, false, vec![]));
}

#[test]
fn without_a_copy_it_is_loaded_where_that_costs_least() {
    let mut fleet = Fleet::with(&[&[B, C], &[B]]);
    fleet.scheduler.own_loads(fleet.now);
    let told = explained(&fleet, request(A));
    assert_eq!((told.choice, told.wait), (StartChoice::Load(id(1)), None));
    assert_eq!(order(&told), [1, 0]);
    fleet.arrive(request(A));
    assert_eq!(fleet.loads.last().map(|load| load.1), Some(id(1)));
    // The next one waits for that load.
    let told = explained(&fleet, request(A));
    assert_eq!(
        (told.choice, told.waiting, told.second),
        (StartChoice::Wait, 1, true)
    );
    assert_eq!(order(&told), [1, 0]);
    assert_eq!(told.candidates[0].state, CopyState::Loading);
    assert!(told.candidates[0].expected.load > secs(1.0), "{told:?}");
}

#[test]
fn a_copy_that_is_busy_is_waited_for_as_long_as_that_is_cheaper() {
    let mut fleet = Fleet::with(&[&[A], &[B]]);
    fleet.teach(A, 2.0, 0.0);
    fleet.arrive(request(A));
    let told = explained(&fleet, request(A));
    assert_eq!(told.choice, StartChoice::Wait);
    let [busy, other] = &told.candidates[..] else {
        panic!("{told:?}");
    };
    assert_eq!((busy.backend, busy.running, busy.places), (id(0), 1, 1));
    assert!(busy.expected.queue > secs(1.0) && busy.expected.queue < secs(3.0));
    assert!(told.wait.unwrap() < other.cost(), "{told:?}");
}

#[test]
fn a_copy_that_runs_on_the_cpu_in_part_has_a_penalty() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    let on_disk = [StoredModel::new(A, 8 * GIB)];
    let loaded = [LoadedModel {
        model: A,
        context: Some(8192),
        size: 10 * GIB,
        vram: 5 * GIB,
        expires_in: secs(300.0),
    }];
    let residency = Residency {
        on_disk: &on_disk,
        loaded: &loaded,
    };
    fleet.scheduler.observe(fleet.now, id(0), residency);
    let told = explained(&fleet, request(A));
    assert_eq!(order(&told), [1, 0]);
    let slow = &told.candidates[1];
    assert_eq!((slow.state, slow.context), (CopyState::Spilled, Some(8192)));
    // Half of it takes ten times as long as the five seconds of a request of which nothing is known.
    assert_eq!(slow.penalty, secs(22.5));
}

/// A fleet of which one server with A on disk is a candidate, and one takes no part for a reason.
fn barred_by(change: impl FnOnce(&mut Fleet) -> Arrival) -> Bar {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.join(spec(1));
    let arrival = change(&mut fleet);
    let told = explained(&fleet, arrival);
    let [(1, bar)] = bars(&told)[..] else {
        panic!("{told:?}");
    };
    bar
}

fn observe_with(fleet: &mut Fleet, stored: StoredModel, loaded: &[LoadedModel]) {
    let residency = Residency {
        on_disk: &[stored],
        loaded,
    };
    fleet.scheduler.observe(fleet.now, id(1), residency);
}

#[test]
fn each_that_takes_no_part_has_its_reason() {
    let stored = || StoredModel::new(A, 8 * GIB);
    assert_eq!(barred_by(|_| request(A)), Bar::Unprobed);
    let bar = barred_by(|fleet| {
        fleet.observe(1, &[A], &[A]);
        fleet.scheduler.unhealthy(fleet.now, id(1));
        request(A)
    });
    assert_eq!(bar, Bar::Unhealthy);
    let bar = barred_by(|fleet| {
        fleet.observe(1, &[B], &[]);
        request(A)
    });
    assert_eq!(bar, Bar::NotOnDisk);
    let bar = barred_by(|fleet| {
        fleet.observe(1, &[A], &[]);
        Arrival {
            pinned: Some(id(0)),
            ..request(A)
        }
    });
    assert_eq!(bar, Bar::NotAsked);
    let bar = barred_by(|fleet| {
        fleet.observe(1, &[A], &[A]);
        fleet.scheduler.limit_backend(fleet.now, id(1), Some(0));
        request(A)
    });
    assert_eq!(bar, Bar::Closed);
    let bar = barred_by(|fleet| {
        let berth = BerthRule::Never;
        observe_with(fleet, StoredModel { berth, ..stored() }, &[]);
        request(A)
    });
    assert_eq!(bar, Bar::Rule);
    let bar = barred_by(|fleet| {
        let contexts = [4096].into();
        let stored = StoredModel {
            contexts,
            ..stored()
        };
        observe_with(fleet, stored, &[]);
        let mut arrival = request(A);
        arrival.need.tokens = 8000;
        arrival
    });
    assert_eq!(bar, Bar::TooSmall { largest: 4096 });
}

#[test]
fn a_load_keeps_others_from_a_server_while_it_runs_and_a_while_after_it_failed() {
    let mut fleet = Fleet::with(&[&[]]);
    fleet.scheduler.own_loads(fleet.now);
    fleet.arrive(request(A));
    let told = explained(&fleet, request(B));
    let expected = secs(8.0 * GIB as f64 / 1e9);
    let loads = Bar::Loads {
        model: A,
        left: expected,
    };
    assert_eq!(bars(&told), [(0, loads)]);
    let (load, ..) = fleet.loads[0];
    fleet.scheduler.load_failed(fleet.now, load);
    fleet.settle();
    let told = explained(&fleet, request(A));
    let paused = Bar::Paused { left: secs(30.0) };
    assert_eq!(bars(&told), [(0, paused)]);
    assert!(
        matches!(told.choice, StartChoice::Refuse(NoSlot::CannotLoad { .. })),
        "{told:?}"
    );
}

#[test]
fn what_must_not_go_leaves_no_room() {
    let mut fleet = Fleet::with(&[&[B, C]]);
    for model in [B, C] {
        fleet.scheduler.limit_backend(fleet.now, id(0), Some(2));
        fleet.arrive(request(model));
    }
    let told = explained(&fleet, request(A));
    assert_eq!(bars(&told), [(0, Bar::NoRoom)]);
    assert_eq!((told.choice, told.wait), (StartChoice::Wait, None));
}

#[test]
fn starts_and_loads_are_told_once_that_is_asked_for() {
    let mut fleet = Fleet::with(&[&[A], &[]]);
    let ticket = fleet.arrive(request(A));
    fleet.complete(ticket);
    assert_eq!(fleet.scheduler.take_told(), []);
    fleet.scheduler.tell_starts();
    fleet.scheduler.own_loads(fleet.now);
    fleet.observe(0, &[A, B, C], &[A]);
    fleet.arrive(request(B));
    let (load, at, ..) = fleet.loads[0];
    fleet.scheduler.load_done(fleet.now, load);
    fleet.settle();
    let told = fleet.scheduler.take_told();
    let choices: Vec<_> = told.iter().map(|one| one.choice).collect();
    assert_eq!(choices, [StartChoice::Load(at), StartChoice::Start(at)]);
    assert!(told.iter().all(|one| one.candidates[0].backend == at));
    assert_eq!(fleet.scheduler.take_told(), []);
}

#[test]
fn a_copy_that_hangs_takes_no_part_until_it_is_well() {
    let mut fleet = Fleet::with(&[&[A], &[]]);
    fleet.scheduler.own_loads(fleet.now);
    let first = fleet.arrive(request(A));
    fleet.scheduler.late(fleet.now, first);
    fleet.scheduler.cancel(fleet.now, first);
    fleet.settle();
    assert_eq!(explained(&fleet, request(A)).barred, []);
    let second = fleet.arrive(request(A));
    fleet.scheduler.late(fleet.now, second);
    let told = explained(&fleet, request(A));
    assert_eq!(bars(&told), [(0, Bar::Suspect { heals: false })]);
    assert_eq!(told.choice, StartChoice::Load(id(1)));
    fleet.scheduler.cancel(fleet.now, second);
    fleet.settle();
    let told = explained(&fleet, request(A));
    assert_eq!(bars(&told), [(0, Bar::Suspect { heals: true })]);
    assert_eq!(bars(&explained(&fleet, request(B))), [(0, Bar::Heals)]);
}
