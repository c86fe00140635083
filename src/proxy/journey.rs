//! A request from its body to its answer: a slot, an attempt, and the next candidate while the client
//! has seen nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, header};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

use super::Gateway;
use super::attempt::{Answer, ErrorAnswer, Job, NoAnswer, Setback, Word};
use super::body::Body;
use super::client::{self, Framing};
use super::ctx::Ctx;
use super::failure::{Failure, Stop};
use super::heads;
use super::intake;
use super::opening::Opening;
use super::order::Ask;
use crate::admission::{Outcome, Permit, Refusal, Want, Wanted};
use crate::dialect::ollama::{self, Operation};
use crate::fleet::{self, Backend, InFlight};
use crate::ids::BackendId;
use crate::metrics::AttemptOutcome;
use crate::translate;

/// Pooled connections that may turn out to be closed before an attempt counts as failed.
const STALE_CONNECTIONS: u32 = 3;

impl Gateway {
    /// Answers one request.
    ///
    /// # Errors
    /// What the client is to be told instead, or why it cannot be told anything.
    pub(super) async fn serve(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
    ) -> Result<(), Stop> {
        let _share = self.share_of(ctx)?;
        let place = self
            .place(session)
            .map_err(|failure| closing_with_body(session, failure))?;
        if let Some((route, answer)) = place {
            ctx.inbound.route = route;
            return self.reply(session, ctx, framing, answer).await;
        }
        if framing.method == Method::OPTIONS {
            let forwarding = self.forward_unscheduled(session, ctx, framing, Operation::Root, None);
            return Box::pin(forwarding).await;
        }
        let operation =
            intake::operation(session).map_err(|failure| closing_with_body(session, failure))?;
        ctx.inbound.operation = Some(operation);
        ctx.inbound.route = operation.name();
        if operation.is_inference() {
            return self.infer(session, ctx, framing, operation).await;
        }
        // Boxed, so that no stream carries the state of what it is not.
        if operation.is_management() {
            return Box::pin(self.manage(session, ctx, framing, operation)).await;
        }
        match self.local_answer(session, operation) {
            Some(answer) => self.reply(session, ctx, framing, answer).await,
            None => Box::pin(self.look_up(session, ctx, framing, operation)).await,
        }
    }

    /// The client's share of the requests in flight.
    fn share_of(&self, ctx: &Ctx) -> Result<Option<pingora_limits::inflight::Guard>, Failure> {
        let limit = self.settings.server.max_in_flight_per_client;
        let (Some(client), true) = (ctx.inbound.client, limit > 0) else {
            return Ok(None);
        };
        let (guard, count) = self.clients.incr(client, 1);
        if count > limit as isize {
            let text = format!(
                "more than {limit} requests in flight from this address; the limit is the setting server.max_in_flight_per_client"
            );
            return Err(Failure::new(429, "too_many_in_flight", text)
                .retry_after(1)
                .closing());
        }
        Ok(Some(guard))
    }

    /// A request that runs a model: it waits for a slot.
    async fn infer(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        let priority =
            intake::priority(session).map_err(|failure| closing_with_body(session, failure))?;
        let pinned = self
            .pinned(session)
            .map_err(|failure| closing_with_body(session, failure))?;
        let body = self.read_body(session).await?;
        let facts = ollama::scan_request(operation, &body.bytes)
            .map_err(|error| Failure::bad_request(error.to_string()))?;
        let name = &*facts.model;
        if name.is_empty() {
            return Err(nameless(operation).into());
        }
        let named = self.named(name);
        if named.wanted == Wanted::Unlisted && !ollama::is_valid(name) {
            return Err(Failure::bad_request(ollama::INVALID_MODEL_NAME).into());
        }
        if let Some(page) =
            self.answered_for_service(&ctx.inbound, operation, &facts, &named, &body.bytes)
        {
            ctx.inbound.model = named.model;
            return self.reply(session, ctx, framing, page).await;
        }
        ctx.inbound.streams = facts.streams(operation);
        let spliced = self.apply_streaming_rule(operation, &facts, &body.bytes)?;
        if self.settings.server.reject_streaming && facts.stream.is_none() {
            ctx.inbound.streams = false;
        }
        ctx.inbound.model = named.model;
        let not_found = || Failure {
            api_code: Some("model_not_found"),
            ..Failure::new(
                404,
                "model_not_found",
                ollama::model_not_found(operation, name),
            )
        };
        let mut want = Want {
            wanted: named.wanted,
            priority,
            pinned,
        };
        if ctx.inbound.streams {
            ctx.opening.expect(
                operation,
                name,
                framing,
                &ctx.inbound.request_id,
                self.settings.timeouts.keep_alive,
            );
        }
        let client = &mut session.downstream_session;
        let opening = &mut ctx.opening;
        let mut admitted = self
            .admit(client, opening, want, self.excluded(&named))
            .await?;
        if matches!(admitted, Err(Refusal::UnknownModel)) && ctx.inbound.model.is_none() {
            // The backend whose first probe ended the wait may be the one that has the model.
            let again = self.named(name);
            if again.model.is_some() {
                ctx.inbound.model = again.model;
                want.wanted = again.wanted;
                admitted = self
                    .admit(client, opening, want, self.excluded(&again))
                    .await?;
            }
        }
        // Nothing has been tried yet: there is no backend of that provider.
        let permit = admitted.map_err(|refusal| match refusal {
            Refusal::Exhausted if named.provider.is_some() => not_found(),
            refusal => refused(&refusal, not_found),
        })?;
        let not_found = not_found();
        let ask = Ask {
            asked: name.to_owned(),
            span: facts.model_span,
            model: ctx.inbound.model,
            own: named.own,
            tools: facts.tools,
            raw: facts.raw,
            no_stream_options: facts
                .object_start
                .filter(|_| facts.has_fields && !facts.stream_options),
        };
        drop(facts);
        let job = Job {
            ask: Some(ask),
            operation,
            body: match spliced {
                Some(bytes) => body.with(bytes),
                None => body,
            },
            has_body: true,
            streams: ctx.inbound.streams,
        };
        self.travel(session, ctx, framing, job, permit, not_found)
            .await
    }

    /// Waits for a slot, unless the client leaves or the process ends first.
    async fn admit(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        want: Want,
        excluded: Vec<BackendId>,
    ) -> Result<Result<Permit, Refusal>, Stop> {
        tokio::select! {
            biased;
            admitted = self.dispatcher.acquire_without(want, excluded) => Ok(admitted),
            () = opening.attend(client) => Err(Stop::ClientGone),
            () = self.drain.cut() => Err(Failure::shutting_down().into()),
        }
    }

    /// Attempts until one gives content, then relays it.
    async fn travel(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        job: Job,
        mut permit: Permit,
        not_found: Failure,
    ) -> Result<(), Stop> {
        let total = self
            .settings
            .timeouts
            .total
            .map(|total| ctx.inbound.started + total);
        let mut last: Option<Word> = None;
        loop {
            ctx.outcome.waited += permit.waited();
            ctx.attempt.number += 1;
            ctx.attempt.cold = permit.cold();
            let Some(backend) = self.fleet.backend(permit.backend()) else {
                // It left between the decision and now; that is no attempt.
                permit = self
                    .next_permit(session, ctx, permit)
                    .await?
                    .map_err(|refusal| refused(&refusal, || not_found.clone()))?;
                continue;
            };
            ctx.attempt.backend = Some(Arc::clone(&backend.name));
            ctx.attempt.provider = Some(backend.provider.index);
            if permit.cold() {
                self.metrics
                    .cold_loads
                    .with_label_values(&[&*backend.provider.name])
                    .inc();
            }
            let started = Instant::now();
            let serving = backend.begin();
            match self.try_backend(session, ctx, &job, &backend, total).await {
                Ok(answer) => {
                    ctx.outcome.first_content = Some(Instant::now());
                    permit.first_content();
                    let ttft = started.elapsed();
                    self.fleet.report(
                        backend.id,
                        fleet::Outcome::Served {
                            response_time: ttft,
                        },
                    );
                    let job = Job {
                        body: Body::empty(),
                        ..job
                    };
                    return self
                        .finish(
                            session, ctx, framing, &job, &backend, serving, permit, answer, ttft,
                            total,
                        )
                        .await;
                }
                Err(Setback::ClientGone) => {
                    self.upstreams[backend.provider.index]
                        .attempts
                        .count(AttemptOutcome::ClientGone);
                    return Err(Stop::ClientGone);
                }
                Err(Setback::Final(word)) => {
                    self.upstreams[backend.provider.index]
                        .attempts
                        .count(AttemptOutcome::Refused);
                    drop(permit);
                    return self.tell(session, ctx, framing, word).await;
                }
                Err(Setback::Next {
                    outcome,
                    report,
                    word,
                }) => {
                    drop(serving);
                    self.upstreams[backend.provider.index]
                        .attempts
                        .count(outcome);
                    log::info!(
                        "{} at {}: attempt {} of request {:?}",
                        outcome.name(),
                        backend.name,
                        ctx.attempt.number,
                        ctx.inbound.request_id
                    );
                    if let Some(report) = report {
                        self.fleet.report(backend.id, report);
                    }
                    last = worse(last, word);
                }
            }
            let out_of_time = total.is_some_and(|total| total <= Instant::now());
            let next = if ctx.attempt.number > self.settings.routing.max_retries || out_of_time {
                drop(permit);
                Err(Refusal::Exhausted)
            } else {
                self.next_permit(session, ctx, permit).await?
            };
            permit = match next {
                Ok(permit) => permit,
                Err(_) => {
                    return match last {
                        Some(word) => self.tell(session, ctx, framing, word.last()).await,
                        None => Err(Failure::all_attempts_failed().into()),
                    };
                }
            };
        }
    }

    /// A slot elsewhere, unless the client leaves or the process ends first.
    async fn next_permit(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        permit: Permit,
    ) -> Result<Result<Permit, Refusal>, Stop> {
        tokio::select! {
            biased;
            next = permit.retry() => Ok(next),
            () = ctx.opening.attend(&mut session.downstream_session) => Err(Stop::ClientGone),
            () = self.drain.cut() => Err(Failure::shutting_down().into()),
        }
    }

    pub(super) async fn try_backend(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        job: &Job,
        backend: &Backend,
        total: Option<Instant>,
    ) -> Result<Box<Answer>, Setback> {
        let patience = Instant::now() + self.settings.timeouts.first_byte;
        let deadline = total.map_or(patience, |total| total.min(patience));
        let mut stale = 0;
        loop {
            let order = self
                .order(session.req_header(), &ctx.inbound, job, backend)
                .map_err(|failure| Setback::Next {
                    outcome: AttemptOutcome::Refused,
                    report: None,
                    word: Some(Word::Failure(failure)),
                })?;
            let client = &mut session.downstream_session;
            let opening = &mut ctx.opening;
            let attempt = self.attempt(client, opening, job, backend, order, deadline);
            // Boxed: the stream that follows must not carry the state of its beginning.
            match Box::pin(attempt).await {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Stale) if stale < STALE_CONNECTIONS => stale += 1,
                Err(NoAnswer::Stale) => return Err(Setback::reset()),
                Err(NoAnswer::Setback(setback)) => return Err(setback),
            }
        }
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
        job: &Job,
        backend: &Arc<Backend>,
        serving: InFlight,
        permit: Permit,
        answer: Box<Answer>,
        ttft: Duration,
        total: Option<Instant>,
    ) -> Result<(), Stop> {
        let relayed = self
            .relay(
                &mut session.downstream_session,
                ctx,
                framing,
                job,
                answer,
                total,
            )
            .await;
        // Before the slot: whoever is given that finds the backend idle.
        drop(serving);
        let attempts = &self.upstreams[backend.provider.index].attempts;
        match relayed {
            Ok(relayed) => {
                attempts.count(if relayed.complete {
                    AttemptOutcome::Ok
                } else {
                    AttemptOutcome::BrokenStream
                });
                permit.finish(Outcome {
                    ok: relayed.complete,
                    load: relayed.load_duration,
                    ttft: Some(ttft),
                });
                self.note_broken(ctx, backend);
                Ok(())
            }
            Err(stop) => {
                attempts.count(if matches!(stop, Stop::ClientGone) {
                    AttemptOutcome::ClientGone
                } else {
                    AttemptOutcome::BrokenStream
                });
                drop(permit);
                self.note_broken(ctx, backend);
                Err(stop)
            }
        }
    }

    /// An answer that broke off is counted, and the backend is probed anew.
    fn note_broken(&self, ctx: &Ctx, backend: &Backend) {
        if ctx.outcome.broken {
            self.metrics
                .broken_streams
                .with_label_values(&[&*backend.provider.name])
                .inc();
            if !ctx.outcome.cut {
                self.fleet.report(backend.id, fleet::Outcome::Reset);
            }
        }
    }

    /// Tells the client why there is no answer.
    pub(super) async fn tell(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        word: Word,
    ) -> Result<(), Stop> {
        match word {
            Word::Answer(answer) => self.relay_error(session, ctx, framing, *answer).await,
            Word::Failure(failure) => Err((*failure).into()),
        }
    }

    /// The backend's own error, when no other candidate is left.
    async fn relay_error(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        answer: ErrorAnswer,
    ) -> Result<(), Stop> {
        if ctx.opening.head_is_sent()? {
            return Err(self.in_own_words(ctx, &answer).into());
        }
        let head = heads::downstream_response(
            &answer.head,
            framing.version,
            &framing.method,
            &ctx.inbound.request_id,
        )
        .map_err(|_| Stop::Broken)?;
        ctx.outcome.status = head.status.as_u16();
        ctx.outcome.code = Some("backend_error");
        let mut head = head;
        head.remove_header(&header::TRANSFER_ENCODING);
        ctx.outcome.bytes =
            client::respond(&mut session.downstream_session, framing, head, answer.body).await?;
        Ok(())
    }

    /// A backend's own error for a client whose answer has begun.
    fn in_own_words(&self, ctx: &Ctx, answer: &ErrorAnswer) -> Failure {
        let (status, headers) = (answer.head.status.as_u16(), &answer.head.headers);
        let provider = ctx.attempt.provider;
        let provider = provider.and_then(|index| self.settings.providers.get(index));
        let text = provider
            .map(|provider| translate::fault(provider.kind, status, headers, &answer.body).message);
        let text = text.unwrap_or_else(|| ollama::ALL_ATTEMPTS_FAILED.into());
        Failure::new(status, "backend_error", text)
    }

    /// The backend that `X-Backend` names.
    pub(super) fn pinned(&self, session: &Session) -> Result<Option<BackendId>, Failure> {
        let Some(value) = session.req_header().headers.get("x-backend") else {
            return Ok(None);
        };
        let name = value.to_str().unwrap_or_default();
        self.fleet
            .snapshot()
            .iter()
            .find(|backend| *backend.name == *name)
            .map(|backend| Some(backend.id))
            .ok_or_else(|| {
                Failure::bad_request(
                    "X-Backend names no known backend; GET /__proxy/backends lists them",
                )
            })
    }
}

/// Of two reasons the one that the client is told: that a limit was met, only if nothing else went wrong.
fn worse(before: Option<Word>, now: Option<Word>) -> Option<Word> {
    match (before, now) {
        (Some(Word::Failure(before)), Some(Word::Failure(now))) => {
            let retry_after = match (before.retry_after, now.retry_after) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let limited = |failure: &Failure| failure.status == 429;
            let mut kept = if limited(&now) && !limited(&before) {
                before
            } else {
                now
            };
            kept.retry_after = kept.retry_after.and(retry_after);
            Some(Word::Failure(kept))
        }
        (before, now) => now.or(before),
    }
}

/// An error that comes before the body was read ends the connection if there is a body.
pub(super) fn closing_with_body(session: &mut Session, failure: Failure) -> Failure {
    if session.downstream_session.is_body_empty() {
        failure
    } else {
        failure.closing()
    }
}

/// What Ollama says to a request that names no model.
fn nameless(operation: Operation) -> Failure {
    match operation {
        Operation::Generate | Operation::Embed => Failure::new(
            404,
            "model_not_found",
            ollama::model_not_found(operation, ""),
        ),
        _ => Failure::bad_request(ollama::MODEL_REQUIRED),
    }
}

/// What the client is told when it gets no slot.
fn refused(refusal: &Refusal, not_found: impl Fn() -> Failure) -> Failure {
    let seconds = |after: &Duration| u32::try_from(after.as_secs().max(1)).unwrap_or(u32::MAX);
    match refusal {
        Refusal::UnknownModel => not_found(),
        Refusal::UnknownBackend => Failure::bad_request(
            "X-Backend names no known backend; GET /__proxy/backends lists them",
        ),
        Refusal::QueueFull { retry_after } => {
            Failure::new(503, "queue_full", ollama::SERVER_BUSY).retry_after(seconds(retry_after))
        }
        Refusal::TimedOut {
            healthy: true,
            retry_after,
        } => Failure::queue_timeout().retry_after(seconds(retry_after)),
        Refusal::TimedOut {
            healthy: false,
            retry_after,
        }
        | Refusal::NoHealthyBackend { retry_after } => {
            Failure::no_healthy_backend().retry_after(seconds(retry_after))
        }
        Refusal::Exhausted => Failure::all_attempts_failed(),
    }
}
