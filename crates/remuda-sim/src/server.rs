//! One simulated server: its listener, its disk, and the state that its requests share.
//!
//! It can go down and come up again at the same address; the port stays its own meanwhile.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::catalogue::Model;
use super::fault::{Fault, Harm};
use super::link::{Link, Wire};
use super::names::Name;
use super::options::Machine;
use super::provider::Provider;
use super::reply::Reply;
use super::runner::{Runners, Want};
use super::stats::{Counters, Stats};
use super::strike::Faults;
use super::tuning::Tuning;

/// Answers each request that comes to a server.
///
/// It is handed to the server at its start: the routes use the server, so the server must not use the routes.
pub(super) type Front =
    Arc<dyn Fn(Arc<Server>, Wire, Request<Incoming>) -> Answering + Send + Sync>;

/// The response while it is being made.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

/// A model on a server's disk.
#[derive(Clone)]
pub(super) struct OnDisk {
    pub(super) model: Arc<Model>,
    pub(super) modified: chrono::DateTime<chrono::Local>,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) machine: Machine,
    /// What answers here, if it is not Ollama.
    pub(super) provider: Option<Arc<dyn Provider>>,
    pub(super) runners: Arc<Runners>,
    pub(super) faults: Faults,
    pub(super) counters: Arc<Counters>,
    disk: Mutex<BTreeMap<Name, OnDisk>>,
    /// Digests (`sha256:…`) of uploaded blobs.
    pub(super) blobs: Mutex<std::collections::BTreeSet<String>>,
    /// What listens now, if anything does.
    listener: Mutex<Option<JoinHandle<()>>>,
    /// Counted up to end all open connections.
    epoch: watch::Sender<u64>,
    /// Timers of `refuse` and `die`, ended by a reset.
    timers: Mutex<Vec<JoinHandle<()>>>,
    front: Front,
    /// Holds the port while the listener is closed, so that nobody else is given it.
    _placeholder: Option<TcpSocket>,
}

impl Server {
    /// A server that listens at `address`; port 0 takes one that the system hands out.
    pub(super) fn start(
        address: SocketAddr,
        models: &[Model],
        machine: Machine,
        provider: Option<Arc<dyn Provider>>,
        front: Front,
    ) -> io::Result<Arc<Self>> {
        let (address, placeholder) = reserve(address)?;
        let now = chrono::Local::now();
        let disk = models.iter().map(|model| {
            let on_disk = OnDisk {
                model: Arc::new(model.clone()),
                modified: now,
            };
            (model.name.clone(), on_disk)
        });
        let server = Arc::new(Self {
            address,
            runners: Arc::new(Runners::new(machine.clone())),
            faults: Faults::new(machine.seed ^ u64::from(address.port())),
            counters: Arc::default(),
            disk: Mutex::new(disk.collect()),
            blobs: Mutex::default(),
            listener: Mutex::default(),
            epoch: watch::channel(0).0,
            timers: Mutex::default(),
            front,
            _placeholder: placeholder,
            machine,
            provider,
        });
        server.open()?;
        Ok(server)
    }

    /// Listens, if nothing does yet.
    pub(super) fn open(self: &Arc<Self>) -> io::Result<()> {
        let mut listener = lock(&self.listener);
        if listener.is_none() {
            let socket = listen(self.address)?;
            *listener = Some(tokio::spawn(self.clone().accept(socket)));
        }
        Ok(())
    }

    /// Closes the listener, so that connects are refused; returns when it is closed.
    pub(super) async fn close(&self) {
        let task = lock(&self.listener).take();
        if let Some(task) = task {
            task.abort();
            // An aborted task ends with an error that says so.
            let _ = task.await;
        }
    }

    /// Dies: no listener, no connections, no loaded models.
    pub(super) async fn die(&self) {
        self.close().await;
        self.epoch.send_modify(|epoch| *epoch += 1);
        self.runners.clear();
    }

    /// Ends the server for good, without waiting for it.
    pub(super) fn end(&self) {
        self.stop_timers();
        if let Some(task) = lock(&self.listener).take() {
            task.abort();
        }
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    fn stop_timers(&self) {
        for timer in lock(&self.timers).drain(..) {
            timer.abort();
        }
    }

    /// Makes a fault happen: at once, at its time, or to the requests that it is for.
    pub(super) fn inject(self: &Arc<Self>, fault: Fault) {
        let timer = match fault.harm {
            Harm::Die { after, back_after } => {
                let server = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    server.die().await;
                    server.come_back(back_after).await;
                })
            }
            Harm::Refuse { back_after } => {
                let server = self.clone();
                tokio::spawn(async move {
                    server.close().await;
                    server.come_back(back_after).await;
                })
            }
            _ => return self.faults.add(fault),
        };
        let mut timers = lock(&self.timers);
        timers.retain(|timer| !timer.is_finished());
        timers.push(timer);
    }

    async fn come_back(self: &Arc<Self>, after: Option<Duration>) {
        if let Some(after) = after {
            tokio::time::sleep(after).await;
            if let Err(error) = self.open() {
                log::error!(
                    "simulated server {} cannot listen again: {error}",
                    self.address
                );
            }
        }
    }

    /// Forgets faults and counters, and listens.
    pub(super) fn reset(self: &Arc<Self>) -> io::Result<()> {
        self.stop_timers();
        self.faults.clear();
        self.counters.reset();
        self.runners.reset_tally();
        self.open()
    }

    pub(super) fn stats(&self) -> Stats {
        let tally = self.runners.tally();
        let loaded = self.runners.loaded();
        Stats {
            port: self.address.port(),
            listening: lock(&self.listener).is_some(),
            loads: tally.loads,
            evictions: tally.evictions,
            unloads: tally.unloads,
            abandoned_loads: tally.abandoned_loads,
            failed_loads: tally.failed_loads,
            loaded: loaded
                .iter()
                .map(|loaded| loaded.model.name.as_str().to_owned())
                .collect(),
            faults: self.faults.count(),
            ..self.counters.show()
        }
    }

    pub(super) fn model(&self, name: &Name) -> Option<OnDisk> {
        lock(&self.disk).get(name).cloned()
    }

    /// All models, the newest first, as `/api/tags` lists them.
    pub(super) fn models(&self) -> Vec<OnDisk> {
        let mut models: Vec<OnDisk> = lock(&self.disk).values().cloned().collect();
        models.sort_by_key(|on_disk| std::cmp::Reverse(on_disk.modified));
        models
    }

    pub(super) fn store(&self, model: Model) {
        let on_disk = OnDisk {
            modified: chrono::Local::now(),
            model: Arc::new(model),
        };
        lock(&self.disk).insert(on_disk.model.name.clone(), on_disk);
    }

    pub(super) fn remove(&self, name: &Name) -> Option<OnDisk> {
        let removed = lock(&self.disk).remove(name);
        if let Some(on_disk) = &removed {
            self.runners.unload(&on_disk.model);
        }
        removed
    }

    /// Loads a model at once, where it is on disk and there is room.
    pub(super) fn preload(&self, name: &Name) {
        if let Some(on_disk) = self.model(name) {
            self.runners.preload(&Want {
                model: on_disk.model,
                keep_alive: None,
                tuning: Tuning::default(),
            });
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(self.clone().serve(stream, self.epoch.subscribe()));
                }
                // Out of file descriptors, or a connection that went before it was taken: others may do better.
                Err(error) => {
                    log::warn!("simulated server {}: accept: {error}", self.address);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, mut epoch: watch::Receiver<u64>) {
        let _open = self.counters.connection();
        // One token a packet, as Go's servers send them.
        let _ = stream.set_nodelay(true);
        let wire = Wire::default();
        let server = self.clone();
        let in_request = wire.clone();
        let service =
            service_fn(move |request| (server.front)(server.clone(), in_request.clone(), request));
        let connection = http1::Builder::new()
            // Ollama lets idle connections and slow clients be.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(Link::new(stream, wire.clone())), service);
        tokio::select! {
            // A client that breaks off is no event here: what it asked for counts as aborted.
            _ = connection => {}
            () = wire.cut() => {}
            _ = epoch.changed() => {}
        }
    }
}

/// Takes the port without listening: connects are refused, and nobody else can have it.
fn reserve(address: SocketAddr) -> io::Result<(SocketAddr, Option<TcpSocket>)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    let socket = bind(address).map_err(named)?;
    let address = socket.local_addr()?;
    // Only Linux lets a listener share a port with a socket that just holds it.
    let placeholder = cfg!(target_os = "linux").then_some(socket);
    Ok((address, placeholder))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(4_096)
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
