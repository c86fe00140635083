//! Forwards a look-up, which needs no slot, to Ollama servers with the model, one after the other. What follows a failure is
//! decided as for any other request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::proxy::Session;

use crate::fleet::Backend;
use crate::ids::ModelId;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::BegunAnswer;
use crate::proxy::attempt::exchange::UpstreamExchange;
use crate::proxy::attempt::upstream_request::respelled;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::failover::{
    Conditions, FailedAttempt, HealthReport, NextStep, TriedBackend,
};
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::failure::attempt::{AttemptError, ClientError};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::prepared::{ModelRequest, WantedModel};
use crate::proxy::request_filter::body::Body;
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::hold::Hold;
use crate::routing::{Plan, PlanStep, StepModel};
use remuda_formats::client::Operation;

/// A look-up that a server answers.
pub(super) struct LookUp {
    pub(super) operation: Operation,
    pub(super) body: Body,
    /// How the body names the model, so that each server reads its own name.
    pub(super) wanted: WantedModel,
    /// Which servers may be asked.
    pub(super) progress: PlanProgress,
}

impl Gateway {
    /// Returns the progress of a look-up that has not begun: it may be asked of the plan's Ollama servers with the model.
    pub(super) fn servers_of(&self, plan: &Plan, model: ModelId) -> PlanProgress {
        let barred = self.planner.unplanned_providers(plan);
        let fleets = self
            .fleet
            .providers()
            .filter(|provider| provider.settings.kind.is_fleet() && !barred.contains(&provider.id));
        let providers: Vec<_> = fleets.map(|provider| provider.id).collect();
        let step = PlanStep {
            model: StepModel::Listed(model),
            providers,
            equal: false,
            reserve: false,
            max_wait: None,
        };
        let steps = Some(step).filter(|step| !step.providers.is_empty());
        let plan = Plan {
            steps: steps.into_iter().collect(),
            model: Some(model),
        };
        PlanProgress::new(plan, 0, None)
    }

    /// Returns the server that is asked next; `None` if all have been tried, or are down.
    pub(super) fn server_for(&self, progress: &PlanProgress) -> Option<Arc<Backend>> {
        let step = progress.plan.steps.first()?;
        self.fleet
            .providers()
            .filter(|provider| progress.may_ask(step, provider.id))
            .find_map(|provider| {
                let model = step.model.listed();
                self.fleet
                    .pick(Some(provider), model, &progress.tried(step))
            })
    }

    /// Forwards a look-up until a server answers it.
    pub(super) async fn forward(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        look_up: LookUp,
    ) -> Result<(), Stop> {
        let LookUp {
            operation,
            body,
            wanted,
            mut progress,
        } = look_up;
        let client = &mut session.downstream_session;
        while let Some(backend) = self.server_for(&progress) {
            ctx.attempt.number += 1;
            ctx.attempt.backend = Some(Arc::clone(&backend.name));
            ctx.attempt.provider = Some(backend.provider.id);
            let began = Instant::now();
            let serving = backend.begin();
            let own = self.upstreams.own_name(&wanted, &backend);
            let request = Arc::new(ModelRequest {
                operation,
                has_body: !body.bytes.is_empty(),
                body: Body::unshared(respelled(operation, &body.bytes, &wanted, &own)),
                streams: false,
                wanted: None,
                wary: false,
            });
            let sent = Arc::clone(&ctx.attempt.sent);
            let mut exchange = UpstreamExchange::new(self, (request, &backend), 0, None, sent);
            let failed = match exchange.run(client, ctx).await {
                Ok(answer) => {
                    let begun = BegunAnswer {
                        answer,
                        backend,
                        hold: Hold::new(Some(serving), None, Duration::ZERO),
                        deadline: None,
                    };
                    return self.relay(client, ctx, framing, begun).await.map(drop);
                }
                Err(failed) => failed,
            };
            drop(serving);
            if let Some(stop) = failed.error.stop() {
                return Err(stop);
            }
            if let AttemptError::Final(error, _) = failed.error {
                return self.tell(session, ctx, framing, error).await;
            }
            let next = self.after_look_up(&mut progress, &backend, failed.error, began);
            if next == NextStep::Stop {
                break;
            }
        }
        if progress.reasons.is_empty() {
            let nobody = Failure::no_healthy_backend().retry_after(1);
            return Err(self.queue.in_words_for(nobody, &[]).into());
        }
        let error = progress.reasons.client_error();
        let nothing = || ClientError::Failure(Box::new(Failure::all_attempts_failed()));
        self.tell(session, ctx, framing, error.unwrap_or_else(nothing))
            .await
    }

    /// Notes a look-up that has failed, and decides what follows. Servers of a fleet have no keys to try and are not asked again, and of
    /// a look-up there is no other plan: the next is asked, or nobody.
    fn after_look_up(
        &self,
        progress: &mut PlanProgress,
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
        self.upstreams.count(backend, outcome);
        let tried = TriedBackend::of(backend);
        match progress.report(&tried, outcome, report, error.as_ref()) {
            Some(HealthReport::Failed(report)) => self.fleet.report(backend.id, report),
            Some(HealthReport::Acquit(first)) => self.fleet.acquit(first),
            None => {}
        }
        let server = self.exposed(backend);
        let reasons = &mut progress.reasons;
        reasons.add(&backend.provider, server, outcome, error);
        let failed = FailedAttempt {
            at: TriedBackend::of(backend),
            cause: &cause,
            took: began.elapsed(),
        };
        let moment = Conditions {
            now: Instant::now(),
            total: None,
            chance: 0.0,
        };
        progress.after_failure(&failed, &self.settings.routing, &self.queue, &moment)
    }
}
