//! Five hundred streams while servers die and come back at random: nothing is lost that could be served, nothing looks
//! complete that is not, and nothing is kept.
//!
//! A crate of its own, so that it does not take the processor from tests that measure times. `REMUDA_CHAOS_SECONDS`
//! sets how long it goes on, `REMUDA_CHAOS_SEED` repeats a run's choices.

#![allow(clippy::too_many_lines, reason = "a test is as long as its story")]
#![allow(
    clippy::unwrap_used,
    reason = "tests state their expectations with unwrap"
)]

#[path = "gateway/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use support::{
    Config, Connection, Ending, Gateway, Piece, Simulation, chat, eventually, get, is_done,
    join_all, lines, post,
};

const STREAMS: usize = 500;
const SERVERS: usize = 10;
/// The first so many misbehave in no other way than by dying, and of them one at a time: whatever happens to a request,
/// there is a server that could serve it.
const SOLID: usize = 4;
/// Different questions; their answers are known beforehand.
const QUESTIONS: usize = 32;
/// One in so many clients leaves amid its answer.
const LEAVES: u32 = 20;
/// How long servers die before memory is first read.
const REHEARSAL: Duration = Duration::from_secs(6);
/// What the gateway may hold more than after the rehearsal, with [`exact_memory`]: 512 blocks, where a storm of 20
/// seconds makes some thousands of requests.
const MEMORY_MARGIN: u64 = 2 << 20;

/// How one request ended for its client.
#[derive(Debug)]
enum End {
    /// With all of the answer.
    Complete,
    /// After some of the answer, by an error line.
    Broken,
    /// The client left.
    Left,
    /// In a way that must not be.
    Wrong(String),
}

#[derive(Debug, Default)]
struct Tally {
    complete: usize,
    broken: usize,
    left: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, end: End) {
        match end {
            End::Complete => self.complete += 1,
            End::Broken => self.broken += 1,
            End::Left => self.left += 1,
            End::Wrong(what) => self.wrong.push(what),
        }
    }

    fn add(&mut self, other: Tally) {
        self.complete += other.complete;
        self.broken += other.broken;
        self.left += other.left;
        self.wrong.extend(other.wrong);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos() {
    let seconds = number("REMUDA_CHAOS_SECONDS").unwrap_or(20);
    let seed =
        number("REMUDA_CHAOS_SEED").unwrap_or_else(|| rand::thread_rng().gen_range(0..100_000));
    eprintln!("REMUDA_CHAOS_SEED={seed} REMUDA_CHAOS_SECONDS={seconds}");
    let slots = STREAMS.to_string();
    let machine = [
        // Small enough that the contexts of all streams fit into VRAM besides it.
        ["--models", "llama3.2=1GiB"],
        ["--loaded", "llama3.2"],
        ["--parallel", &*slots],
        ["--answer-tokens", "24"],
        ["--decode-speed", "12"],
        ["--load-time", "200ms"],
    ];
    let sim = Arc::new(Simulation::start(SERVERS, machine.as_flattened()));
    let gateway = Arc::new(Gateway::over(&config(&sim), SERVERS).await);
    let questions = Arc::new(Questions::ask(sim.servers[0]).await);
    let files = gateway.process.open_files();

    let calm = run(&gateway, &questions, seed, Instant::now()).await;
    assert!(calm.wrong.is_empty() && calm.broken == 0, "{calm:?}");
    // A rehearsal, in which buffers, pools and tables grow to the size that they need.
    storm(&sim, &gateway, &questions, seed + 1, REHEARSAL).await;
    at_rest(&gateway, &sim, files).await;
    let memory = gateway.process.anonymous_memory();

    let before = gateway.metrics().await;
    let (tally, deeds) = storm(
        &sim,
        &gateway,
        &questions,
        seed + 2,
        Duration::from_secs(seconds),
    )
    .await;
    eprintln!(
        "{} complete, {} broken, {} left, {} wrong; {deeds:?}",
        tally.complete,
        tally.broken,
        tally.left,
        tally.wrong.len()
    );
    let some: Vec<_> = tally.wrong.iter().take(5).collect();
    assert!(some.is_empty(), "{some:#?}");
    assert!(
        deeds.kills >= seconds as usize / 4,
        "hardly anything was killed"
    );
    assert!(deeds.peak > 0.9 * STREAMS as f64, "never {STREAMS} at once");

    nothing_is_kept(&gateway, &sim, files, memory).await;
    let after = gateway.metrics().await;
    let grown = |name, labels: &[_]| after.sum(name, labels) - before.sum(name, labels);
    let broken = grown("remuda_broken_streams_total", &[]) as usize;
    // What goes on elsewhere is whole for its client.
    let resumed = grown("remuda_resumed_total", &[("result", "resumed")]) as usize;
    assert!(resumed > 0, "nothing has gone on elsewhere");
    let broken = broken - resumed;
    // A stream may break in the moment in which its client leaves.
    let expected = tally.broken..=tally.broken + tally.left;
    assert!(
        expected.contains(&broken),
        "{broken} counted, {expected:?} seen"
    );
    for outcome in [
        "ok",
        "broken_stream",
        "client_gone",
        "cancelled",
        "connect_error",
        "reset",
        "server_error",
        "error_line",
        "refused",
        "timeout",
    ] {
        let count = grown("remuda_attempts_total", &[("outcome", outcome)]);
        eprintln!("attempts, {outcome}: {count}");
    }
}

/// Clients ask while servers die and come back, for so long; afterwards all servers are up and well.
async fn storm(
    sim: &Arc<Simulation>,
    gateway: &Arc<Gateway>,
    questions: &Arc<Questions>,
    seed: u64,
    time: Duration,
) -> (Tally, Deeds) {
    let end = Instant::now() + time;
    let killer = tokio::spawn(kill(sim.clone(), gateway.clone(), seed, end));
    let tally = run(gateway, questions, seed, end).await;
    let deeds = killer.await.unwrap();
    sim.reset().await;
    (tally, deeds)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn config(sim: &Simulation) -> Config {
    exact_memory(Config::over(&sim.servers))
        .set("provider.max_concurrent_per_backend", STREAMS)
        .set("provider.interval", "500ms")
        .set("provider.probe_timeout", "5s")
        .set("provider.pool", "{idle_timeout: 1s}")
        .set("routing.max_retries", SERVERS - 1)
        .set("timeouts.first_byte", "10s")
        .set("timeouts.between_chunks", "10s")
        .set("queue.size", 2 * STREAMS)
        .set("monitoring.access_log", "false")
}

/// Makes resident memory tell what is held, to the block: glibc's allocator maps each block apart, in pages of its own,
/// and unmaps it when it is freed. So it keeps nothing that was freed, and a block that leaks takes 4 KiB, however small.
fn exact_memory(config: Config) -> Config {
    config
        .environment("MALLOC_ARENA_MAX", "1")
        .environment("MALLOC_MMAP_THRESHOLD_", "1")
}

/// What the simulated model answers to each question: the same on every server.
struct Questions(Vec<(String, String)>);

impl Questions {
    async fn ask(server: SocketAddr) -> Self {
        let asking = (0..QUESTIONS).map(|number| async move {
            let text = format!("question {number}");
            let plain = chat("llama3.2", &text, r#","stream":false"#);
            let reply = post(server, "/api/chat", &plain).await.json();
            let answer = reply["message"]["content"].as_str().unwrap();
            assert!(!answer.is_empty());
            (chat("llama3.2", &text, ""), answer.to_owned())
        });
        Self(join_all(asking).await)
    }
}

/// Keeps [`STREAMS`] clients asking until `end`; each asks once at least.
async fn run(gateway: &Arc<Gateway>, questions: &Arc<Questions>, seed: u64, end: Instant) -> Tally {
    let clients: Vec<_> = (0..STREAMS)
        .map(|number| {
            let (questions, address) = (questions.clone(), gateway.address);
            let mut dice = StdRng::seed_from_u64(seed * STREAMS as u64 + number as u64);
            tokio::spawn(async move {
                let mut tally = Tally::default();
                loop {
                    let (body, answer) = &questions.0[dice.gen_range(0..QUESTIONS)];
                    let leaves = dice.gen_ratio(1, LEAVES).then(|| dice.gen_range(0..20));
                    tally.count(request(address, body, answer, leaves).await);
                    if Instant::now() >= end {
                        return tally;
                    }
                }
            })
        })
        .collect();
    let mut tally = Tally::default();
    for client in clients {
        tally.add(client.await.unwrap());
    }
    tally
}

/// One request; with `leaves`, the client is gone after so many pieces.
async fn request(address: SocketAddr, body: &str, answer: &str, leaves: Option<usize>) -> End {
    let mut client = Connection::open(address).await;
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    let Some(head) = client.try_head().await else {
        return End::Wrong("the connection ended without an answer".to_owned());
    };
    if let (200, Some(pieces)) = (head.status, leaves) {
        for _ in 0..pieces {
            if !matches!(client.piece().await, Piece::Bytes(_)) {
                break;
            }
        }
        return End::Left;
    }
    let (body, ending) = client.rest().await;
    let shown = || {
        format!(
            "{} {ending:?}: {}",
            head.status,
            String::from_utf8_lossy(&body)
        )
    };
    if head.status != 200 || ending != Ending::Whole {
        return End::Wrong(shown());
    }
    let lines = lines(&body);
    let said: String = lines.iter().filter_map(content).collect();
    match lines.last() {
        Some(last) if is_done(&lines) => {
            if said == answer && last["eval_count"] == 24 {
                End::Complete
            } else {
                End::Wrong(format!("it looks complete: {}", shown()))
            }
        }
        Some(last)
            if last["error"].is_string() && !said.is_empty() && answer.starts_with(&said) =>
        {
            End::Broken
        }
        _ => End::Wrong(shown()),
    }
}

fn content(line: &Value) -> Option<&str> {
    line["message"]["content"].as_str()
}

/// What has been done to the servers.
#[derive(Debug, Default)]
struct Deeds {
    kills: usize,
    starts: usize,
    faults: usize,
    /// Requests in flight at most.
    peak: f64,
}

/// Kills and starts servers and lets them misbehave until `end`.
async fn kill(sim: Arc<Simulation>, gateway: Arc<Gateway>, seed: u64, end: Instant) -> Deeds {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut up = [true; SERVERS];
    let mut deeds = Deeds::default();
    while Instant::now() < end {
        let server = dice.gen_range(0..SERVERS);
        let solid = server < SOLID;
        if !up[server] {
            sim.revive(server).await;
            up[server] = true;
            deeds.starts += 1;
        } else if !solid && dice.gen_bool(0.5) {
            sim.fault(server, &fault(&mut dice)).await;
            deeds.faults += 1;
        } else if !solid || healthy(&gateway, &sim.servers[..SOLID]).await {
            sim.stop(server).await;
            up[server] = false;
            deeds.kills += 1;
        }
        let flying = gateway.metric("remuda_requests_in_flight", &[]).await;
        deeds.peak = deeds.peak.max(flying);
        tokio::time::sleep(Duration::from_millis(dice.gen_range(20..250))).await;
    }
    deeds
}

/// Whether the gateway holds all of `servers` to be healthy.
async fn healthy(gateway: &Gateway, servers: &[SocketAddr]) -> bool {
    let reply = get(gateway.address, "/__proxy/backends").await.json();
    let list = reply["backends"].as_array().unwrap();
    let known = |server: &SocketAddr| {
        list.iter()
            .any(|one| one["port"] == server.port() && one["healthy"] == true)
    };
    servers.iter().all(known)
}

/// Some fault that hits a few chats.
fn fault(dice: &mut StdRng) -> String {
    let times = dice.gen_range(1..5);
    let what = match dice.gen_range(0..8) {
        0 => r#""kind":"status","status":503"#.to_owned(),
        1 => r#""kind":"status","status":500"#.to_owned(),
        2 => r#""kind":"status","status":429"#.to_owned(),
        3 => r#""kind":"error","tokens":0"#.to_owned(),
        4 => format!(r#""kind":"error","tokens":{}"#, dice.gen_range(1..20)),
        5 => r#""kind":"one_byte""#.to_owned(),
        _ => format!(
            r#""kind":"cut","bytes":{},"reset":{}"#,
            dice.gen_range(0..3000),
            dice.r#gen::<bool>()
        ),
    };
    format!(r#"{{{what},"times":{times},"route":"/api/chat"}}"#)
}

/// No slot, place in the queue, connection, file or memory is held once all clients are gone.
async fn nothing_is_kept(gateway: &Gateway, sim: &Simulation, files: usize, memory: u64) {
    at_rest(gateway, sim, files).await;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    // What probes hold comes and goes, and a timer may have to run out.
    let now = eventually("memory is back to where it was", || async {
        let now = gateway.process.anonymous_memory();
        if now <= memory + MEMORY_MARGIN {
            Ok(now)
        } else {
            Err(format!("{:.2} MiB, was {:.2}", mib(now), mib(memory)))
        }
    })
    .await;
    eprintln!(
        "memory: {:.2} MiB before, {:.2} after",
        mib(memory),
        mib(now)
    );
}

/// Waits until no slot, place in the queue, connection or file is held any more.
async fn at_rest(gateway: &Gateway, sim: &Simulation, files: usize) {
    gateway.idle().await;
    gateway.healthy(SERVERS).await;
    eventually("the servers are idle", || async {
        let stats = sim.stats().await;
        if stats
            .iter()
            .all(|server| server.active + server.waiting == 0)
        {
            Ok(())
        } else {
            Err(stats)
        }
    })
    .await;
    // A connection for each probe that happens to run, and that of this very question.
    let few = files + 2 * SERVERS;
    eventually("sockets are closed", || async {
        let now = gateway.process.open_files();
        if now <= few { Ok(()) } else { Err(now) }
    })
    .await;
}
