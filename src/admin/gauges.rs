//! Brings the gauges up to date when they are scraped, so that nothing pays for them meanwhile.

use std::time::{Instant, SystemTime};

use ahash::{AHashMap, AHashSet};

use super::copies::{CONDITIONS, called};
use super::digests::mixed;
use super::slots::Slots;
use crate::access::Visibility;
use crate::admission::{CopyView, Dispatcher};
use crate::fleet::{Backend, BreakerState, Fleet, Inventory, Provider};
use crate::ids::{BackendId, ModelId};
use crate::metrics::{CopyMetrics, FleetMetrics, GuardMetrics, Metrics};

/// Sets every gauge that is read from the fleet and the queue.
pub fn refresh(metrics: &Metrics, fleet: &Fleet, dispatcher: &Dispatcher) {
    let queue = dispatcher.snapshot();
    let waiting = as_gauge(queue.waiting as u64);
    metrics.downstream.queue_depth.set(waiting);
    if let Some(bytes) = resident_memory() {
        metrics.process.resident_memory.set(as_gauge(bytes));
    }
    for vector in [
        &metrics.fleet.backend_healthy,
        &metrics.fleet.backend_in_flight,
        &metrics.fleet.backend_vram,
        &metrics.fleet.models_loaded,
        &metrics.fleet.model_digests,
        &metrics.copies.slots,
        &metrics.guards.breaker_state,
        &metrics.guards.model_breaker_state,
    ] {
        // Backends and models that are gone must not be reported for ever.
        vector.reset();
    }
    let copies = dispatcher.copies();
    let snapshot = fleet.snapshot();
    let slots = Slots::of(&queue);
    for provider in fleet.providers() {
        let mine: Vec<&Backend> = snapshot
            .iter()
            .map(|backend| &**backend)
            .filter(|backend| backend.provider.id == provider.id)
            .collect();
        backend_gauges(&metrics.fleet, &provider.name, &mine);
        for model in mixed(provider, &mine, Visibility::ALL) {
            let labels = [&*provider.name, &*model.name];
            let digests = metrics.fleet.model_digests.with_label_values(&labels);
            digests.set(as_gauge(model.count() as u64));
        }
        provider_gauges(&metrics.fleet, fleet, (&provider.name, &slots), &mine);
        guard_gauges(&metrics.guards, provider, &mine);
        if provider.settings.kind.is_fleet() {
            let ids: AHashSet<BackendId> = mine.iter().map(|backend| backend.id).collect();
            let copies = copies.iter().filter(|copy| ids.contains(&copy.backend));
            copy_gauges(&metrics.copies, &provider.name, copies.clone());
            slot_gauges(&metrics.copies, fleet, (&provider.name, &slots), copies);
        }
    }
}

/// Sets how many of a provider's copies are in each condition.
fn copy_gauges<'a>(
    gauges: &CopyMetrics,
    provider: &str,
    copies: impl Iterator<Item = &'a CopyView>,
) {
    let mut counts = CONDITIONS.map(|condition| (condition, 0));
    for copy in copies {
        let (condition, _) = called(copy.condition);
        for (name, count) in &mut counts {
            *count += i64::from(*name == condition);
        }
    }
    for (condition, count) in counts {
        let labels = [provider, condition];
        gauges.conditions.with_label_values(&labels).set(count);
    }
}

/// Sets how many requests the copies of each of a provider's models serve at once, within the bounds of their servers.
fn slot_gauges<'a>(
    gauges: &CopyMetrics,
    fleet: &Fleet,
    (provider, all_slots): (&str, &Slots),
    copies: impl Iterator<Item = &'a CopyView>,
) {
    let mut slots: AHashMap<ModelId, i64> = AHashMap::new();
    for copy in copies {
        let Some(server) = fleet.backend(copy.backend) else {
            continue;
        };
        let here = copy.parallel.min(all_slots.at(&server));
        *slots.entry(copy.model).or_default() += i64::from(here);
    }
    for (model, slots) in slots {
        if let Some(name) = fleet.models().name(model) {
            let labels = [provider, &*name];
            gauges.slots.with_label_values(&labels).set(slots);
        }
    }
}

fn guard_gauges(gauges: &GuardMetrics, provider: &Provider, backends: &[&Backend]) {
    let now = Instant::now();
    let status = provider.guard().status(now);
    let name = &*provider.name;
    let state = |state| match state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    };
    let breaker = |backend| gauges.breaker_state.with_label_values(&[name, backend]);
    breaker("").set(state(status.breaker));
    for backend in backends {
        breaker(&backend.name).set(state(backend.breaker(now)));
    }
    for model in provider.guard().models(now) {
        gauges
            .model_breaker_state
            .with_label_values(&[name, &*model.name])
            .set(state(model.breaker));
    }
    let limit = status.limit.map_or(-1, |limit| as_gauge(limit as u64));
    gauges
        .concurrency_limit
        .with_label_values(&[name])
        .set(limit);
    gauges
        .keys_set_aside
        .with_label_values(&[name])
        .set(as_gauge(status.keys_set_aside as u64));
}

/// Sets what is told of each backend by itself.
fn backend_gauges(gauges: &FleetMetrics, provider: &str, backends: &[&Backend]) {
    for backend in backends {
        let labels = [provider, &*backend.name];
        let inventory = backend.inventory();
        let loaded = inventory.loaded.iter();
        let vram: u64 = loaded.map(|loaded| loaded.entry.size_vram).sum();
        gauges
            .backend_healthy
            .with_label_values(&labels)
            .set(i64::from(backend.healthy()));
        gauges
            .backend_in_flight
            .with_label_values(&labels)
            .set(i64::from(backend.in_flight()));
        gauges
            .backend_vram
            .with_label_values(&labels)
            .set(as_gauge(vram));
    }
}

/// Sets what is told of a provider's healthy backends together.
fn provider_gauges(
    gauges: &FleetMetrics,
    fleet: &Fleet,
    (provider, all_slots): (&str, &Slots),
    backends: &[&Backend],
) {
    let mut slots = 0;
    let mut used = 0;
    let mut healthy = 0;
    let mut on_disk = AHashSet::new();
    let mut loaded: AHashMap<ModelId, i64> = AHashMap::new();
    for backend in backends.iter().filter(|backend| backend.healthy()) {
        let inventory = backend.inventory();
        healthy += 1;
        let here = all_slots.at(backend);
        slots += i64::from(here);
        used += i64::from(backend.in_flight().min(here));
        on_disk.extend(inventory.models.iter().map(|(model, _)| *model));
        on_disk.extend(inventory.offers().iter().filter_map(|offer| offer.full));
        for model in in_memory(&inventory) {
            *loaded.entry(model).or_default() += 1;
        }
    }
    let unhealthy = i64::try_from(backends.len()).unwrap_or(i64::MAX) - healthy;
    let on_disk = as_gauge(on_disk.len() as u64);
    for (vector, labels, value) in [
        (&gauges.slots, &[provider][..], slots),
        (&gauges.slots_used, &[provider], used),
        (&gauges.backends, &[provider, "healthy"], healthy),
        (&gauges.backends, &[provider, "unhealthy"], unhealthy),
        (&gauges.models_available, &[provider], on_disk),
    ] {
        vector.with_label_values(labels).set(value);
    }
    for (model, copies) in loaded {
        if let Some(name) = fleet.models().name(model) {
            gauges
                .models_loaded
                .with_label_values(&[provider, &*name])
                .set(copies);
        }
    }
}

/// Returns the models that a backend has in memory and is not about to unload.
fn in_memory(inventory: &Inventory) -> impl Iterator<Item = ModelId> {
    let now = SystemTime::now();
    let lasts = move |until: Option<SystemTime>| until.is_none_or(|at| at > now);
    let loaded = inventory.loaded.iter();
    let loaded = loaded.filter(move |one| lasts(one.entry.expires_at));
    loaded.map(|one| one.model)
}

fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Returns the resident memory in bytes, from `/proc/self/statm` (proc(5): the second field counts pages).
fn resident_memory() -> Option<u64> {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE)
}
