//! Copies that are slow: behind the others, left alone, tried, and back; never the last one.

use super::*;

/// Servers that all have A, each with a speed of its own in tokens per second, whose requests are answered at once.
struct Speeds {
    fleet: Fleet,
    rates: Vec<f64>,
}

impl Speeds {
    fn of(rates: &[f64]) -> Self {
        let loaded: Vec<&[ModelId]> = rates.iter().map(|_| &[A][..]).collect();
        let mut fleet = Fleet::with(&loaded);
        fleet.scheduler.own_loads(fleet.now);
        Self {
            fleet,
            rates: rates.to_vec(),
        }
    }

    fn answer(&self, on: BackendId) -> RunOutcome {
        let rate = self.rates[on.0 as usize];
        RunOutcome {
            output: Some((100, secs(100.0 / rate))),
            ..answered(0.0)
        }
    }

    /// So many requests on each server.
    fn serve(&mut self, times: usize) {
        for _ in 0..times {
            for order in 0..self.rates.len() {
                let on = id(order as u32);
                let pinned = Arrival {
                    pinned: Some(on),
                    ..request(A)
                };
                let ticket = self.fleet.arrive(pinned);
                let outcome = self.answer(on);
                let now = self.fleet.now;
                self.fleet.scheduler.complete(now, ticket, outcome);
                self.fleet.settle();
            }
        }
        self.fleet.started();
    }

    fn conditions(&self) -> Vec<Condition> {
        let copies = self.fleet.scheduler.copies(self.fleet.now);
        let mut all: Vec<_> = copies.map(|copy| (copy.backend, copy.condition)).collect();
        all.sort_by_key(|(backend, _)| *backend);
        all.into_iter().map(|(_, condition)| condition).collect()
    }

    /// Requests that come at once, and where they start.
    fn arrive(&mut self, requests: usize) -> Vec<BackendId> {
        for _ in 0..requests {
            self.fleet.arrive(request(A));
        }
        let started = self.fleet.started();
        started.into_iter().map(|(_, on, _)| on).collect()
    }

    /// The gateway's own requests that have been ordered since the last call.
    fn tries(&mut self) -> Vec<HealBegun> {
        std::mem::take(&mut self.fleet.heals)
    }

    fn tried(&mut self, heal: Ticket, on: BackendId) {
        let outcome = self.answer(on);
        let now = self.fleet.now;
        self.fleet.scheduler.healed(now, heal, outcome);
        self.fleet.settle();
    }
}

const SLOW: Condition = Condition::Slow(SlowCause::Decode);
const DRAINING: Condition = Condition::Draining(SlowCause::Decode);

#[test]
fn a_slow_copy_stands_behind_the_others() {
    let mut speeds = Speeds::of(&[25.0, 50.0, 50.0]);
    speeds.serve(8);
    assert_eq!(
        speeds.conditions(),
        [SLOW, Condition::Well, Condition::Well]
    );
    assert_eq!(speeds.arrive(3), [id(1), id(2), id(0)]);
}

#[test]
fn one_that_stays_slow_is_left_alone_while_the_others_can_do_the_work() {
    let mut speeds = Speeds::of(&[25.0, 50.0, 50.0]);
    speeds.serve(12);
    assert_eq!(speeds.conditions()[0], DRAINING);
    // Two have a slot at once, and two more wait for the same servers: the fifth is more than a round of work.
    assert_eq!(speeds.arrive(4), [id(1), id(2)]);
    assert_eq!(speeds.arrive(1), [id(0)]);
}

#[test]
fn who_may_use_no_other_or_has_aged_uses_it_all_the_same() {
    let mut speeds = Speeds::of(&[25.0, 50.0]);
    speeds.serve(12);
    assert_eq!(speeds.conditions()[0], DRAINING);
    let ticket = speeds.fleet.arrive(request(A));
    assert_eq!(speeds.fleet.started(), [(ticket, id(1), false)]);
    speeds.fleet.retry(ticket).unwrap();
    assert_eq!(speeds.fleet.started(), [(ticket, id(0), false)]);
    speeds.fleet.complete(ticket);
    assert_eq!(speeds.arrive(2), [id(1)]);
    speeds.fleet.pass(31.0);
    // The gateway is trying it at this moment.
    let tries = speeds.tries();
    speeds.tried(tries[0].0, id(0));
    let started = speeds.fleet.started();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].1, id(0));
}

#[test]
fn the_last_copy_is_never_left_alone() {
    let mut speeds = Speeds::of(&[25.0, 50.0]);
    speeds.serve(12);
    assert_eq!(speeds.conditions(), [DRAINING, Condition::Well]);
    speeds.fleet.scheduler.unhealthy(speeds.fleet.now, id(1));
    speeds.fleet.settle();
    assert_eq!(speeds.conditions(), [SLOW]);
    assert_eq!(speeds.arrive(1), [id(0)]);
}

#[test]
fn a_slow_copy_is_tried_before_it_returns() {
    let mut speeds = Speeds::of(&[25.0, 50.0]);
    speeds.serve(12);
    speeds.fleet.pass(29.0);
    assert_eq!(speeds.tries(), []);
    for pause in [60.0, 120.0, 240.0, 480.0, 600.0, 600.0] {
        speeds.fleet.pass(1.0);
        let tries = speeds.tries();
        assert_eq!(tries.len(), 1);
        assert_eq!((tries[0].1, tries[0].2, tries[0].3), (id(0), A, false));
        assert_eq!(speeds.conditions()[0], Condition::Healing);
        speeds.tried(tries[0].0, id(0));
        assert_eq!(speeds.conditions()[0], DRAINING);
        speeds.fleet.pass(pause - 1.0);
        assert_eq!(speeds.tries(), []);
    }
    speeds.rates[0] = 50.0;
    speeds.fleet.pass(1.0);
    let tries = speeds.tries();
    speeds.tried(tries[0].0, id(0));
    assert_eq!(speeds.conditions(), [Condition::Well; 2]);
    speeds.fleet.pass(10_000.0);
    assert_eq!(speeds.tries(), []);
}

#[test]
fn a_try_that_is_not_answered_changes_nothing() {
    let mut speeds = Speeds::of(&[25.0, 50.0]);
    speeds.serve(8);
    speeds.fleet.pass(30.0);
    let tries = speeds.tries();
    speeds
        .fleet
        .scheduler
        .heal_failed(speeds.fleet.now, tries[0].0);
    speeds.fleet.settle();
    assert_eq!(speeds.conditions(), [SLOW, Condition::Well]);
    speeds.fleet.pass(59.0);
    assert_eq!(speeds.tries(), []);
    speeds.fleet.pass(1.0);
    assert_eq!(speeds.tries().len(), 1);
}

#[test]
fn a_copy_that_runs_on_the_cpu_in_part_is_slow_by_that_alone() {
    let mut fleet = Fleet::with(&[&[], &[A]]);
    let spilled = LoadedModel {
        model: A,
        context: None,
        size: 10 * GIB,
        vram: 6 * GIB,
        expires_in: secs(300.0),
    };
    let residency = Residency {
        on_disk: &[StoredModel::new(A, 8 * GIB)],
        loaded: &[spilled],
    };
    fleet.scheduler.observe(fleet.now, id(0), residency);
    fleet.settle();
    let copies: Vec<_> = fleet.scheduler.copies(fleet.now).collect();
    let of = |on: u32| copies.iter().find(|copy| copy.backend == id(on)).unwrap();
    assert_eq!(of(0).condition, Condition::Slow(SlowCause::Spilled));
    assert_eq!(of(1).condition, Condition::Well);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    assert_eq!(
        fleet.started(),
        [(first, id(1), false), (second, id(0), false)]
    );
}

#[test]
fn a_model_that_is_slower_than_another_is_no_sign() {
    let mut fleet = Fleet::with(&[&[A, B], &[A, B]]);
    fleet.scheduler.own_loads(fleet.now);
    for _ in 0..50 {
        for (model, rate) in [(A, 10.0), (B, 100.0)] {
            for order in 0..2 {
                let pinned = Arrival {
                    pinned: Some(id(order)),
                    ..request(model)
                };
                let ticket = fleet.arrive(pinned);
                let outcome = RunOutcome {
                    output: Some((100, secs(100.0 / rate))),
                    ..answered(0.0)
                };
                fleet.scheduler.complete(fleet.now, ticket, outcome);
                fleet.settle();
            }
        }
    }
    let mut copies = fleet.scheduler.copies(fleet.now);
    assert!(copies.all(|copy| copy.condition == Condition::Well));
}
