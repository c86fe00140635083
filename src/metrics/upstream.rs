//! What becomes of requests at the backends that they are sent to.

use prometheus::{IntCounterVec, Registry};

use super::instruments::counters;

/// Counters of the servers' side.
pub struct UpstreamMetrics {
    /// Attempts at a backend, by provider and outcome.
    pub(super) attempts: IntCounterVec,
    /// Loads of models that backends were asked for, by provider.
    pub cold_loads: IntCounterVec,
    /// Answers that broke after their first content, by provider.
    pub broken_streams: IntCounterVec,
    /// Events and lines of streams that could not be read and were left out, by provider.
    pub malformed_events: IntCounterVec,
    /// Request fields that a provider could not be told, by provider and field; the fields' names are constants.
    pub dropped_fields: IntCounterVec,
    /// Prompts that a server has shortened, by provider.
    pub cut_prompts: IntCounterVec,
    /// Further attempts that the retry budget did not allow, by provider.
    pub retries_denied: IntCounterVec,
    /// Requests sent once more without the part that was refused, by provider and that part.
    pub mended: IntCounterVec,
    /// Streamed answers that broke off, by what became of them.
    pub resumed: IntCounterVec,
}

impl UpstreamMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        UpstreamMetrics {
            attempts: counters(
                registry,
                "remuda_attempts_total",
                "Attempts at a backend, by how they ended",
                &["remuda_provider", "outcome"],
            ),
            cold_loads: counters(
                registry,
                "remuda_cold_loads_total",
                "Loads of models that Ollama servers were asked for",
                &["remuda_provider"],
            ),
            broken_streams: counters(
                registry,
                "remuda_broken_streams_total",
                "Answers that broke after their first content",
                &["remuda_provider"],
            ),
            malformed_events: counters(
                registry,
                "remuda_malformed_events_total",
                "Events and lines of streams that could not be read and were left out",
                &["remuda_provider"],
            ),
            dropped_fields: counters(
                registry,
                "remuda_dropped_fields_total",
                "Request fields that were left out because the provider cannot express them",
                &["remuda_provider", "remuda_field"],
            ),
            cut_prompts: counters(
                registry,
                "remuda_cut_prompts_total",
                "Prompts that an Ollama server has shortened to its context",
                &["remuda_provider"],
            ),
            retries_denied: counters(
                registry,
                "remuda_retries_denied_total",
                "Further attempts that were not made because too many had failed",
                &["remuda_provider"],
            ),
            mended: counters(
                registry,
                "remuda_mended_requests_total",
                "Requests that were sent to the same provider once more, without what it had refused them for",
                &["remuda_provider", "without"],
            ),
            resumed: counters(
                registry,
                "remuda_resumed_total",
                "Streamed answers that broke off and were asked for elsewhere, by what came of it",
                &["result"],
            ),
        }
    }
}
