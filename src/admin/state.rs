//! How a provider is: how much of it there is, what is wrong with it, and what its circuit breaker says.

use std::time::Instant;

use serde::Serialize;

use super::page::unix;
use crate::access::Visibility;
use crate::fleet::{Backend, BreakerState, Fleet, ModelStatus, Provider, Trouble};
use crate::routing::{Router, Unresolved};

/// A provider is degraded if this share of its attempts of the last minutes failed,
const DEGRADED: f64 = 0.5;
/// and there were so many.
const ENOUGH: u64 = 10;

/// How much of a provider there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// All of its backends are healthy.
    Operational,
    /// Some are not or cannot be found, many of its attempts fail, it is being tried again, or it refuses the key.
    Degraded,
    /// No backend is known yet.
    Waiting,
    /// Its circuit breaker is open: it is left alone for a while.
    Open,
    /// None of its backends is healthy.
    Error,
}

impl State {
    pub(super) fn is_healthy(self) -> bool {
        matches!(self, State::Operational | State::Degraded)
    }
}

/// What is wrong with a provider, and since when.
#[derive(Serialize)]
pub(super) struct Troubles {
    #[serde(flatten)]
    down: Down,
    /// Names of its configuration that cannot be resolved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unresolved: Vec<String>,
    /// What backends do instead of their part, although they answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    complaints: Vec<String>,
}

/// Complaints that are told at most.
const MOST_COMPLAINTS: usize = 20;

impl Troubles {
    /// Returns the state of a provider. That it refuses the key goes before a backend that is down, and that before a
    /// name that leads nowhere.
    pub(super) fn of(provider: &Provider, backends: &[&Backend]) -> Self {
        let unresolved = provider.unresolved();
        let trouble = provider
            .refusal()
            .or_else(|| backends.iter().find_map(|backend| backend.trouble()))
            .or_else(|| unresolved.first().map(|name| name.trouble.clone()));
        let complaints = backends.iter().flat_map(|backend| {
            let all = provider.complaints(&backend.name).into_iter();
            all.map(|why| format!("{}: {why}", backend.name))
        });
        Troubles {
            down: trouble.into(),
            complaints: complaints.take(MOST_COMPLAINTS).collect(),
            unresolved: unresolved.into_iter().map(|name| name.name).collect(),
        }
    }
}

/// Why something is down, and since when.
#[derive(Default, Serialize)]
pub(super) struct Down {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
}

impl From<Option<Trouble>> for Down {
    fn from(trouble: Option<Trouble>) -> Self {
        let since = trouble.as_ref().map(|trouble| unix(trouble.since));
        Down {
            last_error: trouble.map(|trouble| trouble.text),
            since,
        }
    }
}

/// What a provider's circuit breaker says.
#[derive(Serialize)]
pub(super) struct Breaker {
    state: &'static str,
    /// The requests in the breaker's window.
    request_count: u32,
    failure_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// Seconds until it lets a few requests try.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_for: Option<f64>,
    /// It is not closed for one of `models` alone, and the provider's others are asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    one_model_only: bool,
    /// The models whose own breakers are not closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<ModelBreaker>,
}

/// What the circuit breaker of one model says.
#[derive(Serialize)]
struct ModelBreaker {
    model: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_for: Option<f64>,
}

impl ModelBreaker {
    fn of(model: &ModelStatus, now: Instant) -> Self {
        ModelBreaker {
            model: model.name.to_string(),
            state: model.breaker.name(),
            cause: model.open.map(|(_, cause)| cause.to_string()),
            open_for: model.open.map(|(until, _)| seconds_until(until, now)),
        }
    }
}

fn seconds_until(until: Instant, now: Instant) -> f64 {
    until.saturating_duration_since(now).as_secs_f64()
}

impl Breaker {
    /// Tells the provider's breaker, with those of its models that may be seen.
    pub(super) fn of(provider: &Provider, view: Visibility<'_>, now: Instant) -> Self {
        let status = provider.guard().status(now);
        let models = provider.guard().models(now);
        let seen = models
            .iter()
            .filter(|model| view.shows(&provider.name, &[&model.name]));
        Breaker {
            state: status.breaker.name(),
            request_count: status.requests,
            failure_count: status.failures,
            cause: status.open.map(|(_, cause)| cause.to_string()),
            open_for: status.open.map(|(until, _)| seconds_until(until, now)),
            one_model_only: status.sole,
            models: seen.map(|model| ModelBreaker::of(model, now)).collect(),
        }
    }
}

/// Returns how much of the provider can be used, of which these are all backends.
pub(super) fn of(provider: &Provider, backends: &[&Backend], now: Instant) -> State {
    let healthy = backends.iter().filter(|backend| backend.healthy()).count();
    let recent = provider.statistics.recent(now);
    let failing =
        recent.attempts >= ENOUGH && recent.failed as f64 >= recent.attempts as f64 * DEGRADED;
    match (healthy, provider.guard().status(now).breaker) {
        (0, _) if backends.is_empty() => State::Waiting,
        (0, _) => State::Error,
        (_, BreakerState::Open) => State::Open,
        (_, BreakerState::HalfOpen) => State::Degraded,
        (_, BreakerState::Closed)
            if healthy < backends.len()
                || failing
                || provider.refusal().is_some()
                || !provider.unresolved().is_empty() =>
        {
            State::Degraded
        }
        (_, BreakerState::Closed) => State::Operational,
    }
}

/// Returns the number of healthy backends.
pub(super) fn healthy_backends(fleet: &Fleet) -> usize {
    fleet
        .snapshot()
        .iter()
        .filter(|backend| backend.healthy())
        .count()
}

/// Names of the configuration that come to nothing, for those who may see all of it.
pub(super) fn unresolved_names(router: &Router, view: Visibility<'_>) -> Vec<Unresolved> {
    match view.permission() {
        None => router.unresolved(),
        Some(_) => Vec::new(),
    }
}
