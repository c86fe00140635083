//! Prometheus instruments, and the per-request handles that the hot path records through.
//!
//! Names follow OpenTelemetry's GenAI conventions in Prometheus form where those exist
//! (`gen_ai.server.time_to_first_token` becomes `gen_ai_server_time_to_first_token_seconds`);
//! the rest start with `remuda_`. Label values come from the configuration, the route table and
//! the models that the fleet has: never from a client's text.

mod attempts;
mod instruments;
mod series;

use crate::ids::ProviderId;
use std::sync::Arc;
use std::time::Instant;

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::instruments::{amounts, counter, counters, gauge, gauges, register};
use self::series::Requests;

pub use self::attempts::{AttemptCounters, AttemptOutcome};
pub use self::series::{About, Measured, ModelUsage, OfModel, OfText, Series, SeriesKey};

/// A sort of tokens, as counted for accounting. Cached and cache-write tokens are part of the input's, reasoning tokens of
/// the output's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    Input,
    Cached,
    CacheWrite,
    Output,
    Reasoning,
}

impl TokenType {
    pub const ALL: [TokenType; 5] = [
        TokenType::Input,
        TokenType::Cached,
        TokenType::CacheWrite,
        TokenType::Output,
        TokenType::Reasoning,
    ];

    /// The label value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TokenType::Input => "input",
            TokenType::Cached => "cached",
            TokenType::CacheWrite => "cache_write",
            TokenType::Output => "output",
            TokenType::Reasoning => "reasoning",
        }
    }
}

/// Every instrument of the process.
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    attempts: IntCounterVec,
    pub cold_loads: IntCounterVec,
    pub broken_streams: IntCounterVec,
    /// Events and lines of streams that could not be read and were left out.
    pub malformed_events: IntCounterVec,
    /// Request fields that a provider could not be told, by provider and field; the fields' names are constants.
    pub dropped_fields: IntCounterVec,
    /// Requests refused by the rules for clients, by reason and by name of the key.
    pub rejected_requests: IntCounterVec,
    /// The tokens by provider, model and sort.
    pub tokens: IntCounterVec,
    /// US dollars, by provider and model.
    pub cost: CounterVec,
    /// By provider and model.
    pub unpriced: IntCounterVec,
    /// By key and tag.
    pub key_requests: IntCounterVec,
    /// By key, tag and sort.
    pub key_tokens: IntCounterVec,
    /// US dollars, by key and tag.
    pub key_cost: CounterVec,
    pub usage_lost: IntCounter,
    pub usage_write_errors: IntCounter,
    /// 1 while the server is away at which gateways count together.
    pub shared_limits_away: IntGauge,
    /// Further attempts that the retry budget has not allowed.
    pub retries_denied: IntCounterVec,
    /// Requests that were sent once more without what they were refused for, by that.
    pub mended: IntCounterVec,
    pub breaker_state: IntGaugeVec,
    pub model_breaker_state: IntGaugeVec,
    pub concurrency_limit: IntGaugeVec,
    pub keys_set_aside: IntGaugeVec,
    pub rejected_connections: IntCounter,
    pub in_flight: IntGauge,
    pub connections: IntGauge,
    pub queue_depth: IntGauge,
    pub slots: IntGaugeVec,
    pub slots_used: IntGaugeVec,
    pub backend_healthy: IntGaugeVec,
    pub backend_in_flight: IntGaugeVec,
    pub backend_vram: IntGaugeVec,
    pub backends: IntGaugeVec,
    pub models_loaded: IntGaugeVec,
    pub models_available: IntGaugeVec,
    pub start_time: Gauge,
    pub resident_memory: IntGauge,
}

impl Metrics {
    /// Registers every instrument.
    ///
    /// # Panics
    /// Never in a released build: the names are constants, and a test registers them.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let metrics = Metrics {
            requests: Requests::register(&registry),
            attempts: counters(
                &registry,
                "remuda_attempts_total",
                "Attempts at a backend, by how they ended",
                &["remuda_provider", "outcome"],
            ),
            cold_loads: counters(
                &registry,
                "remuda_cold_loads_total",
                "Requests that were sent to a backend that had to load the model first",
                &["remuda_provider"],
            ),
            broken_streams: counters(
                &registry,
                "remuda_broken_streams_total",
                "Answers that broke after their first content",
                &["remuda_provider"],
            ),
            malformed_events: counters(
                &registry,
                "remuda_malformed_events_total",
                "Events and lines of streams that could not be read and were left out",
                &["remuda_provider"],
            ),
            dropped_fields: counters(
                &registry,
                "remuda_dropped_fields_total",
                "Request fields that were left out because the provider cannot express them",
                &["remuda_provider", "remuda_field"],
            ),
            rejected_requests: counters(
                &registry,
                "remuda_rejected_requests_total",
                "Requests refused by the rules for clients: their addresses, keys, limits and budgets",
                &["reason", "remuda_key"],
            ),
            tokens: counters(
                &registry,
                "remuda_tokens_total",
                "Tokens of all answers; cached and cache_write are part of input, reasoning of output",
                &[
                    "remuda_provider",
                    "gen_ai_request_model",
                    "gen_ai_token_type",
                ],
            ),
            cost: amounts(
                &registry,
                "remuda_cost_usd_total",
                "Cost of all answers whose price is known, US dollars",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            unpriced: counters(
                &registry,
                "remuda_unpriced_requests_total",
                "Answers whose price is not known",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            key_requests: counters(
                &registry,
                "remuda_key_requests_total",
                "Requests that reached a provider, by client key and tag",
                &["remuda_key", "remuda_tag"],
            ),
            key_tokens: counters(
                &registry,
                "remuda_key_tokens_total",
                "Tokens of all answers, by client key and tag",
                &["remuda_key", "remuda_tag", "gen_ai_token_type"],
            ),
            key_cost: amounts(
                &registry,
                "remuda_key_cost_usd_total",
                "Cost of all answers whose price is known, US dollars, by client key and tag",
                &["remuda_key", "remuda_tag"],
            ),
            usage_lost: counter(
                &registry,
                "remuda_usage_lost_requests_total",
                "Requests that usage.path misses because they came faster than it could be written",
            ),
            usage_write_errors: counter(
                &registry,
                "remuda_usage_write_errors_total",
                "Failed attempts to write usage.path",
            ),
            shared_limits_away: gauge(
                &registry,
                "remuda_shared_limits_away",
                "1 while the server of `shared` is away and this gateway goes on with its share",
            ),
            retries_denied: counters(
                &registry,
                "remuda_retries_denied_total",
                "Further attempts that were not made because too many had failed",
                &["remuda_provider"],
            ),
            mended: counters(
                &registry,
                "remuda_mended_requests_total",
                "Requests that were sent to the same provider once more, without what it had refused them for",
                &["remuda_provider", "without"],
            ),
            breaker_state: gauges(
                &registry,
                "remuda_breaker_state",
                "0 while the breaker is closed, 1 half-open, 2 open; without a backend, the provider's own",
                &["remuda_provider", "backend"],
            ),
            model_breaker_state: gauges(
                &registry,
                "remuda_model_breaker_state",
                "1 while the breaker of a service's model is half-open, 2 while it is open; absent while it is closed",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            concurrency_limit: gauges(
                &registry,
                "remuda_concurrency_limit",
                "Requests that the provider is sent at once at the moment; -1 is all that it has slots for",
                &["remuda_provider"],
            ),
            keys_set_aside: gauges(
                &registry,
                "remuda_keys_set_aside",
                "Keys that the provider has refused or whose quota is spent",
                &["remuda_provider"],
            ),
            rejected_connections: register(
                &registry,
                IntCounter::new(
                    "remuda_rejected_connections_total",
                    "Client connections refused because max_connections were open",
                ),
            ),
            in_flight: gauge(
                &registry,
                "remuda_requests_in_flight",
                "Requests being served or waiting",
            ),
            connections: gauge(&registry, "remuda_connections", "Open client connections"),
            queue_depth: gauge(
                &registry,
                "remuda_queue_depth",
                "Requests waiting for a slot",
            ),
            slots: gauges(
                &registry,
                "remuda_slots",
                "Slots of healthy backends",
                &["remuda_provider"],
            ),
            slots_used: gauges(
                &registry,
                "remuda_slots_used",
                "Slots in use",
                &["remuda_provider"],
            ),
            backend_healthy: gauges(
                &registry,
                "remuda_backend_healthy",
                "1 while the backend is healthy",
                &["remuda_provider", "backend"],
            ),
            backend_in_flight: gauges(
                &registry,
                "remuda_backend_in_flight",
                "Requests in flight at the backend",
                &["remuda_provider", "backend"],
            ),
            backend_vram: gauges(
                &registry,
                "remuda_backend_vram_bytes",
                "GPU memory that the backend's loaded models take",
                &["remuda_provider", "backend"],
            ),
            backends: gauges(
                &registry,
                "remuda_backends",
                "Known backends by health",
                &["remuda_provider", "health"],
            ),
            models_loaded: gauges(
                &registry,
                "remuda_models_loaded",
                "Healthy backends that have the model loaded",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            models_available: gauges(
                &registry,
                "remuda_models_available",
                "Distinct models on the disks of healthy backends",
                &["remuda_provider"],
            ),
            start_time: register(
                &registry,
                Gauge::new(
                    "process_start_time_seconds",
                    "Start of the process, Unix time",
                ),
            ),
            resident_memory: gauge(
                &registry,
                "process_resident_memory_bytes",
                "Resident memory",
            ),
            registry,
        };
        let build = GaugeVec::new(
            Opts::new("remuda_build_info", "1, with the version as a label"),
            &["version"],
        );
        register(&metrics.registry, build)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        metrics.start_time.set(unix_now());
        Arc::new(metrics)
    }

    /// The instruments of one model, provider and route, used at `now`; resolved once, then looked up.
    ///
    /// `names` gives the label values of the key's model and provider and is called only when the
    /// series is new.
    pub fn series<'a>(
        &self,
        key: SeriesKey,
        measured: Measured,
        now: Instant,
        names: impl FnOnce() -> (&'a str, &'a str),
    ) -> Arc<Series> {
        self.requests.series(key, measured, now, names)
    }

    /// Returns what has been asked of the provider, by model; in no order.
    pub fn model_usage(&self, provider: ProviderId) -> Vec<ModelUsage> {
        self.requests.model_usage(provider)
    }

    /// Resolved attempt counters of one provider, by outcome.
    #[must_use]
    pub fn attempts(&self, provider: &str) -> AttemptCounters {
        AttemptCounters::of(provider, &self.attempts)
    }

    /// The text format of everything registered.
    ///
    /// # Errors
    /// When the encoder fails, which is a defect of an instrument.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.render_where(|_| true)
    }

    /// The same of the samples whose labels `shows` approves of.
    ///
    /// # Errors
    /// When the encoder fails, which is a defect of an instrument.
    pub fn render_where(
        &self,
        shows: impl Fn(&Labels<'_>) -> bool,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let mut families = self.registry.gather();
        for family in &mut families {
            let mut samples = family.take_metric();
            samples.retain(|sample| shows(&Labels(sample)));
            family.set_metric(samples);
        }
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// The labels of one sample.
pub struct Labels<'a>(&'a prometheus::proto::Metric);

impl Labels<'_> {
    /// A label's value, if the sample has that label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut labels = self.0.get_label().iter();
        labels
            .find(|label| label.name() == name)
            .map(|label| label.value())
    }
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
