//! An attempt until its first content, and a second one beside it where the first keeps silent: whichever answers first
//! serves the request, and the other is cancelled. Of two that fail, the last is the caller's to judge.

use std::time::Instant;

use crate::admission::{NoSlot, Permit};
use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::exchange::{Came, UpstreamExchange};
use crate::proxy::dispatch::beside::SlotBeside;
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::dispatch::failover::TriedBackend;
use crate::proxy::dispatch::hedge::AGAIN;
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
    /// Somebody has been silent for so long that it is to be looked at, or another to be asked: with what came of the place in
    /// the queue for one, and the step that this was for.
    Due(Option<(usize, Result<Permit, NoSlot>)>),
}

/// What there is beside the first candidate.
struct Beside<'a> {
    second: Option<Box<SlotCandidate<'a>>>,
    /// When another is to be asked, if one could begin then.
    due: Option<Instant>,
    /// A place in the queue for a second, where the first is late and nobody could begin.
    place: Option<SlotBeside<'a>>,
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
        let mut beside = Beside {
            second: None,
            due: self.hedge_at(&first),
            place: None,
        };
        loop {
            match self.event(&mut first, &mut beside).await {
                Event::First(came) => {
                    let Some(result) = self.judge(&mut first, came).await else {
                        continue;
                    };
                    match (result, beside.second.take()) {
                        // The second goes on, and is the next attempt.
                        (Err(failed), Some(other)) if failed.error.is_of_backend() => {
                            self.lost(&mut first, failed);
                            first = *other;
                            self.take_over(&mut first);
                            beside.due = self.for_late(&first);
                        }
                        (result, second) => {
                            self.leave(&first, second, &result);
                            return (first, result);
                        }
                    }
                }
                Event::Second(came) => {
                    let Some(other) = beside.second.take() else {
                        continue;
                    };
                    match self.second_came(other, came, &mut first).await {
                        Second::Goes(other) => beside.second = Some(other),
                        Second::Lost => beside.due = self.for_late(&first),
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
                    self.leave(&first, beside.second, &result);
                    return (first, result);
                }
                Event::Due(slot) => {
                    let attended = self.attend(&mut first, &mut beside, slot);
                    if let Err(failed) = Box::pin(attended).await {
                        return (first, Err(failed));
                    }
                }
            }
        }
    }

    /// Looks at who has kept silent, and asks another besides `first` where that is due.
    ///
    /// # Errors
    /// The client has gone.
    async fn attend(
        &mut self,
        first: &mut SlotCandidate<'a>,
        beside: &mut Beside<'a>,
        slot: Option<(usize, Result<Permit, NoSlot>)>,
    ) -> Result<(), Unanswered> {
        if let Some(slot) = slot {
            return self.ask_there(first, beside, slot).await;
        }
        let now = Instant::now();
        if let Some(second) = &mut beside.second {
            self.has_become_late(second, now);
        }
        if self.has_become_late(first, now) && beside.second.is_none() {
            beside.due = self.for_late(first);
        }
        if beside.due.is_none_or(|due| due > now) {
            return Ok(());
        }
        beside.due = None;
        if let Some(other) = self.another(first).await {
            return self.hedge(first, beside, other).await;
        }
        if first.silence.is_late() {
            // Others wait as well: without a place among them it would never be its turn.
            beside.place = self.place_beside(first);
        }
        if beside.place.is_none() {
            beside.due = Some(now + AGAIN);
        }
        Ok(())
    }

    /// Asks another besides `first`, which is late, in the slot that came of a place in the queue.
    ///
    /// # Errors
    /// The client has gone.
    async fn ask_there(
        &mut self,
        first: &mut SlotCandidate<'a>,
        beside: &mut Beside<'a>,
        (step, slot): (usize, Result<Permit, NoSlot>),
    ) -> Result<(), Unanswered> {
        beside.place = None;
        match slot.map(|permit| self.made(step, permit, first)) {
            Ok(Ok(other)) => self.hedge(first, beside, other).await,
            Ok(Err(_)) | Err(_) => {
                beside.due = Some(Instant::now() + AGAIN);
                Ok(())
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
    async fn event(&mut self, first: &mut SlotCandidate<'a>, beside: &mut Beside<'a>) -> Event {
        let Beside { second, due, place } = beside;
        let silent = [
            Some(first.silence),
            second.as_deref().map(|one| one.silence),
        ];
        let looked_at = silent.into_iter().flatten().filter_map(Silence::due);
        let due = looked_at.chain(*due).min();
        let of_second = async {
            match second {
                Some(second) => came(second).await,
                None => std::future::pending().await,
            }
        };
        let of_place = async {
            match place {
                Some(place) => place.as_mut().await,
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
            slot = of_place => Event::Due(Some(slot)),
            () = until_due(due), if due.is_some() => Event::Due(None),
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

    /// Asks `other` besides `first`.
    ///
    /// # Errors
    /// The client has gone.
    async fn hedge(
        &mut self,
        first: &mut SlotCandidate<'a>,
        beside: &mut Beside<'a>,
        mut other: Box<SlotCandidate<'a>>,
    ) -> Result<(), Unanswered> {
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
            Ok(()) => beside.second = Some(other),
            Err(failed) if matches!(failed.error, AttemptError::ClientGone) => {
                self.cancel(*other, AttemptOutcome::ClientGone);
                first.enter(self.ctx);
                return Err(failed);
            }
            Err(failed) => {
                other.enter(self.ctx);
                self.lost(&mut other, failed);
                first.enter(self.ctx);
                beside.due = self.for_late(first).map(|now| now + AGAIN);
            }
        }
        Ok(())
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
