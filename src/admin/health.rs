//! `/health` and the pages beneath it: how the gateway, its providers and their requests are.

use std::time::{Instant, SystemTime};

use serde::Serialize;

use super::figures::{ByName, Counts, millis, percent};
use super::introspection::Introspection;
use super::named::{self, Unknown};
use super::page::{Page, unix};
use super::state::{self, Breaker, State, Troubles};
use crate::access::Visibility;
use crate::fleet::{Backend, Provider};
use crate::routing::Unresolved;
use crate::settings::HealthStatus;

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

/// Answers `GET /health`: 503 where no provider is healthy. Where [`HealthStatus::Ok`] is set, it tells that the
/// process serves, as it does in the program that clients of that word come from.
pub(super) fn overall(from: &Introspection, terse: bool, view: Visibility<'_>) -> Page {
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

/// Answers `GET /health/detailed`: the same, always with 200.
pub(super) fn detailed(from: &Introspection, view: Visibility<'_>) -> Page {
    Page::json(200, &health(from, false, view))
}

/// Answers `GET /health/providers`.
pub(super) fn providers(from: &Introspection, view: Visibility<'_>) -> Page {
    Page::json(200, &all(from, view))
}

/// Answers `GET /health/providers/{provider}`.
pub(super) fn provider(from: &Introspection, name: &str, view: Visibility<'_>) -> Page {
    match named::find(&from.fleet, name, view) {
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

/// Answers `GET /health/metrics`.
pub(super) fn totals(from: &Introspection, view: Visibility<'_>) -> Page {
    Page::json(200, &sums(from, view))
}

const HEALTHY: &str = "healthy";
const IMPAIRED: &str = "degraded";
const UNHEALTHY: &str = "unhealthy";

fn health(from: &Introspection, terse: bool, view: Visibility<'_>) -> Health {
    // How things are is told of all; which they are, of those that may be seen.
    let all_of_them = all(from, Visibility::ALL);
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
            unresolved_names: state::unresolved_names(&from.router, view),
        }),
    }
}

fn all(from: &Introspection, view: Visibility<'_>) -> ByName<ProviderHealth> {
    let providers = from.fleet.providers();
    let providers = providers.filter(|provider| view.asks(&provider.name));
    ByName(
        providers
            .map(|provider| (provider.name.to_string(), of(from, provider, view)))
            .collect(),
    )
}

fn of(from: &Introspection, provider: &Provider, view: Visibility<'_>) -> ProviderHealth {
    let snapshot = from.fleet.snapshot();
    let mine: Vec<&Backend> = snapshot
        .iter()
        .map(|backend| &**backend)
        .filter(|backend| backend.provider.id == provider.id)
        .collect();
    let now = Instant::now();
    let status = state::of(provider, &mine, now);
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

fn sums(from: &Introspection, view: Visibility<'_>) -> Totals {
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
        healthy_backends: state::healthy_backends(&from.fleet),
        requests_in_flight: from.metrics.downstream.in_flight.get(),
        requests_waiting: from.dispatcher.snapshot().waiting,
        uptime: from.started.elapsed().as_secs_f64(),
    }
}
