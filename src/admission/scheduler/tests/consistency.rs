//! The indices against the state that they are made of, computed anew.

use std::collections::BTreeSet;

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
        let ready = placed.filter(|b| b.free_for(*model_id) && b.holds(*model_id));
        assert_eq!(listed(&model.ready), ready.map(|b| b.id).collect());
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

fn listed(ready: &Ready) -> BTreeSet<BackendId> {
    ready.ids().collect()
}
