//! An attempt until its first content, and a second one beside it where the first keeps silent: whichever answers first
//! serves the request, and the other is cancelled. Of two that fail, the last is the caller's to judge.

use std::time::{Duration, Instant};

use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::exchange::{Came, UpstreamExchange};
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::dispatch::failover::TriedBackend;
use crate::proxy::dispatch::hedge::{AGAIN, HedgeInput, hedge_after};
use crate::proxy::dispatch::lateness::came;
use crate::proxy::dispatch::places_in_queue::until_due;
use crate::proxy::dispatch::silence::Silence;
use crate::proxy::failure::attempt::{AttemptError, Cause, Unanswered};
use crate::proxy::response_body::downstream::Downstream;
use remuda_formats::ir::{Class, FaultKind};

/// How asking came out: an answer that has begun, or why there is none.
type Asking = Result<Box<UpstreamAnswer>, Unanswered>;

/// What is waited for.
enum Event {
    First(Came),
    Second(Came),
    /// The client has gone, or the process ends.
    Left(AttemptError),
    /// Somebody has been silent for so long that it is to be looked at, or another to be asked.
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
                            due = self.for_late(&first);
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
                        Second::Lost => due = self.for_late(&first),
                        Second::Answers(mut other, answer) => {
                            self.was_outrun(&first, &other);
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
                Event::Due => match self.attend(&mut first, &mut second, due).await {
                    Ok(next) => due = next,
                    Err(failed) => return (first, Err(failed)),
                },
            }
        }
    }

    /// Looks at who has kept silent, and asks another besides `first` where that is due. Returns when that is due next.
    ///
    /// # Errors
    /// The client has gone.
    async fn attend(
        &mut self,
        first: &mut SlotCandidate<'a>,
        second: &mut Option<Box<SlotCandidate<'a>>>,
        due: Option<Instant>,
    ) -> Result<Option<Instant>, Unanswered> {
        let now = Instant::now();
        if let Some(second) = second {
            self.has_become_late(second, now);
        }
        let is_late = self.has_become_late(first, now);
        let due = if is_late && second.is_none() {
            self.for_late(first)
        } else {
            due
        };
        if due.is_none_or(|due| due > now) {
            return Ok(due);
        }
        Ok(match Box::pin(self.hedge(first)).await? {
            Hedge::Asked(other) => {
                *second = Some(other);
                None
            }
            Hedge::Nobody => Some(Instant::now() + AGAIN),
            Hedge::Failed => self.for_late(first).map(|now| now + AGAIN),
        })
    }

    /// Returns when another is asked besides `first`, whatever has been asked before: at once, if that is late.
    fn for_late(&self, first: &SlotCandidate<'_>) -> Option<Instant> {
        let asks = first.silence.is_late() && self.has_others();
        asks.then(Instant::now)
    }

    /// Returns whether there may be anybody else to ask: the client names no server, and there are several.
    fn has_others(&self) -> bool {
        self.progress.pinned.is_none() && self.gateway.fleet.snapshot().len() > 1
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
        let silent = [
            Some(first.silence),
            second.as_deref().map(|one| one.silence),
        ];
        let looked_at = silent.into_iter().flatten().filter_map(Silence::due);
        let due = looked_at.chain(due).min();
        let of_second = async {
            match second {
                Some(second) => came(second).await,
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
            came = came(first) => Event::First(came),
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
        if self.progress.hedged || !self.has_others() {
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
