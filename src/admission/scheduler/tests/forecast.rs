//! How long a newcomer would wait: told before it queues, and held against what it then does wait.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

impl Fleet {
    fn forecast(&self, arrival: Arrival) -> Option<f64> {
        self.forecast_within(arrival, Scope::default())
    }

    fn forecast_within(&self, arrival: Arrival, scope: Scope) -> Option<f64> {
        let wait = self.scheduler.forecast(self.now, arrival, scope);
        wait.map(|wait| wait.as_secs_f64())
    }
}

fn close(told: Option<f64>, expected: f64) {
    let told = told.unwrap();
    assert!((told - expected).abs() < 0.01, "{told} for {expected}");
}

fn urgent(model: ModelId) -> Arrival {
    Arrival {
        priority: 1,
        ..request(model)
    }
}

#[test]
fn a_free_slot_is_no_wait_and_what_is_not_known_is_not_told() {
    let mut fleet = Fleet::with(&[&[A]]);
    assert_eq!(fleet.forecast(request(A)), Some(0.0));
    assert_eq!(fleet.forecast(request(ModelId(7))), None);
    let running = fleet.arrive(request(A));
    assert_eq!(fleet.forecast(request(A)), None, "nothing has been learned");
    fleet.pass(4.0);
    fleet.complete(running);
    fleet.arrive(request(A));
    close(fleet.forecast(request(A)), 4.0);
    // What holds it up then is the limit on all, which holds anywhere.
    fleet.scheduler.policy.max_in_flight = 1;
    assert_eq!(fleet.forecast(request(A)), None);
    fleet.scheduler.policy.max_in_flight = 0;
    fleet.scheduler.unhealthy(fleet.now, id(0));
    fleet.settle();
    assert_eq!(fleet.forecast(request(A)), None, "it is down");
}

#[test]
fn it_grows_with_the_place_in_line() {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.teach(A, 4.0, 0.0);
    let arrived: Vec<_> = (0..4).map(|_| fleet.arrive(request(A))).collect();
    close(fleet.forecast(request(A)), 16.0);
    close(fleet.forecast(urgent(A)), 4.0);
    fleet.arrive(urgent(A));
    close(fleet.forecast(request(A)), 20.0);
    close(fleet.forecast(urgent(A)), 8.0);
    for ticket in &arrived[1..] {
        fleet.scheduler.cancel(fleet.now, *ticket);
    }
    fleet.settle();
    close(fleet.forecast(request(A)), 8.0);
}

#[test]
fn copies_share_a_line_and_lines_share_a_copy() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    fleet.teach(A, 4.0, 0.0);
    fleet.teach(B, 4.0, 0.0);
    // Nobody would load another model for what is in memory already.
    for _ in 0..3 {
        fleet.arrive(request(A));
    }
    close(fleet.forecast(request(A)), 2.0 + 2.0);
    let mut one = Fleet::with(&[&[A, B]]);
    one.teach(A, 4.0, 0.0);
    one.teach(B, 4.0, 0.0);
    one.arrive(request(A));
    close(one.forecast(request(A)), 4.0);
    one.arrive(request(B));
    // Of the two that wait it is one.
    close(one.forecast(request(A)), 8.0);
}

#[test]
fn a_load_of_its_own_is_no_wait() {
    let mut fleet = Fleet::with(&[&[A], &[]]);
    fleet.teach(A, 4.0, 2.0);
    fleet.teach(C, 4.0, 2.0);
    fleet.arrive(request(A));
    // Four seconds at the warm one, two for the load.
    assert_eq!(fleet.forecast(request(A)), Some(0.0));
    fleet.arrive(request(A));
    let loads = fleet.started();
    assert_eq!(
        loads.last().map(|(_, id, cold)| (*id, *cold)),
        Some((id(1), true))
    );
    // The load, and the answer after it, go on beside the other's: 1 / (1/4 + 1/6).
    close(fleet.forecast(request(A)), 2.4);
    // A model that is nowhere in memory waits for any of the two.
    close(fleet.forecast(request(C)), 2.4);
}

#[test]
fn an_outlook_counts_the_load_that_a_request_would_begin() {
    let mut fleet = Fleet::with(&[&[A], &[]]);
    fleet.teach(A, 4.0, 2.0);
    fleet.teach(C, 4.0, 20.0);
    let outlook = |fleet: &Fleet, model| {
        let outlook = fleet
            .scheduler
            .outlook(fleet.now, request(model), Scope::default());
        outlook.map(|outlook| (outlook.start.as_secs_f64().round(), outlook.loads))
    };
    assert_eq!(outlook(&fleet, A), Some((0.0, false)));
    assert_eq!(outlook(&fleet, C), Some((20.0, true)));
    // The warm one is busy for four seconds, a load at the other takes two.
    fleet.arrive(request(A));
    assert_eq!(outlook(&fleet, A), Some((2.0, true)));
    fleet.arrive(request(A));
    // Both are at work: nothing could begin at once.
    let (start, loads) = outlook(&fleet, C).unwrap();
    assert!(start >= 20.0 && !loads, "{start}");
    for server in 0..2 {
        fleet.scheduler.unhealthy(fleet.now, id(server));
    }
    fleet.settle();
    assert_eq!(outlook(&fleet, A), None);
}

#[test]
fn what_was_learned_of_a_model_is_forgotten_when_it_is_nowhere() {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.teach(A, 4.0, 2.0);
    fleet.teach(C, 4.0, 2.0);
    fleet.observe(0, &[A], &[A]);
    // The one that a server has is kept whatever is said.
    fleet.scheduler.forget_models(&[A, C]);
    assert!(fleet.scheduler.models.contains_key(&A));
    assert!(!fleet.scheduler.models.contains_key(&C));
    assert_eq!(fleet.refused(request(C)), NoSlot::UnknownModel);
    let ticket = fleet.arrive(request(A));
    fleet.complete(ticket);
}

#[test]
fn limits_count_for_what_they_leave() {
    let mut fleet = Fleet::new(policy());
    fleet.join(BackendSpec {
        slots: Some(4),
        placement: Placement::Off,
        ..spec(0)
    });
    fleet.observe(0, &[A], &[A]);
    fleet.teach(A, 4.0, 0.0);
    for _ in 0..2 {
        fleet.arrive(request(A));
    }
    assert_eq!(fleet.forecast(request(A)), Some(0.0));
    fleet
        .scheduler
        .limit_provider(fleet.now, ProviderId::at(0), Some(2));
    fleet.settle();
    close(fleet.forecast(request(A)), 2.0);
    fleet.arrive(request(A));
    close(fleet.forecast(request(A)), 4.0);
    // Nothing starts there any more.
    fleet
        .scheduler
        .limit_provider(fleet.now, ProviderId::at(0), Some(0));
    assert!(fleet.forecast(request(A)) > Some(3600.0));
    let elsewhere = Scope {
        providers: Providers::of(&[ProviderId::at(3)]),
        ..Scope::default()
    };
    assert_eq!(fleet.forecast_within(request(A), elsewhere), None);
}

/// Four servers at nine tenths of what they can take, answers of very different length: what newcomers are told is on
/// average what they wait, and whoever is told a long wait waits long.
#[test]
fn what_is_told_comes_true() {
    const SERVERS: usize = 4;
    const SERVICE: f64 = 4.0;
    let mut random = StdRng::seed_from_u64(11);
    let mut exponential = |mean: f64| -mean * random.r#gen::<f64>().max(1e-12).ln();
    let mut fleet = Fleet::with(&[&[A] as &[ModelId]; SERVERS]);
    fleet.teach(A, SERVICE, 0.0);
    let mut running: Vec<(Duration, Ticket)> = Vec::new();
    let mut told: Vec<(Ticket, Duration, f64)> = Vec::new();
    let mut waits: Vec<(f64, f64)> = Vec::new();
    let mut next = fleet.now;
    while waits.len() < 4_000 {
        let ends = running.iter().min().copied();
        match ends.filter(|(at, _)| *at <= next) {
            Some((at, ticket)) => {
                fleet.now = at;
                running.retain(|(_, one)| *one != ticket);
                fleet.complete(ticket);
            }
            None => {
                fleet.now = next;
                let expected = fleet.forecast(request(A)).unwrap();
                let ticket = fleet.arrive(request(A));
                told.push((ticket, fleet.now, expected));
                let every = SERVICE / SERVERS as f64 / 0.9;
                next += secs(exponential(every));
            }
        }
        for (ticket, _, cold) in fleet.started() {
            assert!(!cold);
            running.push((fleet.now + secs(exponential(SERVICE)), ticket));
            let index = told.iter().position(|(one, ..)| *one == ticket).unwrap();
            let (_, arrived, expected) = told.swap_remove(index);
            waits.push((expected, (fleet.now - arrived).as_secs_f64()));
        }
    }
    let mean = |part: &dyn Fn(&&(f64, f64)) -> bool| {
        let some: Vec<_> = waits.iter().filter(part).collect();
        let sum = |pick: fn(&(f64, f64)) -> f64| some.iter().map(|one| pick(one)).sum::<f64>();
        let count = some.len() as f64;
        (sum(|one| one.0) / count, sum(|one| one.1) / count)
    };
    let (expected, real) = mean(&|_| true);
    assert!(
        (0.8..1.25).contains(&(expected / real)),
        "{expected} for {real}"
    );
    let (expected, real) = mean(&|(expected, _)| *expected > 10.0);
    assert!(
        (0.8..1.25).contains(&(expected / real)),
        "{expected} for {real}"
    );
    assert!(
        waits
            .iter()
            .all(|(expected, real)| *expected > 0.0 || *real == 0.0)
    );
}
