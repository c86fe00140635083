//! What the scheduler decides, event by event, on small fleets.

mod consistency;
mod contexts;
mod explain;
mod fleet;
mod forecast;
mod lanes;
mod loads;
mod pace;
mod passing_over;
mod properties;
mod queue;
mod scope;
mod slow;
mod suspects;
mod warm_or_wait;

use std::time::Duration;

use super::*;
use crate::settings::{Placement, SelectorKind, WhenUnhealthy};

const GIB: u64 = 1 << 30;
const A: ModelId = ModelId(0);
const B: ModelId = ModelId(1);
const C: ModelId = ModelId(2);

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn policy() -> Policy {
    Policy {
        priorities: true,
        max_in_flight: 0,
        queue_size: 1000,
        timeout: secs(3600.0),
        ageing: secs(30.0),
        aged_share: 0.1,
        when_unhealthy: WhenUnhealthy::Wait,
    }
}

fn spec(order: u32) -> BackendSpec {
    BackendSpec {
        provider: ProviderId::at(0),
        order,
        weight: 1,
        cost: 1.0,
        slots: Some(1),
        parallel: Some(u32::MAX),
        vram: Some(20 * GIB),
        selector: SelectorKind::LeastInFlight,
        placement: Placement::WarmOrWait,
        provider_limit: None,
    }
}

fn request(model: ModelId) -> Arrival {
    Arrival {
        wanted: Wanted::Model(model),
        priority: 0,
        pinned: None,
        need: Need::default(),
    }
}

fn answered(load: f64) -> RunOutcome {
    RunOutcome {
        ok: true,
        load: Some(secs(load)),
        ttft: Some(secs(load + 0.3)),
        ..RunOutcome::default()
    }
}

/// A started request: where, and whether it has to load.
type Start = (Ticket, BackendId, bool);

/// A load of the gateway's own: its ticket, where, of what, and with which context.
type Load = (Ticket, BackendId, ModelId, Option<u32>);

/// An attempt to heal a copy: its ticket, where, of what, and whether it begins with unloading.
type HealBegun = (Ticket, BackendId, ModelId, bool);

/// A scheduler with a clock that the test turns. Every model is 10 GiB, so two fit into each of its backends.
struct Fleet {
    scheduler: Scheduler,
    now: Duration,
    starts: Vec<Start>,
    refusals: Vec<(Ticket, NoSlot)>,
    loads: Vec<Load>,
    recalls: Vec<Ticket>,
    heals: Vec<HealBegun>,
}

impl Fleet {
    fn new(policy: Policy) -> Self {
        Self {
            scheduler: Scheduler::new(policy),
            now: secs(1000.0),
            starts: Vec::new(),
            refusals: Vec::new(),
            loads: Vec::new(),
            recalls: Vec::new(),
            heals: Vec::new(),
        }
    }

    /// One backend per entry, with these models loaded and all of A, B and C on disk.
    fn with(loaded: &[&[ModelId]]) -> Self {
        let mut fleet = Self::new(policy());
        for (order, loaded) in (0..).zip(loaded) {
            fleet.join(spec(order));
            fleet.observe(order, &[A, B, C], loaded);
        }
        fleet
    }

    fn join(&mut self, spec: BackendSpec) -> BackendId {
        let id = BackendId(spec.order);
        self.scheduler.join(self.now, id, spec);
        self.settle();
        id
    }

    fn observe(&mut self, id: u32, on_disk: &[ModelId], loaded: &[ModelId]) {
        let on_disk: Vec<_> = on_disk
            .iter()
            .map(|model| StoredModel::new(*model, 8 * GIB))
            .collect();
        let loaded: Vec<_> = (0..)
            .zip(loaded)
            .map(|(age, model)| LoadedModel {
                model: *model,
                context: None,
                size: 10 * GIB,
                vram: 10 * GIB,
                expires_in: secs(300.0 + f64::from(age)),
            })
            .collect();
        let residency = Residency {
            on_disk: &on_disk,
            loaded: &loaded,
        };
        self.scheduler.observe(self.now, BackendId(id), residency);
        self.settle();
    }

    fn arrive(&mut self, arrival: Arrival) -> Ticket {
        let ticket = self.scheduler.arrive(self.now, arrival).unwrap();
        self.settle();
        ticket
    }

    fn refused(&mut self, arrival: Arrival) -> NoSlot {
        let refusal = self.scheduler.arrive(self.now, arrival).unwrap_err();
        self.settle();
        refusal
    }

    fn complete(&mut self, ticket: Ticket) {
        self.scheduler.complete(self.now, ticket, answered(0.0));
        self.settle();
    }

    fn retry(&mut self, ticket: Ticket) -> Result<(), NoSlot> {
        let result = self.scheduler.retry(self.now, ticket, None);
        self.settle();
        result
    }

    /// Lets time pass, stopping wherever the scheduler wants to be asked.
    fn pass(&mut self, seconds: f64) {
        let end = self.now + secs(seconds);
        while let Some(next) = self.scheduler.next_timeout().filter(|next| *next <= end) {
            assert!(next >= self.now || self.scheduler.next_decision(self.now).is_none());
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(decision) = self.scheduler.next_decision(self.now) {
            match decision {
                Decision::Start {
                    ticket,
                    backend,
                    cold,
                    ..
                } => self.starts.push((ticket, backend, cold)),
                Decision::Refuse { ticket, refusal } => self.refusals.push((ticket, refusal)),
                Decision::Load {
                    load,
                    backend,
                    model,
                    context,
                    ..
                } => self.loads.push((load, backend, model, context)),
                Decision::Recall { ticket } => self.recalls.push(ticket),
                Decision::Heal {
                    heal,
                    backend,
                    model,
                    unload,
                    ..
                } => self.heals.push((heal, backend, model, unload)),
            }
        }
        consistency::check(&self.scheduler);
    }

    /// What has started since the last call.
    fn started(&mut self) -> Vec<Start> {
        std::mem::take(&mut self.starts)
    }

    /// What has been refused since the last call.
    fn refusals(&mut self) -> Vec<(Ticket, NoSlot)> {
        std::mem::take(&mut self.refusals)
    }

    /// Teaches the scheduler how long requests and loads of a model take, on a backend that nobody else uses.
    fn teach(&mut self, model: ModelId, service: f64, load: f64) {
        let id = BackendId(999);
        self.scheduler.join(self.now, id, spec(999));
        self.observe(999, &[A, B, C], &[model]);
        for _ in 0..20 {
            let pinned = Arrival {
                pinned: Some(id),
                ..request(model)
            };
            let ticket = self.arrive(pinned);
            self.now += secs(service + load);
            self.scheduler.complete(self.now, ticket, answered(load));
            self.settle();
        }
        self.scheduler.leave(self.now, id);
        self.settle();
        self.started();
    }
}

fn id(id: u32) -> BackendId {
    BackendId(id)
}
