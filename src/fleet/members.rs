//! Who is in the fleet now: joining, leaving and every change of health goes through here, so that
//! observers learn of each once and in order.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ahash::{AHashMap, AHashSet};
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::ids::BackendId;

use super::backend::Backend;
use super::endpoint::{Endpoint, EndpointOrigin};
use super::inventory::Inventory;
use super::miss::Miss;
use super::models::Models;
use super::observer::{Observer, RequestOutcome};
use super::provider::Provider;
use super::vitals::Vitals;
use super::waiting::Waiting;

/// All members at one moment, by provider, then port, then address.
#[derive(Default)]
pub struct Snapshot {
    backends: Vec<Arc<Backend>>,
    by_id: AHashMap<BackendId, usize>,
}

impl Deref for Snapshot {
    type Target = [Arc<Backend>];

    fn deref(&self) -> &[Arc<Backend>] {
        &self.backends
    }
}

impl Snapshot {
    fn new(mut backends: Vec<Arc<Backend>>) -> Self {
        backends.sort_by_key(|backend| (backend.provider.id, backend.port(), backend.addr));
        let by_id = backends
            .iter()
            .enumerate()
            .map(|(index, backend)| (backend.id, index))
            .collect();
        Self { backends, by_id }
    }

    /// Returns the member with that id.
    pub fn get(&self, id: BackendId) -> Option<&Arc<Backend>> {
        self.by_id.get(&id).map(|index| &self.backends[*index])
    }
}

/// The register of members.
pub(super) struct Members {
    now: ArcSwap<Snapshot>,
    changing: Mutex<()>,
    next: AtomicU32,
    observers: ArcSwap<Vec<Arc<dyn Observer>>>,
    /// Marked when a first probe ends, or a first search for backends.
    settling: watch::Sender<()>,
    /// Requests that wait for a backend.
    pub(super) waiting: Arc<Waiting>,
    models: Arc<Models>,
    /// Backends that have left while they were down, and when; the latest last.
    departed: Mutex<VecDeque<(Arc<Backend>, Instant)>>,
}

/// How long it is remembered what a backend had that has left for being down: it may be starting anew.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Such servers at most.
const MOST_DEPARTED: usize = 256;

impl Members {
    pub(super) fn new(observers: Vec<Arc<dyn Observer>>, models: Arc<Models>) -> Self {
        Self {
            models,
            now: ArcSwap::default(),
            changing: Mutex::new(()),
            next: AtomicU32::new(0),
            observers: ArcSwap::from_pointee(observers),
            settling: watch::Sender::new(()),
            waiting: Arc::new(Waiting::new(Instant::now())),
            departed: Mutex::default(),
        }
    }

    pub(super) fn observe(&self, observer: Arc<dyn Observer>) {
        self.observers.rcu(|observers| {
            let mut observers = Vec::clone(observers);
            observers.push(Arc::clone(&observer));
            observers
        });
    }

    /// Notes that a first probe has ended, or a first search for backends.
    pub(super) fn note_settling(&self) {
        self.settling.send_replace(());
    }

    /// Sees every [`Members::note_settling`] from now on.
    pub(super) fn settling(&self) -> watch::Receiver<()> {
        self.settling.subscribe()
    }

    fn departed(&self) -> MutexGuard<'_, VecDeque<(Arc<Backend>, Instant)>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns those that have left of late for being down, and that no other has taken the place of.
    pub(super) fn remembered(&self, now: Instant) -> Vec<Arc<Backend>> {
        let mut departed = self.departed();
        departed.retain(|(_, left)| now.saturating_duration_since(*left) < REMEMBERED);
        departed
            .iter()
            .map(|(backend, _)| Arc::clone(backend))
            .collect()
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    pub(super) fn get(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.now.load().get(id).map(Arc::clone)
    }

    /// Returns the members of one provider.
    pub(super) fn of(&self, provider: &Provider) -> Vec<Arc<Backend>> {
        let all = self.now.load();
        all.iter()
            .filter(|backend| backend.provider.id == provider.id)
            .map(Arc::clone)
            .collect()
    }

    /// Adds a backend, healthy if a probe has already found `inventory`.
    pub(super) fn join(
        &self,
        provider: &Arc<Provider>,
        endpoint: Endpoint,
        origin: EndpointOrigin,
        inventory: Option<Inventory>,
    ) {
        let id = BackendId(self.next.fetch_add(1, Ordering::Relaxed));
        let backend = Arc::new(Backend::new(
            id,
            Arc::clone(provider),
            endpoint,
            origin,
            Instant::now(),
        ));
        let vitals = backend.vitals();
        self.change(|backends| backends.push(Arc::clone(&backend)));
        self.tell(|observer| observer.joined(&backend));
        let failures = vitals.failures();
        drop(vitals);
        log::info!("{backend:?} joined");
        if let Some(inventory) = inventory {
            self.passed(&backend, inventory, failures);
        }
    }

    pub(super) fn leave(&self, backend: &Arc<Backend>) {
        let vitals = backend.vitals();
        if backend.gone() {
            return;
        }
        log::info!("{backend:?} left");
        if vitals.known() && !vitals.healthy() {
            let mut departed = self.departed();
            departed.push_back((Arc::clone(backend), Instant::now()));
            if departed.len() > MOST_DEPARTED {
                departed.pop_front();
            }
        }
        backend.go();
        backend.provider.complaints.forget(&backend.name);
        self.change(|backends| backends.retain(|member| member.id != backend.id));
        self.tell(|observer| observer.left(backend.id));
        self.note_health(&backend.provider);
    }

    /// Takes in a good probe, which began when the backend had seen `failures`.
    pub(super) fn passed(&self, backend: &Backend, inventory: Inventory, failures: u64) {
        let mut vitals = backend.vitals();
        let was_healthy = vitals.healthy();
        if backend.gone() || !vitals.passed(failures, inventory.was_heard(), Instant::now()) {
            return;
        }
        let inventory = Arc::new(inventory);
        backend.store(Arc::clone(&inventory));
        // Before anyone can read that it is healthy: who then asks for its models must not hear that they are unknown.
        self.tell(|observer| observer.probed(backend, &inventory));
        backend.publish(&vitals);
        if backend.note_probe() {
            self.note_settling();
        }
        if !was_healthy {
            // It has taken the place of one that left, or is that one.
            self.departed().retain(|(old, _)| {
                old.provider.id != backend.provider.id
                    || old.addr != backend.addr
                        && (old.origin != backend.origin
                            || old.origin == EndpointOrigin::Discovered)
            });
            self.note_health(&backend.provider);
            log::info!(
                "{backend:?} is healthy, with {} models",
                inventory.models.len() + inventory.offers().len()
            );
        }
        drop(vitals);
        self.free_names();
    }

    /// Frees the names of models that no backend has any more.
    fn free_names(&self) {
        let now = Instant::now();
        let held = || {
            let mut held = AHashSet::new();
            let departed = self.remembered(now);
            for backend in self.snapshot().iter().chain(&departed) {
                let inventory = backend.inventory();
                held.extend(inventory.sizes().map(|(model, _)| model));
                held.extend(inventory.loaded.iter().map(|loaded| loaded.model));
            }
            held
        };
        let freed = self.models.sweep(now, held);
        if !freed.is_empty() {
            log::info!(
                "{} names of models are freed that no backend has any more",
                freed.len()
            );
            self.tell(|observer| observer.forgotten(&freed));
        }
    }

    /// Takes in a missed probe.
    pub(super) fn missed(&self, backend: &Backend, miss: &Miss) {
        let mut vitals = backend.vitals();
        let limit = backend.provider.settings.misses;
        let now = Instant::now();
        let ejected = vitals.missed(miss, backend.busy_and_quiet(now), limit, now);
        // Said once: a wrong address, key or certificate shows nowhere else.
        if vitals.never_reached() && !backend.gone() {
            log::warn!("{backend:?} is not healthy yet: {miss}");
        }
        backend.blemish();
        backend.publish(&vitals);
        if ejected && !backend.gone() {
            log::warn!("{backend:?} is unhealthy: {miss}");
            self.tell(|observer| observer.unhealthy(backend.id));
            self.note_health(&backend.provider);
        }
        if backend.note_probe() {
            self.note_settling();
        }
    }

    /// Takes in what a request tells. If it ends the backend's health, returns how many have failed in a row.
    pub(super) fn report(&self, backend: &Backend, outcome: RequestOutcome) -> Option<u32> {
        if let RequestOutcome::Served { response_time } = outcome {
            let now = Instant::now();
            if backend.observe(response_time, now) {
                let started = now.checked_sub(response_time).unwrap_or(now);
                let mut vitals = backend.vitals();
                if vitals.served(&backend.provider.breaker, started, now) {
                    backend.blemish();
                }
                self.tell_limit(backend, &mut vitals, now);
                if vitals.next_limit(now).is_some() {
                    backend.provider.stirred.notify_one();
                }
            }
            backend.provider.statistics.answered(response_time);
            return None;
        }
        let others = self.another_is_healthy(backend);
        let mut vitals = backend.vitals();
        // One request that a service fails says nothing about the millions that it serves.
        let telling =
            backend.provider.settings.kind.is_fleet() || outcome == RequestOutcome::ConnectFailed;
        let mut ejected = if telling {
            vitals.failed(&outcome.to_string())
        } else {
            vitals.stumbled();
            None
        };
        // The last one is not left out: without it nothing works.
        let now = Instant::now();
        let policy = &backend.provider.breaker;
        if others && vitals.hold(policy, now) {
            ejected =
                ejected.or(vitals.failed("it fails again and again, though its probes are good"));
            log::warn!(
                "{backend:?} is left out for {:.0?}: it fails again and again, though its probes are good",
                policy.open
            );
        }
        backend.blemish();
        backend.publish(&vitals);
        self.tell_limit(backend, &mut vitals, now);
        if ejected.is_some() && !backend.gone() {
            log::warn!("{backend:?} is unhealthy: {outcome}");
            self.tell(|observer| observer.unhealthy(backend.id));
            self.note_health(&backend.provider);
        }
        ejected
    }

    /// Takes back a failed request that was no fault of the backend's: once a probe has found it well, it is as if that had not
    /// been.
    pub(super) fn acquit(&self, backend: &Backend) {
        let mut vitals = backend.vitals();
        vitals.acquit(&backend.provider.breaker);
        backend.publish(&vitals);
        self.tell_limit(backend, &mut vitals, Instant::now());
    }

    /// Tells how many requests the backend may be sent at once if that is news.
    fn tell_limit(&self, backend: &Backend, vitals: &mut Vitals, now: Instant) {
        let policy = &backend.provider.breaker;
        if let Some(limit) = vitals.new_limit(policy, backend.slots, now) {
            self.tell(|observer| observer.backend_limited(backend.id, limit));
        }
    }

    /// Lets the limits of a provider's backends rise with the time; when they will again although nothing happens.
    pub(super) fn raise_limits(&self, provider: &Provider, now: Instant) -> Option<Instant> {
        let raised = self.of(provider).into_iter().filter_map(|backend| {
            let mut vitals = backend.vitals();
            vitals.next_limit(now)?;
            self.tell_limit(&backend, &mut vitals, now);
            vitals.next_limit(now)
        });
        raised.min()
    }

    /// Returns whether another backend of the same provider may take requests.
    fn another_is_healthy(&self, backend: &Backend) -> bool {
        self.now.load().iter().any(|other| {
            other.provider.id == backend.provider.id && other.id != backend.id && other.healthy()
        })
    }

    /// Adds to the provider's history how many of its backends are healthy.
    fn note_health(&self, provider: &Provider) {
        provider.statistics.health(SystemTime::now(), || {
            let all = self.now.load();
            let mine = all
                .iter()
                .filter(|backend| backend.provider.id == provider.id);
            mine.fold((0, 0), |(healthy, backends), backend| {
                (healthy + usize::from(backend.healthy()), backends + 1)
            })
        });
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Backend>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut backends = self.now.load().to_vec();
        change(&mut backends);
        self.now.store(Arc::new(Snapshot::new(backends)));
    }

    pub(super) fn tell(&self, what: impl Fn(&dyn Observer)) {
        for observer in self.observers.load().iter() {
            what(&**observer);
        }
    }
}
