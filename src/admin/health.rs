//! `/health` and the pages beneath it: how the gateway, its providers and their requests are.

use std::time::{Duration, Instant, SystemTime};

use serde::{Serialize, Serializer};

use super::introspection::{Introspection, unix};
use super::pages::Down;
use super::providers::{self, Breaker, Unknown};
use super::{Page, pages};
use crate::access::View;
use crate::fleet::{Backend, BreakerState, Provider};
use crate::routing::Unresolved;
use crate::settings::HealthStatus;

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

#[derive(Serialize)]
struct ProviderHealth {
    healthy: bool,
    status: State,
    provider_type: &'static str,
    healthy_backends: usize,
    backends: usize,
    /// Peak EWMA of the backend that answers soonest.
    response_time_ms: f64,
    /// Seconds since 1970, of the last good probe; absent before there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<f64>,
    request_count: u64,
    error_count: u64,
    /// Percent.
    error_rate: f64,
    circuit_breaker: Breaker,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(flatten)]
    trouble: Troubles,
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
    /// That it refuses the key goes before a backend that is down, and that before a name that leads nowhere.
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

#[derive(Serialize)]
struct Health {
    status: &'static str,
    timestamp: f64,
    version: &'static str,
    uptime: f64,
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    providers: ByName<ProviderHealth>,
    metrics: Totals,
    /// Names of the configuration that come to nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unresolved_names: Vec<Unresolved>,
}

#[derive(Serialize)]
struct Totals {
    total_requests: u64,
    total_errors: u64,
    /// Percent.
    error_rate: f64,
    active_providers: usize,
    healthy_backends: usize,
    requests_in_flight: i64,
    requests_waiting: usize,
    uptime: f64,
}

/// A mapping by the names of providers, in the order of the configuration.
pub(super) struct ByName<T>(pub(super) Vec<(String, T)>);

impl<T: Serialize> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// `GET /health`: 503 where no provider is healthy. Where [`HealthStatus::Ok`] is set, it tells that the process serves,
/// as it does in the program that clients of that word come from.
pub(super) fn overall(from: &Introspection, terse: bool, view: View<'_>) -> Page {
    let health = health(from, terse, view);
    match from.settings.server.health_status {
        HealthStatus::Ok => Page::json(
            200,
            &Health {
                status: "ok",
                ..health
            },
        ),
        HealthStatus::States => {
            Page::json(if health.status == UNHEALTHY { 503 } else { 200 }, &health)
        }
    }
}

/// `GET /health/detailed`: the same, always with 200.
pub(super) fn detailed(from: &Introspection, view: View<'_>) -> Page {
    Page::json(200, &health(from, false, view))
}

/// `GET /health/providers`.
pub(super) fn providers(from: &Introspection, view: View<'_>) -> Page {
    Page::json(200, &all(from, view))
}

/// `GET /health/providers/{provider}`.
pub(super) fn provider(from: &Introspection, name: &str, view: View<'_>) -> Page {
    match providers::find(&from.fleet, name, view) {
        Ok(provider) => Page::json(200, &of(from, provider, view)),
        Err(unknown @ Unknown::NotConfigured(_)) => {
            #[derive(Serialize)]
            struct Absent {
                healthy: bool,
                status: &'static str,
                error: String,
                detail: String,
            }
            let text = unknown.to_string();
            let absent = Absent {
                healthy: false,
                status: "not_configured",
                error: text.clone(),
                detail: text,
            };
            Page::json(404, &absent)
        }
        Err(unknown) => unknown.page(),
    }
}

/// `GET /health/metrics`.
pub(super) fn totals(from: &Introspection, view: View<'_>) -> Page {
    Page::json(200, &sums(from, view))
}

const HEALTHY: &str = "healthy";
const IMPAIRED: &str = "degraded";
const UNHEALTHY: &str = "unhealthy";

fn health(from: &Introspection, terse: bool, view: View<'_>) -> Health {
    // How things are is told of all; which they are, of those that may be seen.
    let all_of_them = all(from, View::ALL);
    let states = || all_of_them.0.iter().map(|(_, health)| health.status);
    let status = match () {
        () if !states().any(State::is_healthy) => UNHEALTHY,
        () if states().all(|state| state == State::Operational) => HEALTHY,
        () => IMPAIRED,
    };
    Health {
        status,
        timestamp: unix(SystemTime::now()),
        version: env!("CARGO_PKG_VERSION"),
        uptime: from.started.elapsed().as_secs_f64(),
        details: (!terse).then(|| Details {
            providers: ByName(
                all_of_them
                    .0
                    .into_iter()
                    .filter(|(name, _)| view.asks(name))
                    .collect(),
            ),
            metrics: sums(from, view),
            unresolved_names: pages::unresolved_names(&from.router, view),
        }),
    }
}

fn all(from: &Introspection, view: View<'_>) -> ByName<ProviderHealth> {
    let providers = from.fleet.providers();
    let providers = providers.filter(|provider| view.asks(&provider.name));
    ByName(
        providers
            .map(|provider| (provider.name.to_string(), of(from, provider, view)))
            .collect(),
    )
}

fn of(from: &Introspection, provider: &Provider, view: View<'_>) -> ProviderHealth {
    let snapshot = from.fleet.snapshot();
    let mine: Vec<&Backend> = snapshot
        .iter()
        .map(|backend| &**backend)
        .filter(|backend| backend.provider.id == provider.id)
        .collect();
    let now = Instant::now();
    let status = state(provider, &mine, now);
    let healthy = || mine.iter().filter(|backend| backend.healthy());
    let soonest = healthy()
        .map(|backend| backend.response_time(now))
        .min()
        .unwrap_or_default();
    let seen = mine.iter().filter_map(|backend| backend.seen()).max();
    let counts = Counts::of(from, provider);
    ProviderHealth {
        healthy: status.is_healthy(),
        status,
        provider_type: provider.settings.kind.name(),
        healthy_backends: healthy().count(),
        backends: mine.len(),
        response_time_ms: millis(soonest),
        last_check: seen.map(|at| unix(SystemTime::now()) - at.elapsed().as_secs_f64()),
        request_count: counts.attempts,
        error_count: counts.failed,
        error_rate: percent(counts.failed, counts.attempts),
        circuit_breaker: Breaker::of(provider, view, now),
        error: match status {
            State::Open => Some("its circuit breaker is open"),
            State::Error => Some("no backend is healthy"),
            State::Waiting => Some("no backend is known yet"),
            State::Degraded => provider.refusal_in_short(),
            State::Operational => None,
        },
        trouble: Troubles::of(provider, &mine),
    }
}

/// How much of the provider there is, of which these are all backends.
pub(super) fn state(provider: &Provider, backends: &[&Backend], now: Instant) -> State {
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

fn sums(from: &Introspection, view: View<'_>) -> Totals {
    let providers = from.fleet.providers();
    let providers = providers.filter(|provider| view.asks(&provider.name));
    let (mut attempts, mut failed) = (0, 0);
    for provider in providers {
        let counts = Counts::of(from, provider);
        attempts += counts.attempts;
        failed += counts.failed;
    }
    Totals {
        total_requests: attempts,
        total_errors: failed,
        error_rate: percent(failed, attempts),
        active_providers: from.fleet.providers().count(),
        healthy_backends: pages::healthy_backends(&from.fleet),
        requests_in_flight: from.metrics.in_flight.get(),
        requests_waiting: from.dispatcher.snapshot().waiting,
        uptime: from.started.elapsed().as_secs_f64(),
    }
}

/// Attempts at one provider since the start.
pub(super) struct Counts {
    pub(super) attempts: u64,
    pub(super) failed: u64,
    pub(super) by_outcome: Vec<(&'static str, u64)>,
}

impl Counts {
    pub(super) fn of(from: &Introspection, provider: &Provider) -> Self {
        let counters = from.metrics.attempts(&provider.name);
        let mut counts = Counts {
            attempts: 0,
            failed: 0,
            by_outcome: Vec::new(),
        };
        for (outcome, count) in counters.counts() {
            counts.attempts += count;
            counts.failed += if outcome.failed() { count } else { 0 };
            counts.by_outcome.push((outcome.name(), count));
        }
        counts
    }
}

/// What share `part` is of `whole`, in percent; 0 of nothing.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => part as f64 * 100.0 / whole as f64,
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
