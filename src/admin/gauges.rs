//! Brings the gauges up to date when they are scraped, so that nothing pays for them meanwhile.

use std::time::Instant;

use ahash::{AHashMap, AHashSet};

use crate::admission::Dispatcher;
use crate::fleet::{Backend, BreakerState, Fleet, Provider};
use crate::metrics::Metrics;

/// Sets every gauge that is read from the fleet and the queue.
pub fn refresh(metrics: &Metrics, fleet: &Fleet, dispatcher: &Dispatcher) {
    let queue = dispatcher.snapshot();
    metrics.queue_depth.set(as_gauge(queue.waiting as u64));
    if let Some(bytes) = resident_memory() {
        metrics.resident_memory.set(as_gauge(bytes));
    }
    for vector in [
        &metrics.backend_healthy,
        &metrics.backend_in_flight,
        &metrics.backend_vram,
        &metrics.models_loaded,
        &metrics.breaker_state,
        &metrics.model_breaker_state,
    ] {
        // Backends and models that are gone must not be reported for ever.
        vector.reset();
    }
    let snapshot = fleet.snapshot();
    for provider in fleet.providers() {
        let mine: Vec<&Backend> = snapshot
            .iter()
            .map(|backend| &**backend)
            .filter(|backend| backend.provider.id == provider.id)
            .collect();
        provider_gauges(metrics, fleet, &provider.name, &mine);
        guard_gauges(metrics, provider, &mine);
    }
}

fn guard_gauges(metrics: &Metrics, provider: &Provider, backends: &[&Backend]) {
    let now = Instant::now();
    let status = provider.guard().status(now);
    let name = &*provider.name;
    let state = |state| match state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    };
    metrics
        .breaker_state
        .with_label_values(&[name, ""])
        .set(state(status.breaker));
    for model in provider.guard().models(now) {
        metrics
            .model_breaker_state
            .with_label_values(&[name, &*model.name])
            .set(state(model.breaker));
    }
    for backend in backends {
        metrics
            .breaker_state
            .with_label_values(&[name, &*backend.name])
            .set(state(backend.breaker(now)));
    }
    let limit = status.limit.map_or(-1, |limit| as_gauge(limit as u64));
    metrics
        .concurrency_limit
        .with_label_values(&[name])
        .set(limit);
    metrics
        .keys_set_aside
        .with_label_values(&[name])
        .set(as_gauge(status.keys_set_aside as u64));
}

fn provider_gauges(metrics: &Metrics, fleet: &Fleet, provider: &str, backends: &[&Backend]) {
    let mut slots = 0;
    let mut used = 0;
    let mut healthy = 0;
    let mut on_disk = AHashSet::new();
    let mut loaded: AHashMap<_, i64> = AHashMap::new();
    for backend in backends {
        let labels = [provider, &*backend.name];
        let inventory = backend.inventory();
        let vram: u64 = inventory
            .loaded
            .iter()
            .map(|loaded| loaded.entry.size_vram)
            .sum();
        metrics
            .backend_healthy
            .with_label_values(&labels)
            .set(i64::from(backend.healthy()));
        metrics
            .backend_in_flight
            .with_label_values(&labels)
            .set(i64::from(backend.in_flight()));
        metrics
            .backend_vram
            .with_label_values(&labels)
            .set(as_gauge(vram));
        if !backend.healthy() {
            continue;
        }
        healthy += 1;
        slots += i64::from(backend.slots);
        used += i64::from(backend.in_flight().min(backend.slots));
        on_disk.extend(inventory.models.iter().map(|(model, _)| *model));
        on_disk.extend(inventory.offers().iter().filter_map(|offer| offer.full));
        for one in &inventory.loaded {
            if one
                .entry
                .expires_at
                .is_none_or(|at| at > std::time::SystemTime::now())
            {
                *loaded.entry(one.model).or_default() += 1;
            }
        }
    }
    metrics.slots.with_label_values(&[provider]).set(slots);
    metrics.slots_used.with_label_values(&[provider]).set(used);
    metrics
        .backends
        .with_label_values(&[provider, "healthy"])
        .set(healthy);
    let unhealthy = i64::try_from(backends.len()).unwrap_or(i64::MAX) - healthy;
    metrics
        .backends
        .with_label_values(&[provider, "unhealthy"])
        .set(unhealthy);
    metrics
        .models_available
        .with_label_values(&[provider])
        .set(as_gauge(on_disk.len() as u64));
    for (model, copies) in loaded {
        if let Some(name) = fleet.models().name(model) {
            metrics
                .models_loaded
                .with_label_values(&[provider, &*name])
                .set(copies);
        }
    }
}

fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Bytes, from `/proc/self/statm` (proc(5): the second field counts pages).
fn resident_memory() -> Option<u64> {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE)
}
