//! One backend as the scheduler sees it: its slots, what runs there, what it has in memory and what would have to go.

use std::time::Duration;

use ahash::AHashMap;

use super::learned::{Mean, Peak};
use super::ready::Key;
use super::types::{BackendSpec, Loaded, Residency, Ticket};
use crate::fleet::{Load, Selector};
use crate::ids::{BackendId, ModelId};
use crate::settings::Placement;

/// Ollama's own default, until a probe shows another.
const KEEP_ALIVE: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) id: BackendId,
    pub(super) spec: BackendSpec,
    pub(super) healthy: bool,
    /// It has answered a probe at least once.
    pub(super) known: bool,
    /// It has left; what runs here is still to be completed.
    pub(super) gone: bool,
    pub(super) jobs: Vec<Job>,
    pub(super) loading: Option<Loading>,
    /// Bytes on disk per model.
    pub(super) on_disk: AHashMap<ModelId, u64>,
    pub(super) resident: Vec<Resident>,
    /// Its key in the indices of free backends while it is in them.
    pub(super) key: Option<Key>,
    /// Seconds that loads have taken here.
    pub(super) load_times: AHashMap<ModelId, Mean>,
    /// Bytes per second at which loads have gone here.
    pub(super) bandwidth: Mean,
    /// Credit for the selectors that take turns; see [`Turns`].
    pub(super) turns: Turns,
    /// Time to the first content of a warm request.
    pub(super) response: Peak,
    selector: &'static Selector,
    /// The most memory that was ever seen in use.
    fits: u64,
    /// Less memory than this was not enough: a load beyond it pushed another model out.
    overflows: Option<u64>,
}

/// Where a backend stands in taking turns.
///
/// The selectors' smooth round robin pays every candidate on every choice. With a thousand candidates that costs too
/// much, so each backend keeps its own account instead: stride scheduling, where every start adds `1 / gain` to the
/// backend's pass and the lowest pass goes first. The shares are the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    pub(super) pass: i64,
}

impl Turns {
    /// What one start adds to the pass of a backend of weight 1.
    pub(super) const STRIDE: i64 = 1 << 24;
}

/// A request that runs on a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) model: Option<ModelId>,
    pub(super) started: Duration,
}

/// A cold load in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loading {
    pub(super) model: ModelId,
    pub(super) ticket: Ticket,
    /// When it should be over.
    pub(super) until: Duration,
    /// Bytes of GPU memory that it should take.
    pub(super) vram: u64,
}

/// A model in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    pub(super) model: ModelId,
    pub(super) vram: u64,
    /// Since when it is known to be there.
    pub(super) since: Duration,
    pub(super) expires_at: Duration,
    keep_alive: Duration,
}

impl Backend {
    pub(super) fn new(id: BackendId, spec: BackendSpec) -> Self {
        Self {
            id,
            healthy: false,
            known: false,
            gone: false,
            jobs: Vec::new(),
            loading: None,
            on_disk: AHashMap::new(),
            resident: Vec::new(),
            key: None,
            load_times: AHashMap::new(),
            bandwidth: Mean::default(),
            turns: Turns::default(),
            response: Peak::default(),
            selector: Selector::of(spec.selector),
            fits: 0,
            overflows: None,
            spec,
        }
    }

    pub(super) fn placed(&self) -> bool {
        self.spec.placement == Placement::WarmOrWait
    }

    /// A request may start here now.
    pub(super) fn free(&self) -> bool {
        self.healthy && !self.gone && self.jobs.len() < self.spec.slots as usize
    }

    /// A cold load may start here now. One at a time: Ollama loads one after the other.
    pub(super) fn spare(&self) -> bool {
        self.free() && self.placed() && self.loading.is_none()
    }

    pub(super) fn has(&self, model: ModelId) -> bool {
        self.on_disk.contains_key(&model)
    }

    pub(super) fn holds(&self, model: ModelId) -> bool {
        self.resident.iter().any(|resident| resident.model == model)
    }

    /// The models that it has in memory or loads.
    pub(super) fn held(&self) -> impl Iterator<Item = ModelId> {
        let loading = self.loading.map(|loading| loading.model);
        self.resident
            .iter()
            .map(|resident| resident.model)
            .chain(loading)
    }

    pub(super) fn loads(&self, model: ModelId) -> bool {
        self.loading.is_some_and(|loading| loading.model == model)
    }

    /// Its key among the free backends of its provider.
    pub(super) fn key(&self, now: Duration) -> Key {
        let mut load = Load {
            in_flight: self.in_flight(),
            slots: self.spec.slots,
            weight: self.spec.weight,
            cost: self.spec.cost,
            latency_us: self.response.micros(now),
            turn: 0,
            order: self.spec.order,
        };
        // The table's rank counts the turn that is about to be earned, which is of no account here.
        load.turn = -self.turns.pass - (self.selector.turn)(&load);
        Key {
            standing: self.selector.standing(&load),
            id: self.id,
        }
    }

    /// Takes its turn; `least` is the lowest pass that it may have saved up.
    pub(super) fn take_turn(&mut self, least: i64) {
        let gain = (self.selector.turn)(&Load {
            weight: self.spec.weight,
            ..Load::default()
        });
        if gain > 0 {
            self.turns.pass = self.turns.pass.max(least) + Turns::STRIDE / gain;
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.jobs.len()).unwrap_or(u32::MAX)
    }

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
    fn learn_memory(&mut self, now: Duration, before: &[Resident], loaded: &[Loaded]) {
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

    pub(super) fn runs(&self, model: ModelId) -> bool {
        self.jobs.iter().any(|job| job.model == Some(model))
    }

    pub(super) fn start(&mut self, job: Job) {
        self.jobs.push(job);
        if let Some(model) = job.model {
            self.touch(job.started, model);
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

    /// Removes the request; a load that it began and that has not come to its end has come to nothing.
    pub(super) fn end(&mut self, now: Duration, ticket: Ticket) -> Option<Job> {
        let index = self.jobs.iter().position(|job| job.ticket == ticket)?;
        self.loading.take_if(|loading| loading.ticket == ticket);
        let job = self.jobs.swap_remove(index);
        if let Some(model) = job.model {
            self.touch(now, model);
        }
        Some(job)
    }
}
