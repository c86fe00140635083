//! What follows an attempt that has failed. It is decided without sockets, locks and a clock: the plan, what has failed so
//! far, the fleet as it is and the time go in, and the next step comes out.

use std::time::{Duration, Instant};

use crate::admission::NoSlot;
use crate::fleet::{self, Backend, backoff};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::metrics::AttemptOutcome;
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::failure::attempt::{Cause, ClientError};
use crate::proxy::failure::deadline::TimeLimit;
use crate::routing::StepModel;
use crate::settings::{Fallback, Routing};
use remuda_formats::ir::{Class, FaultKind};

/// A failure that came within this time is worth another try at the same place; one that took longer has cost the client
/// as much as an answer.
const QUICK: Duration = Duration::from_secs(5);

/// So often a request that was recalled may be sent to any server again.
const RECALLS: u32 = 2;

/// The backend of an attempt, and what matters of its provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TriedBackend {
    pub(crate) backend: FleetMember,
    /// The provider is a fleet of Ollama servers.
    pub(crate) fleet: bool,
    /// The provider has other addresses.
    pub(crate) addresses: bool,
    /// How many further keys the provider has.
    pub(crate) keys: usize,
}

impl TriedBackend {
    /// Returns what matters of the backend now.
    pub(crate) fn of(backend: &Backend) -> Self {
        let settings = &backend.provider.settings;
        TriedBackend {
            backend: FleetMember::of(backend),
            fleet: settings.kind.is_fleet(),
            addresses: settings.backends.len() > 1,
            keys: settings.api_keys.len(),
        }
    }
}

/// An attempt that has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedAttempt<'a> {
    pub(crate) at: TriedBackend,
    pub(crate) cause: &'a Cause,
    /// How long the attempt took.
    pub(crate) took: Duration,
}

/// A backend of the fleet, as it is at the moment of the failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FleetMember {
    pub(crate) id: BackendId,
    pub(crate) provider: ProviderId,
    pub(crate) healthy: bool,
}

impl FleetMember {
    pub(crate) fn of(backend: &Backend) -> Self {
        FleetMember {
            id: backend.id,
            provider: backend.provider.id,
            healthy: backend.healthy(),
        }
    }
}

/// What is asked about the fleet, and only when an attempt has failed.
pub(crate) trait FleetView {
    /// Returns the backends that have the model, or all if no model is named.
    fn members(&self, model: Option<ModelId>) -> Vec<FleetMember>;

    /// Returns whether the provider can be asked now for what a step wants: its breaker is closed, and it has a key that does
    /// not rest.
    fn is_open(&self, provider: ProviderId, wanted: &StepModel) -> bool;
}

/// The time and chance at the moment of the failure, with the limit of the whole request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) now: Instant,
    pub(crate) total: Option<TimeLimit>,
    /// From 0 to 1, at random.
    pub(crate) chance: f64,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// The same backend is asked at once, with another key of its provider.
    OtherKey,
    /// The same provider is asked once more, after a pause.
    Again(Duration),
    /// Another backend of the same provider is asked.
    OtherBackend,
    /// Another backend is asked, of whichever provider of the plan.
    AnyBackend,
    /// The provider is left, for whatever the plan still has.
    NextProvider,
    /// The provider is left, for whomever the strategy names now.
    Replan,
    /// Nobody is asked any more, and the client is told.
    Stop,
}

/// What the fleet is told of a backend whose attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthReport {
    /// The backend has failed.
    Failed(fleet::RequestOutcome),
    /// Another backend has failed in the same way, so that neither is at fault.
    Acquit(BackendId),
}

impl PlanProgress {
    /// Decides what follows a failed attempt, and notes who is not asked any more.
    pub(crate) fn after_failure(
        &mut self,
        failed: &FailedAttempt<'_>,
        routing: &Routing,
        fleet: &impl FleetView,
        moment: &Conditions,
    ) -> NextStep {
        let limits = [moment.total, self.within(routing)];
        let mut limits = limits.into_iter().flatten();
        if let Some(over) = limits.clone().find(|limit| limit.is_over(moment.now)) {
            let (setting, value) = over.setting();
            self.reasons.is_over(setting, value);
            return NextStep::Stop;
        }
        if self.fits_elsewhere(failed) || self.is_recalled(failed) {
            return NextStep::Again(Duration::ZERO);
        }
        let next = next_step(
            failed.cause,
            &self.situation(failed, routing, fleet, moment),
        );
        self.doubted |= failed.cause.is_about_request() || failed.cause.of_model;
        let of_model = failed.cause.is_of_model(failed.at.fleet);
        let TriedBackend { backend, .. } = failed.at;
        match next {
            NextStep::OtherKey => {
                self.keys += 1;
                return next;
            }
            NextStep::Again(pause) => {
                self.again += 1;
                self.confine_to(Some(backend.provider));
                return if limits.any(|limit| limit.is_over(moment.now + pause)) {
                    NextStep::Stop
                } else {
                    next
                };
            }
            NextStep::OtherBackend => {
                self.again += 1;
                self.confine_to(Some(backend.provider));
            }
            NextStep::AnyBackend => {
                self.again += 1;
                self.confine_to(None);
            }
            NextStep::NextProvider | NextStep::Replan | NextStep::Stop => {
                self.again = 0;
                self.leave(self.step, backend.provider, of_model);
                self.confine_to(None);
            }
        }
        self.exclude_after(self.step, backend.id, of_model);
        next
    }

    /// Returns whether a server has counted a prompt that is too long for its copy, so that one is looked for that holds so
    /// many: it may have a larger one, or load it.
    fn fits_elsewhere(&mut self, failed: &FailedAttempt<'_>) -> bool {
        let cause = failed.cause;
        failed.at.fleet
            && cause.kind == FaultKind::ContextLength
            && cause
                .tokens
                .is_some_and(|tokens| self.needs.note_count(tokens))
    }

    /// Returns whether the request was recalled from a copy that answers nobody. It goes wherever the model is served now,
    /// which may be the same server once its copy is well again; that is waited for twice at most.
    fn is_recalled(&mut self, failed: &FailedAttempt<'_>) -> bool {
        let goes_on = failed.cause.recalled && self.recalls < RECALLS;
        self.recalls += u32::from(goes_on);
        goes_on
    }

    /// Decides what follows when no slot could be had: whether a request that was confined to one provider is let go.
    pub(crate) fn after_refusal(&mut self, refusal: &NoSlot, fallback: Fallback) -> NextStep {
        let nobody_left = matches!(refusal, NoSlot::Exhausted | NoSlot::NoHealthyBackend { .. });
        let (Some(provider), true) = (self.confined_to(), nobody_left) else {
            return NextStep::Stop;
        };
        if fallback == Fallback::None {
            return NextStep::Stop;
        }
        self.close(provider);
        self.confine_to(None);
        match fallback {
            Fallback::BestAlternative => NextStep::Replan,
            _ => NextStep::NextProvider,
        }
    }

    /// Notes that one of two candidates that were asked at the same time has failed, and is not asked again. `cause` is
    /// `None` where it says nothing of the other one's chances.
    pub(crate) fn after_loss(&mut self, step: usize, at: &TriedBackend, cause: Option<&Cause>) {
        let common = cause.is_some_and(|cause| cause.class != Class::Transient);
        let of_model = cause.is_some_and(|cause| cause.is_of_model(at.fleet));
        if !at.fleet && (common || !at.addresses) {
            self.leave(step, at.backend.provider, of_model);
        }
        self.exclude_after(step, at.backend.id, of_model);
        self.doubted |= cause.is_some_and(|cause| cause.is_about_request() || cause.of_model);
    }

    /// Decides what the fleet is told of a failed attempt that says `report` of its backend. Two servers of a fleet that
    /// fail a request with the same words are not both sick: it is the request, or its model.
    pub(crate) fn report(
        &mut self,
        at: &TriedBackend,
        outcome: AttemptOutcome,
        report: Option<fleet::RequestOutcome>,
        error: Option<&ClientError>,
    ) -> Option<HealthReport> {
        let own_error = at.fleet && outcome == AttemptOutcome::ServerError;
        let error = error.filter(|_| own_error);
        let repeated = error.and_then(|error| self.is_repeated(at.backend.id, error));
        match (report?, repeated) {
            (_, Some(first)) => first.map(HealthReport::Acquit),
            (report, None) => Some(HealthReport::Failed(report)),
        }
    }

    fn situation<'r>(
        &self,
        failed: &FailedAttempt<'_>,
        routing: &'r Routing,
        fleet: &impl FleetView,
        moment: &Conditions,
    ) -> Situation<'r> {
        let FailedAttempt { at, cause, took } = *failed;
        Situation {
            routing,
            fleet: at.fleet,
            healthy: at.backend.healthy,
            addresses: at.addresses,
            key: self.keys < at.keys,
            another: self.has_another(&at, fleet),
            sibling: self.has_sibling(&at, cause, fleet),
            again: self.again,
            took,
            doubted: self.doubted,
            chance: moment.chance,
        }
    }

    /// Returns whether another healthy backend of the same provider has not been tried.
    fn has_another(&self, at: &TriedBackend, fleet: &impl FleetView) -> bool {
        let step = &self.plan.steps[self.step];
        fleet.members(None).iter().any(|other| {
            other.provider == at.backend.provider
                && other.healthy
                && other.id != at.backend.id
                && !self.has_tried(step, other.id)
        })
    }

    /// Returns whether another backend that serves the same model could be asked now, or has been asked already and so was the
    /// second try. Other addresses of one provider do not count after a refusal, as they would all refuse.
    fn has_sibling(&self, at: &TriedBackend, cause: &Cause, fleet: &impl FleetView) -> bool {
        let wanted = &self.plan.steps[self.step].model;
        let common = cause.class != Class::Transient && !at.fleet;
        self.plan.steps.iter().any(|step| {
            let same = wanted.is_same(&step.model);
            let could_serve = |other: &FleetMember| {
                let open = || {
                    other.healthy
                        && !(common && other.provider == at.backend.provider)
                        && self.could_ask(step, other.provider)
                        && fleet.is_open(other.provider, &step.model)
                };
                other.id != at.backend.id && (self.has_tried(step, other.id) || open())
            };
            same && fleet.members(step.model.listed()).iter().any(could_serve)
        })
    }
}

/// What is known at the moment of a failure, besides its cause.
#[derive(Clone, Copy, Debug)]
struct Situation<'r> {
    routing: &'r Routing,
    /// The provider is a fleet of Ollama servers.
    fleet: bool,
    /// The backend still counts as healthy.
    healthy: bool,
    /// The provider has other addresses.
    addresses: bool,
    /// The provider has a key that was not tried.
    key: bool,
    /// Another healthy backend of the same provider was not tried.
    another: bool,
    /// Another backend serves the same model that could be asked now, or was asked before.
    sibling: bool,
    /// Further attempts in a row at this provider so far.
    again: u32,
    /// How long the attempt took.
    took: Duration,
    /// A server has found fault with the request itself before, or could not load its model.
    doubted: bool,
    /// From 0 to 1, at random.
    chance: f64,
}

/// Decides what follows a failure for `cause`.
fn next_step(cause: &Cause, now: &Situation<'_>) -> NextStep {
    let fallback = now.routing.fallback;
    let of_key =
        matches!(cause.kind, FaultKind::RateLimit | FaultKind::Billing) || cause.is_of_key();
    if of_key && !now.fleet && now.key {
        return NextStep::OtherKey;
    }
    // One that could not be reached is unhealthy now, and would have to be waited for.
    if !now.fleet
        && now.healthy
        && let Some(pause) = pause_before_again(cause, now)
    {
        return NextStep::Again(pause);
    }
    if cause.is_about_request() && now.doubted {
        return NextStep::Stop;
    }
    // Another server of the same provider may be well, but has the same credentials, limits and models.
    let common = !now.fleet && cause.class != Class::Transient;
    let single = !now.fleet && !now.addresses;
    let alone = fallback == Fallback::BestAlternative && !now.another;
    // Breakers per model see to the next request; what stands in for the model may do better.
    let unloadable = now.fleet && cause.of_model && now.doubted;
    if common || single || alone || unloadable || now.again >= now.routing.max_retries {
        return match fallback {
            Fallback::None => NextStep::Stop,
            Fallback::NextAvailable | Fallback::RetrySame => NextStep::NextProvider,
            Fallback::BestAlternative => NextStep::Replan,
        };
    }
    match fallback {
        Fallback::None | Fallback::BestAlternative => NextStep::OtherBackend,
        Fallback::NextAvailable | Fallback::RetrySame => NextStep::AnyBackend,
    }
}

/// Returns how long to wait before the same service is asked again; `None` if that makes no sense.
fn pause_before_again(cause: &Cause, now: &Situation<'_>) -> Option<Duration> {
    let retry = &now.routing.retry;
    let passing = matches!(cause.class, Class::Transient | Class::Capacity);
    // Who has said nothing is not asked again: another would have answered meanwhile.
    let silent = cause.kind == FaultKind::Timeout && cause.status.is_none();
    if !passing || silent || cause.again == Some(false) {
        return None;
    }
    let most = match now.routing.fallback {
        Fallback::None => 0,
        Fallback::RetrySame => retry.attempts,
        // Whoever serves the same model does better than a second try.
        _ if now.sibling || !is_quick(cause, now) => 0,
        Fallback::NextAvailable | Fallback::BestAlternative => 1.min(now.routing.max_retries),
    };
    if now.again >= most {
        return None;
    }
    let own = || backoff(retry.base, retry.max, now.again, now.chance);
    let pause = cause.retry_after.unwrap_or_else(own);
    (pause <= retry.max_wait).then_some(pause)
}

/// Returns whether a failure came at once and may be gone in a moment. A limit is only waited for as long as its provider says.
fn is_quick(cause: &Cause, now: &Situation<'_>) -> bool {
    let of_moment = match cause.kind {
        FaultKind::Timeout => false,
        FaultKind::RateLimit => cause.retry_after.is_some(),
        _ => true,
    };
    of_moment && now.took <= QUICK
}

#[cfg(test)]
mod tests;
