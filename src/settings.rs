//! The configuration as used: checked values with their defaults filled in, shared by all floors.
//!
//! `config/` reads what people write and makes these.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Everything that one running gateway needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: Server,
    pub providers: Vec<Provider>,
    pub routing: Routing,
    pub timeouts: Timeouts,
    pub queue: Queue,
    pub monitoring: Monitoring,
}

/// Listeners and what a client may send through them.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where clients connect (default `0.0.0.0:11434`).
    pub listen: SocketAddr,
    /// Metrics and health (default `127.0.0.1:11435`); `None` when switched off.
    pub admin: Option<SocketAddr>,
    /// Bytes of a request body (default 64 MiB); more is 413.
    pub max_body: usize,
    /// Bytes of a request head (default 64 KiB); more is 431.
    pub max_header: usize,
    /// From the first byte of a request head to its last (default 10 s).
    pub header_timeout: Duration,
    /// Between two pieces of a request body (default 30 s).
    pub body_timeout: Duration,
    /// An idle client connection is closed after this (default 75 s).
    pub keepalive_timeout: Duration,
    /// Open client connections (default 10,000); more are answered 503 and closed.
    pub max_connections: usize,
    /// Requests in flight per client address; 0 is no limit (default).
    pub max_in_flight_per_client: usize,
    /// Worker threads (default: one a core).
    pub threads: usize,
    /// Whether idle workers take tasks from busy ones (default false: measured faster).
    pub work_stealing: bool,
    /// On SIGTERM, how long open streams may go on (default 30 s).
    pub drain_timeout: Duration,
    /// Whether answers carry `X-Remuda-Backend` and `X-Remuda-Attempts` (default false).
    pub expose_backend: bool,
    /// Refuse `stream: true` and take an absent `stream` as false (default false).
    pub reject_streaming: bool,
    /// Allow pull, push, create, copy, delete and blobs (default false).
    pub manage: bool,
    /// What happens to `X-Forwarded-*` and `Forwarded` (default `append`).
    pub forwarded: Forwarded,
}

/// What the gateway does to `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Keep what came and add the client's address.
    Append,
    /// Drop what came and state the client's address.
    Replace,
    /// Drop what came and say nothing.
    Off,
}

/// One entry of `providers`: a wire format and the backends that speak it.
#[derive(Clone, Debug)]
pub struct Provider {
    pub name: Arc<str>,
    pub kind: ProviderKind,
    /// A range of local ports that is scanned for servers.
    pub discover: Option<PortRange>,
    /// Backends that the operator named.
    pub backends: Vec<StaticBackend>,
    /// Time between two probes of a backend (default 5 s).
    pub interval: Duration,
    /// How long a probe may take (default 1 s).
    pub probe_timeout: Duration,
    /// Missed probes in a row until a backend is unhealthy (default 2). A backend that is serving
    /// a request is never ejected by a probe.
    pub misses: u32,
    /// Requests in flight over the whole provider; `None` is no limit.
    pub max_concurrent: Option<usize>,
    /// Requests in flight per backend (default 1).
    pub max_concurrent_per_backend: u32,
    pub selector: SelectorKind,
    pub placement: Placement,
    pub weight: u32,
    /// Relative price of a request, for the `cost` selector (default 1.0).
    pub cost: f64,
    /// Bytes of GPU memory per backend, where the operator states it; otherwise learned.
    pub vram: Option<u64>,
    pub pool: Pool,
}

/// The wire format of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    Ollama,
}

/// `discover:`: which ports to scan.
#[derive(Clone, Debug)]
pub struct PortRange {
    /// A host name or address (default `127.0.0.1`).
    pub host: String,
    pub ports: RangeInclusive<u16>,
}

/// One entry of `backends:`.
#[derive(Clone, Debug)]
pub struct StaticBackend {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub weight: Option<u32>,
    pub cost: Option<f64>,
    pub max_concurrent: Option<u32>,
    pub vram: Option<u64>,
}

/// Upstream connections of one provider.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Idle connections kept (default 128); the process keeps the largest of its providers'.
    pub size: usize,
    /// An idle upstream connection is closed after this (default 60 s).
    pub idle_timeout: Duration,
    /// Offer HTTP/2 by ALPN to TLS backends (default true).
    pub http2: bool,
    /// Check certificates of TLS backends (default true).
    pub verify: bool,
}

/// How a backend is chosen among those that may serve at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorKind {
    LeastInFlight,
    RoundRobin,
    Weighted,
    FastestResponse,
    Cost,
}

/// Whether the residency of models decides where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Warm or wait: by the expected start.
    WarmOrWait,
    /// Plain balancing by the selector.
    Off,
}

/// What happens after a failed attempt.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Further attempts after the first (default 2).
    pub max_retries: u32,
}

/// Bounds on the upstream side of a request.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Until the TCP (and TLS) connection stands (default 5 s).
    pub connect: Duration,
    /// Until the first byte of the answer's body; a cold load can take minutes (default 300 s).
    pub first_byte: Duration,
    /// Between two pieces of an answer (default 60 s).
    pub between_chunks: Duration,
    /// For a whole attempt; `None` is no bound (default).
    pub total: Option<Duration>,
}

/// Where requests wait for a slot.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Requests in flight over all providers (default 1,000); 0 is no limit.
    pub max_concurrent: usize,
    /// Requests that may wait (default 1,000); more are 503.
    pub size: usize,
    /// How long a request may wait (default 60 s; with the port-range environment 3600 s).
    pub timeout: Duration,
    /// After this a waiter goes before all others, whatever they have loaded (default 30 s).
    pub ageing: Duration,
    /// What happens to a request while no backend is healthy.
    pub when_unhealthy: WhenUnhealthy,
}

/// What happens to a request while no backend is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnhealthy {
    /// Wait for one, up to the queue's timeout (default).
    Wait,
    /// 503 at once.
    Refuse,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Monitoring {
    pub log_level: log::LevelFilter,
    pub log_format: LogFormat,
    /// One line a request (default true).
    pub access_log: bool,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
