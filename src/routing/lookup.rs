//! What the configuration and the providers' lists say of a name: who has it, and who is called so.

use std::sync::Arc;

use super::approach::PrefixedName;
use super::ask::NoPlan;
use super::filter::Filter;
use super::pattern::folded;
use super::rule::Rule;
use super::view::{Having, View};
use crate::ids::{ModelId, ProviderId};
use crate::settings::{ModelRouting, Provider, ProviderKind, Settings};
use remuda_formats::facts::Facts;

/// Other names of kinds, by which other proxies put a service before its models, as in `gemini/gemini-2.5-flash` and
/// `gemini-gemini-2.5-flash`.
pub(super) const ALSO: [(&str, ProviderKind); 9] = [
    ("gemini", ProviderKind::Google),
    ("claude", ProviderKind::Anthropic),
    ("pplx", ProviderKind::Perplexity),
    ("azure_openai", ProviderKind::Azure),
    ("azure-openai", ProviderKind::Azure),
    ("aws_bedrock", ProviderKind::Bedrock),
    ("aws-bedrock", ProviderKind::Bedrock),
    ("ollama_chat", ProviderKind::Ollama),
    ("hosted_vllm", ProviderKind::OpenAiCompatible),
];

/// Returns the kind of that name.
fn kind_called(name: &str) -> Option<ProviderKind> {
    let mut names = ProviderKind::NAMES.iter().chain(&ALSO);
    let found = names.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, kind)| *kind)
}

/// Hosts of an Azure resource, after its name: the same deployments are at each.
const OF_AZURE: [&str; 3] = [
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
];

/// What names are looked up in.
pub(super) struct Resolver<'a> {
    pub(super) settings: &'a Settings,
    pub(super) view: &'a dyn View,
    pub(super) facts: &'a Facts,
    pub(super) rules: &'a [Rule],
    pub(super) filter: &'a Filter,
}

/// A listed model at a provider that has it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) model: ModelId,
    pub(super) having: Having,
    /// Whether the operator's `model_map` says so, so that its servers know it by another name than the client's.
    pub(super) is_mapped: bool,
}

impl Resolver<'_> {
    /// Returns the provider of that name, or else the providers of that kind.
    pub(super) fn called(&self, name: &str) -> Vec<ProviderId> {
        let name = name.trim();
        if let Some(provider) = self.provider(name) {
            return vec![provider];
        }
        let Some(kind) = kind_called(name) else {
            return Vec::new();
        };
        let of_kind = |provider: &ProviderId| self.settings.providers[*provider].kind == kind;
        self.indices().filter(of_kind).collect()
    }

    /// Returns the providers of that name or kind that are at the Azure resource that stands after the name's `@`.
    ///
    /// # Errors
    /// [`NoPlan::NoResource`] if there are such providers, none of them is there, and the model is not listed as it is.
    pub(super) fn at_resource(
        &self,
        provider: &str,
        name: &str,
        is_listed: bool,
    ) -> Result<Vec<ProviderId>, NoPlan> {
        let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
        let all = self.called(provider);
        let there = |provider: &&ProviderId| {
            let mut backends = self.settings.providers[**provider].backends.iter();
            backends.any(|backend| resource(&backend.host) == resource(host))
        };
        let found: Vec<ProviderId> = all.iter().filter(there).copied().collect();
        if found.is_empty() && !all.is_empty() && !is_listed {
            Err(NoPlan::NoResource {
                host: host.to_owned(),
            })
        } else {
            Ok(found)
        }
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = ProviderId> + Clone + use<> {
        ProviderId::first(self.settings.providers.len())
    }

    pub(super) fn provider(&self, name: &str) -> Option<ProviderId> {
        let mut providers = self.settings.providers.iter();
        let position = providers.position(|provider| provider.name.eq_ignore_ascii_case(name));
        position.map(ProviderId::at)
    }

    /// Returns whether the name is one of an approach of OptiLLM's before a model.
    pub(super) fn names_approach(&self, name: &str) -> bool {
        let form = PrefixedName::of(name.trim());
        form.is_some_and(|form| form.approach.is_some()) && self.is_free(name.trim())
    }

    /// Returns whether no model and no provider claims what looks like OptiLLM's prefix.
    pub(super) fn is_free(&self, name: &str) -> bool {
        let prefix = name.split('-').next().unwrap_or_default();
        self.provider(prefix).is_none()
            && self
                .view
                .lookup(name)
                .is_none_or(|model| self.view.having(model).is_empty())
    }

    /// Returns the providers that list the name, or what their `model_map` says that it stands for.
    pub(super) fn having(&self, name: &str) -> Vec<Held> {
        let listed = self.view.lookup(name).into_iter().flat_map(|model| {
            let having = self.view.having(model).into_iter();
            having.map(move |having| Held {
                model,
                having,
                is_mapped: false,
            })
        });
        let mut held: Vec<Held> = listed
            .filter(|one| self.mapped(one.having.provider, name).is_none())
            .collect();
        held.extend(self.indices().filter_map(|index| {
            let own = self.mapped(index, name)?;
            self.held_by(index, own).map(|held| Held {
                is_mapped: true,
                ..held
            })
        }));
        held.sort_by_key(|one| one.having.provider);
        held
    }

    /// Returns what the operator says that a fleet's servers call the model of that name. A service lists such names
    /// itself.
    pub(super) fn mapped(&self, provider: ProviderId, name: &str) -> Option<&str> {
        let settings = &self.settings.providers[provider];
        if !settings.kind.is_fleet() || settings.model_map.is_empty() {
            return None;
        }
        let plain = folded(name);
        let mut map = settings.model_map.iter();
        let (_, own) = map.find(|(known, _)| folded(known) == plain)?;
        Some(own)
    }

    /// Returns a listed model at one provider, by the very name that is listed.
    pub(super) fn held_by(&self, provider: ProviderId, name: &str) -> Option<Held> {
        let model = self.view.lookup(name)?;
        let having = self.view.having(model).into_iter();
        let mut here = having.filter(|one| one.provider == provider);
        here.next().map(|having| Held {
            model,
            having,
            is_mapped: false,
        })
    }

    pub(super) fn prefix<'n>(&self, name: &'n str) -> Option<(ProviderId, &'n str)> {
        let (provider, own) = name.split_once('/')?;
        let provider = self.provider(provider)?;
        (!own.is_empty()).then_some((provider, own))
    }

    /// Returns the kind that stands before a name, its providers, and what stands after it; `None` if there are none.
    pub(super) fn after_kind<'n>(
        &self,
        name: &'n str,
    ) -> Option<(&'n str, Vec<ProviderId>, &'n str)> {
        let (kind, own) = name.split_once('/').filter(|(_, own)| !own.is_empty())?;
        let providers = self.called(kind);
        (!providers.is_empty()).then_some((kind, providers, own))
    }

    /// Returns whether models are usually called like that, by a bundled rule: `gemini-9-flash` is one, and no
    /// `9-flash` of a provider that is called gemini.
    pub(super) fn is_usual(&self, name: &str) -> bool {
        let plain = folded(name);
        let mut bundled = self.rules.iter().filter(|rule| rule.is_bundled);
        bundled.any(|rule| rule.pattern.matches(&plain))
    }

    pub(super) fn is_fleet(&self, provider: ProviderId) -> bool {
        self.settings.providers[provider].kind.is_fleet()
    }

    /// Returns a model that a service lists, with the service's name before it or without.
    pub(super) fn listed_at(&self, provider: ProviderId, name: &str) -> Option<Held> {
        let full = full(&self.settings.providers[provider], name);
        let spellings = [name, &*full].into_iter();
        let mut held = spellings.filter_map(|spelling| self.held_by(provider, spelling));
        held.next()
    }

    /// Returns what a fleet's servers have under a name, as its `model_map` has it.
    pub(super) fn on_servers(&self, provider: ProviderId, name: &str) -> Option<Held> {
        match self.mapped(provider, name) {
            Some(own) => self.held_by(provider, own).map(|held| Held {
                is_mapped: true,
                ..held
            }),
            None => self.held_by(provider, name),
        }
    }

    /// Returns what the configuration says of the first of these names that it knows.
    pub(super) fn settings_of<'n>(
        &self,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Option<ModelRouting> {
        let models = &self.settings.routing.models;
        if models.is_empty() {
            return None;
        }
        names.find_map(|name| {
            let name = folded(name);
            let mut models = models.iter();
            let found = models.find(|(model, _)| folded(model) == name);
            found.map(|(_, settings)| settings.clone())
        })
    }
}

/// Returns the name of an Azure resource, or another host as it is.
fn resource(host: &str) -> &str {
    let mut names = OF_AZURE.iter().filter_map(|end| host.strip_suffix(end));
    names.next().unwrap_or(host)
}

pub(super) fn full(provider: &Provider, name: &str) -> String {
    format!("{}/{name}", provider.name)
}

pub(super) fn without_latest(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

/// Returns whether the configuration names such a model of the provider.
pub(crate) fn names(provider: &Provider, name: &str) -> bool {
    let name = folded(name);
    let deployments = &provider.azure.deployments;
    let mut known = provider
        .models
        .iter()
        .chain(provider.model_map.keys())
        .chain(deployments.keys())
        .chain(deployments.values());
    known.any(|known| folded(known) == name)
}

/// Returns a service's name for a model that it does not list: as the configuration says, else as it is.
pub(super) fn own_name(provider: &Provider, name: &str) -> Arc<str> {
    let plain = folded(name);
    let mut mapped = provider.model_map.iter();
    if let Some((_, own)) = mapped.find(|(known, _)| folded(known) == plain) {
        return Arc::clone(own);
    }
    let mut deployments = provider.azure.deployments.iter();
    if let Some((own, _)) =
        deployments.find(|(own, model)| folded(own) == plain || folded(model) == plain)
    {
        return Arc::clone(own);
    }
    without_latest(name).into()
}
