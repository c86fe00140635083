//! Puts the floors together and runs them under Pingora's server: listeners, services, signals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{error, info, warn};
use pingora::apps::HttpServerOptions;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};

use super::admin;
use super::spending::spending;
use super::workers::Watched;
use crate::access::Access;
use crate::admin::{AdminService, Introspection, Lifecycle, Stage, Workers};
use crate::admission::{Dispatcher, FleetEvents, Policy};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::proxy::{Bounds, Drain, Gate, Gateway, GatewayBase, Unsent};
use crate::routing::{Changes, Router};
use crate::settings::Settings;
use crate::usage::{Ledger, Moment};
use remuda_formats::facts::Facts;

/// Read buffer of a client connection, bytes: none, as Pingora reads heads and bodies into buffers of
/// their own.
const READ_BUFFER: usize = 0;
/// Timeouts up to so many seconds are Pingora's, which are cheap to set and cannot be taken back.
const FAST_TIMEOUTS: u64 = 5;
/// Write buffer of a client connection, bytes: a head and a small body in one write.
const WRITE_BUFFER: usize = 1024;

/// Bytes of an HTTP/2 stream that wait within its connection.
const STREAM_BUFFER: usize = 64 * 1024;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot listen on {address} ({setting}): {source}{remedy}")]
    Listen {
        address: SocketAddr,
        setting: &'static str,
        remedy: &'static str,
        source: std::io::Error,
    },
    #[error(transparent)]
    Shared(#[from] crate::access::AddressError),
    #[error(transparent)]
    Fleet(#[from] crate::fleet::FleetError),
    #[error("routing.models_file {}: {cause}", path.display())]
    Facts { path: PathBuf, cause: String },
    #[error(transparent)]
    Router(#[from] crate::routing::RouterError),
    #[error(
        "usage.path: {0}; it has to be a file in a directory that this user may write to; without usage.path, usage is kept in memory"
    )]
    Usage(#[from] crate::usage::StoreError),
}

/// What is known about models, with what the operator adds.
fn facts(path: Option<&Path>) -> Result<Facts, StartError> {
    let Some(path) = path else {
        return Ok(Facts::bundled());
    };
    let failed = |cause: String| StartError::Facts {
        path: path.to_owned(),
        cause,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Facts::with(&text).map_err(|problem| failed(problem.to_string()))
}

/// Where it is counted what answers cost.
fn open_ledger(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Arc<Ledger>, StartError> {
    let ledger = Ledger::open(&settings.usage, metrics, Moment::now())?;
    match &settings.usage.path {
        Some(path) => info!("usage is kept in {}", path.display()),
        None => info!("usage is kept in memory, as usage.path is not set"),
    }
    Ok(ledger)
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When an address cannot be listened on, or a provider cannot be addressed.
pub(super) fn run(
    settings: Settings,
    announce: impl FnOnce(SocketAddr, Option<SocketAddr>),
) -> Result<(), StartError> {
    watch_hangups();
    let clients = Listener::claim(settings.server.listen, "server.listen")?;
    let admin = settings
        .server
        .admin
        .map(|address| {
            admin::listen(address).map_err(|source| failed(address, "server.admin", source))
        })
        .transpose()?;
    let settings = Arc::new(settings);
    let metrics = Metrics::new();
    let ledger = if settings.usage.enabled {
        Some(open_ledger(&settings, &metrics)?)
    } else {
        None
    };
    let (access, exchange) = Access::new(
        &settings.access,
        spending(&settings.access, ledger.as_deref()),
        &metrics.downstream.shared_limits_away,
    )?;
    let dispatcher = Dispatcher::new(Policy::from(&settings.queue));
    let fleet = Fleet::guarded(
        &settings.providers,
        &settings.timeouts,
        &settings.routing,
        vec![Arc::new(FleetEvents(Arc::clone(&dispatcher)))],
    )?;
    let facts = Arc::new(facts(settings.routing.models_file.as_deref())?);
    let changes = Arc::new(Changes::default());
    fleet.observe(Arc::clone(&changes) as _);
    if let Some(ledger) = &ledger {
        fleet.observe(Arc::clone(ledger) as _);
    }
    let router = Arc::new(Router::new(
        Arc::clone(&settings),
        Arc::clone(&facts),
        Arc::clone(&fleet) as _,
        changes,
    )?);
    let drain = Arc::new(Drain::default());
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    let listening = Arc::new(AtomicBool::new(false));
    let workers = Arc::<Workers>::default();
    let introspection = Arc::new(Introspection {
        settings: Arc::clone(&settings),
        fleet: Arc::clone(&fleet),
        dispatcher: Arc::clone(&dispatcher),
        metrics: Arc::clone(&metrics),
        facts,
        ledger: ledger.clone(),
        router,
        lifecycle: lifecycle(&listening, &drain),
        workers: Arc::clone(&workers),
        started: Instant::now(),
    });
    let gateway = Gateway::new(GatewayBase {
        settings: Arc::clone(&settings),
        access,
        fleet: Arc::clone(&fleet),
        dispatcher,
        metrics: Arc::clone(&metrics),
        drain: Arc::clone(&drain),
        introspection: Arc::clone(&introspection),
    });
    server.add_service(Watched {
        inner: client_service(&server, gateway, &settings, &clients, &metrics),
        workers,
        threads: settings.server.threads,
    });
    if let Some(exchange) = exchange {
        server.add_service(background_service("shared limits", exchange));
    }
    for service in fleet.services() {
        server.add_service(service);
    }
    let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
    if let Some(listener) = admin {
        admin::serve(listener, AdminService::new(introspection));
    }
    announce(clients.address, admin_address);
    let address = clients.address;
    std::thread::spawn(move || notify_when_listening(address, &listening));
    let signals = Signals {
        drain,
        ledger,
        limit: settings.server.drain_timeout,
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });
    drop(clients);
    Ok(())
}

fn lifecycle(listening: &Arc<AtomicBool>, drain: &Arc<Drain>) -> Lifecycle {
    let (listening, drain) = (Arc::clone(listening), Arc::clone(drain));
    Arc::new(move || {
        if !listening.load(Ordering::Acquire) {
            Stage::Starting
        } else if drain.draining() {
            Stage::Draining
        } else {
            Stage::Serving
        }
    })
}

fn server_conf(settings: &Settings) -> ServerConf {
    ServerConf {
        threads: settings.server.threads,
        work_stealing: settings.server.work_stealing,
        // `Signals` ends the process as soon as nothing is in flight.
        grace_period_seconds: Some(settings.server.drain_timeout.as_secs() + 5),
        graceful_shutdown_timeout_seconds: Some(1),
        // Pingora's own timers are kept until they are due: with the default of 15 minutes, each idle wait of a client
        // connection would leave one behind. Tokio's go with the wait.
        fast_timeout_to_tokio_threshold_seconds: Some(FAST_TIMEOUTS),
        ..ServerConf::default()
    }
}

fn client_service(
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

fn failed(address: SocketAddr, setting: &'static str, source: std::io::Error) -> StartError {
    let remedy = match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program (an Ollama server?) has it: stop that, or choose another port"
        }
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    StartError::Listen {
        address,
        setting,
        remedy,
        source,
    }
}

/// An address that is known to be free, and stays claimed until Pingora listens on it.
struct Listener {
    address: SocketAddr,
    /// With port 0 the system chose the port: this socket keeps it until Pingora, which can only be
    /// told an address, has bound it too.
    claim: Option<TcpSocket>,
}

impl Listener {
    fn claim(wanted: SocketAddr, setting: &'static str) -> Result<Self, StartError> {
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

/// Tells the admin listener and systemd once clients are answered.
fn notify_when_listening(address: SocketAddr, listening: &AtomicBool) {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let local = SocketAddr::new(ip, address.port());
    while std::net::TcpStream::connect(local).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    listening.store(true, Ordering::Release);
    info!("ready");
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!("systemd was not told that the service is ready: {error}");
    }
}

/// SIGTERM drains, SIGINT ends at once, SIGHUP does nothing.
struct Signals {
    drain: Arc<Drain>,
    ledger: Option<Arc<Ledger>>,
    limit: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            error!("signals cannot be watched; stop the process with SIGKILL");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {
                info!("SIGINT: ending at once");
                self.drain.cut_off().await;
                end(self.ledger.as_deref())
            }
            _ = terminate.recv() => {}
        }
        info!(
            "draining: {} requests in flight, at most {:?}",
            self.drain.in_flight(),
            self.limit
        );
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let (drain, ledger, limit) = (Arc::clone(&self.drain), self.ledger.clone(), self.limit);
        tokio::spawn(async move {
            tokio::select! {
                cut = drain.run(limit) => {
                    info!("drained; {cut} requests cut");
                    end(ledger.as_deref())
                }
                _ = terminate.recv() => warn!("a second SIGTERM: ending at once"),
                _ = interrupt.recv() => warn!("SIGINT: ending at once"),
            }
            drain.cut_off().await;
            end(ledger.as_deref())
        });
        ShutdownSignal::GracefulTerminate
    }
}

/// SIGHUP ends a process that does not watch it: when its terminal closes, and when an operator means it to read its
/// configuration again. It is watched before anything else, on a thread of its own, as Pingora's runtimes come later.
fn watch_hangups() {
    if let Err(error) = try_watch_hangups() {
        warn!("SIGHUP cannot be watched, and ends the process: {error}");
    }
}

fn try_watch_hangups() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut hangup = {
        let _entered = runtime.enter();
        signal(SignalKind::hangup())?
    };
    let noting = async move {
        while hangup.recv().await.is_some() {
            info!(
                "SIGHUP: nothing is done; to apply changes of the configuration, restart the gateway"
            );
        }
    };
    let thread = std::thread::Builder::new().name("hangups".to_owned());
    thread.spawn(move || runtime.block_on(noting)).map(drop)
}

/// Ends the process. Pingora would sleep through its whole grace period, or, without one, accept
/// connections on a runtime that is gone.
fn end(ledger: Option<&Ledger>) -> ! {
    if let Some(ledger) = ledger {
        ledger.close();
    }
    log::logger().flush();
    std::process::exit(0)
}
