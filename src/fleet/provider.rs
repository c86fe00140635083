//! One provider of the configuration, with what all its backends share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;

use crate::settings::{self, Secret, Timeouts};

use super::{Endpoint, FleetError, Selector};

/// Requests at once on one HTTP/2 connection.
const STREAMS: usize = 100;

/// A provider as the fleet uses it.
#[derive(Debug)]
pub struct Provider {
    /// Position in the configuration.
    pub index: usize,
    pub name: Arc<str>,
    pub settings: settings::Provider,
    pub selector: &'static Selector,
    connect_timeout: Duration,
    authorization: Option<HeaderValue>,
}

/// Where an endpoint comes from, and what the operator said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Position in `backends`.
    Listed(usize),
    /// Found by scanning.
    Discovered,
}

impl Provider {
    pub(super) fn new(
        index: usize,
        settings: &settings::Provider,
        timeouts: &Timeouts,
    ) -> Result<Self, FleetError> {
        for backend in &settings.backends {
            let bare = backend.host.parse::<IpAddr>().is_ok();
            if backend.tls && bare && settings.pool.verify {
                let provider = Arc::clone(&settings.name);
                return Err(FleetError::BareAddress {
                    provider,
                    host: backend.host.clone(),
                });
            }
            host_header(&backend.host, backend.port, backend.tls).map_err(|_| {
                FleetError::BadHost {
                    provider: Arc::clone(&settings.name),
                    host: backend.host.clone(),
                }
            })?;
        }
        Ok(Self {
            index,
            name: Arc::clone(&settings.name),
            selector: Selector::of(settings.selector),
            settings: settings.clone(),
            connect_timeout: timeouts.connect,
            authorization: settings
                .api_key
                .as_ref()
                .map(bearer)
                .transpose()
                .map_err(|_| FleetError::BadKey {
                    provider: Arc::clone(&settings.name),
                })?,
        })
    }

    /// The `Authorization` of requests to its backends.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The endpoint at `addr`, found by scanning.
    pub(super) fn discovered(&self, addr: SocketAddr) -> Endpoint {
        let host = address_header(addr, false);
        Endpoint {
            name: addr.to_string().into(),
            addr,
            tls: false,
            host,
            peer: self.peer(addr, false, ""),
        }
    }

    /// The endpoint for an entry of `backends` that resolved to `addr`; `alone` if it has one
    /// address only, so that its name tells it from the others.
    pub(super) fn listed(
        &self,
        entry: &settings::StaticBackend,
        addr: SocketAddr,
        alone: bool,
    ) -> Endpoint {
        let name = if alone && entry.host.parse::<IpAddr>().is_err() {
            format!("{}:{}", entry.host, entry.port).into()
        } else {
            addr.to_string().into()
        };
        let host = host_header(&entry.host, entry.port, entry.tls)
            .expect("hosts are checked when the provider is made");
        let peer = self.peer(addr, entry.tls, &entry.host);
        Endpoint {
            name,
            addr,
            tls: entry.tls,
            host,
            peer,
        }
    }

    fn peer(&self, addr: SocketAddr, tls: bool, host: &str) -> Arc<HttpPeer> {
        let pool = &self.settings.pool;
        // An empty name would switch certificate checks off without a word.
        let sni = if tls { host.to_owned() } else { String::new() };
        let mut peer = HttpPeer::new(addr, tls, sni);
        // Providers may name the same address with different credentials.
        peer.group_key = self.index as u64;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.connect_timeout);
        options.total_connection_timeout = Some(self.connect_timeout);
        options.idle_timeout = Some(pool.idle_timeout);
        options.verify_cert = pool.verify;
        options.verify_hostname = pool.verify;
        options.alpn = if tls && pool.http2 {
            ALPN::H2H1
        } else {
            ALPN::H1
        };
        options.max_h2_streams = STREAMS;
        Arc::new(peer)
    }
}

/// Marked sensitive, so that no debug output shows it.
fn bearer(key: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn host_header(host: &str, port: u16, tls: bool) -> Result<HeaderValue, InvalidHeaderValue> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(address_header(SocketAddr::new(ip, port), tls)),
        Err(_) if port == default_port(tls) => HeaderValue::from_str(host),
        Err(_) => HeaderValue::from_str(&format!("{host}:{port}")),
    }
}

fn address_header(addr: SocketAddr, tls: bool) -> HeaderValue {
    let text = match addr.ip() {
        ip if addr.port() != default_port(tls) => SocketAddr::new(ip, addr.port()).to_string(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    HeaderValue::from_str(&text).expect("an address is printable")
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}
