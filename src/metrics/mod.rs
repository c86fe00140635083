//! Prometheus instruments, and the per-request handles that the hot path records through.
//!
//! Names follow OpenTelemetry's GenAI conventions in Prometheus form where those exist
//! (`gen_ai.server.time_to_first_token` becomes `gen_ai_server_time_to_first_token_seconds`);
//! the rest start with `remuda_`. Label values come from the configuration, the route table and
//! the models that the fleet has: never from a client's text.

mod attempts;
mod copies;
mod downstream;
mod fleet;
mod guards;
mod instruments;
mod loads;
mod process;
mod series;
mod upstream;
mod usage;

use std::sync::Arc;
use std::time::Instant;

use prometheus::{Encoder, Registry, TextEncoder};

use self::series::Requests;
use crate::ids::ProviderId;

pub use self::attempts::{AttemptCounters, AttemptOutcome};
pub use self::copies::CopyMetrics;
pub use self::downstream::DownstreamMetrics;
pub use self::fleet::FleetMetrics;
pub use self::guards::GuardMetrics;
pub use self::loads::LoadMetrics;
pub use self::process::ProcessMetrics;
pub use self::series::{About, Measured, ModelUsage, OfModel, OfText, Series, SeriesKey};
pub use self::upstream::UpstreamMetrics;
pub use self::usage::UsageMetrics;

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

    /// Returns the label value.
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
    pub downstream: DownstreamMetrics,
    pub upstream: UpstreamMetrics,
    pub loads: LoadMetrics,
    pub copies: CopyMetrics,
    pub usage: UsageMetrics,
    pub fleet: FleetMetrics,
    pub guards: GuardMetrics,
    pub process: ProcessMetrics,
}

impl Metrics {
    /// Registers every instrument.
    ///
    /// # Panics
    /// Never in a released build: the names are constants, and a test registers them.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        Arc::new(Metrics {
            requests: Requests::register(&registry),
            downstream: DownstreamMetrics::register(&registry),
            loads: LoadMetrics::register(&registry),
            copies: CopyMetrics::register(&registry),
            upstream: UpstreamMetrics::register(&registry),
            usage: UsageMetrics::register(&registry),
            fleet: FleetMetrics::register(&registry),
            guards: GuardMetrics::register(&registry),
            process: ProcessMetrics::register(&registry),
            registry,
        })
    }

    /// Returns the instruments of one model, provider and route, used at `now`; they are resolved once, then looked up.
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

    /// Returns the attempt counters of one provider, resolved by outcome.
    #[must_use]
    pub fn attempts(&self, provider: &str) -> AttemptCounters {
        AttemptCounters::of(provider, &self.upstream.attempts)
    }

    /// Renders everything registered in Prometheus's text format.
    ///
    /// # Errors
    /// When the encoder fails, which is a defect of an instrument.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.render_where(|_| true)
    }

    /// Renders the samples whose labels `shows` approves of.
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
    /// Returns a label's value, if the sample has that label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut labels = self.0.get_label().iter();
        labels
            .find(|label| label.name() == name)
            .map(|label| label.value())
    }
}
