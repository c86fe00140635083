//! What clients meet: their connections, their requests in flight and waiting, and what they are refused.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::instruments::{counter, counters, gauge};

/// Instruments of the clients' side.
pub struct DownstreamMetrics {
    /// Client connections refused because too many were open.
    pub rejected_connections: IntCounter,
    /// Open client connections.
    pub connections: IntGauge,
    /// Requests being served or waiting.
    pub in_flight: IntGauge,
    /// Requests waiting for a slot.
    pub queue_depth: IntGauge,
    /// Requests refused by the rules for clients, by reason and the key's name.
    pub rejected_requests: IntCounterVec,
    /// 1 while the server through which gateways share limits cannot be reached.
    pub shared_limits_away: IntGauge,
}

impl DownstreamMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        DownstreamMetrics {
            rejected_connections: counter(
                registry,
                "remuda_rejected_connections_total",
                "Client connections refused because max_connections were open",
            ),
            connections: gauge(registry, "remuda_connections", "Open client connections"),
            in_flight: gauge(
                registry,
                "remuda_requests_in_flight",
                "Requests being served or waiting",
            ),
            queue_depth: gauge(
                registry,
                "remuda_queue_depth",
                "Requests waiting for a slot",
            ),
            rejected_requests: counters(
                registry,
                "remuda_rejected_requests_total",
                "Requests refused by the rules for clients: their addresses, keys, limits and budgets",
                &["reason", "remuda_key"],
            ),
            shared_limits_away: gauge(
                registry,
                "remuda_shared_limits_away",
                "1 while the server of `shared` is away and this gateway continues with its share",
            ),
        }
    }
}
