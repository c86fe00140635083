//! The pages, each made from one snapshot of the fleet.

use std::time::Duration;

use ahash::AHashSet;
use bytes::Bytes;
use serde::Serialize;

use super::aliases::{self, Sources};
use super::hosted;
use super::introspection::unix;
use super::listing::{self, Listed, bare};
use crate::access::View;
use crate::dialect::ollama::{self, ErrorStyle};
use crate::facts::Facts;
use crate::fleet::{Backend, Fleet, Provider, Trouble};
use crate::ids::ModelId;
use crate::routing::{Router, Unresolved};
use crate::settings::ModelNames;

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The version of Ollama's API that this gateway speaks where no Ollama server tells its own. Clients refuse one that
/// is too old, and such as are no plain numbers.
const OLLAMA_VERSION: &str = "0.33.0";

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
    /// For `Age`: how old a part of it may be.
    pub age: Option<Duration>,
    /// For `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl Page {
    pub fn new(status: u16, content_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            content_type,
            body,
            age: None,
            retry_after: None,
        }
    }

    pub fn text(body: &'static str) -> Self {
        Self::new(200, TEXT, Bytes::from_static(body.as_bytes()))
    }

    /// `{"error":"…"}`
    pub fn error(status: u16, text: &str) -> Self {
        Self::new(status, JSON, ollama::error_body(text))
    }

    pub fn raw_json(body: Bytes) -> Self {
        Self::new(200, JSON, body)
    }

    /// # Panics
    /// Never for the types of this module: they hold no maps with keys that are not strings.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("pages are plain structs");
        Self::new(status, JSON, body.into())
    }

    /// A list of models, of which some are of backends that are down.
    pub(super) fn with_age(self, fleet: &Fleet) -> Self {
        Self {
            age: listing::age(fleet),
            ..self
        }
    }

    /// In place of an empty list, while somebody may have models.
    pub(super) fn nothing_known(fleet: &Fleet, style: ErrorStyle) -> Self {
        fleet.missed_by_a_request();
        let text = "no models are known: not all backends have answered yet, /health says why";
        Self {
            retry_after: Some(1),
            ..Self::new(503, JSON, style.body(503, text))
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
    let healthy = snapshot.iter().filter(|backend| backend.healthy());
    let version = oldest(healthy.map(|backend| backend.inventory().version.clone()));
    let version = version.unwrap_or_else(|| OLLAMA_VERSION.to_owned());
    Page::json(200, &Version { version })
}

/// The oldest that is one, as Ollama's clients read it: a build from source says `0.0.0`, and some say nothing.
fn oldest(versions: impl Iterator<Item = String>) -> Option<String> {
    let stated = versions.filter_map(|version| plain(&version));
    stated
        .filter(|version| numbers(version).iter().any(|number| *number > 0))
        .min_by_key(|version| numbers(version))
}

/// A version of three numbers (Semantic Versioning 2.0.0), with what follows them, such as `-rc1`. Of one that is written
/// otherwise, such as `v0.3`, the numbers are kept; `None` if it has none.
fn plain(version: &str) -> Option<String> {
    const LONGEST: usize = 64;
    let bare = version.trim().trim_start_matches(['v', 'V']);
    let end = bare
        .find(|character: char| !(character.is_ascii_digit() || character == '.'))
        .unwrap_or(bare.len());
    let (core, rest) = bare.split_at(end);
    let read = core.split('.').map(str::parse);
    let mut numbers: Vec<u64> = read.collect::<Result<_, _>>().ok()?;
    let exact = numbers.len() == 3;
    numbers.resize(3, 0);
    let suffix = |character: char| character.is_ascii_alphanumeric() || "-+.".contains(character);
    let kept = exact
        && rest.len() <= LONGEST
        && rest.starts_with(['-', '+'])
        && rest.len() > 1
        && rest.chars().all(suffix);
    let [major, minor, patch] = numbers[..] else {
        return None;
    };
    let rest = if kept { rest } else { "" };
    Some(format!("{major}.{minor}.{patch}{rest}"))
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0))
        .collect()
}

/// `GET /api/tags` over all backends, as they are known; the models of services are `provider/model`, and names that stand
/// for models that are there have rows of their own.
pub fn tags(from: Sources<'_>, view: View<'_>) -> Page {
    let Sources { fleet, facts, .. } = from;
    let backends = listing::known(fleet);
    let all = backends.iter().flat_map(|(backend, inventory)| {
        let provider = &*backend.provider.name;
        let entries = inventory.models.iter().map(|(_, entry)| entry);
        entries.map(move |entry| (provider, entry))
    });
    let is_empty = backends.iter().all(|(_, it)| it.sizes().next().is_none());
    if is_empty && fleet.has_unknown() {
        return Page::nothing_known(fleet, ErrorStyle::Ollama);
    }
    let models = listing::askable(listing::models(fleet, view), from.router, view);
    let mut hosted = hosted::rows(&models, facts, from.settings.server.model_names);
    let aliases = aliases::all(from, view, true);
    let aliased: AHashSet<String> = aliases.iter().map(|one| bare(&one.name)).collect();
    hosted.retain(|row| !aliased.contains(&bare(&row.name)));
    hosted.extend(aliases::rows(from, &aliases));
    let on_servers = all.filter(|(provider, entry)| {
        !aliased.contains(&bare(&entry.name))
            && view.shows(provider, &[&entry.name])
            && from
                .router
                .leads_somewhere(&entry.name, provider, view.permission())
    });
    let merged = ollama::merge_tags(on_servers.map(|(_, entry)| entry).chain(&hosted));
    Page::raw_json(merged).with_age(fleet)
}

/// The models of one provider, as [`tags`] has those of all; without aliases, which belong to no provider.
pub(super) fn tags_of(
    fleet: &Fleet,
    facts: &Facts,
    names: ModelNames,
    provider: &Provider,
    view: View<'_>,
) -> Page {
    let backends = listing::known(fleet);
    let mine = backends
        .iter()
        .filter(|(backend, _)| backend.provider.id == provider.id);
    if fleet.is_unknown(provider)
        && mine
            .clone()
            .all(|(_, inventory)| inventory.sizes().count() == 0)
    {
        return Page::nothing_known(fleet, ErrorStyle::Ollama);
    }
    let on_servers = mine
        .flat_map(|(_, inventory)| inventory.models.iter().map(|(_, entry)| entry))
        .filter(|entry| view.shows(&provider.name, &[&entry.name]));
    let mut models = listing::models(fleet, view);
    models.retain(|model| model.provider == provider.name);
    let hosted = hosted::rows(&models, facts, names);
    Page::raw_json(ollama::merge_tags(on_servers.chain(&hosted))).with_age(fleet)
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

impl<'a> From<&'a Listed> for OpenAiModel<'a> {
    fn from(model: &'a Listed) -> Self {
        OpenAiModel {
            id: &model.id,
            object: "model",
            created: model.created,
            owned_by: &model.owned_by,
        }
    }
}

/// The models of `/v1/models`: each once, and the operator's names for them.
pub fn models(from: Sources<'_>, view: View<'_>) -> Vec<Listed> {
    let models = listing::askable(listing::models(from.fleet, view), from.router, view);
    let aliases = aliases::all(from, view, false);
    listing::once(models, aliases::models(from, &aliases))
}

/// `GET /v1/models` over all backends, as they are known.
pub fn openai_models(from: Sources<'_>, view: View<'_>) -> Page {
    #[derive(Serialize)]
    struct Listing<'a> {
        object: &'static str,
        data: Vec<OpenAiModel<'a>>,
    }
    let fleet = from.fleet;
    let models = models(from, view);
    if models.is_empty() && fleet.has_unknown() {
        return Page::nothing_known(fleet, ErrorStyle::OpenAi);
    }
    let listing = Listing {
        object: "list",
        data: models.iter().map(OpenAiModel::from).collect(),
    };
    Page::json(200, &listing).with_age(fleet)
}

/// `GET /v1/models/{id}` for a name of the operator's, whose model its provider may not list.
pub fn openai_alias(from: Sources<'_>, name: &str, view: View<'_>) -> Option<Page> {
    let aliases = aliases::all(from, view, false);
    let models = aliases::models(from, &aliases);
    let mut named = models.iter().filter(|one| bare(&one.id) == bare(name));
    let found = OpenAiModel {
        id: name,
        ..named.next()?.into()
    };
    Some(Page::json(200, &found).with_age(from.fleet))
}

/// `GET /v1/models/{id}` for a model that clients may call `name`; `None` if no backend is known to have it.
pub fn openai_model(fleet: &Fleet, wanted: ModelId, name: &str) -> Option<Page> {
    let models = listing::models(fleet, View::ALL);
    let found = models
        .iter()
        .find(|model| fleet.models().lookup(&model.id) == Some(wanted))?;
    let found = OpenAiModel {
        id: name,
        ..found.into()
    };
    Some(Page::json(200, &found).with_age(fleet))
}

/// `GET /api/ps` over all healthy backends; with `expose`, each row names its backend.
pub fn ps(fleet: &Fleet, expose: bool, view: View<'_>) -> Page {
    let backends = listing::healthy(fleet);
    let entries = backends.iter().flat_map(|(backend, inventory)| {
        let provider = &backend.provider.name;
        let backend = expose.then_some(&*backend.name);
        // What is in memory and no more on the disk, or not for clients, cannot be asked for.
        let loaded = inventory.loaded.iter();
        let loaded = loaded.filter(|loaded| inventory.has(loaded.model));
        loaded
            .map(|loaded| &loaded.entry)
            .filter(move |entry| view.shows(provider, &[&entry.name]))
            .map(move |entry| (entry, backend))
    });
    Page::raw_json(ollama::merge_ps(entries))
}

/// Number of healthy backends.
pub(super) fn healthy_backends(fleet: &Fleet) -> usize {
    fleet
        .snapshot()
        .iter()
        .filter(|backend| backend.healthy())
        .count()
}

/// `GET /__proxy/backends`: sorted by port. `port`, `healthy` and `in_flight` are what clients of the
/// port-range balancer read. A key sees what it may ask, and of it the models that it may use.
pub(super) fn backends(fleet: &Fleet, router: &Router, view: View<'_>) -> Page {
    #[derive(Serialize)]
    struct Listing {
        backends: Vec<Row>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unresolved: Vec<UnresolvedRow>,
        /// Names of the configuration that come to nothing.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unresolved_names: Vec<Unresolved>,
    }
    let snapshot = fleet.snapshot();
    let view = view.unfiltered();
    let seen = snapshot
        .iter()
        .filter(|backend| view.asks(&backend.provider.name));
    let mut backends: Vec<Row> = seen.map(|backend| Row::of(backend, view)).collect();
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
        unresolved_names: unresolved_names(router, view),
    };
    Page::json(200, &listing)
}

/// Names of the configuration that come to nothing, for those who may see all of it.
pub(super) fn unresolved_names(router: &Router, view: View<'_>) -> Vec<Unresolved> {
    match view.permission() {
        None => router.unresolved(),
        Some(_) => Vec::new(),
    }
}

/// Why something is down, and since when.
#[derive(Default, Serialize)]
pub(super) struct Down {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
}

impl From<Option<Trouble>> for Down {
    fn from(trouble: Option<Trouble>) -> Self {
        let since = trouble.as_ref().map(|trouble| unix(trouble.since));
        Down {
            last_error: trouble.map(|trouble| trouble.text),
            since,
        }
    }
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
    slots: u32,
    models: Vec<String>,
    loaded: Vec<LoadedRow>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Row {
    fn of(backend: &Backend, view: View<'_>) -> Self {
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
                .map(|loaded| LoadedRow::of(&loaded.entry))
                .collect(),
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
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.9.2") < numbers("0.12.0"));
        assert!(numbers("0.12.0-rc1") > numbers("0.12.0"));
    }

    #[test]
    fn the_oldest_that_states_a_version_speaks_for_all() {
        let of = |versions: &[&str]| oldest(versions.iter().map(|one| (*one).to_owned()));
        let all = ["0.33.0", "0.0.0", "", "0.9.2", "0.0.0-dirty", "0.12.0"];
        assert_eq!(of(&all).as_deref(), Some("0.9.2"));
        assert_eq!(of(&["0.0.0", ""]), None);
        assert_eq!(of(&["0.12.0", "v0.3"]).as_deref(), Some("0.3.0"));
    }

    #[test]
    fn a_version_is_told_as_clients_read_it() {
        for (stated, told) in [
            ("0.12.0", Some("0.12.0")),
            ("0.12.0-rc1", Some("0.12.0-rc1")),
            ("0.12.0-rc.1+7", Some("0.12.0-rc.1+7")),
            ("0.5.13-5-g8d5f7d8-dirty", Some("0.5.13-5-g8d5f7d8-dirty")),
            ("v0.3", Some("0.3.0")),
            ("V0.3.1", Some("0.3.1")),
            (" 0.3.1\n", Some("0.3.1")),
            ("1", Some("1.0.0")),
            ("0.3.1.7", Some("0.3.1")),
            ("0.3.1 (linux)", Some("0.3.1")),
            ("0.3-rc1", Some("0.3.0")),
            ("", None),
            ("latest", None),
            ("0..3", None),
            ("99999999999999999999.1.1", None),
        ] {
            assert_eq!(plain(stated).as_deref(), told, "{stated}");
        }
    }
}
