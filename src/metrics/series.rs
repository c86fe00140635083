//! What one request records to: the series of its model, its provider and its route, resolved once and bounded in number.

use std::sync::{Arc, PoisonError, RwLock};

use ahash::{AHashMap, AHashSet};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::instruments::{counters, histogram};

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

/// The instruments of requests, and what was resolved of them.
pub(super) struct Requests {
    requests: IntCounterVec,
    duration: HistogramVec,
    time_to_first_token: HistogramVec,
    time_per_output_token: HistogramVec,
    queue_wait: HistogramVec,
    token_usage: HistogramVec,
    tokens_per_second: HistogramVec,
    resolved: RwLock<Resolved>,
}

#[derive(Default)]
struct Resolved {
    series: AHashMap<SeriesKey, Arc<Series>>,
    /// Models that have a label value of their own, in every series; all others share one.
    labelled: AHashSet<u32>,
}

impl Resolved {
    /// Whether the model's name is a label value.
    fn labels(&mut self, model: u32) -> bool {
        if self.labelled.len() < MAX_MODEL_LABELS {
            self.labelled.insert(model);
        }
        self.labelled.contains(&model)
    }
}

impl Requests {
    pub(super) fn register(registry: &Registry) -> Requests {
        let request_labels = [
            "gen_ai_request_model",
            "remuda_provider",
            "http_route",
            "http_response_status_code",
        ];
        let series_labels = &request_labels[..3];
        Requests {
            requests: counters(
                registry,
                "remuda_requests_total",
                "Finished requests; status 499 is a client that left",
                &request_labels,
            ),
            duration: histogram(
                registry,
                "gen_ai_server_request_duration_seconds",
                "From the request's head to the end of its answer",
                series_labels,
                DURATION_BUCKETS,
            ),
            time_to_first_token: histogram(
                registry,
                "gen_ai_server_time_to_first_token_seconds",
                "From the request's head to the first content of its answer, queue and cold load included",
                series_labels,
                DURATION_BUCKETS,
            ),
            time_per_output_token: histogram(
                registry,
                "gen_ai_server_time_per_output_token_seconds",
                "Inter-token latency: mean time between the streamed tokens of one answer",
                series_labels,
                TOKEN_TIME_BUCKETS,
            ),
            queue_wait: histogram(
                registry,
                "remuda_queue_wait_seconds",
                "Time that a request waited for a slot",
                series_labels,
                DURATION_BUCKETS,
            ),
            token_usage: histogram(
                registry,
                "gen_ai_client_token_usage",
                "Tokens of one request as the backend counted them",
                &[series_labels, &["gen_ai_token_type"]].concat(),
                TOKEN_BUCKETS,
            ),
            tokens_per_second: histogram(
                registry,
                "remuda_output_tokens_per_second",
                "Decoding speed of one answer as the backend measured it",
                series_labels,
                SPEED_BUCKETS,
            ),
            resolved: RwLock::default(),
        }
    }

    /// The instruments of one model, provider and route; resolved once, then looked up.
    ///
    /// `names` gives the label values of the key's model and provider and is called only when the
    /// series is new.
    pub(super) fn series<'a>(
        &self,
        key: SeriesKey,
        names: impl FnOnce() -> (&'a str, &'a str),
    ) -> Arc<Series> {
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = resolved.series.get(&key) {
            return Arc::clone(series);
        }
        drop(resolved);
        let (model, provider) = names();
        let mut resolved = self
            .resolved
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let model = if resolved.labels(key.model) {
            model
        } else {
            "other"
        };
        let series = resolved.series.entry(key);
        Arc::clone(series.or_insert_with(|| Arc::new(self.resolve(model, provider, key.route))))
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
    pub(super) fn model_usage(&self, provider: u16) -> Vec<ModelUsage> {
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: AHashMap<u32, ModelUsage> = AHashMap::new();
        let series = resolved.series.iter();
        for (key, series) in series.filter(|(key, _)| key.provider == provider) {
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
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

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
        // On every route.
        for model in [0, MAX_MODEL_LABELS as u32 + 1] {
            let name = format!("m{model}");
            let key = SeriesKey {
                model,
                provider: 0,
                route: "/api/embed",
            };
            metrics.series(key, || (&name, "gpus")).count(200);
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains(
            r#"gen_ai_request_model="m0",http_response_status_code="200",http_route="/api/embed""#
        ));
        assert!(text.contains(r#"gen_ai_request_model="other",http_response_status_code="200",http_route="/api/embed""#));
        assert!(!text.contains("\"m501\""));
    }
}
