//! The requests' events: one arrives, shows its first content, ends, fails or goes away.

use std::time::Duration;

use super::backend::{Backend, Job};
use super::lines::{LineKey, Waiter};
use super::model::Model;
use super::resident::{ANY, Loading};
use super::types::{Arrival, Decision, NoSlot, Providers, RunOutcome, Scope, Ticket, Wanted};
use super::{Running, Scheduler};
use crate::ids::BackendId;
use crate::settings::WhenUnhealthy;

/// A `load_duration` below this is bookkeeping, not a load.
const SHORTEST_LOAD: Duration = Duration::from_millis(500);

/// Seconds between which a refused client is asked to stay away.
const LEAST_RETRY: f64 = 1.0;
const MOST_RETRY: f64 = 60.0;

impl Scheduler {
    /// A request asks for a slot. Errors: it cannot or may not wait.
    pub fn arrive(&mut self, now: Duration, arrival: Arrival) -> Result<Ticket, NoSlot> {
        self.arrive_within(now, arrival, Scope::default())
    }

    /// Does what [`Self::arrive`] does, for a request that may run within `scope` only.
    pub fn arrive_within(
        &mut self,
        now: Duration,
        arrival: Arrival,
        scope: Scope,
    ) -> Result<Ticket, NoSlot> {
        self.note_arrival(now, &arrival);
        self.admit(now, arrival, scope)
    }

    /// Lets a request start or wait that has been noted.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        arrival: Arrival,
        scope: Scope,
    ) -> Result<Ticket, NoSlot> {
        let waiter = self.newcomer(now, arrival, scope);
        let (ticket, priority) = (waiter.ticket, waiter.arrival.priority);
        if let Some(refusal) = self.hopeless(now, &waiter) {
            return Err(refusal);
        }
        self.next_ticket += 1;
        self.enqueue(now, waiter);
        let size = self.policy.queue_size;
        // What is decided now may also be that somebody else starts, who makes room.
        let full = self.lines.len() > size && !self.starts_at_once(now, ticket);
        if full && self.lines.len() > size {
            let size = size as f64;
            // What the lower priorities keep of the queue is what they have of the starts.
            let reserve = (size * self.policy.aged_share).ceil() as usize;
            let displaced = self.lines.displaced_by(priority, reserve);
            self.lines.remove(displaced.unwrap_or(ticket));
            let refusal = NoSlot::QueueFull {
                retry_after: self.retry_after(),
            };
            let Some(displaced) = displaced else {
                return Err(refusal);
            };
            self.decided.push_back(Decision::Refuse {
                ticket: displaced,
                refusal,
            });
        }
        Ok(ticket)
    }

    /// Learns how often the model is asked for, and for how much context.
    pub(super) fn note_arrival(&mut self, now: Duration, arrival: &Arrival) {
        if let Wanted::Model(model) = arrival.wanted
            && let Some(model) = self.models.get_mut(&model)
        {
            model.arrivals.add(now);
            if arrival.need.tokens > 0 {
                model.needs.add(now, arrival.need.tokens);
            }
        }
    }

    /// A request as it arrives now.
    pub(super) fn newcomer(&self, now: Duration, mut arrival: Arrival, scope: Scope) -> Waiter {
        if !self.policy.priorities {
            arrival.priority = 0;
        }
        Waiter {
            ticket: Ticket(self.next_ticket),
            arrival,
            arrived: now,
            since: now,
            deadline: now.saturating_add(self.policy.timeout),
            scope: self.passing_over(now, &arrival, scope),
            retried: false,
            ahead: false,
        }
    }

    /// The running request's attempt has failed: its slot is free, its backend excluded, and it waits again in its
    /// old place, from now on within `scope` if one is given. Errors: there is nowhere left to go; the ticket is
    /// forgotten.
    pub fn retry(
        &mut self,
        now: Duration,
        ticket: Ticket,
        scope: Option<Scope>,
    ) -> Result<(), NoSlot> {
        let Some((running, job)) = self.release(now, ticket, None) else {
            return Err(NoSlot::Exhausted);
        };
        self.learn_lane(now, running.backend, (ticket, job), None);
        let mut waiter = running.waiter;
        waiter.retried = true;
        if let Some(scope) = scope {
            waiter.scope = scope;
        }
        if !waiter.scope.excluded.contains(&running.backend) {
            waiter.scope.excluded.push(running.backend);
        }
        waiter.scope = self.passing_over(now, &waiter.arrival, waiter.scope);
        waiter.since = now;
        waiter.deadline = now.saturating_add(self.policy.timeout);
        if let Some(refusal) = self.hopeless(now, &waiter) {
            return Err(refusal);
        }
        self.enqueue(now, waiter);
        Ok(())
    }

    /// The client has gone: the request leaves the queue or its slot.
    pub fn cancel(&mut self, now: Duration, ticket: Ticket) {
        if self.lines.remove(ticket).is_none()
            && let Some((running, job)) = self.release(now, ticket, None)
        {
            self.learn_lane(now, running.backend, (ticket, job), None);
        }
        self.decided.retain(|decision| match decision {
            Decision::Start {
                ticket: decided, ..
            }
            | Decision::Recall { ticket: decided }
            | Decision::Refuse {
                ticket: decided, ..
            } => *decided != ticket,
            Decision::Load { .. } | Decision::Heal { .. } => true,
        });
    }

    /// The running request has shown its first content, so its model is in memory.
    pub fn loaded(&mut self, now: Duration, ticket: Ticket) {
        if self.is_wary() {
            self.note_alive(now, ticket);
        }
        let Some(running) = self.running.get(&ticket) else {
            return;
        };
        let id = running.backend;
        let Some(loading) = self.backends.get(&id).and_then(|backend| backend.loading) else {
            return;
        };
        if loading.ticket == ticket {
            self.update(now, id, |backend| backend.end_load(now));
            self.note_freed(id);
            self.reweigh();
        }
    }

    /// The running request has ended.
    pub fn complete(&mut self, now: Duration, ticket: Ticket, outcome: RunOutcome) {
        if outcome.ok {
            self.loaded(now, ticket);
        }
        let load = outcome.load.filter(|load| *load >= SHORTEST_LOAD);
        let warm = |time: Duration| time.saturating_sub(load.unwrap_or_default());
        let response = outcome.ttft.filter(|_| outcome.ok).map(warm);
        if let Some((running, job)) = self.release(now, ticket, response) {
            self.learn_lane(now, running.backend, (ticket, job), Some(outcome));
            if outcome.ok {
                self.model_served(running.backend, job.model);
                self.learn(now, &running, job, outcome);
            }
        }
    }

    fn enqueue(&mut self, now: Duration, waiter: Waiter) {
        if !self.pending()
            && let Some(backend) = self.ready_backend(&waiter)
        {
            let decision = self.start(now, waiter, backend, None);
            self.decided.push_back(decision);
            return;
        }
        let line = waiter.line();
        if self.lines.insert(now, waiter).aged() {
            self.stranded.insert(line);
        }
        self.touched.push(line);
        self.to_try.push(line);
        if !self.slow.is_empty() {
            self.to_spill.push(line);
        }
        self.to_weigh.push(line);
    }

    fn starts_at_once(&mut self, now: Duration, ticket: Ticket) -> bool {
        while let Some(decision) = self.decide(now) {
            self.decided.push_back(decision);
        }
        self.running.contains_key(&ticket)
    }

    /// Takes a running request off its backend; `response`: the time to its first content, where that was no load.
    fn release(
        &mut self,
        now: Duration,
        ticket: Ticket,
        response: Option<Duration>,
    ) -> Option<(Running, Job)> {
        let running = self.running.remove(&ticket)?;
        if !self.decided.is_empty() {
            let recall = Decision::Recall { ticket };
            self.decided.retain(|decision| *decision != recall);
        }
        let id = running.backend;
        let end = |backend: &mut Backend| {
            let job = backend.end(now, ticket)?;
            if let Some(response) = response.filter(|_| job.model.is_some()) {
                backend.response.add(now, response);
            }
            Some(job)
        };
        let job = if running.cold {
            self.update(now, id, end)
        } else {
            self.update_slots(now, id, end)
        }??;
        let backend = self
            .backends
            .get(&id)
            .expect("a backend is kept while something runs on it");
        if let Some(provider) = self.providers.get_mut(&backend.spec.provider) {
            provider.in_flight -= 1;
        }
        if backend.gone && backend.jobs.is_empty() {
            self.forget(id);
        }
        self.note_freed(id);
        if std::mem::take(&mut self.limited) {
            self.recheck = Some(None);
        }
        self.reweigh();
        Some((running, job))
    }

    /// Learns from a request that was answered to its end.
    fn learn(&mut self, now: Duration, running: &Running, job: Job, outcome: RunOutcome) {
        let load = outcome.load.filter(|load| *load >= SHORTEST_LOAD);
        let warm = |time: Duration| time.saturating_sub(load.unwrap_or_default());
        let id = running.backend;
        let (Some(model_id), Some(backend)) = (job.model, self.backends.get_mut(&id)) else {
            return;
        };
        let Some(model) = self.models.get_mut(&model_id) else {
            return;
        };
        if let Some(load) = load {
            let seconds = load.as_secs_f64();
            backend.load_times.entry(model_id).or_default().add(seconds);
            model.load_time.add(seconds);
            if backend.has(model_id) {
                backend
                    .bandwidth
                    .add(backend.bytes(model_id) as f64 / seconds);
            }
        }
        let held = warm(now.saturating_sub(job.started)).as_secs_f64();
        model.service.add(held);
        self.service.add(held);
        // A load that is under way tells of its own end, and with which context.
        let there = backend.holds(model_id) || backend.loads(model_id);
        let came_to_stay = running.cold && !there;
        let vram = model.vram.unwrap_or_default();
        self.learn_speed(now, id, model_id, (Some(job), outcome));
        if came_to_stay {
            let loading = Loading {
                model: model_id,
                ticket: running.waiter.ticket,
                own: false,
                until: now,
                vram,
                context: None,
                tokens: ANY,
                replaces: None,
            };
            self.update(now, id, |backend| backend.hold(now, &loading));
        }
    }

    /// Why it makes no sense to let this request wait, if so.
    pub(super) fn hopeless(&self, now: Duration, waiter: &Waiter) -> Option<NoSlot> {
        if self.is_closed(waiter) {
            return Some(NoSlot::Closed);
        }
        let leaves = self.policy.when_unhealthy == WhenUnhealthy::Refuse || waiter.scope.elsewhere;
        let unhealthy = || {
            leaves.then(|| NoSlot::NoHealthyBackend {
                retry_after: self.retry_after(),
            })
        };
        match waiter.line() {
            LineKey::Pinned(id) => {
                let Some(backend) = self.backends.get(&id).filter(|backend| !backend.gone) else {
                    return Some(NoSlot::UnknownBackend);
                };
                if !waiter.may_use(backend.spec.provider, id) {
                    return Some(NoSlot::Exhausted);
                }
                match waiter.arrival.wanted {
                    Wanted::Model(model) if backend.known && !backend.has(model) => {
                        Some(NoSlot::UnknownModel)
                    }
                    Wanted::Unlisted if backend.known => Some(NoSlot::UnknownModel),
                    _ if !backend.healthy => unhealthy(),
                    _ => None,
                }
            }
            LineKey::Any => {
                if waiter.goes_anywhere() {
                    return if self.healthy > 0 { None } else { unhealthy() };
                }
                let there = self.backends.values().filter(|backend| !backend.gone);
                let mut open =
                    there.filter(|backend| waiter.may_use(backend.spec.provider, backend.id));
                match open.next() {
                    None if waiter.scope.excluded.is_empty() => unhealthy(),
                    None => Some(NoSlot::Exhausted),
                    Some(first) if first.healthy || open.any(|backend| backend.healthy) => None,
                    Some(_) => unhealthy(),
                }
            }
            LineKey::Model(model_id, _) => {
                let model = self
                    .models
                    .get(&model_id)
                    .filter(|model| !model.on_disk.is_empty());
                let Some(model) = model else {
                    return self.nowhere(waiter).or_else(unhealthy);
                };
                match self.open_copies(model, waiter) {
                    (0, _) => self.nowhere(waiter).or_else(unhealthy),
                    (_, 0) => unhealthy(),
                    _ => self
                        .too_long(model_id, model, waiter)
                        .or_else(|| self.cannot_load(now, model_id, model, waiter)),
                }
            }
            LineKey::Unlisted if self.known > 0 => Some(NoSlot::UnknownModel),
            LineKey::Unlisted => unhealthy(),
        }
    }

    /// Whether all providers that could serve it have been closed, one of them since it has chosen them.
    fn is_closed(&self, waiter: &Waiter) -> bool {
        if waiter
            .scope
            .as_of
            .is_none_or(|as_of| as_of == self.closings)
        {
            return false;
        }
        let could =
            |backend: &&Backend| !backend.gone && waiter.may_use(backend.spec.provider, backend.id);
        let closed = |backend: &Backend| self.caps.get(&backend.spec.provider) == Some(&0);
        let all_closed = |there: &mut dyn Iterator<Item = &Backend>| {
            let mut there = there.map(closed).peekable();
            there.peek().is_some() && there.all(|closed| closed)
        };
        let find = |id: &BackendId| self.backends.get(id);
        match waiter.line() {
            LineKey::Pinned(id) => all_closed(&mut find(&id).into_iter().filter(could)),
            LineKey::Any => all_closed(&mut self.backends.values().filter(could)),
            LineKey::Model(model, _) => self.models.get(&model).is_some_and(|model| {
                all_closed(&mut model.on_disk.iter().filter_map(find).filter(could))
            }),
            LineKey::Unlisted => false,
        }
    }

    /// Why no backend will do that is there; `None` while one could still turn out to have the model.
    fn nowhere(&self, waiter: &Waiter) -> Option<NoSlot> {
        if !waiter.scope.excluded.is_empty() {
            return Some(NoSlot::Exhausted);
        }
        let known = match &waiter.scope.providers {
            Providers::All => self.known > 0,
            some => {
                let mut there = self.backends.values().filter(|backend| !backend.gone);
                there.any(|backend| backend.known && some.hold(backend.spec.provider))
            }
        };
        known.then_some(NoSlot::UnknownModel)
    }

    /// Backends with the model on disk that this request may still run on, and how many of those are healthy.
    fn open_copies(&self, model: &Model, waiter: &Waiter) -> (usize, usize) {
        if waiter.scope.providers != Providers::All {
            let there = model.on_disk.iter().filter_map(|id| self.backends.get(id));
            let open = there.filter(|backend| waiter.may_use(backend.spec.provider, backend.id));
            return open.fold((0, 0), |(open, healthy), backend| {
                (open + 1, healthy + usize::from(backend.healthy))
            });
        }
        let (mut open, mut healthy) = (model.on_disk.len(), model.healthy);
        for id in &waiter.scope.excluded {
            if model.on_disk.contains(id) {
                let backend = self.backends.get(id);
                open -= 1;
                healthy -= usize::from(backend.is_some_and(|backend| backend.healthy));
            }
        }
        (open, healthy)
    }

    /// Whether a backend that could serve this request is healthy.
    pub(super) fn served_by_healthy(&self, waiter: &Waiter) -> bool {
        let usable = |backend: &Backend| {
            backend.healthy && waiter.may_use(backend.spec.provider, backend.id)
        };
        match waiter.line() {
            LineKey::Pinned(id) => self.backends.get(&id).is_some_and(usable),
            LineKey::Any => self.backends.values().any(usable),
            LineKey::Model(model, _) => self.models.get(&model).is_some_and(|model| {
                model
                    .on_disk
                    .iter()
                    .filter_map(|id| self.backends.get(id))
                    .any(usable)
            }),
            LineKey::Unlisted => false,
        }
    }

    /// How long a refused client should stay away: about as long as those who wait will need the slots.
    pub(super) fn retry_after(&self) -> Duration {
        let rounds = (self.lines.len() + 1) as f64 / self.slots.max(1) as f64;
        let seconds = self.service.get().unwrap_or(LEAST_RETRY) * rounds;
        Duration::from_secs_f64(seconds.clamp(LEAST_RETRY, MOST_RETRY))
    }
}
