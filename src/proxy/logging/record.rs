//! The end of a request: metrics, and one line in the access log. Neither knows a prompt or a key.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use pingora_proxy::Session;
use prometheus::IntGauge;

use crate::fleet::Fleet;
use crate::ids::ModelId;
use crate::metrics::{Measured, Metrics, Series, SeriesKey};
use crate::proxy::ctx::Ctx;
use crate::proxy::request_filter::route::{shown, written_path};
use crate::settings::{LogFormat, Settings};
use crate::usage::{Ledger, Usd};
use remuda_formats::client::Operation;
use remuda_formats::facts::Facts;

/// The access log's target, so that operators can filter it.
const ACCESS: &str = "access";
/// Nanoseconds of a second.
const NANOS: f64 = 1e9;

/// Raises a gauge for as long as it lives.
pub(crate) struct GaugeGuard<'a>(&'a IntGauge);

impl<'a> GaugeGuard<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Records requests: in metrics, in the access log, and what they cost.
pub(crate) struct Record {
    pub(super) settings: Arc<Settings>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) facts: Arc<Facts>,
    metrics: Arc<Metrics>,
    /// The accounts of what requests cost; `None` where usage is not counted.
    pub(crate) ledger: Option<Arc<Ledger>>,
}

impl Record {
    pub(crate) fn new(
        settings: &Arc<Settings>,
        fleet: &Arc<Fleet>,
        facts: &Arc<Facts>,
        metrics: &Arc<Metrics>,
        ledger: Option<Arc<Ledger>>,
    ) -> Record {
        Record {
            settings: Arc::clone(settings),
            fleet: Arc::clone(fleet),
            facts: Arc::clone(facts),
            metrics: Arc::clone(metrics),
            ledger,
        }
    }

    /// Counts a request as in flight for as long as the guard lives.
    pub(crate) fn in_flight(&self) -> GaugeGuard<'_> {
        GaugeGuard::new(&self.metrics.downstream.in_flight)
    }

    /// Counts what came of a streamed answer that broke off.
    pub(crate) fn resumed(&self, result: &str) {
        let counter = &self.metrics.upstream.resumed;
        counter.with_label_values(&[result]).inc();
    }

    /// Records a request that has ended.
    pub(crate) fn request(&self, session: &Session, ctx: &Ctx) {
        if !ctx.outcome.counted {
            return;
        }
        let ended = Instant::now();
        let key = SeriesKey {
            model: served(ctx).into(),
            provider: ctx.attempt.provider.into(),
            route: ctx.inbound.route,
        };
        let series = self.series(key, ctx, ended);
        series.count(ctx.outcome.status);
        measure(&series, ctx, ended);
        if self.settings.monitoring.access_log {
            self.log_access(session, ctx, ended);
        }
    }

    fn series(&self, key: SeriesKey, ctx: &Ctx, ended: Instant) -> Arc<Series> {
        let model = served(ctx).and_then(|model| self.fleet.models().name(model));
        let provider = ctx.attempt.provider.map(|id| &self.settings.providers[id]);
        self.metrics.series(key, measured(ctx), ended, || {
            (
                model.as_deref().unwrap_or("unknown"),
                provider.map_or("none", |provider| &*provider.name),
            )
        })
    }

    fn log_access(&self, session: &Session, ctx: &Ctx, ended: Instant) {
        if !log::log_enabled!(target: ACCESS, log::Level::Info) {
            return;
        }
        let entry = Entry::of(session, ctx, ended, self);
        match self.settings.monitoring.log_format {
            LogFormat::Json => {
                log::info!(target: ACCESS, "{}", serde_json::to_string(&entry).unwrap_or_default())
            }
            LogFormat::Text => log::info!(target: ACCESS, "{entry}"),
        }
    }
}

/// Returns what is measured of a request; the same of all on its route.
fn measured(ctx: &Ctx) -> Measured {
    match ctx.inbound.operation {
        Some(operation) if ctx.inbound.route != operation.name() => Measured::Plain,
        Some(Operation::Embed | Operation::Embeddings | Operation::OpenAiEmbeddings) => {
            Measured::Vectors
        }
        Some(operation) if operation.is_inference() => Measured::Text,
        _ => Measured::Plain,
    }
}

fn measure(series: &Series, ctx: &Ctx, ended: Instant) {
    let started = ctx.inbound.started;
    series.duration.observe((ended - started).as_secs_f64());
    let Some(model) = &series.model else { return };
    if ctx.attempt.number > 0 || !ctx.outcome.waited.is_zero() {
        model.queue_wait.observe(ctx.outcome.waited.as_secs_f64());
    }
    let usage = ctx.outcome.usage.unwrap_or_default();
    if let Some(input) = usage.prompt.filter(|tokens| *tokens > 0) {
        model.input_tokens.observe(input as f64);
    }
    let first = ctx.outcome.first_content;
    if let Some(first) = first {
        let waited = (first - started).as_secs_f64();
        model.time_to_first_token.observe(waited);
    }
    let Some(text) = &series.text else { return };
    if let Some(first) = first.filter(|_| ctx.outcome.content_lines > 1) {
        let between = (ended - first).as_secs_f64() / (ctx.outcome.content_lines - 1) as f64;
        text.time_per_output_token.observe(between);
    }
    if let Some(output) = usage.output.filter(|tokens| *tokens > 0) {
        text.output_tokens.observe(output as f64);
        if let Some(took) = usage.output_duration.filter(|took| *took > 0) {
            let speed = output as f64 * NANOS / took as f64;
            text.tokens_per_second.observe(speed);
        }
    }
}

/// A line of the access log.
#[derive(serde::Serialize)]
struct Entry<'a> {
    client: String,
    method: &'a str,
    path: Cow<'a, str>,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    queue_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_content_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    attempts: u32,
    cold: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    request_id: &'a str,
}

impl<'a> Entry<'a> {
    fn of(session: &'a Session, ctx: &'a Ctx, ended: Instant, record: &Record) -> Self {
        let head = session.req_header();
        let since = |at: Instant| (at - ctx.inbound.started).as_secs_f64() * 1e3;
        Entry {
            client: ctx
                .inbound
                .client
                .map_or_else(|| "-".to_owned(), |address| address.to_string()),
            method: head.method.as_str(),
            path: path(session, ctx),
            status: ctx.outcome.status,
            bytes: ctx.outcome.bytes,
            duration_ms: since(ended),
            queue_ms: ctx.outcome.waited.as_secs_f64() * 1e3,
            first_content_ms: ctx.outcome.first_content.map(since),
            model: model(ctx, record),
            backend: ctx.attempt.backend.as_deref(),
            attempts: ctx.attempt.number,
            cold: ctx.attempt.cold,
            resumed: Some(ctx.outcome.resumed).filter(|times| *times > 0),
            tokens: ctx
                .outcome
                .usage
                .and_then(|usage| usage.output)
                .filter(|tokens| *tokens > 0),
            key: ctx.inbound.key.as_ref().map(|key| &*key.name),
            tag: ctx.inbound.tag.as_deref(),
            cost_usd: ctx
                .outcome
                .cost
                .filter(|cost| *cost > Usd::ZERO)
                .map(Usd::dollars),
            error: ctx.outcome.code,
            request_id: ctx.inbound.request_id.to_str().unwrap_or("-"),
        }
    }
}

/// Returns the route's own name; of what was not found or not let in, the client's text, by which the mistake is found.
fn path<'a>(session: &'a Session, ctx: &'a Ctx) -> Cow<'a, str> {
    match ctx.outcome.status {
        401 | 404 => shown(written_path(session.req_header(), &ctx.inbound)).into(),
        _ => ctx.inbound.route.into(),
    }
}

/// Returns the model that was asked last, as one name may mean several; else what the name was first found to mean.
fn served(ctx: &Ctx) -> Option<ModelId> {
    ctx.attempt.model.or(ctx.inbound.model)
}

/// Returns the model's name; of one that nobody has, as the client wrote it.
fn model<'a>(ctx: &'a Ctx, record: &Record) -> Option<Cow<'a, str>> {
    let known = served(ctx);
    match known.and_then(|model| record.fleet.models().name(model)) {
        Some(name) => Some(name.to_string().into()),
        None => ctx.inbound.asked.as_deref().map(|name| shown(name).into()),
    }
}

impl std::fmt::Display for Entry<'_> {
    fn fmt(&self, line: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            line,
            "{} {} {} {} {}B {:.1}ms queue={:.1}ms",
            self.client,
            self.method,
            self.path,
            self.status,
            self.bytes,
            self.duration_ms,
            self.queue_ms
        )?;
        if let Some(first) = self.first_content_ms {
            write!(line, " first={first:.1}ms")?;
        }
        if let Some(model) = &self.model {
            write!(line, " model={model}")?;
        }
        if let Some(backend) = self.backend {
            write!(
                line,
                " backend={backend} attempts={}{}",
                self.attempts,
                if self.cold { " cold" } else { "" }
            )?;
        }
        if let Some(times) = self.resumed {
            write!(line, " resumed={times}")?;
        }
        if let Some(tokens) = self.tokens {
            write!(line, " tokens={tokens}")?;
        }
        if let Some(key) = self.key {
            write!(line, " key={key}")?;
        }
        if let Some(tag) = self.tag {
            write!(line, " tag={tag}")?;
        }
        if let Some(cost) = self.cost_usd {
            write!(line, " cost=${cost:.6}")?;
        }
        if let Some(error) = self.error {
            write!(line, " error={error}")?;
        }
        write!(line, " id={}", self.request_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_depends_on_what_a_route_answers() {
        let of = |operation: Operation, route: Option<&'static str>| {
            let mut ctx = Ctx::default();
            ctx.inbound.operation = Some(operation);
            ctx.inbound.route = route.unwrap_or(operation.name());
            measured(&ctx)
        };
        assert!(matches!(of(Operation::Chat, None), Measured::Text));
        assert!(matches!(of(Operation::Embed, None), Measured::Vectors));
        assert!(matches!(of(Operation::Tags, None), Measured::Plain));
        // It was refused before its route was looked at.
        assert!(matches!(
            of(Operation::Chat, Some("other")),
            Measured::Plain
        ));
    }

    #[test]
    fn a_line_says_what_is_known_and_nothing_else() {
        let mut entry = Entry {
            client: "10.0.0.1".to_owned(),
            method: "POST",
            path: "/api/chat".into(),
            status: 200,
            bytes: 12,
            duration_ms: 3.25,
            queue_ms: 0.0,
            first_content_ms: None,
            model: None,
            backend: None,
            attempts: 0,
            cold: false,
            resumed: None,
            tokens: None,
            key: None,
            tag: None,
            cost_usd: None,
            error: None,
            request_id: "r1",
        };
        let bare = "10.0.0.1 POST /api/chat 200 12B 3.2ms queue=0.0ms id=r1";
        assert_eq!(entry.to_string(), bare);
        entry.backend = Some("gpus/1");
        entry.attempts = 2;
        entry.cold = true;
        entry.resumed = Some(1);
        entry.error = Some("backend_error");
        let more = "10.0.0.1 POST /api/chat 200 12B 3.2ms queue=0.0ms backend=gpus/1 attempts=2 cold resumed=1 error=backend_error id=r1";
        assert_eq!(entry.to_string(), more);
    }
}
