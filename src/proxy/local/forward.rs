//! Forwards a look-up, which needs no slot, to Ollama servers with the model, one after the other. What follows a failure is
//! decided as for any other request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_proxy::Session;

use crate::fleet::Backend;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::BegunAnswer;
use crate::proxy::attempt::exchange::UpstreamExchange;
use crate::proxy::attempt::passing::respelled;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::failover::{
    Conditions, FailedAttempt, HealthReport, NextStep, TriedBackend,
};
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::failure::attempt::{AttemptError, ClientError};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::prepared::{ModelRequest, Resuming, WantedModel};
use crate::proxy::request_filter::body_budget::Body;
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::hold::Hold;
use crate::routing::Plan;
use remuda_formats::client::Operation;

/// A look-up that a server answers.
pub(super) struct LookUp<'g> {
    gateway: &'g Gateway,
    operation: Operation,
    body: Body,
    /// How the body names the model, so that each server reads its own name.
    wanted: WantedModel,
    /// Which servers may be asked.
    progress: PlanProgress,
}

impl<'g> LookUp<'g> {
    /// Makes a look-up that has not begun. It may be asked of the Ollama servers that `servers` names.
    pub(super) fn new(
        gateway: &'g Gateway,
        operation: Operation,
        body: Body,
        wanted: WantedModel,
        servers: Plan,
    ) -> Self {
        LookUp {
            gateway,
            operation,
            body,
            wanted,
            progress: PlanProgress::new(servers, 0, None),
        }
    }

    /// Returns the server that is asked next; `None` if all have been tried, or are down.
    pub(super) fn next_server(&self) -> Option<Arc<Backend>> {
        let step = self.progress.plan.steps.first()?;
        let fleet = &self.gateway.fleet;
        fleet
            .providers()
            .filter(|provider| self.progress.may_ask(step, provider.id))
            .find_map(|provider| {
                let model = step.model.listed();
                fleet.pick(Some(provider), model, &self.progress.tried(step))
            })
    }

    /// Forwards the look-up until a server answers it.
    ///
    /// # Errors
    /// The failure that the client is to be told instead, or why it cannot be told anything.
    pub(super) async fn run(
        mut self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
    ) -> Result<(), Stop> {
        let responder = &self.gateway.responder;
        let client = &mut session.downstream_session;
        while let Some(backend) = self.next_server() {
            ctx.attempt.number += 1;
            ctx.attempt.backend = Some(Arc::clone(&backend.name));
            ctx.attempt.provider = Some(backend.provider.id);
            let began = Instant::now();
            let serving = backend.begin();
            let request = Arc::new(self.request_to(&backend));
            let sent = Arc::clone(&ctx.attempt.sent);
            let mut exchange =
                UpstreamExchange::new(self.gateway, (request, &backend), 0, None, sent);
            let failed = match exchange.run(client, ctx).await {
                Ok(answer) => {
                    let begun = BegunAnswer {
                        answer,
                        backend,
                        hold: Hold::new(Some(serving), None, Duration::ZERO),
                        deadline: None,
                    };
                    let relayed = responder.relay(client, ctx, framing, begun).await;
                    return relayed.map(drop);
                }
                Err(failed) => failed,
            };
            drop(serving);
            if let Some(stop) = failed.error.stop() {
                return Err(stop);
            }
            if let AttemptError::Final(error, _) = failed.error {
                return responder.tell(session, ctx, framing, error).await;
            }
            if self.after_failure(&backend, failed.error, began) == NextStep::Stop {
                break;
            }
        }
        if self.progress.reasons.is_empty() {
            let nobody = Failure::no_healthy_backend().retry_after(1);
            return Err(self.gateway.queue.in_words_for(nobody, &[]).into());
        }
        let error = self.progress.reasons.client_error();
        let nothing = || ClientError::Failure(Box::new(Failure::all_attempts_failed()));
        let error = error.unwrap_or_else(nothing);
        responder.tell(session, ctx, framing, error).await
    }

    /// Returns the look-up as the server knows the model.
    fn request_to(&self, backend: &Backend) -> ModelRequest {
        let own = self.gateway.upstreams.own_name(&self.wanted, backend);
        let bytes = &self.body.bytes;
        ModelRequest {
            operation: self.operation,
            has_body: !bytes.is_empty(),
            body: Body::unshared(respelled(self.operation, bytes, &self.wanted, &own)),
            streams: false,
            wanted: None,
            wary: false,
            context: None,
            resume: Resuming::Never,
        }
    }

    /// Notes a look-up that has failed, and decides what follows. Servers of a fleet have no keys to try and are not asked
    /// again, and of a look-up there is no other plan: the next is asked, or nobody.
    fn after_failure(
        &mut self,
        backend: &Backend,
        error: AttemptError,
        began: Instant,
    ) -> NextStep {
        let AttemptError::Retryable {
            outcome,
            report,
            error,
            cause,
        } = error
        else {
            return NextStep::Stop;
        };
        let (gateway, progress) = (self.gateway, &mut self.progress);
        gateway.upstreams.count(backend, outcome);
        let tried = TriedBackend::of(backend);
        match progress.report(&tried, outcome, report, error.as_ref()) {
            Some(HealthReport::Failed(report)) => gateway.fleet.report(backend.id, report),
            Some(HealthReport::Acquit(first)) => gateway.fleet.acquit(first),
            None => {}
        }
        let server = gateway.upstreams.exposed(backend);
        let reasons = &mut progress.reasons;
        reasons.add(&backend.provider, server, outcome, error);
        let failed = FailedAttempt {
            at: tried,
            cause: &cause,
            took: began.elapsed(),
        };
        let moment = Conditions {
            now: Instant::now(),
            total: None,
            chance: 0.0,
        };
        progress.after_failure(&failed, &gateway.settings.routing, &gateway.queue, &moment)
    }
}
