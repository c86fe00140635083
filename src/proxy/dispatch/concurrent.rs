//! An attempt until its first content, and a second one beside it where the first keeps silent: whichever answers first
//! serves the request, and the other is cancelled. Of two that fail, the last is the caller's to judge.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::admission::Scope;
use crate::fleet::Backend;
use crate::ids::ProviderId;
use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::exchange::{Came, UpstreamExchange};
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::dispatch::failover::TriedBackend;
use crate::proxy::dispatch::hedge::{AGAIN, HedgeInput, hedge_after};
use crate::proxy::dispatch::places_in_queue::until_due;
use crate::proxy::failure::attempt::{AttemptError, Cause, Unanswered};
use crate::proxy::prepared::ModelRequest;
use crate::proxy::response_body::downstream::Downstream;
use crate::settings::Fallback;
use remuda_formats::ir::{Class, FaultKind};

/// How asking came out: an answer that has begun, or why there is none.
type Asking = Result<Box<UpstreamAnswer>, Unanswered>;

/// What is waited for.
enum Event {
    First(Came),
    Second(Came),
    /// The client has gone, or the process ends.
    Left(AttemptError),
    /// The first has been silent for long enough.
    Due,
}

impl<'a> Dispatch<'a> {
    /// Asks `first` until it gives content or has failed; where it keeps silent for long, another candidate too. What is
    /// returned is the one that answers, or the last that failed, and the request's context tells of it; of the other all
    /// is noted.
    pub(super) async fn ask(
        &mut self,
        mut first: SlotCandidate<'a>,
    ) -> (SlotCandidate<'a>, Asking) {
        if let Err(failed) = first.exchange.launch(self.client, self.ctx).await {
            return (first, Err(failed));
        }
        let mut due = self.hedge_at(&first);
        let mut second: Option<Box<SlotCandidate<'a>>> = None;
        loop {
            match self.event(&mut first, second.as_deref_mut(), due).await {
                Event::First(came) => {
                    let Some(result) = self.judge(&mut first, came).await else {
                        continue;
                    };
                    match (result, second.take()) {
                        // The second goes on, and is the next attempt.
                        (Err(failed), Some(other)) if failed.error.is_of_backend() => {
                            self.lost(&mut first, failed);
                            first = *other;
                            self.take_over(&mut first);
                        }
                        (result, second) => {
                            self.leave(&first, second, &result);
                            return (first, result);
                        }
                    }
                }
                Event::Second(came) => {
                    let Some(other) = second.take() else {
                        continue;
                    };
                    match self.second_came(other, came, &mut first).await {
                        Second::Goes(other) => second = Some(other),
                        Second::Lost => {}
                        Second::Answers(mut other, answer) => {
                            self.cancel(first, AttemptOutcome::Cancelled);
                            self.take_over(&mut other);
                            return (*other, Ok(answer));
                        }
                        Second::Ended(failed) => return (first, Err(failed)),
                    }
                }
                Event::Left(error) => {
                    let result = Err(error.into());
                    self.leave(&first, second, &result);
                    return (first, result);
                }
                Event::Due => {
                    due = None;
                    match Box::pin(self.hedge(&mut first)).await {
                        Ok(Hedge::Asked(other)) => second = Some(other),
                        Ok(Hedge::Nobody) => due = Some(Instant::now() + AGAIN),
                        Ok(Hedge::Failed) => {}
                        Err(failed) => return (first, Err(failed)),
                    }
                }
            }
        }
    }

    /// Ends the second, if there is one, beside a first whose asking came out like that.
    fn leave(
        &mut self,
        first: &SlotCandidate<'a>,
        second: Option<Box<SlotCandidate<'a>>>,
        result: &Asking,
    ) {
        if let Some(second) = second {
            self.cancel(*second, outcome_beside(result));
            first.enter(self.ctx);
        }
    }

    /// Waits for what happens first.
    async fn event(
        &mut self,
        first: &mut SlotCandidate<'a>,
        second: Option<&mut SlotCandidate<'a>>,
        due: Option<Instant>,
    ) -> Event {
        let of_second = async {
            match second {
                Some(second) => second.exchange.came().await,
                None => std::future::pending().await,
            }
        };
        let mut waiting = Downstream {
            client: self.client,
            opening: &mut self.ctx.opening,
            drain: &self.gateway.drain,
        };
        tokio::select! {
            biased;
            came = first.exchange.came() => Event::First(came),
            came = of_second => Event::Second(came),
            error = waiting.ends() => Event::Left(error),
            () = until_due(due), if due.is_some() => Event::Due,
        }
    }

    /// Finds out what a try of `candidate` came to; `None` if it is sent once more.
    async fn judge(&mut self, candidate: &mut SlotCandidate<'a>, came: Came) -> Option<Asking> {
        let exchange = &mut candidate.exchange;
        if let Some(result) = exchange.judge(came) {
            return Some(result);
        }
        let launched = exchange.launch(self.client, self.ctx).await;
        launched.err().map(Err)
    }

    /// Finds out what a try of the second candidate came to, while the first still keeps silent.
    async fn second_came(
        &mut self,
        mut other: Box<SlotCandidate<'a>>,
        came: Came,
        first: &mut SlotCandidate<'a>,
    ) -> Second<'a> {
        let Some(result) = Box::pin(self.judge(&mut other, came)).await else {
            return Second::Goes(other);
        };
        match result {
            Err(failed) if matches!(failed.error, AttemptError::ClientGone) => {
                self.cancel(*other, AttemptOutcome::ClientGone);
                first.enter(self.ctx);
                Second::Ended(failed)
            }
            Err(failed) => {
                other.enter(self.ctx);
                self.lost(&mut other, failed);
                first.enter(self.ctx);
                Second::Lost
            }
            Ok(answer) => Second::Answers(other, answer),
        }
    }

    /// Returns when another candidate is asked too, if `first` is silent until then.
    fn hedge_at(&self, first: &SlotCandidate<'_>) -> Option<Instant> {
        let gateway = self.gateway;
        let UpstreamExchange {
            backend,
            request,
            visible,
            ..
        } = &first.exchange;
        // The usual case is a fleet or a service by itself.
        let alone = || gateway.fleet.snapshot().len() < 2;
        if self.progress.hedged || self.progress.pinned.is_some() || alone() {
            return None;
        }
        let load = || match request.model() {
            Some(model) if first.permit.cold() => {
                gateway.queue.dispatcher.load_time(backend.id, model)
            }
            _ => Duration::ZERO,
        };
        let after = hedge_after(&HedgeInput {
            setting: gateway.settings.routing.retry.hedge_after,
            visible: *visible && request.operation.is_inference(),
            usual: backend.response_time(first.started),
            load: load(),
        });
        after.map(|after| first.started + after)
    }

    /// Asks another candidate besides `first`, where one has a free slot now.
    ///
    /// # Errors
    /// The client has gone.
    async fn hedge(&mut self, first: &mut SlotCandidate<'a>) -> Result<Hedge<'a>, Unanswered> {
        let Some(mut other) = self.another(first).await else {
            return Ok(Hedge::Nobody);
        };
        self.progress.hedged = true;
        log::info!(
            "no content from {} after {:.1} s: {} is asked too, attempt {} of request {:?}",
            first.exchange.backend.name,
            first.started.elapsed().as_secs_f64(),
            other.exchange.backend.name,
            self.ctx.attempt.number,
            self.ctx.inbound.request_id
        );
        match other.exchange.launch(self.client, self.ctx).await {
            Ok(()) => Ok(Hedge::Asked(other)),
            Err(failed) if matches!(failed.error, AttemptError::ClientGone) => {
                self.cancel(*other, AttemptOutcome::ClientGone);
                first.enter(self.ctx);
                Err(failed)
            }
            Err(failed) => {
                other.enter(self.ctx);
                self.lost(&mut other, failed);
                first.enter(self.ctx);
                Ok(Hedge::Failed)
            }
        }
    }

    /// Returns the first of the plan's candidates besides `first` that could begin now: no reserve, and nobody who would
    /// have to be waited for.
    async fn another(&mut self, first: &mut SlotCandidate<'a>) -> Option<Box<SlotCandidate<'a>>> {
        let gateway = self.gateway;
        for step in 0..self.progress.plan.steps.len() {
            if self.progress.plan.steps[step].reserve {
                continue;
            }
            // Who may not be asked after all is closed, so this comes to an end.
            while let Some(scope) = self.beside(step, &first.exchange.backend) {
                let want = self.progress.want(step);
                let slot = gateway.queue.dispatcher.acquire_within(want, scope);
                let Some(Ok(permit)) = at_once(slot).await else {
                    break;
                };
                let Some(backend) = gateway.fleet.backend(permit.backend()) else {
                    break;
                };
                let model = &self.progress.plan.steps[step].model;
                let request = Arc::new(ModelRequest {
                    context: permit.context(),
                    ..first.exchange.request.beside(model)
                });
                let Some(key) = self.key_for(step, &request, &backend) else {
                    continue;
                };
                let attempt = self.attempt_at(&request, &backend, &permit);
                let account = attempt.account.as_ref();
                let aside = self.ctx.inbound.afford_too(account)?;
                self.ctx.attempt.number += 1;
                let both = (&request, &backend);
                let other = self.candidate(step, both, permit, key, attempt);
                return Some(Box::new(SlotCandidate { aside, ..other }));
            }
        }
        None
    }

    /// Returns where a step may be taken besides `present`; `None`: nowhere.
    fn beside(&self, step: usize, present: &Backend) -> Option<Scope> {
        let (queue, progress) = (&self.gateway.queue, &self.progress);
        let routing = &queue.settings.routing;
        let now = Instant::now();
        let as_of = Some(queue.dispatcher.closings());
        let wanted = &progress.plan.steps[step].model;
        let open = |provider: ProviderId| {
            let may = if provider == present.provider.id {
                progress.again < routing.max_retries
            } else {
                routing.fallback != Fallback::None
            };
            may && queue.unavailable(wanted, provider, now).is_none()
                && queue.could_serve(progress, step, provider)
        };
        let count = self.gateway.upstreams.count_providers();
        let scope = progress.scope_beside(step, count, present.id, open)?;
        let scope = queue.without_shunned(progress, step, scope);
        queue.is_well(progress, step, &scope).then_some(Scope {
            as_of,
            elsewhere: true,
            ..scope
        })
    }

    /// Ends what another has been quicker than. It is no failure, but a provider that has the request charges for it.
    fn cancel(&mut self, mut loser: SlotCandidate<'_>, outcome: AttemptOutcome) {
        loser.enter(self.ctx);
        loser.exchange.stop();
        if outcome == AttemptOutcome::Cancelled {
            loser.exchange.backend.forsake();
        }
        loser.serving = None;
        let silence = Cause::new(Class::Transient, FaultKind::Timeout);
        let UpstreamExchange {
            backend, request, ..
        } = &loser.exchange;
        let gateway = self.gateway;
        gateway
            .record
            .charge_attempt(self.ctx, (request, backend), Some(&silence), None);
        gateway.upstreams.count(backend, outcome);
        log::info!(
            "{} at {}: request {:?} after {:.1} s",
            outcome.name(),
            backend.name,
            self.ctx.inbound.request_id,
            loser.started.elapsed().as_secs_f64()
        );
    }

    /// Notes the failure of one of two, and that it is not asked again.
    fn lost(&mut self, at: &mut SlotCandidate<'_>, failed: Unanswered) {
        let Unanswered { error, usage } = failed;
        let cause = match error {
            AttemptError::Retryable {
                outcome,
                report,
                error,
                cause,
            } => {
                self.failed(at, outcome, (report, error), (&cause, usage));
                Some(cause)
            }
            AttemptError::Overdue(limit) => {
                self.overdue(at, limit, usage);
                None
            }
            AttemptError::Final(error, _) => {
                self.objected(at, usage);
                let backend = &at.exchange.backend;
                let server = self.gateway.upstreams.exposed(backend);
                let reasons = &mut self.progress.reasons;
                let outcome = AttemptOutcome::Refused;
                reasons.add(&backend.provider, server, outcome, Some(error));
                None
            }
            AttemptError::ClientGone | AttemptError::ShuttingDown => None,
        };
        at.aside = None;
        let tried = TriedBackend::of(&at.exchange.backend);
        self.progress.after_loss(at.step, &tried, cause.as_ref());
    }

    /// Makes the second the one that counts from now on.
    fn take_over(&mut self, second: &mut SlotCandidate<'_>) {
        second.enter(self.ctx);
        self.progress.step = second.step;
        self.progress.confine_to(None);
        if let (Some(grant), Some(aside)) = (&mut self.ctx.inbound.grant, second.aside.take()) {
            grant.take_over(aside);
        }
    }
}

/// What becomes of asking a second.
enum Hedge<'g> {
    Asked(Box<SlotCandidate<'g>>),
    /// It could not be sent.
    Failed,
    /// There is none with a free slot.
    Nobody,
}

/// What a try of the second candidate came to.
enum Second<'g> {
    /// It is asked once more.
    Goes(Box<SlotCandidate<'g>>),
    /// It has failed, which is noted.
    Lost,
    Answers(Box<SlotCandidate<'g>>, Box<UpstreamAnswer>),
    /// The client has gone.
    Ended(Unanswered),
}

/// Returns how an attempt is counted beside one that ended so.
fn outcome_beside(result: &Asking) -> AttemptOutcome {
    match result {
        Err(failed) if matches!(failed.error, AttemptError::ClientGone) => {
            AttemptOutcome::ClientGone
        }
        _ => AttemptOutcome::Cancelled,
    }
}

/// Returns what `slot` gives without a wait.
async fn at_once<T>(slot: impl Future<Output = T>) -> Option<T> {
    let mut slot = pin!(slot);
    poll_fn(|context| {
        Poll::Ready(match slot.as_mut().poll(context) {
            Poll::Ready(come) => Some(come),
            Poll::Pending => None,
        })
    })
    .await
}
