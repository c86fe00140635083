//! What one decision of the slot scheduler costs, from one idle backend to a thousand busy ones and ten thousand
//! waiting requests. The target is 5 µs for the largest; the slowest per mille are printed as well.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use remuda::admission::scheduler::{Arrival, Decision, Scheduler, Ticket};
use remuda::admission::{
    BackendSpec, Dispatcher, LoadedModel, Need, Policy, Residency, RunOutcome, StoredModel, Want,
    Wanted,
};
use remuda::ids::{BackendId, ModelId, ProviderId};
use remuda::settings::{Placement, SelectorKind, WhenUnhealthy};

const MODELS: u32 = 200;
const GIB: u64 = 1 << 30;

/// The size of a fleet and of its queue.
#[derive(Clone, Copy)]
struct Size {
    backends: u32,
    /// Models that are asked for; the first ones of those that are loaded.
    models: u32,
    waiters: u32,
}

const SIZES: [Size; 5] = [
    Size {
        backends: 1,
        models: 1,
        waiters: 0,
    },
    Size {
        backends: 16,
        models: 12,
        waiters: 0,
    },
    Size {
        backends: 16,
        models: 12,
        waiters: 100,
    },
    Size {
        backends: 1_000,
        models: MODELS,
        waiters: 0,
    },
    Size {
        backends: 1_000,
        models: MODELS,
        waiters: 10_000,
    },
];

fn policy() -> Policy {
    Policy {
        priorities: true,
        max_in_flight: 0,
        queue_size: 20_000,
        timeout: Duration::from_secs(1_000_000),
        ageing: Duration::from_secs(30),
        aged_share: 0.1,
        when_unhealthy: WhenUnhealthy::Wait,
    }
}

/// How servers are chosen, and who loads models.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    WarmOrWait,
    /// The gateway loads models itself; copies have contexts of two sizes and slots of their own, requests need what is drawn.
    OwnLoads,
    Off,
}

const MODES: [(&str, Mode); 3] = [
    ("warm_or_wait", Mode::WarmOrWait),
    ("own_loads", Mode::OwnLoads),
    ("off", Mode::Off),
];

fn spec(order: u32, mode: Mode) -> BackendSpec {
    let own = mode == Mode::OwnLoads;
    BackendSpec {
        provider: ProviderId::at(0),
        order,
        weight: 1,
        cost: 1.0,
        slots: (!own).then_some(1),
        parallel: (!own).then_some(u32::MAX),
        vram: Some(20 * GIB),
        selector: SelectorKind::LeastInFlight,
        placement: if mode == Mode::Off {
            Placement::Off
        } else {
            Placement::WarmOrWait
        },
        provider_limit: None,
    }
}

/// A fleet on a clock of its own: every model on every disk, two of them in every memory.
struct Fleet {
    scheduler: Scheduler,
    models: u32,
    now: Duration,
    mode: Mode,
    running: Vec<Ticket>,
    loads: Vec<Ticket>,
    rng: StdRng,
}

impl Fleet {
    fn new(size: Size, mode: Mode) -> Self {
        let mut fleet = Self {
            scheduler: Scheduler::new(policy()),
            models: size.models,
            now: Duration::from_secs(1),
            mode,
            running: Vec::new(),
            loads: Vec::new(),
            rng: StdRng::seed_from_u64(7),
        };
        if mode == Mode::OwnLoads {
            fleet.scheduler.own_loads(fleet.now);
        }
        (0..size.backends).for_each(|backend| fleet.join(backend, mode));
        if size.waiters > 0 {
            (0..size.backends + size.waiters).for_each(|_| fleet.arrive());
        }
        fleet
    }

    fn join(&mut self, backend: u32, mode: Mode) {
        let spec = spec(backend, mode);
        let on_disk: Vec<_> = (0..MODELS)
            .map(|model| StoredModel::new(ModelId(model), 8 * GIB))
            .collect();
        let loaded = [backend, backend + 1].map(|model| LoadedModel {
            model: ModelId(model % self.models),
            context: (mode == Mode::OwnLoads).then_some(if backend.is_multiple_of(4) {
                32_768
            } else {
                8192
            }),
            size: 10 * GIB,
            vram: 10 * GIB,
            expires_in: Duration::from_secs(300),
        });
        let residency = Residency {
            on_disk: &on_disk,
            loaded: &loaded,
        };
        self.scheduler.join(self.now, BackendId(backend), spec);
        self.scheduler
            .observe(self.now, BackendId(backend), residency);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(decision) = self.scheduler.next_decision(self.now) {
            match black_box(decision) {
                Decision::Start { ticket, .. } => self.running.push(ticket),
                Decision::Load { load, .. } => self.loads.push(load),
                Decision::Refuse { .. } | Decision::Recall { .. } | Decision::Heal { .. } => {}
            }
        }
    }

    fn arrive(&mut self) {
        // Few models are popular, as in life: the square of a uniform number.
        let uniform: f64 = self.rng.r#gen();
        let model = ModelId((uniform * uniform * f64::from(self.models)) as u32);
        let arrival = Arrival {
            wanted: Wanted::Model(model),
            priority: 0,
            pinned: None,
            need: Need {
                tokens: self.need(),
                ..Need::default()
            },
        };
        self.scheduler
            .arrive(self.now, arrival)
            .expect("the queue is not full");
        self.drain();
    }

    /// One request in ten needs the larger of the two contexts.
    fn need(&mut self) -> u32 {
        match self.mode {
            Mode::OwnLoads if self.rng.r#gen_bool(0.1) => self.rng.r#gen_range(8193..=32_768),
            Mode::OwnLoads => self.rng.r#gen_range(100..=8192),
            Mode::WarmOrWait | Mode::Off => 0,
        }
    }

    fn complete(&mut self) {
        if let Some(load) = self.loads.pop() {
            self.scheduler.load_done(self.now, load);
            self.drain();
        }
        if self.running.is_empty() {
            return;
        }
        let index = self.rng.r#gen_range(0..self.running.len());
        let ticket = self.running.swap_remove(index);
        let outcome = self.outcome();
        self.scheduler.complete(self.now, ticket, outcome);
        self.drain();
    }

    /// Where the gateway loads models itself, answers tell how fast the copies are as well.
    fn outcome(&mut self) -> RunOutcome {
        let told = self.mode == Mode::OwnLoads;
        let mut speed = |tokens: u32, rate: f64| {
            let noise = self.rng.r#gen_range(0.8..1.2);
            let took = Duration::from_secs_f64(f64::from(tokens) / (rate * noise));
            told.then_some((tokens, took))
        };
        RunOutcome {
            ok: true,
            load: None,
            ttft: Some(Duration::from_millis(300)),
            // Each copy serves one at once, as is the default of its server.
            inside: told.then_some(Duration::from_secs(4)),
            prompt: speed(1000, 2000.0),
            told_cached: true,
            output: speed(200, 50.0),
        }
    }

    /// One request comes and one ends: what each event took, with all that was decided upon it.
    fn turn(&mut self) -> [Duration; 2] {
        self.now += Duration::from_millis(5);
        let start = Instant::now();
        self.arrive();
        let arrived = start.elapsed();
        self.complete();
        [arrived, start.elapsed() - arrived]
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    for size in SIZES {
        for (name, mode) in MODES {
            let mut fleet = Fleet::new(size, mode);
            let parameters = format!("{} backends, {} waiters", size.backends, size.waiters);
            group.bench_function(BenchmarkId::new(name, parameters), |bencher| {
                let turns = |turns| {
                    (0..turns)
                        .map(|_| fleet.turn().iter().sum::<Duration>())
                        .sum::<Duration>()
                        / 2
                };
                bencher.iter_custom(turns);
            });
        }
    }
    group.finish();
}

/// The slowest events of the largest fleet: how long requests may have to wait for the scheduler's lock.
fn slowest() {
    for (name, mode) in MODES {
        let mut fleet = Fleet::new(SIZES[4], mode);
        let mut events: Vec<_> = (0..100_000).flat_map(|_| fleet.turn()).collect();
        events.sort_unstable();
        let quantile = |share: f64| events[(share * (events.len() - 1) as f64) as usize];
        eprintln!(
            "{name}, 1000 backends, 10000 waiters: p50 {:?}, p99 {:?}, p99.9 {:?}",
            quantile(0.5),
            quantile(0.99),
            quantile(0.999)
        );
    }
}

/// What a request pays that finds a free slot: acquire, first content, finish.
fn free_slot(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    let dispatcher = Dispatcher::new(policy());
    for backend in 0..16 {
        dispatcher.join(BackendId(backend), spec(backend, Mode::WarmOrWait));
        let loaded = LoadedModel {
            model: ModelId(0),
            context: None,
            size: 10 * GIB,
            vram: 10 * GIB,
            expires_in: Duration::from_secs(300),
        };
        let residency = Residency {
            on_disk: &[StoredModel::new(ModelId(0), 8 * GIB)],
            loaded: &[loaded],
        };
        dispatcher.observe(BackendId(backend), residency);
    }
    let want = Want {
        wanted: Wanted::Model(ModelId(0)),
        priority: 0,
        pinned: None,
        need: Need::default(),
        recipe: None,
    };
    criterion.bench_function("dispatcher/free slot of 16", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut permit = dispatcher
                    .acquire(want.clone())
                    .await
                    .expect("a slot is free");
                permit.first_content();
                permit.finish(RunOutcome {
                    ok: true,
                    load: None,
                    ttft: Some(Duration::from_millis(300)),
                    ..RunOutcome::default()
                });
            });
        });
    });
}

criterion_group!(benches, decisions, free_slot);

fn main() {
    benches();
    slowest();
    Criterion::default().configure_from_args().final_summary();
}
