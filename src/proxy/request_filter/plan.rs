//! Finds out where a request may go: the router's plan for it, or what the client is told if there is none.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use crate::access;
use crate::fleet::{Fleet, Provider};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::prepared::Criteria;
use crate::proxy::request_filter::admit::Admit;
use crate::proxy::request_filter::route;
use crate::routing::{NoPlan, Plan, PlanStep, Router, StepModel};
use crate::settings::Settings;
use remuda_formats::client::Operation;
use remuda_formats::dialect::ollama;

/// Finds out where requests may go.
pub(crate) struct Planner {
    pub(crate) router: Arc<Router>,
    settings: Arc<Settings>,
    fleet: Arc<Fleet>,
}

impl Planner {
    /// Plans over the providers and models of `fleet`.
    pub(crate) fn new(
        router: Arc<Router>,
        settings: &Arc<Settings>,
        fleet: &Arc<Fleet>,
    ) -> Planner {
        Planner {
            router,
            settings: Arc::clone(settings),
            fleet: Arc::clone(fleet),
        }
    }

    /// Makes a plan.
    ///
    /// # Errors
    /// The reason why no provider may serve the request.
    pub(crate) fn plan(&self, criteria: &Criteria) -> Result<Plan, NoPlan> {
        self.router.plan(&criteria.ask(), Instant::now())
    }

    /// Makes the plan for a model request; `None` where a provider that has not told its models yet may have this one.
    ///
    /// # Errors
    /// The failure that the client is told if there is no plan, and will be none.
    pub(crate) fn known(
        &self,
        admit: &Admit,
        operation: Operation,
        criteria: &Criteria,
    ) -> Result<Option<Plan>, Failure> {
        match self.plan(criteria) {
            Ok(plan) => Ok(Some(plan)),
            Err(NoPlan::Unknown) if ollama::is_valid(&criteria.model) => Ok(None),
            Err(NoPlan::Unknown) => Err(Failure::bad_request(ollama::INVALID_MODEL_NAME)),
            Err(why) => Err(self.unplanned(admit, &why, operation, criteria)),
        }
    }

    /// Makes another plan without providers that have failed; `None` if there is none.
    pub(crate) fn plan_without(
        &self,
        criteria: &Criteria,
        providers: &[ProviderId],
    ) -> Option<Plan> {
        let ask = criteria.ask_without(providers);
        self.router.plan(&ask, Instant::now()).ok()
    }

    /// Returns what the client is told of a model that no healthy backend has. It is absent only if all backends that could
    /// have it have told their models, as one that is down, or has not answered yet, may have it. Which provider that is, is
    /// not every key's business.
    pub(crate) fn absent(&self, operation: Operation, name: &str) -> Failure {
        let names = self.router.spellings(name);
        let models = names
            .iter()
            .filter_map(|name| self.fleet.models().lookup(name));
        let down = models
            .into_iter()
            .find_map(|model| self.fleet.down_with(model));
        let text = if down.is_some() {
            format!(
                "model '{name}' exists, but every backend that has it is down or does not answer; try again later"
            )
        } else if self.fleet.has_unknown() {
            format!(
                "it is not known whether model '{name}' exists, as not all backends have answered yet; /health says which have not"
            )
        } else {
            return not_found(operation, name);
        };
        self.fleet.missed_by_a_request();
        Failure::down(text)
    }

    /// Returns the service that serves a plan's first step, and its own name for the model; `None` if Ollama servers do.
    pub(crate) fn service_of(&self, plan: &Plan) -> Option<(Arc<Provider>, Arc<str>)> {
        let service = self.router.service(plan)?;
        let provider = self.fleet.provider_at(service.provider);
        Some((Arc::clone(provider), service.own))
    }

    /// Returns the plan of a look-up: the Ollama servers of the providers that `plan` names may be asked for `model`.
    pub(crate) fn servers_of(&self, plan: &Plan, model: ModelId) -> Plan {
        let anybody = plan.steps.iter().any(|step| step.providers.is_empty());
        let planned = |id: &ProviderId| plan.steps.iter().any(|step| step.providers.contains(id));
        let fleets = self.fleet.providers().filter(|provider| {
            provider.settings.kind.is_fleet() && (anybody || planned(&provider.id))
        });
        let step = PlanStep {
            model: StepModel::Listed(model),
            providers: fleets.map(|provider| provider.id).collect(),
            equal: false,
            reserve: false,
            max_wait: None,
        };
        let steps = Some(step).filter(|step| !step.providers.is_empty());
        Plan {
            steps: steps.into_iter().collect(),
            model: Some(model),
        }
    }

    /// Returns the backend that `X-Backend` names.
    ///
    /// # Errors
    /// 400 where it names none that the client's key may use.
    pub(crate) fn pinned(
        &self,
        fields: &HeaderMap,
        inbound: &Inbound,
    ) -> Result<Option<BackendId>, Failure> {
        let Some(value) = fields.get("x-backend") else {
            return Ok(None);
        };
        let name = value.to_str().unwrap_or_default();
        let key = inbound.key.as_ref();
        self.fleet
            .snapshot()
            .iter()
            .filter(|backend| key.is_none_or(|key| key.may_ask(&backend.provider.name)))
            .find(|backend| *backend.name == *name)
            .map(|backend| Some(backend.id))
            .ok_or_else(|| {
                let prefix = route::prefix(&self.settings.server, fields, &inbound.written);
                Failure::bad_request(format!(
                    "X-Backend names no known backend; GET {prefix}/__proxy/backends lists them"
                ))
            })
    }

    /// Returns what the client is told when there is no plan. A key that may not use a model by that name is not told
    /// whether it is there.
    pub(crate) fn unplanned(
        &self,
        admit: &Admit,
        why: &NoPlan,
        operation: Operation,
        criteria: &Criteria,
    ) -> Failure {
        let (name, key) = (&*criteria.model, criteria.key.as_deref());
        let model = || name.to_owned();
        match (why, key) {
            (NoPlan::Unknown | NoPlan::Forbidden, Some(key)) if !key.may_use([name]) => {
                admit.refused(key, &access::Refusal::Model { model: model() })
            }
            (NoPlan::Forbidden, Some(key)) => {
                admit.refused(key, &access::Refusal::Provider { model: model() })
            }
            (NoPlan::Unknown, _) => self.absent(operation, name),
            (NoPlan::Exhausted | NoPlan::Forbidden, _) => not_found(operation, name),
            (
                NoPlan::NoSuchProvider { .. }
                | NoPlan::Contradiction
                | NoPlan::Ambiguous { .. }
                | NoPlan::NoApproach { .. }
                | NoPlan::NoResource { .. },
                _,
            ) => Failure::bad_request(why.to_string()),
        }
    }
}

/// Makes the failure (404) of a model that is not there, in the words of Ollama.
fn not_found(operation: Operation, name: &str) -> Failure {
    Failure {
        api_code: Some("model_not_found".into()),
        ..Failure::new(
            404,
            "model_not_found",
            ollama::model_not_found(operation, name),
        )
    }
}
