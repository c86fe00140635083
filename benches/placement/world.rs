//! The simulated fleet: ten servers of one slot under a virtual clock, driven by the scheduler that runs in production.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use remuda::admission::scheduler::{Arrival, Decision, Scheduler, Ticket};
use remuda::admission::{
    BackendSpec, LoadedModel, Need, Policy, Residency, RunOutcome, StoredModel, Wanted,
};
use remuda::ids::{BackendId, ModelId, ProviderId};
use remuda::settings::{Placement, SelectorKind, WhenUnhealthy};

pub(crate) const SERVERS: usize = 10;
pub(crate) const MODELS: usize = 12;
/// Models that fit into one server's memory; all models have the same size.
pub(crate) const RESIDENT: usize = 2;
/// Mean time that a warm request holds its slot: exponentially distributed.
pub(crate) const SERVICE: f64 = 4.3;
/// The part of the service that passes before the first token.
pub(crate) const PROMPT: f64 = 0.3;
/// The fastest and the slowest load, in seconds; the models lie evenly between, in an order drawn from the seed.
pub(crate) const LOADS: (f64, f64) = (6.0, 30.0);
const PROBE_INTERVAL: f64 = 5.0;
/// Models stay until they are pushed out.
const KEEP_ALIVE: f64 = 1e7;
const GIB: u64 = 1 << 30;
/// The contexts that are planned in the scenario of contexts.
const CONTEXTS: [u32; 2] = [8192, 32_768];

/// How requests find a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    RoundRobin,
    LeastInFlight,
    WarmOrWait,
    /// Every server holds two models for ever, chosen by [`super::planned::assign`] from the true demand.
    Planned,
}

/// In the order in which they are shown.
pub(crate) const STRATEGIES: [Strategy; 4] = [
    Strategy::RoundRobin,
    Strategy::LeastInFlight,
    Strategy::WarmOrWait,
    Strategy::Planned,
];

/// Mean number of requests in service over the number of servers, were all of them warm.
pub(crate) const UTILISATIONS: [f64; 3] = [0.3, 0.5, 0.7];

impl Strategy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::LeastInFlight => "least in flight",
            Self::WarmOrWait => "warm or wait",
            Self::Planned => "planned",
        }
    }
}

/// What the clients are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// They ask and wait, and do not say what they need.
    Plain,
    /// Their prompts need contexts of up to 4k, 8k and 32k tokens in turns; copies are planned with 8k and 32k.
    Contexts,
    /// A third of them leave at a random moment of a load that they wait for, and ask again at once.
    Leaving,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Contexts => "contexts",
            Self::Leaving => "leaving",
        }
    }
}

/// One run: a strategy under a load, for a time, from a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) strategy: Strategy,
    pub(crate) scenario: Scenario,
    pub(crate) utilisation: f64,
    pub(crate) seed: u64,
    /// Seconds that are simulated but not counted.
    pub(crate) warm_up: f64,
    /// Seconds that are counted.
    pub(crate) measured: f64,
}

/// What one run showed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Seconds from arrival to the first token, of the requests that arrived while measuring.
    pub(crate) ttft: Vec<f64>,
    /// Requests that were started, and those of them that had to wait for their model to load.
    pub(crate) starts: usize,
    pub(crate) cold_loads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    FirstToken(Ticket),
    Done(Ticket),
    Probe(usize),
    /// A load of the gateway's own has ended.
    Loaded(Ticket),
    /// A client that still waits leaves, and asks again.
    Leave(Ticket),
}

/// A model in a server's memory.
#[derive(Clone, Copy, Debug)]
struct Copy {
    model: usize,
    context: u32,
    used: f64,
    /// Requests that run on it.
    running: usize,
}

/// What a server holds. As all copies have the same keep-alive, the idle one whose name comes first goes first, as at Ollama.
#[derive(Debug, Default)]
struct Server {
    copies: Vec<Copy>,
}

impl Server {
    fn copy(&mut self, model: usize) -> Option<&mut Copy> {
        self.copies.iter_mut().find(|copy| copy.model == model)
    }

    fn make_room(&mut self, model: usize) {
        self.copies.retain(|copy| copy.model != model);
        if self.copies.len() >= RESIDENT {
            let idle = self.copies.iter().filter(|copy| copy.running == 0);
            let victim = idle.map(|copy| copy.model).min();
            self.copies.retain(|copy| Some(copy.model) != victim);
        }
    }

    fn bring(&mut self, model: usize, context: u32, now: f64) {
        self.copies.push(Copy {
            model,
            context,
            used: now,
            running: 0,
        });
    }
}

#[derive(Debug)]
struct Request {
    model: usize,
    arrived: f64,
    /// Drawn on arrival, so that all strategies see the same requests.
    service: f64,
    load: Option<f64>,
    started: Option<f64>,
    need: Need,
    server: usize,
}

/// A load of the gateway's own.
#[derive(Clone, Copy, Debug)]
struct OwnLoad {
    server: usize,
    model: usize,
    context: u32,
}

struct World {
    run: Run,
    rng: StdRng,
    now: f64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    scheduler: Scheduler,
    servers: Vec<Server>,
    on_disk: Vec<Vec<StoredModel>>,
    requests: ahash::AHashMap<Ticket, Request>,
    loads: ahash::AHashMap<Ticket, OwnLoad>,
    popularity: Vec<f64>,
    load_times: Vec<f64>,
    report: Report,
}

/// Zipf's law with exponent 1: the k-th most popular model is asked for 1/k as often as the first.
pub(crate) fn popularity() -> Vec<f64> {
    let total: f64 = (1..=MODELS).map(|rank| 1.0 / rank as f64).sum();
    (1..=MODELS).map(|rank| 1.0 / rank as f64 / total).collect()
}

pub(crate) fn simulate(run: Run) -> Report {
    let mut world = World::new(run);
    world.start();
    let end = run.warm_up + run.measured;
    while let Some((now, event)) = world.next() {
        if now > end {
            break;
        }
        world.now = now;
        if let Some(event) = event {
            world.handle(event);
        }
        world.carry_out();
    }
    world.finish()
}

/// Nobody is refused, so that every wait is seen to its end.
pub(crate) const POLICY: Policy = Policy {
    priorities: true,
    max_in_flight: 0,
    queue_size: usize::MAX,
    timeout: Duration::from_secs(10_000_000),
    ageing: Duration::from_secs(30),
    aged_share: 0.1,
    when_unhealthy: WhenUnhealthy::Wait,
};

/// Returns how many seconds each model takes to load, spread evenly and in random order.
fn load_times(rng: &mut StdRng) -> Vec<f64> {
    let step = (LOADS.1 - LOADS.0) / (MODELS - 1) as f64;
    let mut times: Vec<f64> = (0..MODELS)
        .map(|index| LOADS.0 + step * index as f64)
        .collect();
    times.shuffle(rng);
    times
}

impl World {
    fn new(run: Run) -> Self {
        let mut rng = StdRng::seed_from_u64(run.seed);
        let load_times = load_times(&mut rng);
        let contexts: &[u32] = match run.scenario {
            Scenario::Contexts => &CONTEXTS,
            Scenario::Plain | Scenario::Leaving => &[],
        };
        let stored = |model| StoredModel {
            contexts: contexts.into(),
            ..StoredModel::new(ModelId(model as u32), 10 * GIB)
        };
        let all: Vec<_> = (0..MODELS).map(stored).collect();
        let popularity = popularity();
        let plan = super::planned::assign(&popularity);
        let planned = run.strategy == Strategy::Planned;
        let servers = (0..SERVERS)
            .map(|server| {
                let mut there = Server::default();
                if planned {
                    let largest = CONTEXTS[1];
                    let models = plan[server].iter();
                    models.for_each(|model| there.bring(*model, largest, 0.0));
                }
                there
            })
            .collect();
        let on_disk = (0..SERVERS)
            .map(|server| {
                if planned {
                    plan[server]
                        .iter()
                        .map(|&model| all[model].clone())
                        .collect()
                } else {
                    all.clone()
                }
            })
            .collect();
        Self {
            run,
            rng,
            now: 0.0,
            events: BinaryHeap::new(),
            sequence: 0,
            scheduler: Scheduler::new(POLICY),
            servers,
            on_disk,
            requests: ahash::AHashMap::new(),
            loads: ahash::AHashMap::new(),
            popularity,
            load_times,
            report: Report::default(),
        }
    }

    fn start(&mut self) {
        let (selector, placement) = match self.run.strategy {
            Strategy::RoundRobin => (SelectorKind::RoundRobin, Placement::Off),
            Strategy::LeastInFlight => (SelectorKind::LeastInFlight, Placement::Off),
            Strategy::WarmOrWait | Strategy::Planned => {
                (SelectorKind::LeastInFlight, Placement::WarmOrWait)
            }
        };
        if placement == Placement::WarmOrWait {
            self.scheduler.own_loads(Duration::ZERO);
        }
        for server in 0..SERVERS {
            let spec = BackendSpec {
                provider: ProviderId::at(0),
                order: server as u32,
                weight: 1,
                cost: 1.0,
                slots: Some(1),
                parallel: Some(u32::MAX),
                vram: None,
                selector,
                placement,
                provider_limit: None,
            };
            self.scheduler
                .join(Duration::ZERO, BackendId(server as u32), spec);
            self.probe(server);
        }
        self.schedule(0.0, Event::Arrival);
    }

    /// The next moment at which something happens, or at which the scheduler wants to be asked.
    fn next(&mut self) -> Option<(f64, Option<Event>)> {
        let Reverse((at, _, _)) = self.events.peek()?;
        let event = *at as f64 / 1e9;
        match self
            .scheduler
            .next_timeout()
            .map(|timeout| timeout.as_secs_f64())
        {
            Some(timeout) if timeout < event => Some((timeout.max(self.now), None)),
            _ => self
                .events
                .pop()
                .map(|Reverse((_, _, happens))| (event, Some(happens))),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                let request = Request {
                    model: self.draw_model(),
                    arrived: self.now,
                    service: self.exponential(SERVICE - PROMPT),
                    load: None,
                    started: None,
                    need: self.draw_need(),
                    server: 0,
                };
                self.ask(request);
                let rate = self.run.utilisation * SERVERS as f64 / SERVICE;
                let gap = self.exponential(1.0 / rate);
                self.schedule(gap, Event::Arrival);
            }
            Event::Leave(ticket) => {
                let waits = self.requests.get(&ticket);
                if waits.is_some_and(|request| request.started.is_none()) {
                    self.scheduler.cancel(self.time(), ticket);
                    let request = self.requests.remove(&ticket).expect("it was just seen");
                    self.ask(request);
                }
            }
            Event::Loaded(load) => {
                let own = self.loads.remove(&load).expect("a load ends once");
                self.servers[own.server].bring(own.model, own.context, self.now);
                self.scheduler.load_done(self.time(), load);
            }
            Event::FirstToken(ticket) => {
                self.scheduler.loaded(self.time(), ticket);
                let arrived = self.requests[&ticket].arrived;
                if arrived >= self.run.warm_up {
                    self.report.ttft.push(self.now - arrived);
                }
            }
            Event::Done(ticket) => {
                let request = self
                    .requests
                    .remove(&ticket)
                    .expect("a running request is kept until it is done");
                let now = self.now;
                if let Some(copy) = self.servers[request.server].copy(request.model) {
                    copy.running = copy.running.saturating_sub(1);
                    copy.used = now;
                }
                let load = request.load.unwrap_or(0.05);
                let outcome = RunOutcome {
                    ok: true,
                    load: Some(Duration::from_secs_f64(load)),
                    ttft: Some(Duration::from_secs_f64(load + PROMPT)),
                    ..RunOutcome::default()
                };
                self.scheduler.complete(self.time(), ticket, outcome);
            }
            Event::Probe(server) => self.probe(server),
        }
    }

    fn ask(&mut self, request: Request) {
        let arrival = Arrival {
            wanted: Wanted::Model(ModelId(request.model as u32)),
            priority: 0,
            pinned: None,
            need: request.need,
        };
        let ticket = self
            .scheduler
            .arrive(self.time(), arrival)
            .expect("the queue has no bound here");
        if self.run.scenario == Scenario::Leaving && self.rng.gen_bool(1.0 / 3.0) {
            let share: f64 = self.rng.r#gen_range(0.1..0.9);
            let load = self.load_times[request.model];
            self.schedule(share * load, Event::Leave(ticket));
        }
        self.requests.insert(ticket, request);
    }

    fn carry_out(&mut self) {
        while let Some(decision) = self.scheduler.next_decision(self.time()) {
            match decision {
                Decision::Start {
                    ticket,
                    backend,
                    context,
                    ..
                } => self.start_request(ticket, backend.0 as usize, context),
                Decision::Load {
                    load,
                    backend,
                    model,
                    context,
                    ..
                } => {
                    let own = OwnLoad {
                        server: backend.0 as usize,
                        model: model.0 as usize,
                        context: context.unwrap_or(4096),
                    };
                    self.report.cold_loads += usize::from(self.now >= self.run.warm_up);
                    self.servers[own.server].make_room(own.model);
                    self.loads.insert(load, own);
                    self.schedule(self.load_times[own.model], Event::Loaded(load));
                }
                Decision::Refuse { .. } | Decision::Recall { .. } | Decision::Heal { .. } => {
                    panic!("nobody is refused or late here: {decision:?}")
                }
            }
        }
    }

    fn start_request(&mut self, ticket: Ticket, server: usize, context: Option<u32>) {
        let request = self
            .requests
            .get_mut(&ticket)
            .expect("a started request has arrived");
        let there = &mut self.servers[server];
        request.started = Some(self.now);
        request.server = server;
        let counted = usize::from(self.now >= self.run.warm_up);
        self.report.starts += counted;
        if there.copy(request.model).is_none() {
            there.make_room(request.model);
            // What the request states is what the server loads with.
            there.bring(request.model, context.unwrap_or(4096), self.now);
            request.load = Some(self.load_times[request.model]);
            self.report.cold_loads += counted;
        }
        let copy = there.copy(request.model).expect("it was just brought");
        assert!(copy.context >= request.need.tokens, "a prompt would be cut");
        copy.running += 1;
        copy.used = self.now;
        let load = request.load.unwrap_or(0.0);
        let service = request.service;
        self.schedule(load + PROMPT, Event::FirstToken(ticket));
        self.schedule(load + PROMPT + service, Event::Done(ticket));
    }

    fn probe(&mut self, server: usize) {
        let loaded: Vec<_> = self.servers[server]
            .copies
            .iter()
            .map(|copy| LoadedModel {
                model: ModelId(copy.model as u32),
                context: Some(copy.context),
                size: 10 * GIB,
                vram: 10 * GIB,
                expires_in: Duration::from_secs_f64(KEEP_ALIVE + copy.used - self.now),
            })
            .collect();
        let residency = Residency {
            on_disk: &self.on_disk[server],
            loaded: &loaded,
        };
        self.scheduler
            .observe(self.time(), BackendId(server as u32), residency);
        self.schedule(PROBE_INTERVAL, Event::Probe(server));
    }

    /// Those that still wait count with the time that they have waited so far: a collapse must not hide in the queue.
    fn finish(mut self) -> Report {
        for request in self.requests.values() {
            if request.started.is_none() && request.arrived >= self.run.warm_up {
                self.report.ttft.push(self.now - request.arrived);
            }
        }
        self.report
    }

    fn draw_need(&mut self) -> Need {
        let tokens = match self.run.scenario {
            Scenario::Plain | Scenario::Leaving => 0,
            Scenario::Contexts => match self.rng.gen_range(0..10) {
                0..=3 => 0,
                4..=6 => 4000,
                7..=8 => 8000,
                _ => 30_000,
            },
        };
        Need {
            tokens,
            ..Need::default()
        }
    }

    fn draw_model(&mut self) -> usize {
        let mut left: f64 = self.rng.r#gen();
        for (model, share) in self.popularity.iter().enumerate() {
            if left < *share {
                return model;
            }
            left -= share;
        }
        MODELS - 1
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        let uniform: f64 = self.rng.r#gen();
        -mean * (1.0 - uniform).ln()
    }

    fn schedule(&mut self, after: f64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((
            ((self.now + after) * 1e9) as u64,
            self.sequence,
            event,
        )));
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }
}
