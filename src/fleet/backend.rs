//! One backend: an address of a provider, what it has, how it is, and what it is doing.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::ids::{BackendId, ModelId};
use crate::settings::Placement;

use super::endpoint::{Endpoint, EndpointOrigin};
use super::guard::BreakerState;
use super::inventory::Inventory;
use super::peak_ewma::PeakEwma;
use super::provider::Provider;
use super::pulse::Pulse;
use super::selector::Load;
use super::trouble::Trouble;
use super::vigil::{Due, SUSPICIOUS, Signs, Vigil};
use super::vitals::Vitals;

/// A member of the fleet. Its identity is (provider, address).
pub struct Backend {
    pub id: BackendId,
    pub provider: Arc<Provider>,
    pub endpoint: Endpoint,
    pub origin: EndpointOrigin,
    pub weight: u32,
    /// Relative price of a request.
    pub cost: f64,
    /// Requests that it may serve at once.
    pub slots: u32,
    /// Whether that is a bound of the whole server. Otherwise each of its copies has a bound of its own.
    pub bounded: bool,
    /// Bytes of GPU memory, where the operator states it.
    pub vram: Option<u64>,
    healthy: AtomicBool,
    gone: AtomicBool,
    /// Whether its first probe has ended, well or not.
    probed: AtomicBool,
    in_flight: AtomicU32,
    inventory: ArcSwap<Inventory>,
    response_time: PeakEwma,
    turn: AtomicI64,
    /// Whether `vitals` holds anything that a request that went well would change.
    blemished: AtomicBool,
    pulse: Arc<Pulse>,
    /// It was found to serve nobody: told to the requests that wait for it.
    silenced: Notify,
    silent: AtomicBool,
    /// A request was taken elsewhere because nothing came of it, and no probe has been answered since.
    forsaken: AtomicBool,
    vigil: Mutex<Vigil>,
    /// Held while observers are told, so that they are told in order.
    vitals: Mutex<Vitals>,
}

impl Deref for Backend {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.provider.name, self.endpoint.name)
    }
}

impl Backend {
    pub(super) fn new(
        id: BackendId,
        provider: Arc<Provider>,
        endpoint: Endpoint,
        origin: EndpointOrigin,
        now: Instant,
    ) -> Self {
        let settings = &provider.settings;
        let entry = match origin {
            EndpointOrigin::Listed(position) => settings.backends.get(position),
            EndpointOrigin::Discovered => None,
        };
        Self {
            id,
            weight: entry
                .and_then(|entry| entry.weight)
                .unwrap_or(settings.weight),
            cost: entry.and_then(|entry| entry.cost).unwrap_or(settings.cost),
            slots: entry
                .and_then(|entry| entry.max_concurrent)
                .unwrap_or(settings.max_concurrent_per_backend),
            bounded: settings.bounds_backends
                || entry.is_some_and(|entry| entry.max_concurrent.is_some())
                || !settings.kind.is_fleet()
                || settings.placement == Placement::Off,
            vram: entry.and_then(|entry| entry.vram).or(settings.vram),
            endpoint,
            origin,
            healthy: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            inventory: ArcSwap::from_pointee(Inventory::empty(now)),
            response_time: PeakEwma::new(now),
            turn: AtomicI64::new(0),
            blemished: AtomicBool::new(false),
            pulse: Arc::new(Pulse::new(now)),
            silenced: Notify::new(),
            silent: AtomicBool::new(false),
            forsaken: AtomicBool::new(false),
            vigil: Mutex::new(Vigil::new(now)),
            vitals: Mutex::new(Vitals::new(now)),
            provider,
        }
    }

    /// Makes a backend of a provider with these settings, which no fleet has.
    #[cfg(test)]
    pub(crate) fn alone(settings: &crate::settings::Provider) -> Arc<Self> {
        let (timeouts, routing) = Default::default();
        let id = crate::ids::ProviderId::at(0);
        let provider = Provider::new(id, settings, &timeouts, &routing);
        let provider = Arc::new(provider.expect("the settings are sound"));
        let endpoint = provider.discovered(([127, 0, 0, 1], 1).into());
        let origin = EndpointOrigin::Discovered;
        let backend = Self::new(BackendId(0), provider, endpoint, origin, Instant::now());
        Arc::new(backend)
    }

    /// Returns what stands before every path of the backend's API, such as `/v1`.
    pub fn base_path(&self) -> &str {
        &self.endpoint.path
    }

    /// Returns the provider's own name for the model; `None` if it is what clients call it.
    pub fn own_name(&self, model: ModelId) -> Option<Arc<str>> {
        self.inventory.load().own_name(model)
    }

    /// Returns the port of its address.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Returns whether the backend may take requests.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Returns whether the backend has left the fleet.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Returns whether the backend's first probe has ended, well or not.
    pub fn was_probed(&self) -> bool {
        self.probed.load(Ordering::Acquire)
    }

    /// Returns how many requests it is serving.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts a request until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlightRequest {
        let idle = self.in_flight.fetch_add(1, Ordering::AcqRel) == 0;
        if idle && !self.forsaken.load(Ordering::Acquire) {
            // Nobody has listened until now.
            self.pulse.beat();
        }
        InFlightRequest {
            backend: Arc::clone(self),
        }
    }

    /// Notes that a request will be taken elsewhere because nothing has come of it. Until a probe is answered, the backend is
    /// watched as one that is serving a request, so that it is found if it is frozen.
    pub fn forsake(&self) {
        self.forsaken.store(true, Ordering::Release);
    }

    /// Notes that a probe was answered.
    pub(super) fn seen_well(&self) {
        self.forsaken.store(false, Ordering::Release);
    }

    /// Returns what is to be told of every byte that comes from it.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Resolves when the backend is found to serve nobody: a request without content is better off elsewhere.
    pub async fn silenced(&self) {
        loop {
            let silenced = self.silenced.notified();
            if self.silent.load(Ordering::Acquire) {
                return;
            }
            silenced.await;
        }
    }

    /// Resolves as [`Self::silenced`] does, for a request whose answer has begun: not while anything still comes.
    pub async fn frozen(&self) {
        loop {
            self.silenced().await;
            let quiet = Instant::now().saturating_duration_since(self.pulse.heard_at());
            if quiet >= SUSPICIOUS {
                return;
            }
            tokio::time::sleep(SUSPICIOUS - quiet).await;
        }
    }

    /// Returns why the backend is not healthy, if something is known of that.
    pub fn trouble(&self) -> Option<Trouble> {
        self.vitals().trouble().cloned()
    }

    /// Returns for how long the backend has not been heard, if it is serving requests or was left with one.
    pub(super) fn busy_and_quiet(&self, now: Instant) -> Option<Duration> {
        let quiet = now.saturating_duration_since(self.pulse.heard_at());
        let busy = self.in_flight() > 0 || self.forsaken.load(Ordering::Acquire);
        busy.then_some(quiet)
    }

    /// Returns whether the backend is to be probed now, besides the regular round.
    pub(super) fn due(&self, wanted: bool, now: Instant) -> Option<Due> {
        let busy = self.busy_and_quiet(now);
        let signs = {
            let vitals = self.vitals();
            let unseen = now.saturating_duration_since(vitals.good_at());
            Signs {
                healthy: vitals.healthy(),
                held: vitals.held(now).is_some(),
                busy: busy.is_some(),
                unheard: busy.unwrap_or_default(),
                fleet: self.provider.settings.kind.is_fleet(),
                quiet: busy.map_or(unseen, |unheard| unheard.min(unseen)),
                wanted,
                interval: self.provider.settings.interval,
            }
        };
        self.vigil().due(&signs, now)
    }

    pub(super) fn vigil(&self) -> MutexGuard<'_, Vigil> {
        self.vigil.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the last good probe found.
    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.load_full()
    }

    /// Returns when the last good probe was; `None` before there was one.
    pub fn seen(&self) -> Option<Instant> {
        let known = self.vitals().known();
        known.then(|| self.inventory.load().probed_at)
    }

    /// Returns whether the last good probe found the model on its disk.
    pub fn has(&self, model: ModelId) -> bool {
        self.inventory.load().has(model)
    }

    /// Returns the peak EWMA of its response time; zero if nothing was measured.
    pub fn response_time(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.response_time.micros(now) / 1e6)
    }

    /// Returns what a selector may look at; `order` is the backend's position among the candidates.
    pub fn load(&self, order: u32, now: Instant) -> Load {
        Load {
            in_flight: self.in_flight(),
            slots: self.slots,
            weight: self.weight,
            cost: self.cost,
            latency_us: self.response_time.micros(now),
            turn: self.turn.load(Ordering::Relaxed),
            order,
        }
    }

    /// Changes its credit in the smooth weighted round robin.
    pub fn pay(&self, change: i64) {
        self.turn.fetch_add(change, Ordering::Relaxed);
    }

    /// Returns whether the backend is left out because it fails though its probes are good.
    pub fn breaker(&self, now: Instant) -> BreakerState {
        self.vitals().breaker(now)
    }

    /// Notes that a request was served. Returns whether the backend's vitals hold anything that this changes.
    pub(super) fn observe(&self, response_time: Duration, now: Instant) -> bool {
        self.response_time.observe(response_time, now);
        self.blemished.swap(false, Ordering::AcqRel)
    }

    pub(super) fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.vitals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes visible to readers what `vitals` now says.
    pub(super) fn publish(&self, vitals: &Vitals) {
        self.healthy
            .store(vitals.healthy() && !self.gone(), Ordering::Release);
        if self.silent.swap(vitals.silent(), Ordering::AcqRel) != vitals.silent() {
            self.silenced.notify_waiters();
        }
    }

    pub(super) fn blemish(&self) {
        self.blemished.store(true, Ordering::Release);
    }

    pub(super) fn store(&self, inventory: Arc<Inventory>) {
        self.inventory.store(inventory);
    }

    /// Notes that a probe has ended. Returns true for the first.
    pub(super) fn note_probe(&self) -> bool {
        !self.probed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn go(&self) {
        self.gone.store(true, Ordering::Release);
        self.healthy.store(false, Ordering::Release);
    }
}

/// One request that a backend is serving; ends when dropped.
#[derive(Debug)]
pub struct InFlightRequest {
    backend: Arc<Backend>,
}

impl InFlightRequest {
    /// Returns the backend that is serving it.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.backend.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
