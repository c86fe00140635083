//! `/__proxy/backends`: every backend, what it has, and what is wrong with it.

use ahash::AHashMap;
use serde::Serialize;

use super::introspection::Introspection;
use super::loading::{self, LoadRow};
use super::page::Page;
use super::slots::Slots;
use super::state::{Down, unresolved_names};
use crate::access::Visibility;
use crate::fleet::Backend;
use crate::ids::{BackendId, ModelId};
use crate::routing::Unresolved;
use remuda_formats::dialect::ollama;

/// How many requests copies serve at once.
type Parallel = AHashMap<(BackendId, ModelId), u32>;

/// Answers `GET /__proxy/backends`: sorted by port. `port`, `healthy` and `in_flight` are what clients of the
/// port-range balancer read. A key sees what it may ask, and of it the models that it may use.
pub(super) fn page(from: &Introspection, view: Visibility<'_>) -> Page {
    #[derive(Serialize)]
    struct Listing {
        backends: Vec<Row>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unresolved: Vec<UnresolvedRow>,
        /// Names of the configuration that come to nothing.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unresolved_names: Vec<Unresolved>,
    }
    let fleet = &from.fleet;
    let snapshot = fleet.snapshot();
    let view = view.unfiltered();
    let slots = Slots::now(&from.dispatcher);
    let copies = from.dispatcher.copies().into_iter();
    let bounded = copies.filter(|copy| copy.parallel != u32::MAX);
    let parallel: Parallel = bounded
        .map(|copy| ((copy.backend, copy.model), copy.parallel))
        .collect();
    let mut loads = loading::all(fleet, &from.dispatcher, view);
    let seen = snapshot
        .iter()
        .filter(|backend| view.asks(&backend.provider.name));
    let rows = seen.map(|backend| Row {
        slots: slots.at(backend),
        loading: loads
            .iter()
            .position(|(server, _)| server.id == backend.id)
            .map(|index| loads.swap_remove(index).1.unnamed()),
        ..Row::of(backend, &parallel, view)
    });
    let mut backends: Vec<Row> = rows.collect();
    backends.sort_by_key(|row| row.port);
    let providers = fleet.providers();
    let seen = providers.filter(|provider| view.asks(&provider.name));
    let unresolved = seen.flat_map(|provider| {
        let names = provider.unresolved().into_iter();
        names.map(|one| UnresolvedRow {
            name: one.name,
            provider: provider.name.to_string(),
            trouble: Some(one.trouble).into(),
        })
    });
    let unresolved = unresolved.collect();
    let listing = Listing {
        backends,
        unresolved,
        unresolved_names: unresolved_names(&from.router, view),
    };
    Page::json(200, &listing)
}

/// A name of the configuration that is no backend, as it cannot be resolved.
#[derive(Serialize)]
struct UnresolvedRow {
    name: String,
    provider: String,
    #[serde(flatten)]
    trouble: Down,
}

#[derive(Serialize)]
struct Row {
    port: u16,
    healthy: bool,
    in_flight: u32,
    name: String,
    provider: String,
    /// Its bound, or else what its models in memory take at once, as far as that has been learned.
    slots: u32,
    models: Vec<String>,
    loaded: Vec<LoadedRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loading: Option<LoadRow>,
    version: String,
    response_time_ms: u64,
    /// While it is not healthy.
    #[serde(flatten)]
    trouble: Down,
}

#[derive(Serialize)]
struct LoadedRow {
    name: String,
    size_vram: u64,
    /// Requests that it serves at once, as stated or learned; absent where only its server is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Row {
    fn of(backend: &Backend, parallel: &Parallel, view: Visibility<'_>) -> Self {
        let inventory = backend.inventory();
        let shows = |name: &str| view.shows(&backend.provider.name, &[name]);
        Row {
            port: backend.port(),
            healthy: backend.healthy(),
            in_flight: backend.in_flight(),
            name: backend.name.to_string(),
            provider: backend.provider.name.to_string(),
            slots: backend.slots,
            models: inventory
                .models
                .iter()
                .map(|(_, entry)| entry.name.clone())
                .chain(
                    inventory
                        .offers()
                        .iter()
                        .map(|offer| offer.name.to_string()),
                )
                .filter(|name| shows(name))
                .collect(),
            loaded: inventory
                .loaded
                .iter()
                .filter(|loaded| shows(&loaded.entry.name))
                .map(|loaded| LoadedRow {
                    parallel: parallel.get(&(backend.id, loaded.model)).copied(),
                    ..LoadedRow::of(&loaded.entry)
                })
                .collect(),
            loading: None,
            version: inventory.version.clone(),
            response_time_ms: u64::try_from(
                backend.response_time(std::time::Instant::now()).as_millis(),
            )
            .unwrap_or(u64::MAX),
            trouble: backend.trouble().into(),
        }
    }
}

impl LoadedRow {
    fn of(entry: &ollama::LoadedEntry) -> Self {
        LoadedRow {
            name: entry.name.clone(),
            size_vram: entry.size_vram,
            parallel: None,
            expires_at: entry
                .expires_at
                .map(|at| chrono::DateTime::<chrono::Utc>::from(at).to_rfc3339()),
        }
    }
}
