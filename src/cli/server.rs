//! Puts the floors together and runs them under Pingora's server: listeners, services, signals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;

use super::admin;
use super::listener::{ListenError, Listener, client_service, failed};
use super::signals::{Signals, watch_hangups};
use super::spending::spending;
use super::workers::Watched;
use crate::access::{Access, Exchange};
use crate::admin::{AdminService, Introspection, Lifecycle, Stage, Workers, start_log};
use crate::admission::{Dispatcher, FleetEvents, Policy};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::proxy::{Drain, Gateway, GatewayBase};
use crate::routing::{Changes, Router};
use crate::settings::Settings;
use crate::usage::{Ledger, Moment};
use remuda_formats::facts::Facts;

/// Timeouts up to so many seconds are Pingora's, which are cheap to set and cannot be taken back.
const FAST_TIMEOUTS: u64 = 5;
/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
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

/// Returns what is known about models, with what the operator adds.
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

/// Opens the books in which the cost of answers is kept.
fn open_ledger(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Arc<Ledger>, StartError> {
    let ledger = Ledger::open(&settings.usage, metrics, Moment::now())?;
    match &settings.usage.path {
        Some(path) => info!("usage is kept in {}", path.display()),
        None => info!("usage is kept in memory, as usage.path is not set"),
    }
    Ok(ledger)
}

/// All that stands below the server, put together.
struct Floors {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// `None` where usage is not kept.
    ledger: Option<Arc<Ledger>>,
    access: Arc<Access>,
    /// Counts together with other gateways, where there are some.
    exchange: Option<Exchange>,
    dispatcher: Arc<Dispatcher>,
    fleet: Arc<Fleet>,
    facts: Arc<Facts>,
    router: Arc<Router>,
}

impl Floors {
    /// Puts the floors together.
    ///
    /// # Errors
    /// If a file cannot be read, or a provider or the server of shared limits cannot be addressed.
    fn build(settings: Settings) -> Result<Floors, StartError> {
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
            vec![Arc::new(FleetEvents::new(Arc::clone(&dispatcher)))],
        )?;
        if let Some(listener) = start_log(&fleet) {
            dispatcher.tell_starts(listener);
        }
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
        Ok(Floors {
            settings,
            metrics,
            ledger,
            access,
            exchange,
            dispatcher,
            fleet,
            facts,
            router,
        })
    }

    fn introspection(&self, lifecycle: Lifecycle, workers: &Arc<Workers>) -> Arc<Introspection> {
        Arc::new(Introspection {
            settings: Arc::clone(&self.settings),
            fleet: Arc::clone(&self.fleet),
            dispatcher: Arc::clone(&self.dispatcher),
            metrics: Arc::clone(&self.metrics),
            facts: Arc::clone(&self.facts),
            ledger: self.ledger.clone(),
            router: Arc::clone(&self.router),
            lifecycle,
            workers: Arc::clone(workers),
            started: Instant::now(),
        })
    }
}

/// Runs the gateway until it is told to stop. `announce` is told the clients' address and the admin listener's.
///
/// # Errors
/// If an address cannot be listened on, or the floors cannot be put together.
pub(super) fn run(
    settings: Settings,
    announce: impl FnOnce(SocketAddr, Option<SocketAddr>),
) -> Result<(), StartError> {
    watch_hangups();
    let clients = Listener::claim(settings.server.listen, "server.listen")?;
    let listen =
        |address| admin::listen(address).map_err(|source| failed(address, "server.admin", source));
    let admin = settings.server.admin.map(listen).transpose()?;
    let floors = Floors::build(settings)?;
    let settings = Arc::clone(&floors.settings);
    let drain = Arc::new(Drain::default());
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    let listening = Arc::new(AtomicBool::new(false));
    let workers = Arc::<Workers>::default();
    let introspection = floors.introspection(lifecycle(&listening, &drain), &workers);
    let gateway = Gateway::new(GatewayBase {
        settings: Arc::clone(&settings),
        access: floors.access,
        fleet: Arc::clone(&floors.fleet),
        dispatcher: floors.dispatcher,
        metrics: Arc::clone(&floors.metrics),
        drain: Arc::clone(&drain),
        introspection: Arc::clone(&introspection),
    });
    server.add_service(Watched {
        inner: client_service(&server, gateway, &settings, &clients, &floors.metrics),
        workers,
        threads: settings.server.threads,
    });
    if let Some(exchange) = floors.exchange {
        server.add_service(background_service("shared limits", exchange));
    }
    for service in floors.fleet.services() {
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
        ledger: floors.ledger,
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
