//! The slot scheduler as a state machine: arrivals, completions, probes and the time go in, decisions come out.
//!
//! No clock, lock or task lives here. Times are durations since an epoch of the caller's choice and must not go back.

mod types;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ahash::AHashMap;

use crate::ids::{BackendId, ModelId};
use crate::settings::{Placement, WhenUnhealthy};

pub use types::{
    Arrival, BackendSnapshot, BackendSpec, Decision, Loaded, Outcome, Policy, Refusal, Residency,
    Snapshot, Ticket, Wanted,
};

/// Priority, then arrival.
type Place = (Reverse<i32>, Ticket);

/// Decides which waiting request starts on which backend.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    backends: AHashMap<BackendId, Backend>,
    waiting: BTreeMap<Place, Waiter>,
    places: AHashMap<Ticket, Place>,
    running: AHashMap<Ticket, Running>,
    refused: Vec<(Ticket, Refusal)>,
    next_ticket: u64,
    probed: bool,
    warm_starts: u64,
    cold_starts: u64,
}

#[derive(Debug)]
struct Backend {
    spec: BackendSpec,
    healthy: bool,
    gone: bool,
    in_flight: u32,
    loading: Option<(ModelId, Ticket)>,
    on_disk: AHashMap<ModelId, u64>,
    loaded: Vec<ModelId>,
}

#[derive(Clone, Debug)]
struct Waiter {
    arrival: Arrival,
    since: Duration,
    deadline: Duration,
    excluded: Vec<BackendId>,
}

#[derive(Debug)]
struct Running {
    waiter: Waiter,
    place: Place,
    backend: BackendId,
}

impl Scheduler {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            backends: AHashMap::new(),
            waiting: BTreeMap::new(),
            places: AHashMap::new(),
            running: AHashMap::new(),
            refused: Vec::new(),
            next_ticket: 0,
            probed: false,
            warm_starts: 0,
            cold_starts: 0,
        }
    }

    /// A backend has been found. It is unhealthy until [`Self::observe`].
    pub fn join(&mut self, _now: Duration, id: BackendId, spec: BackendSpec) {
        self.backends.insert(
            id,
            Backend {
                spec,
                healthy: false,
                gone: false,
                in_flight: 0,
                loading: None,
                on_disk: AHashMap::new(),
                loaded: Vec::new(),
            },
        );
    }

    /// A backend has vanished. What runs there still has to be completed.
    pub fn leave(&mut self, _now: Duration, id: BackendId) {
        let Some(backend) = self.backends.get_mut(&id) else {
            return;
        };
        backend.gone = true;
        backend.healthy = false;
        if backend.in_flight == 0 {
            self.backends.remove(&id);
        }
        self.refuse_hopeless();
    }

    /// A probe was answered well: the backend is healthy and this is what it has.
    pub fn observe(&mut self, _now: Duration, id: BackendId, residency: Residency<'_>) {
        let Some(backend) = self.backends.get_mut(&id) else {
            return;
        };
        if backend.gone {
            return;
        }
        self.probed = true;
        backend.healthy = true;
        backend.on_disk = residency.on_disk.iter().copied().collect();
        backend.loaded = residency.loaded.iter().map(|loaded| loaded.model).collect();
        self.refuse_hopeless();
    }

    /// A request or enough probes have failed: nothing starts there until the next [`Self::observe`].
    pub fn unhealthy(&mut self, _now: Duration, id: BackendId) {
        if let Some(backend) = self.backends.get_mut(&id) {
            backend.healthy = false;
        }
        self.refuse_hopeless();
    }

    /// A request asks for a slot. Errors: it can or may not wait.
    pub fn arrive(&mut self, now: Duration, arrival: Arrival) -> Result<Ticket, Refusal> {
        let waiter = Waiter {
            arrival,
            since: now,
            deadline: now + self.policy.timeout,
            excluded: Vec::new(),
        };
        if let Some(refusal) = self.hopeless(&waiter) {
            return Err(refusal);
        }
        if self.waiting.len() >= self.policy.queue_size && !self.startable(&waiter) {
            return Err(Refusal::QueueFull {
                retry_after: self.retry_after(),
            });
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let place = (Reverse(arrival.priority), ticket);
        self.places.insert(ticket, place);
        self.waiting.insert(place, waiter);
        Ok(ticket)
    }

    /// The running request's attempt has failed: its slot is free, its backend excluded, and it waits again in its
    /// old place. Errors: there is nowhere left to go; the ticket is forgotten.
    pub fn retry(&mut self, now: Duration, ticket: Ticket) -> Result<(), Refusal> {
        let Some(running) = self.release(ticket) else {
            return Ok(());
        };
        let mut waiter = running.waiter;
        waiter.excluded.push(running.backend);
        waiter.since = now;
        waiter.deadline = now + self.policy.timeout;
        if let Some(refusal) = self.hopeless(&waiter) {
            return Err(refusal);
        }
        self.places.insert(ticket, running.place);
        self.waiting.insert(running.place, waiter);
        Ok(())
    }

    /// The client has gone: the request leaves the queue or its slot.
    pub fn cancel(&mut self, _now: Duration, ticket: Ticket) {
        if let Some(place) = self.places.remove(&ticket) {
            self.waiting.remove(&place);
        }
        self.release(ticket);
    }

    /// The running request has ended.
    pub fn complete(&mut self, _now: Duration, ticket: Ticket, _outcome: Outcome) {
        self.release(ticket);
    }

    /// The running request has shown its first content, so its model is in memory.
    pub fn loaded(&mut self, _now: Duration, ticket: Ticket) {
        let Some(running) = self.running.get(&ticket) else {
            return;
        };
        let Some(backend) = self.backends.get_mut(&running.backend) else {
            return;
        };
        if let Some((model, loader)) = backend.loading
            && loader == ticket
        {
            backend.loading = None;
            backend.loaded.push(model);
        }
    }

    /// The next thing to do, until there is none. Call it after every event and at [`Self::next_timeout`].
    pub fn next_decision(&mut self, now: Duration) -> Option<Decision> {
        if let Some((ticket, refusal)) = self.refused.pop() {
            return Some(Decision::Refuse { ticket, refusal });
        }
        if let Some(decision) = self.expire(now) {
            return Some(decision);
        }
        let (place, backend, cold) = self
            .waiting
            .iter()
            .find_map(|(place, waiter)| self.choose(waiter).map(|(id, cold)| (*place, id, cold)))?;
        let waiter = self
            .waiting
            .remove(&place)
            .expect("the place was just found");
        let ticket = place.1;
        self.places.remove(&ticket);
        let state = self
            .backends
            .get_mut(&backend)
            .expect("the backend was just chosen");
        state.in_flight += 1;
        if cold {
            self.cold_starts += 1;
            if let Wanted::Model(model) = waiter.arrival.wanted {
                state.loading = Some((model, ticket));
            }
        } else {
            self.warm_starts += 1;
        }
        let waited = now.saturating_sub(waiter.since);
        self.running.insert(
            ticket,
            Running {
                waiter,
                place,
                backend,
            },
        );
        Some(Decision::Start {
            ticket,
            backend,
            cold,
            waited,
        })
    }

    /// When [`Self::next_decision`] has to be asked again even if nothing happens.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.waiting.values().map(|waiter| waiter.deadline).min()
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut backends: Vec<_> = self.backends.iter().collect();
        backends.sort_by_key(|(_, backend)| (backend.spec.provider, backend.spec.order));
        Snapshot {
            waiting: self.waiting.len(),
            in_flight: self.running.len(),
            warm_starts: self.warm_starts,
            cold_starts: self.cold_starts,
            backends: backends
                .into_iter()
                .map(|(id, backend)| BackendSnapshot {
                    id: *id,
                    healthy: backend.healthy,
                    in_flight: backend.in_flight,
                    slots: backend.spec.slots,
                    loading: backend.loading.map(|(model, _)| model),
                })
                .collect(),
        }
    }

    fn release(&mut self, ticket: Ticket) -> Option<Running> {
        let running = self.running.remove(&ticket)?;
        if let Some(backend) = self.backends.get_mut(&running.backend) {
            backend.in_flight -= 1;
            backend.loading.take_if(|(_, loader)| *loader == ticket);
            if backend.gone && backend.in_flight == 0 {
                self.backends.remove(&running.backend);
            }
        }
        Some(running)
    }

    fn expire(&mut self, now: Duration) -> Option<Decision> {
        let place = *self
            .waiting
            .iter()
            .find(|(_, waiter)| waiter.deadline <= now)?
            .0;
        let waiter = self
            .waiting
            .remove(&place)
            .expect("the place was just found");
        self.places.remove(&place.1);
        let healthy = self.candidates(&waiter).any(|(_, backend)| backend.healthy);
        let refusal = Refusal::TimedOut {
            healthy,
            retry_after: self.retry_after(),
        };
        Some(Decision::Refuse {
            ticket: place.1,
            refusal,
        })
    }

    fn candidates<'a>(
        &'a self,
        waiter: &'a Waiter,
    ) -> impl Iterator<Item = (BackendId, &'a Backend)> {
        self.backends
            .iter()
            .map(|(id, backend)| (*id, backend))
            .filter(move |(id, backend)| {
                !backend.gone
                    && waiter.arrival.pinned.is_none_or(|pinned| pinned == *id)
                    && match waiter.arrival.wanted {
                        Wanted::Any => true,
                        Wanted::Model(model) => backend.on_disk.contains_key(&model),
                        Wanted::Unlisted => false,
                    }
            })
    }

    fn hopeless(&self, waiter: &Waiter) -> Option<Refusal> {
        if let Some(pinned) = waiter.arrival.pinned
            && self
                .backends
                .get(&pinned)
                .is_none_or(|backend| backend.gone)
        {
            return Some(Refusal::UnknownBackend);
        }
        let mut any = false;
        let mut untried = false;
        let mut healthy = false;
        for (id, backend) in self.candidates(waiter) {
            any = true;
            if !waiter.excluded.contains(&id) {
                untried = true;
                healthy |= backend.healthy;
            }
        }
        if any && !untried {
            return Some(Refusal::Exhausted);
        }
        if !any && self.probed && waiter.arrival.wanted != Wanted::Any && !self.backends.is_empty()
        {
            return Some(Refusal::UnknownModel);
        }
        (!healthy && self.policy.when_unhealthy == WhenUnhealthy::Refuse).then(|| {
            Refusal::NoHealthyBackend {
                retry_after: self.retry_after(),
            }
        })
    }

    fn refuse_hopeless(&mut self) {
        let hopeless: Vec<_> = self
            .waiting
            .iter()
            .filter_map(|(place, waiter)| Some((*place, self.hopeless(waiter)?)))
            .collect();
        for (place, refusal) in hopeless {
            self.waiting.remove(&place);
            self.places.remove(&place.1);
            self.refused.push((place.1, refusal));
        }
    }

    fn startable(&self, waiter: &Waiter) -> bool {
        self.choose(waiter).is_some()
    }

    fn choose(&self, waiter: &Waiter) -> Option<(BackendId, bool)> {
        if self.policy.max_in_flight > 0 && self.running.len() >= self.policy.max_in_flight {
            return None;
        }
        self.candidates(waiter)
            .filter(|(id, backend)| {
                backend.healthy
                    && backend.in_flight < backend.spec.slots
                    && !waiter.excluded.contains(id)
            })
            .filter_map(|(id, backend)| {
                let warm = match waiter.arrival.wanted {
                    Wanted::Model(model) => backend.loaded.contains(&model),
                    _ => true,
                };
                (warm || backend.loading.is_none()).then_some((id, backend, !warm))
            })
            .min_by_key(|(_, backend, cold)| {
                let cold = *cold && backend.spec.placement == Placement::WarmOrWait;
                (
                    cold,
                    backend.in_flight,
                    backend.spec.provider,
                    backend.spec.order,
                )
            })
            .map(|(id, _, cold)| (id, cold))
    }

    fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }
}
