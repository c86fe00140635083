//! Prometheus instruments, and the per-request handles that the hot path records through.
//!
//! Names follow OpenTelemetry's GenAI conventions in Prometheus form where those exist
//! (`gen_ai.server.time_to_first_token` becomes `gen_ai_server_time_to_first_token_seconds`);
//! the rest start with `remuda_`. Label values come from the configuration, the route table and
//! the models that the fleet has: never from a client's text.

use std::sync::{Arc, PoisonError, RwLock};

use ahash::AHashMap;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Seconds from a millisecond to the ten minutes that a long generation takes.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
    160.0, 320.0, 640.0,
];
/// Seconds per token: the bounds that OpenTelemetry recommends for `time_per_output_token`.
const TOKEN_TIME_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
/// Tokens of one request: powers of four, as OpenTelemetry recommends for `token.usage`.
const TOKEN_BUCKETS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];
/// Tokens per second of one answer.
const SPEED_BUCKETS: &[f64] = &[
    1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 80.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 5000.0,
];
/// Distinct models that get a label value of their own; further ones share `other`.
const MAX_MODEL_LABELS: usize = 500;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    Ok,
    ConnectError,
    Reset,
    Timeout,
    ServerError,
    ErrorLine,
    Refused,
    BrokenStream,
    ClientGone,
}

impl AttemptOutcome {
    const ALL: [(AttemptOutcome, &'static str); 9] = [
        (AttemptOutcome::Ok, "ok"),
        (AttemptOutcome::ConnectError, "connect_error"),
        (AttemptOutcome::Reset, "reset"),
        (AttemptOutcome::Timeout, "timeout"),
        (AttemptOutcome::ServerError, "server_error"),
        (AttemptOutcome::ErrorLine, "error_line"),
        (AttemptOutcome::Refused, "refused"),
        (AttemptOutcome::BrokenStream, "broken_stream"),
        (AttemptOutcome::ClientGone, "client_gone"),
    ];

    /// The label value.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it speaks against the provider: a refusal is about the request, and a client may leave for any reason.
    #[must_use]
    pub fn failed(self) -> bool {
        !matches!(
            self,
            AttemptOutcome::Ok | AttemptOutcome::Refused | AttemptOutcome::ClientGone
        )
    }
}

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

/// What identifies the series that one request records to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    /// The model's id in the fleet; `u32::MAX` for a request that names no known model.
    pub model: u32,
    /// Index of the provider in the configuration; `u16::MAX` where none was reached.
    pub provider: u16,
    /// The route as in the route table.
    pub route: &'static str,
}

/// What has been asked of a provider for one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelUsage {
    /// The model's id in the fleet; `u32::MAX` for what is no known model.
    pub model: u32,
    pub requests: u64,
    /// All of them together, from each request's head to the end of its answer.
    pub seconds: f64,
    pub input_tokens: f64,
    pub output_tokens: f64,
}

/// Resolved instruments for one model, provider and route.
pub struct Series {
    ok: IntCounter,
    requests: IntCounterVec,
    labels: [String; 3],
    pub duration: Histogram,
    pub time_to_first_token: Histogram,
    pub time_per_output_token: Histogram,
    pub queue_wait: Histogram,
    pub input_tokens: Histogram,
    pub output_tokens: Histogram,
    pub tokens_per_second: Histogram,
}

impl Series {
    /// Counts one finished request under its status; 499 is a client that left.
    pub fn count(&self, code: u16) {
        if code == 200 {
            self.ok.inc();
        } else {
            let [model, provider, route] = &self.labels;
            let mut digits = [0u8; 5];
            self.requests
                .with_label_values(&[model, provider, route, decimal(code, &mut digits)])
                .inc();
        }
    }
}

/// Writes `code` in decimal without an allocation.
fn decimal(code: u16, digits: &mut [u8; 5]) -> &str {
    let mut rest = code;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).expect("ASCII digits are UTF-8")
}

/// Every instrument of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    time_to_first_token: HistogramVec,
    time_per_output_token: HistogramVec,
    queue_wait: HistogramVec,
    token_usage: HistogramVec,
    tokens_per_second: HistogramVec,
    attempts: IntCounterVec,
    series: RwLock<AHashMap<SeriesKey, Arc<Series>>>,
    pub cold_loads: IntCounterVec,
    pub broken_streams: IntCounterVec,
    /// Request fields that a provider could not be told, by provider and field; the fields' names are constants.
    pub dropped_fields: IntCounterVec,
    /// Requests refused by the rules for clients, by reason and by name of the key.
    pub rejected_requests: IntCounterVec,
    /// By provider, model and sort.
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
        let request_labels = [
            "gen_ai_request_model",
            "remuda_provider",
            "http_route",
            "http_response_status_code",
        ];
        let series_labels = &request_labels[..3];
        let metrics = Metrics {
            requests: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "remuda_requests_total",
                        "Finished requests; status 499 is a client that left",
                    ),
                    &request_labels,
                ),
            ),
            duration: histogram(
                &registry,
                "gen_ai_server_request_duration_seconds",
                "From the request's head to the end of its answer",
                series_labels,
                DURATION_BUCKETS,
            ),
            time_to_first_token: histogram(
                &registry,
                "gen_ai_server_time_to_first_token_seconds",
                "From the request's head to the first content of its answer, queue and cold load included",
                series_labels,
                DURATION_BUCKETS,
            ),
            time_per_output_token: histogram(
                &registry,
                "gen_ai_server_time_per_output_token_seconds",
                "Inter-token latency: mean time between the streamed tokens of one answer",
                series_labels,
                TOKEN_TIME_BUCKETS,
            ),
            queue_wait: histogram(
                &registry,
                "remuda_queue_wait_seconds",
                "Time that a request waited for a slot",
                series_labels,
                DURATION_BUCKETS,
            ),
            token_usage: histogram(
                &registry,
                "gen_ai_client_token_usage",
                "Tokens of one request as the backend counted them",
                &[series_labels, &["gen_ai_token_type"]].concat(),
                TOKEN_BUCKETS,
            ),
            tokens_per_second: histogram(
                &registry,
                "remuda_output_tokens_per_second",
                "Decoding speed of one answer as the backend measured it",
                series_labels,
                SPEED_BUCKETS,
            ),
            attempts: counters(
                &registry,
                "remuda_attempts_total",
                "Attempts at a backend, by how they ended",
                &["remuda_provider", "outcome"],
            ),
            series: RwLock::default(),
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

    /// The instruments of one model, provider and route; resolved once, then looked up.
    ///
    /// `names` gives the label values of the key's model and provider and is called only when the
    /// series is new.
    pub fn series<'a>(
        &self,
        key: SeriesKey,
        names: impl FnOnce() -> (&'a str, &'a str),
    ) -> Arc<Series> {
        if let Some(series) = self
            .series
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Arc::clone(series);
        }
        let (model, provider) = names();
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.keys().any(|other| other.model == key.model);
        let models = all
            .keys()
            .map(|other| other.model)
            .collect::<ahash::AHashSet<_>>();
        let model = if known || models.len() < MAX_MODEL_LABELS {
            model
        } else {
            "other"
        };
        Arc::clone(
            all.entry(key)
                .or_insert_with(|| Arc::new(self.resolve(model, provider, key.route))),
        )
    }

    fn resolve(&self, model: &str, provider: &str, route: &'static str) -> Series {
        let labels = [model, provider, route];
        Series {
            ok: self
                .requests
                .with_label_values(&[model, provider, route, "200"]),
            requests: self.requests.clone(),
            labels: labels.map(str::to_owned),
            duration: self.duration.with_label_values(&labels),
            time_to_first_token: self.time_to_first_token.with_label_values(&labels),
            time_per_output_token: self.time_per_output_token.with_label_values(&labels),
            queue_wait: self.queue_wait.with_label_values(&labels),
            input_tokens: self
                .token_usage
                .with_label_values(&[model, provider, route, "input"]),
            output_tokens: self
                .token_usage
                .with_label_values(&[model, provider, route, "output"]),
            tokens_per_second: self.tokens_per_second.with_label_values(&labels),
        }
    }

    /// What has been asked of the provider at that index of the configuration, by model; in no order.
    pub fn model_usage(&self, provider: u16) -> Vec<ModelUsage> {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: AHashMap<u32, ModelUsage> = AHashMap::new();
        for (key, series) in all.iter().filter(|(key, _)| key.provider == provider) {
            // Observed once for each request that was to run a model, and for no other.
            let requests = series.queue_wait.get_sample_count();
            if requests == 0 {
                continue;
            }
            let usage = found.entry(key.model).or_insert(ModelUsage {
                model: key.model,
                requests: 0,
                seconds: 0.0,
                input_tokens: 0.0,
                output_tokens: 0.0,
            });
            usage.requests += requests;
            usage.seconds += series.duration.get_sample_sum();
            usage.input_tokens += series.input_tokens.get_sample_sum();
            usage.output_tokens += series.output_tokens.get_sample_sum();
        }
        found.into_values().collect()
    }

    /// Resolved attempt counters of one provider, by outcome.
    #[must_use]
    pub fn attempts(&self, provider: &str) -> AttemptCounters {
        AttemptCounters(
            AttemptOutcome::ALL.map(|(_, name)| self.attempts.with_label_values(&[provider, name])),
        )
    }

    /// The text format of everything registered.
    ///
    /// # Errors
    /// When the encoder fails, which is a defect of an instrument.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Attempt counters of one provider.
pub struct AttemptCounters([IntCounter; 9]);

impl AttemptCounters {
    /// Counts one attempt.
    pub fn count(&self, outcome: AttemptOutcome) {
        self.0[outcome as usize].inc();
    }

    /// Attempts so far, by how they ended.
    pub fn counts(&self) -> impl Iterator<Item = (AttemptOutcome, u64)> {
        let outcomes = AttemptOutcome::ALL.into_iter().zip(&self.0);
        outcomes.map(|((outcome, _), counter)| (outcome, counter.get()))
    }
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("instrument names and labels are constants");
    registry
        .register(Box::new(collector.clone()))
        .expect("each instrument is registered once");
    collector
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, HistogramVec::new(options, labels))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn amounts(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> CounterVec {
    register(registry, CounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_index_their_own_names() {
        for (index, (outcome, name)) in AttemptOutcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
            assert_eq!(outcome.name(), *name);
        }
    }

    #[test]
    fn codes_are_written_in_decimal() {
        let mut digits = [0; 5];
        assert_eq!(decimal(499, &mut digits), "499");
        assert_eq!(decimal(0, &mut digits), "0");
        assert_eq!(decimal(u16::MAX, &mut digits), "65535");
    }

    #[test]
    fn a_series_is_resolved_once_and_counts_by_code() {
        let metrics = Metrics::new();
        let key = SeriesKey {
            model: 1,
            provider: 0,
            route: "/api/chat",
        };
        let series = metrics.series(key, || ("llama3.2:latest", "gpus"));
        series.count(200);
        series.count(499);
        metrics
            .series(key, || unreachable!("already resolved"))
            .count(200);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains(
            r#"remuda_requests_total{gen_ai_request_model="llama3.2:latest",http_response_status_code="200",http_route="/api/chat",remuda_provider="gpus"} 2"#
        ), "{text}");
        assert!(text.contains(r#"http_response_status_code="499""#));
    }

    #[test]
    fn models_beyond_the_bound_share_a_label() {
        let metrics = Metrics::new();
        for model in 0..MAX_MODEL_LABELS as u32 + 5 {
            let name = format!("m{model}");
            let key = SeriesKey {
                model,
                provider: 0,
                route: "/api/chat",
            };
            metrics.series(key, || (&name, "gpus")).count(200);
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains(r#"gen_ai_request_model="other",http_response_status_code="200",http_route="/api/chat",remuda_provider="gpus"} 5"#));
    }
}
