//! The clients' listener: its address is claimed before anything is started, and served under Pingora's server.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::apps::HttpServerOptions;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::Server;
use pingora::services::listening::Service;
use pingora_proxy::HttpProxy;
use tokio::net::TcpSocket;

use crate::metrics::Metrics;
use crate::proxy::{Bounds, Gate, Gateway, Unsent};
use crate::settings::Settings;

/// Read buffer of a client connection, bytes: none, as Pingora reads heads and bodies into buffers of
/// their own.
const READ_BUFFER: usize = 0;
/// Write buffer of a client connection, bytes: a head and a small body in one write.
const WRITE_BUFFER: usize = 1024;

/// Bytes of an HTTP/2 stream that wait within its connection.
const STREAM_BUFFER: usize = 64 * 1024;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({setting}): {source}{remedy}")]
pub(super) struct ListenError {
    address: SocketAddr,
    setting: &'static str,
    remedy: &'static str,
    source: std::io::Error,
}

pub(super) fn failed(
    address: SocketAddr,
    setting: &'static str,
    source: std::io::Error,
) -> ListenError {
    let remedy = match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program (an Ollama server?) has it: stop that, or choose another port"
        }
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    ListenError {
        address,
        setting,
        remedy,
        source,
    }
}

/// An address that is known to be free, and stays claimed until Pingora listens on it.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    /// With port 0 the system chose the port: this socket keeps it until Pingora, which can only be
    /// told an address, has bound it too.
    claim: Option<TcpSocket>,
}

impl Listener {
    /// Claims the address that `setting` states.
    ///
    /// # Errors
    /// If it cannot be listened on.
    pub(super) fn claim(wanted: SocketAddr, setting: &'static str) -> Result<Self, ListenError> {
        let failed = |source| failed(wanted, setting, source);
        let any = wanted.port() == 0;
        let socket = if wanted.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .map_err(failed)?;
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.set_reuseport(any).map_err(failed)?;
        socket.bind(wanted).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        if !any {
            // Two sockets may bind one address while none listens: listening tells.
            drop(socket);
            drop(std::net::TcpListener::bind(wanted).map_err(failed)?);
            return Ok(Self {
                address,
                claim: None,
            });
        }
        Ok(Self {
            address,
            claim: Some(socket),
        })
    }

    fn config(&self) -> ListenerConfig {
        let config = ListenerConfig::tcp(self.address.to_string())
            .l4_buffer(L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER));
        if self.claim.is_none() {
            return config;
        }
        let mut options = TcpSocketOptions::default();
        options.so_reuseport = Some(true);
        config.tcp_socket_options(options)
    }
}

/// Returns the service that answers clients at the claimed address.
pub(super) fn client_service(
    server: &Server,
    gateway: Gateway,
    settings: &Settings,
    listener: &Listener,
    metrics: &Arc<Metrics>,
) -> Service<Gate<HttpProxy<Gateway>>> {
    let places = Arc::clone(gateway.places());
    let unsent = Unsent::new(settings.server.max_unsent);
    let mut proxy = HttpProxy::new(gateway, Arc::clone(&server.configuration));
    proxy.handle_init_modules();
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(settings.server.keepalive_timeout);
    proxy.server_options = Some(options);
    let mut http2 = default_h2_options();
    http2.max_header_list_size(u32::try_from(settings.server.max_header).unwrap_or(u32::MAX));
    http2.max_concurrent_streams(settings.server.max_streams);
    http2.max_send_buffer_size(STREAM_BUFFER);
    proxy.h2_options = Some(http2);
    let bounds = Bounds {
        max_header: settings.server.max_header,
        header_timeout: settings.server.header_timeout,
        idle_timeout: settings.server.keepalive_timeout,
    };
    let mut service = Service::new(
        "clients".to_owned(),
        Gate::new(proxy, bounds, places, unsent, Arc::clone(metrics)),
    );
    service.add_listener(listener.config());
    service
}
