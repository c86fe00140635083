//! What one request records to: the series of its model, its provider and its route. They are resolved once, take no more
//! than so many bytes of a page together, and go when nobody has used them for a while.

use crate::ids::{ModelId, ProviderId};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::instruments::{counters, histogram};

/// Seconds of a whole request, to the ten minutes that a long generation takes.
const DURATION_BUCKETS: &[f64] = &[
    0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
];
/// Seconds to the first token, with a queue and a cold load.
const FIRST_BUCKETS: &[f64] = &[
    0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 320.0,
];
/// Seconds in the queue.
const WAIT_BUCKETS: &[f64] = &[0.01, 0.1, 0.5, 1.0, 5.0, 20.0, 80.0, 320.0];
/// Seconds per token: of the bounds that OpenTelemetry recommends for `time_per_output_token`, every other one.
const TOKEN_TIME_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Tokens of one request: powers of four, as OpenTelemetry recommends for `token.usage`.
const TOKEN_BUCKETS: &[f64] = &[
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
const SPEED_BUCKETS: &[f64] = &[5.0, 10.0, 20.0, 45.0, 80.0, 120.0, 300.0, 1200.0];

/// Bytes that all series may take of the page of metrics: of those that have their model's name, and with those that share
/// one. Some two hundred and fifty models and routes that run one have room.
const ROOM: usize = 3_000_000;
const ROOM_WITH_SHARED: usize = 3_600_000;
/// Bytes of a line beside its label values.
const LINE: usize = 130;
/// Lines of a histogram beside its buckets: infinity, sum and count.
const MORE_LINES: usize = 3;
/// Status codes that one set of series is expected to have.
const CODES: usize = 4;
/// Series that nobody has used for so long make room for others.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Between two looks for them.
const PAUSE: Duration = Duration::from_secs(60);

/// What models and providers without series of their own are called.
const OTHER: &str = "other";

/// Whom a series is about: a model or a provider of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About<T> {
    Known(T),
    /// All of those that have no series of their own.
    Other,
    /// None: the request named no known model, or reached no provider.
    Nobody,
}

impl<T> From<Option<T>> for About<T> {
    fn from(known: Option<T>) -> About<T> {
        known.map_or(About::Nobody, About::Known)
    }
}

/// What identifies the series that one request records to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    pub model: About<ModelId>,
    pub provider: About<ProviderId>,
    /// The route as in the route table.
    pub route: &'static str,
}

impl SeriesKey {
    /// Returns the key whose series are used where there is no room for this one's.
    fn shared(self) -> SeriesKey {
        SeriesKey {
            model: About::Other,
            ..self
        }
    }

    /// Returns the key of the series that stand for all others where there is no room for their own.
    fn last(self) -> SeriesKey {
        SeriesKey {
            provider: About::Other,
            ..self.shared()
        }
    }
}

/// What is measured of a request, by its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// How long it took.
    Plain,
    /// What it asked of a model, too.
    Vectors,
    /// And how an answer of text came.
    Text,
}

impl Measured {
    fn lines(self) -> usize {
        let of = |all: &[&[f64]]| all.iter().map(|one| one.len() + MORE_LINES).sum::<usize>();
        let plain = of(&[DURATION_BUCKETS]) + CODES;
        let model = of(&[FIRST_BUCKETS, WAIT_BUCKETS, TOKEN_BUCKETS]);
        let text = of(&[TOKEN_TIME_BUCKETS, TOKEN_BUCKETS, SPEED_BUCKETS]);
        match self {
            Measured::Plain => plain,
            Measured::Vectors => plain + model,
            Measured::Text => plain + model + text,
        }
    }
}

/// What has been asked of a provider for one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelUsage {
    pub model: About<ModelId>,
    pub requests: u64,
    /// All of them together, from each request's head to the end of its answer.
    pub seconds: f64,
    pub input_tokens: f64,
    pub output_tokens: f64,
}

/// Resolved instruments for one model, provider and route.
pub struct Series {
    key: SeriesKey,
    ok: IntCounter,
    requests: IntCounterVec,
    labels: [String; 3],
    bytes: usize,
    /// Seconds from the start of the process until it was last used.
    used: AtomicU32,
    pub duration: Histogram,
    pub model: Option<OfModel>,
    pub text: Option<OfText>,
}

/// What is measured of requests that run a model.
pub struct OfModel {
    pub time_to_first_token: Histogram,
    pub queue_wait: Histogram,
    pub input_tokens: Histogram,
}

/// What is measured of answers that are text.
pub struct OfText {
    pub time_per_output_token: Histogram,
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
                .with_label_values(&[model, provider, route, decimal(told(code), &mut digits)])
                .inc();
        }
    }
}

/// Returns the status code; of one that nobody has registered, that of its class (RFC 9110 section 15), as servers may
/// answer with any.
fn told(code: u16) -> u16 {
    // Those that are common all the same: a client that left, and a provider that has too much to do.
    if matches!(code, 0 | 499 | 529) {
        return code;
    }
    let registered = http::StatusCode::from_u16(code).ok();
    match registered.and_then(|status| status.canonical_reason()) {
        Some(_) => code,
        None => code.clamp(100, 599) / 100 * 100,
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
    began: Instant,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    /// Those that share a name have several places.
    series: AHashMap<SeriesKey, Arc<Series>>,
    /// Bytes of all that there are.
    bytes: usize,
    /// When it was last looked for those that nobody uses.
    looked: Option<u32>,
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
                FIRST_BUCKETS,
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
                WAIT_BUCKETS,
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
            began: Instant::now(),
            table: RwLock::default(),
        }
    }

    /// Returns the instruments of one model, provider and route, used at `now`; they are resolved once, then looked up.
    ///
    /// `names` gives the label values of the key's model and provider and is called only when the
    /// series is new.
    pub(super) fn series<'a>(
        &self,
        key: SeriesKey,
        measured: Measured,
        now: Instant,
        names: impl FnOnce() -> (&'a str, &'a str),
    ) -> Arc<Series> {
        let now = self.seconds(now);
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = table.series.get(&key) {
            series.used.store(now, Ordering::Relaxed);
            return Arc::clone(series);
        }
        drop(table);
        let names = names();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        self.resolve(&mut table, key, measured, now, names)
    }

    fn seconds(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.began).as_secs();
        u32::try_from(since).unwrap_or(u32::MAX)
    }

    fn resolve(
        &self,
        table: &mut Table,
        key: SeriesKey,
        measured: Measured,
        now: u32,
        (model, provider): (&str, &str),
    ) -> Arc<Series> {
        let places = [
            (key, [model, provider], ROOM),
            (key.shared(), [OTHER, provider], ROOM_WITH_SHARED),
            (key.last(), [OTHER, OTHER], usize::MAX),
        ];
        let mut found = None;
        for (place, [model, provider], room) in places {
            found = table.series.get(&place).map(Arc::clone);
            if found.is_none() {
                let values = model.len() + provider.len() + key.route.len();
                let bytes = measured.lines() * (LINE + values);
                if table.bytes + bytes > room
                    && !self.make_room(table, now, room.saturating_sub(bytes))
                {
                    continue;
                }
                let labels = [model, provider, key.route];
                let series = Arc::new(self.make(place, measured, bytes, labels));
                table.bytes += bytes;
                table.series.insert(place, Arc::clone(&series));
                found = Some(series);
            }
            break;
        }
        let series = found.expect("the last place has room for the few routes that there are");
        series.used.store(now, Ordering::Relaxed);
        table.series.insert(key, Arc::clone(&series));
        series
    }

    /// Lets those go that nobody has used for a while; whether no more than `room` is taken then.
    fn make_room(&self, table: &mut Table, now: u32, room: usize) -> bool {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        // To look is as long as the table, and may be asked for with every request.
        if table
            .looked
            .is_none_or(|at| now.saturating_sub(at) >= seconds(PAUSE))
        {
            table.looked = Some(now);
            self.retire(table, now.saturating_sub(seconds(IDLE)));
        }
        table.bytes <= room
    }

    /// Lets those go that were last used before `since`.
    fn retire(&self, table: &mut Table, since: u32) {
        let mut freed = 0;
        table.series.retain(|key, series| {
            let goes = series.used.load(Ordering::Relaxed) < since;
            if goes && *key == series.key {
                freed += series.bytes;
                self.forget(series);
            }
            // Whoever shares a name may have its own now.
            !goes && *key == series.key
        });
        table.bytes = table.bytes.saturating_sub(freed);
    }

    /// Takes a set off the page.
    fn forget(&self, series: &Series) {
        let [model, provider, route] = &series.labels;
        let mut digits = [0u8; 5];
        for code in (0..1).chain(100..600) {
            let code = decimal(code, &mut digits);
            // Most of them were never told.
            let _ = self
                .requests
                .remove_label_values(&[&**model, provider, route, code]);
        }
        let labels = [&**model, provider, route];
        for histogram in [
            &self.duration,
            &self.time_to_first_token,
            &self.time_per_output_token,
            &self.queue_wait,
            &self.tokens_per_second,
        ] {
            let _ = histogram.remove_label_values(&labels);
        }
        for kind in ["input", "output"] {
            let _ = self
                .token_usage
                .remove_label_values(&[&**model, provider, route, kind]);
        }
    }

    fn make(&self, key: SeriesKey, measured: Measured, bytes: usize, labels: [&str; 3]) -> Series {
        let [model, provider, route] = labels;
        let tokens = |kind| {
            self.token_usage
                .with_label_values(&[model, provider, route, kind])
        };
        Series {
            key,
            ok: self
                .requests
                .with_label_values(&[model, provider, route, "200"]),
            requests: self.requests.clone(),
            labels: labels.map(str::to_owned),
            bytes,
            used: AtomicU32::new(0),
            duration: self.duration.with_label_values(&labels),
            model: (measured != Measured::Plain).then(|| OfModel {
                time_to_first_token: self.time_to_first_token.with_label_values(&labels),
                queue_wait: self.queue_wait.with_label_values(&labels),
                input_tokens: tokens("input"),
            }),
            text: (measured == Measured::Text).then(|| OfText {
                time_per_output_token: self.time_per_output_token.with_label_values(&labels),
                output_tokens: tokens("output"),
                tokens_per_second: self.tokens_per_second.with_label_values(&labels),
            }),
        }
    }

    /// Returns what has been asked of the provider, by model; in no order.
    pub(super) fn model_usage(&self, provider: ProviderId) -> Vec<ModelUsage> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: AHashMap<About<ModelId>, ModelUsage> = AHashMap::new();
        let own = table
            .series
            .iter()
            .filter(|(key, series)| **key == series.key);
        for (key, series) in own.filter(|(key, _)| key.provider == About::Known(provider)) {
            // Observed once for each request that was to run a model, and for no other.
            let model = series.model.as_ref();
            let requests = model.map_or(0, |model| model.queue_wait.get_sample_count());
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
            let sum = |histogram: Option<&Histogram>| {
                histogram.map_or(0.0, |histogram| histogram.get_sample_sum())
            };
            usage.requests += requests;
            usage.seconds += series.duration.get_sample_sum();
            usage.input_tokens += sum(model.map(|model| &model.input_tokens));
            usage.output_tokens += sum(series.text.as_ref().map(|text| &text.output_tokens));
        }
        found.into_values().collect()
    }
}

#[cfg(test)]
mod tests;
