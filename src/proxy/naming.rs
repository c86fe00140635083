//! Which model a name means: an alias, `provider/model`, or a name that a backend lists.

use std::borrow::Cow;
use std::sync::Arc;

use super::Gateway;
use crate::admission::Wanted;
use crate::fleet::Provider;
use crate::ids::ModelId;
use crate::routing::{Plan, Step, StepModel};

/// What a client's name for a model stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) wanted: Wanted,
    /// For metrics.
    pub(super) model: Option<ModelId>,
    /// Only this provider will do; its position in the configuration.
    pub(super) provider: Option<usize>,
    /// The provider's own name for it, where it is not the one that the client gave or that a backend lists.
    pub(super) own: Option<Arc<str>>,
}

impl Named {
    /// Its provider, or all that have the model, in one step.
    pub(super) fn plan(&self) -> Plan {
        let own = self.own.clone();
        let model = match (self.model, own) {
            (Some(model), None) => StepModel::Listed(model),
            (Some(model), Some(own)) => StepModel::ListedAs(model, own),
            (None, own) => StepModel::Named(own.unwrap_or_default()),
        };
        Plan {
            steps: vec![Step {
                model,
                providers: self.provider.into_iter().collect(),
                reserve: false,
                max_wait: None,
            }],
            model: self.model,
        }
    }

    fn listed(model: ModelId) -> Self {
        Named {
            wanted: Wanted::Model(model),
            model: Some(model),
            provider: None,
            own: None,
        }
    }
}

impl Gateway {
    /// Aliases go first, then `provider/model`, then what backends list, then `provider-model`. A name that a provider's
    /// prefix makes clear is taken to the provider even if it does not list it: it knows better.
    pub(super) fn named(&self, name: &str) -> Named {
        if self.plain_names {
            // The usual fleet: no aliases and no other provider that a name could mean.
            return self.bare(name);
        }
        let name = self.unaliased(name);
        if let Some((provider, own)) = name.split_once('/')
            && let Some(named) = self.at_provider(provider, own)
        {
            return named;
        }
        let bare = self.bare(&name);
        if bare.model.is_none()
            && let Some(named) = self.after_dash(&name)
        {
            return named;
        }
        bare
    }

    fn bare(&self, name: &str) -> Named {
        match self.fleet.models().lookup(name) {
            Some(model) => Named::listed(model),
            None => Named {
                wanted: Wanted::Unlisted,
                model: None,
                provider: None,
                own: None,
            },
        }
    }

    fn unaliased<'a>(&'a self, name: &'a str) -> Cow<'a, str> {
        let routing = &self.settings.routing;
        if let Some(target) = routing.aliases.get(name) {
            return Cow::Borrowed(target);
        }
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        let own = routing
            .aliases
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(plain));
        if let Some((_, target)) = own {
            return Cow::Borrowed(target);
        }
        if !routing.bundled_aliases || self.fleet.models().lookup(name).is_some() {
            // What a backend lists under that very name is what is meant.
            return Cow::Borrowed(name);
        }
        match self.facts.alias(name) {
            Some(target) if self.provider_exists(target) => Cow::Borrowed(target),
            _ => Cow::Borrowed(name),
        }
    }

    fn provider_exists(&self, target: &str) -> bool {
        target
            .split_once('/')
            .is_some_and(|(provider, _)| self.fleet.provider(provider).is_some())
    }

    fn at_provider(&self, provider: &str, own: &str) -> Option<Named> {
        let provider = self
            .fleet
            .providers()
            .find(|known| known.name.eq_ignore_ascii_case(provider))?;
        if own.is_empty() {
            return None;
        }
        let fleet = provider.settings.kind.is_fleet();
        let listed = match fleet {
            true => self.fleet.models().lookup(own),
            // Listed under both names; this one is the provider's alone.
            false => self
                .fleet
                .models()
                .lookup(&format!("{}/{own}", provider.name)),
        };
        let own = own
            .strip_suffix(":latest")
            .filter(|_| !fleet)
            .unwrap_or(own);
        Some(match listed {
            Some(model) => Named {
                provider: Some(provider.index),
                // Where the operator has names for a server's models, the backend tells its own.
                own: (fleet && provider.settings.model_map.is_empty()).then(|| own.into()),
                ..Named::listed(model)
            },
            None if fleet => Named {
                provider: Some(provider.index),
                ..self.bare("")
            },
            None => Named {
                wanted: Wanted::Any,
                model: None,
                provider: Some(provider.index),
                own: Some(own.into()),
            },
        })
    }

    /// `provider-model`, as older proxies listed their models.
    fn after_dash(&self, name: &str) -> Option<Named> {
        self.fleet.providers().find_map(|provider| {
            let rest = name.get(provider.name.len()..)?;
            let is_prefix = name[..provider.name.len()].eq_ignore_ascii_case(&provider.name);
            let own = rest.strip_prefix('-').filter(|_| is_prefix)?;
            match provider.settings.kind.is_fleet() {
                true => None,
                false => self.at_provider(&provider.name, own),
            }
        })
    }

    /// The service that serves this name, and its own name for it; `None` if Ollama servers do, or nobody.
    pub(super) fn service_for(&self, named: &Named, name: &str) -> Option<(Arc<Provider>, String)> {
        if let Some(index) = named.provider {
            let provider = self.fleet.providers().nth(index)?;
            if provider.settings.kind.is_fleet() {
                return None;
            }
            let own = named.own.as_deref().map(str::to_owned);
            let own = own.or_else(|| self.own_of(named.model?, index));
            return Some((Arc::clone(provider), own.unwrap_or_else(|| name.to_owned())));
        }
        let model = named.model?;
        let snapshot = self.fleet.snapshot();
        let mut having = snapshot.iter().filter(|backend| backend.has(model));
        let service = having
            .clone()
            .find(|backend| !backend.provider.settings.kind.is_fleet())?;
        if having.any(|backend| backend.provider.settings.kind.is_fleet()) {
            return None;
        }
        let own = service.own_name(model)?;
        Some((Arc::clone(&service.provider), String::from(&*own)))
    }

    fn own_of(&self, model: ModelId, provider: usize) -> Option<String> {
        let snapshot = self.fleet.snapshot();
        let backend = snapshot
            .iter()
            .find(|backend| backend.provider.index == provider && backend.has(model))?;
        backend.own_name(model).map(|own| String::from(&*own))
    }
}
