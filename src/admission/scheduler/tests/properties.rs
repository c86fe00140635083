//! Random events against the rules that must hold whatever happens.

use crate::ids::ProviderId;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::resident::Resident;
use super::*;

const BACKENDS: u32 = 6;
const MODELS: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Join {
        id: u32,
        slots: u32,
        placed: bool,
        vram: Option<u64>,
        selector: usize,
    },
    Leave(u32),
    Observe {
        id: u32,
        on_disk: u8,
        loaded: u8,
        context: Option<u32>,
    },
    Unhealthy(u32),
    Limit(u32, Option<u32>),
    Arrive {
        model: Option<u32>,
        priority: i32,
        pinned: Option<u32>,
        tokens: u32,
    },
    LoadEnds(usize, bool),
    LoadStuck(usize),
    Late(usize),
    HealEnds(usize, bool),
    Complete(usize),
    Loaded(usize),
    Retry(usize),
    Cancel(usize),
    Pass(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let id = 0..BACKENDS;
    let vram = prop_oneof![
        Just(None),
        (1_u64..4).prop_map(|models| Some(models * 10 * GIB))
    ];
    let context = prop::option::of(prop_oneof![Just(4096), Just(5000), Just(32_768)]);
    let tokens = prop_oneof![2 => Just(0), 2 => 1_u32..8192, 1 => 8192_u32..40_000];
    prop_oneof![
        1 => (id.clone(), 1_u32..4, any::<bool>(), vram, 0_usize..5)
            .prop_map(|(id, slots, placed, vram, selector)| Op::Join { id, slots, placed, vram, selector }),
        1 => id.clone().prop_map(Op::Leave),
        4 => (id.clone(), any::<u8>(), any::<u8>(), context)
            .prop_map(|(id, on_disk, loaded, context)| Op::Observe { id, on_disk, loaded, context }),
        1 => id.clone().prop_map(Op::Unhealthy),
        1 => (id.clone(), prop::option::of(0_u32..3)).prop_map(|(id, limit)| Op::Limit(id, limit)),
        8 => (prop::option::weighted(0.9, 0..MODELS), -1..2, prop::option::weighted(0.1, id), tokens)
            .prop_map(|(model, priority, pinned, tokens)| Op::Arrive { model, priority, pinned, tokens }),
        4 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(index, well)| Op::LoadEnds(index, well)),
        1 => any::<usize>().prop_map(Op::LoadStuck),
        5 => any::<usize>().prop_map(Op::Late),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(index, well)| Op::HealEnds(index, well)),
        6 => any::<usize>().prop_map(Op::Complete),
        2 => any::<usize>().prop_map(Op::Loaded),
        2 => any::<usize>().prop_map(Op::Retry),
        2 => any::<usize>().prop_map(Op::Cancel),
        3 => (1_u32..40_000).prop_map(Op::Pass),
    ]
}

const SELECTORS: [SelectorKind; 5] = [
    SelectorKind::LeastInFlight,
    SelectorKind::RoundRobin,
    SelectorKind::Weighted,
    SelectorKind::FastestResponse,
    SelectorKind::Cost,
];

/// What a backend is, by the events alone.
#[derive(Clone, Debug)]
struct Truth {
    slots: usize,
    limit: Option<u32>,
    provider: ProviderId,
    healthy: bool,
    known: bool,
    on_disk: BTreeSet<u32>,
}

impl Truth {
    /// Requests that may run on it at once.
    fn room(&self) -> usize {
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        self.slots.min(limit)
    }
}

/// Follows the scheduler and objects to what it must not do.
struct Witness {
    scheduler: Scheduler,
    policy: Policy,
    provider_limit: usize,
    now: Duration,
    backends: BTreeMap<BackendId, Truth>,
    /// Ids are never used twice, so every number of the operations stands for its last backend.
    current: BTreeMap<u32, BackendId>,
    next_id: u32,
    waiting: BTreeMap<Ticket, (Arrival, BTreeSet<BackendId>, Duration)>,
    running: BTreeMap<Ticket, (Arrival, BTreeSet<BackendId>, BackendId)>,
    retried: BTreeSet<Ticket>,
    /// Loads are the gateway's own.
    own: bool,
    /// Those that have been ordered and whose end has not been told.
    loads: BTreeMap<Ticket, BackendId>,
    /// Copies that are being healed.
    heals: BTreeMap<Ticket, (BackendId, ModelId)>,
    failures: usize,
}

fn chosen(mask: u8) -> impl Iterator<Item = u32> {
    (0..MODELS).filter(move |model| mask & (1 << model) != 0)
}

impl Witness {
    fn new(policy: Policy, provider_limit: usize, own: bool) -> Self {
        let mut scheduler = Scheduler::new(policy);
        if own {
            scheduler.own_loads(secs(1.0));
        }
        Self {
            own,
            loads: BTreeMap::new(),
            heals: BTreeMap::new(),
            failures: 0,
            scheduler,
            policy,
            provider_limit,
            now: secs(1.0),
            backends: BTreeMap::new(),
            current: BTreeMap::new(),
            next_id: 0,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            retried: BTreeSet::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Join {
                id,
                slots,
                placed,
                vram,
                selector,
            } => {
                if self.current.contains_key(&id) {
                    return;
                }
                let backend = BackendId(self.next_id);
                self.next_id += 1;
                self.current.insert(id, backend);
                let provider = u16::from(!placed);
                let placement = if placed {
                    Placement::WarmOrWait
                } else {
                    Placement::Off
                };
                let spec = BackendSpec {
                    provider: ProviderId::at(usize::from(provider)),
                    slots: Some(slots),
                    vram,
                    placement,
                    selector: SELECTORS[selector],
                    provider_limit: (!placed).then_some(self.provider_limit),
                    ..spec(backend.0)
                };
                self.scheduler.join(now, backend, spec);
                let slots = slots as usize;
                let truth = Truth {
                    slots,
                    limit: None,
                    provider: ProviderId::at(usize::from(provider)),
                    healthy: false,
                    known: false,
                    on_disk: BTreeSet::new(),
                };
                self.backends.insert(backend, truth);
            }
            Op::Leave(id) => {
                let Some(backend) = self.current.remove(&id) else {
                    return;
                };
                self.scheduler.leave(now, backend);
                self.backends.remove(&backend);
            }
            Op::Observe {
                id,
                on_disk,
                loaded,
                context,
            } => {
                let Some(backend) = self.current.get(&id) else {
                    return;
                };
                let truth = self.backends.get_mut(backend).unwrap();
                truth.healthy = true;
                truth.known = true;
                truth.on_disk = chosen(on_disk).collect();
                let on_disk: Vec<_> = chosen(on_disk)
                    .map(|model| StoredModel::new(ModelId(model), 8 * GIB))
                    .collect();
                let expires_in = secs(60.0);
                let loaded: Vec<_> = chosen(loaded)
                    .map(|model| LoadedModel {
                        model: ModelId(model),
                        context,
                        size: 10 * GIB,
                        vram: 10 * GIB,
                        expires_in,
                    })
                    .collect();
                self.scheduler.observe(
                    now,
                    *backend,
                    Residency {
                        on_disk: &on_disk,
                        loaded: &loaded,
                    },
                );
            }
            Op::Unhealthy(id) => {
                let Some(backend) = self.current.get(&id) else {
                    return;
                };
                self.backends.get_mut(backend).unwrap().healthy = false;
                self.scheduler.unhealthy(now, *backend);
            }
            Op::Limit(id, limit) => {
                let Some(backend) = self.current.get(&id) else {
                    return;
                };
                self.backends.get_mut(backend).unwrap().limit = limit;
                self.scheduler.limit_backend(now, *backend, limit);
            }
            Op::Arrive {
                model,
                priority,
                pinned,
                tokens,
            } => self.arrive(model, priority, pinned, tokens),
            Op::LoadEnds(index, well) => {
                let Some(load) = nth(&self.loads, index) else {
                    return;
                };
                self.loads.remove(&load);
                if well {
                    self.scheduler.load_done(now, load);
                } else {
                    self.failures += 1;
                    self.scheduler.load_failed(now, load);
                }
            }
            Op::LoadStuck(index) => {
                let Some(load) = nth(&self.loads, index) else {
                    return;
                };
                self.loads.remove(&load);
                self.failures += 1;
                self.scheduler.load_stuck(now, load);
            }
            Op::Late(index) => {
                let Some(ticket) = nth(&self.running, index) else {
                    return;
                };
                self.scheduler.late(now, ticket);
            }
            Op::HealEnds(index, well) => {
                let Some(heal) = nth(&self.heals, index) else {
                    return;
                };
                self.heals.remove(&heal);
                if well {
                    self.scheduler.healed(now, heal, answered(0.0));
                } else {
                    self.failures += 1;
                    self.scheduler.heal_failed(now, heal);
                }
            }
            Op::Complete(index) => {
                let Some(ticket) = nth(&self.running, index) else {
                    return;
                };
                let (_, _, backend) = self.running.remove(&ticket).unwrap();
                // Every other server is slow.
                let rate = if backend.0 % 2 == 0 { 5.0 } else { 50.0 };
                let outcome = RunOutcome {
                    output: Some((100, secs(100.0 / rate))),
                    ..answered(if index % 3 == 0 { 7.0 } else { 0.0 })
                };
                self.scheduler.complete(now, ticket, outcome);
            }
            Op::Loaded(index) => {
                let Some(ticket) = nth(&self.running, index) else {
                    return;
                };
                self.scheduler.loaded(now, ticket);
            }
            Op::Retry(index) => {
                let Some(ticket) = nth(&self.running, index) else {
                    return;
                };
                let (arrival, mut tried, backend) = self.running.remove(&ticket).unwrap();
                tried.insert(backend);
                let hopeful = self
                    .candidates(&arrival)
                    .any(|(id, _)| !tried.contains(&id));
                match self.scheduler.retry(now, ticket, None) {
                    Ok(()) => {
                        self.retried.insert(ticket);
                        self.waiting.insert(ticket, (arrival, tried, now));
                    }
                    Err(NoSlot::NoHealthyBackend { .. }) => {
                        assert_eq!(self.policy.when_unhealthy, WhenUnhealthy::Refuse);
                    }
                    Err(NoSlot::TooLong { largest }) => assert!(arrival.need.tokens > largest),
                    Err(NoSlot::CannotLoad { .. }) => assert!(self.failures > 0),
                    Err(_) => assert!(!hopeful),
                }
            }
            Op::Cancel(index) => {
                let all: Vec<_> = self
                    .waiting
                    .keys()
                    .chain(self.running.keys())
                    .copied()
                    .collect();
                let Some(ticket) = (!all.is_empty()).then(|| all[index % all.len()]) else {
                    return;
                };
                self.scheduler.cancel(now, ticket);
                self.waiting.remove(&ticket);
                self.running.remove(&ticket);
            }
            Op::Pass(millis) => self.pass(Duration::from_millis(u64::from(millis))),
        }
        self.settle();
    }

    fn arrive(&mut self, model: Option<u32>, priority: i32, pinned: Option<u32>, tokens: u32) {
        let pinned = pinned.and_then(|id| self.current.get(&id).copied());
        let wanted = model.map_or(Wanted::Any, |model| Wanted::Model(ModelId(model)));
        let arrival = Arrival {
            wanted,
            priority,
            pinned,
            need: Need {
                tokens,
                ..Need::default()
            },
        };
        let candidates = self.candidates(&arrival).count();
        let healthy = self.candidates(&arrival).any(|(_, truth)| truth.healthy);
        match self.scheduler.arrive(self.now, arrival) {
            Ok(ticket) => {
                self.waiting
                    .insert(ticket, (arrival, BTreeSet::new(), self.now));
            }
            Err(NoSlot::QueueFull { .. }) => assert!(self.waiting.len() >= self.policy.queue_size),
            Err(NoSlot::UnknownModel) => {
                assert!(
                    model.is_some()
                        && candidates == 0
                        && self.backends.values().any(|truth| truth.known)
                );
            }
            Err(NoSlot::NoHealthyBackend { .. }) => {
                assert!(!healthy && self.policy.when_unhealthy == WhenUnhealthy::Refuse);
            }
            Err(NoSlot::TooLong { largest }) => assert!(tokens > largest),
            Err(NoSlot::CannotLoad { .. }) => assert!(self.failures > 0),
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    fn candidates(&self, arrival: &Arrival) -> impl Iterator<Item = (BackendId, &Truth)> {
        let Arrival { wanted, pinned, .. } = *arrival;
        self.backends
            .iter()
            .map(|(id, truth)| (*id, truth))
            .filter(move |(id, truth)| {
                pinned.is_none_or(|pinned| pinned == *id)
                    && match wanted {
                        Wanted::Model(model) => truth.on_disk.contains(&model.0),
                        _ => true,
                    }
            })
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut calls = 0;
        while let Some(next) = self.scheduler.next_timeout().filter(|next| *next <= end) {
            calls += 1;
            assert!(
                calls < 10_000,
                "the scheduler asks to be asked again and again"
            );
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(decision) = self.scheduler.next_decision(self.now) {
            match decision {
                Decision::Start {
                    ticket, backend, ..
                } => self.start(ticket, backend),
                Decision::Refuse { ticket, refusal } => self.refuse(ticket, refusal),
                Decision::Load { load, backend, .. } => self.load(load, backend),
                Decision::Recall { ticket } => {
                    assert!(self.running.contains_key(&ticket), "it runs");
                }
                Decision::Heal {
                    heal,
                    backend,
                    model,
                    ..
                } => self.heal(heal, backend, model),
            }
        }
        consistency::check(&self.scheduler);
        let snapshot = self.scheduler.snapshot();
        assert_eq!(snapshot.waiting, self.waiting.len());
        assert_eq!(snapshot.in_flight, self.running.len());
        let newcomers = self
            .waiting
            .keys()
            .filter(|ticket| !self.retried.contains(ticket))
            .count();
        assert!(newcomers <= self.policy.queue_size);
        self.nobody_waits_beside_a_ready_backend();
    }

    fn start(&mut self, ticket: Ticket, backend: BackendId) {
        let (arrival, tried, _) = self
            .waiting
            .remove(&ticket)
            .expect("only those who wait are started");
        assert!(!tried.contains(&backend), "it has been tried there");
        let (_, truth) = self
            .candidates(&arrival)
            .find(|(id, _)| *id == backend)
            .expect("it can serve the request");
        assert!(truth.healthy);
        let server = &self.scheduler.backends[&backend];
        if let (Wanted::Model(model), None, true) =
            (arrival.wanted, arrival.pinned, server.placed())
        {
            let mut copies = server.copies().filter(|(held, _)| *held == model);
            assert!(
                copies.all(|(_, tokens)| tokens >= arrival.need.tokens),
                "it does not fit"
            );
        }
        if let Wanted::Model(model) = arrival.wanted {
            assert!(!server.is_barred(model), "it hangs or is being tried");
        }
        assert!(self.on(backend) < truth.room());
        let of_provider = |(_, _, id): &&(_, _, BackendId)| {
            self.backends
                .get(id)
                .is_some_and(|other| other.provider == ProviderId::at(1))
        };
        let unplaced = self.running.values().filter(of_provider).count();
        assert!(truth.provider == ProviderId::at(0) || unplaced < self.provider_limit);
        assert!(self.policy.max_in_flight == 0 || self.running.len() < self.policy.max_in_flight);
        self.running.insert(ticket, (arrival, tried, backend));
    }

    /// One load at a time on each backend, and none in place of a copy that holds as much.
    fn load(&mut self, load: Ticket, backend: BackendId) {
        assert!(self.own);
        assert!(self.backends[&backend].healthy);
        let loading = self.scheduler.backends[&backend].loading.unwrap();
        assert!(self.heals.values().all(|(other, _)| *other != backend));
        assert_eq!(loading.ticket, load);
        assert!(
            loading
                .replaces
                .flatten()
                .is_none_or(|context| context < loading.tokens)
        );
        let under_way: Vec<_> = self.scheduler.loads(self.now).collect();
        let here = under_way.iter().filter(|load| load.backend == backend);
        assert_eq!(here.count(), 1);
        self.loads.insert(load, backend);
        assert_eq!(self.loads.len(), self.scheduler.loads.len());
    }

    /// One attempt at a time on each backend, in the place of a load, and nobody is on the copy.
    fn heal(&mut self, heal: Ticket, backend: BackendId, model: ModelId) {
        assert!(self.own);
        assert!(self.backends[&backend].healthy);
        let there = &self.scheduler.backends[&backend];
        assert!(there.loading.is_none() && !there.runs(model));
        assert!(self.heals.values().all(|(other, _)| *other != backend));
        self.heals.insert(heal, (backend, model));
    }

    fn refuse(&mut self, ticket: Ticket, refusal: NoSlot) {
        let (arrival, tried, since) = self
            .waiting
            .remove(&ticket)
            .expect("only those who wait are refused");
        let untried = self
            .candidates(&arrival)
            .filter(|(id, _)| !tried.contains(id))
            .count();
        match refusal {
            NoSlot::TimedOut { healthy, .. } => {
                assert!(self.now >= since + self.policy.timeout);
                let any = self
                    .candidates(&arrival)
                    .any(|(id, truth)| truth.healthy && !tried.contains(&id));
                assert_eq!(healthy, any);
            }
            NoSlot::NoHealthyBackend { .. } => {
                assert_eq!(self.policy.when_unhealthy, WhenUnhealthy::Refuse)
            }
            NoSlot::QueueFull { .. } => {
                assert!(self.waiting.len() >= self.policy.queue_size);
                let mut others = self.waiting.values();
                assert!(others.any(|(other, ..)| other.priority != arrival.priority));
            }
            NoSlot::TooLong { largest } => assert!(arrival.need.tokens > largest),
            NoSlot::CannotLoad { .. } => assert!(self.failures > 0),
            _ => assert_eq!(untried, 0, "{refusal:?}"),
        }
    }

    fn on(&self, backend: BackendId) -> usize {
        self.running
            .values()
            .filter(|(_, _, id)| *id == backend)
            .count()
    }

    /// Nobody waits past the timeout, or while a free backend has the model loaded.
    fn nobody_waits_beside_a_ready_backend(&self) {
        for (arrival, tried, since) in self.waiting.values() {
            // Who waits for a load of the gateway's own waits for as long as that takes.
            assert!(self.own || self.now < *since + self.policy.timeout);
            if self.scheduler.at_limit() {
                continue;
            }
            for (id, truth) in self.candidates(arrival) {
                let backend = &self.scheduler.backends[&id];
                let ready = match arrival.wanted {
                    Wanted::Model(model) if backend.is_barred(model) => false,
                    Wanted::Model(model) => {
                        let fits = |copy: &Resident| {
                            copy.tokens >= arrival.need.tokens && !copy.is_draining()
                        };
                        arrival.pinned.is_some()
                            || !backend.placed()
                            || backend.resident(model).is_some_and(fits)
                    }
                    _ => true,
                };
                let free = truth.healthy
                    && self.on(id) < truth.room()
                    && !self.scheduler.provider_at_limit(truth.provider);
                assert!(
                    !(free && ready && !tried.contains(&id)),
                    "{arrival:?} could start on {id:?}"
                );
            }
        }
    }

    /// All requests end, no backend has a limit, and all answer with everything on disk: then everybody gets a turn in
    /// the time that ageing and the loads ahead allow.
    fn drain(&mut self) {
        for id in 0..BACKENDS {
            self.apply(Op::Join {
                id,
                slots: 1,
                placed: true,
                vram: Some(20 * GIB),
                selector: 0,
            });
            self.apply(Op::Limit(id, None));
        }
        for _ in 0..400 {
            for id in 0..BACKENDS {
                let backend = self.current[&id];
                let resident = &self.scheduler.backends[&backend].resident;
                let loaded = resident
                    .iter()
                    .fold(0, |mask, resident| mask | 1 << resident.model.0);
                self.apply(Op::Observe {
                    id,
                    on_disk: u8::MAX,
                    loaded,
                    context: None,
                });
            }
            while !self.loads.is_empty() {
                self.apply(Op::LoadEnds(0, true));
            }
            while !self.heals.is_empty() {
                self.apply(Op::HealEnds(0, true));
            }
            while !self.running.is_empty() {
                self.apply(Op::Complete(1));
            }
            if self.waiting.is_empty() {
                return;
            }
            self.apply(Op::Pass(1_000));
        }
        panic!("starved: {:?}", self.waiting);
    }
}

/// What became of a request when it arrived.
fn outcome(scheduler: &mut Scheduler, now: Duration, arrival: Arrival) -> StartChoice {
    let ticket = match scheduler.admit(now, arrival, Scope::default()) {
        Ok(ticket) => ticket,
        Err(refusal) => return StartChoice::Refuse(refusal),
    };
    let mut outcome = StartChoice::Wait;
    while let Some(decision) = scheduler.next_decision(now) {
        match decision {
            Decision::Start {
                ticket: started,
                backend,
                cold,
                ..
            } if started == ticket => {
                let placed = scheduler.backends[&backend].placed();
                outcome = if cold && placed {
                    StartChoice::Load(backend)
                } else {
                    StartChoice::Start(backend)
                };
            }
            Decision::Load { rider, backend, .. } if rider == ticket => {
                outcome = StartChoice::Load(backend);
            }
            Decision::Refuse {
                ticket: refused,
                refusal,
            } if refused == ticket => outcome = StartChoice::Refuse(refusal),
            _ => {}
        }
    }
    scheduler.cancel(now, ticket);
    while scheduler.next_decision(now).is_some() {}
    outcome
}

impl Witness {
    /// Where nobody waits, a newcomer starts or is loaded for where an explanation says so, and that stands first in it.
    fn what_is_explained_is_done(&mut self, model: u32, tokens: u32) {
        let waiting: Vec<_> = self.waiting.keys().copied().collect();
        let now = self.now;
        for ticket in waiting {
            self.waiting.remove(&ticket);
            self.scheduler.cancel(now, ticket);
        }
        while self.scheduler.next_decision(now).is_some() {}
        let mut arrival = request(ModelId(model));
        arrival.need.tokens = tokens;
        // Weighing is put off where too much has been weighed of late.
        self.scheduler.looks = BURST;
        self.scheduler.note_arrival(now, &arrival);
        let explained = self.scheduler.explain(now, arrival, Scope::default());
        let done = outcome(&mut self.scheduler, now, arrival);
        // A queue that holds nobody is full before anything else is asked.
        if matches!(done, StartChoice::Refuse(NoSlot::QueueFull { .. })) {
            return;
        }
        assert_eq!(explained.choice, done, "{explained:?}");
        if let Some(backend) = done.backend() {
            assert_eq!(explained.candidates[0].backend, backend, "{explained:?}");
        }
        let told = self.scheduler.take_told();
        let told = told.last().filter(|_| done.backend().is_some());
        assert!(told.is_none_or(|told| told.choice.backend() == done.backend()));
    }
}

fn nth<T>(map: &BTreeMap<Ticket, T>, index: usize) -> Option<Ticket> {
    map.keys().nth(index % map.len().max(1)).copied()
}

fn policies() -> impl Strategy<Value = Policy> {
    let unhealthy = prop_oneof![3 => Just(WhenUnhealthy::Wait), 1 => Just(WhenUnhealthy::Refuse)];
    (0_usize..6, 0_usize..20, unhealthy, any::<bool>()).prop_map(
        |(limit, queue_size, when_unhealthy, patient)| Policy {
            priorities: true,
            max_in_flight: limit,
            queue_size,
            timeout: secs(if patient { 1e6 } else { 45.0 }),
            ageing: secs(10.0),
            aged_share: 0.1,
            when_unhealthy,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_explained_is_what_is_done(
        policy in policies(), limit in 1_usize..4, own in any::<bool>(), ops in prop::collection::vec(op(), 1..60),
        tokens in prop_oneof![Just(0), 1_u32..40_000],
    ) {
        let mut witness = Witness::new(policy, limit, own);
        witness.scheduler.tell_starts();
        for op in ops {
            witness.apply(op);
        }
        for model in 0..MODELS {
            witness.what_is_explained_is_done(model, tokens);
        }
    }

    #[test]
    fn the_rules_hold_whatever_happens(policy in policies(), limit in 1_usize..4, own in any::<bool>(), ops in prop::collection::vec(op(), 1..150)) {
        let mut witness = Witness::new(policy, limit, own);
        for op in ops {
            witness.apply(op);
        }
        witness.drain();
        let snapshot = witness.scheduler.snapshot();
        prop_assert_eq!((snapshot.waiting, snapshot.in_flight), (0, 0));
        prop_assert!(witness.scheduler.running.is_empty() && witness.scheduler.lines.is_empty());
        prop_assert!(witness.scheduler.next_timeout().is_none_or(|_| witness.scheduler.lines.is_empty()));
    }
}
