//! Servers that are slow, hang, run on the CPU or cannot load a model: ten simulated ones under a virtual clock, two models in
//! the memory of each, one five times as slow as the other, and answers that vary by a fifth.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ahash::AHashMap;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use remuda::admission::scheduler::{
    Arrival, Condition, CopyView, Decision, ExpectedStart, NoSlot, Scheduler, Ticket,
};
use remuda::admission::{
    BackendSpec, LoadedModel, Need, Residency, RunOutcome, Scope, StoredModel, Wanted,
};
use remuda::ids::{BackendId, ModelId, ProviderId};
use remuda::settings::{Placement, SelectorKind};

use super::world::POLICY;

pub(crate) const SERVERS: usize = 10;
/// The server that something happens to.
pub(crate) const PATIENT: usize = 3;
/// The models: a quick one, a slow one, and one that is asked for where it cannot be loaded.
const QUICK: usize = 0;
const SLOW: usize = 1;
const BROKEN: usize = 2;
/// Tokens per second that each model writes, and how many times as fast it reads.
const WRITES: [f64; 3] = [50.0, 10.0, 50.0];
const READS: f64 = 40.0;
/// The standard deviation of the logarithm of a speed.
const NOISE: f64 = 0.2;
/// Seconds that a load takes, that a broken one takes to fail, and between two probes.
const LOAD: f64 = 12.0;
const FAILURE: f64 = 3.0;
const PROBE: f64 = 5.0;
/// Requests per second: about 0.4 of what all copies can do.
const RATE: f64 = 1.5;
const GIB: u64 = 1 << 30;

/// What happens to the patient, or what clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Nothing happens.
    Noise,
    /// It has half of its speed for two hours.
    HalfSpeed,
    /// It has a tenth of its speed for two hours, as on the CPU, and does not say so.
    Cpu,
    /// Its copy of the quick model answers nothing until it has been unloaded.
    Hangs,
    /// A part of its copies runs on the CPU, as its lists say; they have a fifth of the speed.
    Spilled,
    /// Once a second somebody asks for a model that cannot be loaded anywhere.
    Broken,
    /// Requests for the quick model state and need contexts of several sizes in turn.
    InTurn,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Requests that the patient was sent from the onset on until it was found.
    pub(crate) found_after: Option<usize>,
    /// Seconds from the end of the fault, or from when it was found if that ends it, until the copies are well again.
    pub(crate) back_after: Option<f64>,
    /// Copies that nothing is wrong with and that were taken to be slow or to hang.
    pub(crate) false_alarms: usize,
    /// Loads that were begun.
    pub(crate) loads: usize,
    /// Requests that were answered, and those of them that the patient has answered from the onset on.
    pub(crate) answered: usize,
    pub(crate) by_patient: usize,
    /// Requests that came and have neither been answered nor refused an hour later.
    pub(crate) lost: usize,
    /// Seconds to the first token, of the models that can be loaded.
    pub(crate) ttft: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    AskForBroken,
    /// Of the attempt with this number.
    Content(Ticket, u64),
    Done(Ticket, u64),
    Late(Ticket, u64),
    Probe(usize),
    Loaded(Ticket),
    Tried(Ticket),
    Onset,
    Recovery,
}

/// This is a request, or the second attempt at one beside the first.
#[derive(Clone, Debug)]
struct Request {
    model: usize,
    arrived: f64,
    prompt: u32,
    output: u32,
    server: usize,
    attempt: u64,
    /// The one that it was sent beside, as that was late.
    beside: Option<Ticket>,
    /// The one that was sent beside it.
    other: Option<Ticket>,
}

#[derive(Debug, Default)]
struct Server {
    /// Models and contexts.
    copies: Vec<(usize, u32)>,
    /// It is a share of the usual speed.
    speed: f64,
    hangs: bool,
    spilled: bool,
}

/// Something of the gateway's own that is under way.
#[derive(Clone, Copy, Debug)]
struct Errand {
    server: usize,
    model: usize,
    context: u32,
    unload: bool,
}

pub(crate) struct Clinic {
    case: Case,
    rng: StdRng,
    now: f64,
    onset: f64,
    end: f64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    scheduler: Scheduler,
    servers: Vec<Server>,
    requests: AHashMap<Ticket, Request>,
    errands: AHashMap<Ticket, Errand>,
    sent: usize,
    /// The patient is ill.
    ill: bool,
    recovered_at: Option<f64>,
    arrivals: u32,
    findings: Findings,
}

/// Runs a case for so many hours; what happens begins after the first.
pub(crate) fn observe(case: Case, hours: f64, seed: u64) -> Findings {
    let mut clinic = Clinic::new(case, hours, seed);
    clinic.open();
    while let Some((at, event)) = clinic.next() {
        if at > clinic.end {
            break;
        }
        clinic.now = at;
        if let Some(event) = event {
            clinic.handle(event);
        }
        clinic.carry_out();
    }
    let long_ago = clinic.end - 3600.0;
    let forgotten = clinic.requests.values();
    clinic.findings.lost = forgotten.filter(|one| one.arrived < long_ago).count();
    clinic.findings
}

impl Clinic {
    fn new(case: Case, hours: f64, seed: u64) -> Self {
        let server = |_| Server {
            speed: 1.0,
            ..Server::default()
        };
        Self {
            case,
            rng: StdRng::seed_from_u64(seed),
            now: 0.0,
            onset: 3600.0,
            end: hours * 3600.0,
            events: BinaryHeap::new(),
            sequence: 0,
            scheduler: Scheduler::new(POLICY),
            servers: (0..SERVERS).map(server).collect(),
            requests: AHashMap::new(),
            errands: AHashMap::new(),
            sent: 0,
            ill: false,
            recovered_at: None,
            arrivals: 0,
            findings: Findings::default(),
        }
    }

    fn open(&mut self) {
        self.scheduler.own_loads(Duration::ZERO);
        for server in 0..SERVERS {
            let spec = BackendSpec {
                provider: ProviderId::at(0),
                order: server as u32,
                weight: 1,
                cost: 1.0,
                slots: None,
                parallel: Some(1),
                vram: Some(80 * GIB),
                selector: SelectorKind::LeastInFlight,
                placement: Placement::WarmOrWait,
                provider_limit: None,
            };
            let id = BackendId(server as u32);
            self.scheduler.join(Duration::ZERO, id, spec);
            if self.case != Case::InTurn {
                self.servers[server].copies = vec![(QUICK, 8192), (SLOW, 8192)];
            }
            self.probe(server);
        }
        self.schedule(0.0, Event::Arrival);
        self.schedule(self.onset, Event::Onset);
        self.schedule(self.onset + 7200.0, Event::Recovery);
        if self.case == Case::Broken {
            self.schedule(self.onset, Event::AskForBroken);
        }
    }

    fn next(&mut self) -> Option<(f64, Option<Event>)> {
        let Reverse((at, ..)) = self.events.peek()?;
        let at = *at as f64 / 1e9;
        match self.scheduler.next_timeout().map(|next| next.as_secs_f64()) {
            Some(next) if next < at => Some((next.max(self.now), None)),
            _ => self
                .events
                .pop()
                .map(|Reverse((_, _, event))| (at, Some(event))),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                self.ask();
                let uniform: f64 = self.rng.r#gen();
                self.schedule(-(1.0 - uniform).ln() / RATE, Event::Arrival);
            }
            Event::AskForBroken => {
                let asked = self
                    .scheduler
                    .arrive(self.time(), arrival(BROKEN, Need::default()));
                if let Ok(ticket) = asked {
                    let request = self.draw(BROKEN);
                    self.requests.insert(ticket, request);
                }
                self.schedule(1.0, Event::AskForBroken);
            }
            Event::Content(ticket, attempt) if self.runs(ticket, attempt) => {
                self.scheduler.loaded(self.time(), ticket);
                let arrived = self.requests[&ticket].arrived;
                self.findings.ttft.push(self.now - arrived);
            }
            Event::Done(ticket, attempt) if self.runs(ticket, attempt) => self.done(ticket),
            Event::Late(ticket, attempt) if self.runs(ticket, attempt) => self.late(ticket),
            Event::Content(..) | Event::Done(..) | Event::Late(..) => {}
            Event::Probe(server) => self.probe(server),
            Event::Loaded(load) => self.loaded(load),
            Event::Tried(heal) => self.tried(heal),
            Event::Onset => self.fall_ill(),
            Event::Recovery if self.ill && self.case != Case::Hangs => {
                self.servers[PATIENT].speed = 1.0;
                self.ill = false;
                self.recovered_at = Some(self.now);
            }
            Event::Recovery => {}
        }
    }

    fn fall_ill(&mut self) {
        let patient = &mut self.servers[PATIENT];
        match self.case {
            Case::HalfSpeed => patient.speed = 0.5,
            Case::Cpu => patient.speed = 0.1,
            Case::Hangs => patient.hangs = true,
            Case::Spilled => {
                patient.speed = 0.2;
                patient.spilled = true;
            }
            Case::Noise | Case::Broken | Case::InTurn => return,
        }
        self.ill = true;
    }

    fn draw(&mut self, model: usize) -> Request {
        let uniform: f64 = self.rng.r#gen();
        Request {
            model,
            arrived: self.now,
            prompt: self.rng.gen_range(256..1500),
            // The cast saturates.
            output: 16 + (-(1.0 - uniform).ln() * 120.0) as u32,
            server: 0,
            attempt: 0,
            beside: None,
            other: None,
        }
    }

    fn ask(&mut self) {
        let in_turn = self.case == Case::InTurn;
        let slow = !in_turn && self.rng.gen_bool(0.2);
        let request = self.draw(if slow { SLOW } else { QUICK });
        self.arrivals += 1;
        let sizes = [None, Some(4096), Some(8192), Some(16_384), Some(32_768)];
        let stated = if in_turn {
            sizes[self.arrivals as usize % sizes.len()]
        } else {
            None
        };
        let need = Need {
            tokens: stated.map_or(0, |stated| stated - 100),
            stated,
            embeds: false,
        };
        let ticket = self
            .scheduler
            .arrive(self.time(), arrival(request.model, need))
            .expect("the queue has no bound here");
        self.requests.insert(ticket, request);
    }

    fn runs(&self, ticket: Ticket, attempt: u64) -> bool {
        let request = self.requests.get(&ticket);
        request.is_some_and(|request| request.attempt == attempt)
    }

    fn carry_out(&mut self) {
        while let Some(decision) = self.scheduler.next_decision(self.time()) {
            match decision {
                Decision::Start {
                    ticket,
                    backend,
                    expected,
                    ..
                } => self.start(ticket, backend.0 as usize, expected),
                Decision::Load {
                    load,
                    backend,
                    model,
                    context,
                    ..
                } => {
                    self.findings.loads += 1;
                    let takes = if model.0 as usize == BROKEN {
                        FAILURE
                    } else {
                        LOAD
                    };
                    self.begin(load, (backend, model), context, true);
                    self.schedule(takes, Event::Loaded(load));
                }
                Decision::Heal {
                    heal,
                    backend,
                    model,
                    context,
                    unload,
                } => {
                    self.begin(heal, (backend, model), context, unload);
                    let takes = if unload { LOAD } else { 1.0 };
                    self.schedule(takes, Event::Tried(heal));
                }
                Decision::Recall { ticket } => self.recall(ticket),
                Decision::Refuse { ticket, refusal } => {
                    assert!(matches!(refusal, NoSlot::CannotLoad { .. }), "{refusal:?}");
                    self.requests.remove(&ticket);
                }
            }
        }
        self.look();
    }

    fn begin(
        &mut self,
        errand: Ticket,
        (server, model): (BackendId, ModelId),
        context: Option<u32>,
        unload: bool,
    ) {
        let errand_there = Errand {
            server: server.0 as usize,
            model: model.0 as usize,
            context: context.unwrap_or(4096),
            unload,
        };
        self.errands.insert(errand, errand_there);
    }

    fn start(&mut self, ticket: Ticket, server: usize, expected: ExpectedStart) {
        self.sequence += 1;
        let attempt = self.sequence;
        let request = self
            .requests
            .get_mut(&ticket)
            .expect("a started request has arrived");
        request.server = server;
        request.attempt = attempt;
        let model = request.model;
        self.sent += usize::from(self.ill && server == PATIENT);
        let limit = 5.0 + 2.0 * expected.total().as_secs_f64();
        if self.servers[server].hangs && model == QUICK {
            self.schedule(limit, Event::Late(ticket, attempt));
            return;
        }
        let (read, written) = self.times(ticket);
        if read > limit {
            self.schedule(limit, Event::Late(ticket, attempt));
        }
        self.schedule(read, Event::Content(ticket, attempt));
        self.schedule(read + written, Event::Done(ticket, attempt));
    }

    /// Seconds that the request's prompt and its answer take; the same whenever it is asked for one attempt.
    fn times(&self, ticket: Ticket) -> (f64, f64) {
        let request = &self.requests[&ticket];
        let speed = self.servers[request.server].speed;
        let writes = WRITES[request.model] * speed;
        let mut rng = StdRng::seed_from_u64(request.attempt);
        let mut noise = || {
            let sum: f64 = (0..12).map(|_| rng.r#gen::<f64>()).sum();
            (NOISE * (sum - 6.0)).exp()
        };
        let read = f64::from(request.prompt) / (writes * READS) * noise();
        (read, f64::from(request.output) / writes * noise())
    }

    fn done(&mut self, ticket: Ticket) {
        let (read, written) = self.times(ticket);
        let request = self.requests.remove(&ticket).expect("it was just seen");
        let seconds = Duration::from_secs_f64;
        let outcome = RunOutcome {
            ok: true,
            load: Some(Duration::ZERO),
            ttft: Some(seconds(read)),
            inside: Some(Duration::ZERO),
            prompt: Some((request.prompt, seconds(read))),
            told_cached: true,
            output: Some((request.output, seconds(written))),
        };
        self.scheduler.complete(self.time(), ticket, outcome);
        self.findings.answered += 1;
        self.findings.by_patient += usize::from(request.server == PATIENT && self.now > self.onset);
        for loser in [request.beside, request.other].into_iter().flatten() {
            if self.requests.remove(&loser).is_some() {
                self.scheduler.cancel(self.time(), loser);
            }
        }
    }

    /// As the gateway does: the scheduler is told, and another server asked beside this one.
    fn late(&mut self, ticket: Ticket) {
        self.scheduler.late(self.time(), ticket);
        let late = self.requests[&ticket].clone();
        if late.beside.is_some() || late.other.is_some() {
            return;
        }
        let scope = Scope {
            excluded: vec![BackendId(late.server as u32)],
            ..Scope::default()
        };
        let arrival = arrival(late.model, Need::default());
        if let Ok(other) = self.scheduler.arrive_within(self.time(), arrival, scope) {
            if let Some(first) = self.requests.get_mut(&ticket) {
                first.other = Some(other);
            }
            let second = Request {
                beside: Some(ticket),
                other: None,
                attempt: 0,
                ..late
            };
            self.requests.insert(other, second);
        }
    }

    fn recall(&mut self, ticket: Ticket) {
        let has_other = self.requests[&ticket].other.is_some();
        if has_other {
            self.scheduler.cancel(self.time(), ticket);
            self.requests.remove(&ticket);
        } else {
            self.requests
                .get_mut(&ticket)
                .expect("it was just seen")
                .attempt = 0;
            let retried = self.scheduler.retry(self.time(), ticket, None);
            retried.expect("nine other servers have the model");
        }
    }

    fn loaded(&mut self, load: Ticket) {
        let errand = self.errands.remove(&load).expect("a load ends once");
        if errand.model == BROKEN {
            self.scheduler.load_failed(self.time(), load);
            return;
        }
        let copies = &mut self.servers[errand.server].copies;
        copies.retain(|(model, _)| *model != errand.model);
        copies.push((errand.model, errand.context));
        self.scheduler.load_done(self.time(), load);
    }

    fn tried(&mut self, heal: Ticket) {
        let errand = self.errands.remove(&heal).expect("a try ends once");
        let server = &mut self.servers[errand.server];
        if server.hangs && errand.unload {
            server.hangs = false;
            self.ill = false;
            self.recovered_at = Some(self.now);
        }
        let rate = WRITES[errand.model] * server.speed;
        let sample = RunOutcome {
            ok: true,
            output: Some((16, Duration::from_secs_f64(16.0 / rate))),
            ..RunOutcome::default()
        };
        self.scheduler.healed(self.time(), heal, sample);
    }

    /// Notes what the scheduler thinks of the copies.
    fn look(&mut self) {
        let now = self.time();
        let unwell: Vec<CopyView> = self
            .scheduler
            .copies(now)
            .filter(|copy| copy.condition != Condition::Well)
            .collect();
        let patient = |copy: &&CopyView| copy.backend.0 as usize == PATIENT;
        let of_patient = unwell.iter().filter(patient).count();
        if of_patient > 0 && self.ill && self.findings.found_after.is_none() {
            self.findings.found_after = Some(self.sent);
        }
        let ill_once = self.ill || self.recovered_at.is_some();
        let excused = if ill_once { of_patient } else { 0 };
        self.findings.false_alarms += unwell.len() - excused;
        if let Some(at) = self.recovered_at
            && of_patient == 0
            && self.findings.back_after.is_none()
        {
            self.findings.back_after = Some(self.now - at);
        }
    }

    fn probe(&mut self, server: usize) {
        let there = &self.servers[server];
        let vram = if there.spilled { 6 * GIB } else { 10 * GIB };
        let loaded: Vec<_> = there
            .copies
            .iter()
            .map(|(model, context)| LoadedModel {
                model: ModelId(*model as u32),
                context: Some(*context),
                size: 10 * GIB,
                vram,
                expires_in: Duration::from_secs(1_000_000),
            })
            .collect();
        let contexts: &[u32] = match self.case {
            Case::InTurn => &[8192, 32_768],
            _ => &[],
        };
        let stored = |model| StoredModel {
            contexts: contexts.into(),
            ..StoredModel::new(ModelId(model), 10 * GIB)
        };
        let on_disk: Vec<_> = (0..3).map(stored).collect();
        let residency = Residency {
            on_disk: &on_disk,
            loaded: &loaded,
        };
        let id = BackendId(server as u32);
        self.scheduler.observe(self.time(), id, residency);
        self.schedule(PROBE, Event::Probe(server));
    }

    fn schedule(&mut self, after: f64, event: Event) {
        self.sequence += 1;
        let at = ((self.now + after) * 1e9) as u64;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }
}

fn arrival(model: usize, need: Need) -> Arrival {
    Arrival {
        wanted: Wanted::Model(ModelId(model as u32)),
        priority: 0,
        pinned: None,
        need,
    }
}
