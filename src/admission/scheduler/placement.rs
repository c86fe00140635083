//! Warm or wait: whether a cold load beats waiting for a copy that is in memory, and where it hurts least.
//!
//! A load is begun for the last in line if `wait > load + harm`, all in seconds:
//! - `wait`: until a copy would get to it, see [`Scheduler::expected_wait`];
//! - `load`: what loads of this model have taken on that backend, see [`Scheduler::load_time`];
//! - `harm`: what the models that have to go would cost to bring back, see [`Scheduler::harm`].
//!
//! The last in line rides along because it gains most: those ahead of it are served by the copies meanwhile. Without
//! any copy the first in line does.

use std::cmp::Ordering;
use std::time::Duration;

use super::Scheduler;
use super::backend::{Backend, Resident};
use super::lines::{LineKey, Waiter};
use super::types::Decision;
use crate::ids::{BackendId, ModelId};

/// Bytes per second at which a model loads until a load has been seen: a fast disk.
const BANDWIDTH: f64 = 1e9;
/// Seconds that a request is taken to hold its slot until one has been seen.
const SERVICE: f64 = 5.0;
/// A request that has run for this many times the usual is taken to be a long one.
const LONG: f64 = 3.0;
/// Seconds within which a model that has lost its last copy will be asked for again, or it was no loss.
const HORIZON: f64 = 60.0;
/// A lost copy costs its reload, and the eviction that this takes about as much again.
const BRING_BACK: f64 = 2.0;
/// A model that is waited for stays in memory at least this many times as long as its load has taken, so that even a
/// fleet with far too many models for its memory spends most of its time on answers.
const DWELL: f64 = 2.0;
/// How often loads are weighed again while somebody waits and a backend is idle, though nothing happens.
const RECONSIDER: Duration = Duration::from_secs(1);
/// How soon the weighing goes on that was cut off.
const CONTINUE: Duration = Duration::from_millis(1);
/// Copies and backends that are looked at before one decision is cut off.
const BUDGET: usize = 64;
/// Copies of a model, or backends to load it on, that are looked at; where there are more, these stand for all.
const SAMPLE: usize = 32;

/// A cold load that is about to begin.
#[derive(Debug)]
pub(super) struct ColdStart {
    pub(super) model: ModelId,
    /// Seconds that it should take.
    pub(super) takes: f64,
    /// Bytes of GPU memory that it should take.
    pub(super) vram: u64,
    /// What it should push out.
    pub(super) victims: Vec<ModelId>,
}

/// Where a model could be loaded.
struct Berth {
    backend: BackendId,
    /// Load and harm, in seconds.
    cost: f64,
    cold: ColdStart,
}

impl Berth {
    fn order(&self, other: &Self) -> Ordering {
        let victims = |berth: &Self| berth.cold.victims.len();
        self.cost
            .total_cmp(&other.cost)
            .then_with(|| victims(self).cmp(&victims(other)))
    }
}

impl Scheduler {
    /// Every line has to be weighed again.
    pub(super) fn reweigh(&mut self) {
        self.unweighed = self.lines.line_count();
    }

    /// The load that an aged waiter needs whose model is nowhere in memory. Comes before the starts on what the free
    /// backends have loaded, unless somebody there has the better place.
    pub(super) fn rescue(&mut self, now: Duration) -> Option<Decision> {
        if self.spare.is_empty() || self.stranded.is_empty() || self.at_limit() {
            return None;
        }
        let first = self.touched.first().map(|(place, _)| *place);
        let stranded: Vec<_> = self.stranded.iter().copied().collect();
        for line in stranded {
            let aged = self.lines.head(line).filter(|head| head.aged());
            let (LineKey::Model(model), Some(head)) = (line, aged) else {
                self.stranded.remove(&line);
                continue;
            };
            if first.is_some_and(|first| first < head) {
                continue;
            }
            let copies = self
                .models
                .get(&model)
                .is_some_and(|model| !model.copies.is_empty());
            if copies {
                self.stranded.remove(&line);
            } else if let Some(decision) = self.load(now, model, &mut BUDGET.clone()) {
                return Some(decision);
            }
        }
        None
    }

    /// The next load that is worth its while, if any.
    pub(super) fn next_load(&mut self, now: Duration) -> Option<Decision> {
        if self.reconsider_at.is_some_and(|at| at <= now) && self.unweighed == 0 {
            self.reweigh();
        }
        self.reconsider_at = None;
        if self.lines.is_empty() || self.spare.is_empty() || self.at_limit() {
            self.to_weigh.clear();
            self.unweighed = 0;
            return None;
        }
        let mut budget = BUDGET;
        while budget > 0 {
            let Some(line) = self.next_to_weigh() else {
                break;
            };
            if let LineKey::Model(model) = line
                && let Some(decision) = self.load(now, model, &mut budget)
            {
                self.to_weigh.push(line);
                return Some(decision);
            }
        }
        let pause = if self.unweighed > 0 || !self.to_weigh.is_empty() {
            CONTINUE
        } else {
            RECONSIDER
        };
        self.reconsider_at = Some(now.saturating_add(pause));
        None
    }

    /// The line that is to be weighed next: those that have just changed, then all of them in turn.
    fn next_to_weigh(&mut self) -> Option<LineKey> {
        if let Some(line) = self.to_weigh.pop() {
            return Some(line);
        }
        self.unweighed = self.unweighed.checked_sub(1)?;
        self.weighed = self.lines.after(self.weighed)?;
        Some(self.weighed)
    }

    /// Begins a load for somebody in the model's line, if that is worth its while.
    fn load(&mut self, now: Duration, model: ModelId, budget: &mut usize) -> Option<Decision> {
        let (rider, wait) = self.rider(now, model, budget)?;
        let best = self.best_berth(now, model, rider, budget)?;
        if wait <= best.cost {
            return None;
        }
        let waiter = self
            .lines
            .remove(rider.ticket)
            .expect("the rider was just seen in its line");
        Some(self.start(now, waiter, best.backend, Some(best.cold)))
    }

    /// For whom a load would be begun, and how many seconds it would wait otherwise.
    fn rider(&self, now: Duration, model: ModelId, budget: &mut usize) -> Option<(&Waiter, f64)> {
        let copies = &self.models.get(&model)?.copies;
        let waiters = || {
            self.lines
                .waiters(LineKey::Model(model))
                .map(|(_, waiter)| waiter)
        };
        // Those who have been tried on every copy are at the front, since they have kept their places.
        let tried_on_all = |waiter: &Waiter| copies.iter().all(|id| waiter.excluded.contains(id));
        let stranded =
            waiters().take_while(|waiter| copies.is_empty() || !waiter.excluded.is_empty());
        if let Some(waiter) = stranded.take(SAMPLE).find(|waiter| tried_on_all(waiter)) {
            return Some((waiter, f64::INFINITY));
        }
        let last = waiters().next_back()?;
        *budget = budget.saturating_sub(copies.len().min(SAMPLE));
        Some((last, self.expected_wait(now, model, last)))
    }

    /// Seconds until a copy of the model gets to the last in its line.
    ///
    /// The first copy is free after `1 / Σ 1/residual`. From then on the line shortens by what its copies serve, and of
    /// each copy it has the share that it has of those who wait for that copy: `line / Σ share · slots/service`.
    fn expected_wait(&self, now: Duration, model_id: ModelId, last: &Waiter) -> f64 {
        let Some(model) = self.models.get(&model_id) else {
            return f64::INFINITY;
        };
        let line = self.lines.count(LineKey::Model(model_id)) as f64;
        let (mut freed, mut served, mut shared) = (0.0, 0.0, 0.0);
        let mut seen = 0.0;
        for id in model.copies.iter().take(SAMPLE) {
            seen += 1.0;
            if last.excluded.contains(id) {
                continue;
            }
            let Some(backend) = self.backends.get(id) else {
                continue;
            };
            let rate = f64::from(backend.spec.slots) / self.service(Some(model_id));
            let here: f64 = backend.held().map(|held| self.waiting_per_copy(held)).sum();
            freed += 1.0 / self.free_in(now, backend).max(1e-3);
            served += rate;
            shared += rate * self.waiting_per_copy(model_id) / here.max(f64::MIN_POSITIVE);
        }
        let scale = model.copies.len() as f64 / seen;
        let (freed, served, shared) = (freed * scale, served * scale, shared * scale);
        1.0 / freed + (line / shared - 1.0 / served).max(0.0)
    }

    fn waiting_per_copy(&self, model: ModelId) -> f64 {
        let copies = self
            .models
            .get(&model)
            .map_or(1, |model| model.copies.len().max(1));
        self.lines.count(LineKey::Model(model)) as f64 / copies as f64
    }

    /// Seconds until the backend has a free slot. What runs is taken to be memoryless, up to a point: one that has run
    /// for `LONG` times the usual will go on for as long as it has exceeded that.
    fn free_in(&self, now: Duration, backend: &Backend) -> f64 {
        if backend.jobs.len() < backend.spec.slots as usize {
            return 0.0;
        }
        let rate: f64 = backend
            .jobs
            .iter()
            .map(|job| {
                let service = self.service(job.model);
                let loading = backend
                    .loading
                    .filter(|loading| loading.ticket == job.ticket);
                let since = loading.map_or(job.started, |loading| loading.until);
                let load = since.saturating_sub(now).as_secs_f64();
                let ran = now.saturating_sub(since).as_secs_f64();
                1.0 / (load + service + (ran - LONG * service).max(0.0))
            })
            .sum();
        1.0 / rate
    }

    fn service(&self, model: Option<ModelId>) -> f64 {
        let own = model.and_then(|model| self.models.get(&model)?.service.get());
        own.or(self.service.get()).unwrap_or(SERVICE).max(1e-3)
    }

    /// Where loading the model costs least, among those where it could be loaded at once. Equal costs: where less has to
    /// go.
    fn best_berth(
        &self,
        now: Duration,
        model_id: ModelId,
        rider: &Waiter,
        budget: &mut usize,
    ) -> Option<Berth> {
        let model = self.models.get(&model_id)?;
        let usable = |backend: &&Backend| {
            backend.spare()
                && backend.has(model_id)
                && !backend.holds(model_id)
                && !rider.excluded.contains(&backend.id)
                && !self.provider_at_limit(backend.spec.provider)
        };
        let mut best: Option<Berth> = None;
        let mut weigh = |backend: &Backend| {
            *budget = budget.saturating_sub(1);
            if let Some(berth) = self.berth(now, backend, model_id)
                && best.as_ref().is_none_or(|best| berth.order(best).is_lt())
            {
                best = Some(berth);
            }
        };
        if model.on_disk.len() <= self.spare.len() {
            let there = model.on_disk.iter().filter_map(|id| self.backends.get(id));
            there.filter(usable).take(SAMPLE).for_each(&mut weigh);
        } else {
            // The emptiest come first.
            let there = self
                .spare
                .iter()
                .filter_map(|(_, id)| self.backends.get(id));
            there.filter(usable).take(SAMPLE).for_each(&mut weigh);
        }
        best
    }

    /// What loading the model on this backend would be like; `None` if what would have to go must stay.
    fn berth(&self, now: Duration, backend: &Backend, model: ModelId) -> Option<Berth> {
        let vram = self.vram(backend, model);
        let victims = backend.victims(vram)?;
        if !self.may_go(now, backend, &victims) {
            return None;
        }
        let takes = self.load_time(backend, model);
        let harm: f64 = victims
            .iter()
            .map(|victim| self.harm(now, backend, victim.model))
            .sum();
        let victims = victims.iter().map(|victim| victim.model).collect();
        let cold = ColdStart {
            model,
            takes,
            vram,
            victims,
        };
        Some(Berth {
            backend: backend.id,
            cost: takes + harm,
            cold,
        })
    }

    fn may_go(&self, now: Duration, backend: &Backend, victims: &[&Resident]) -> bool {
        victims.iter().all(|victim| {
            let dwell = Duration::from_secs_f64(DWELL * self.load_time(backend, victim.model));
            now >= victim.since.saturating_add(dwell)
                || self.lines.head(LineKey::Model(victim.model)).is_none()
        })
    }

    /// Seconds of waiting that it costs to lose this copy: how likely it will be missed, times what it takes to bring it
    /// back. With other copies it is missed as often as they are busy with its share of the work; without, if anybody
    /// asks for the model within the horizon.
    fn harm(&self, now: Duration, backend: &Backend, victim: ModelId) -> f64 {
        let Some(model) = self.models.get(&victim) else {
            return 0.0;
        };
        let asked = model.arrivals.per_second(now);
        let missed = match model.copies.len().saturating_sub(1) {
            0 => asked * HORIZON,
            others => asked * self.service(Some(victim)) / others as f64,
        };
        missed.min(1.0) * BRING_BACK * self.load_time(backend, victim)
    }

    /// Seconds that loading the model takes: as it has here, as it has elsewhere, or by its size.
    pub(super) fn load_time(&self, backend: &Backend, model: ModelId) -> f64 {
        let here = backend.load_times.get(&model).and_then(|mean| mean.get());
        let anywhere = || {
            self.models
                .get(&model)
                .and_then(|model| model.load_time.get())
        };
        let by_size = || {
            let size = backend.on_disk.get(&model).copied().unwrap_or(0) as f64;
            size / backend.bandwidth.get().unwrap_or(BANDWIDTH)
        };
        here.or_else(anywhere)
            .unwrap_or_else(by_size)
            .clamp(1.0, 3600.0)
    }

    /// Bytes of GPU memory that the model takes: as seen, or its size and a fifth for its context.
    pub(super) fn vram(&self, backend: &Backend, model: ModelId) -> u64 {
        let seen = self.models.get(&model).and_then(|model| model.vram);
        seen.unwrap_or_else(|| {
            let size = backend.on_disk.get(&model).copied().unwrap_or(0);
            size.saturating_add(size / 5)
        })
    }

    /// What a load would look like that a request makes necessary by going where its model is not in memory.
    pub(super) fn forced_load(&self, backend: &Backend, model: ModelId) -> ColdStart {
        let vram = self.vram(backend, model);
        let victims = backend.victims(vram).unwrap_or_default();
        let victims = victims.iter().map(|victim| victim.model).collect();
        ColdStart {
            model,
            takes: self.load_time(backend, model),
            vram,
            victims,
        }
    }
}
