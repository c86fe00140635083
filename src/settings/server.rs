//! Listeners, and what a client may send through them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{HostName, Network, Origin};

/// Listeners and what a client may send through them.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where clients connect (default `0.0.0.0:11434`).
    pub listen: SocketAddr,
    /// Addresses that clients may have; none: any (default).
    pub allow: Vec<Network>,
    /// Names by which clients may call this gateway, besides addresses and this machine's; none (default): any, and on a
    /// loopback address those alone.
    pub hosts: Vec<HostName>,
    /// Origins of web pages that may ask, besides those that Ollama allows by itself; none (default).
    pub allowed_origins: Vec<Origin>,
    /// The path in front of every route where a proxy passes it on, such as `/ollama`; none (default).
    pub base_path: Option<Arc<str>>,
    /// Metrics and health (default `127.0.0.1:11435`); `None` when switched off.
    pub admin: Option<SocketAddr>,
    /// Bytes of a request body (default 64 MiB); more is 413.
    pub max_body: usize,
    /// Bytes of all large request bodies together, held until their answers begin (default 1 GiB); more is 503.
    pub max_buffered: usize,
    /// Bytes of answers that wait for clients to read them, all together (default 128 MiB); more is 503, or the end of the
    /// answer.
    pub max_unsent: usize,
    /// Bytes of a request head (default 64 KiB); more is 431.
    pub max_header: usize,
    /// From the first byte of a request head to its last (default 10 s).
    pub header_timeout: Duration,
    /// Between two pieces of a request body (default 30 s).
    pub body_timeout: Duration,
    /// From the first byte of a request body to its last (default 10 min).
    pub max_body_time: Duration,
    /// Bytes a second that a request body has at least, over any `body_timeout` (default 1 KiB).
    pub min_body_rate: usize,
    /// An idle client connection is closed after this (default 75 s).
    pub keepalive_timeout: Duration,
    /// Open client connections, and streams of HTTP/2 (default 10,000); more are answered 503 and closed.
    pub max_connections: usize,
    /// Those of one client address, loopback excepted (default 5,000); 0 is no limit.
    pub max_connections_per_address: usize,
    /// Streams at a time on one connection by HTTP/2 (default 128).
    pub max_streams: u32,
    /// The rate of requests of one client address; `None` is no limit (default).
    pub max_requests_per_address: Option<RequestRate>,
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
    /// Which pages about the gateway itself clients get too (default: all but [`PublicPage::Metrics`]).
    pub public: Vec<PublicPage>,
    /// What `/health` says while things are well (default `states`; `ok` for files of OptiLLM's plugin).
    pub health_status: HealthStatus,
    /// How `/api/tags` lists what services offer (default `slash`; `both` where the environment alone makes providers).
    pub model_names: ModelNames,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: (Ipv4Addr::UNSPECIFIED, 11434).into(),
            allow: Vec::new(),
            hosts: Vec::new(),
            allowed_origins: Vec::new(),
            base_path: None,
            admin: Some((Ipv4Addr::LOCALHOST, 11435).into()),
            max_body: 64 << 20,
            max_buffered: 1 << 30,
            max_unsent: 128 << 20,
            max_header: 64 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            max_body_time: Duration::from_secs(600),
            min_body_rate: 1 << 10,
            keepalive_timeout: Duration::from_secs(75),
            max_connections: 10_000,
            max_connections_per_address: 5_000,
            max_streams: 128,
            max_requests_per_address: None,
            max_in_flight_per_client: 0,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            work_stealing: false,
            drain_timeout: Duration::from_secs(30),
            expose_backend: false,
            reject_streaming: false,
            manage: false,
            forwarded: Forwarded::Append,
            public: PublicPage::DEFAULT.to_vec(),
            health_status: HealthStatus::States,
            model_names: ModelNames::Slash,
        }
    }
}

/// So many requests in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// At least one.
    pub requests: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

/// As in the configuration: `10/s`.
impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            ..60 => "s",
            60..3600 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

/// Pages about the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicPage {
    /// `/health` and what is beneath it.
    Health,
    /// `/api/providers` and `/api/providers/{provider}/stats`.
    Providers,
    /// `/api/tags/{provider}`.
    Tags,
    /// `/__proxy/health` and `/__proxy/backends`.
    Backends,
    /// `/metrics`.
    Metrics,
}

impl PublicPage {
    /// None of them tells a secret. The metrics are left out, as they tell everybody what every key spends.
    pub const DEFAULT: [PublicPage; 4] = [
        PublicPage::Health,
        PublicPage::Providers,
        PublicPage::Tags,
        PublicPage::Backends,
    ];
}

/// What `/health` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    /// `healthy`, `degraded`, or `unhealthy` with 503.
    States,
    /// `ok` while the process serves, whatever its providers do.
    Ok,
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

/// How the names of a service's models are listed to clients of Ollama; they may ask in either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelNames {
    /// `openai/gpt-5.4:latest`
    Slash,
    /// `openai-gpt-5.4:latest`, as the proxy that puts cloud models behind Ollama's API has them.
    Dash,
    Both,
}
