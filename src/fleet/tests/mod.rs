//! The fleet against real sockets.

mod fake;
mod health;
mod membership;
mod scan;
mod selection;
mod services;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::services::background::BackgroundService;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::fake::{Fake, Mood, own_address};
use super::*;
use crate::settings::{PortRange, SelectorKind, StaticBackend};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(name: &str) -> settings::Provider {
    settings::Provider {
        interval: Duration::from_millis(50),
        probe_timeout: Duration::from_secs(10),
        ..settings::Provider::named(name)
    }
}

/// A provider that scans exactly one port.
fn scanning(addr: SocketAddr) -> settings::Provider {
    let ports = addr.port()..=addr.port();
    let discover = Some(PortRange {
        host: addr.ip().to_string(),
        ports,
    });
    settings::Provider {
        discover,
        ..settings("range")
    }
}

/// A provider with a list of backends.
fn listing(addrs: &[SocketAddr]) -> settings::Provider {
    let backends = addrs
        .iter()
        .map(|addr| entry(&addr.ip().to_string(), addr.port()))
        .collect();
    settings::Provider {
        backends,
        ..settings("list")
    }
}

fn entry(host: &str, port: u16) -> StaticBackend {
    let host = host.to_owned();
    StaticBackend {
        tls: false,
        host,
        port,
        path: "".into(),
        weight: None,
        cost: None,
        max_concurrent: None,
        vram: None,
    }
}

/// What an observer was told.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Joined(SocketAddr),
    Probed(BackendId),
    Unhealthy(BackendId),
    Left(BackendId),
}

struct Reporter(UnboundedSender<Event>);

impl Observer for Reporter {
    fn joined(&self, backend: &Arc<Backend>) {
        let _ = self.0.send(Event::Joined(backend.addr));
    }

    fn left(&self, backend: BackendId) {
        let _ = self.0.send(Event::Left(backend));
    }

    fn probed(&self, backend: &Backend, _inventory: &Arc<Inventory>) {
        let _ = self.0.send(Event::Probed(backend.id));
    }

    fn unhealthy(&self, backend: BackendId) {
        let _ = self.0.send(Event::Unhealthy(backend));
    }
}

/// A fleet whose services run until this is dropped.
struct Running {
    fleet: Arc<Fleet>,
    events: UnboundedReceiver<Event>,
    services: Vec<JoinHandle<()>>,
    _shutdown: watch::Sender<bool>,
}

impl Running {
    fn start(providers: &[settings::Provider]) -> Self {
        let (sender, events) = unbounded_channel();
        let (shutdown, watch) = watch::channel(false);
        let fleet = Fleet::new(
            providers,
            &Timeouts::default(),
            vec![Arc::new(Reporter(sender))],
        )
        .unwrap();
        let start = |service: GenBackgroundService<Upkeep>| {
            let watch = watch.clone();
            tokio::spawn(async move { service.task().start(watch).await })
        };
        let services = fleet.services().into_iter().map(start).collect();
        Self {
            fleet,
            events,
            services,
            _shutdown: shutdown,
        }
    }

    async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .unwrap()
    }

    /// Waits for an event; others before it are let pass.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    /// The backend at an address, once a good probe of it has been told.
    async fn healthy(&mut self, addr: SocketAddr) -> Arc<Backend> {
        loop {
            if let Event::Probed(id) = self.next().await {
                match self.fleet.backend(id) {
                    Some(backend) if backend.addr == addr => return backend,
                    _ => {}
                }
            }
        }
    }

    /// Waits until a server has seen some more connections.
    async fn probes(&self, server: &Fake, more: usize) {
        let wanted = server.connections() + more;
        let seen = async {
            while server.connections() < wanted {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("probes in time");
    }

    fn find(&self, addr: SocketAddr) -> Option<Arc<Backend>> {
        self.fleet
            .snapshot()
            .iter()
            .find(|backend| backend.addr == addr)
            .cloned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.services.iter().for_each(JoinHandle::abort);
    }
}
