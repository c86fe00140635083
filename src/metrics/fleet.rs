//! The fleet as its probes found it: slots, backends and models.

use prometheus::{IntGaugeVec, Registry};

use super::instruments::gauges;

/// Gauges of the fleet, brought up to date when they are scraped.
pub struct FleetMetrics {
    /// Slots of healthy backends, by provider.
    pub slots: IntGaugeVec,
    /// Slots in use, by provider.
    pub slots_used: IntGaugeVec,
    /// 1 while the backend is healthy, by provider and backend.
    pub backend_healthy: IntGaugeVec,
    /// Requests in flight, by provider and backend.
    pub backend_in_flight: IntGaugeVec,
    /// Bytes of GPU memory that loaded models take, by provider and backend.
    pub backend_vram: IntGaugeVec,
    /// Known backends, by provider and health.
    pub backends: IntGaugeVec,
    /// Healthy backends that have the model loaded, by provider and model.
    pub models_loaded: IntGaugeVec,
    /// Distinct models on the disks of healthy backends, by provider.
    pub models_available: IntGaugeVec,
    /// Digests under one name, by provider and model; of models that have several.
    pub model_digests: IntGaugeVec,
}

impl FleetMetrics {
    pub(super) fn register(registry: &Registry) -> Self {
        FleetMetrics {
            slots: gauges(
                registry,
                "remuda_slots",
                "Slots of healthy backends",
                &["remuda_provider"],
            ),
            slots_used: gauges(
                registry,
                "remuda_slots_used",
                "Slots in use",
                &["remuda_provider"],
            ),
            backend_healthy: gauges(
                registry,
                "remuda_backend_healthy",
                "1 while the backend is healthy",
                &["remuda_provider", "backend"],
            ),
            backend_in_flight: gauges(
                registry,
                "remuda_backend_in_flight",
                "Requests in flight at the backend",
                &["remuda_provider", "backend"],
            ),
            backend_vram: gauges(
                registry,
                "remuda_backend_vram_bytes",
                "GPU memory that the backend's loaded models take",
                &["remuda_provider", "backend"],
            ),
            backends: gauges(
                registry,
                "remuda_backends",
                "Known backends by health",
                &["remuda_provider", "health"],
            ),
            models_loaded: gauges(
                registry,
                "remuda_models_loaded",
                "Healthy backends that have the model loaded",
                &["remuda_provider", "gen_ai_request_model"],
            ),
            models_available: gauges(
                registry,
                "remuda_models_available",
                "Distinct models on the disks of healthy backends",
                &["remuda_provider"],
            ),
            model_digests: gauges(
                registry,
                "remuda_model_digests",
                "Digests that the backends have under one name, of models that have several",
                &["remuda_provider", "gen_ai_request_model"],
            ),
        }
    }
}
