//! What one decision of the slot scheduler costs, from one idle backend to a thousand busy ones and ten thousand
//! waiting requests. The target is 20 µs for the largest; the slowest per mille are printed as well.

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

fn spec(order: u32, placement: Placement) -> BackendSpec {
    BackendSpec {
        provider: ProviderId::at(0),
        order,
        weight: 1,
        cost: 1.0,
        slots: Some(1),
        parallel: Some(u32::MAX),
        vram: Some(20 * GIB),
        selector: SelectorKind::LeastInFlight,
        placement,
        provider_limit: None,
    }
}

/// A fleet on a clock of its own: every model on every disk, two of them in every memory.
struct Fleet {
    scheduler: Scheduler,
    models: u32,
    now: Duration,
    running: Vec<Ticket>,
    rng: StdRng,
}

impl Fleet {
    fn new(size: Size, placement: Placement) -> Self {
        let mut fleet = Self {
            scheduler: Scheduler::new(policy()),
            models: size.models,
            now: Duration::from_secs(1),
            running: Vec::new(),
            rng: StdRng::seed_from_u64(7),
        };
        (0..size.backends).for_each(|backend| fleet.join(backend, placement));
        if size.waiters > 0 {
            (0..size.backends + size.waiters).for_each(|_| fleet.arrive());
        }
        fleet
    }

    fn join(&mut self, backend: u32, placement: Placement) {
        let spec = spec(backend, placement);
        let on_disk: Vec<_> = (0..MODELS)
            .map(|model| StoredModel::new(ModelId(model), 8 * GIB))
            .collect();
        let loaded = [backend, backend + 1].map(|model| LoadedModel {
            model: ModelId(model % self.models),
            context: None,
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
            if let Decision::Start { ticket, .. } = black_box(decision) {
                self.running.push(ticket);
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
            need: Need::default(),
        };
        self.scheduler
            .arrive(self.now, arrival)
            .expect("the queue is not full");
        self.drain();
    }

    fn complete(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.rng.r#gen_range(0..self.running.len());
        let ticket = self.running.swap_remove(index);
        let outcome = RunOutcome {
            ok: true,
            load: None,
            ttft: Some(Duration::from_millis(300)),
            ..RunOutcome::default()
        };
        self.scheduler.complete(self.now, ticket, outcome);
        self.drain();
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
        for (name, placement) in [
            ("warm_or_wait", Placement::WarmOrWait),
            ("off", Placement::Off),
        ] {
            let mut fleet = Fleet::new(size, placement);
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
    for (name, placement) in [
        ("warm_or_wait", Placement::WarmOrWait),
        ("off", Placement::Off),
    ] {
        let mut fleet = Fleet::new(SIZES[4], placement);
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
        dispatcher.join(BackendId(backend), spec(backend, Placement::WarmOrWait));
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
