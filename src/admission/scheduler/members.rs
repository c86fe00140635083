//! The fleet's events: a backend joins, leaves, answers a probe or fails.

use std::time::Duration;

use ahash::AHashSet;

use super::backend::Backend;
use super::lines::LineKey;
use super::model::Model;
use super::types::{BackendSpec, Decision, Residency, StoredModel};
use super::{Provider, Scheduler};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::settings::Placement;

impl Scheduler {
    /// A backend has been found. It is unhealthy until [`Self::observe`].
    pub fn join(&mut self, _now: Duration, id: BackendId, spec: BackendSpec) {
        if self.backends.contains_key(&id) {
            return;
        }
        let provider = self
            .providers
            .entry(spec.provider)
            .or_insert_with(|| Provider {
                limit: spec.provider_limit,
                in_flight: 0,
                backends: 0,
                placed: spec.placement == Placement::WarmOrWait,
                pass: 0,
            });
        provider.backends += 1;
        let mut backend = Backend::new(id, spec);
        backend.own_loads = self.own_loads;
        self.backends.insert(id, backend);
    }

    /// A backend has vanished. What runs there still has to be completed.
    pub fn leave(&mut self, now: Duration, id: BackendId) {
        self.unhealthy(now, id);
        let Some(backend) = self.backends.get_mut(&id).filter(|backend| !backend.gone) else {
            return;
        };
        let idle = backend.jobs.is_empty();
        backend.sick.clear();
        self.known -= usize::from(backend.known);
        backend.gone = true;
        let on_disk = std::mem::take(&mut backend.on_disk);
        for model in on_disk.keys() {
            if let Some(model) = self.models.get_mut(model) {
                model.on_disk.remove(&id);
            }
        }
        self.sick.retain(|(of, _)| *of != id);
        self.slow.retain(|(of, _)| *of != id);
        self.late.retain(|(of, _), _| *of != id);
        if idle {
            self.forget(id);
        }
        self.refuse_lines_of(now, on_disk.into_keys());
        self.refuse_hopeless(now, [LineKey::Any, LineKey::Pinned(id)]);
        self.reweigh();
    }

    /// A probe was answered well: the backend is healthy and this is what it has.
    pub fn observe(&mut self, now: Duration, id: BackendId, residency: Residency<'_>) {
        let Some(backend) = self.backends.get(&id).filter(|backend| !backend.gone) else {
            return;
        };
        let first = !backend.known;
        let changed = !backend.healthy
            || backend.resident.len() + backend.sick.len() != residency.loaded.len()
            || residency
                .loaded
                .iter()
                .any(|loaded| !backend.holds(loaded.model) && !backend.is_sick(loaded.model));
        self.known += usize::from(first);
        self.healthy += usize::from(!backend.healthy);
        for loaded in residency.loaded {
            let model = self
                .models
                .entry(loaded.model)
                .or_insert_with(|| Model::new(now));
            let size = loaded.size.max(loaded.vram);
            model.vram = model.vram.max(Some(size));
            if let Some(context) = loaded.context {
                model.footprint.add(context, size);
            }
        }
        let mut lost = self.list(now, id, residency.on_disk);
        let observed = self.update(now, id, |backend| backend.observe(now, residency));
        self.forget_cured(id);
        if observed == Some(true) {
            lost.extend(residency.loaded.iter().map(|loaded| loaded.model));
        }
        self.refuse_lines_of(now, lost.into_iter());
        self.refuse_hopeless(now, [LineKey::Pinned(id)]);
        if first {
            // Until now a model that nobody had listed could still turn up; from now on it is unknown.
            self.refuse_hopeless_everywhere(now);
        }
        self.note_freed(id);
        if changed {
            self.reweigh();
        }
    }

    /// A request or enough probes have failed: nothing starts there until the next [`Self::observe`].
    pub fn unhealthy(&mut self, now: Duration, id: BackendId) {
        let Some(backend) = self.backends.get(&id).filter(|backend| backend.healthy) else {
            return;
        };
        for model in backend.on_disk.keys() {
            if let Some(model) = self.models.get_mut(model) {
                model.healthy -= 1;
            }
        }
        self.healthy -= 1;
        self.update(now, id, |backend| {
            backend.healthy = false;
            backend.resident.clear();
        });
        self.refuse_hopeless_everywhere(now);
        self.reweigh();
    }

    /// From now on at most so many requests run on the provider at once, besides the configured limit; `None` takes
    /// that back. What runs beyond it goes on. A limit of none closes the provider: those who wait for closed providers
    /// alone are refused, if they say as of when they have chosen them.
    pub fn limit_provider(&mut self, now: Duration, provider: ProviderId, limit: Option<usize>) {
        let before = match limit {
            Some(limit) => self.caps.insert(provider, limit),
            None => self.caps.remove(&provider),
        };
        if limit == Some(0) && before != limit {
            self.closings += 1;
            self.refuse_hopeless_everywhere(now);
        }
        let raised = match (before, limit) {
            (Some(before), Some(limit)) => limit > before,
            (before, None) => before.is_some(),
            (None, Some(_)) => false,
        };
        if raised {
            self.limited = false;
            self.recheck = Some(None);
            self.reweigh();
        }
    }

    /// From now on at most so many requests run on the backend at once, besides its slots; `None` takes that back. What
    /// runs beyond it goes on.
    pub fn limit_backend(&mut self, now: Duration, id: BackendId, limit: Option<u32>) {
        let raised = self.update_slots(now, id, |backend| {
            let before = backend.slots();
            backend.limit = limit;
            backend.slots() > before
        });
        if raised == Some(true) {
            self.note_freed(id);
            self.reweigh();
        }
    }

    /// Drops what was learned of models that are nowhere any more. Who still waits for one, or runs it, keeps it.
    pub fn forget_models(&mut self, models: &[ModelId]) {
        let gone: AHashSet<ModelId> = models
            .iter()
            .filter(|id| {
                let model = self.models.get(id);
                let nowhere =
                    model.is_none_or(|model| model.on_disk.is_empty() && model.copies.is_empty());
                nowhere && self.lines.count_for(**id) == 0
            })
            .copied()
            .collect();
        self.models.retain(|id, _| !gone.contains(id));
        for backend in self.backends.values_mut() {
            backend.load_times.retain(|id, _| !gone.contains(id));
        }
    }

    /// Drops a backend that has left and on which nothing runs any more.
    pub(super) fn forget(&mut self, id: BackendId) {
        let Some(backend) = self.backends.remove(&id) else {
            return;
        };
        if let Some(provider) = self.providers.get_mut(&backend.spec.provider) {
            provider.backends -= 1;
            if provider.backends == 0 {
                self.providers.remove(&backend.spec.provider);
            }
        }
    }

    /// Enters in the models' lists that this backend has these on disk and is healthy. Returns those that it had before
    /// and has no more.
    fn list(&mut self, now: Duration, id: BackendId, on_disk: &[StoredModel]) -> Vec<ModelId> {
        let Some(backend) = self.backends.get(&id) else {
            return Vec::new();
        };
        if backend.healthy
            && backend.on_disk.len() == on_disk.len()
            && on_disk.iter().all(|stored| backend.has(stored.model))
        {
            return Vec::new();
        }
        let kept = |model: &ModelId| on_disk.iter().any(|kept| kept.model == *model);
        let lost: Vec<_> = backend
            .on_disk
            .keys()
            .filter(|model| !kept(model))
            .copied()
            .collect();
        // An unhealthy backend is on the lists but not counted there: off, and on again with the rest.
        let off = backend
            .on_disk
            .keys()
            .filter(|model| !backend.healthy || !kept(model));
        for model in off {
            if let Some(model) = self.models.get_mut(model) {
                model.on_disk.remove(&id);
                model.healthy -= usize::from(backend.healthy);
            }
        }
        for stored in on_disk {
            let model = self
                .models
                .entry(stored.model)
                .or_insert_with(|| Model::new(now));
            model.healthy += usize::from(model.on_disk.insert(id));
        }
        lost
    }

    fn refuse_hopeless_everywhere(&mut self, now: Duration) {
        let lines: Vec<_> = self.lines.keys().collect();
        self.refuse_hopeless(now, lines);
    }

    /// Refuses those who wait for these models in vain.
    fn refuse_lines_of(&mut self, now: Duration, models: impl Iterator<Item = ModelId>) {
        let lines: Vec<_> = models
            .flat_map(|model| self.lines.of_model(model))
            .collect();
        self.refuse_hopeless(now, lines);
    }

    /// Refuses those in these lines for whom it makes no sense any more to wait.
    pub(super) fn refuse_hopeless(
        &mut self,
        now: Duration,
        lines: impl IntoIterator<Item = LineKey>,
    ) {
        for line in lines {
            let hopeless: Vec<_> = self
                .lines
                .waiters(line)
                .filter_map(|(_, waiter)| Some((waiter.ticket, self.hopeless(now, waiter)?)))
                .collect();
            for (ticket, refusal) in hopeless {
                self.lines.remove(ticket);
                self.decided.push_back(Decision::Refuse { ticket, refusal });
            }
        }
    }
}
