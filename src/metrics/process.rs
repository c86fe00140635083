//! The process itself: its version, its start and its memory.

use prometheus::{Gauge, GaugeVec, IntGauge, Opts, Registry};

use super::instruments::{gauge, register};

/// Gauges of the process.
pub struct ProcessMetrics {
    /// Bytes of resident memory.
    pub resident_memory: IntGauge,
}

impl ProcessMetrics {
    /// Registers the gauges; version and start are set once and for all.
    pub(super) fn register(registry: &Registry) -> Self {
        let build = GaugeVec::new(
            Opts::new("remuda_build_info", "1, with the version as a label"),
            &["version"],
        );
        register(registry, build)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        let start_time = Gauge::new(
            "process_start_time_seconds",
            "Start of the process, Unix time",
        );
        register(registry, start_time).set(unix_now());
        ProcessMetrics {
            resident_memory: gauge(registry, "process_resident_memory_bytes", "Resident memory"),
        }
    }
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
