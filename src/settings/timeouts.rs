//! Bounds on the upstream side of a request.

use std::time::Duration;

/// Bounds on the upstream side of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// Until the TCP (and TLS) connection stands (default 5 s).
    pub connect: Duration,
    /// Until the first byte of the answer's body; a cold load can take minutes (default 300 s).
    pub first_byte: Duration,
    /// Between two pieces of an answer (default 60 s).
    pub between_chunks: Duration,
    /// A client that waits for a stream hears from the gateway after so long, and again and again (default 15 s);
    /// `None` leaves it waiting.
    pub keep_alive: Option<Duration>,
    /// For a whole attempt; `None` is no bound (default).
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(300),
            between_chunks: Duration::from_secs(60),
            keep_alive: Some(Duration::from_secs(15)),
            total: None,
        }
    }
}
