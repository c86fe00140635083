//! What a backend has in memory, what it loads, and what would have to go to make room.

use std::time::Duration;

use ahash::AHashMap;

use super::backend::Backend;
use super::resident::{ANY, Grade, Loading, Resident};
use super::types::{LoadedModel, Residency, StoredModel};
use crate::ids::ModelId;

/// Ollama's own default, until a probe shows another.
const KEEP_ALIVE: Duration = Duration::from_secs(300);

impl Backend {
    /// Takes over what a probe found. What runs here is in memory whatever the probe says: it may have been on its way
    /// when the request started.
    /// Returns whether it was learned that a model has less context than was asked for.
    pub(super) fn observe(&mut self, now: Duration, residency: Residency<'_>) -> bool {
        self.healthy = true;
        self.known = true;
        self.store(residency.on_disk);
        self.notice_load(now, residency.loaded);
        let in_memory = |model| residency.loaded.iter().any(|copy| copy.model == model);
        self.forget_sick(in_memory);
        let before = std::mem::take(&mut self.resident);
        let disappointed = self.learn_contexts(&before, residency.loaded);
        for loaded in residency.loaded {
            let bare = self.loads(loaded.model) || self.is_sick(loaded.model);
            if self.on_disk.contains_key(&loaded.model) && !bare {
                let known = before
                    .iter()
                    .find(|resident| resident.model == loaded.model);
                self.resident.push(Resident {
                    model: loaded.model,
                    context: loaded.context,
                    tokens: loaded.context.unwrap_or(ANY),
                    asked: None,
                    size: loaded.size.max(loaded.vram),
                    vram: loaded.vram,
                    since: known.map_or(now, |known| known.since),
                    expires_at: now.saturating_add(loaded.expires_in),
                    used: known.and_then(|known| known.used),
                    keep_alive: self.keep_alive(now, known, loaded),
                    lane: 1,
                    grade: Grade::Well,
                    slowness: 1.0,
                });
            }
        }
        self.learn_memory(now, &before, residency.loaded);
        let unseen = before
            .into_iter()
            .filter(|resident| !self.holds(resident.model));
        let in_use = |model| {
            let bare = self.loads(model) || self.is_sick(model);
            self.has(model) && self.runs(model) && !bare
        };
        let used: Vec<_> = unseen.filter(|resident| in_use(resident.model)).collect();
        self.resident.extend(used);
        self.refresh_copies();
        disappointed
    }

    /// How long the model stays after its last use. The clock of the backend stands still while a request runs.
    fn keep_alive(
        &self,
        now: Duration,
        known: Option<&Resident>,
        loaded: &LoadedModel,
    ) -> Duration {
        let Some(known) = known else {
            return loaded.expires_in;
        };
        match known.used {
            Some(used) if !self.runs(loaded.model) => {
                loaded.expires_in.saturating_add(now.saturating_sub(used))
            }
            _ => known.keep_alive.max(loaded.expires_in),
        }
    }

    /// Takes over what is on disk.
    fn store(&mut self, on_disk: &[StoredModel]) {
        let before = std::mem::take(&mut self.on_disk);
        let stored = on_disk.iter().map(|stored| (stored.model, stored.clone()));
        self.on_disk.extend(stored);
        let on_disk = &self.on_disk;
        // Another file may load where the one before it did not.
        for learned in [&mut self.trained, &mut self.automatic, &mut self.overstated] {
            learned.retain(|model, _| on_disk.contains_key(model));
        }
        self.lanes.retain(|model, _| on_disk.contains_key(model));
        self.paces.retain(|model, _| on_disk.contains_key(model));
        self.failed.retain(|model, _| {
            let size =
                |all: &AHashMap<ModelId, StoredModel>| all.get(model).map(|stored| stored.size);
            on_disk.contains_key(model) && size(on_disk) == size(&before)
        });
        self.loading
            .take_if(|loading| !on_disk.contains_key(&loading.model));
    }

    /// A load of the gateway's own is over as soon as a probe finds the copy. The one that it replaces may still be there.
    fn notice_load(&mut self, now: Duration, loaded: &[LoadedModel]) {
        let Some(loading) = self.loading.filter(|loading| loading.own) else {
            return;
        };
        let mut found = loaded.iter().filter(|copy| copy.model == loading.model);
        if found.any(|copy| loading.replaces != Some(copy.context)) {
            self.end_load(now);
        }
    }

    /// Learns from the first sight of what was loaded: which context the backend chooses if none is asked for, and that the
    /// model has no larger one than it shows if more was asked for.
    fn learn_contexts(&mut self, before: &[Resident], loaded: &[LoadedModel]) -> bool {
        let mut disappointed = false;
        for copy in before {
            let Some(asked) = copy.asked else {
                continue;
            };
            let seen = loaded.iter().find(|loaded| loaded.model == copy.model);
            let Some(context) = seen.and_then(|loaded| loaded.context) else {
                continue;
            };
            match asked {
                None => {
                    self.automatic.insert(copy.model, context);
                }
                Some(asked) if context < asked => {
                    self.trained.insert(copy.model, context);
                    disappointed = true;
                }
                Some(_) => {}
            }
        }
        disappointed
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
                .filter(|loaded| !self.is_sick(loaded.model))
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

    /// The models that Ollama would push out to load one of `vram` bytes: those with the shortest keep-alive, among those
    /// that nobody uses. A copy of the model itself goes in any case. `None` when even all that makes no room, or the copy is
    /// in use.
    pub(super) fn victims(&self, model: ModelId, vram: u64) -> Option<Vec<&Resident>> {
        let others = || self.resident.iter().filter(|copy| copy.model != model);
        let replaced = self.resident(model);
        if replaced.is_some() && self.runs(model) {
            return None;
        }
        let mut used = others().fold(0_u64, |used, copy| used.saturating_add(copy.vram));
        let mut idle: Vec<_> = others().filter(|copy| !self.runs(copy.model)).collect();
        idle.sort_by_key(|resident| (resident.keep_alive, resident.model));
        let mut count = 0;
        while !self.has_room(used, vram) {
            used = used.saturating_sub(idle.get(count)?.vram);
            count += 1;
        }
        idle.truncate(count);
        idle.extend(replaced);
        Some(idle)
    }

    /// Whether something could be loaded, by its size or by what is not in use.
    pub(super) fn has_idle_memory(&self) -> bool {
        let used = self.resident.iter().map(|copy| copy.vram);
        self.resident.iter().any(|copy| !self.runs(copy.model))
            || self.has_room(used.fold(0, u64::saturating_add), 1)
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
            self.hold(now, &loading);
        }
    }

    /// The model is in memory, as it was asked for.
    pub(super) fn hold(&mut self, now: Duration, loading: &Loading) {
        let Loading {
            model,
            vram,
            context,
            tokens,
            ..
        } = *loading;
        if self.has(model) && !self.holds(model) && !self.is_sick(model) {
            let expires_at = now.saturating_add(KEEP_ALIVE);
            self.resident.push(Resident {
                model,
                context,
                tokens,
                asked: Some(context),
                size: vram,
                vram,
                since: now,
                expires_at,
                used: None,
                keep_alive: KEEP_ALIVE,
                lane: 1,
                grade: Grade::Well,
                slowness: 1.0,
            });
            self.refresh_copies();
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
            resident.used = Some(now);
        }
    }
}
