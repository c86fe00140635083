//! How long a request that arrives now would wait for its slot: asked before it queues, where it could go elsewhere.
//!
//! The same sum as for those who wait already (see [`Pool::wait`]), for a line in which the request stands behind all
//! that go before it. A load that it would begin at once is no wait: the server is at work for it.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::estimate::{AT_ONCE, Pool, SAMPLE};
use super::lines::{LineKey, Waiter};
use super::types::{Arrival, Scope};
use crate::ids::{BackendId, ModelId, ProviderId};

/// No wait is told to be longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// When a request could be at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outlook {
    pub start: Duration,
    /// It would begin to load its model at once.
    pub loads: bool,
}

impl Outlook {
    fn after(seconds: f64, loads: bool) -> Self {
        let start = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST);
        Self {
            start: start.min(LONGEST),
            loads,
        }
    }
}

/// A provider's limit on requests at once, as far as it concerns some of its backends.
#[derive(Clone, Copy, Debug)]
struct Bound {
    provider: ProviderId,
    /// The share of their slots that may be used.
    part: f64,
    /// Nothing may start now.
    full: bool,
    in_flight: usize,
}

impl Scheduler {
    /// How long a request would wait for its slot if it arrived now. `None` if there is no saying: nothing that could
    /// serve it is healthy, nothing has been learned yet of how long requests take, or the wait is for the limit on all
    /// requests together.
    pub fn forecast(&self, now: Duration, arrival: Arrival, scope: Scope) -> Option<Duration> {
        let waiter = self.newcomer(now, arrival, scope);
        if self.ready_backend_of(&waiter).is_some() {
            return Some(Duration::ZERO);
        }
        let model = match waiter.line() {
            LineKey::Model(model, _) => Some(model),
            _ => None,
        };
        let serving = self.serving(&waiter);
        if serving.is_empty() || self.at_limit() || !self.has_served(model) {
            return None;
        }
        let wait = self.wait_among(now, &serving, &waiter);
        if self.would_load(now, model, &serving, &waiter, wait) {
            return Some(Duration::ZERO);
        }
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(LONGEST);
        Some(wait.min(LONGEST))
    }

    /// When a request that arrived now could be at work, a load that it needs included; to compare several models of which
    /// any will do. `None`: nothing that could serve it is healthy.
    pub fn outlook(&self, now: Duration, arrival: Arrival, scope: Scope) -> Option<Outlook> {
        let waiter = self.newcomer(now, arrival, scope);
        if self.ready_backend_of(&waiter).is_some() {
            return Some(Outlook::default());
        }
        let serving = self.serving(&waiter);
        if serving.is_empty() {
            return None;
        }
        let wait = self.wait_among(now, &serving, &waiter);
        let LineKey::Model(model, _) = waiter.line() else {
            return Some(Outlook::after(wait, false));
        };
        let is_there = |one: &&Backend| !one.placed() || holds_or_loads(one, model, &waiter);
        let at_hand = serving.iter().any(is_there);
        let berth = if self.spare.is_empty() || self.at_limit() {
            None
        } else {
            self.best_berth(now, model, &waiter, &mut 0)
        };
        let load = |backend: &&Backend| self.load_time(backend, model);
        Some(match (berth, at_hand) {
            (Some(berth), _) if !at_hand || berth.cost < wait => Outlook::after(berth.cost, true),
            (_, true) => Outlook::after(wait, false),
            (_, false) => Outlook::after(wait + serving.first().map_or(0.0, load), false),
        })
    }

    /// Healthy backends that the request would wait for: those that need to load nothing, or else all that could.
    fn serving(&self, waiter: &Waiter) -> Vec<&Backend> {
        let usable = |backend: &&Backend| {
            backend.healthy && !backend.gone && waiter.may_use(backend.spec.provider, backend.id)
        };
        let find = |id: &BackendId| self.backends.get(id);
        match waiter.line() {
            LineKey::Unlisted => Vec::new(),
            LineKey::Pinned(id) => find(&id).into_iter().filter(usable).collect(),
            LineKey::Any => self.backends.values().filter(usable).collect(),
            LineKey::Model(model_id, _) => {
                let Some(model) = self.models.get(&model_id) else {
                    return Vec::new();
                };
                let able = || model.on_disk.iter().filter_map(find).filter(usable);
                let ready = |one: &&Backend| !one.placed() || holds_or_loads(one, model_id, waiter);
                let at_hand: Vec<_> = able().filter(ready).collect();
                if at_hand.is_empty() {
                    able().collect()
                } else {
                    at_hand
                }
            }
        }
    }

    fn wait_among(&self, now: Duration, serving: &[&Backend], waiter: &Waiter) -> f64 {
        let line = waiter.line();
        let model = match line {
            LineKey::Model(model, _) => Some(model),
            _ => None,
        };
        let service = self.service(model);
        let waiting = model.map_or_else(
            || self.lines.count(line),
            |model| self.lines.count_for(model),
        );
        let mine = (waiting + 1) as f64 / serving.len() as f64;
        let mut bounds: Vec<Bound> = Vec::new();
        let mut pool = Pool::default();
        for backend in serving.iter().take(SAMPLE) {
            let provider = backend.spec.provider;
            let known = bounds.iter().position(|bound| bound.provider == provider);
            let bound = known.unwrap_or_else(|| {
                bounds.push(self.bound(provider, serving));
                bounds.len() - 1
            });
            let Bound { part, full, .. } = bounds[bound];
            let rate = f64::from(backend.places(model)) / service * part;
            pool.served += rate;
            pool.shared += rate * mine / (mine + self.others_at(backend, line));
            if !full {
                pool.freed += 1.0 / self.free_in(now, backend, model).max(AT_ONCE);
                pool.open += f64::from(backend.open(model));
            }
        }
        let seen = serving.len().min(SAMPLE) as f64;
        let mut pool = pool.scaled(serving.len() as f64 / seen);
        // What is free there is of no use until something of the whole provider ends.
        for bound in bounds.iter().filter(|bound| bound.full) {
            pool.freed += bound.in_flight as f64 / self.service(None);
        }
        let lines = model.map_or_else(|| vec![line], |model| self.lines.of_model(model).collect());
        let priority = waiter.arrival.priority;
        let before = lines
            .into_iter()
            .flat_map(|line| self.lines.before(line, priority));
        let rivals = before.filter(|other| {
            let mut shared = serving.iter().take(SAMPLE);
            shared.any(|backend| other.may_use(backend.spec.provider, backend.id))
        });
        pool.wait((rivals.count() + 1) as f64)
    }

    /// Whether the request would begin a load at once, which is no wait for a slot.
    fn would_load(
        &self,
        now: Duration,
        model: Option<ModelId>,
        serving: &[&Backend],
        waiter: &Waiter,
        wait: f64,
    ) -> bool {
        let Some(model) = model.filter(|_| !self.spare.is_empty()) else {
            return false;
        };
        let nowhere = !serving.iter().any(|one| holds_or_loads(one, model, waiter));
        let berth = self.best_berth(now, model, waiter, &mut 0);
        berth.is_some_and(|berth| nowhere || berth.cost < wait)
    }

    /// Whether anything has been learned of how long requests hold their slots.
    fn has_served(&self, model: Option<ModelId>) -> bool {
        let own = model.and_then(|model| self.models.get(&model)?.service.get());
        own.or(self.service.get()).is_some()
    }

    /// What the limit on a provider leaves of those of its backends.
    fn bound(&self, provider: ProviderId, serving: &[&Backend]) -> Bound {
        let mine = serving.iter().filter(|one| one.spec.provider == provider);
        let slots = mine.fold(0, |sum: u32, one| {
            sum.saturating_add(one.slots().min(one.capacity()))
        });
        let limit = self.provider_limit(provider);
        Bound {
            provider,
            part: limit.map_or(1.0, |limit| {
                (limit as f64 / f64::from(slots.max(1))).min(1.0)
            }),
            full: self.provider_at_limit(provider),
            in_flight: self
                .providers
                .get(&provider)
                .map_or(0, |provider| provider.in_flight),
        }
    }

    /// How many wait for this backend in other lines, each line's waiters spread over all that serve it.
    fn others_at(&self, backend: &Backend, line: LineKey) -> f64 {
        if backend.placed() {
            let held = backend.held().filter(|held| Some(*held) != line.model());
            return held.map(|held| self.waiting_per_copy(held)).sum();
        }
        let spread = |other: LineKey| {
            let over = match other {
                LineKey::Model(model, _) if backend.has(model) => self
                    .models
                    .get(&model)
                    .map_or(1, |model| model.healthy.max(1)),
                LineKey::Any => self.healthy.max(1),
                LineKey::Pinned(id) if id == backend.id => 1,
                _ => return 0.0,
            };
            self.lines.count(other) as f64 / over as f64
        };
        let others = self.lines.keys().filter(|other| *other != line);
        others.take(SAMPLE).map(spread).sum()
    }
}

fn holds_or_loads(backend: &Backend, model: ModelId, waiter: &Waiter) -> bool {
    let mut copies = backend.copies();
    copies.any(|(held, tokens)| held == model && tokens >= waiter.tokens())
}
