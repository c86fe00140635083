//! What keeps requests from providers: breakers, limits, and keys that are set aside.

use prometheus::{IntGaugeVec, Registry};

use super::instruments::gauges;

/// Gauges of breakers, limits and keys, brought up to date when they are scraped.
pub struct GuardMetrics {
    /// 0 while the breaker is closed, 1 half-open, 2 open, by provider and backend; the provider's own has no backend.
    pub breaker_state: IntGaugeVec,
    /// The same of a service's models, by provider and model; absent while the breaker is closed.
    pub model_breaker_state: IntGaugeVec,
    /// Requests that a provider is sent at once; -1 stands for all of its slots.
    pub concurrency_limit: IntGaugeVec,
    /// Keys that the provider has refused or whose quota is spent.
    pub keys_set_aside: IntGaugeVec,
}

impl GuardMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        GuardMetrics {
            breaker_state: gauges(
                registry,
                "remuda_breaker_state",
                "0 while the breaker is closed, 1 half-open, 2 open; without a backend, the provider's own",
                &["remuda_provider", "backend"],
            ),
            model_breaker_state: gauges(
                registry,
                "remuda_model_breaker_state",
                "1 while the breaker of a service's model is half-open, 2 while it is open; absent while it is closed",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            concurrency_limit: gauges(
                registry,
                "remuda_concurrency_limit",
                "Requests that the provider is sent at once at the moment; -1 is all that it has slots for",
                &["remuda_provider"],
            ),
            keys_set_aside: gauges(
                registry,
                "remuda_keys_set_aside",
                "Keys that the provider has refused or whose quota is spent",
                &["remuda_provider"],
            ),
        }
    }
}
