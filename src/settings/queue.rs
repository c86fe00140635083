//! Where requests wait for a slot.

use std::time::Duration;

/// Where requests wait for a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Requests in flight over all providers (default 1,000); 0 is no limit.
    pub max_concurrent: usize,
    /// Requests that may wait (default 1,000); more are 503.
    pub size: usize,
    /// How long a request may wait (default 60 s; with the port-range environment 3600 s).
    pub timeout: Duration,
    /// After this a waiter may go before all others, whatever the backends have loaded and whoever has priority
    /// (default 30 s).
    pub ageing: Duration,
    /// The share of all starts that goes to such requests while others have priority over them (default 0.1).
    pub aged_share: f64,
    /// What happens to a request while no backend is healthy.
    pub when_unhealthy: WhenUnhealthy,
    /// Whether a request of higher priority waits less (default true); else arrival alone counts.
    pub priorities: bool,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            max_concurrent: 1000,
            size: 1000,
            timeout: Duration::from_secs(60),
            ageing: Duration::from_secs(30),
            aged_share: 0.1,
            when_unhealthy: WhenUnhealthy::Wait,
            priorities: true,
        }
    }
}

/// What happens to a request while no backend is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnhealthy {
    /// Wait for one, up to the queue's timeout (default).
    Wait,
    /// 503 at once.
    Refuse,
}
