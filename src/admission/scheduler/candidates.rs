//! Where a request could start at once: free backends that need to load nothing, within the limits.

use super::Scheduler;
use super::lines::{LineKey, Waiter};
use super::model::Model;
use crate::ids::{BackendId, ProviderId};

/// A model on at most this many disks is looked for on each of them, else along the free backends.
const FEW: usize = 64;

impl Scheduler {
    pub(super) fn ready_backend(&mut self, waiter: &Waiter) -> Option<BackendId> {
        let found = self.ready_backend_of(waiter);
        if found.is_none() {
            self.note_limit();
        }
        found
    }

    pub(super) fn at_limit(&self) -> bool {
        self.policy.max_in_flight > 0 && self.running.len() >= self.policy.max_in_flight
    }

    pub(super) fn provider_at_limit(&self, provider: ProviderId) -> bool {
        let limit = self.provider_limit(provider);
        let in_flight = || {
            self.providers
                .get(&provider)
                .map_or(0, |provider| provider.in_flight)
        };
        limit.is_some_and(|limit| in_flight() >= limit)
    }

    /// Requests that may run on the provider at once, if that is bounded.
    pub(super) fn provider_limit(&self, provider: ProviderId) -> Option<usize> {
        let cap = self.caps.get(&provider).copied();
        let configured = self.providers.get(&provider)?.limit;
        configured.into_iter().chain(cap).min()
    }

    /// The best backend that can take this request now without loading anything.
    pub(super) fn ready_backend_of(&self, waiter: &Waiter) -> Option<BackendId> {
        if self.at_limit() {
            return None;
        }
        let usable = |id: BackendId| !waiter.scope.excluded.contains(&id);
        let open = |provider: ProviderId| {
            waiter.scope.providers.hold(provider) && !self.provider_at_limit(provider)
        };
        match waiter.line() {
            LineKey::Unlisted => None,
            LineKey::Pinned(id) => {
                let backend = self.backends.get(&id)?;
                (backend.takes(&waiter.arrival) && open(backend.spec.provider)).then_some(id)
            }
            LineKey::Any => self.lightest(self.free.best(0, open, usable)),
            LineKey::Model(model_id, _) => {
                let model = self.models.get(&model_id)?;
                let warm = model.ready.best(waiter.tokens(), open, usable);
                let unplaced = |provider: &ProviderId| {
                    let provider = self.providers.get(provider);
                    provider.is_some_and(|provider| !provider.placed)
                };
                let providers = self.free.providers();
                let unplaced = providers.filter(|provider| unplaced(provider) && open(*provider));
                let best = |provider| self.unplaced_backend(model, provider, usable);
                self.lightest(warm.chain(unplaced.filter_map(best)))
            }
        }
    }

    /// The best free backend of a provider without placement that has the model.
    fn unplaced_backend(
        &self,
        model: &Model,
        provider: ProviderId,
        usable: impl Fn(BackendId) -> bool,
    ) -> Option<BackendId> {
        if model.on_disk.len() > FEW {
            let has = |id: BackendId| usable(id) && model.on_disk.contains(&id);
            return self.free.best(0, |one| one == provider, has).next();
        }
        let there = model.on_disk.iter().copied().filter(|id| usable(*id));
        let free = there.filter_map(|id| {
            let backend = self.backends.get(&id)?;
            (backend.spec.provider == provider).then_some(backend.key?)
        });
        free.min().map(|key| key.id)
    }

    /// Between providers, the one whose best backend has the least of its slots in use.
    fn lightest(&self, candidates: impl Iterator<Item = BackendId>) -> Option<BackendId> {
        let load = |id: &BackendId| {
            let backend = &self.backends[id];
            (
                backend.jobs.len() as f64 / f64::from(backend.capacity()),
                backend.spec.provider,
            )
        };
        candidates
            .map(|id| (load(&id), id))
            .min_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
            .map(|(_, id)| id)
    }
}
