//! When a provider or a backend that fails is left alone, and how it comes back.

use std::time::Duration;

/// The circuit breaker of a provider, and of each of its backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// Default true.
    pub enabled: bool,
    /// What is older does not count (default 60 s).
    pub window: Duration,
    /// Failures in a row that open it, however few requests there are (default 5).
    pub failures: u32,
    /// Requests in the window below which no share of them opens it (default 10).
    pub min_requests: u32,
    /// Share of failures in the window that opens it (default 0.5).
    pub error_rate: f64,
    /// An answer that takes longer to begin is slow; `None`: none is (default).
    pub slow_call: Option<Duration>,
    /// Share of slow answers in the window that opens it (default 0.8).
    pub slow_rate: f64,
    /// How long nothing is sent at first; twice as long after each trial that fails, up to 20 s (default 5 s).
    pub open: Duration,
    /// Then requests try one by one, and so many have to succeed (default 3).
    pub successes: u32,
    /// After that, how long it takes until as many requests as before are sent at once (default 30 s).
    pub ramp: Duration,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            enabled: true,
            window: Duration::from_secs(60),
            failures: 5,
            min_requests: 10,
            error_rate: 0.5,
            slow_call: None,
            slow_rate: 0.8,
            open: Duration::from_secs(5),
            successes: 3,
            ramp: Duration::from_secs(30),
        }
    }
}
