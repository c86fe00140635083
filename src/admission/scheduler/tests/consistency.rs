//! The indices against the state that they are made of, computed anew.

use std::collections::BTreeSet;

use super::super::resident::Resident;
use super::*;

pub(super) fn check(scheduler: &Scheduler) {
    let backends = scheduler.backends.values();
    let free: BTreeSet<_> = backends
        .clone()
        .filter(|b| b.free())
        .map(|b| b.id)
        .collect();
    assert_eq!(listed(&scheduler.free), free);
    let spare: BTreeSet<_> = backends
        .clone()
        .filter(|b| b.spare())
        .map(|b| (b.resident.len(), b.id))
        .collect();
    assert_eq!(scheduler.spare, spare);
    for (model_id, model) in &scheduler.models {
        let there = backends.clone().filter(|b| !b.gone);
        let on_disk: BTreeSet<_> = there
            .clone()
            .filter(|b| b.has(*model_id))
            .map(|b| b.id)
            .collect();
        assert_eq!(model.on_disk, on_disk);
        let healthy = there
            .clone()
            .filter(|b| b.has(*model_id) && b.healthy)
            .count();
        assert_eq!(model.healthy, healthy);
        let placed = there.clone().filter(|b| b.placed() && b.healthy);
        let copies = placed.clone().flat_map(|b| {
            let copies = b.copies().filter(|(held, _)| held == model_id);
            copies.map(|(_, tokens)| (tokens, b.id)).collect::<Vec<_>>()
        });
        assert_eq!(model.copies, copies.collect());
        let held = placed.filter_map(|b| Some((b, b.resident(*model_id)?)));
        let drained = held.clone().filter(|(_, copy)| copy.is_draining());
        assert_eq!(model.drained, drained.map(|(b, _)| b.id).collect());
        let ready = held.filter(|(b, copy)| b.free_for(*model_id) && !copy.is_draining());
        assert_eq!(listed(&model.ready), ready.map(|(b, _)| b.id).collect());
        no_last_copy_is_drained(*model_id, scheduler);
    }
    let healthy: Vec<_> = backends.clone().filter(|b| b.healthy).collect();
    assert_eq!(scheduler.healthy, healthy.len());
    assert_eq!(
        scheduler.slots,
        healthy.iter().map(|b| b.capacity() as usize).sum::<usize>()
    );
    assert_eq!(
        scheduler.known,
        backends.clone().filter(|b| b.known && !b.gone).count()
    );
    let jobs: usize = backends.map(|b| b.jobs.len()).sum();
    assert_eq!(jobs, scheduler.running.len());
    let in_flight: usize = scheduler.providers.values().map(|p| p.in_flight).sum();
    assert_eq!(in_flight, jobs);
}

/// For each copy that is left alone there is another of its provider that does all it does and is not slow.
fn no_last_copy_is_drained(model_id: ModelId, scheduler: &Scheduler) {
    let model = &scheduler.models[&model_id];
    let copy = |id: &BackendId| {
        let backend = &scheduler.backends[id];
        (backend.spec.provider, backend.resident(model_id).copied())
    };
    for drained in &model.drained {
        let (provider, Some(left)) = copy(drained) else {
            panic!("{drained:?} is left alone and has no copy")
        };
        let does = |(_, id): &(u32, BackendId)| {
            let (of, other) = copy(id);
            let fits = |other: Resident| other.tokens >= left.tokens && !other.is_slow();
            of == provider && other.is_some_and(fits)
        };
        assert!(model.copies.iter().any(does), "{drained:?} is the last");
    }
}

fn listed(ready: &Ready) -> BTreeSet<BackendId> {
    ready.ids().collect()
}
