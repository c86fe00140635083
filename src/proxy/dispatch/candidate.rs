//! Makes candidates of the slots that a request gets, and notes what is learned from attempts that have failed.

use std::sync::Arc;
use std::time::Instant;

use pingora::protocols::http::ServerSession;

use crate::access::Aside;
use crate::admission::Permit;
use crate::fleet::{self, Attempted, Backend, InFlightRequest, ModelKey};
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::exchange::UpstreamExchange;
use crate::proxy::ctx::{Attempt, Ctx};
use crate::proxy::dispatch::failover::{HealthReport, TriedBackend};
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::dispatch::silence::Silence;
use crate::proxy::failure::attempt::{Cause, ClientError};
use crate::proxy::failure::deadline::{TOTAL, TimeLimit};
use crate::proxy::prepared::{Criteria, ModelRequest};
use crate::routing::BYTES_PER_TOKEN;
use remuda_formats::client::Operation;
use remuda_formats::ir::{Class, FaultKind, Usage};

/// The most tokens that a request is expected to take before its answer tells how many: images have more bytes than tokens.
const MOST_EXPECTED: u64 = 2_000;

/// One request while it is dispatched.
pub(crate) struct Dispatch<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) client: &'a mut ServerSession,
    pub(super) ctx: &'a mut Ctx,
    pub(super) progress: PlanProgress,
    pub(super) criteria: Criteria,
    pub(super) operation: Operation,
    /// The limit of the whole request.
    pub(super) total: Option<TimeLimit>,
}

/// A backend that has a slot for the request and is asked.
pub(crate) struct SlotCandidate<'g> {
    pub(crate) exchange: UpstreamExchange<'g>,
    pub(crate) permit: Permit,
    /// Counts the request at its backend until it has ended there.
    pub(crate) serving: Option<InFlightRequest>,
    pub(crate) key: usize,
    pub(crate) model: ModelKey,
    pub(crate) started: Instant,
    /// How far its silence has come.
    pub(super) silence: Silence,
    /// Whether the request had been tried before.
    pub(crate) further: bool,
    /// Until when the whole answer may last.
    pub(crate) here: Option<TimeLimit>,
    /// The step of the plan that the slot belongs to.
    pub(crate) step: usize,
    /// What the request's context says of the attempt while this candidate counts.
    pub(super) attempt: Attempt,
    /// What is set aside for this candidate in the budget of the client's key, besides what the first one has.
    pub(super) aside: Option<Aside>,
}

impl<'a> Dispatch<'a> {
    /// Returns the position of the key for an attempt at `backend`, and the model under which the key's limits are kept; `None`
    /// if the provider is passed over, which is noted.
    pub(super) fn key_for(
        &mut self,
        step: usize,
        request: &ModelRequest,
        backend: &Backend,
    ) -> Option<(usize, ModelKey)> {
        let provider = &backend.provider;
        let guard = provider.guard();
        let now = Instant::now();
        let has_room = self.progress.too_long_for.is_none() || self.progress.needs.is_counted();
        if provider.settings.kind.is_fleet() && has_room {
            let model = ModelKey::default();
            return Some((guard.pick(model, 0, now).unwrap_or(0), model));
        }
        let upstreams = &self.gateway.upstreams;
        let tokens = request.body.bytes.len() as u64 / BYTES_PER_TOKEN;
        let wanted = request.wanted.as_ref();
        let context = || upstreams.context_of(wanted?, backend);
        if !self.progress.has_room(tokens, context) || !self.progress.takes_over(step, context) {
            self.progress.leave(step, provider.id, true);
            return None;
        }
        if self.ctx.attempt.number > 0 && !guard.may_retry(now) {
            upstreams.side(provider.id).retries_denied.inc();
            self.progress.close(provider.id);
            return None;
        }
        let model = match wanted {
            Some(wanted) => ModelKey::of(&upstreams.own_name(wanted, backend)),
            None => ModelKey::default(),
        };
        match guard.pick(model, tokens.clamp(1, MOST_EXPECTED), now) {
            Ok(key) => Some((key, model)),
            Err(why) => {
                self.progress.pass_over(step, provider, &why, now);
                None
            }
        }
    }

    /// Makes a candidate of a slot at `backend`, with the key and the model that [`Self::key_for`] has returned.
    pub(super) fn candidate(
        &self,
        step: usize,
        (request, backend): (&Arc<ModelRequest>, &Arc<Backend>),
        permit: Permit,
        (key, model): (usize, ModelKey),
        attempt: Attempt,
    ) -> SlotCandidate<'a> {
        let gateway = self.gateway;
        if permit.cold() {
            gateway.upstreams.count_cold_load(backend);
        }
        let started = Instant::now();
        // Within the request's own limit, if both are set.
        let here = TimeLimit::after(started, TOTAL, backend.provider.settings.timeouts.total);
        let here = TimeLimit::earlier(self.total, here);
        // The first attempt has all the time that its server may take.
        let until = TimeLimit::earlier(here, self.progress.within(&gateway.settings.routing));
        let sent = Arc::clone(&attempt.sent);
        let both = (Arc::clone(request), backend);
        SlotCandidate {
            exchange: UpstreamExchange::new(gateway, both, key, until, sent),
            permit,
            serving: Some(backend.begin()),
            key,
            model,
            started,
            silence: Silence::of(request, backend, started),
            further: self.ctx.attempt.number > 1,
            here,
            step,
            attempt,
            aside: None,
        }
    }

    /// Notes an attempt that failed: what the failure says about its backend, what the attempt has cost, and the reason that
    /// the client may be told.
    pub(super) fn failed(
        &mut self,
        at: &mut SlotCandidate<'_>,
        outcome: AttemptOutcome,
        (report, error): (Option<fleet::RequestOutcome>, Option<ClientError>),
        (cause, usage): (&Cause, Option<Box<Usage>>),
    ) {
        let gateway = self.gateway;
        // What could not be written for it was not sent.
        if cause.class != Class::Route || cause.status.is_some() {
            self.tell_guard(at, verdict(cause), None);
        }
        at.serving = None;
        let UpstreamExchange {
            backend, request, ..
        } = &at.exchange;
        let tried = TriedBackend::of(backend);
        if let (FaultKind::Credentials | FaultKind::Billing, Some(status)) =
            (cause.kind, cause.status)
            && !tried.fleet
        {
            let of_account = cause.kind == FaultKind::Billing;
            gateway.fleet.refused(backend, of_account, status);
        }
        gateway
            .record
            .charge_attempt(self.ctx, (request, backend), Some(cause), usage);
        gateway.upstreams.count(backend, outcome);
        log::info!(
            "attempt {} of request {:?} has failed at {}: {}",
            self.ctx.attempt.number,
            self.ctx.inbound.request_id,
            backend.name,
            outcome.name()
        );
        if tried.fleet && cause.of_model {
            at.permit.model_failed();
        }
        match self
            .progress
            .report(&tried, outcome, report, error.as_ref())
        {
            Some(HealthReport::Failed(report)) => gateway.fleet.report(backend.id, report),
            Some(HealthReport::Acquit(first)) => gateway.fleet.acquit(first),
            None => {}
        }
        let server = gateway.upstreams.exposed(backend);
        let reasons = &mut self.progress.reasons;
        reasons.add(&backend.provider, server, outcome, error);
        self.progress.uncounted |= has_no_counter(request.operation, cause);
        if cause.kind == FaultKind::ContextLength {
            let wanted = request.wanted.as_ref();
            let context = wanted.and_then(|wanted| gateway.upstreams.context_of(wanted, backend));
            self.progress.too_long_for = Some(context.unwrap_or_default());
        }
    }

    /// Notes an attempt that a limit of the request has ended.
    pub(super) fn overdue(
        &mut self,
        at: &SlotCandidate<'_>,
        limit: TimeLimit,
        usage: Option<Box<Usage>>,
    ) {
        let gateway = self.gateway;
        let cause = Cause::new(Class::Transient, FaultKind::Timeout);
        let outcome = AttemptOutcome::Timeout;
        let UpstreamExchange {
            backend, request, ..
        } = &at.exchange;
        gateway
            .record
            .charge_attempt(self.ctx, (request, backend), Some(&cause), usage);
        gateway.upstreams.count(backend, outcome);
        self.tell_guard(at, fleet::AttemptResult::NotItsFault, None);
        let error = Some(ClientError::Failure(Box::new(limit.failure())));
        let server = gateway.upstreams.exposed(backend);
        let reasons = &mut self.progress.reasons;
        reasons.add(&backend.provider, server, outcome, error);
    }

    /// Notes an attempt whose backend says that the request is at fault.
    pub(super) fn objected(&mut self, at: &SlotCandidate<'_>, usage: Option<Box<Usage>>) {
        let gateway = self.gateway;
        let UpstreamExchange {
            backend, request, ..
        } = &at.exchange;
        gateway
            .record
            .charge_attempt(self.ctx, (request, backend), None, usage);
        gateway.upstreams.count(backend, AttemptOutcome::Refused);
        self.tell_guard(at, fleet::AttemptResult::NotItsFault, None);
    }

    /// Tells the guard of a service how an attempt went; Ollama servers have their health.
    pub(super) fn tell_guard(
        &self,
        at: &SlotCandidate<'_>,
        result: fleet::AttemptResult,
        answer: Option<&UpstreamAnswer>,
    ) {
        let backend = &at.exchange.backend;
        if backend.provider.settings.kind.is_fleet() {
            return;
        }
        // Only of what fails it matters how it is called.
        let wanted = match result {
            fleet::AttemptResult::Served { .. } => None,
            _ => at.exchange.request.wanted.as_ref(),
        };
        let upstreams = &self.gateway.upstreams;
        let name = wanted.map(|wanted| upstreams.own_name(wanted, backend));
        let attempted = Attempted {
            key: at.key,
            model: at.model,
            name: name.as_deref().unwrap_or_default(),
            started: at.started,
            further: at.further,
            result,
            limits: answer.and_then(|answer| answer.limits.as_ref()),
        };
        self.gateway.fleet.attempted(backend, &attempted);
    }

    /// Returns what is kept of an attempt at `backend` while it lasts.
    pub(super) fn attempt_at(
        &self,
        request: &ModelRequest,
        backend: &Backend,
        permit: &Permit,
    ) -> Attempt {
        let (record, upstreams) = (&self.gateway.record, &self.gateway.upstreams);
        Attempt {
            number: 0,
            backend: Some(Arc::clone(&backend.name)),
            provider: Some(backend.provider.id),
            cold: permit.cold(),
            model: request.model(),
            called: None,
            prompt: None,
            first_content: None,
            account: record.account(upstreams, request, backend),
            sent: Arc::default(),
        }
    }
}

impl SlotCandidate<'_> {
    /// Makes this candidate the one that the request's context tells of.
    pub(crate) fn enter(&self, ctx: &mut Ctx) {
        ctx.attempt = Attempt {
            number: ctx.attempt.number,
            ..self.attempt.clone()
        };
    }
}

/// Returns what a failed attempt says about a service.
fn verdict(cause: &Cause) -> fleet::AttemptResult {
    use fleet::AttemptResult;
    let pause = cause.retry_after;
    match (cause.class, cause.kind) {
        (_, FaultKind::RateLimit) => AttemptResult::RateLimited { pause },
        (_, FaultKind::Overloaded) => AttemptResult::Overloaded { pause },
        (_, FaultKind::Timeout) => AttemptResult::TimedOut,
        (_, FaultKind::Billing) => AttemptResult::Spent,
        _ if cause.is_of_key() => AttemptResult::Refused,
        (_, FaultKind::Credentials) | (Class::Transient, _) => AttemptResult::Failed,
        // A redirect, or an answer that is none: the address is wrong.
        (Class::Route, FaultKind::Server | FaultKind::Garbled) => AttemptResult::Failed,
        _ => AttemptResult::NotItsFault,
    }
}

/// Returns whether a provider was asked to count tokens and has no route for that: many serve Anthropic's messages and nothing
/// else of its API.
fn has_no_counter(operation: Operation, cause: &Cause) -> bool {
    operation == Operation::AnthropicCountTokens
        && (matches!(cause.status, Some(404 | 405 | 501)) || cause.kind == FaultKind::Garbled)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cause(class: Class, kind: FaultKind, status: Option<u16>) -> Cause {
        Cause {
            status,
            ..Cause::new(class, kind)
        }
    }

    #[test]
    fn a_guard_is_told_what_a_failure_says_of_its_service() {
        use fleet::AttemptResult::{
            Failed, NotItsFault, Overloaded, RateLimited, Refused, Spent, TimedOut,
        };
        use {Class::*, FaultKind::*};
        let none = None;
        for (class, kind, status, expected) in [
            (Capacity, RateLimit, Some(429), RateLimited { pause: none }),
            (
                Capacity,
                FaultKind::Overloaded,
                Some(503),
                Overloaded { pause: none },
            ),
            (Transient, Timeout, None, TimedOut),
            (Transient, Timeout, Some(504), TimedOut),
            (Route, Billing, Some(402), Spent),
            (Route, Credentials, Some(401), Refused),
            (Route, Credentials, Some(400), Refused),
            // The key may be of use for other models.
            (Route, Credentials, Some(403), Failed),
            // It was said amid an answer, where no status says so.
            (Route, Credentials, None, Failed),
            (Transient, Server, None, Failed),
            (Transient, Server, Some(500), Failed),
            (Transient, Incomplete, None, Failed),
            (Transient, Garbled, Some(200), Failed),
            (Route, Server, Some(302), Failed),
            (Route, Garbled, Some(200), Failed),
            // Whatever else is said with 401, the key is refused.
            (Permanent, InvalidRequest, Some(401), Refused),
            (Permanent, InvalidRequest, Some(400), NotItsFault),
            (Route, ModelNotFound, Some(404), NotItsFault),
            (Route, ContextLength, Some(400), NotItsFault),
            (Route, Unsupported, Some(400), NotItsFault),
            (Permanent, ContentFilter, Some(400), NotItsFault),
        ] {
            let cause = cause(class, kind, status);
            assert_eq!(verdict(&cause), expected, "{cause:?}");
        }
    }

    #[test]
    fn a_guard_is_told_for_how_long_its_service_wants_to_be_left_alone() {
        use fleet::AttemptResult::{Overloaded, RateLimited};
        let pause = Some(Duration::from_secs(7));
        for (kind, expected) in [
            (FaultKind::RateLimit, RateLimited { pause }),
            (FaultKind::Overloaded, Overloaded { pause }),
        ] {
            let cause = Cause {
                retry_after: pause,
                ..cause(Class::Capacity, kind, Some(429))
            };
            assert_eq!(verdict(&cause), expected);
        }
    }

    #[test]
    fn only_a_provider_without_the_route_has_no_counter_of_tokens() {
        use {Class::*, FaultKind::*};
        let count = Operation::AnthropicCountTokens;
        for (operation, class, kind, status, expected) in [
            (count, Route, ModelNotFound, Some(404), true),
            (count, Route, Unsupported, Some(405), true),
            (count, Route, Unsupported, Some(501), true),
            // Something else than a count was answered.
            (count, Transient, Garbled, Some(200), true),
            (count, Transient, Server, Some(500), false),
            (count, Route, Credentials, Some(401), false),
            (count, Transient, Timeout, None, false),
            (
                Operation::AnthropicMessages,
                Route,
                ModelNotFound,
                Some(404),
                false,
            ),
        ] {
            let cause = cause(class, kind, status);
            let found = has_no_counter(operation, &cause);
            assert_eq!(found, expected, "{operation:?} {cause:?}");
        }
    }
}
