//! What loading models takes.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::instruments::{counters, gauges, histogram};

/// From a small model in the page cache to a large one from a slow disk, in seconds.
const TIMES: &[f64] = &[
    0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
];

/// Instruments of the loads that the gateway asks Ollama servers for, by provider.
pub struct LoadMetrics {
    /// Loads of models that are under way.
    pub running: IntGaugeVec,
    /// How long loads have taken that ended well, in seconds.
    pub seconds: HistogramVec,
    /// Loads that have failed.
    pub failures: IntCounterVec,
}

impl LoadMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        LoadMetrics {
            running: gauges(
                registry,
                "remuda_loads_running",
                "Loads of models that are under way",
                &["remuda_provider"],
            ),
            seconds: histogram(
                registry,
                "remuda_load_seconds",
                "Time that loads of models have taken",
                &["remuda_provider"],
                TIMES,
            ),
            failures: counters(
                registry,
                "remuda_load_failures_total",
                "Loads of models that have failed",
                &["remuda_provider"],
            ),
        }
    }
}
