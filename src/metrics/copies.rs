//! How the copies of models are that Ollama servers have in memory.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::instruments::{counters, gauges};

/// Instruments of copies of models, by provider.
pub struct CopyMetrics {
    /// Copies by condition: `well`, `slow`, `draining`, `suspect`, `healing`.
    pub conditions: IntGaugeVec,
    /// Requests that the copies of a model serve at once, as stated or learned, by provider and model.
    pub slots: IntGaugeVec,
    /// Requests without content for longer than their copy was expected to need.
    pub late: IntCounterVec,
    /// Attempts to heal copies, by `result`: `healed`, `failed`.
    pub heals: IntCounterVec,
}

impl CopyMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        CopyMetrics {
            conditions: gauges(
                registry,
                "remuda_copies",
                "Copies of models in the memory of servers, by their condition",
                &["remuda_provider", "condition"],
            ),
            slots: gauges(
                registry,
                "remuda_model_slots",
                "Requests that the copies of a model serve at once",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            late: counters(
                registry,
                "remuda_late_requests_total",
                "Requests without content for longer than their copy was expected to need",
                &["remuda_provider"],
            ),
            heals: counters(
                registry,
                "remuda_copy_heals_total",
                "Attempts to heal copies that answered nobody",
                &["remuda_provider", "result"],
            ),
        }
    }
}
