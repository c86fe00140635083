//! Loads of the gateway's own: they hold no request, whoever waits for the copy stays in line, and what fails is left alone
//! for a while.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::lines::{LineKey, Waiter};
use super::model::Model;
use super::placement::{Berth, ColdStart};
use super::resident::{Loading, OwnLoad};
use super::types::{Arrival, BerthRule, Decision, ExpectedStart, LoadView, NoSlot, Ticket, Wanted};
use crate::ids::{BackendId, ModelId};

/// The longest pause after loads that have failed in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

impl Scheduler {
    /// From now on loads are begun for nobody in particular: see [`Decision::Load`].
    pub fn own_loads(&mut self, now: Duration) {
        self.own_loads = true;
        let backends: Vec<_> = self.backends.keys().copied().collect();
        for id in backends {
            self.update(now, id, |backend| backend.own_loads = true);
        }
    }

    /// The load has ended well: the model is in memory. Tickets of loads that are not known are ignored.
    pub fn load_done(&mut self, now: Duration, load: Ticket) {
        let Some(own) = self.loads.remove(&load) else {
            return;
        };
        let seconds = now.saturating_sub(own.since).as_secs_f64();
        let id = own.backend;
        if let Some(model) = self.models.get_mut(&own.model) {
            model.loading = model.loading.saturating_sub(1);
            model.load_time.add(seconds);
            model.failed.remove(&id);
        }
        self.update(now, id, |backend| {
            backend.failed.remove(&own.model);
            backend
                .load_times
                .entry(own.model)
                .or_default()
                .add(seconds);
            if backend.has(own.model) && seconds > 0.0 {
                backend
                    .bandwidth
                    .add(backend.bytes(own.model) as f64 / seconds);
            }
            if backend
                .loading
                .is_some_and(|loading| loading.ticket == load)
            {
                backend.end_load(now);
            }
        });
        self.note_freed(id);
        self.reweigh();
    }

    /// The load has come to nothing. It is not tried again on that backend for a while, which doubles each time. Tickets of
    /// loads that are not known are ignored.
    pub fn load_failed(&mut self, now: Duration, load: Ticket) {
        let Some(own) = self.loads.remove(&load) else {
            return;
        };
        let id = own.backend;
        if let Some(model) = self.models.get_mut(&own.model) {
            model.loading = model.loading.saturating_sub(1);
        }
        let noted = self.update(now, id, |backend| {
            backend.loading.take_if(|loading| loading.ticket == load);
            if backend.has(own.model) {
                let failed = backend.failed.entry(own.model).or_default();
                failed.load.add(now, LONGEST_PAUSE);
            }
            backend.has(own.model)
        });
        if noted == Some(true)
            && let Some(model) = self.models.get_mut(&own.model)
        {
            model.failed.insert(id);
        }
        let lines: Vec<_> = self.lines.of_model(own.model).collect();
        self.refuse_hopeless(now, lines);
        self.note_freed(id);
        self.reweigh();
    }

    /// The load cannot be had with the context that is asked for. If a client has stated that, the load goes on for the others who
    /// wait for it: returns the context in tokens to ask for instead, of which `None` leaves it to the backend. Otherwise
    /// returns `None`, and so it does for tickets of loads that are not known.
    pub fn load_without_stated(&mut self, now: Duration, load: Ticket) -> Option<Option<u32>> {
        let own = self.loads.get_mut(&load)?;
        let plan = own.unstated.take()?;
        let (id, model, stated) = (own.backend, own.model, own.context);
        (own.context, own.tokens) = (plan.context, plan.tokens);
        self.update(now, id, |backend| {
            if let (Some(stated), true) = (stated, backend.has(model)) {
                let least = backend.overstated.entry(model).or_insert(stated);
                *least = stated.min(*least);
            }
            let loading = backend.loading.as_mut();
            if let Some(loading) = loading.filter(|loading| loading.ticket == load) {
                (loading.context, loading.tokens) = (plan.context, plan.tokens);
            }
        });
        self.reweigh();
        Some(plan.context)
    }

    /// The load of the model that will end first, of those that are under way.
    pub fn load_of(&self, now: Duration, model: ModelId) -> Option<LoadView> {
        let of_model = self.loads(now).filter(|load| load.model == model);
        of_model.min_by_key(|load| (load.expected.saturating_sub(load.elapsed), load.backend))
    }

    /// The gateway's own loads that are under way, in no particular order.
    pub fn loads(&self, now: Duration) -> impl Iterator<Item = LoadView> {
        let running = self.loads.iter().filter(|(load, own)| {
            let backend = self.backends.get(&own.backend);
            let loading = backend.and_then(|backend| backend.loading);
            loading.is_some_and(|loading| loading.ticket == **load)
        });
        running.map(move |(_, own)| LoadView {
            backend: own.backend,
            model: own.model,
            elapsed: now.saturating_sub(own.since),
            expected: own.expected,
            context: own.context,
        })
    }

    /// Begins a load. Whoever waits for it stays in line.
    pub(super) fn begin_load(&mut self, now: Duration, rider: Ticket, berth: Berth) -> Decision {
        let load = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let ColdStart {
            model,
            takes,
            vram,
            plan,
            unstated,
            victims,
        } = berth.cold;
        let id = berth.backend;
        let expected = Duration::from_secs_f64(takes);
        self.update(now, id, |backend| {
            let replaces = backend.resident(model).map(|copy| copy.context);
            let loading = Loading {
                model,
                ticket: load,
                own: true,
                until: now.saturating_add(expected),
                vram,
                context: plan.context,
                tokens: plan.tokens,
                replaces,
            };
            backend.start_load(loading, &victims);
        });
        let own = OwnLoad {
            backend: id,
            model,
            since: now,
            expected,
            context: plan.context,
            tokens: plan.tokens,
            unstated,
        };
        self.loads.insert(load, own);
        if let Some(model) = self.models.get_mut(&model) {
            model.loading += 1;
        }
        self.cold_starts += 1;
        Decision::Load {
            load,
            rider,
            backend: id,
            model,
            context: plan.context,
        }
    }

    /// Whether a load is under way that the request waits for, or its copy is being healed.
    pub(super) fn rides(&self, waiter: &Waiter) -> bool {
        let LineKey::Model(model, _) = waiter.line() else {
            return false;
        };
        let heals = self.heals.values().any(|heal| {
            let backend = self.backends.get(&heal.backend);
            let sick = backend.and_then(|backend| backend.sick(model));
            heal.model == model
                && sick.is_some_and(|sick| sick.tokens >= waiter.tokens())
                && backend.is_some_and(|there| waiter.may_use(there.spec.provider, there.id))
        });
        heals
            || self.loads.values().any(|own| {
                let backend = self.backends.get(&own.backend);
                own.model == model
                    && own.tokens >= waiter.tokens()
                    && backend.is_some_and(|backend| {
                        backend.loads(model) && waiter.may_use(backend.spec.provider, backend.id)
                    })
            })
    }

    /// Why it makes no sense to wait for a copy, if there is none and loading it has failed of late wherever it could be.
    pub(super) fn cannot_load(
        &self,
        now: Duration,
        model_id: ModelId,
        model: &Model,
        waiter: &Waiter,
    ) -> Option<NoSlot> {
        if model.failed.is_empty() {
            return None;
        }
        let there = model.on_disk.iter().filter_map(|id| self.backends.get(id));
        let able = there
            .filter(|backend| backend.healthy && waiter.may_use(backend.spec.provider, backend.id));
        let mut soonest = None;
        for backend in able {
            let mut copies = backend.copies();
            let fits = |(held, tokens)| held == model_id && tokens >= waiter.tokens();
            if !backend.placed() || copies.any(fits) {
                return None;
            }
            match backend.pause(now, model_id) {
                Some(until) => soonest = Some(soonest.map_or(until, |least| until.min(least))),
                None if self.may_load(backend, model_id, waiter) => return None,
                None => {}
            }
        }
        let soonest: Duration = soonest?;
        Some(NoSlot::CannotLoad {
            retry_after: soonest.saturating_sub(now),
        })
    }

    /// Whether the model could be loaded there for the request, now or later.
    fn may_load(&self, backend: &Backend, model: ModelId, waiter: &Waiter) -> bool {
        let stored = backend.on_disk.get(&model);
        stored.is_some_and(|stored| stored.berth != BerthRule::Never)
            && self.plan(backend, model, waiter.arrival.need).is_some()
    }

    /// The context of the copy that a request starts on, and how long that is expected to need until its first content.
    pub(super) fn expected_start(
        &self,
        now: Duration,
        id: BackendId,
        arrival: &Arrival,
        cold: Option<&ColdStart>,
    ) -> (Option<u32>, ExpectedStart) {
        let backend = &self.backends[&id];
        let Wanted::Model(model) = arrival.wanted else {
            return (None, ExpectedStart::default());
        };
        let awaited = backend.loading.filter(|loading| loading.model == model);
        let (context, load) = match (cold, backend.resident(model), awaited) {
            (Some(cold), ..) => (cold.plan.context, seconds(cold.takes)),
            (None, Some(copy), _) => (copy.context, Duration::ZERO),
            (None, None, Some(loading)) => (loading.context, loading.until.saturating_sub(now)),
            (None, None, None) => (None, Duration::ZERO),
        };
        // One that is sent to a copy as one too many may have to wait there.
        let queue = if backend.placed() && backend.open(Some(model)) == 0 {
            seconds(self.free_in(now, backend, Some(model)))
        } else {
            Duration::ZERO
        };
        let prefill = self.prefill(backend, model, arrival.need.tokens);
        let expected = ExpectedStart {
            queue,
            load,
            prefill,
        };
        (context, expected)
    }

    /// How long the prompt takes, as this copy has been, or as others of the model have.
    fn prefill(&self, backend: &Backend, model: ModelId, tokens: u32) -> Duration {
        let here = backend
            .paces
            .get(&model)
            .and_then(|pace| pace.rates.prefill.get());
        let anywhere = || self.models.get(&model)?.rates.prefill.get();
        let rate = here.or_else(anywhere).filter(|rate| *rate > 0.0);
        rate.map_or(Duration::ZERO, |rate| seconds(f64::from(tokens) / rate))
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
