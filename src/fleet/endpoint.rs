//! How a server is reached, and where it is known from.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use pingora::upstreams::peer::HttpPeer;

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The name that people and metrics are shown: `127.0.0.1:24001`, `gpu1:11434`.
    pub name: Arc<str>,
    pub addr: SocketAddr,
    pub tls: bool,
    /// The `Host` of requests to it.
    pub host: HeaderValue,
    /// What stands before every path of its API, such as `/v1`; empty for Ollama.
    pub path: Arc<str>,
    /// Ready for use: timeouts of connecting and idling, SNI, ALPN and verification are set.
    pub peer: Arc<HttpPeer>,
}

/// Where an endpoint comes from, and what the operator said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointOrigin {
    /// It is listed at this position in `backends`.
    Listed(usize),
    /// It was found by scanning.
    Discovered,
}
