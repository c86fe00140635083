//! Names of the configuration that lead nowhere, as far as the fleet is known now: for the pages that operators look at.

use crate::ids::ProviderId;
use serde::Serialize;

use super::ask::NoPlan;
use super::candidate::Candidate;
use super::lookup::{Resolver, names};
use super::plan::StepModel;
use super::router::Router;
use super::trace::Trace;

/// One such name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unresolved {
    /// Where it stands: `routing.aliases.big`.
    pub setting: String,
    pub name: String,
    pub why: String,
}

const NOT_ON_SERVERS: &str = "none of its servers has the model";

impl Router {
    /// Returns every name of the configuration that comes to nothing. Of a provider that has not answered yet, nothing
    /// is said.
    pub fn unresolved(&self) -> Vec<Unresolved> {
        let resolver = self.resolver();
        let mut found = Vec::new();
        let mut note = |setting: String, name: &str, why: Option<String>| {
            let unresolved = why.map(|why| Unresolved {
                setting,
                name: name.to_owned(),
                why,
            });
            found.extend(unresolved);
        };
        let routing = &resolver.settings.routing;
        for (alias, targets) in &routing.aliases {
            for target in targets {
                let why = resolver.missing(target);
                note(format!("routing.aliases.{alias}"), target, why);
            }
        }
        if let Some(default) = &routing.default_model {
            let why = resolver.missing(default);
            note("routing.default_model".to_owned(), default, why);
        }
        for (model, settings) in &routing.models {
            note(
                format!("routing.models.{model}"),
                model,
                resolver.missing(model),
            );
            for target in &settings.overflow {
                let why = resolver.missing(target);
                note(format!("routing.models.{model}.overflow"), target, why);
            }
        }
        for (index, rule) in routing.rules.iter().enumerate() {
            let setting = format!("routing.rules[{index}]");
            let targets = resolver.called(&rule.provider);
            if targets.is_empty() {
                let why = "no provider is called so, nor is one of that kind".to_owned();
                note(setting, &rule.provider, Some(why));
                continue;
            }
            let stated = rule.model.as_deref().filter(|model| !model.contains('$'));
            if let Some(model) = stated {
                let lacks = |provider: &ProviderId| resolver.lacks(*provider, model);
                let why = targets.iter().all(lacks).then(|| NOT_ON_SERVERS.to_owned());
                note(setting, model, why);
            }
        }
        for (index, provider) in resolver.settings.providers.iter().enumerate() {
            let own = provider.model_map.iter();
            let mapped = own.map(|(name, own)| (format!("model_map.{name}"), own));
            let stated = provider.models.iter();
            let stated = stated.map(|model| ("models".to_owned(), model));
            for (key, model) in mapped.chain(stated) {
                let why = resolver
                    .lacks(ProviderId::at(index), model)
                    .then(|| NOT_ON_SERVERS.to_owned());
                note(format!("providers.{}.{key}", provider.name), model, why);
            }
        }
        found
    }
}

impl Resolver<'_> {
    /// Returns why a name that clients may use comes to nothing, if it does.
    fn missing(&self, name: &str) -> Option<String> {
        let settling = || {
            ProviderId::first(self.settings.providers.len()).any(|one| self.view.is_settling(one))
        };
        match self.resolve(name, None, &mut Trace::default()) {
            Ok(found) if !found.by_default && !found.is_empty() => {
                let first = found.tiers[0].iter().map(|one| self.unlisted_by(one));
                let unlisted: Option<Vec<&str>> = first.collect();
                unlisted.filter(|names| !names.is_empty()).map(|names| {
                    let names = names.join(" and ");
                    format!("{names} does not list it, and is asked for it all the same")
                })
            }
            Err(
                why @ (NoPlan::Contradiction
                | NoPlan::NoApproach { .. }
                | NoPlan::NoResource { .. }),
            ) => Some(why.to_string()),
            _ if settling() => None,
            _ => Some(NoPlan::Unknown.to_string()),
        }
    }

    /// Returns the provider's name, if it tells which models it has and this is none of them.
    fn unlisted_by(&self, one: &Candidate) -> Option<&str> {
        let StepModel::Named(own) = &one.model else {
            return None;
        };
        let settings = &self.settings.providers[one.provider];
        let tells = settings.list_models
            && !self.view.is_settling(one.provider)
            && !self.view.tells_no_models(one.provider);
        (tells && !names(settings, own)).then_some(&*settings.name)
    }

    /// Returns whether a fleet's servers are known, and none has the model.
    fn lacks(&self, provider: ProviderId, model: &str) -> bool {
        let settings = &self.settings.providers[provider];
        settings.kind.is_fleet()
            && !self.view.is_settling(provider)
            && self.on_servers(provider, model).is_none()
            && self.held_by(provider, model).is_none()
    }
}
