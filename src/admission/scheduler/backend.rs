//! One backend as the scheduler sees it: its slots, what runs there, and where it stands with its selector.

use std::time::Duration;

use ahash::AHashMap;

use super::lane::Lane;
use super::learned::{Mean, Peak};
use super::pace::Pace;
use super::ready::Key;
use super::resident::{Grade, Loading, ModelFailures, Resident, Sick};
use super::types::{Arrival, BackendSpec, StoredModel, Ticket, Wanted};
use crate::fleet::{Load, Selector};
use crate::ids::{BackendId, ModelId};
use crate::settings::Placement;

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
    /// Less than all of its slots may be used for the moment.
    pub(super) limit: Option<u32>,
    pub(super) loading: Option<Loading>,
    /// Copies that nothing is started on.
    pub(super) sick: Vec<Sick>,
    /// An attempt to heal one of them, or a try of a slow copy, that is under way in the place of a load.
    pub(super) healing: Option<(Ticket, ModelId)>,
    /// Loads are the gateway's own.
    pub(super) own_loads: bool,
    pub(super) on_disk: AHashMap<ModelId, StoredModel>,
    /// What has failed here of late for one model alone.
    pub(super) failed: AHashMap<ModelId, ModelFailures>,
    /// The largest contexts that models were seen to have though more was asked for.
    pub(super) trained: AHashMap<ModelId, u32>,
    /// The smallest contexts that clients have stated with which models could not be loaded here.
    pub(super) overstated: AHashMap<ModelId, u32>,
    /// The contexts that models got when none was asked for.
    pub(super) automatic: AHashMap<ModelId, u32>,
    /// How fast its copies are.
    pub(super) paces: AHashMap<ModelId, Pace>,
    /// What has been learned of how many requests its copies serve at once.
    pub(super) lanes: AHashMap<ModelId, Lane>,
    pub(super) resident: Vec<Resident>,
    /// Its key in the indices of free backends while it is in them.
    pub(super) key: Option<Key>,
    /// What the sum of the healthy backends' slots has of it.
    pub(super) counted: usize,
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
    pub(super) fits: u64,
    /// Less memory than this was not enough: a load beyond it pushed another model out.
    pub(super) overflows: Option<u64>,
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
    /// How many others of its model ran when it started.
    pub(super) beside: u32,
}

impl Backend {
    pub(super) fn new(id: BackendId, spec: BackendSpec) -> Self {
        Self {
            id,
            healthy: false,
            known: false,
            gone: false,
            jobs: Vec::new(),
            limit: None,
            loading: None,
            sick: Vec::new(),
            healing: None,
            own_loads: false,
            failed: AHashMap::new(),
            trained: AHashMap::new(),
            overstated: AHashMap::new(),
            automatic: AHashMap::new(),
            paces: AHashMap::new(),
            lanes: AHashMap::new(),
            on_disk: AHashMap::new(),
            resident: Vec::new(),
            key: None,
            counted: 0,
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

    /// Requests that may run here at once, for the moment, over all models.
    pub(super) fn slots(&self) -> u32 {
        let limit = self.limit.unwrap_or(u32::MAX);
        self.spec.slots.unwrap_or(u32::MAX).min(limit)
    }

    /// Requests for one model that may run here at once, within the slots of the whole backend.
    pub(super) fn lane(&self, model: ModelId) -> u32 {
        let held = self.resident(model).map(|copy| copy.lane);
        held.unwrap_or_else(|| self.learned_lane(model))
    }

    /// The same, from what its copies have there.
    fn learned_lane(&self, model: ModelId) -> u32 {
        if !self.placed() {
            return u32::MAX;
        }
        let learned = || self.lanes.get(&model).map_or(1, |lane| lane.width);
        self.spec.parallel.unwrap_or_else(learned)
    }

    /// Takes over into the copies in memory what has been learned of them.
    pub(super) fn refresh_copies(&mut self) {
        for index in 0..self.resident.len() {
            let model = self.resident[index].model;
            let lane = self.learned_lane(model);
            let pace = self.paces.get(&model);
            let copy = &mut self.resident[index];
            copy.lane = lane;
            copy.grade = pace.map_or(Grade::Well, |pace| pace.grade);
            copy.slowness = match (copy.grade, pace) {
                (Grade::Well, _) | (_, None) => 1.0,
                (_, Some(pace)) => pace.slowness(),
            };
        }
    }

    /// Requests that may run here at once for the model; for `None`, for any.
    pub(super) fn places(&self, model: Option<ModelId>) -> u32 {
        model.map_or(self.slots(), |model| self.slots().min(self.lane(model)))
    }

    /// How many of those places are free.
    pub(super) fn open(&self, model: Option<ModelId>) -> u32 {
        let of_all = self.slots().saturating_sub(self.in_flight());
        let running = |model| u32::try_from(self.running(model)).unwrap_or(u32::MAX);
        model.map_or(of_all, |model| {
            of_all.min(self.lane(model).saturating_sub(running(model)))
        })
    }

    /// Whether its models compete for the slots of the whole.
    pub(super) fn is_shared(&self) -> bool {
        let lanes = self.held().map(|model| self.lane(model));
        self.slots() < lanes.fold(0, u32::saturating_add)
    }

    /// Requests that may run here at once: the bound of the whole, or else what its copies take together.
    pub(super) fn capacity(&self) -> u32 {
        let copies = || {
            let lanes = self.resident.iter().map(|copy| copy.lane);
            lanes.fold(0, u32::saturating_add).max(1)
        };
        self.spec.slots.unwrap_or_else(copies)
    }

    /// A request may start here now, as far as the whole backend is concerned.
    pub(super) fn free(&self) -> bool {
        self.healthy && !self.gone && self.jobs.len() < self.slots() as usize
    }

    /// A request for the model may start here now.
    pub(super) fn free_for(&self, model: ModelId) -> bool {
        self.free() && self.running(model) < self.lane(model) as usize && !self.is_barred(model)
    }

    /// The request may start here now, whatever has to be loaded for it.
    pub(super) fn takes(&self, arrival: &Arrival) -> bool {
        match arrival.wanted {
            Wanted::Model(model) => {
                let fits = |copy: &Resident| copy.tokens >= arrival.need.tokens;
                let may = !self.placed() || arrival.pinned.is_some();
                self.free_for(model) && (may || self.resident(model).is_none_or(fits))
            }
            Wanted::Any | Wanted::Unlisted => self.free(),
        }
    }

    /// A load may start here now. One at a time: Ollama loads one after the other. One of the gateway's own takes no slot, but
    /// something has to go for it that is not in use, if there is no room.
    pub(super) fn spare(&self) -> bool {
        let open = if self.own_loads {
            self.slots() > 0 && self.has_idle_memory()
        } else {
            self.free()
        };
        let idle = self.loading.is_none() && self.healing.is_none();
        open && idle && self.healthy && !self.gone && self.placed()
    }

    /// Until when loading the model, or healing its copy, is not tried again, where it has failed here of late.
    pub(super) fn pause(&self, now: Duration, model: ModelId) -> Option<Duration> {
        let load = self.failed.get(&model).map(|failed| failed.load.until);
        let heal = self.sick(model).map(|sick| sick.failure.until);
        let until = load.max(heal)?;
        (now < until).then_some(until)
    }

    /// Bytes of the model on disk.
    pub(super) fn bytes(&self, model: ModelId) -> u64 {
        self.on_disk.get(&model).map_or(0, |stored| stored.size)
    }

    pub(super) fn has(&self, model: ModelId) -> bool {
        self.on_disk.contains_key(&model)
    }

    pub(super) fn holds(&self, model: ModelId) -> bool {
        self.resident.iter().any(|resident| resident.model == model)
    }

    /// The copies that it has in memory or loads, with the tokens that each holds.
    pub(super) fn copies(&self) -> impl Iterator<Item = (ModelId, u32)> {
        let loading = self.loading.map(|loading| (loading.model, loading.tokens));
        let resident = self.resident.iter().map(|copy| (copy.model, copy.tokens));
        resident.chain(loading)
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
            slots: self.capacity(),
            weight: self.spec.weight,
            cost: self.spec.cost,
            latency_us: self.response.micros(now),
            turn: 0,
            order: self.spec.order,
        };
        // The table's rank counts the turn that is about to be earned, which is of no account here.
        load.turn = -self.turns.pass - (self.selector.turn)(&load);
        Key {
            slow: false,
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

    pub(super) fn runs(&self, model: ModelId) -> bool {
        self.jobs.iter().any(|job| job.model == Some(model))
    }

    /// How many requests for the model run here.
    pub(super) fn running(&self, model: ModelId) -> usize {
        let of_model = self.jobs.iter().filter(|job| job.model == Some(model));
        of_model.count()
    }

    pub(super) fn resident(&self, model: ModelId) -> Option<&Resident> {
        self.resident.iter().find(|copy| copy.model == model)
    }

    pub(super) fn start(&mut self, job: Job) {
        self.jobs.push(job);
        if let Some(model) = job.model {
            self.touch(job.started, model);
        }
    }

    /// Removes the request; a load that it began and that has not come to its end has come to nothing.
    pub(super) fn end(&mut self, now: Duration, ticket: Ticket) -> Option<Job> {
        let index = self.jobs.iter().position(|job| job.ticket == ticket)?;
        self.loading
            .take_if(|loading| loading.ticket == ticket && !loading.own);
        let job = self.jobs.swap_remove(index);
        if let Some(model) = job.model {
            self.touch(now, model);
        }
        Some(job)
    }
}
