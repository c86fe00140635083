//! Providers and their backends: who is there, who is healthy, what each has, and which to prefer.
//!
//! [`Fleet`] is the one entrance. Its background services discover and probe; requests read
//! snapshots without a lock and report how they ended.

mod ask;
mod authorities;
mod backend;
mod catalogue;
mod census;
mod churn;
mod complaints;
mod context;
mod control;
mod control_plane;
mod credentials;
mod digests;
mod discovery;
mod endpoint;
mod error;
mod guard;
mod health;
mod inventory;
mod keeper;
mod key;
mod list_answer;
mod list_entry;
mod listed_model;
mod members;
mod miss;
mod models;
mod observer;
mod offers;
mod peak_ewma;
mod probe;
mod provider;
mod pulse;
mod question;
mod ramp;
mod ranked;
mod refusal;
mod resolve;
mod selection;
mod selector;
mod settling;
mod statistics;
mod trouble;
mod upkeep;
mod vigil;
mod vitals;
mod waiting;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pingora::services::background::GenBackgroundService;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ids::{BackendId, ModelId, ProviderId};
use crate::settings::{self, Routing, Timeouts};

pub use self::backend::{Backend, InFlightRequest};
pub use self::digests::{
    DigestHolders, ListedDigest, chosen_digest, digest_holders, listed_digests,
};
pub use self::endpoint::{Endpoint, EndpointOrigin};
pub use self::error::FleetError;
pub use self::guard::{
    AttemptResult, Attempted, BreakerState, Guard, ModelKey, ModelStatus, OpenCause, RestCause,
    Resting, Status, Unavailable, backoff,
};
pub use self::inventory::{Inventory, Loaded};
pub use self::members::Snapshot;
pub use self::models::Models;
pub use self::observer::{Observer, RequestOutcome};
pub use self::offers::Offer;
pub use self::peak_ewma::PeakEwma;
pub use self::provider::{Provider, UnresolvedHost};
pub use self::pulse::Pulse;
pub use self::selector::{Load, SELECTORS, Selector, Standing};
pub use self::statistics::{Change, Recent, ResponseTimes, Statistics};
pub use self::trouble::Trouble;
pub use self::upkeep::Upkeep;
pub use self::waiting::Hope;

use self::health::Checkup;
use self::members::Members;
use self::question::Prober;
use self::refusal::{Asked, Why};
use self::upkeep::{ManagedProvider, round};

/// All providers and all their backends.
pub struct Fleet {
    managed: Vec<ManagedProvider>,
    members: Arc<Members>,
    models: Arc<Models>,
}

impl Fleet {
    /// Makes a fleet as [`Fleet::guarded`] does, with guards as they are by default.
    ///
    /// # Errors
    /// If a provider's backends cannot be addressed safely.
    pub fn new(
        providers: &[settings::Provider],
        timeouts: &Timeouts,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Result<Arc<Self>, FleetError> {
        Self::guarded(providers, timeouts, &Routing::default(), observers)
    }

    /// Makes a fleet without members; they join while the [`Fleet::services`] run.
    ///
    /// # Errors
    /// If a provider's backends cannot be addressed safely.
    pub fn guarded(
        providers: &[settings::Provider],
        timeouts: &Timeouts,
        routing: &Routing,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Result<Arc<Self>, FleetError> {
        let models = Arc::new(Models::default());
        let members = Arc::new(Members::new(observers, Arc::clone(&models)));
        let names = providers.iter().map(|one| Arc::clone(&one.name)).collect();
        let prober = Arc::new(Prober::new(Arc::clone(&models), names));
        let checkup = Arc::new(Checkup {
            prober,
            members: Arc::clone(&members),
        });
        let managed = providers
            .iter()
            .enumerate()
            .map(|(index, settings)| {
                Ok(ManagedProvider::new(
                    Arc::new(Provider::new(
                        ProviderId::at(index),
                        settings,
                        timeouts,
                        routing,
                    )?),
                    &checkup,
                ))
            })
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            managed,
            members,
            models,
        }))
    }

    /// Adds an observer. To be called before the services start: it is not told of the past.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.members.observe(observer);
    }

    /// Returns the background services, one a provider, to be given to the server.
    pub fn services(&self) -> Vec<GenBackgroundService<Upkeep>> {
        self.managed.iter().map(ManagedProvider::service).collect()
    }

    /// Returns all members now, by provider, then port. It takes no lock.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.members.snapshot()
    }

    /// Returns every backend whose models are known, healthy or not; those that have left for being down, too.
    pub fn known(&self) -> Vec<Arc<Backend>> {
        let snapshot = self.snapshot();
        let members = snapshot.iter().filter(|backend| backend.seen().is_some());
        members
            .map(Arc::clone)
            .chain(self.members.remembered(Instant::now()))
            .collect()
    }

    /// Returns a backend that is down and is known to have the model, if no healthy one has it.
    pub fn down_with(&self, model: ModelId) -> Option<Arc<Backend>> {
        let known = self.known();
        let having: Vec<_> = known.iter().filter(|one| one.has(model)).collect();
        if having.iter().any(|one| one.healthy()) {
            None
        } else {
            having.first().map(|one| Arc::clone(one))
        }
    }

    /// Returns whether not all models are known: see [`Self::is_unknown`]. If no backend is known at all, none are.
    pub fn has_unknown(&self) -> bool {
        self.snapshot().is_empty() || self.providers().any(|provider| self.is_unknown(provider))
    }

    /// Returns whether not all models of the provider are known: one of its backends has never answered, or would not
    /// tell. One that refuses the gateway's key is not counted: what nobody lists is not its business.
    pub fn is_unknown(&self, provider: &Provider) -> bool {
        let snapshot = self.snapshot();
        let mine: Vec<_> = snapshot
            .iter()
            .filter(|backend| backend.provider.id == provider.id)
            .collect();
        let untold = |one: &&Arc<Backend>| one.seen().is_none() || one.inventory().is_untold();
        // A name that cannot be resolved and never could.
        let entries = 0..provider.settings.backends.len();
        let nowhere = entries
            .map(EndpointOrigin::Listed)
            .any(|entry| mine.iter().all(|one| one.origin != entry));
        !provider.repels()
            && (nowhere || mine.iter().any(untold) || self.is_provider_settling(provider.id))
    }

    /// Returns the tokens that the model holds at the provider, as its servers have told: of several, the most.
    pub fn context_of(&self, provider: &Provider, model: ModelId) -> Option<u64> {
        let snapshot = self.snapshot();
        let mine = snapshot
            .iter()
            .filter(|backend| backend.provider.id == provider.id);
        mine.filter_map(|backend| backend.inventory().context(model))
            .max()
    }

    /// Returns the member with that id; `None` once it has left.
    pub fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.members.get(id)
    }

    /// Returns the provider of that name.
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers().find(|provider| &*provider.name == name)
    }

    /// Returns all providers, as configured.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.managed.iter().map(|one| &one.provider)
    }

    /// Returns the provider at that position of the configuration.
    pub fn provider_at(&self, id: ProviderId) -> &Arc<Provider> {
        &self.managed[id].provider
    }

    /// Returns the names of models and their ids.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Returns whether the provider has not answered its first probes yet, so that its models are about to come to
    /// light.
    pub fn is_provider_settling(&self, id: ProviderId) -> bool {
        let provider = &self.managed[id].provider;
        let unprobed = |backend: &&Arc<Backend>| backend.provider.id == id && !backend.was_probed();
        !provider.discovered.load(Ordering::Acquire)
            || self.snapshot().iter().any(|one| unprobed(&one))
    }

    /// Returns whether any provider is settling.
    pub fn is_settling(&self) -> bool {
        ProviderId::first(self.managed.len()).any(|id| self.is_provider_settling(id))
    }

    /// Returns a receiver that is told whenever a provider may have settled.
    pub fn settling(&self) -> watch::Receiver<()> {
        self.members.settling()
    }

    /// Takes in how a request to a backend ended; a failure makes the backend unhealthy at once.
    pub fn report(&self, id: BackendId, outcome: RequestOutcome) {
        let Some(backend) = self.members.get(id) else {
            return;
        };
        if let Some(setbacks) = self.members.report(&backend, outcome) {
            backend.vigil().failed(setbacks, Instant::now());
        }
    }

    /// Takes back a failure that was reported of the backend and was no fault of its own.
    pub fn acquit(&self, id: BackendId) {
        if let Some(backend) = self.members.get(id) {
            self.members.acquit(&backend);
            backend.vigil().acquitted();
        }
    }

    /// Notes that a request waits for a backend until the returned value is dropped: those that are down are probed
    /// every second meanwhile.
    pub fn hope(&self) -> Hope {
        self.members.waiting.enter()
    }

    /// Notes that a request was refused because no backend is healthy, so that those that are down are probed at once.
    pub fn missed_by_a_request(&self) {
        self.members.waiting.refused();
    }

    /// Tells the guard of a service how an attempt went.
    pub fn attempted(&self, backend: &Backend, attempted: &Attempted<'_>) {
        let provider = &backend.provider;
        // Its backends have about the same to do.
        let in_flight = backend.in_flight() as usize * provider.settings.backends.len().max(1);
        self.managed[provider.id].keeper.note(attempted, in_flight);
    }

    /// Notes that a service has refused a key or its account with that status, if that was the only key left.
    pub fn refused(&self, backend: &Backend, of_account: bool, status: u16) {
        let why = if of_account { Why::Account } else { Why::Key };
        let provider = &backend.provider;
        let guard = provider.guard().status(Instant::now());
        if guard.keys <= guard.keys_set_aside + 1 {
            provider.note_refusal(Asked::Request, why, status);
        }
    }

    /// Tells the guard of a service that the answer to an attempt, which began at `started`, broke off after its first content.
    /// `model` is the service's own name for the model, if that is known.
    pub fn broke(&self, backend: &Backend, model: Option<&str>, started: Instant) {
        let managed = &self.managed[backend.provider.id];
        managed.keeper.broke(model, started);
    }

    /// Returns whether any provider may not be [`Fleet::available`].
    pub fn troubled(&self) -> bool {
        self.providers().any(|provider| provider.guard().troubled())
    }

    /// Returns whether it makes sense to ask the provider: its breaker is not open, and it has a key that does not
    /// rest.
    pub fn available(&self, provider: ProviderId, now: Instant) -> bool {
        let guard = self.provider_at(provider).guard();
        guard.unavailable(None, now).is_none()
    }

    /// Discovers and probes the backends of all providers once, at the same time. Tools use it; the services do the same while
    /// they run.
    pub async fn refresh(&self) {
        let mut rounds = JoinSet::new();
        for one in &self.managed {
            rounds.spawn(round(Arc::clone(&one.balancer)));
        }
        rounds.join_all().await;
    }

    /// Probes a backend now rather than with the next round, because what it has is known to have changed.
    pub async fn probe(&self, backend: &Arc<Backend>) {
        self.managed[backend.provider.id]
            .recovery
            .probe(backend)
            .await;
    }

    /// Returns a healthy backend for a request that needs no slot: of that provider (or the first that has one), with
    /// that model on disk (or any), by the provider's selector, none of `tried`.
    pub fn pick(
        &self,
        provider: Option<&Provider>,
        model: Option<ModelId>,
        tried: &[BackendId],
    ) -> Option<Arc<Backend>> {
        let fits = |backend: &Backend| {
            backend.healthy()
                && !tried.contains(&backend.id)
                && model.is_none_or(|model| backend.has(model))
        };
        self.managed
            .iter()
            .filter(|one| provider.is_none_or(|provider| provider.id == one.provider.id))
            .find_map(|one| one.pick(&self.members, fits))
    }
}
