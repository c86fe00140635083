//! Providers that aliases, overflow, the default model and rules name, and that are not there: a slip, most often.

use super::reader::{Reader, Section};
use crate::nearest::nearest;
use crate::settings::{Provider, ProviderKind, Settings};

pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let routing = &settings.routing;
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

fn is_called(provider: &Provider, name: &str) -> bool {
    provider.name.eq_ignore_ascii_case(name) || provider.kind.name().eq_ignore_ascii_case(name)
}

fn meant(settings: &Settings, name: &str) -> String {
    let names = settings.providers.iter().map(|provider| &*provider.name);
    let near = nearest(name, names);
    near.map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"))
}

/// What stands before a slash is a provider's name, or a part of a model's own name.
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
