//! `/api/providers` and what it tells about each: load, response times, errors, models, health.

use std::sync::Arc;
use std::time::Instant;

use ahash::AHashSet;
use serde::Serialize;

use super::copies::{self, CopyRow};
use super::digests::{MixedModel, mixed};
use super::figures::{ByName, Counts, millis, percent};
use super::introspection::Introspection;
use super::loading::{self, LoadRow};
use super::named::find;
use super::page::{Page, unix};
use super::pages;
use super::slots::Slots;
use super::state::{self, Breaker, State, Troubles};
use crate::access::Visibility;
use crate::fleet::{Backend, Provider, Recent};
use crate::metrics::About;
use crate::routing::Unresolved;
use crate::settings::{ProviderKind, Strategy};

/// One provider in short.
#[derive(Serialize)]
struct Summary {
    healthy: bool,
    status: State,
    provider_type: &'static str,
    current_load: u32,
    /// Milliseconds, from an attempt's beginning to the first content of its answer.
    avg_response_time: f64,
    /// Seconds since 1970; 0 if never.
    last_used: f64,
    /// Those of healthy backends: their bounds, or what their models in memory take at once, as far as that is learned.
    slots: u32,
    /// Loads of models that are under way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    loading: Vec<LoadRow>,
    healthy_backends: usize,
    backends: usize,
    models: usize,
    circuit_breaker: Breaker,
    /// Requests at once at the moment, where that is less than the slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_limit: Option<usize>,
    keys: usize,
    /// Those that the provider has refused, or whose quota is spent.
    keys_set_aside: usize,
    #[serde(flatten)]
    trouble: Troubles,
    /// Those of models in the memory of its servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    copies: Vec<CopyRow>,
    /// Models of which its servers have different digests under one name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mixed_models: Vec<MixedModel>,
}

/// Answers `GET /api/providers`.
pub(super) fn all(from: &Introspection, view: Visibility<'_>) -> Page {
    #[derive(Serialize)]
    struct Listing {
        providers: ByName<Summary>,
        routing_strategy: &'static str,
        fallback_strategy: &'static str,
        load_balancing_enabled: bool,
        /// Names of the configuration that come to nothing.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        unresolved_names: Vec<Unresolved>,
    }
    let routing = &from.settings.routing;
    let providers = from.fleet.providers();
    let seen = providers.filter(|provider| view.asks(&provider.name));
    let now = Now::of(from, view);
    let summaries = seen.map(|provider| {
        let name = provider.name.to_string();
        let backends = backends(from, provider);
        (name, Summary::of(provider, &backends, (view, &now)))
    });
    let listing = Listing {
        providers: ByName(summaries.collect()),
        routing_strategy: routing.strategy.name(),
        fallback_strategy: routing.fallback.name(),
        load_balancing_enabled: !matches!(routing.strategy, Strategy::Failover | Strategy::Manual),
        unresolved_names: state::unresolved_names(&from.router, view),
    };
    Page::json(200, &listing)
}

/// What the scheduler says of all providers at one moment.
struct Now {
    slots: Slots,
    /// Loads that are under way, each with its server.
    loads: Vec<(Arc<Backend>, LoadRow)>,
    /// Copies of models that are in memory, each with its server.
    copies: Vec<(Arc<Backend>, CopyRow)>,
}

impl Now {
    fn of(from: &Introspection, view: Visibility<'_>) -> Self {
        Now {
            slots: Slots::now(&from.dispatcher),
            loads: loading::all(&from.fleet, &from.dispatcher, view),
            copies: copies::all(&from.fleet, &from.dispatcher, view),
        }
    }

    fn copies_of(&self, provider: &Provider) -> Vec<CopyRow> {
        let all = self.copies.iter();
        let mine = all.filter(|(server, _)| server.provider.id == provider.id);
        mine.map(|(_, copy)| copy.clone()).collect()
    }

    fn loads_of(&self, provider: &Provider) -> Vec<LoadRow> {
        let all = self.loads.iter();
        let mine = all.filter(|(server, _)| server.provider.id == provider.id);
        mine.map(|(_, load)| load.clone()).collect()
    }
}

impl Summary {
    fn of(
        provider: &Provider,
        backends: &[Arc<Backend>],
        (view, scheduled): (Visibility<'_>, &Now),
    ) -> Self {
        let plain: Vec<&Backend> = backends.iter().map(|backend| &**backend).collect();
        let now = Instant::now();
        let status = state::of(provider, &plain, now);
        let guard = provider.guard().status(now);
        let healthy = || plain.iter().filter(|backend| backend.healthy());
        let last_used = provider.statistics.last_used();
        let mut models = AHashSet::new();
        for backend in healthy() {
            let inventory = backend.inventory();
            models.extend(inventory.models.iter().map(|(model, _)| *model));
            models.extend(inventory.offers().iter().filter_map(|offer| offer.full));
        }
        Summary {
            healthy: status.is_healthy(),
            status,
            provider_type: provider.settings.kind.name(),
            current_load: plain.iter().map(|backend| backend.in_flight()).sum(),
            avg_response_time: millis(provider.statistics.response_times().mean),
            last_used: last_used.map_or(0.0, unix),
            slots: healthy().map(|backend| scheduled.slots.at(backend)).sum(),
            loading: scheduled.loads_of(provider),
            healthy_backends: healthy().count(),
            backends: plain.len(),
            models: models.len(),
            circuit_breaker: Breaker::of(provider, view, now),
            concurrency_limit: guard.limit,
            keys: guard.keys,
            keys_set_aside: guard.keys_set_aside,
            trouble: Troubles::of(provider, &plain),
            copies: scheduled.copies_of(provider),
            mixed_models: mixed(provider, &plain, view),
        }
    }
}

fn backends(from: &Introspection, provider: &Provider) -> Vec<Arc<Backend>> {
    let snapshot = from.fleet.snapshot();
    let mine = snapshot
        .iter()
        .filter(|backend| backend.provider.id == provider.id);
    mine.map(Arc::clone).collect()
}

/// One provider in full.
#[derive(Serialize)]
struct Stats<'a> {
    provider: &'a str,
    #[serde(flatten)]
    summary: Summary,
    /// Attempts since the start, whatever became of them.
    request_count: u64,
    error_count: u64,
    /// Percent of the attempts.
    error_rate: f64,
    success_rate: f64,
    outcomes: ByName<u64>,
    recent: LastMinutes,
    response_times: Times,
    capabilities: Vec<&'static str>,
    model_usage: ByName<Used>,
    token_usage: Tokens,
    health_history: Vec<Entry>,
}

#[derive(Serialize)]
struct LastMinutes {
    seconds: u64,
    request_count: u64,
    error_count: u64,
    error_rate: f64,
}

/// Milliseconds.
#[derive(Serialize)]
struct Times {
    count: u64,
    avg: f64,
    min: f64,
    max: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Serialize)]
struct Used {
    requests: u64,
    /// Milliseconds, from a request's head to the end of its answer.
    avg_duration: f64,
    #[serde(flatten)]
    tokens: Tokens,
}

#[derive(Default, Serialize)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Serialize)]
struct Entry {
    /// Seconds since 1970.
    timestamp: f64,
    healthy: bool,
    healthy_backends: usize,
    backends: usize,
}

/// Answers `GET /api/providers/{provider}/stats`.
pub(super) fn stats(from: &Introspection, name: &str, view: Visibility<'_>) -> Page {
    match find(&from.fleet, name, view) {
        Ok(provider) => Page::json(200, &Stats::of(from, provider, view)),
        Err(unknown) => unknown.page(),
    }
}

impl<'a> Stats<'a> {
    fn of(from: &Introspection, provider: &'a Provider, view: Visibility<'_>) -> Self {
        let counts = Counts::of(from, provider);
        let error_rate = percent(counts.failed, counts.attempts);
        let (model_usage, token_usage) = usage(from, provider, view);
        let history = provider.statistics.history().into_iter();
        Stats {
            provider: &provider.name,
            summary: Summary::of(
                provider,
                &backends(from, provider),
                (view, &Now::of(from, view)),
            ),
            request_count: counts.attempts,
            error_count: counts.failed,
            error_rate,
            success_rate: 100.0 - error_rate,
            outcomes: ByName(
                counts
                    .by_outcome
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect(),
            ),
            recent: LastMinutes::of(provider),
            response_times: Times::of(provider),
            capabilities: capabilities(provider.settings.kind),
            model_usage,
            token_usage,
            health_history: history
                .map(|change| Entry {
                    timestamp: unix(change.at),
                    healthy: change.healthy > 0,
                    healthy_backends: change.healthy,
                    backends: change.backends,
                })
                .collect(),
        }
    }
}

impl LastMinutes {
    fn of(provider: &Provider) -> Self {
        let recent = provider.statistics.recent(Instant::now());
        LastMinutes {
            seconds: Recent::SPAN.as_secs(),
            request_count: recent.attempts,
            error_count: recent.failed,
            error_rate: percent(recent.failed, recent.attempts),
        }
    }
}

impl Times {
    fn of(provider: &Provider) -> Self {
        let times = provider.statistics.response_times();
        Times {
            count: times.count,
            avg: millis(times.mean),
            min: millis(times.min),
            max: millis(times.max),
            p50: millis(times.median),
            p95: millis(times.p95),
            p99: millis(times.p99),
        }
    }
}

/// Returns requests and tokens by model, the busiest first, and all tokens together; of the models that may be seen.
fn usage(
    from: &Introspection,
    provider: &Provider,
    view: Visibility<'_>,
) -> (ByName<Used>, Tokens) {
    let mut models = from.metrics.model_usage(provider.id);
    models.sort_by_key(|usage| (std::cmp::Reverse(usage.requests), usage.model));
    let mut all = Tokens::default();
    let named = models.into_iter().filter_map(|usage| {
        let name = match usage.model {
            About::Known(model) => from.fleet.models().name(model),
            About::Other | About::Nobody => None,
        };
        let name = name.as_deref().unwrap_or("unknown");
        if !view.shows(&provider.name, &[name]) {
            return None;
        }
        let tokens = Tokens {
            // Sums of whole numbers.
            input_tokens: usage.input_tokens as u64,
            output_tokens: usage.output_tokens as u64,
        };
        all.input_tokens += tokens.input_tokens;
        all.output_tokens += tokens.output_tokens;
        let used = Used {
            requests: usage.requests,
            avg_duration: usage.seconds * 1e3 / usage.requests.max(1) as f64,
            tokens,
        };
        Some((name.to_owned(), used))
    });
    (ByName(named.collect()), all)
}

/// Returns what a provider of that kind can be asked for through the gateway; what its models can is in their facts.
fn capabilities(kind: ProviderKind) -> Vec<&'static str> {
    let embeds = !matches!(kind, ProviderKind::Anthropic | ProviderKind::Perplexity);
    let calls = kind != ProviderKind::Perplexity;
    let paints = matches!(
        kind,
        ProviderKind::Ollama
            | ProviderKind::OpenAi
            | ProviderKind::Azure
            | ProviderKind::OpenAiCompatible
    );
    [
        ("chat_completion", true),
        ("text_completion", true),
        ("streaming", true),
        ("vision", true),
        ("function_calling", calls),
        ("embeddings", embeds),
        ("image_generation", paints),
        ("speech_to_text", paints),
    ]
    .into_iter()
    .filter_map(|(name, can)| can.then_some(name))
    .collect()
}

/// Answers `GET /api/tags/{provider}`: the models of one provider, as `/api/tags` has those of all.
pub(super) fn tags(from: &Introspection, name: &str, view: Visibility<'_>) -> Page {
    match find(&from.fleet, name, view) {
        Ok(provider) => {
            let names = from.settings.server.model_names;
            pages::tags_of(&from.fleet, &from.facts, names, provider, view)
        }
        Err(unknown) => unknown.page(),
    }
}
