//! The Pingora server around each proxy here: the same flags and the same settings for all of them,
//! so that only the way of proxying differs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{ProxyHttp, http_proxy_service};

/// Flags that every proxy takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:18100")]
    pub listen: SocketAddr,
    /// Upstream addresses, used in turn.
    #[arg(long, value_delimiter = ',', required = true)]
    pub upstream: Vec<SocketAddr>,
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Let idle workers take tasks from busy ones.
    #[arg(long)]
    pub work_stealing: bool,
    /// One single-threaded service per thread, each with its own `SO_REUSEPORT` socket, so that a
    /// connection is accepted, read and proxied on one thread.
    #[arg(long)]
    pub reuseport: bool,
    /// Bytes of the read buffer in front of a client's socket (default: Pingora's 64 KiB).
    #[arg(long)]
    pub l4_read: Option<usize>,
    /// Bytes of the write buffer in front of a client's socket (default: Pingora's 1,460).
    #[arg(long)]
    pub l4_write: Option<usize>,
    /// Idle upstream connections kept.
    #[arg(long, default_value_t = 4096)]
    pub pool: usize,
}

impl Flags {
    pub fn server_conf(&self) -> ServerConf {
        ServerConf {
            threads: self.threads,
            work_stealing: self.work_stealing,
            // Pingora multiplies this by the number of threads.
            upstream_keepalive_pool_size: self.pool / self.threads.max(1),
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(0),
            ..ServerConf::default()
        }
    }

    fn listener(&self) -> ListenerConfig {
        let mut options = TcpSocketOptions::default();
        options.so_reuseport = self.reuseport.then_some(true);
        ListenerConfig::tcp(self.listen.to_string())
            .tcp_socket_options(options)
            .l4_buffer(L4BufferSettings {
                read: self.l4_read,
                write: self.l4_write,
            })
    }

    /// Serves until a signal ends the process; `proxy` makes one `ProxyHttp` per service.
    pub fn run<P>(&self, proxy: impl Fn() -> P) -> !
    where
        P: ProxyHttp + Send + Sync + 'static,
        P::CTX: Send + Sync,
    {
        let mut server = Server::new_with_opt_and_conf(None, self.server_conf());
        server.bootstrap();
        let services = if self.reuseport { self.threads } else { 1 };
        for _ in 0..services {
            let mut service = http_proxy_service(&server.configuration, proxy());
            if self.reuseport {
                service.threads = Some(1);
            }
            service.add_listener(self.listener());
            server.add_service(service);
        }
        server.run_forever()
    }
}

/// Upstream addresses in turn.
#[derive(Debug)]
pub struct Rotation {
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Rotation {
    /// `addresses` must not be empty.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Rotation {
            addresses,
            next: AtomicUsize::new(0),
        }
    }

    pub fn pick(&self) -> SocketAddr {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.addresses[turn % self.addresses.len()]
    }
}
