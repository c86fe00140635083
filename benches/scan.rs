//! What one round of discovery and probes costs, and one pick among the members that it found.
//!
//! The servers are one listener on many loopback addresses, in this process: its time is included.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use remuda::fleet::{Fleet, SELECTORS};
use remuda::settings::{PortRange, Provider, StaticBackend, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

const BACKENDS: [usize; 4] = [2, 16, 128, 1024];

const BODY: &str = r#"{"models":[
{"name":"llama3.2:latest","model":"llama3.2:latest","modified_at":"2026-05-04T00:00:00Z","size":2019393189,"digest":"a80c4f17"},
{"name":"qwen3:8b","model":"qwen3:8b","modified_at":"2026-05-04T00:00:00Z","size":5225388164,"digest":"500a1f06"}]}"#;

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut head = [0; 4096];
    while stream.read(&mut head).await? > 0 {
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Answers on all loopback addresses at one port, until the runtime ends.
async fn listen() -> u16 {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([0, 0, 0, 0], 0).into()).expect("a free port");
    // All probes of a round come to this one queue; with the usual 128 places some would have to
    // knock again a second later.
    let listener = socket.listen(4096).expect("a listener");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

fn provider() -> Provider {
    // Nothing is fresh, so that each round probes all.
    Provider {
        interval: Duration::ZERO,
        probe_timeout: Duration::from_secs(10),
        ..Provider::named("bench")
    }
}

fn fleet(provider: Provider) -> Arc<Fleet> {
    Fleet::new(&[provider], &Timeouts::default(), Vec::new()).expect("valid settings")
}

fn members(count: usize, port: u16) -> Provider {
    let entry = |number: usize| StaticBackend {
        tls: false,
        host: format!("127.1.{}.{}", number / 250, number % 250 + 1),
        port,
        path: "".into(),
        weight: None,
        cost: None,
        max_concurrent: None,
        vram: None,
    };
    Provider {
        backends: (0..count).map(entry).collect(),
        ..provider()
    }
}

fn rounds(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let port = runtime.block_on(listen());
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(10);
    for count in BACKENDS {
        let fleet = fleet(members(count, port));
        runtime.block_on(fleet.refresh());
        assert!(fleet.snapshot().iter().all(|backend| backend.healthy()));
        group.bench_function(BenchmarkId::new("members", count), |bencher| {
            bencher.iter(|| runtime.block_on(fleet.refresh()));
        });
    }
    // A range in which nothing listens: an address of its own.
    let discover = Some(PortRange {
        host: "127.9.9.9".to_owned(),
        ports: 24000..=24199,
    });
    let dead = fleet(Provider {
        discover,
        ..provider()
    });
    group.bench_function(BenchmarkId::new("refused_ports", 200), |bencher| {
        bencher.iter(|| runtime.block_on(dead.refresh()));
    });
    group.finish();
}

fn picks(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let port = runtime.block_on(listen());
    let mut group = criterion.benchmark_group("pick");
    for count in BACKENDS {
        for selector in &SELECTORS {
            let fleet = fleet(Provider {
                selector: selector.kind,
                ..members(count, port)
            });
            runtime.block_on(fleet.refresh());
            let model = fleet.models().lookup("llama3.2");
            group.bench_function(BenchmarkId::new(selector.name, count), |bencher| {
                bencher.iter(|| fleet.pick(None, model, &[]).expect("all are healthy"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, rounds, picks);
criterion_main!(benches);
