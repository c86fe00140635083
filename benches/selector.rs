//! What one choice costs, by selector and number of backends.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use remuda::fleet::{Load, SELECTORS};

const BACKENDS: [u32; 4] = [2, 16, 128, 1024];

fn loads(count: u32) -> Vec<Load> {
    let load = |order| Load {
        in_flight: order * 7 % 5,
        slots: 4,
        weight: 1 + order % 3,
        cost: 1.0 + f64::from(order % 4),
        latency_us: 1e6 + f64::from(order * 37 % 101) * 1e4,
        turn: i64::from(order % 3),
        order,
    };
    (0..count).map(load).collect()
}

fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("selector");
    for count in BACKENDS {
        let loads = loads(count);
        for selector in &SELECTORS {
            group.bench_with_input(
                BenchmarkId::new(selector.name, count),
                &loads,
                |bencher, loads| {
                    bencher.iter(|| selector.choose(black_box(loads)));
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, choose);
criterion_main!(benches);
