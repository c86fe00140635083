//! An attempt until its first content, and a second one beside it where the first keeps silent: whichever answers first
//! serves the request, and the other is cancelled. Of two that fail, the last is the caller's to judge.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora::proxy::Session;

use crate::access::Aside;
use crate::admission::{Permit, Scope};
use crate::fleet::{Backend, InFlight, ModelKey};
use crate::ids::ProviderId;
use crate::ir::{Class, FaultKind};
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::exchange::Answer;
use crate::proxy::attempt::lane::{Came, Lane};
use crate::proxy::ctx::{Attempt, Ctx};
use crate::proxy::dispatch::attempts::model_of;
use crate::proxy::dispatch::failover::is_about_request;
use crate::proxy::dispatch::hedge::{AGAIN, View, hedge_after};
use crate::proxy::dispatch::places_in_queue::turn_of;
use crate::proxy::dispatch::progress::Trip;
use crate::proxy::failure::attempt::{Cause, Setback};
use crate::proxy::failure::deadline::{Bound, TOTAL};
use crate::proxy::prepared::Job;
use crate::settings::Fallback;

/// A backend that has a slot for the request and is asked.
pub(crate) struct Candidate<'g> {
    pub(crate) lane: Lane<'g>,
    pub(crate) permit: Permit,
    /// Until the request has ended there.
    pub(crate) serving: Option<InFlight>,
    pub(crate) key: usize,
    pub(crate) model: ModelKey,
    pub(crate) started: Instant,
    /// The request had been tried before.
    pub(crate) further: bool,
    /// Until when the whole answer may last.
    pub(crate) here: Option<Bound>,
    /// The step of the plan that the slot belongs to.
    pub(crate) step: usize,
    /// What the request's context tells of it.
    attempt: Attempt,
    /// What is set aside of a budget besides.
    aside: Option<Aside>,
}

/// What is waited for.
enum Event {
    First(Came),
    Second(Came),
    /// The client has gone, or the process ends.
    Left(Setback),
    /// The first has been silent for long enough.
    Due,
}

impl Gateway {
    /// What is kept of an attempt at `backend` while it lasts.
    pub(crate) fn attempt_at(&self, job: &Job, backend: &Backend, permit: &Permit) -> Attempt {
        Attempt {
            number: 0,
            backend: Some(Arc::clone(&backend.name)),
            provider: Some(backend.provider.id),
            cold: permit.cold(),
            model: model_of(job),
            account: self.account(job, backend),
            sent: Arc::default(),
        }
    }

    /// A slot at `backend` becomes a candidate. What `key` and `model` are: see [`Self::ready`].
    pub(crate) fn candidate<'g>(
        &'g self,
        ctx: &Ctx,
        trip: &Trip<'_>,
        (job, backend): (&Arc<Job>, &Arc<Backend>),
        permit: Permit,
        (key, model): (usize, ModelKey),
        attempt: Attempt,
    ) -> Candidate<'g> {
        if permit.cold() {
            self.metrics
                .cold_loads
                .with_label_values(&[&*backend.provider.name])
                .inc();
        }
        let started = Instant::now();
        let total = self.settings.timeouts.total;
        let total = Bound::after(ctx.inbound.started, TOTAL, total);
        // Within the request's own bound, if both are set.
        let here = Bound::after(started, TOTAL, backend.provider.settings.timeouts.total);
        let here = Bound::earlier(total, here);
        // The first attempt has all the time that its server may take.
        let until = Bound::earlier(here, self.within(trip));
        let sent = Arc::clone(&attempt.sent);
        Candidate {
            lane: Lane::new(backend, Arc::clone(job), key, until, sent),
            permit,
            serving: Some(backend.begin()),
            key,
            model,
            started,
            further: ctx.attempt.number > 1,
            here,
            step: trip.step,
            attempt,
            aside: None,
        }
    }

    /// Asks `first` until it gives content or has failed; where it keeps silent for long, another candidate too. What is
    /// returned is the one that answers, or the last that failed, and the request's context tells of it; of the other all
    /// is noted.
    pub(crate) async fn ask<'g>(
        &'g self,
        session: &mut Session,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        mut first: Candidate<'g>,
    ) -> (Candidate<'g>, Result<Box<Answer>, Setback>) {
        if let Err(setback) = self.launch(session, ctx, &mut first.lane).await {
            return (first, Err(setback));
        }
        let mut due = self.hedge_at(trip, &first);
        let mut second: Option<Box<Candidate<'g>>> = None;
        let mut cut = pin!(self.drain.cut());
        loop {
            let of_second = async {
                match &mut second {
                    Some(second) => second.lane.came().await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                biased;
                came = first.lane.came() => Event::First(came),
                came = of_second => Event::Second(came),
                () = ctx.opening.attend(&mut session.downstream_session) => Event::Left(Setback::ClientGone),
                () = &mut cut => Event::Left(Setback::Cut),
                () = turn_of(due), if due.is_some() => Event::Due,
            };
            match event {
                Event::First(came) => {
                    let result = match self.judge(&mut first.lane, came) {
                        Some(result) => result,
                        None => match self.launch(session, ctx, &mut first.lane).await {
                            Ok(()) => continue,
                            Err(setback) => Err(setback),
                        },
                    };
                    let Some(other) = second.take() else {
                        return (first, result);
                    };
                    match result {
                        // The second goes on, and is the next attempt.
                        Err(setback @ (Setback::Next { .. } | Setback::Overdue(_))) => {
                            self.lost(ctx, trip, &mut first, setback);
                            first = *other;
                            take_over(ctx, trip, &mut first);
                        }
                        result => {
                            self.cancel(ctx, *other, outcome_beside(&result));
                            first.enter(ctx);
                            return (first, result);
                        }
                    }
                }
                Event::Second(came) => {
                    let Some(mut other) = second.take() else {
                        continue;
                    };
                    let result = match self.judge(&mut other.lane, came) {
                        Some(result) => result,
                        None => match Box::pin(self.launch(session, ctx, &mut other.lane)).await {
                            Ok(()) => {
                                second = Some(other);
                                continue;
                            }
                            Err(setback) => Err(setback),
                        },
                    };
                    match result {
                        Err(setback @ Setback::ClientGone) => {
                            self.cancel(ctx, *other, AttemptOutcome::ClientGone);
                            first.enter(ctx);
                            return (first, Err(setback));
                        }
                        Err(setback) => {
                            other.enter(ctx);
                            self.lost(ctx, trip, &mut other, setback);
                            first.enter(ctx);
                        }
                        Ok(answer) => {
                            self.cancel(ctx, first, AttemptOutcome::Cancelled);
                            take_over(ctx, trip, &mut other);
                            return (*other, Ok(answer));
                        }
                    }
                }
                Event::Left(setback) => {
                    let result = Err(setback);
                    if let Some(other) = second.take() {
                        self.cancel(ctx, *other, outcome_beside(&result));
                        first.enter(ctx);
                    }
                    return (first, result);
                }
                Event::Due => {
                    due = None;
                    match Box::pin(self.hedge(session, ctx, trip, &mut first)).await {
                        Ok(Hedge::Asked(other)) => second = Some(other),
                        Ok(Hedge::Nobody) => due = Some(Instant::now() + AGAIN),
                        Ok(Hedge::Failed) => {}
                        Err(setback) => return (first, Err(setback)),
                    }
                }
            }
        }
    }

    /// When another candidate is asked too, if `first` is silent until then.
    fn hedge_at(&self, trip: &Trip<'_>, first: &Candidate<'_>) -> Option<Instant> {
        let Lane {
            backend,
            job,
            visible,
            ..
        } = &first.lane;
        // The usual case is a fleet or a service by itself.
        if trip.hedged || trip.pinned.is_some() || self.fleet.snapshot().len() < 2 {
            return None;
        }
        let load = || match model_of(job) {
            Some(model) if first.permit.cold() => self.dispatcher.load_time(backend.id, model),
            _ => Duration::ZERO,
        };
        let after = hedge_after(&View {
            setting: self.settings.routing.retry.hedge_after,
            visible: *visible && job.operation.is_inference(),
            usual: backend.response_time(first.started),
            load: load(),
        });
        after.map(|after| first.started + after)
    }

    /// Asks another candidate besides `first`, where one has a free slot now.
    ///
    /// # Errors
    /// The client has gone.
    async fn hedge<'g>(
        &'g self,
        session: &mut Session,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        first: &mut Candidate<'g>,
    ) -> Result<Hedge<'g>, Setback> {
        let Some(mut other) = self.another(ctx, trip, first).await else {
            return Ok(Hedge::Nobody);
        };
        trip.hedged = true;
        log::info!(
            "no content from {} after {:.1} s: {} is asked too, attempt {} of request {:?}",
            first.lane.backend.name,
            first.started.elapsed().as_secs_f64(),
            other.lane.backend.name,
            ctx.attempt.number,
            ctx.inbound.request_id
        );
        match self.launch(session, ctx, &mut other.lane).await {
            Ok(()) => Ok(Hedge::Asked(other)),
            Err(setback @ Setback::ClientGone) => {
                self.cancel(ctx, *other, AttemptOutcome::ClientGone);
                first.enter(ctx);
                Err(setback)
            }
            Err(setback) => {
                other.enter(ctx);
                self.lost(ctx, trip, &mut other, setback);
                first.enter(ctx);
                Ok(Hedge::Failed)
            }
        }
    }

    /// The first of the plan's candidates besides `first` that could begin now: no reserve, and nobody who would have to
    /// be waited for.
    async fn another<'g>(
        &'g self,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        first: &mut Candidate<'g>,
    ) -> Option<Box<Candidate<'g>>> {
        for step in 0..trip.plan.steps.len() {
            if trip.plan.steps[step].reserve {
                continue;
            }
            // Who may not be asked after all is shut, so this comes to an end.
            while let Some(scope) = self.beside(trip, step, &first.lane.backend) {
                let slot = self.dispatcher.acquire_within(trip.want(step), scope);
                let Some(Ok(permit)) = at_once(slot).await else {
                    break;
                };
                let Some(backend) = self.fleet.backend(permit.backend()) else {
                    break;
                };
                let job = Arc::new(first.lane.job.beside(&trip.plan.steps[step].model));
                let Some(keyed) = self.ready(trip, ctx, &job, &backend) else {
                    continue;
                };
                let attempt = self.attempt_at(&job, &backend, &permit);
                let aside = self.afford_too(&ctx.inbound, attempt.account.as_ref())?;
                ctx.attempt.number += 1;
                let present = std::mem::replace(&mut trip.step, step);
                let both = (&job, &backend);
                let other = self.candidate(ctx, trip, both, permit, keyed, attempt);
                trip.step = present;
                return Some(Box::new(Candidate { aside, ..other }));
            }
        }
        None
    }

    /// Where a step may be taken besides `present`.
    fn beside(&self, trip: &Trip<'_>, step: usize, present: &Backend) -> Option<Scope> {
        let own = present.provider.id;
        let routing = &self.settings.routing;
        let now = Instant::now();
        let as_of = Some(self.dispatcher.closings());
        let open = |provider: ProviderId| {
            let may = match provider == own {
                true => trip.again < routing.max_retries,
                false => routing.fallback != Fallback::None,
            };
            may && self.unavailable(trip, step, provider, now).is_none()
                && self.could_serve(trip, step, provider)
        };
        let scope = trip.scope_beside(step, self.upstreams.len(), present.id, open)?;
        let scope = self.without_shunned(trip, step, scope);
        self.is_well(trip, step, &scope).then_some(Scope {
            as_of,
            elsewhere: true,
            ..scope
        })
    }

    /// Ends what another has been quicker than. It is no failure, but a provider that has the request charges for it.
    fn cancel(&self, ctx: &mut Ctx, mut loser: Candidate<'_>, outcome: AttemptOutcome) {
        loser.enter(ctx);
        loser.lane.stop();
        if outcome == AttemptOutcome::Cancelled {
            loser.lane.backend.forsake();
        }
        loser.serving = None;
        let silence = Cause::new(Class::Transient, FaultKind::Timeout);
        let Lane { backend, job, .. } = &loser.lane;
        self.charge_attempt(ctx, job, backend, Some(&silence));
        self.count(backend, outcome);
        log::info!(
            "{} at {}: request {:?} after {:.1} s",
            outcome.name(),
            backend.name,
            ctx.inbound.request_id,
            loser.started.elapsed().as_secs_f64()
        );
    }

    /// Notes the failure of one of two, and that it is not asked again.
    fn lost(&self, ctx: &mut Ctx, trip: &mut Trip<'_>, at: &mut Candidate<'_>, setback: Setback) {
        let fault = match setback {
            Setback::Next {
                outcome,
                report,
                word,
                cause,
            } => {
                self.failed(ctx, trip, at, outcome, (report, word), &cause);
                Some(cause)
            }
            Setback::Overdue(bound) => {
                self.overdue(ctx, trip, at, bound);
                None
            }
            Setback::Final(word, _) => {
                self.objected(ctx, at);
                let Lane { backend, .. } = &at.lane;
                let (server, outcome) = (self.exposed(backend), AttemptOutcome::Refused);
                let reasons = &mut trip.reasons;
                reasons.add(&backend.provider, server, outcome, Some(word));
                None
            }
            Setback::ClientGone | Setback::Cut => None,
        };
        at.aside = None;
        let backend = &at.lane.backend;
        let settings = &backend.provider.settings;
        let common = fault.is_some_and(|cause| cause.class != Class::Transient);
        if !settings.kind.is_fleet() && (common || settings.backends.len() < 2) {
            trip.shut(backend.provider.id);
        }
        trip.exclude(backend.id);
        if fault.is_some_and(|cause| is_about_request(&cause) || cause.of_model) {
            trip.doubt();
        }
    }
}

impl Candidate<'_> {
    /// The request's context tells of this one from now on.
    pub(crate) fn enter(&self, ctx: &mut Ctx) {
        ctx.attempt = Attempt {
            number: ctx.attempt.number,
            ..self.attempt.clone()
        };
    }
}

/// What becomes of asking a second.
enum Hedge<'g> {
    Asked(Box<Candidate<'g>>),
    /// It could not be sent.
    Failed,
    /// There is none with a free slot.
    Nobody,
}

/// The second is the one that counts from now on.
fn take_over(ctx: &mut Ctx, trip: &mut Trip<'_>, second: &mut Candidate<'_>) {
    second.enter(ctx);
    trip.step = second.step;
    trip.keep_to(None);
    if let (Some(grant), Some(aside)) = (&mut ctx.inbound.grant, second.aside.take()) {
        grant.take_over(aside);
    }
}

/// How an attempt is counted beside one that ended so.
fn outcome_beside(result: &Result<Box<Answer>, Setback>) -> AttemptOutcome {
    match result {
        Err(Setback::ClientGone) => AttemptOutcome::ClientGone,
        _ => AttemptOutcome::Cancelled,
    }
}

/// What `slot` gives without a wait.
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
