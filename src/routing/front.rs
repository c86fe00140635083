//! Who would serve a name first: what lists and pages about models say of a plan.

use std::sync::Arc;
use std::time::Instant;

use super::ask::{NoPlan, Permission, PlanRequest};
use super::plan::Plan;
use super::router::Router;
use super::trace::Trace;
use crate::ids::{ModelId, ProviderId};

/// A service that serves a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Position in the configuration.
    pub provider: ProviderId,
    /// Its own name for the model.
    pub own: Arc<str>,
}

/// Who would serve a name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// Position in the configuration.
    pub provider: ProviderId,
    /// The model, if it is a listed one.
    pub model: Option<ModelId>,
    /// What a service calls it.
    pub own: Option<Arc<str>>,
}

impl Router {
    /// Returns the service that serves a plan's first step; `None` if Ollama servers do.
    pub fn service(&self, plan: &Plan) -> Option<Service> {
        let step = plan.steps.first()?;
        let is_fleet = |provider: ProviderId| self.settings.providers[provider].kind.is_fleet();
        if step.providers.iter().any(|provider| is_fleet(*provider)) {
            return None;
        }
        let Some(id) = step.model.listed() else {
            return Some(Service {
                provider: *step.providers.first()?,
                own: Arc::clone(step.model.own()?),
            });
        };
        let having = self.view.having(id);
        if step.providers.is_empty() && having.iter().any(|one| is_fleet(one.provider)) {
            return None;
        }
        let meant = |provider: ProviderId| match step.providers.first() {
            Some(first) => *first == provider,
            None => true,
        };
        let found = having.into_iter().find(|one| meant(one.provider))?;
        Some(Service {
            provider: found.provider,
            own: found.own?,
        })
    }

    /// Returns who would serve a name first, for lists; `None` if nobody does, or another model that stands in for it.
    pub fn front(&self, name: &str, permission: Option<&dyn Permission>) -> Option<Front> {
        let ask = PlanRequest {
            permission,
            looks_only: true,
            ..PlanRequest::of(name)
        };
        let found = self.resolution(&ask, &mut Trace::default()).ok()?;
        if found.by_default {
            return None;
        }
        let plan = self
            .made(&ask, Instant::now(), &mut Trace::default())
            .ok()?;
        let model = plan.steps.first()?.model.listed();
        let having = || model.and_then(|model| self.view.having(model).into_iter().next());
        let provider = match plan.steps.first()?.providers.first() {
            Some(first) => *first,
            None => having()?.provider,
        };
        Some(Front {
            provider,
            model,
            own: self.service(&plan).map(|service| service.own),
        })
    }

    /// Returns whether a name that this provider lists may be asked for: not if the operator's words give it another
    /// meaning that comes to nothing.
    pub fn leads_somewhere(
        &self,
        name: &str,
        provider: &str,
        permission: Option<&dyn Permission>,
    ) -> bool {
        if !self.resolver().means_another(name, provider) {
            return true;
        }
        let ask = PlanRequest {
            permission,
            looks_only: true,
            ..PlanRequest::of(name)
        };
        match self.made(&ask, Instant::now(), &mut Trace::default()) {
            // Another provider's name stands before it, who does not list it.
            Ok(plan) => plan.model.is_some(),
            Err(why) => matches!(why, NoPlan::Ambiguous { .. }),
        }
    }
}
