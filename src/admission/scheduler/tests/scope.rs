//! Requests that may run on some providers only, and limits on providers that come and go.

use super::*;

/// Providers 0 and 1 with a backend of that number each, and a service as provider 2 with four slots.
fn providers() -> Fleet {
    let mut fleet = Fleet::new(policy());
    for provider in 0..3_u8 {
        fleet.join(BackendSpec {
            provider: ProviderId::at(provider.into()),
            slots: Some(if provider == 2 { 4 } else { 1 }),
            placement: if provider == 2 {
                Placement::Off
            } else {
                Placement::WarmOrWait
            },
            ..spec(u32::from(provider))
        });
        fleet.observe(u32::from(provider), &[A, B], &[A]);
    }
    fleet
}

fn arrive(fleet: &mut Fleet, providers: &[usize], excluded: &[u32]) -> Result<Ticket, NoSlot> {
    let scope = Scope {
        excluded: excluded.iter().copied().map(BackendId).collect(),
        ..among(providers)
    };
    arrive_within(fleet, scope)
}

fn arrive_within(fleet: &mut Fleet, scope: Scope) -> Result<Ticket, NoSlot> {
    let ticket = fleet.scheduler.arrive_within(fleet.now, request(A), scope);
    fleet.settle();
    ticket
}

fn among(providers: &[usize]) -> Scope {
    let providers: Vec<_> = providers.iter().copied().map(ProviderId::at).collect();
    Scope {
        providers: Providers::of(&providers),
        ..Scope::default()
    }
}

#[test]
fn a_request_runs_on_its_providers_alone() {
    let mut fleet = providers();
    let first = arrive(&mut fleet, &[1], &[]).unwrap();
    let second = arrive(&mut fleet, &[1, 0], &[]).unwrap();
    let waiting = arrive(&mut fleet, &[0, 1], &[]).unwrap();
    assert_eq!(
        fleet.started(),
        [(first, id(1), false), (second, id(0), false)]
    );
    // The service is free, and is not its.
    fleet.pass(5.0);
    assert_eq!(fleet.started(), []);
    let other = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(other, id(2), false)]);
    fleet.complete(first);
    assert_eq!(fleet.started(), [(waiting, id(1), false)]);
}

#[test]
fn those_who_go_anywhere_pass_by_those_who_cannot() {
    let mut fleet = providers();
    let running = arrive(&mut fleet, &[0], &[]).unwrap();
    let bound = arrive(&mut fleet, &[0], &[]).unwrap();
    let taken = [1, 2, 2, 2, 2].map(|provider| arrive(&mut fleet, &[provider], &[]).unwrap());
    let free = fleet.arrive(request(A));
    fleet.started();
    fleet.complete(taken[0]);
    assert_eq!(fleet.started(), [(free, id(1), false)]);
    fleet.complete(running);
    assert_eq!(fleet.started(), [(bound, id(0), false)]);
}

#[test]
fn a_retry_may_go_elsewhere_than_the_request_before() {
    let mut fleet = providers();
    let ticket = arrive(&mut fleet, &[0], &[]).unwrap();
    fleet.started();
    let scope = Scope {
        providers: Providers::of(&[ProviderId::at(1)]),
        excluded: vec![id(0)],
        ..Scope::default()
    };
    let now = fleet.now;
    assert_eq!(
        fleet.scheduler.retry(now, ticket, Some(scope.clone())),
        Ok(())
    );
    fleet.settle();
    assert_eq!(fleet.started(), [(ticket, id(1), false)]);
    assert_eq!(
        fleet.scheduler.retry(now, ticket, Some(scope)),
        Err(NoSlot::Exhausted)
    );
    fleet.settle();
}

#[test]
fn what_no_provider_of_its_has_is_refused() {
    let mut fleet = providers();
    fleet.observe(1, &[B], &[]);
    assert_eq!(arrive(&mut fleet, &[1], &[]), Err(NoSlot::UnknownModel));
    assert_eq!(arrive(&mut fleet, &[0], &[0]), Err(NoSlot::Exhausted));
    // A provider that nobody has heard of yet may turn out to have it.
    fleet.join(BackendSpec {
        provider: ProviderId::at(7),
        ..spec(70)
    });
    let waiting = arrive(&mut fleet, &[7], &[]).unwrap();
    fleet.observe(70, &[A], &[A]);
    assert_eq!(fleet.started(), [(waiting, id(70), false)]);
}

#[test]
fn a_limit_holds_until_it_is_taken_back() {
    let mut fleet = providers();
    let now = fleet.now;
    fleet
        .scheduler
        .limit_provider(now, ProviderId::at(2), Some(1));
    let running = arrive(&mut fleet, &[2], &[]).unwrap();
    let waiting = [(); 3].map(|()| arrive(&mut fleet, &[2], &[]).unwrap());
    assert_eq!(fleet.started(), [(running, id(2), false)]);
    fleet
        .scheduler
        .limit_provider(now, ProviderId::at(2), Some(2));
    fleet.settle();
    assert_eq!(fleet.started(), [(waiting[0], id(2), false)]);
    fleet
        .scheduler
        .limit_provider(now, ProviderId::at(2), Some(0));
    fleet.complete(running);
    fleet.complete(waiting[0]);
    assert_eq!(fleet.started(), []);
    fleet.scheduler.limit_provider(now, ProviderId::at(2), None);
    fleet.settle();
    assert_eq!(
        fleet.started(),
        [(waiting[1], id(2), false), (waiting[2], id(2), false)]
    );
    // Providers that are not there yet keep theirs.
    fleet
        .scheduler
        .limit_provider(now, ProviderId::at(9), Some(0));
    fleet.join(BackendSpec {
        provider: ProviderId::at(9),
        ..spec(90)
    });
    fleet.observe(90, &[A], &[A]);
    arrive(&mut fleet, &[9], &[]).unwrap();
    assert_eq!(fleet.started(), []);
}

#[test]
fn a_backend_may_be_held_to_fewer_than_its_slots() {
    let mut fleet = providers();
    fleet.scheduler.limit_backend(fleet.now, id(2), Some(1));
    let running = arrive(&mut fleet, &[2], &[]).unwrap();
    let waiting = [(); 3].map(|()| arrive(&mut fleet, &[2], &[]).unwrap());
    assert_eq!(fleet.started(), [(running, id(2), false)]);
    fleet.scheduler.limit_backend(fleet.now, id(2), Some(3));
    fleet.settle();
    assert_eq!(
        fleet.started(),
        [(waiting[0], id(2), false), (waiting[1], id(2), false)]
    );
    // What runs goes on, and the next starts when there is room for it.
    fleet.scheduler.limit_backend(fleet.now, id(2), Some(1));
    fleet.complete(running);
    fleet.complete(waiting[0]);
    assert_eq!(fleet.started(), []);
    fleet.complete(waiting[1]);
    assert_eq!(fleet.started(), [(waiting[2], id(2), false)]);
}

#[test]
fn who_waits_for_closed_providers_alone_is_refused() {
    let mut fleet = providers();
    let busy = [0, 2, 2, 2, 2].map(|provider| arrive(&mut fleet, &[provider], &[]).unwrap());
    let as_of = Some(fleet.scheduler.closings());
    let knowing = |providers: &[usize]| Scope {
        as_of,
        ..among(providers)
    };
    let bound = arrive_within(&mut fleet, knowing(&[2])).unwrap();
    let both = arrive_within(&mut fleet, knowing(&[0, 2])).unwrap();
    let patient = arrive(&mut fleet, &[2], &[]).unwrap();
    fleet.started();
    let close = |fleet: &mut Fleet, provider, limit| {
        fleet.scheduler.limit_provider(fleet.now, provider, limit);
        fleet.settle();
    };
    close(&mut fleet, ProviderId::at(2), Some(1));
    assert_eq!(fleet.refusals(), [], "it still takes one");
    close(&mut fleet, ProviderId::at(2), Some(0));
    assert_eq!(fleet.refusals(), [(bound, NoSlot::Closed)]);
    // It was closed after they had looked; from now on they know.
    assert_eq!(
        arrive_within(&mut fleet, knowing(&[2])),
        Err(NoSlot::Closed)
    );
    let known = Scope {
        as_of: Some(fleet.scheduler.closings()),
        ..among(&[2])
    };
    let known = arrive_within(&mut fleet, known).unwrap();
    close(&mut fleet, ProviderId::at(0), Some(0));
    assert_eq!(
        fleet.refusals(),
        [(both, NoSlot::Closed), (known, NoSlot::Closed)]
    );
    fleet.complete(busy[1]);
    assert_eq!(fleet.started(), []);
    close(&mut fleet, ProviderId::at(2), None);
    assert_eq!(fleet.started(), [(patient, id(2), false)]);
    assert_eq!(fleet.scheduler.snapshot().waiting, 0);
}

#[test]
fn who_has_somewhere_else_to_go_does_not_wait_for_health() {
    let mut fleet = providers();
    let leaving = |providers: &[usize]| Scope {
        elsewhere: true,
        ..among(providers)
    };
    for provider in [0, 1, 2, 2, 2, 2] {
        arrive(&mut fleet, &[provider], &[]).unwrap();
    }
    let one = arrive_within(&mut fleet, leaving(&[0])).unwrap();
    let two = arrive_within(&mut fleet, leaving(&[0, 1])).unwrap();
    let patient = arrive(&mut fleet, &[0], &[]).unwrap();
    let told = |fleet: &mut Fleet| {
        let refusals = fleet.refusals().into_iter();
        let unhealthy = refusals.map(|(ticket, refusal)| {
            assert!(matches!(refusal, NoSlot::NoHealthyBackend { .. }));
            ticket
        });
        unhealthy.collect::<Vec<_>>()
    };
    fleet.started();
    fleet.scheduler.unhealthy(fleet.now, id(0));
    fleet.settle();
    assert_eq!(told(&mut fleet), [one]);
    fleet.scheduler.leave(fleet.now, id(1));
    fleet.settle();
    assert_eq!(told(&mut fleet), [two]);
    let late = arrive_within(&mut fleet, leaving(&[0]));
    assert!(matches!(late, Err(NoSlot::NoHealthyBackend { .. })));
    assert_eq!(fleet.scheduler.snapshot().waiting, 1);
    fleet.scheduler.cancel(fleet.now, patient);
}
