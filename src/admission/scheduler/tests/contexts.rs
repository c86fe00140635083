//! Contexts: a request starts only where it fits, a larger copy comes where none does, and nobody loads for nothing.

use super::*;
use crate::settings::Placement;

const K: u32 = 1024;

fn needing(model: ModelId, tokens: u32) -> Arrival {
    Arrival {
        need: Need {
            tokens,
            ..Need::default()
        },
        ..request(model)
    }
}

fn stating(model: ModelId, tokens: u32, stated: u32) -> Arrival {
    Arrival {
        need: Need {
            tokens,
            stated: Some(stated),
            embeds: false,
        },
        ..request(model)
    }
}

fn stored(model: ModelId, trained: Option<u32>, contexts: &[u32]) -> StoredModel {
    StoredModel {
        trained,
        contexts: contexts.into(),
        ..StoredModel::new(model, 8 * GIB)
    }
}

/// 8 GiB of weights, and 1 GiB for each 32,768 tokens.
fn copy(model: ModelId, context: Option<u32>) -> LoadedModel {
    let size = 8 * GIB + u64::from(context.unwrap_or(0)) * (GIB >> 15);
    LoadedModel {
        model,
        context,
        size,
        vram: size,
        expires_in: secs(300.0),
    }
}

impl Fleet {
    /// One that makes its own loads, of backends with nothing in memory.
    fn own(backends: u32) -> Self {
        let mut fleet = Self::new(policy());
        fleet.scheduler.own_loads(fleet.now);
        (0..backends).for_each(|order| {
            fleet.join(spec(order));
        });
        fleet
    }

    fn show(&mut self, id: u32, on_disk: &[StoredModel], loaded: &[LoadedModel]) {
        let residency = Residency { on_disk, loaded };
        self.scheduler.observe(self.now, BackendId(id), residency);
        self.settle();
    }

    fn done(&mut self, load: Ticket) {
        self.scheduler.load_done(self.now, load);
        self.settle();
    }

    /// Where, and with which context, loads have been ordered since the last call.
    fn orders(&mut self) -> Vec<(BackendId, Option<u32>)> {
        let loads = std::mem::take(&mut self.loads);
        let order = |(_, backend, _, context): Load| (backend, context);
        loads.into_iter().map(order).collect()
    }

    fn context_of(&self, arrival: Arrival) -> Option<Option<u32>> {
        let waiter = self.scheduler.newcomer(self.now, arrival, Scope::default());
        let id = self.scheduler.ready_backend_of(&waiter)?;
        let expected = self.scheduler.expected_start(self.now, id, &arrival, None);
        Some(expected.0)
    }
}

#[test]
fn a_request_starts_only_on_a_copy_that_holds_it_and_is_told_its_context() {
    let mut fleet = Fleet::own(3);
    let on_disk = [stored(A, None, &[])];
    fleet.show(0, &on_disk, &[copy(A, Some(4 * K))]);
    fleet.show(1, &on_disk, &[copy(A, Some(32 * K))]);
    assert_eq!(fleet.context_of(needing(A, 20_000)), Some(Some(32 * K)));
    // Of equals, and where nothing is known of the need, the selector decides.
    assert_eq!(fleet.context_of(request(A)), Some(Some(4 * K)));
    let large = fleet.arrive(needing(A, 20_000));
    assert_eq!(fleet.started(), [(large, id(1), false)]);
    let small = fleet.arrive(needing(A, 1000));
    assert_eq!(fleet.started(), [(small, id(0), false)]);
    fleet.complete(small);
    // A server that does not tell its contexts is taken to hold everything, as ever.
    fleet.show(2, &on_disk, &[copy(A, None)]);
    assert_eq!(fleet.context_of(needing(A, 100_000)), Some(None));
}

#[test]
fn those_who_need_a_larger_copy_do_not_hold_up_the_others() {
    let mut fleet = Fleet::own(1);
    fleet.show(0, &[stored(A, None, &[])], &[copy(A, Some(10_000))]);
    let running = fleet.arrive(needing(A, 9000));
    assert_eq!(fleet.started(), [(running, id(0), false)]);
    // Both are of one class, and one of them does not fit.
    let large = fleet.arrive(needing(A, 12_000));
    let fits = fleet.arrive(needing(A, 9500));
    fleet.complete(running);
    assert_eq!(fleet.started(), [(fits, id(0), false)]);
    fleet.complete(fits);
    assert_eq!(fleet.started(), []);
    assert_eq!(fleet.orders(), [(id(0), Some(16 * K))]);
    fleet.scheduler.cancel(fleet.now, large);
}

#[test]
fn contexts_in_turn_load_a_model_once() {
    let mut fleet = Fleet::own(4);
    for backend in 0..4 {
        fleet.show(backend, &[stored(A, Some(128 * K), &[])], &[]);
    }
    let mut orders = Vec::new();
    for turn in 0..16 {
        let stated = [None, Some(4 * K), Some(8 * K), Some(16 * K)][turn % 4];
        let ticket = fleet.arrive(Arrival {
            need: Need {
                tokens: 500,
                stated,
                embeds: false,
            },
            ..request(A)
        });
        let loads: Vec<_> = fleet.loads.clone();
        orders.append(&mut fleet.orders());
        for (load, backend, _, context) in loads {
            fleet.pass(3.0);
            fleet.done(load);
            let shown = copy(A, Some(context.unwrap_or(4 * K)));
            fleet.show(backend.0, &[stored(A, Some(128 * K), &[])], &[shown]);
        }
        assert!(matches!(fleet.started()[..], [(started, _, false)] if started == ticket));
        fleet.complete(ticket);
    }
    assert_eq!(orders, [(id(0), None)]);
}

#[test]
fn a_larger_copy_is_loaded_elsewhere_or_in_place_of_an_idle_smaller_one() {
    let mut fleet = Fleet::own(2);
    let on_disk = [stored(A, None, &[])];
    fleet.show(0, &on_disk, &[copy(A, Some(4 * K))]);
    fleet.show(1, &on_disk, &[]);
    let small = fleet.arrive(needing(A, 1000));
    assert_eq!(fleet.started(), [(small, id(0), false)]);
    let large = fleet.arrive(needing(A, 20_000));
    // The small copy is in use, and the other server has room.
    let load = fleet.loads[0].0;
    assert_eq!(fleet.orders(), [(id(1), Some(32 * K))]);
    fleet.done(load);
    assert_eq!(fleet.started(), [(large, id(1), false)]);

    let mut fleet = Fleet::own(1);
    fleet.show(0, &on_disk, &[copy(A, Some(4 * K))]);
    let large = fleet.arrive(needing(A, 20_000));
    let load = fleet.loads[0].0;
    assert_eq!(fleet.orders(), [(id(0), Some(32 * K))]);
    // A probe that still shows the old copy does not end the load, one that shows another does.
    fleet.show(0, &on_disk, &[copy(A, Some(4 * K))]);
    assert_eq!(fleet.started(), []);
    fleet.show(0, &on_disk, &[copy(A, Some(32 * K))]);
    assert_eq!(fleet.started(), [(large, id(0), false)]);
    fleet.done(load);
    fleet.complete(large);
    // What needs less goes there as well: no copy is loaded smaller.
    let small = fleet.arrive(needing(A, 100));
    assert_eq!(fleet.started(), [(small, id(0), false)]);
    assert_eq!(fleet.orders(), []);
}

#[test]
fn a_busy_smaller_copy_is_not_taken_from_those_who_use_it_until_one_has_aged() {
    let mut fleet = Fleet::own(1);
    fleet.show(0, &[stored(A, None, &[])], &[copy(A, Some(4 * K))]);
    let mut running = fleet.arrive(needing(A, 100));
    let large = fleet.arrive(needing(A, 20_000));
    assert_eq!(fleet.orders(), []);
    for _ in 0..40 {
        let next = fleet.arrive(needing(A, 100));
        fleet.pass(1.0);
        fleet.complete(running);
        if !fleet.loads.is_empty() {
            break;
        }
        assert!(fleet.now < secs(1032.0), "it is never its turn");
        running = next;
    }
    let load = fleet.loads[0].0;
    assert_eq!(fleet.orders(), [(id(0), Some(32 * K))]);
    fleet.started();
    fleet.done(load);
    assert_eq!(fleet.started()[0].0, large);
}

#[test]
fn planned_contexts_are_the_ones_that_are_loaded() {
    let mut fleet = Fleet::own(1);
    let on_disk = [stored(A, Some(64 * K), &[8 * K, 128 * K])];
    fleet.show(0, &on_disk, &[]);
    for (tokens, context) in [(0, 8 * K), (8 * K, 8 * K), (8 * K + 1, 64 * K)] {
        let ticket = fleet.arrive(stating(A, tokens, 2 * K));
        assert_eq!(fleet.orders(), [(id(0), Some(context))], "{tokens}");
        fleet.scheduler.cancel(fleet.now, ticket);
        fleet.scheduler.leave(fleet.now, id(0));
        fleet = Fleet::own(1);
        fleet.show(0, &on_disk, &[]);
    }
    let largest = 64 * K;
    assert_eq!(
        fleet.refused(needing(A, 64 * K + 1)),
        NoSlot::TooLong { largest }
    );
}

#[test]
fn a_load_has_the_context_that_nearly_all_requests_needed() {
    let mut fleet = Fleet::own(1);
    fleet.show(0, &[stored(A, Some(16 * K), &[])], &[copy(A, Some(32 * K))]);
    for tokens in [3000, 7000].repeat(20) {
        let ticket = fleet.arrive(needing(A, tokens));
        fleet.complete(ticket);
    }
    fleet.show(0, &[stored(A, Some(16 * K), &[])], &[]);
    // What the client states counts no more.
    fleet.arrive(stating(A, 100, 2 * K));
    assert_eq!(fleet.orders(), [(id(0), Some(8 * K))]);
}

#[test]
fn what_a_client_states_is_the_size_of_a_load_where_nothing_else_is_known() {
    let mut fleet = Fleet::own(1);
    fleet.show(0, &[stored(A, Some(16 * K), &[])], &[]);
    fleet.arrive(stating(A, 100, 10_000));
    assert_eq!(fleet.orders(), [(id(0), Some(10_000))]);
    let mut fleet = Fleet::own(1);
    fleet.show(0, &[stored(A, Some(16 * K), &[])], &[]);
    fleet.arrive(stating(A, 100, 1_000_000));
    assert_eq!(fleet.orders(), [(id(0), Some(16 * K))]);
}

#[test]
fn what_fits_no_context_is_refused_at_once_with_the_largest() {
    let mut fleet = Fleet::own(2);
    fleet.show(0, &[stored(A, Some(8 * K), &[])], &[copy(A, Some(4 * K))]);
    let largest = 8 * K;
    assert_eq!(
        fleet.refused(needing(A, 10_000)),
        NoSlot::TooLong { largest }
    );
    // Another server has a longer one.
    fleet.show(1, &[stored(A, Some(32 * K), &[])], &[]);
    fleet.arrive(needing(A, 10_000));
    assert_eq!(fleet.orders(), [(id(1), Some(16 * K))]);
}

#[test]
fn a_model_that_gets_less_than_was_asked_for_is_not_loaded_again_for_it() {
    let mut fleet = Fleet::own(1);
    let on_disk = [stored(A, None, &[])];
    fleet.show(0, &on_disk, &[]);
    let large = fleet.arrive(needing(A, 20_000));
    let load = fleet.loads[0].0;
    assert_eq!(fleet.orders(), [(id(0), Some(32 * K))]);
    fleet.show(0, &on_disk, &[copy(A, Some(8 * K))]);
    fleet.done(load);
    let largest = 8 * K;
    assert_eq!(fleet.started(), []);
    assert_eq!(fleet.refusals(), [(large, NoSlot::TooLong { largest })]);
    assert_eq!(fleet.orders(), []);
}

#[test]
fn an_automatic_context_that_is_too_small_is_asked_for_no_more() {
    let mut fleet = Fleet::own(1);
    let on_disk = [stored(A, None, &[])];
    fleet.show(0, &on_disk, &[]);
    let small = fleet.arrive(needing(A, 100));
    let load = fleet.loads[0].0;
    assert_eq!(fleet.orders(), [(id(0), None)]);
    fleet.done(load);
    // Until a probe tells, it is taken to be the least that servers choose.
    let large = fleet.arrive(needing(A, 6000));
    assert_eq!(fleet.started(), [(small, id(0), false)]);
    fleet.show(0, &on_disk, &[copy(A, Some(4 * K))]);
    fleet.complete(small);
    let load = fleet.loads[0].0;
    assert_eq!(fleet.orders(), [(id(0), Some(8 * K))]);
    fleet.done(load);
    assert_eq!(fleet.started(), [(large, id(0), false)]);
}

#[test]
fn a_context_is_no_larger_than_the_stated_memory_holds() {
    let mut fleet = Fleet::own(1);
    // 8 GiB of weights, and 1 GiB for each 4096 tokens.
    let with = |context: u32| LoadedModel {
        size: 8 * GIB + u64::from(context / 4096) * GIB,
        vram: 8 * GIB + u64::from(context / 4096) * GIB,
        ..copy(A, Some(context))
    };
    fleet.show(0, &[stored(A, None, &[])], &[with(8 * K)]);
    let largest = 12 * 4096;
    assert_eq!(
        fleet.refused(needing(A, 60_000)),
        NoSlot::TooLong { largest }
    );
    fleet.arrive(needing(A, 40_000));
    assert_eq!(fleet.orders(), [(id(0), Some(largest))]);
}

#[test]
fn a_load_goes_where_it_may_and_overflows_only_where_it_may_not() {
    let with = |berth| {
        [StoredModel {
            berth,
            ..stored(A, None, &[])
        }]
    };
    let mut fleet = Fleet::own(3);
    fleet.show(0, &with(BerthRule::Never), &[]);
    fleet.show(1, &with(BerthRule::Overflow), &[]);
    fleet.show(
        2,
        &with(BerthRule::Allowed),
        &[copy(B, Some(4 * K)), copy(C, Some(4 * K))],
    );
    fleet.arrive(request(A));
    assert_eq!(fleet.loads[0].1, id(2));
    let load = fleet.loads[0].0;
    fleet.loads.clear();
    fleet.scheduler.load_failed(fleet.now, load);
    fleet.settle();
    assert_eq!(fleet.loads[0].1, id(1));
    let load = fleet.loads[0].0;
    fleet.loads.clear();
    fleet.scheduler.load_failed(fleet.now, load);
    fleet.settle();
    assert_eq!(fleet.loads, []);
    assert!(matches!(
        fleet.refusals()[..],
        [(_, NoSlot::CannotLoad { .. })]
    ));
}

#[test]
fn a_pinned_request_and_one_without_placement_start_as_they_are() {
    let mut fleet = Fleet::own(1);
    fleet.show(0, &[stored(A, None, &[])], &[copy(A, Some(4 * K))]);
    let pinned = fleet.arrive(Arrival {
        pinned: Some(id(0)),
        ..needing(A, 20_000)
    });
    assert_eq!(fleet.started(), [(pinned, id(0), true)]);
    let mut fleet = Fleet::own(0);
    fleet.join(BackendSpec {
        placement: Placement::Off,
        ..spec(0)
    });
    fleet.show(0, &[stored(A, Some(8 * K), &[])], &[copy(A, Some(4 * K))]);
    let unplaced = fleet.arrive(needing(A, 20_000));
    assert_eq!(fleet.started()[0].0, unplaced);
}

#[test]
fn what_a_copy_needs_until_its_first_content_is_expected_as_it_has_been() {
    let mut fleet = Fleet::own(2);
    let on_disk = [stored(A, None, &[])];
    fleet.show(0, &on_disk, &[copy(A, Some(32 * K))]);
    let ticket = fleet.arrive(needing(A, 1000));
    let outcome = RunOutcome {
        prompt: Some((1000, secs(2.0))),
        output: Some((50, secs(1.0))),
        ..answered(0.0)
    };
    fleet.scheduler.complete(fleet.now, ticket, outcome);
    fleet.settle();
    let expected = |fleet: &Fleet, id, arrival: Arrival| {
        let (_, expected) = fleet
            .scheduler
            .expected_start(fleet.now, id, &arrival, None);
        expected
    };
    let prefill = secs(6.0);
    let shown = expected(&fleet, id(0), needing(A, 3000));
    assert_eq!(
        (shown.queue, shown.load, shown.prefill),
        (secs(0.0), secs(0.0), prefill)
    );
    assert_eq!(shown.total(), prefill);
    // What waits for a load is told what is left of it; a copy that was never used is taken to be as fast as others.
    fleet.show(1, &on_disk, &[]);
    fleet.arrive(needing(A, 40_000));
    let load = fleet.loads.last().unwrap();
    assert_eq!(load.1, id(1));
    let all = fleet.scheduler.load_of(fleet.now, A).unwrap().expected;
    fleet.pass(1.0);
    let shown = expected(&fleet, id(1), needing(A, 3000));
    assert_eq!((shown.load, shown.prefill), (all - secs(1.0), prefill));
}

#[test]
fn a_copy_that_runs_on_the_cpu_in_part_is_used_where_no_other_is_free() {
    let mut fleet = Fleet::own(2);
    let on_disk = [stored(A, None, &[])];
    let spilled = LoadedModel {
        vram: 4 * GIB,
        ..copy(A, Some(4 * K))
    };
    fleet.show(0, &on_disk, &[spilled]);
    fleet.show(1, &on_disk, &[copy(A, Some(4 * K))]);
    let first = fleet.arrive(request(A));
    let second = fleet.arrive(request(A));
    assert_eq!(
        fleet.started(),
        [(first, id(1), false), (second, id(0), false)]
    );
}
