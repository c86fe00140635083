//! A name at one provider: the candidate that it makes there, by the provider's list, the configuration, or an alias.

use std::sync::Arc;

use super::aliases;
use super::candidate::Candidate;
use super::lookup::{Held, Resolver, full, names, own_name};
use super::plan::StepModel;
use super::trace::Trace;
use super::view::Having;
use crate::ids::{ModelId, ProviderId};

/// A name on its way.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    /// The name as the client wrote it.
    pub(super) asked: &'a str,
    /// The name that it stands for.
    pub(super) means: &'a str,
}

impl Held {
    pub(super) fn step(&self, name: Name<'_>) -> StepModel {
        match &self.having.own {
            Some(own) if self.is_mapped => StepModel::ListedAs(self.model, Arc::clone(own)),
            _ => listed_as(self.model, name),
        }
    }
}

impl Resolver<'_> {
    /// Returns whether a service is known to have a model of that name, or an alias of it.
    pub(super) fn is_known_at(&self, provider: ProviderId, name: &str) -> bool {
        let settings = &self.settings.providers[provider];
        names(settings, name)
            || self.facts.knows(settings.kind, name)
            || self.held_by(provider, &full(settings, name)).is_some()
            || aliases::at(self, provider, name).is_some()
    }

    /// Returns a model at the provider that a prefix names: that is where it goes, listed or not, unless it is a fleet.
    pub(super) fn pinned(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        if settings.kind.is_fleet() {
            return self.at_fleet(provider, name, trace);
        }
        match self.held_by(provider, &full(settings, name.means)) {
            Some(held) => {
                let step = StepModel::Listed(held.model);
                self.candidate(provider, step, name.means, Some(&held.having), trace)
            }
            None => self.unlisted_at(provider, name, trace),
        }
    }

    /// Returns a model at a provider that is meant: one that it lists, or, of a service and if that is `insisted` on,
    /// one by its name.
    pub(super) fn at(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        insisted: bool,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        if self.is_fleet(provider) {
            return self.at_fleet(provider, name, trace);
        }
        match self.listed_at(provider, name.means) {
            Some(held) => {
                let step = held.step(name);
                self.candidate(provider, step, name.means, Some(&held.having), trace)
            }
            None if insisted => self.unlisted_at(provider, name, trace),
            None => {
                trace.out(provider, || "it does not list the model".to_owned());
                None
            }
        }
    }

    fn at_fleet(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        if let Some(held) = self.on_servers(provider, name.means) {
            let step = held.step(name);
            return self.candidate(provider, step, name.means, Some(&held.having), trace);
        }
        let alias = aliases::at(self, provider, name.means);
        if let Some(held) = alias.and_then(|own| self.on_servers(provider, &own)) {
            let own: Arc<str> = held.having.own.clone()?;
            let step = StepModel::ListedAs(held.model, Arc::clone(&own));
            let found = self.candidate(provider, step, &own, Some(&held.having), trace);
            return found.map(|one| one.also_called(name.means));
        }
        trace.out(provider, || "none of its servers has the model".to_owned());
        None
    }

    /// Returns a model that the service does not list: it is asked for as the configuration says, by what an alias
    /// stands for there, or by the name as it is.
    fn unlisted_at(
        &self,
        provider: ProviderId,
        name: Name<'_>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        let alias = if names(settings, name.means) {
            None
        } else {
            aliases::at(self, provider, name.means)
        };
        let Some(means) = alias else {
            let own = own_name(settings, name.means);
            let step = StepModel::Named(Arc::clone(&own));
            return self.asked_as(provider, step, name.means, own, trace);
        };
        trace.decided(|| format!("alias: {} stands for {means} there", name.means));
        let found = match self.held_by(provider, &full(settings, &means)) {
            Some(held) => {
                let step = StepModel::Listed(held.model);
                self.candidate(provider, step, &means, Some(&held.having), trace)
            }
            None => {
                let own = own_name(settings, &means);
                let step = StepModel::Named(Arc::clone(&own));
                self.asked_as(provider, step, &means, own, trace)
            }
        };
        found.map(|one| one.also_called(name.means))
    }

    /// Returns a candidate that is asked for a model by a name that nobody lists.
    fn asked_as(
        &self,
        provider: ProviderId,
        step: StepModel,
        name: &str,
        own: Arc<str>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let having = Having {
            provider,
            own: Some(own),
            context: None,
        };
        self.candidate(provider, step, name, Some(&having), trace)
    }

    /// Returns the candidate for a model of the provider; `None` if the operator's list leaves it out.
    pub(super) fn candidate(
        &self,
        provider: ProviderId,
        model: StepModel,
        name: &str,
        having: Option<&Having>,
        trace: &mut Trace,
    ) -> Option<Candidate> {
        let settings = &self.settings.providers[provider];
        let own = having.and_then(|having| having.own.as_deref());
        let own = own.unwrap_or(name);
        let runs = settings.azure.deployments.get(own);
        let runs = runs.map_or(own, |runs| &**runs);
        let mut names = vec![name.to_owned()];
        for other in [own, runs] {
            if names.iter().all(|known| known != other) {
                names.push(other.to_owned());
            }
        }
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        if !self.filter.admits(&settings.name, &borrowed) {
            trace.out(provider, || {
                "routing.models_filter leaves the model out".to_owned()
            });
            return None;
        }
        let facts = self.facts.find(settings.kind, runs);
        let context = having.and_then(|having| having.context);
        Some(Candidate::new(provider, model, names, facts).with_context(context))
    }
}

/// Returns how a listed model is asked for: backends know their own names for it; one that was written otherwise is
/// given along.
fn listed_as(model: ModelId, name: Name<'_>) -> StepModel {
    if name.asked == name.means {
        StepModel::Listed(model)
    } else {
        StepModel::ListedAs(model, name.means.into())
    }
}
