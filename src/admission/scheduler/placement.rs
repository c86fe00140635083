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
use super::backend::Backend;
use super::estimate::SAMPLE;
use super::lines::{LineKey, Place, Waiter};
use super::resident::Resident;
use super::types::Decision;
use crate::ids::{BackendId, ModelId};

/// A model that is waited for stays in memory at least this many times as long as its load has taken, so that even a
/// fleet with far too many models for its memory spends most of its time on answers: with 30 models on the 20 places of
/// `benches/placement`, utilisation 0.7 is stable with 4 and not with 2.
const DWELL: f64 = 4.0;
/// How often loads are weighed again while somebody waits and a backend is idle, though nothing happens.
const RECONSIDER: Duration = Duration::from_secs(1);
/// How soon the weighing goes on that was cut off.
const CONTINUE: Duration = Duration::from_millis(1);
/// While a load of the model runs that all wait for, another has to be worth so many times what it costs: it would take
/// memory for the sake of a few who have been served by then.
const SECOND: f64 = 2.0;
/// Copies and backends that are looked at before one decision is cut off.
const BUDGET: usize = 64;

/// A cold load that is about to begin.
#[derive(Debug)]
pub(super) struct ColdStart {
    pub(super) model: ModelId,
    /// Seconds that it should take.
    pub(super) takes: f64,
    /// Bytes of memory that it should take.
    pub(super) vram: u64,
    pub(super) context: Option<u32>,
    /// What it should push out.
    pub(super) victims: Vec<ModelId>,
}

/// Where a model could be loaded.
pub(super) struct Berth {
    pub(super) backend: BackendId,
    /// Load and harm, in seconds.
    pub(super) cost: f64,
    pub(super) cold: ColdStart,
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

    /// The load that an aged waiter needs whose model is nowhere in memory, if it comes before `first`, who could start
    /// on the backend that has just been freed.
    pub(super) fn rescue(&mut self, now: Duration, first: Option<Place>) -> Option<Decision> {
        if self.spare.is_empty() || self.stranded.is_empty() || self.at_limit() {
            return None;
        }
        let stranded: Vec<_> = self.stranded.iter().copied().collect();
        for line in stranded {
            let aged = self.lines.head(line).filter(Place::aged);
            let (LineKey::Model(model), Some(head)) = (line, aged) else {
                self.stranded.remove(&line);
                continue;
            };
            if self
                .models
                .get(&model)
                .is_none_or(|model| !model.copies.is_empty())
            {
                self.stranded.remove(&line);
            } else if first.is_none_or(|first| head < first)
                && let Some(decision) = self.load(now, model, &mut BUDGET.clone())
            {
                return Some(decision);
            }
        }
        None
    }

    /// The next load that is worth its while, if any.
    pub(super) fn next_load(&mut self, now: Duration) -> Option<Decision> {
        if self.reconsider_at.take_if(|at| *at <= now).is_some() && self.unweighed == 0 {
            self.reweigh();
        }
        if self.lines.is_empty() || self.spare.is_empty() || self.at_limit() {
            self.to_weigh.clear();
            self.unweighed = 0;
            self.reconsider_at = None;
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
        let next = now.saturating_add(pause);
        // Events that come more often than that, such as probes, do not put it off.
        self.reconsider_at = Some(self.reconsider_at.map_or(next, |at| at.min(next)));
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
        let second = self.loads.values().any(|own| own.model == model);
        if wait <= best.cost * if second { SECOND } else { 1.0 } {
            return None;
        }
        if self.own_loads {
            let rider = rider.ticket;
            return Some(self.begin_load(now, rider, best));
        }
        let waiter = self
            .lines
            .remove(rider.ticket)
            .expect("the rider was just seen in its line");
        Some(self.start(now, waiter, best.backend, Some(best.cold)))
    }

    /// Returns the request for which a load would be begun, and how many seconds it would wait otherwise.
    fn rider(&self, now: Duration, model: ModelId, budget: &mut usize) -> Option<(&Waiter, f64)> {
        let copies = &self.models.get(&model)?.copies;
        let waiters = || {
            self.lines
                .waiters(LineKey::Model(model))
                .map(|(_, waiter)| waiter)
        };
        // Those who have been tried on every copy are at the front, since they have kept their places.
        let barred = |waiter: &Waiter, id: &BackendId| {
            let backend = self.backends.get(id);
            backend.is_none_or(|backend| !waiter.may_use(backend.spec.provider, *id))
        };
        let tried_on_all = |waiter: &Waiter| copies.iter().all(|id| barred(waiter, id));
        let stranded = waiters().take_while(|waiter| copies.is_empty() || !waiter.goes_anywhere());
        if let Some(waiter) = stranded.take(SAMPLE).find(|waiter| tried_on_all(waiter)) {
            return Some((waiter, f64::INFINITY));
        }
        let last = waiters().next_back()?;
        *budget = budget.saturating_sub(copies.len().min(SAMPLE));
        Some((last, self.expected_wait(now, model, last)))
    }

    /// Where loading the model costs least, among those where it could be loaded at once. Equal costs: where less has to
    /// go.
    pub(super) fn best_berth(
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
                && !backend.pauses(now, model_id)
                && rider.may_use(backend.spec.provider, backend.id)
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
            context: None,
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

    /// What a load would look like that a request makes necessary by going where its model is not in memory.
    pub(super) fn forced_load(&self, backend: &Backend, model: ModelId) -> ColdStart {
        let vram = self.vram(backend, model);
        let victims = backend.victims(vram).unwrap_or_default();
        let victims = victims.iter().map(|victim| victim.model).collect();
        ColdStart {
            model,
            takes: self.load_time(backend, model),
            vram,
            context: None,
            victims,
        }
    }
}
