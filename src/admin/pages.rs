//! The pages of models and versions, each made from one snapshot of the fleet.

use ahash::AHashSet;
use serde::Serialize;

use super::aliases::{self, Sources};
use super::hosted;
use super::listing::{self, ListedModel, bare};
use super::loading::{self, LoadRow};
use super::page::Page;
use crate::access::Visibility;
use crate::admission::Dispatcher;
use crate::fleet::{Fleet, Provider};
use crate::ids::ModelId;
use crate::settings::ModelNames;
use remuda_formats::client::ErrorStyle;
use remuda_formats::dialect::ollama;
use remuda_formats::facts::Facts;

/// The version of Ollama's API that this gateway speaks where no Ollama server tells its own. Clients refuse one that
/// is too old, and such as are no plain numbers.
const OLLAMA_VERSION: &str = "0.33.0";

/// Answers `GET /`.
pub fn root() -> Page {
    Page::text(ollama::RUNNING)
}

/// Answers `GET /api/version`: the oldest of the fleet, so that no client counts on what a backend lacks.
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

/// Returns the oldest version that is one, as Ollama's clients read it: a build from source says `0.0.0`, and some say
/// nothing.
fn oldest(versions: impl Iterator<Item = String>) -> Option<String> {
    let stated = versions.filter_map(|version| plain(&version));
    stated
        .filter(|version| numbers(version).iter().any(|number| *number > 0))
        .min_by_key(|version| numbers(version))
}

/// Reads a version of three numbers (Semantic Versioning 2.0.0), with what follows them, such as `-rc1`. Of one that is
/// written otherwise, such as `v0.3`, the numbers are kept; `None` if it has none.
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

/// Answers `GET /api/tags` over all backends, as they are known; the models of services are `provider/model`, and names
/// that stand for models that are there have rows of their own.
pub fn tags(from: Sources<'_>, view: Visibility<'_>) -> Page {
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

/// Lists the models of one provider, as [`tags`] lists those of all; without aliases, which belong to no provider.
pub(super) fn tags_of(
    fleet: &Fleet,
    facts: &Facts,
    names: ModelNames,
    provider: &Provider,
    view: Visibility<'_>,
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

impl<'a> From<&'a ListedModel> for OpenAiModel<'a> {
    fn from(model: &'a ListedModel) -> Self {
        OpenAiModel {
            id: &model.id,
            object: "model",
            created: model.created,
            owned_by: &model.owned_by,
        }
    }
}

/// Returns the models of `/v1/models`: each once, and the operator's names for them.
pub fn models(from: Sources<'_>, view: Visibility<'_>) -> Vec<ListedModel> {
    let models = listing::askable(listing::models(from.fleet, view), from.router, view);
    let aliases = aliases::all(from, view, false);
    listing::once(models, aliases::models(from, &aliases))
}

/// Answers `GET /v1/models` over all backends, as they are known.
pub fn openai_models(from: Sources<'_>, view: Visibility<'_>) -> Page {
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

/// Answers `GET /v1/models/{id}` for a name of the operator's, whose model its provider may not list.
pub fn openai_alias(from: Sources<'_>, name: &str, view: Visibility<'_>) -> Option<Page> {
    let aliases = aliases::all(from, view, false);
    let models = aliases::models(from, &aliases);
    let mut named = models.iter().filter(|one| bare(&one.id) == bare(name));
    let found = OpenAiModel {
        id: name,
        ..named.next()?.into()
    };
    Some(Page::json(200, &found).with_age(from.fleet))
}

/// Answers `GET /v1/models/{id}` for a model that clients may call `name`; `None` if no backend is known to have it.
pub fn openai_model(fleet: &Fleet, wanted: ModelId, name: &str) -> Option<Page> {
    let models = listing::models(fleet, Visibility::ALL);
    let found = models
        .iter()
        .find(|model| fleet.models().lookup(&model.id) == Some(wanted))?;
    let found = OpenAiModel {
        id: name,
        ..found.into()
    };
    Some(Page::json(200, &found).with_age(fleet))
}

/// Answers `GET /api/ps` over all healthy backends, with the loads that are under way beside its rows; with `expose`, each
/// row and each load names its backend.
pub fn ps(fleet: &Fleet, dispatcher: &Dispatcher, expose: bool, view: Visibility<'_>) -> Page {
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
    let loads = loading::all(fleet, dispatcher, view).into_iter();
    let loads = loads.map(|(_, load)| if expose { load } else { load.unnamed() });
    let loads: Vec<LoadRow> = loads.collect();
    Page::raw_json(ollama::merge_ps(entries, &loads))
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
