//! What a backend has in memory, what it loads, and what would have to go to make room.

use std::time::Duration;

use super::backend::Backend;
use super::resident::{Loading, Resident};
use super::types::{LoadedModel, Residency};
use crate::ids::ModelId;

/// Ollama's own default, until a probe shows another.
const KEEP_ALIVE: Duration = Duration::from_secs(300);

impl Backend {
    /// Takes over what a probe found. What runs here is in memory whatever the probe says: it may have been on its way
    /// when the request started.
    pub(super) fn observe(&mut self, now: Duration, residency: Residency<'_>) {
        self.healthy = true;
        self.known = true;
        self.on_disk.clear();
        self.on_disk.extend(residency.on_disk.iter().copied());
        let on_disk = &self.on_disk;
        self.loading
            .take_if(|loading| !on_disk.contains_key(&loading.model));
        let before = std::mem::take(&mut self.resident);
        for loaded in residency.loaded {
            if self.on_disk.contains_key(&loaded.model) && !self.loads(loaded.model) {
                let known = before
                    .iter()
                    .find(|resident| resident.model == loaded.model);
                self.resident.push(Resident {
                    model: loaded.model,
                    vram: loaded.vram,
                    since: known.map_or(now, |known| known.since),
                    expires_at: now.saturating_add(loaded.expires_in),
                    keep_alive: known.map_or(loaded.expires_in, |known| {
                        known.keep_alive.max(loaded.expires_in)
                    }),
                });
            }
        }
        self.learn_memory(now, &before, residency.loaded);
        let unseen = before
            .into_iter()
            .filter(|resident| !self.holds(resident.model));
        let in_use = |model| self.has(model) && self.runs(model) && !self.loads(model);
        let used: Vec<_> = unseen.filter(|resident| in_use(resident.model)).collect();
        self.resident.extend(used);
    }

    /// Learns how much fits: a load is seen to push another model out, or not to.
    fn learn_memory(&mut self, now: Duration, before: &[Resident], loaded: &[LoadedModel]) {
        let sum = |sum: u64, vram: u64| sum.saturating_add(vram);
        self.fits = self
            .fits
            .max(loaded.iter().map(|loaded| loaded.vram).fold(0, sum));
        let pushed_out = before.iter().any(|resident| {
            resident.expires_at > now
                && !self.runs(resident.model)
                && loaded.iter().all(|loaded| loaded.model != resident.model)
        });
        let newcomer = || {
            let new = loaded
                .iter()
                .find(|loaded| before.iter().all(|resident| resident.model != loaded.model));
            new.map(|loaded| loaded.vram)
                .or(self.loading.map(|loading| loading.vram))
        };
        if pushed_out && let Some(newcomer) = newcomer() {
            let wanted = before
                .iter()
                .map(|resident| resident.vram)
                .fold(newcomer, sum);
            self.overflows = Some(self.overflows.map_or(wanted, |least| least.min(wanted)));
        }
        // A model that left for another reason must not make the memory look small for ever.
        self.overflows.take_if(|overflows| *overflows <= self.fits);
    }

    /// The models that Ollama would push out to load one of `vram` bytes: those that expire first, among those that
    /// nobody uses. `None` when even that makes no room.
    pub(super) fn victims(&self, vram: u64) -> Option<Vec<&Resident>> {
        let mut used = self
            .resident
            .iter()
            .fold(0_u64, |used, resident| used.saturating_add(resident.vram));
        let mut idle: Vec<_> = self
            .resident
            .iter()
            .filter(|resident| !self.runs(resident.model))
            .collect();
        idle.sort_by_key(|resident| (resident.expires_at, resident.model));
        let mut count = 0;
        while !self.has_room(used, vram) {
            used = used.saturating_sub(idle.get(count)?.vram);
            count += 1;
        }
        idle.truncate(count);
        Some(idle)
    }

    fn has_room(&self, used: u64, more: u64) -> bool {
        let total = used.saturating_add(more);
        used == 0
            || match self.spec.vram {
                Some(vram) => total <= vram,
                None => {
                    total <= self.fits || self.overflows.is_none_or(|overflows| total < overflows)
                }
            }
    }

    pub(super) fn start_load(&mut self, loading: Loading, victims: &[ModelId]) {
        self.resident
            .retain(|resident| !victims.contains(&resident.model));
        self.loading = Some(loading);
    }

    /// The load has come to its end: the model is in memory.
    pub(super) fn end_load(&mut self, now: Duration) {
        if let Some(loading) = self.loading.take() {
            self.hold(now, loading.model, loading.vram);
        }
    }

    pub(super) fn hold(&mut self, now: Duration, model: ModelId, vram: u64) {
        if self.has(model) && !self.holds(model) {
            let expires_at = now.saturating_add(KEEP_ALIVE);
            self.resident.push(Resident {
                model,
                vram,
                since: now,
                expires_at,
                keep_alive: KEEP_ALIVE,
            });
        }
    }

    /// The model was used: it expires a whole `keep_alive` from now.
    pub(super) fn touch(&mut self, now: Duration, model: ModelId) {
        if let Some(resident) = self
            .resident
            .iter_mut()
            .find(|resident| resident.model == model)
        {
            resident.expires_at = now.saturating_add(resident.keep_alive);
        }
    }
}
