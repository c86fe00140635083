//! `/api/providers` and what it tells about each: load, response times, errors, models, health.

use std::sync::Arc;
use std::time::Instant;

use ahash::AHashSet;
use serde::Serialize;

use super::health::{self, ByName, Counts, State, Troubles, millis, percent};
use super::introspection::{Introspection, unix};
use super::{Page, pages};
use crate::access::View;
use crate::fleet::{Backend, Fleet, ModelStatus, Provider, Recent};
use crate::metrics::About;
use crate::routing::Unresolved;
use crate::settings::{ProviderKind, Strategy};

/// Further names of kinds, and services that are known by their name though they have no kind of their own: a client
/// that asks for one of these asks for a provider that could be there.
const KNOWN: &[(&str, Option<ProviderKind>)] = &[
    ("aws_bedrock", Some(ProviderKind::Bedrock)),
    ("aws-bedrock", Some(ProviderKind::Bedrock)),
    ("azure_openai", Some(ProviderKind::Azure)),
    ("azure-openai", Some(ProviderKind::Azure)),
    ("claude", Some(ProviderKind::Anthropic)),
    ("gemini", Some(ProviderKind::Google)),
    ("groq", None),
    ("deepseek", None),
    ("mistral", None),
    ("xai", None),
    ("together", None),
    ("fireworks", None),
    ("cerebras", None),
    ("deepinfra", None),
    ("cohere", None),
    ("huggingface", None),
];

/// Why a name stands for no provider.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("Invalid provider type: {name}; the providers here are {}", there.join(", "))]
    NoSuchType { name: String, there: Vec<String> },
    #[error("Provider {0} not configured")]
    NotConfigured(String),
}

impl Unknown {
    /// 400 or 404, with the text under both keys that clients read.
    pub(super) fn page(&self) -> Page {
        #[derive(Serialize)]
        struct Body {
            error: String,
            detail: String,
        }
        let text = self.to_string();
        let body = Body {
            error: text.clone(),
            detail: text,
        };
        match self {
            Unknown::NoSuchType { .. } => Page::json(400, &body),
            Unknown::NotConfigured(_) => Page::json(404, &body),
        }
    }
}

/// The provider of that name in any case, else the first of that kind, of those that may be seen.
pub(super) fn find<'a>(
    fleet: &'a Fleet,
    name: &str,
    view: View<'_>,
) -> Result<&'a Arc<Provider>, Unknown> {
    let seen = || {
        let providers = fleet.providers();
        providers.filter(|provider| view.asks(&provider.name))
    };
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    if let Some(provider) = seen().find(|provider| is(&provider.name)) {
        return Ok(provider);
    }
    let kinds = ProviderKind::NAMES
        .iter()
        .map(|(name, kind)| (*name, Some(*kind)));
    let known = kinds
        .chain(KNOWN.iter().copied())
        .find(|(known, _)| is(known));
    // What was not understood is shown, but not all of it.
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let Some((_, kind)) = known else {
        let there = seen().map(|provider| provider.name.to_string());
        return Err(Unknown::NoSuchType {
            name,
            there: there.collect(),
        });
    };
    let of_kind = kind.and_then(|kind| {
        let mut providers = seen();
        providers.find(|provider| provider.settings.kind == kind)
    });
    of_kind.ok_or(Unknown::NotConfigured(name))
}

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
    slots: u32,
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
}

#[derive(Serialize)]
pub(super) struct Breaker {
    state: &'static str,
    /// Of the breaker's window.
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
    /// Of a provider, with those of its models that may be seen.
    pub(super) fn of(provider: &Provider, view: View<'_>, now: Instant) -> Self {
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

/// `GET /api/providers`.
pub(super) fn all(from: &Introspection, view: View<'_>) -> Page {
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
    let summaries = seen.map(|provider| {
        let name = provider.name.to_string();
        (name, Summary::of(provider, &backends(from, provider), view))
    });
    let listing = Listing {
        providers: ByName(summaries.collect()),
        routing_strategy: routing.strategy.name(),
        fallback_strategy: routing.fallback.name(),
        load_balancing_enabled: !matches!(routing.strategy, Strategy::Failover | Strategy::Manual),
        unresolved_names: pages::unresolved_names(&from.router, view),
    };
    Page::json(200, &listing)
}

impl Summary {
    fn of(provider: &Provider, backends: &[Arc<Backend>], view: View<'_>) -> Self {
        let plain: Vec<&Backend> = backends.iter().map(|backend| &**backend).collect();
        let now = Instant::now();
        let status = health::state(provider, &plain, now);
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
            slots: healthy().map(|backend| backend.slots).sum(),
            healthy_backends: healthy().count(),
            backends: plain.len(),
            models: models.len(),
            circuit_breaker: Breaker::of(provider, view, now),
            concurrency_limit: guard.limit,
            keys: guard.keys,
            keys_set_aside: guard.keys_set_aside,
            trouble: Troubles::of(provider, &plain),
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

/// `GET /api/providers/{provider}/stats`.
pub(super) fn stats(from: &Introspection, name: &str, view: View<'_>) -> Page {
    match find(&from.fleet, name, view) {
        Ok(provider) => Page::json(200, &Stats::of(from, provider, view)),
        Err(unknown) => unknown.page(),
    }
}

impl<'a> Stats<'a> {
    fn of(from: &Introspection, provider: &'a Provider, view: View<'_>) -> Self {
        let counts = Counts::of(from, provider);
        let error_rate = percent(counts.failed, counts.attempts);
        let (model_usage, token_usage) = usage(from, provider, view);
        let history = provider.statistics.history().into_iter();
        Stats {
            provider: &provider.name,
            summary: Summary::of(provider, &backends(from, provider), view),
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

/// Requests and tokens by model, the busiest first, and all tokens together; of the models that may be seen.
fn usage(from: &Introspection, provider: &Provider, view: View<'_>) -> (ByName<Used>, Tokens) {
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

/// What a provider of that kind can be asked for through the gateway; what its models can is in their facts.
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

/// `GET /api/tags/{provider}`: the models of one provider, as `/api/tags` has those of all.
pub(super) fn tags(from: &Introspection, name: &str, view: View<'_>) -> Page {
    match find(&from.fleet, name, view) {
        Ok(provider) => {
            let names = from.settings.server.model_names;
            pages::tags_of(&from.fleet, &from.facts, names, provider, view)
        }
        Err(unknown) => unknown.page(),
    }
}
