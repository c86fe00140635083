//! The models of the whole fleet as one list: those on Ollama servers, and those that services offer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ahash::AHashSet;

use crate::access::Visibility;
use crate::fleet::{Backend, Fleet, Inventory, Offer};
use crate::routing::Router;
use crate::settings::{self, ProviderKind};
use remuda_formats::dialect::ollama::ModelEntry;

/// A model under one of the names by which clients may ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// `llama3.2:latest`, `gpt-5.4`, `openai/gpt-5.4`.
    pub id: String,
    /// Whether `id` begins with the provider's name.
    pub is_full: bool,
    /// Name of the provider that has it; of several, the first in the configuration.
    pub provider: Arc<str>,
    pub kind: ProviderKind,
    /// The provider's own name for it.
    pub own: Arc<str>,
    /// The model by which it is known: the same, or what a deployment of that name runs.
    pub runs: Arc<str>,
    /// Seconds since 1970; 0 if nobody tells.
    pub created: u64,
    /// Tokens that it holds, where the server has told.
    pub context: Option<u64>,
    /// A service's name; for an Ollama server's model its namespace, as Ollama has it.
    pub owned_by: Arc<str>,
}

/// Lists every name once: first the models of Ollama servers, newest first, then those of each service in its order,
/// with and without the provider's name before them; of all those that `view` shows.
pub(super) fn models(fleet: &Fleet, view: Visibility<'_>) -> Vec<ListedModel> {
    let mut listed = at_providers(fleet, view);
    listed.retain(|one| view.shows(&one.provider, &one.names()));
    listed
}

/// Returns those of `models` that a request may name: what is listed may mean something else by the operator's words,
/// or begin like another provider's name.
pub(super) fn askable(
    models: Vec<ListedModel>,
    router: &Router,
    view: Visibility<'_>,
) -> Vec<ListedModel> {
    let mut models = models;
    models.retain(|one| router.leads_somewhere(&one.id, &one.provider, view.permission()));
    models
}

/// Returns the models that a request may name, of all providers that `view` asks.
pub(super) fn at_providers(fleet: &Fleet, view: Visibility<'_>) -> Vec<ListedModel> {
    let mut backends = known(fleet);
    backends.retain(|(backend, _)| view.asks(&backend.provider.name));
    let mut listed = on_servers(&backends);
    let mut seen: AHashSet<String> = listed.iter().map(|one| bare(&one.id)).collect();
    for (backend, inventory) in &backends {
        for offer in inventory.offers() {
            let full = format!("{}/{}", backend.provider.name, offer.name);
            let names = [
                (offer.bare.map(|_| offer.name.to_string()), false),
                (Some(full), true),
            ];
            for (id, is_full) in names {
                if let Some(id) = id.filter(|id| seen.insert(bare(id))) {
                    listed.push(hosted(
                        id,
                        is_full,
                        &backend.provider.settings,
                        &offer.own,
                        Some(offer),
                    ));
                }
            }
        }
    }
    listed
}

impl ListedModel {
    /// Returns every name that the model goes by.
    pub(super) fn names(&self) -> [&str; 3] {
        [&self.id, &self.own, &self.runs]
    }
}

/// Returns the backends and what they have, also those that are down: their models are not absent.
pub(super) fn known(fleet: &Fleet) -> Vec<(Arc<Backend>, Arc<Inventory>)> {
    let known = fleet.known().into_iter();
    known
        .map(|backend| {
            let inventory = backend.inventory();
            (backend, inventory)
        })
        .collect()
}

/// Returns how long some of what [`known`] has may be out of date: since a backend that is down was last seen.
pub(super) fn age(fleet: &Fleet) -> Option<Duration> {
    let known = fleet.known();
    let down = known.iter().filter(|backend| !backend.healthy());
    down.map(|backend| backend.inventory().probed_at.elapsed())
        .max()
}

/// Returns the healthy backends and what they have.
pub(super) fn healthy(fleet: &Fleet) -> Vec<(Arc<Backend>, Arc<Inventory>)> {
    fleet
        .snapshot()
        .iter()
        .filter(|backend| backend.healthy())
        .map(|backend| (Arc::clone(backend), backend.inventory()))
        .collect()
}

fn on_servers(backends: &[(Arc<Backend>, Arc<Inventory>)]) -> Vec<ListedModel> {
    let mut entries: Vec<_> = backends
        .iter()
        .flat_map(|(backend, inventory)| {
            let models = inventory.models.iter();
            models.map(move |(model, entry)| (*model, entry, backend))
        })
        .collect();
    entries.sort_by_key(|(model, entry, _)| (*model, std::cmp::Reverse(entry.modified_at)));
    entries.dedup_by_key(|(model, _, _)| *model);
    entries.sort_by_key(|(_, entry, _)| std::cmp::Reverse(entry.modified_at));
    let listed = entries.into_iter();
    listed
        .map(|(_, entry, backend)| on_server(entry, backend))
        .collect()
}

/// Returns the entry of an Ollama server's model.
pub(super) fn on_server(entry: &ModelEntry, backend: &Backend) -> ListedModel {
    let own: Arc<str> = entry.name.as_str().into();
    ListedModel {
        id: entry.name.clone(),
        is_full: false,
        provider: Arc::clone(&backend.provider.name),
        kind: ProviderKind::Ollama,
        runs: Arc::clone(&own),
        own,
        created: entry.modified_at.map_or(0, seconds),
        context: None,
        owned_by: namespace(&entry.name).into(),
    }
}

/// Returns the entry of a service's model under one of its names, with what the service has told of it.
pub(super) fn hosted(
    id: String,
    is_full: bool,
    provider: &settings::Provider,
    own: &Arc<str>,
    offer: Option<&Offer>,
) -> ListedModel {
    let runs = provider.azure.deployments.get(own);
    ListedModel {
        id,
        is_full,
        provider: Arc::clone(&provider.name),
        kind: provider.kind,
        runs: Arc::clone(runs.unwrap_or(own)),
        own: Arc::clone(own),
        created: offer.and_then(|offer| offer.created).unwrap_or(0),
        context: offer.and_then(|offer| offer.context),
        owned_by: Arc::clone(&provider.name),
    }
}

/// Lists each model once: by its name alone where that means it, else with its provider's before it. An alias goes
/// before a model of the same name.
pub(super) fn once(models: Vec<ListedModel>, aliases: Vec<ListedModel>) -> Vec<ListedModel> {
    let aliased: AHashSet<String> = aliases.iter().map(|one| bare(&one.id)).collect();
    let mut kept: Vec<ListedModel> = models;
    kept.retain(|one| !aliased.contains(&bare(&one.id)));
    let alone: AHashSet<(Arc<str>, Arc<str>)> = kept
        .iter()
        .filter(|one| !one.is_full)
        .map(|one| (Arc::clone(&one.provider), Arc::clone(&one.own)))
        .collect();
    kept.retain(|one| {
        !one.is_full || !alone.contains(&(Arc::clone(&one.provider), Arc::clone(&one.own)))
    });
    kept.extend(aliases);
    kept
}

/// Returns the name as clients compare it: in lower case and without `:latest`.
pub(super) fn bare(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_suffix(":latest") {
        Some(bare) => bare.to_owned(),
        None => name,
    }
}

/// Returns the namespace of `[host/][namespace/]model`; Ollama's own models belong to `library`.
fn namespace(name: &str) -> &str {
    name.rsplit('/').nth(1).unwrap_or("library")
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_belongs_to_its_namespace() {
        assert_eq!(namespace("llama3.2:latest"), "library");
        assert_eq!(namespace("registry.example/team/model:7b"), "team");
    }
}
