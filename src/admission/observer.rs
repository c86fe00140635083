//! The dispatcher learns of the fleet's events: what joins, what a probe found, what fails.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::rules;
use super::{BackendSpec, Dispatcher, LoadedModel, Residency, StoredModel};
use crate::fleet::{Backend, Inventory, Observer};
use crate::ids::{BackendId, ModelId, ProviderId};

/// Tells a dispatcher what an observer of the fleet is told.
#[derive(Debug)]
pub struct FleetEvents(pub Arc<Dispatcher>);

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
        self.0.join(backend.id, spec);
    }

    fn left(&self, backend: BackendId) {
        self.0.leave(backend);
    }

    fn probed(&self, backend: &Backend, inventory: &Arc<Inventory>) {
        let now = SystemTime::now();
        let copies = &backend.provider.settings.copies;
        let stored = |(model, size)| {
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
        };
        let on_disk: Vec<_> = inventory.sizes().map(stored).collect();
        let loaded: Vec<_> = if backend.provider.settings.kind.is_fleet() {
            inventory
                .loaded
                .iter()
                .map(|loaded| LoadedModel {
                    model: loaded.model,
                    context: loaded.entry.context,
                    size: loaded.entry.size,
                    vram: loaded.entry.size_vram,
                    expires_in: loaded.entry.expires_at.map_or(Duration::MAX, |at| {
                        at.duration_since(now).unwrap_or_default()
                    }),
                })
                .collect()
        } else {
            // A service has all that it lists at hand: nothing there is ever a cold load.
            on_disk
                .iter()
                .map(|stored| LoadedModel {
                    model: stored.model,
                    context: None,
                    size: 0,
                    vram: 0,
                    expires_in: Duration::MAX,
                })
                .collect()
        };
        self.0.observe(
            backend.id,
            Residency {
                on_disk: &on_disk,
                loaded: &loaded,
            },
        );
    }

    fn forgotten(&self, models: &[ModelId]) {
        self.0.forget_models(models);
    }

    fn unhealthy(&self, backend: BackendId) {
        self.0.unhealthy(backend);
    }

    fn limited(&self, provider: ProviderId, limit: Option<usize>) {
        self.0.limit_provider(provider, limit);
    }

    fn backend_limited(&self, backend: BackendId, limit: Option<u32>) {
        self.0.limit_backend(backend, limit);
    }
}
