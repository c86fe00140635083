//! How long things take, in seconds, by what has been learned: a wait, a load, the harm of an eviction.

use std::time::Duration;

use super::Scheduler;
use super::backend::{Backend, Job};
use super::lines::{LineKey, Waiter};
use super::resident::{ANY, Loading, Resident};
use crate::ids::{BackendId, ModelId};

/// Bytes per second at which a model loads until a load has been seen: a fast disk.
const BANDWIDTH: f64 = 1e9;
/// Seconds that a request is taken to hold its slot until one has been seen.
const SERVICE: f64 = 5.0;
/// How many times as long a request takes on the CPU as on a GPU, less one.
pub(super) const CPU: f64 = 9.0;
/// A request that has run for this many times the usual is taken to be a long one.
const LONG: f64 = 3.0;
/// Seconds within which a model that has lost its last copy will be asked for again, or it was no loss.
const HORIZON: f64 = 60.0;
/// A lost copy costs its reload, and the eviction that this takes about as much again.
const BRING_BACK: f64 = 2.0;
/// Copies of a model, or backends to load it on, that are looked at; where there are more, these stand for all.
pub(super) const SAMPLE: usize = 32;

/// Seconds in which a slot that is free is taken: no wait is divided by less.
pub(super) const AT_ONCE: f64 = 1e-3;

/// What several backends do for one line, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pool {
    /// Slots that come free in a second, to begin with.
    pub(super) freed: f64,
    /// Slots that are free or about to be.
    pub(super) open: f64,
    /// Requests of the line's model that these could serve in a second.
    pub(super) served: f64,
    /// What the line has of that: others wait for the same backends.
    pub(super) shared: f64,
}

impl Pool {
    /// Returns the estimate for so many times as many backends.
    pub(super) fn scaled(self, times: f64) -> Self {
        Self {
            freed: self.freed * times,
            open: self.open * times,
            served: self.served * times,
            shared: self.shared * times,
        }
    }

    /// Seconds until the last of `line` requests gets a slot: `1/freed + max(line/shared - max(open, 1)/served, 0)`.
    ///
    /// The first slot is free after `1 / Σ 1/residual`, with as many others as are open there. From then on the line
    /// shortens by what the backends serve, and of each backend it has the share that it has of those who wait for it.
    pub(super) fn wait(&self, line: f64) -> f64 {
        if self.shared <= 0.0 {
            return f64::INFINITY;
        }
        1.0 / self.freed + (line / self.shared - self.open.max(1.0) / self.served).max(0.0)
    }
}

impl Scheduler {
    /// Seconds until a copy of the model gets to the last in its line; see [`Pool::wait`]. `joining` counts those who are not
    /// in that line yet.
    pub(super) fn expected_wait(
        &self,
        now: Duration,
        model_id: ModelId,
        last: &Waiter,
        joining: usize,
    ) -> f64 {
        let Some(model) = self.models.get(&model_id) else {
            return f64::INFINITY;
        };
        let fitting = model.count_for(last.tokens());
        if fitting == 0 {
            return f64::INFINITY;
        }
        let rivals = self.rivals(model_id, last.tokens(), fitting == model.copies.len());
        let line = (rivals + joining) as f64;
        let newcomers = joining as f64 / model.copies.len() as f64;
        let waiting = |held| {
            let more = if held == model_id { newcomers } else { 0.0 };
            self.waiting_per_copy(held) + more
        };
        let service = self.service(Some(model_id));
        let mut pool = Pool::default();
        let mut seen = 0.0;
        for id in model.copies_for(last.tokens()).take(SAMPLE) {
            seen += 1.0;
            let Some(backend) = self.backends.get(&id) else {
                continue;
            };
            if !last.may_use(backend.spec.provider, id) {
                continue;
            }
            let share = if backend.is_shared() {
                let here: f64 = backend.held().map(waiting).sum();
                waiting(model_id) / here.max(f64::MIN_POSITIVE)
            } else {
                1.0
            };
            let copy = backend.resident(model_id);
            let service = service * copy.map_or(1.0, |copy| self.slower(copy));
            let rate = f64::from(backend.places(Some(model_id))) / service;
            pool.freed += 1.0 / self.free_in(now, backend, Some(model_id)).max(AT_ONCE);
            pool.open += f64::from(backend.open(Some(model_id)));
            pool.served += rate;
            pool.shared += rate * share;
        }
        pool.scaled(fitting as f64 / seen).wait(line)
    }

    /// How many times as long as usual a request takes on the copy.
    pub(super) fn slower(&self, copy: &Resident) -> f64 {
        (1.0 + CPU * copy.spilled()) * copy.slowness
    }

    pub(super) fn waiting_per_copy(&self, model: ModelId) -> f64 {
        let copies = self
            .models
            .get(&model)
            .map_or(1, |model| model.copies.len().max(1));
        self.lines.count_for(model) as f64 / copies as f64
    }

    /// How many wait for the copies of the model that hold so many tokens: all, if `every` copy does, or else those that
    /// need as much.
    fn rivals(&self, model: ModelId, tokens: u32, every: bool) -> usize {
        if every {
            return self.lines.count_for(model);
        }
        let lines = self.lines.of_model(model).filter(|line| match line {
            LineKey::Model(_, class) => class.most() >= tokens,
            _ => false,
        });
        lines.map(|line| self.lines.count(line)).sum()
    }

    /// Seconds until a request for the model, or any, can start in a slot of the backend. What runs is taken to be memoryless, up to a
    /// point: one that has run for `LONG` times the usual will go on for as long as it has exceeded that. So will a load that
    /// takes longer than expected.
    pub(super) fn free_in(&self, now: Duration, backend: &Backend, model: Option<ModelId>) -> f64 {
        let loading = |model| backend.loading.filter(|_| !backend.holds(model));
        let awaited = match model {
            Some(model) => loading(model),
            None => None,
        };
        if backend.open(model) > 0 {
            return awaited.map_or(0.0, |loading| {
                let overdue = now.saturating_sub(loading.until);
                let left = loading.until.saturating_sub(now);
                (left + overdue).as_secs_f64()
            });
        }
        let full = backend.open(None) == 0;
        let blocks = |job: &&Job| full || job.model == model;
        let own = self.service(model);
        let rate: f64 = backend
            .jobs
            .iter()
            .filter(blocks)
            .map(|job| {
                let service = if job.model == model {
                    own
                } else {
                    self.service(job.model)
                };
                let loads = |loading: &Loading| loading.ticket == job.ticket;
                let (load, ran) = match backend.loading.filter(loads) {
                    Some(loading) => (
                        loading.until.saturating_sub(now).as_secs_f64(),
                        now.saturating_sub(loading.until).as_secs_f64(),
                    ),
                    None => (0.0, now.saturating_sub(job.started).as_secs_f64()),
                };
                1.0 / (load + service + (ran - LONG * service).max(0.0))
            })
            .sum();
        1.0 / rate
    }

    /// How long a request for the model usually holds its slot, once that has been seen.
    pub fn usual(&self, model: ModelId) -> Option<Duration> {
        let service = self.models.get(&model)?.service.get()?;
        Duration::try_from_secs_f64(service).ok()
    }

    /// How long loading the model there is expected to take.
    pub fn expected_load(&self, backend: BackendId, model: ModelId) -> Duration {
        let backend = self.backends.get(&backend);
        let seconds = backend.map_or(0.0, |backend| self.load_time(backend, model));
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    pub(super) fn service(&self, model: Option<ModelId>) -> f64 {
        let own = model.and_then(|model| self.models.get(&model)?.service.get());
        own.or(self.service.get()).unwrap_or(SERVICE).max(1e-3)
    }

    /// Seconds of waiting that it costs to lose this copy: how likely it will be missed, times what it takes to bring it
    /// back. With other copies it is missed as often as they are busy with its share of the work; without, if anybody
    /// asks for the model within the horizon.
    pub(super) fn harm(&self, now: Duration, backend: &Backend, victim: ModelId) -> f64 {
        let Some(model) = self.models.get(&victim) else {
            return 0.0;
        };
        let asked = model.arrivals.per_second(now);
        let tokens = backend.resident(victim).map_or(0, |copy| copy.tokens);
        let missed = match model.count_for(tokens).saturating_sub(1) {
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
            let size = backend.bytes(model) as f64;
            size / backend.bandwidth.get().unwrap_or(BANDWIDTH)
        };
        here.or_else(anywhere)
            .unwrap_or_else(by_size)
            .clamp(1.0, 3600.0)
    }

    /// Bytes of memory that the model takes with a context of so many tokens: as learned for that, as seen at most, or its
    /// size and a fifth for its context.
    pub(super) fn vram(&self, backend: &Backend, model: ModelId, tokens: u32) -> u64 {
        let size = backend.bytes(model);
        let known = self.models.get(&model);
        let learned = known.filter(|_| tokens < ANY);
        let learned = learned.and_then(|model| model.footprint.size(size, tokens));
        let seen = || known.and_then(|model| model.vram);
        learned
            .or_else(seen)
            .unwrap_or_else(|| size.saturating_add(size / 5))
    }
}
