//! The pages, each made from one snapshot of the fleet.

use bytes::Bytes;
use serde::Serialize;

use crate::dialect::ollama;
use crate::fleet::{Backend, Fleet};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Page {
    pub fn text(body: &'static str) -> Self {
        Self {
            status: 200,
            content_type: TEXT,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    /// `{"error":"…"}`
    pub fn error(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: JSON,
            body: ollama::error_body(text),
        }
    }

    pub fn raw_json(body: Bytes) -> Self {
        Self {
            status: 200,
            content_type: JSON,
            body,
        }
    }

    /// # Panics
    /// Never for the types of this module: they hold no maps with keys that are not strings.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("pages are plain structs");
        Self {
            status,
            content_type: JSON,
            body: body.into(),
        }
    }
}

/// `GET /`.
pub fn root() -> Page {
    Page::text(ollama::RUNNING)
}

/// `GET /api/version`: the oldest of the fleet, so that no client counts on what a backend lacks.
pub fn version(fleet: &Fleet) -> Page {
    #[derive(Serialize)]
    struct Version {
        version: String,
    }
    let snapshot = fleet.snapshot();
    let version = snapshot
        .iter()
        .filter(|backend| backend.healthy())
        .map(|backend| backend.inventory().version.clone())
        .filter(|version| !version.is_empty())
        .min_by_key(|version| numbers(version))
        .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    Page::json(200, &Version { version })
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0))
        .collect()
}

/// `GET /api/tags` over all healthy backends.
pub fn tags(fleet: &Fleet) -> Page {
    let inventories = healthy_inventories(fleet);
    let entries = inventories
        .iter()
        .flat_map(|(_, inventory)| inventory.models.iter().map(|(_, entry)| entry));
    Page::raw_json(ollama::merge_tags(entries))
}

/// `GET /v1/models` over all healthy backends, in the fields that Ollama gives there.
pub fn openai_models(fleet: &Fleet) -> Page {
    #[derive(Serialize)]
    struct Listing {
        object: &'static str,
        data: Vec<Model>,
    }
    #[derive(Serialize)]
    struct Model {
        id: String,
        object: &'static str,
        created: u64,
        owned_by: String,
    }
    let inventories = healthy_inventories(fleet);
    let mut entries: Vec<_> = inventories
        .iter()
        .flat_map(|(_, inventory)| &inventory.models)
        .collect();
    entries.sort_by_key(|(model, entry)| (*model, std::cmp::Reverse(entry.modified_at)));
    entries.dedup_by_key(|(model, _)| *model);
    entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.modified_at));
    let data = entries
        .into_iter()
        .map(|(_, entry)| Model {
            id: entry.name.clone(),
            object: "model",
            created: entry
                .modified_at
                .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
                .map_or(0, |since| since.as_secs()),
            owned_by: owner(&entry.name).to_owned(),
        })
        .collect();
    Page::json(
        200,
        &Listing {
            object: "list",
            data,
        },
    )
}

/// The namespace of `[host/][namespace/]model`; Ollama's own models belong to `library`.
fn owner(name: &str) -> &str {
    name.rsplit('/').nth(1).unwrap_or("library")
}

/// `GET /api/ps` over all healthy backends; with `expose`, each row names its backend.
pub fn ps(fleet: &Fleet, expose: bool) -> Page {
    let inventories = healthy_inventories(fleet);
    let entries = inventories.iter().flat_map(|(name, inventory)| {
        let backend = expose.then_some(&**name);
        inventory
            .loaded
            .iter()
            .map(move |loaded| (&loaded.entry, backend))
    });
    Page::raw_json(ollama::merge_ps(entries))
}

fn healthy_inventories(
    fleet: &Fleet,
) -> Vec<(std::sync::Arc<str>, std::sync::Arc<crate::fleet::Inventory>)> {
    fleet
        .snapshot()
        .iter()
        .filter(|backend| backend.healthy())
        .map(|backend| (backend.name.clone(), backend.inventory()))
        .collect()
}

/// Number of healthy backends.
pub fn healthy_backends(fleet: &Fleet) -> usize {
    fleet
        .snapshot()
        .iter()
        .filter(|backend| backend.healthy())
        .count()
}

/// `GET /__proxy/backends`: sorted by port. `port`, `healthy` and `in_flight` are what clients of the
/// port-range balancer read.
pub fn backends(fleet: &Fleet) -> Page {
    #[derive(Serialize)]
    struct Listing {
        backends: Vec<Row>,
    }
    let snapshot = fleet.snapshot();
    let mut backends: Vec<Row> = snapshot.iter().map(|backend| Row::of(backend)).collect();
    backends.sort_by_key(|row| row.port);
    Page::json(200, &Listing { backends })
}

#[derive(Serialize)]
struct Row {
    port: u16,
    healthy: bool,
    in_flight: u32,
    name: String,
    provider: String,
    slots: u32,
    models: Vec<String>,
    loaded: Vec<LoadedRow>,
    version: String,
    response_time_ms: u64,
}

#[derive(Serialize)]
struct LoadedRow {
    name: String,
    size_vram: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Row {
    fn of(backend: &Backend) -> Self {
        let inventory = backend.inventory();
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
                .collect(),
            loaded: inventory
                .loaded
                .iter()
                .map(|loaded| LoadedRow::of(&loaded.entry))
                .collect(),
            version: inventory.version.clone(),
            response_time_ms: u64::try_from(
                backend.response_time(std::time::Instant::now()).as_millis(),
            )
            .unwrap_or(u64::MAX),
        }
    }
}

impl LoadedRow {
    fn of(entry: &ollama::LoadedEntry) -> Self {
        LoadedRow {
            name: entry.name.clone(),
            size_vram: entry.size_vram,
            expires_at: entry
                .expires_at
                .map(|at| chrono::DateTime::<chrono::Utc>::from(at).to_rfc3339()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_belongs_to_its_namespace() {
        assert_eq!(owner("llama3.2:latest"), "library");
        assert_eq!(owner("registry.example/team/model:7b"), "team");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.9.2") < numbers("0.12.0"));
        assert!(numbers("0.12.0-rc1") > numbers("0.12.0"));
    }
}
