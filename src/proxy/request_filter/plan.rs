//! Where a request may go: the planner's answer, waited for while a provider is about to tell what it has.

use std::sync::Arc;
use std::time::Instant;

use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use tokio::time::sleep_until;

use crate::access::{self, ClientKey};
use crate::admission::{Refusal, Want};
use crate::dialect::ollama::{self, Operation};
use crate::fleet::Provider;
use crate::ids::ProviderId;
use crate::proxy::Gateway;
use crate::proxy::failure::told::{Failure, Stop};
use crate::proxy::response_body::opening::Opening;
use crate::routing::{Ask, NoPlan, Permission, Plan};

/// Why there is no plan, although it was waited for.
#[derive(Debug)]
pub(crate) enum NoPlanYet {
    /// Nobody is there who could have the model.
    Refused(Refusal),
    /// All have told what they have.
    Never(NoPlan),
}

impl Gateway {
    /// The plan for a model that nobody has yet. It is waited for while no backend is known, as long as for a slot, and
    /// while a provider has not answered its first probe.
    pub(crate) async fn await_plan(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        ask: &Ask<'_>,
        want: Want,
    ) -> Result<Result<Plan, NoPlanYet>, Stop> {
        let deadline = Instant::now() + self.settings.queue.timeout;
        loop {
            let mut settling = self.fleet.settling();
            match self.await_models(client, opening, want).await? {
                Refusal::UnknownModel => {}
                refusal => return Ok(Err(NoPlanYet::Refused(refusal))),
            }
            // The backend whose first probe ended the wait may be the one that has the model.
            match self.router.plan(ask, Instant::now()) {
                Ok(plan) => return Ok(Ok(plan)),
                Err(NoPlan::Unknown) if self.fleet.is_settling() => {}
                Err(why) => return Ok(Err(NoPlanYet::Never(why))),
            }
            let news = async {
                tokio::select! {
                    news = settling.changed() => news.is_ok(),
                    () = sleep_until(deadline.into()) => false,
                }
            };
            if !self.unless_ended(client, opening, news).await? {
                return Ok(Err(NoPlanYet::Never(NoPlan::Unknown)));
            }
        }
    }

    /// What is said of a model that nobody healthy has. It is absent only if all who could have it have told so: what
    /// is down, or has not answered yet, may have it. Which provider that is, is not every key's business.
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
                "model '{name}' is there, but what has it is down or does not answer; try again later"
            )
        } else if self.fleet.has_unknown() {
            format!(
                "whether there is a model '{name}' is not known: not all backends have answered yet, /health says which"
            )
        } else {
            return not_found(operation, name);
        };
        self.fleet.missed_by_a_request();
        Failure::down(text)
    }

    /// The service that serves a plan's first step, and its own name for the model; `None` if Ollama servers do.
    pub(crate) fn service_of(&self, plan: &Plan) -> Option<(Arc<Provider>, Arc<str>)> {
        let service = self.router.service(plan)?;
        let provider = self.fleet.provider_at(service.provider);
        Some((Arc::clone(provider), service.own))
    }

    /// Returns the providers that no step of the plan names.
    pub(crate) fn unplanned_providers(&self, plan: &Plan) -> Vec<ProviderId> {
        if plan.steps.iter().any(|step| step.providers.is_empty()) {
            return Vec::new();
        }
        let planned = |id: &ProviderId| plan.steps.iter().any(|step| step.providers.contains(id));
        ProviderId::first(self.upstreams.len())
            .filter(|id| !planned(id))
            .collect()
    }

    /// What the client is told when there is no plan. A key that may not use a model by that name is not told whether
    /// it is there.
    pub(crate) fn unplanned(
        &self,
        why: &NoPlan,
        operation: Operation,
        name: &str,
        key: Option<&ClientKey>,
    ) -> Failure {
        let model = || name.to_owned();
        match (why, key) {
            (NoPlan::Unknown | NoPlan::Forbidden, Some(key)) if !key.may_use([name]) => {
                self.refused(key, &access::Refusal::Model { model: model() })
            }
            (NoPlan::Forbidden, Some(key)) => {
                self.refused(key, &access::Refusal::Provider { model: model() })
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

/// For a model, within what the client's key may use.
pub(crate) fn asking<'a>(name: &'a str, key: Option<&'a ClientKey>) -> Ask<'a> {
    let strategy = key.and_then(|key| key.strategy);
    let key = key.filter(|key| !(key.any_model() && key.any_provider()));
    Ask {
        strategy,
        permission: key.map(|key| key as &dyn Permission),
        ..Ask::of(name)
    }
}

/// 404, in the words of Ollama.
pub(crate) fn not_found(operation: Operation, name: &str) -> Failure {
    Failure {
        api_code: Some("model_not_found".into()),
        ..Failure::new(
            404,
            "model_not_found",
            ollama::model_not_found(operation, name),
        )
    }
}

/// `X-Provider`.
///
/// # Errors
/// 400 if it is no text.
pub(crate) fn provider_header(session: &Session) -> Result<Option<String>, Failure> {
    let Some(value) = session.req_header().headers.get("x-provider") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(_) => Err(Failure::bad_request("X-Provider is not a provider's name")),
    }
}
