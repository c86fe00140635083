//! The dispatcher learns of the fleet's events: what joins, what a probe found, what fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ahash::AHashMap;

use super::digests::Digests;
use super::rules;
use super::{BackendSpec, Dispatcher, LoadedModel, Residency, StoredModel};
use crate::fleet::{Backend, Inventory, Observer, listed_digests};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::settings::DigestRule;

/// Tells a dispatcher what an observer of the fleet is told.
#[derive(Debug)]
pub struct FleetEvents {
    dispatcher: Arc<Dispatcher>,
    /// Held while the dispatcher is told of a server whose provider wants one digest only.
    alike: Mutex<Alike>,
}

/// The servers of providers that want one digest only.
#[derive(Debug, Default)]
struct Alike {
    digests: Digests,
    servers: AHashMap<BackendId, Arc<Backend>>,
    /// What the healthy ones of them have, as the dispatcher knows it.
    told: AHashMap<BackendId, Arc<Inventory>>,
}

impl FleetEvents {
    pub fn new(dispatcher: Arc<Dispatcher>) -> FleetEvents {
        FleetEvents {
            dispatcher,
            alike: Mutex::default(),
        }
    }

    fn alike(&self) -> MutexGuard<'_, Alike> {
        self.alike.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells anew what servers have of which other models count from now on.
    fn tell_again(&self, alike: &Alike, changed: &[BackendId]) {
        for id in changed {
            if let (Some(backend), Some(inventory)) = (alike.servers.get(id), alike.told.get(id)) {
                self.tell(backend, inventory, |model| {
                    alike.digests.keeps_out(*id, model)
                });
            }
        }
    }

    /// Tells what a probe has found, without the models that are left out.
    fn tell(&self, backend: &Backend, inventory: &Inventory, is_out: impl Fn(ModelId) -> bool) {
        let on_disk = stored(backend, inventory);
        let on_disk: Vec<_> = on_disk.filter(|one| !is_out(one.model)).collect();
        let loaded = loaded(backend, inventory, &on_disk);
        self.dispatcher.observe(
            backend.id,
            Residency {
                on_disk: &on_disk,
                loaded: &loaded,
            },
        );
    }
}

/// Returns what the backend has on disk, with what the operator states of it.
fn stored(backend: &Backend, inventory: &Inventory) -> impl Iterator<Item = StoredModel> {
    let copies = &backend.provider.settings.copies;
    inventory.sizes().map(|(model, size)| {
        let stored = StoredModel::new(model, size);
        let Some(entry) = inventory.model(model) else {
            return stored;
        };
        StoredModel {
            trained: entry.context,
            contexts: copies.contexts_of(&entry.name).into(),
            berth: rules::berth(&copies.place, &entry.canonical, &backend.endpoint.name),
            ..stored
        }
    })
}

/// Returns what the backend has in memory.
fn loaded(backend: &Backend, inventory: &Inventory, on_disk: &[StoredModel]) -> Vec<LoadedModel> {
    let now = SystemTime::now();
    if backend.provider.settings.kind.is_fleet() {
        let loaded = inventory.loaded.iter();
        return loaded
            .map(|loaded| LoadedModel {
                model: loaded.model,
                context: loaded.entry.context,
                size: loaded.entry.size,
                vram: loaded.entry.size_vram,
                expires_in: loaded.entry.expires_at.map_or(Duration::MAX, |at| {
                    at.duration_since(now).unwrap_or_default()
                }),
            })
            .collect();
    }
    // A service has all that it lists at hand: nothing there is ever a cold load.
    let listed = on_disk.iter().map(|stored| LoadedModel {
        model: stored.model,
        context: None,
        size: 0,
        vram: 0,
        expires_in: Duration::MAX,
    });
    listed.collect()
}

impl Observer for FleetEvents {
    fn joined(&self, backend: &Arc<Backend>) {
        let settings = &backend.provider.settings;
        let spec = BackendSpec {
            provider: backend.provider.id,
            order: u32::from(backend.port()),
            weight: backend.weight,
            cost: backend.cost,
            slots: backend.bounded.then_some(backend.slots),
            parallel: rules::lane(settings.copies.parallel, backend.bounded),
            vram: backend.vram,
            selector: settings.selector,
            placement: settings.placement,
            provider_limit: settings.max_concurrent,
        };
        self.dispatcher.join(backend.id, spec);
        if settings.copies.digest != DigestRule::Any {
            let backend = Arc::clone(backend);
            self.alike().servers.insert(backend.id, backend);
        }
    }

    fn left(&self, backend: BackendId) {
        let mut alike = self.alike();
        alike.servers.remove(&backend);
        alike.told.remove(&backend);
        self.dispatcher.leave(backend);
        let changed = alike.digests.leave(backend);
        self.tell_again(&alike, &changed);
    }

    fn probed(&self, backend: &Backend, inventory: &Arc<Inventory>) {
        let rule = backend.provider.settings.copies.digest;
        if rule == DigestRule::Any {
            return self.tell(backend, inventory, |_| false);
        }
        let mut alike = self.alike();
        let listed = listed_digests(inventory);
        let id = backend.id;
        let changed = alike.digests.list(id, backend.provider.id, rule, listed);
        alike.told.insert(id, Arc::clone(inventory));
        self.tell_again(&alike, &changed);
    }

    fn forgotten(&self, models: &[ModelId]) {
        self.dispatcher.forget_models(models);
    }

    fn unhealthy(&self, backend: BackendId) {
        let mut alike = self.alike();
        alike.told.remove(&backend);
        self.dispatcher.unhealthy(backend);
    }

    fn limited(&self, provider: ProviderId, limit: Option<usize>) {
        self.dispatcher.limit_provider(provider, limit);
    }

    fn backend_limited(&self, backend: BackendId, limit: Option<u32>) {
        self.dispatcher.limit_backend(backend, limit);
    }
}
