//! Dispatches a request: attempts in turn, until one begins an answer or nobody is left to ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::protocols::http::ServerSession;

use crate::admission::{NoSlot, Permit};
use crate::fleet::{self, Backend};
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::{BegunAnswer, UpstreamAnswer};
use crate::proxy::attempt::copy_contract::truncation;
use crate::proxy::attempt::exchange::UpstreamExchange;
use crate::proxy::attempt::gather::gather;
use crate::proxy::ctx::{Attempt, Ctx};
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::dispatch::dispatched::{Dispatched, Following, owned};
use crate::proxy::dispatch::failover::{Conditions, FailedAttempt, NextStep, TriedBackend};
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::dispatch::prompt_needs::PromptNeeds;
use crate::proxy::dispatch::resume::{self, Resumption};
use crate::proxy::failure::attempt::{AttemptError, ClientError, Unanswered};
use crate::proxy::failure::deadline::{TOTAL, TimeLimit};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::prepared::{ModelRequest, Prepared, Resuming};
use crate::proxy::response_body::downstream::Downstream;
use crate::proxy::response_body::hold::Hold;
use remuda_formats::ir::FaultKind;

/// Waits for a slot, and makes attempts until one begins an answer. Returns it with what it takes to go on with it elsewhere, if
/// it may.
///
/// # Errors
/// The failure that the client is to be told instead, or the reason why it cannot be told anything.
pub(crate) async fn run(
    gateway: &Gateway,
    client: &mut ServerSession,
    ctx: &mut Ctx,
    prepared: Prepared,
) -> Result<(Dispatched, Option<Box<Resumption>>), Stop> {
    let Prepared {
        operation,
        body,
        wanted,
        plan,
        criteria,
        priority,
        pinned,
    } = prepared;
    let truncate = truncation(&gateway.settings.routing, operation);
    let may_go_on = resume::is_possible(gateway, ctx, (operation, &body, pinned));
    let request = ModelRequest {
        operation,
        body,
        has_body: true,
        streams: ctx.inbound.streams,
        wanted: Some(wanted),
        wary: false,
        context: None,
        resume: if may_go_on {
            Resuming::Possible
        } else {
            Resuming::Never
        },
    };
    let dispatcher = &gateway.queue.dispatcher;
    ctx.opening.await_model(dispatcher, plan.model);
    let needs = PromptNeeds::of(&request, truncate, &gateway.token_ratios);
    let total = gateway.settings.timeouts.total;
    let mut dispatch = Dispatch {
        total: TimeLimit::after(ctx.inbound.started, TOTAL, total),
        gateway,
        client,
        ctx,
        progress: PlanProgress::new(plan, priority, pinned).needing(needs),
        criteria,
        operation,
    };
    let following = dispatch.first_slot().await?;
    let mut request = Arc::new(request);
    match dispatch.attempts(&mut request, following).await? {
        Dispatched::Begun(begun) if may_go_on => {
            let resumption = dispatch.resumption(request, &begun);
            Ok((Dispatched::Begun(begun), Some(resumption)))
        }
        end => Ok((end, None)),
    }
}

impl Dispatch<'_> {
    /// Makes attempts until one begins an answer or nobody is left to ask.
    ///
    /// # Errors
    /// What the client is to be told instead, or why it cannot be told anything.
    pub(super) async fn attempts(
        &mut self,
        request: &mut Arc<ModelRequest>,
        mut following: Following,
    ) -> Result<Dispatched, Stop> {
        loop {
            let permit = match following {
                Following::Slot(permit) => permit,
                Following::End(end) => return Ok(end),
            };
            following = match self.gateway.fleet.backend(permit.backend()) {
                Some(backend) => self.attempt(request, backend, permit).await?,
                // It left between the decision and now; that is no attempt.
                // Boxed, as hardly any backend leaves just then.
                None => Box::pin(self.instead_of(permit)).await?,
            };
        }
    }

    /// Waits for the first slot.
    async fn first_slot(&mut self) -> Result<Following, Stop> {
        let began = Instant::now();
        let slot = self.wait_for_slot(None).await;
        if !matches!(slot, Ok(Ok(_))) {
            // Of others their slot tells.
            self.ctx.outcome.waited += began.elapsed();
        }
        match slot? {
            Ok(permit) => {
                self.ctx.outcome.waited += permit.waited();
                Ok(Following::Slot(permit))
            }
            Err(refusal) => self.without_slot(&refusal, true),
        }
    }

    /// Waits for a slot in place of one whose backend has left the fleet.
    async fn instead_of(&mut self, permit: Permit) -> Result<Following, Stop> {
        self.progress.exclude(permit.backend());
        match self.wait_for_slot(Some(permit)).await? {
            Ok(permit) => Ok(Following::Slot(permit)),
            Err(refusal) => self.without_slot(&refusal, false),
        }
    }

    /// Returns how a request ends that gets no slot; `is_first` if it has not had one before.
    fn without_slot(&mut self, refusal: &NoSlot, is_first: bool) -> Result<Following, Stop> {
        let has_reasons = !self.progress.reasons.is_empty();
        match told_without_slot(refusal, has_reasons, is_first) {
            WithoutSlot::Reasons => Ok(Following::End(self.all_failed())),
            WithoutSlot::NotFound => Err(self.not_found().into()),
            WithoutSlot::TurnedAway => {
                let queue = &self.gateway.queue;
                let failure = queue.turned_away(&self.progress, refusal, || self.not_found());
                Err(failure.into())
            }
        }
    }

    async fn wait_for_slot(
        &mut self,
        from: Option<Permit>,
    ) -> Result<Result<Permit, NoSlot>, Stop> {
        let mut client = Downstream {
            client: self.client,
            opening: &mut self.ctx.opening,
            drain: &self.gateway.drain,
        };
        let queue = &self.gateway.queue;
        queue
            .wait_for_slot(&mut client, &mut self.progress, from)
            .await
    }

    fn not_found(&self) -> Failure {
        let planner = &self.gateway.planner;
        planner.absent(self.operation, &self.criteria.model)
    }

    /// Makes one attempt at `backend`, and a second one beside it if the first keeps silent.
    async fn attempt(
        &mut self,
        request: &mut Arc<ModelRequest>,
        backend: Arc<Backend>,
        permit: Permit,
    ) -> Result<Following, Stop> {
        let gateway = self.gateway;
        let step = self.progress.step;
        let asked = owned(request);
        asked.ask_for(&self.progress.plan.steps[step].model);
        asked.context = permit.context();
        self.ctx.attempt.model = request.model();
        let Some(key) = self.key_for(step, request, &backend) else {
            return self.next_slot(request, Some(permit)).await;
        };
        let attempt = Attempt {
            number: self.ctx.attempt.number + 1,
            ..self.attempt_at(request, &backend, &permit)
        };
        self.ctx.attempt = attempt.clone();
        if self.ctx.inbound.grant.is_some() {
            Box::pin(gateway.admit.afford(self.ctx)).await?;
        }
        let first = self.candidate(step, (request, &backend), permit, key, attempt);
        self.progress.begins(first.started);
        let (mut candidate, mut tried) = self.ask(first).await;
        let ttft = candidate.started.elapsed();
        if let Ok(answer) = &mut tried {
            candidate.permit.first_content();
            if answer.is_to_be_gathered()
                && let Err(failed) = self.gather(&mut candidate, answer).await
            {
                tried = Err(failed);
            }
        }
        match tried {
            Ok(answer) => Ok(Following::End(self.begun(candidate, answer, ttft))),
            // Boxed, so that a request that goes well carries no state of what follows a failure.
            Err(failed) => Box::pin(self.after(request, candidate, failed)).await,
        }
    }

    async fn gather(
        &mut self,
        candidate: &mut SlotCandidate<'_>,
        answer: &mut UpstreamAnswer,
    ) -> Result<(), Unanswered> {
        let mut client = Downstream {
            client: self.client,
            opening: &mut self.ctx.opening,
            drain: &self.gateway.drain,
        };
        let UpstreamExchange {
            backend, request, ..
        } = &mut candidate.exchange;
        let side = self.gateway.upstreams.side(backend.provider.id);
        let both = (&**request, &**backend);
        // Boxed: what is streamed should not carry the state of what is not.
        Box::pin(gather(&mut client, side, both, answer, candidate.here)).await
    }

    /// Notes that an answer has begun.
    fn begun(
        &mut self,
        candidate: SlotCandidate<'_>,
        answer: Box<UpstreamAnswer>,
        ttft: Duration,
    ) -> Dispatched {
        let fleet = &self.gateway.fleet;
        let UpstreamExchange {
            backend, request, ..
        } = &candidate.exchange;
        let first_content = candidate.started + ttft;
        self.ctx.outcome.first_content.get_or_insert(first_content);
        self.ctx.attempt.first_content = Some(first_content);
        let served = fleet::AttemptResult::Served {
            latency: ttft,
            streamed: answer.streamed,
        };
        self.tell_guard(&candidate, served, Some(&answer));
        let response_time = ttft;
        fleet.report(backend.id, fleet::RequestOutcome::Served { response_time });
        let wanted = request.wanted.as_ref();
        self.ctx.attempt.called = wanted.map(|wanted| wanted.called(backend));
        self.ctx.attempt.prompt = self.progress.needs.lesson(request);
        let backend = Arc::clone(backend);
        let SlotCandidate {
            permit,
            serving,
            here,
            ..
        } = candidate;
        let begun = BegunAnswer {
            answer,
            backend,
            hold: Hold::new(serving, Some(permit), ttft),
            deadline: here.map(|here| here.at),
        };
        Dispatched::Begun(begun)
    }

    /// Notes how an attempt failed, and finds out what follows.
    async fn after(
        &mut self,
        request: &mut Arc<ModelRequest>,
        mut candidate: SlotCandidate<'_>,
        failed: Unanswered,
    ) -> Result<Following, Stop> {
        let gateway = self.gateway;
        let backend = Arc::clone(&candidate.exchange.backend);
        let Unanswered { error, usage } = failed;
        let cause = match error {
            AttemptError::ClientGone => {
                gateway
                    .upstreams
                    .count(&backend, AttemptOutcome::ClientGone);
                return Err(Stop::ClientGone);
            }
            AttemptError::ShuttingDown => {
                gateway.upstreams.count(&backend, AttemptOutcome::Cancelled);
                return Err(Failure::shutting_down().into());
            }
            AttemptError::Overdue(limit) => {
                self.overdue(&candidate, limit, usage);
                drop(candidate);
                return Ok(Following::End(self.end(request)));
            }
            AttemptError::Final(error, _) => {
                self.objected(&candidate, usage);
                return Ok(Following::End(Dispatched::Failed(error)));
            }
            AttemptError::Retryable {
                outcome,
                report,
                error,
                cause,
            } => {
                self.failed(&mut candidate, outcome, (report, error), (&cause, usage));
                cause
            }
        };
        let SlotCandidate {
            exchange,
            permit,
            started,
            ..
        } = candidate;
        drop(exchange);
        owned(request).wary |= cause.kind == FaultKind::Timeout;
        let failed = FailedAttempt {
            at: TriedBackend::of(&backend),
            cause: &cause,
            took: started.elapsed(),
        };
        let moment = Conditions {
            now: Instant::now(),
            total: self.total,
            chance: rand::random(),
        };
        let routing = &gateway.settings.routing;
        let next = self
            .progress
            .after_failure(&failed, routing, &gateway.queue, &moment);
        self.follow(next, request, permit).await
    }

    /// Carries out what the failover has decided.
    async fn follow(
        &mut self,
        next: NextStep,
        request: &ModelRequest,
        permit: Permit,
    ) -> Result<Following, Stop> {
        let following = match next {
            NextStep::OtherKey => return Ok(Following::Slot(permit)),
            NextStep::Stop => {
                drop(permit);
                Following::End(self.end(request))
            }
            NextStep::Again(pause) => {
                // Its slot is of use to others meanwhile.
                drop(permit);
                let mut client = Downstream {
                    client: self.client,
                    opening: &mut self.ctx.opening,
                    drain: &self.gateway.drain,
                };
                client.unless_ended(tokio::time::sleep(pause)).await?;
                self.next_slot(request, None).await?
            }
            NextStep::OtherBackend | NextStep::AnyBackend | NextStep::NextProvider => {
                self.next_slot(request, Some(permit)).await?
            }
            NextStep::Replan => {
                drop(permit);
                self.replan();
                self.next_slot(request, None).await?
            }
        };
        if let Following::Slot(permit) = &following {
            self.ctx.outcome.waited += permit.waited();
        }
        Ok(following)
    }

    pub(super) fn replan(&mut self) {
        let planner = &self.gateway.planner;
        let plan = planner.plan_without(&self.criteria, self.progress.closed());
        self.progress.replan(plan);
    }

    /// Waits for a slot for the next attempt, or ends the request if there is none to be had.
    pub(super) async fn next_slot(
        &mut self,
        request: &ModelRequest,
        mut from: Option<Permit>,
    ) -> Result<Following, Stop> {
        loop {
            let began = Instant::now();
            let slot = self.wait_for_slot(from.take()).await;
            if !matches!(slot, Ok(Ok(_))) {
                self.ctx.outcome.waited += began.elapsed();
            }
            let refusal = match slot? {
                Ok(permit) => return Ok(Following::Slot(permit)),
                Err(refusal) => refusal,
            };
            let fallback = self.gateway.settings.routing.fallback;
            match self.progress.after_refusal(&refusal, fallback) {
                NextStep::NextProvider => {}
                NextStep::Replan => self.replan(),
                _ if self.progress.reasons.is_empty()
                    && matches!(refusal, NoSlot::TooLong { .. }) =>
                {
                    let queue = &self.gateway.queue;
                    let failure = queue.turned_away(&self.progress, &refusal, || self.not_found());
                    return Err(failure.into());
                }
                _ => return Ok(Following::End(self.end(request))),
            }
        }
    }

    /// Returns what the client is told when no attempt has worked: an estimate of the prompt's tokens where they were asked for
    /// and nobody counts them, else the reasons.
    fn end(&mut self, request: &ModelRequest) -> Dispatched {
        if self.progress.uncounted {
            return Dispatched::Uncounted(request.body.bytes.clone());
        }
        self.all_failed()
    }

    /// Returns the reasons why no attempt has worked, as the client is told them.
    fn all_failed(&mut self) -> Dispatched {
        let told = self.progress.reasons.client_error();
        let nothing = || ClientError::Failure(Box::new(Failure::all_attempts_failed()));
        Dispatched::Failed(told.unwrap_or_else(nothing))
    }
}

/// What the client of a request without a slot is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WithoutSlot {
    /// The reasons why candidates have failed or were passed over.
    Reasons,
    /// The model is not found.
    NotFound,
    /// The reason why there is no slot.
    TurnedAway,
}

/// Decides what the client of a request without a slot is told. `has_reasons`: candidates have failed or were passed over;
/// `is_first`: the request has had no slot before.
fn told_without_slot(refusal: &NoSlot, has_reasons: bool, is_first: bool) -> WithoutSlot {
    match refusal {
        NoSlot::Exhausted if has_reasons => WithoutSlot::Reasons,
        // Nothing has been tried yet: there is no backend of that provider.
        NoSlot::Exhausted if is_first => WithoutSlot::NotFound,
        _ => WithoutSlot::TurnedAway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_go_before_a_model_that_is_not_found_and_a_full_queue_before_both() {
        use WithoutSlot::{NotFound, Reasons, TurnedAway};
        let retry_after = Duration::from_secs(1);
        let full = NoSlot::QueueFull { retry_after };
        for (refusal, has_reasons, is_first, expected) in [
            (NoSlot::Exhausted, true, true, Reasons),
            (NoSlot::Exhausted, true, false, Reasons),
            (NoSlot::Exhausted, false, true, NotFound),
            // The backend of its slot has left, and it was the only one.
            (NoSlot::Exhausted, false, false, TurnedAway),
            (NoSlot::UnknownModel, false, true, TurnedAway),
            (full, true, true, TurnedAway),
        ] {
            let told = told_without_slot(&refusal, has_reasons, is_first);
            assert_eq!(told, expected, "{refusal:?} {has_reasons} {is_first}");
        }
    }
}
