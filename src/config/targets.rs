//! Names that lead nowhere or to themselves, a slip most often: providers that aliases, overflow, the default model and
//! rules name and that are not there, aliases that stand for each other, and names in `model_map` that are one.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{Reader, Section};
use crate::nearest::nearest;
use crate::settings::{Provider, ProviderKind, Settings};

pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let routing = &settings.routing;
    same_names(settings, reader);
    loops(settings, reader);
    let mut at = reader.section("routing");
    for (name, targets) in &routing.aliases {
        for target in targets {
            warn(settings, &mut at.section("aliases"), name, target);
        }
    }
    if let Some(target) = &routing.default_model {
        warn(settings, &mut at, "default_model", target);
    }
    for (name, model) in &routing.models {
        for target in &model.overflow {
            warn(
                settings,
                &mut at.section("models").section(name),
                "overflow",
                target,
            );
        }
    }
    for (index, rule) in routing.rules.iter().enumerate() {
        if settings
            .providers
            .iter()
            .any(|one| is_called(one, &rule.provider))
        {
            continue;
        }
        let near = meant(settings, &rule.provider);
        let what = format!(
            "is neither a provider's name nor the kind of one{near}; the rule does not apply"
        );
        at.section("rules").item(index).warning("provider", what);
    }
}

/// Names that a provider's `model_map` has twice, as case makes no difference to clients.
fn same_names(settings: &Settings, reader: &mut Reader<'_>) {
    for (index, provider) in settings.providers.iter().enumerate() {
        let mut known = BTreeMap::new();
        for name in provider.model_map.keys() {
            let Some(first) = known.insert(name.to_ascii_lowercase(), name) else {
                continue;
            };
            let what =
                format!("is the same name as {first:?}, but for its case; remove one of them");
            let mut at = reader.section("providers");
            at.item(index).section("model_map").warning(name, what);
        }
    }
}

/// Reports aliases that stand for each other, or for themselves alone. Each loop is told once.
fn loops(settings: &Settings, reader: &mut Reader<'_>) {
    let aliases = &settings.routing.aliases;
    let folded = |name: &str| name.to_ascii_lowercase();
    let next: BTreeMap<String, Vec<String>> = aliases
        .iter()
        .filter(|(name, _)| !is_stated_model(settings, name))
        .map(|(name, targets)| {
            let targets = targets.iter().map(|target| folded(target));
            (folded(name), targets.collect())
        })
        .collect();
    let mut told = BTreeSet::new();
    for name in aliases.keys() {
        let start = folded(name);
        let Some(way) = next.get(&start).and_then(|_| way_back(&next, &start)) else {
            continue;
        };
        let is_itself = way.len() == 1;
        // What stands for itself or others is a model that has a reserve.
        let has_others = is_itself && next[&start].len() > 1;
        if has_others || !told.is_disjoint(&BTreeSet::from_iter(way.iter().cloned())) {
            continue;
        }
        let what = if is_itself {
            "stands for itself, which changes nothing; remove it, or name what it stands for"
                .to_owned()
        } else {
            format!(
                "leads back to itself ({} > {start}); unless a provider lists one of these models, requests for them are 404",
                way.join(" > ")
            )
        };
        told.extend(way);
        let mut at = reader.section("routing");
        at.section("aliases").warning(name, what);
    }
}

/// Returns the aliases on the shortest way from `start` back to it, `start` first; `None` if there is none.
fn way_back(next: &BTreeMap<String, Vec<String>>, start: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start.to_owned()]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for target in way
                .last()
                .and_then(|name| next.get(name))
                .into_iter()
                .flatten()
            {
                if target == start {
                    return Some(way);
                }
                if next.contains_key(target) && seen.insert(target.clone()) {
                    longer.push(way.iter().chain([target]).cloned().collect());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Returns whether the configuration says that a provider has a model of that name.
fn is_stated_model(settings: &Settings, name: &str) -> bool {
    let is_name = |other: &str| other.eq_ignore_ascii_case(name);
    settings.providers.iter().any(|one| {
        one.models.iter().any(|model| is_name(model))
            || one.model_map.keys().any(|model| is_name(model))
            || one.azure.deployments.keys().any(|model| is_name(model))
    })
}

fn is_called(provider: &Provider, name: &str) -> bool {
    provider.name.eq_ignore_ascii_case(name) || provider.kind.name().eq_ignore_ascii_case(name)
}

fn meant(settings: &Settings, name: &str) -> String {
    let names = settings.providers.iter().map(|provider| &*provider.name);
    let near = nearest(name, names);
    near.map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"))
}

/// Warns of a target whose prefix, which may be a provider's name or a part of a model's own name, leads nowhere.
fn warn(settings: &Settings, at: &mut Section<'_, '_>, key: &str, target: &str) {
    let Some((provider, _)) = target.split_once('/') else {
        return;
    };
    if !is_missing(settings, provider, target) {
        return;
    }
    let near = meant(settings, provider);
    let what = format!(
        "{provider:?} is no provider's name{near}; unless a provider lists a model {target:?}, requests for it are 404"
    );
    at.warning(key, what);
}

fn is_missing(settings: &Settings, provider: &str, target: &str) -> bool {
    let routing = &settings.routing;
    let is_known = settings.providers.iter().any(|one| {
        one.name.eq_ignore_ascii_case(provider)
            || one.models.iter().any(|model| **model == *target)
            || one.model_map.contains_key(target)
            || one.azure.deployments.contains_key(target)
    });
    // `hf.co/…` is where Ollama's servers have a model from.
    let is_host = provider.contains('.');
    // Names with a slash are the rule there, and only the provider knows them; a slip of the finger is one all the same.
    let mut providers = settings.providers.iter();
    let has_slashes = providers.any(|one| one.list_models && lists_slashes(one.kind));
    let is_slip = |one: &Provider| strsim::damerau_levenshtein(&one.name, provider) == 1;
    let may_be_listed = has_slashes && !settings.providers.iter().any(is_slip);
    !is_known && !is_host && !may_be_listed && !routing.aliases.contains_key(target)
}

fn lists_slashes(kind: ProviderKind) -> bool {
    matches!(
        kind,
        ProviderKind::OpenRouter | ProviderKind::OpenAiCompatible | ProviderKind::Perplexity
    )
}
