//! How many requests a cloud service is sent at once, by how it fares; and how it is watched.

use std::time::Duration;

/// Limits on a cloud service that follow what it shows of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    /// Default true.
    pub enabled: bool,
    /// Requests in flight that are always allowed (default 4).
    pub min: u32,
    /// Requests in flight at most; `None`: as many as the provider has slots (default).
    pub max: Option<u32>,
    /// Answers that take this many times their usual time to begin are a sign of overload (default 2.0).
    pub tolerance: f64,
}

impl Default for Adaptive {
    fn default() -> Adaptive {
        Adaptive {
            enabled: true,
            min: 4,
            max: None,
            tolerance: 2.0,
        }
    }
}

/// How cloud services are watched where their own entries do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether a service that is well is probed, or only one that is not (default true).
    pub enabled: bool,
    /// Time between two probes; `None` is the kind's default.
    pub interval: Option<Duration>,
    /// How long a probe may take; `None` is the kind's default.
    pub timeout: Option<Duration>,
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            enabled: true,
            interval: None,
            timeout: None,
        }
    }
}
