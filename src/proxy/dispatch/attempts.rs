//! Attempts, until one gives content or nothing is left to try; what a failure means for the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::proxy::Session;

use crate::admin;
use crate::admission::{Permit, Refusal};
use crate::dialect::ollama::Operation;
use crate::dialect::rate_limits::RateLimits;
use crate::fleet::{self, Attempted, Backend, InFlight, ModelKey, Unavailable};
use crate::ids::ModelId;
use crate::ir::{Class, FaultKind};
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::exchange::Answer;
use crate::proxy::attempt::lane::Lane;
use crate::proxy::ctx::{Attempt, Ctx};
use crate::proxy::dispatch::concurrent::Candidate;
use crate::proxy::dispatch::failover::{Onward, View, is_about_request, is_of_key, onward};
use crate::proxy::dispatch::progress::Trip;
use crate::proxy::failure::attempt::{Cause, Setback, Word};
use crate::proxy::failure::deadline::{Bound, TOTAL, WITHIN};
use crate::proxy::failure::told::{Failure, Stop, refused};
use crate::proxy::prepared::Job;
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::hold::Hold;
use crate::proxy::response_body::relay::Relayed;
use crate::routing::BYTES_PER_TOKEN;
use crate::settings::Fallback;

impl Gateway {
    /// Attempts until one gives content, then relays it.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one request; a struct would be made once and taken apart at once"
    )]
    pub(crate) async fn travel(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        job: Job,
        mut trip: Trip<'_>,
        mut permit: Permit,
        not_found: Failure,
    ) -> Result<(), Stop> {
        let total = Bound::after(ctx.inbound.started, TOTAL, self.settings.timeouts.total);
        ctx.outcome.waited += permit.waited();
        let mut job = Arc::new(job);
        loop {
            let Some(backend) = self.fleet.backend(permit.backend()) else {
                // It left between the decision and now; that is no attempt.
                trip.exclude(permit.backend());
                let client = &mut session.downstream_session;
                let boarding = self.board(client, &mut ctx.opening, &mut trip, Some(permit));
                permit = match boarding.await? {
                    Ok(permit) => permit,
                    Err(Refusal::Exhausted) if !trip.reasons.is_empty() => {
                        return self.tell_last(session, ctx, framing, trip).await;
                    }
                    Err(refusal) => return Err(refused(&refusal, || not_found.clone()).into()),
                };
                continue;
            };
            let step = &trip.plan.steps[trip.step];
            owned(&mut job).ask_for(&step.model);
            ctx.attempt.model = model_of(&job);
            let Some(keyed) = self.ready(&mut trip, ctx, &job, &backend) else {
                permit = match self
                    .next_slot(session, ctx, &mut trip, Some(permit))
                    .await?
                {
                    Some(next) => next,
                    None => return self.tell_outcome(session, ctx, framing, trip, &job).await,
                };
                continue;
            };
            let attempt = Attempt {
                number: ctx.attempt.number + 1,
                ..self.attempt_at(&job, &backend, &permit)
            };
            ctx.attempt = attempt.clone();
            if ctx.inbound.grant.is_some() {
                Box::pin(self.afford(ctx)).await?;
            }
            let both = (&job, &backend);
            let first = self.candidate(ctx, &trip, both, permit, keyed, attempt);
            trip.began.get_or_insert(first.started);
            let (mut at, mut tried) = self.ask(session, ctx, &mut trip, first).await;
            let ttft = at.started.elapsed();
            if let Ok(answer) = &mut tried {
                at.permit.first_content();
                if answer.is_to_be_gathered() {
                    let client = &mut session.downstream_session;
                    let opening = &mut ctx.opening;
                    let Lane { backend, job, .. } = &at.lane;
                    // Boxed: what is streamed should not carry the state of what is not.
                    let gathering = self.gather(client, opening, job, backend, answer, at.here);
                    if let Err(setback) = Box::pin(gathering).await {
                        tried = Err(setback);
                    }
                }
            }
            let cause = match tried {
                Ok(answer) => {
                    ctx.outcome.first_content = Some(at.started + ttft);
                    if let Some(model) = model_of(&at.lane.job) {
                        self.fleet.has_served(&at.lane.backend, model);
                    }
                    let served = fleet::Attempt::Served {
                        latency: ttft,
                        streamed: answer.streamed,
                    };
                    self.attempted(&at, served, answer.limits.as_ref());
                    self.fleet.report(
                        at.lane.backend.id,
                        fleet::Outcome::Served {
                            response_time: ttft,
                        },
                    );
                    let Candidate {
                        lane,
                        permit,
                        serving,
                        here,
                        ..
                    } = at;
                    let backend = Arc::clone(&lane.backend);
                    // None of these is needed any more, and a stream may last for hours.
                    drop(lane);
                    drop(trip);
                    drop(job);
                    return self
                        .finish(
                            session,
                            ctx,
                            framing,
                            &backend,
                            serving,
                            permit,
                            answer,
                            ttft,
                            here.map(|here| here.at),
                        )
                        .await;
                }
                Err(Setback::ClientGone) => {
                    self.count(&at.lane.backend, AttemptOutcome::ClientGone);
                    return Err(Stop::ClientGone);
                }
                Err(Setback::Cut) => {
                    self.count(&at.lane.backend, AttemptOutcome::Cancelled);
                    return Err(Failure::shutting_down().into());
                }
                Err(Setback::Overdue(bound)) => {
                    self.overdue(ctx, &mut trip, &mut at, bound);
                    drop(at);
                    return self.tell_outcome(session, ctx, framing, trip, &job).await;
                }
                Err(Setback::Final(word, _)) => {
                    self.objected(ctx, &at);
                    drop(at);
                    return self.tell(session, ctx, framing, word).await;
                }
                Err(Setback::Next {
                    outcome,
                    report,
                    word,
                    cause,
                }) => {
                    self.failed(ctx, &mut trip, &mut at, outcome, (report, word), &cause);
                    cause
                }
            };
            let Candidate {
                lane,
                permit: held,
                started,
                ..
            } = at;
            let backend = Arc::clone(&lane.backend);
            drop(lane);
            permit = held;
            owned(&mut job).wary |= cause.kind == FaultKind::Timeout;
            let over = [total, self.within(&trip)].into_iter().flatten();
            let over = over.into_iter().find(Bound::is_over);
            if let Some(over) = over {
                let (setting, value) = over.setting();
                trip.reasons.is_over(setting, value);
            }
            let out_of_time = over.is_some();
            let onward = self.onward(&mut trip, &backend, &cause, started.elapsed(), out_of_time);
            let slot = match onward {
                Onward::OtherKey => continue,
                Onward::Nowhere => {
                    drop(permit);
                    None
                }
                Onward::Again(pause) => {
                    // Its slot is of use to others meanwhile.
                    drop(permit);
                    self.pause(session, ctx, &mut trip, pause, total).await?
                }
                Onward::OtherBackend | Onward::AnyBackend | Onward::NextProvider => {
                    self.next_slot(session, ctx, &mut trip, Some(permit))
                        .await?
                }
                Onward::Replan => {
                    drop(permit);
                    trip.replan();
                    self.next_slot(session, ctx, &mut trip, None).await?
                }
            };
            permit = match slot {
                Some(permit) => {
                    ctx.outcome.waited += permit.waited();
                    permit
                }
                None => return self.tell_outcome(session, ctx, framing, trip, &job).await,
            };
        }
    }

    /// Notes an attempt that failed: what that says about its backend, what it has cost, and why, for the client.
    pub(crate) fn failed(
        &self,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        at: &mut Candidate<'_>,
        outcome: AttemptOutcome,
        (report, word): (Option<fleet::Outcome>, Option<Word>),
        cause: &Cause,
    ) {
        // What could not be written for it was not sent.
        if cause.class != Class::Route || cause.status.is_some() {
            self.attempted(at, verdict(cause), None);
        }
        at.serving = None;
        let Lane { backend, job, .. } = &at.lane;
        if let (FaultKind::Credentials | FaultKind::Billing, Some(status)) =
            (cause.kind, cause.status)
            && !backend.provider.settings.kind.is_fleet()
        {
            let of_account = cause.kind == FaultKind::Billing;
            self.fleet.refused(backend, of_account, status);
        }
        self.charge_attempt(ctx, job, backend, Some(cause));
        self.count(backend, outcome);
        log::info!(
            "{} at {}: attempt {} of request {:?}",
            outcome.name(),
            backend.name,
            ctx.attempt.number,
            ctx.inbound.request_id
        );
        let fleet = backend.provider.settings.kind.is_fleet();
        if let (true, Some(model)) = (fleet && cause.of_model, model_of(job)) {
            self.fleet.could_not_load(backend, model);
        }
        let own_error = fleet && outcome == AttemptOutcome::ServerError;
        let said = word.as_ref().filter(|_| own_error);
        match (
            report,
            said.and_then(|word| trip.said_before(backend.id, word)),
        ) {
            // Two servers that say the same of a request are not both sick: it is the request, or its model.
            (Some(_), Some(first)) => {
                if let Some(first) = first {
                    self.fleet.acquit(first);
                }
            }
            (Some(report), None) => self.fleet.report(backend.id, report),
            (None, _) => {}
        }
        let server = self.exposed(backend);
        trip.reasons.add(&backend.provider, server, outcome, word);
        trip.uncounted |= has_no_counter(job, cause);
        if cause.kind == FaultKind::ContextLength {
            trip.too_long_for = Some(self.context_of(job, backend).unwrap_or_default());
        }
    }

    /// Notes an attempt that a limit of the request has ended.
    pub(crate) fn overdue(
        &self,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        at: &mut Candidate<'_>,
        bound: Bound,
    ) {
        let cause = Cause::new(Class::Transient, FaultKind::Timeout);
        let outcome = AttemptOutcome::Timeout;
        let Lane { backend, job, .. } = &at.lane;
        self.charge_attempt(ctx, job, backend, Some(&cause));
        self.count(backend, outcome);
        self.attempted(at, fleet::Attempt::NotItsFault, None);
        let word = Some(Word::Failure(Box::new(bound.failure())));
        let server = self.exposed(backend);
        trip.reasons.add(&backend.provider, server, outcome, word);
    }

    /// Notes an attempt whose backend says that the request is at fault.
    pub(crate) fn objected(&self, ctx: &mut Ctx, at: &Candidate<'_>) {
        let Lane { backend, job, .. } = &at.lane;
        self.charge_attempt(ctx, job, backend, None);
        self.count(backend, AttemptOutcome::Refused);
        self.attempted(at, fleet::Attempt::NotItsFault, None);
    }

    /// What follows an attempt at `backend` that failed for `cause` after it `took` so long. What may not be asked again is
    /// noted in `trip`.
    fn onward(
        &self,
        trip: &mut Trip<'_>,
        backend: &Backend,
        cause: &Cause,
        took: Duration,
        out_of_time: bool,
    ) -> Onward {
        let provider = &backend.provider;
        let settings = &provider.settings;
        let onward = onward(
            cause,
            &View {
                routing: &self.settings.routing,
                fleet: settings.kind.is_fleet(),
                healthy: backend.healthy(),
                addresses: settings.backends.len() > 1,
                key: trip.has_key(settings.api_keys.len()),
                another: self.has_another(trip, backend),
                sibling: self.has_sibling(trip, backend, cause),
                again: trip.again,
                took,
                doubted: trip.is_doubted(),
                out_of_time,
                chance: rand::random(),
            },
        );
        if is_about_request(cause) || cause.of_model {
            trip.doubt();
        }
        match onward {
            Onward::OtherKey => {
                trip.take_key();
                return onward;
            }
            Onward::Again(_) => {
                trip.again += 1;
                trip.keep_to(Some(provider.id));
                return onward;
            }
            Onward::OtherBackend => trip.keep_to(Some(provider.id)),
            Onward::AnyBackend => trip.keep_to(None),
            Onward::NextProvider | Onward::Replan | Onward::Nowhere => {
                trip.shut(provider.id);
                trip.keep_to(None);
            }
        }
        trip.exclude(backend.id);
        trip.again = match onward {
            Onward::OtherBackend | Onward::AnyBackend => trip.again + 1,
            _ => 0,
        };
        onward
    }

    /// Until when further attempts may last, once there was one.
    pub(crate) fn within(&self, trip: &Trip<'_>) -> Option<Bound> {
        let within = self.settings.routing.retry.within;
        Bound::after(trip.began?, WITHIN, Some(within))
    }

    /// The name of one server of several, where clients may know it.
    pub(crate) fn exposed<'b>(&self, backend: &'b Backend) -> Option<&'b str> {
        let settings = &backend.provider.settings;
        let several = settings.kind.is_fleet() || settings.backends.len() > 1;
        (several && self.settings.server.expose_backend).then_some(&*backend.name)
    }

    /// Whether another healthy backend of the same provider has not been tried.
    fn has_another(&self, trip: &Trip<'_>, backend: &Backend) -> bool {
        self.fleet.snapshot().iter().any(|other| {
            other.provider.id == backend.provider.id
                && other.healthy()
                && other.id != backend.id
                && !trip.has_tried(other.id)
        })
    }

    /// Whether another backend serves the same model that could be asked now, or was asked before: a second try has been
    /// had there. What a provider's addresses have in common is no way around a refusal.
    fn has_sibling(&self, trip: &Trip<'_>, backend: &Backend, cause: &Cause) -> bool {
        let wanted = &trip.plan.steps[trip.step].model;
        let own = backend.provider.id;
        let common = cause.class != Class::Transient && !backend.provider.settings.kind.is_fleet();
        let now = Instant::now();
        let mut steps = trip.plan.steps.iter().enumerate();
        steps.any(|(index, step)| {
            let same = match (wanted.listed(), step.model.listed()) {
                (None, None) => wanted.own() == step.model.own(),
                (wanted, listed) => wanted == listed,
            };
            let listed = step.model.listed();
            same && self.fleet.snapshot().iter().any(|other| {
                let provider = other.provider.id;
                let open = || {
                    other.healthy()
                        && !(common && provider == own)
                        && trip.could_ask(step, provider)
                        && self.unavailable(trip, index, provider, now).is_none()
                };
                other.id != backend.id
                    && listed.is_none_or(|listed| other.has(listed))
                    && (trip.has_tried(other.id) || open())
            })
        })
    }

    /// A slot of the same provider after a pause, or else of the others.
    async fn pause(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        pause: Duration,
        total: Option<Bound>,
    ) -> Result<Option<Permit>, Stop> {
        let client = &mut session.downstream_session;
        let until = Instant::now() + pause;
        let total = Bound::earlier(total, self.within(trip));
        if total.is_some_and(|total| total.at <= until) {
            return Ok(None);
        }
        self.unless_ended(
            client,
            &mut ctx.opening,
            tokio::time::sleep_until(until.into()),
        )
        .await?;
        self.next_slot(session, ctx, trip, None).await
    }

    /// A slot for the next attempt; `None` if there is none to be had.
    async fn next_slot(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        trip: &mut Trip<'_>,
        mut from: Option<Permit>,
    ) -> Result<Option<Permit>, Stop> {
        loop {
            let kept = trip.kept_to();
            let client = &mut session.downstream_session;
            let began = Instant::now();
            let slot = self
                .board(client, &mut ctx.opening, trip, from.take())
                .await;
            if !matches!(slot, Ok(Ok(_))) {
                ctx.outcome.waited += began.elapsed();
            }
            match (slot?, kept) {
                (Ok(permit), _) => return Ok(Some(permit)),
                // All of the fleet has been tried, or what has not is down.
                (Err(Refusal::Exhausted | Refusal::NoHealthyBackend { .. }), Some(provider))
                    if self.settings.routing.fallback != Fallback::None =>
                {
                    trip.shut(provider);
                    trip.keep_to(None);
                    if self.settings.routing.fallback == Fallback::BestAlternative {
                        trip.replan();
                    }
                }
                (Err(_), _) => return Ok(None),
            }
        }
    }

    /// The client is told why nothing has worked, or how many tokens there are about where nobody counts them.
    async fn tell_outcome(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        trip: Trip<'_>,
        job: &Job,
    ) -> Result<(), Stop> {
        if trip.uncounted {
            let page = admin::estimated_tokens(&job.body.bytes);
            return self.reply(session, ctx, framing, page).await;
        }
        self.tell_last(session, ctx, framing, trip).await
    }

    /// The client is told why nothing has worked.
    pub(crate) async fn tell_last(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        mut trip: Trip<'_>,
    ) -> Result<(), Stop> {
        match trip.reasons.word() {
            Some(word) => self.tell(session, ctx, framing, word).await,
            None => Err(Failure::all_attempts_failed().into()),
        }
    }

    /// The key for an attempt at `backend`, and what its limits are kept under; `None` if this provider is to be passed
    /// over, which is noted in `trip`.
    pub(crate) fn ready(
        &self,
        trip: &mut Trip<'_>,
        ctx: &Ctx,
        job: &Job,
        backend: &Backend,
    ) -> Option<(usize, ModelKey)> {
        let provider = &backend.provider;
        let guard = provider.guard();
        let now = Instant::now();
        if provider.settings.kind.is_fleet() && trip.too_long_for.is_none() {
            return Some((
                guard.pick(ModelKey::default(), 0, now).unwrap_or(0),
                ModelKey::default(),
            ));
        }
        if !self.has_room(trip, job, backend) {
            trip.shut(provider.id);
            return None;
        }
        if ctx.attempt.number > 0 && !guard.may_retry(now) {
            self.upstreams[provider.id].retries_denied.inc();
            trip.shut(provider.id);
            return None;
        }
        let model = match &job.ask {
            Some(ask) => ModelKey::of(&self.own_name(ask, backend)),
            None => ModelKey::default(),
        };
        let tokens = job.body.bytes.len() as u64 / BYTES_PER_TOKEN;
        let tokens = tokens.clamp(1, MOST_EXPECTED);
        match guard.pick(model, tokens, now) {
            Ok(key) => Some((key, model)),
            Err(resting) => {
                trip.pass_over(provider, &Unavailable::Resting(resting), now);
                None
            }
        }
    }

    /// Tells the guard of a service how an attempt went; Ollama servers have their health.
    fn attempted(&self, at: &Candidate<'_>, result: fleet::Attempt, limits: Option<&RateLimits>) {
        if at.lane.backend.provider.settings.kind.is_fleet() {
            return;
        }
        let attempted = Attempted {
            key: at.key,
            model: at.model,
            started: at.started,
            further: at.further,
            result,
            limits,
        };
        self.fleet.attempted(&at.lane.backend, &attempted);
    }

    /// Whether the model that `backend` would serve may hold a prompt that was too long for another: it is known to hold
    /// more, or nothing is known of it.
    fn has_room(&self, trip: &Trip<'_>, job: &Job, backend: &Backend) -> bool {
        match trip.too_long_for {
            None => true,
            Some(too_few) => {
                let estimate = job.body.bytes.len() as u64 / BYTES_PER_TOKEN;
                let needed = if too_few == 0 { estimate } else { too_few };
                // One whose size nobody knows may be tried.
                self.context_of(job, backend)
                    .is_none_or(|context| context > needed)
            }
        }
    }

    /// Tokens that the model at `backend` holds, if that is known.
    fn context_of(&self, job: &Job, backend: &Backend) -> Option<u64> {
        let ask = job.ask.as_ref()?;
        let settings = &backend.provider.settings;
        if let Some(num_ctx) = settings.num_ctx {
            return Some(u64::from(num_ctx));
        }
        let told = ask
            .model
            .and_then(|model| backend.inventory().context(model));
        let own = self.own_name(ask, backend);
        told.or(self.facts_of(backend, &own).context)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one attempt; a struct would be made once and taken apart at once"
    )]
    async fn finish(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        backend: &Arc<Backend>,
        serving: Option<InFlight>,
        permit: Permit,
        answer: Box<Answer>,
        ttft: Duration,
        total: Option<Instant>,
    ) -> Result<(), Stop> {
        let mut hold = Hold::new(serving, Some(permit), ttft);
        let client = &mut session.downstream_session;
        let relayed = self
            .relay(client, ctx, framing, answer, total, backend, &mut hold)
            .await;
        let attempts = &self.upstreams[backend.provider.id].attempts;
        attempts.count(match &relayed {
            Ok(Relayed { refused: true, .. }) => AttemptOutcome::Refused,
            Ok(Relayed { complete: true, .. }) => AttemptOutcome::Ok,
            Err(Stop::ClientGone) => AttemptOutcome::ClientGone,
            Ok(_) | Err(_) => AttemptOutcome::BrokenStream,
        });
        relayed.map(drop)
    }

    /// An answer that broke off is counted, and the backend is probed anew.
    pub(crate) fn note_broken(&self, ctx: &Ctx, backend: &Backend, ttft: Duration) {
        if ctx.outcome.broken {
            self.metrics
                .broken_streams
                .with_label_values(&[&*backend.provider.name])
                .inc();
            if !ctx.outcome.cut && !ctx.outcome.blameless {
                self.fleet.report(backend.id, fleet::Outcome::Reset);
                let started = ctx
                    .outcome
                    .first_content
                    .and_then(|at| at.checked_sub(ttft));
                if let (Some(started), false) = (started, backend.provider.settings.kind.is_fleet())
                {
                    self.fleet.broke(backend, started);
                }
            }
        }
    }

    pub(crate) fn count(&self, backend: &Backend, outcome: AttemptOutcome) {
        self.upstreams[backend.provider.id].attempts.count(outcome);
    }
}

/// Tokens that a request is expected to take at most before its answer says so: images are more bytes than tokens.
const MOST_EXPECTED: u64 = 2_000;

/// What a failed attempt says about a service.
fn verdict(cause: &Cause) -> fleet::Attempt {
    use fleet::Attempt;
    let pause = cause.retry_after;
    match (cause.class, cause.kind) {
        (_, FaultKind::RateLimit) => Attempt::RateLimited { pause },
        (_, FaultKind::Overloaded) => Attempt::Overloaded { pause },
        (_, FaultKind::Timeout) => Attempt::TimedOut,
        (_, FaultKind::Billing) => Attempt::Spent,
        _ if is_of_key(cause) => Attempt::Refused,
        (_, FaultKind::Credentials) | (Class::Transient, _) => Attempt::Failed,
        // A redirect, or an answer that is none: the address is wrong.
        (Class::Route, FaultKind::Server | FaultKind::Garbled) => Attempt::Failed,
        _ => Attempt::NotItsFault,
    }
}

/// Whether a provider was asked how many tokens there are, and has nobody who knows: many serve messages in Anthropic's
/// format and nothing else of it.
fn has_no_counter(job: &Job, cause: &Cause) -> bool {
    job.operation == Operation::AnthropicCountTokens
        && (matches!(cause.status, Some(404 | 405 | 501)) || cause.kind == FaultKind::Garbled)
}

pub(crate) fn model_of(job: &Job) -> Option<ModelId> {
    job.ask.as_ref()?.model
}

/// The job between two attempts, when nobody else has it.
fn owned(job: &mut Arc<Job>) -> &mut Job {
    if Arc::get_mut(job).is_none() {
        *job = Arc::new(job.of_order());
    }
    Arc::get_mut(job).expect("who has just made it is the only one to have it")
}
