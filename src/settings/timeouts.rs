//! Bounds on the upstream side of a request.

use std::time::Duration;

/// Bounds on the upstream side of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// Until the TCP (and TLS) connection stands (default 5 s).
    pub connect: Duration,
    /// Until the first byte of the answer's body; a cold load can take minutes (default 300 s).
    pub first_byte: Duration,
    /// For an answer of which nothing can be seen before it is whole: vectors, transcripts, and other answers that are not
    /// asked for as a stream (default 600 s).
    pub silent: Duration,
    /// Between two pieces of an answer (default 60 s).
    pub between_chunks: Duration,
    /// For a server to load a model (default 600 s).
    pub load: Duration,
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
            silent: Duration::from_secs(600),
            between_chunks: Duration::from_secs(60),
            load: Duration::from_secs(600),
            keep_alive: Some(Duration::from_secs(15)),
            total: None,
        }
    }
}

/// What holds at one provider in place of [`Timeouts`]; `None`: what holds for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderTimeouts {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub silent: Option<Duration>,
    pub between_chunks: Option<Duration>,
    /// For one attempt there, within that of the whole request.
    pub total: Option<Duration>,
}

impl ProviderTimeouts {
    /// Returns the timeouts that hold at the provider: `all`, but for what it states itself. The total stays that of
    /// the request.
    pub fn over(&self, all: &Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(all.connect),
            first_byte: self.first_byte.unwrap_or(all.first_byte),
            // Who may take long to begin may take as long to be done.
            silent: self
                .silent
                .unwrap_or(all.silent.max(self.first_byte.unwrap_or_default())),
            between_chunks: self.between_chunks.unwrap_or(all.between_chunks),
            load: all.load,
            keep_alive: all.keep_alive,
            total: all.total,
        }
    }
}
