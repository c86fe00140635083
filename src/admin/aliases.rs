//! Names that stand for models, as lists show them: the operator's aliases, what the `model_map` of a fleet says, and the
//! bundled aliases. The planner says what each means, so that nothing is listed that a request is refused for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hosted;
use super::listing::{self, ListedModel, bare};
use crate::access::Visibility;
use crate::fleet::{Backend, Fleet, Inventory};
use crate::routing::{Front, Router, View as _};
use crate::settings::Settings;
use remuda_formats::dialect::ollama::ModelEntry;
use remuda_formats::facts::Facts;

/// A name and whose model it stands for.
pub(super) struct Alias {
    /// The name that is written in the configuration.
    pub(super) name: String,
    front: Front,
}

/// What lists are made from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub fleet: &'a Fleet,
    pub facts: &'a Facts,
    pub router: &'a Router,
    pub settings: &'a Settings,
}

/// Returns every name that stands for a model that is there, as far as `view` goes; the bundled ones only if they are
/// `wanted`.
pub(super) fn all(from: Sources<'_>, view: Visibility<'_>, bundled: bool) -> Vec<Alias> {
    let routing = &from.settings.routing;
    let fleets = from.settings.providers.iter();
    let mapped = fleets
        .filter(|provider| provider.kind.is_fleet())
        .flat_map(|provider| provider.model_map.keys());
    let mut names: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    for name in routing.aliases.keys().chain(mapped) {
        names.entry(bare(name)).or_insert((name, true));
    }
    if bundled && routing.bundled_aliases {
        for (name, _) in from.facts.aliases() {
            // What is listed under that very name is what is meant by it.
            if from.fleet.models().lookup(name).is_none() {
                names.entry(bare(name)).or_insert((name, false));
            }
        }
    }
    let known = names.into_values().filter_map(|(name, is_own)| {
        let front = from.router.front(name, view.permission())?;
        // A service that tells nothing of its models may have it, if the operator says so.
        let is_there =
            front.model.is_some() || is_own && from.fleet.tells_no_models(front.provider);
        is_there.then(|| Alias {
            name: name.to_owned(),
            front,
        })
    });
    known.collect()
}

/// Returns the aliases' rows in `/api/tags`.
pub(super) fn rows(from: Sources<'_>, aliases: &[Alias]) -> Vec<ModelEntry> {
    let known = listing::known(from.fleet);
    let mut rows: Vec<ModelEntry> = aliases
        .iter()
        .filter_map(|alias| {
            let name = bare(&alias.name);
            match on_server(&known, &alias.front) {
                Some((_, inventory)) => {
                    let entry = alias.front.model.and_then(|model| inventory.model(model))?;
                    hosted::renamed(&name, entry)
                }
                None => listed(from, &known, alias).map(|one| hosted::row(&name, &one, from.facts)),
            }
        })
        .collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows
}

/// Returns the models that the aliases stand for, under the aliases' names.
pub(super) fn models(from: Sources<'_>, aliases: &[Alias]) -> Vec<ListedModel> {
    let known = listing::known(from.fleet);
    let all = aliases.iter();
    all.filter_map(|alias| listed(from, &known, alias))
        .collect()
}

type Known = (Arc<Backend>, Arc<Inventory>);

/// Returns the server that has the model, if it is one of Ollama's.
fn on_server<'k>(known: &'k [Known], front: &Front) -> Option<&'k Known> {
    let model = front.model?;
    known.iter().find(|(backend, inventory)| {
        backend.provider.id == front.provider && inventory.model(model).is_some()
    })
}

fn listed(from: Sources<'_>, known: &[Known], alias: &Alias) -> Option<ListedModel> {
    let front = &alias.front;
    let name = alias.name.clone();
    if let Some((backend, inventory)) = on_server(known, front) {
        let entry = inventory.model(front.model?)?;
        return Some(ListedModel {
            id: name,
            ..listing::on_server(entry, backend)
        });
    }
    let own = front.own.clone()?;
    let mut mine = known
        .iter()
        .filter(|(backend, _)| backend.provider.id == front.provider);
    let offer = mine.find_map(|(_, inventory)| {
        let offers = inventory.offers().iter();
        let mut named = offers.filter(|offer| offer.own == own);
        named.next().cloned()
    });
    let provider = &from.settings.providers[front.provider];
    Some(listing::hosted(name, false, provider, &own, offer.as_ref()))
}
