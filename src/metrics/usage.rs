//! What answers cost: their tokens and US dollars, by provider and model, and by client key and tag.

use prometheus::{CounterVec, IntCounter, IntCounterVec, Registry};

use super::instruments::{amounts, counter, counters};

/// Counters of what answers cost, and of how that is written down.
pub struct UsageMetrics {
    /// Tokens, by provider, model and [`TokenType`](super::TokenType).
    pub tokens: IntCounterVec,
    /// US dollars, by provider and model.
    pub cost: CounterVec,
    /// Answers whose price is not known, by provider and model.
    pub unpriced: IntCounterVec,
    /// Requests that reached a provider, by key and tag.
    pub key_requests: IntCounterVec,
    /// Tokens, by key, tag and [`TokenType`](super::TokenType).
    pub key_tokens: IntCounterVec,
    /// US dollars, by key and tag.
    pub key_cost: CounterVec,
    /// Requests that are missing from the file of usage.
    pub lost: IntCounter,
    /// Failed attempts to write the file of usage.
    pub write_errors: IntCounter,
}

impl UsageMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        UsageMetrics {
            tokens: counters(
                registry,
                "remuda_tokens_total",
                "Tokens of all answers; cached and cache_write are part of input, reasoning of output",
                &[
                    "remuda_provider",
                    "gen_ai_request_model",
                    "gen_ai_token_type",
                ],
            ),
            cost: amounts(
                registry,
                "remuda_cost_usd_total",
                "Cost of all answers whose price is known, US dollars",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            unpriced: counters(
                registry,
                "remuda_unpriced_requests_total",
                "Answers whose price is not known",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            key_requests: counters(
                registry,
                "remuda_key_requests_total",
                "Requests that reached a provider, by client key and tag",
                &["remuda_key", "remuda_tag"],
            ),
            key_tokens: counters(
                registry,
                "remuda_key_tokens_total",
                "Tokens of all answers, by client key and tag",
                &["remuda_key", "remuda_tag", "gen_ai_token_type"],
            ),
            key_cost: amounts(
                registry,
                "remuda_key_cost_usd_total",
                "Cost of all answers whose price is known, US dollars, by client key and tag",
                &["remuda_key", "remuda_tag"],
            ),
            lost: counter(
                registry,
                "remuda_usage_lost_requests_total",
                "Requests that usage.path misses because they came faster than it could be written",
            ),
            write_errors: counter(
                registry,
                "remuda_usage_write_errors_total",
                "Failed attempts to write usage.path",
            ),
        }
    }
}
