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

use super::backend::Backend;
use super::contexts::Terms;
use super::estimate::{CPU, SAMPLE};
use super::lines::{LineKey, Place, Waiter};
use super::model::Model;
use super::resident::{ANY, OwnLoad, Plan, Resident};
use super::types::{BerthRule, Decision, Need, Ticket};
use super::{BURST, Scheduler};
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
/// Backends among which those are looked for that could load a model.
const SCAN: usize = 128;
/// Copies and backends that are looked at in a second for all loads that are weighed: about 0.2 µs each.
const LOOKS: f64 = 2500.0;
/// Lines that are remembered to have just changed; with more, all are weighed in turn.
const CHANGED: usize = 64;

/// A cold load that is about to begin.
#[derive(Debug)]
pub(super) struct ColdStart {
    pub(super) model: ModelId,
    /// Seconds that it should take.
    pub(super) takes: f64,
    /// Bytes of memory that it should take.
    pub(super) vram: u64,
    pub(super) plan: Plan,
    /// What it would be without the context that the client states, where that makes a difference.
    pub(super) unstated: Option<Plan>,
    /// What it should push out.
    pub(super) victims: Vec<ModelId>,
}

/// With which context a model would be loaded, and the bytes of memory that it would take.
#[derive(Clone, Copy, Debug)]
struct Size {
    plan: Plan,
    vram: u64,
}

/// Where a model could be loaded.
pub(super) struct Berth {
    pub(super) backend: BackendId,
    /// It is used only where there is no other.
    overflow: bool,
    /// Load and harm, in seconds.
    pub(super) cost: f64,
    pub(super) cold: ColdStart,
}

impl Berth {
    fn order(&self, other: &Self) -> Ordering {
        let victims = |berth: &Self| berth.cold.victims.len();
        (self.overflow.cmp(&other.overflow))
            .then(self.cost.total_cmp(&other.cost))
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
        self.refill(now);
        if self.looks < 1.0 {
            return None;
        }
        let stranded: Vec<_> = self.stranded.iter().copied().collect();
        self.looks -= stranded.len() as f64;
        for line in stranded {
            let aged = self.lines.head(line).filter(Place::aged);
            let first_in_line = self.lines.waiters(line).next();
            let tokens = first_in_line.map_or(0, |(_, waiter)| waiter.tokens());
            let (LineKey::Model(model, _), Some(head)) = (line, aged) else {
                self.stranded.remove(&line);
                continue;
            };
            if self
                .models
                .get(&model)
                .is_none_or(|model| model.has_copy_for(tokens))
            {
                self.stranded.remove(&line);
            } else if first.is_none_or(|first| head < first)
                && let Some(decision) = self.load(now, line, model)
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
        self.refill(now);
        if self.to_weigh.len() > CHANGED {
            self.to_weigh.clear();
            self.reweigh();
        }
        while self.looks >= 1.0 {
            let Some(line) = self.next_to_weigh() else {
                break;
            };
            if let LineKey::Model(model, _) = line
                && let Some(decision) = self.load(now, line, model)
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

    /// Weighing costs more than all else, and is worth it no more often than this, however many events there are.
    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.looked_at).as_secs_f64();
        self.looks = (self.looks + passed * LOOKS).min(BURST);
        self.looked_at = now;
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

    /// Begins a load for somebody in a line of the model, if that is worth its while.
    fn load(&mut self, now: Duration, line: LineKey, model: ModelId) -> Option<Decision> {
        let mut looks = 1;
        let found = self.worthwhile(now, line, model, &mut looks);
        self.looks -= looks as f64;
        let (rider, best) = found?;
        if self.own_loads {
            self.tell_load(now, rider, best.backend);
            return Some(self.begin_load(now, rider, best));
        }
        let waiter = self
            .lines
            .remove(rider)
            .expect("the rider was just seen in its line");
        Some(self.start(now, waiter, best.backend, Some(best.cold)))
    }

    /// Returns for whom a load is to be begun, and where, if it is worth its while.
    fn worthwhile(
        &self,
        now: Duration,
        line: LineKey,
        model_id: ModelId,
        looks: &mut usize,
    ) -> Option<(Ticket, Berth)> {
        let (rider, wait) = self.rider(now, line, model_id, looks)?;
        let mut best = self.best_berth(now, model_id, rider, looks)?;
        if !self.is_worthwhile(model_id, rider, wait, &best) {
            return None;
        }
        let backend = &self.backends[&best.backend];
        let need = rider.arrival.need;
        best.cold.unstated = self.unstated(backend, model_id, need, best.cold.plan);
        Some((rider.ticket, best))
    }

    /// Whether a load costs less than the request would wait otherwise, in seconds.
    pub(super) fn is_worthwhile(
        &self,
        model: ModelId,
        rider: &Waiter,
        wait: f64,
        berth: &Berth,
    ) -> bool {
        let times = if self.is_second(model, rider) {
            SECOND
        } else {
            1.0
        };
        wait > berth.cost * times
    }

    /// Whether a load is under way that would serve the request.
    pub(super) fn is_second(&self, model_id: ModelId, rider: &Waiter) -> bool {
        let rides = |own: &OwnLoad| own.model == model_id && own.tokens >= rider.tokens();
        let known = self.models.get(&model_id);
        known.is_some_and(|model| model.loading > 0) && self.loads.values().any(rides)
    }

    /// Returns the request for which a load would be begun, and how many seconds it would wait otherwise.
    fn rider(
        &self,
        now: Duration,
        line: LineKey,
        model_id: ModelId,
        looks: &mut usize,
    ) -> Option<(&Waiter, f64)> {
        let model = self.models.get(&model_id)?;
        let waiters = || self.lines.waiters(line).map(|(_, waiter)| waiter);
        // Those who have been tried on every copy are at the front, since they have kept their places.
        let stranded = waiters().take_while(|waiter| model.may_strand(waiter));
        let mut stranded = stranded.take(SAMPLE);
        if let Some(waiter) = stranded.find(|waiter| self.is_tried_on_all(model, waiter)) {
            return Some((waiter, f64::INFINITY));
        }
        let last = waiters().next_back()?;
        *looks += model.copies.len().min(SAMPLE);
        Some((last, self.expected_wait(now, model_id, last, 0)))
    }

    /// Whether there is no copy that the request could still be tried on.
    fn is_tried_on_all(&self, model: &Model, waiter: &Waiter) -> bool {
        let barred = |id: BackendId| {
            let backend = self.backends.get(&id);
            backend.is_none_or(|backend| !waiter.may_use(backend.spec.provider, id))
        };
        model.copies_for(waiter.tokens()).all(barred)
    }

    /// Seconds until a copy gets to the request; `joining` is 1 for one that is in no line yet, and 0 for one that is.
    pub(super) fn wait_for_copy(
        &self,
        now: Duration,
        model_id: ModelId,
        waiter: &Waiter,
        joining: usize,
    ) -> f64 {
        let known = self.models.get(&model_id);
        let stranded =
            |model: &Model| model.may_strand(waiter) && self.is_tried_on_all(model, waiter);
        if known.is_none_or(stranded) {
            return f64::INFINITY;
        }
        self.expected_wait(now, model_id, waiter, joining)
    }

    /// Where loading the model costs least, among those where it could be loaded at once. Equal costs: where less has to
    /// go.
    pub(super) fn best_berth<'a>(
        &'a self,
        now: Duration,
        model_id: ModelId,
        rider: &Waiter,
        looks: &mut usize,
    ) -> Option<Berth> {
        let model = self.models.get(&model_id)?;
        let usable = |backend: &&Backend| self.may_load_on(now, backend, model_id, rider);
        let mut best: Option<Berth> = None;
        let need = rider.arrival.need;
        let (mut seen, mut berths) = (0, 0);
        let mut sized = None;
        let mut weigh = |backend: &'a Backend| {
            berths += 1;
            let size = self.size(backend, model_id, need, &mut sized);
            if let Some(berth) = size.and_then(|size| self.berth_of(now, backend, model_id, size))
                && best.as_ref().is_none_or(|best| berth.order(best).is_lt())
            {
                best = Some(berth);
            }
        };
        if model.on_disk.len() <= self.spare.len() {
            let there = model.on_disk.iter().filter_map(|id| self.backends.get(id));
            let there = there.take(SCAN).inspect(|_| seen += 1).filter(usable);
            there.take(SAMPLE).for_each(&mut weigh);
        } else {
            // The emptiest come first.
            let there = self
                .spare
                .iter()
                .filter_map(|(_, id)| self.backends.get(id));
            let there = there.take(SCAN).inspect(|_| seen += 1).filter(usable);
            there.take(SAMPLE).for_each(&mut weigh);
        }
        // To leave one out costs less than to weigh it.
        *looks += berths + seen / 4;
        best
    }

    /// Whether the model may be loaded there now for the request, if what has to go for it may.
    pub(super) fn may_load_on(
        &self,
        now: Duration,
        backend: &Backend,
        model: ModelId,
        rider: &Waiter,
    ) -> bool {
        backend.spare()
            && backend.has(model)
            && backend
                .resident(model)
                .is_none_or(|copy| copy.tokens < rider.tokens())
            && backend.pause(now, model).is_none()
            && !backend.is_sick(model)
            && rider.may_use(backend.spec.provider, backend.id)
            && !self.provider_at_limit(backend.spec.provider)
    }

    /// What loading the model on this backend would be like; `None` if what would have to go must stay.
    pub(super) fn berth(
        &self,
        now: Duration,
        backend: &Backend,
        model: ModelId,
        need: Need,
    ) -> Option<Berth> {
        let size = self.size(backend, model, need, &mut None)?;
        self.berth_of(now, backend, model, size)
    }

    /// Does what [`Self::berth`] does, where it is known how large the model would be.
    fn berth_of(
        &self,
        now: Duration,
        backend: &Backend,
        model: ModelId,
        Size { plan, vram }: Size,
    ) -> Option<Berth> {
        let rule = backend.on_disk.get(&model)?.berth;
        if rule == BerthRule::Never {
            return None;
        }
        let victims = backend.victims(model, vram)?;
        if !self.may_go(now, backend, model, &victims) {
            return None;
        }
        let takes = self.load_time(backend, model);
        let detour = if rule == BerthRule::Second {
            takes
        } else {
            0.0
        };
        let harm: f64 = victims
            .iter()
            .map(|victim| self.harm(now, backend, victim.model))
            .sum();
        let victims = victims.iter().map(|victim| victim.model).collect();
        let cold = ColdStart {
            model,
            takes,
            vram,
            plan,
            unstated: None,
            victims,
        };
        Some(Berth {
            backend: backend.id,
            overflow: rule == BerthRule::Overflow,
            cost: takes + detour + harm + self.spill(backend, model, vram),
            cold,
        })
    }

    /// How large the model would be there; `last` keeps what was found for the server before, which is mostly like this one.
    fn size<'a>(
        &self,
        backend: &'a Backend,
        model: ModelId,
        need: Need,
        last: &mut Option<(Terms<'a>, Option<Size>)>,
    ) -> Option<Size> {
        let terms = backend.terms(model);
        if let Some((known, size)) = last
            && *known == terms
        {
            return *size;
        }
        let size = self.plan_by(terms, model, need).map(|plan| Size {
            plan,
            vram: self.vram(backend, model, plan.tokens),
        });
        *last = Some((terms, size));
        size
    }

    /// Seconds that it costs the requests of the model if it does not fit into the GPU's memory, so that a part of it runs on
    /// the CPU.
    fn spill(&self, backend: &Backend, model: ModelId, size: u64) -> f64 {
        let outside = backend
            .spec
            .vram
            .map_or(0, |vram| size.saturating_sub(vram));
        let share = outside as f64 / size.max(1) as f64;
        self.service(Some(model)) * CPU * share
    }

    fn may_go(
        &self,
        now: Duration,
        backend: &Backend,
        model: ModelId,
        victims: &[&Resident],
    ) -> bool {
        // The copy that the load replaces comes back larger.
        let mut others = victims.iter().filter(|victim| victim.model != model);
        others.all(|victim| {
            let dwell = Duration::from_secs_f64(DWELL * self.load_time(backend, victim.model));
            now >= victim.since.saturating_add(dwell) || self.lines.count_for(victim.model) == 0
        })
    }

    /// What a load would look like that a request makes necessary by going where its model is not in memory.
    pub(super) fn forced_load(&self, backend: &Backend, model: ModelId, need: Need) -> ColdStart {
        let unplanned = Plan {
            context: None,
            tokens: ANY,
        };
        let plan = self.plan(backend, model, need).unwrap_or(unplanned);
        let vram = self.vram(backend, model, plan.tokens);
        let victims = backend.victims(model, vram).unwrap_or_default();
        let victims = victims.iter().map(|victim| victim.model).collect();
        ColdStart {
            model,
            takes: self.load_time(backend, model),
            vram,
            plan,
            unstated: None,
            victims,
        }
    }
}
