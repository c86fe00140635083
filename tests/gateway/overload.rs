//! Ten times more requests than the servers can take: memory stays bounded, high priority goes first, and low priority
//! gets its share.
//!
//! The servers answer when the test says so, and what is judged is how many have started of each class, not how long that
//! took: the test says the same on a busy machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::support::{
    Asked, Config, Connection, Gateway, Reply, Step, Upstream, chat, eventually, get, json, request,
};

/// Rounds of overload; `REMUDA_OVERLOAD_ROUNDS` makes them more.
const ROUNDS: usize = 30;
/// Slots of both servers: so many requests are answered in a round.
const SLOTS: usize = 4;
const QUEUE: usize = 200;
/// Bytes that the process may grow by: the queue, its connections, and the answers in flight.
const GROWTH: u64 = 24 << 20;

/// Priorities, and how many requests of each are sent in a round: ten times what is answered.
const CLASSES: [(&str, usize); 3] = [("high", 1), ("normal", 24), ("low", 15)];

/// Two servers that answer one request for each permit, and a gateway before them.
struct Overload {
    upstreams: [Upstream; 2],
    gate: Arc<Semaphore>,
    gateway: Arc<Gateway>,
    refused: Arc<AtomicUsize>,
    sent: Vec<JoinHandle<Reply>>,
    /// By the name of a request: in how many rounds servers had answered before it started.
    started: BTreeMap<String, usize>,
}

impl Overload {
    async fn start() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let server = || {
            let gate = Arc::clone(&gate);
            let answer = json(200, r#"{"message":{"content":"hi"},"done":true}"#);
            Upstream::start(move |_: &Asked| {
                vec![Step::Until(Arc::clone(&gate)), Step::Send(answer.clone())]
            })
        };
        let upstreams = [server().await, server().await];
        let config = Config::over(&upstreams.each_ref().map(|one| one.address))
            .set(
                "provider.max_concurrent_per_backend",
                SLOTS / upstreams.len(),
            )
            .set("monitoring.access_log", "false")
            .set("queue.size", QUEUE)
            .set("queue.timeout", "10m")
            // Whoever has waited for a round has aged.
            .set("queue.ageing", "1ms")
            .set("queue.aged_share", "0.1");
        Self {
            gateway: Arc::new(Gateway::over(&config, upstreams.len()).await),
            upstreams,
            gate,
            refused: Arc::default(),
            sent: Vec::new(),
            started: BTreeMap::new(),
        }
    }

    /// Sends a round's requests, and waits until each of them has started, waits or was refused.
    async fn send(&mut self, round: usize) {
        for (class, count) in CLASSES {
            for number in 0..count {
                let name = name(class, round, number);
                let gateway = Arc::clone(&self.gateway);
                let refused = Arc::clone(&self.refused);
                self.sent.push(tokio::spawn(async move {
                    let fields = [("X-Priority", class), ("X-Name", &*name)];
                    let body = chat("scripted", "hi", r#","stream":false"#);
                    let body = body.as_bytes();
                    let reply = request(gateway.address, "POST", "/api/chat", &fields, body).await;
                    if reply.status == 503 {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    reply
                }));
            }
        }
        eventually("all are placed", || async {
            let waiting = self.waiting().await;
            let placed = waiting + self.starts().count() + self.refused.load(Ordering::Relaxed);
            if placed == self.sent.len() {
                Ok(())
            } else {
                Err((placed, self.sent.len()))
            }
        })
        .await;
    }

    async fn waiting(&self) -> usize {
        let depth = self.gateway.metric("remuda_queue_depth", &[]).await;
        assert!(depth <= QUEUE as f64, "{depth} wait");
        depth as usize
    }

    /// The names of the requests that have reached a server.
    fn starts(&self) -> impl Iterator<Item = String> {
        let asked = self.upstreams.iter().flat_map(Upstream::asked);
        asked.map(|asked| asked.header("x-name").unwrap().to_owned())
    }

    /// Notes who has started since the last time, as soon as every slot is taken.
    async fn note(&mut self, rounds: usize) {
        let expected = SLOTS * (rounds + 1);
        eventually("the slots are taken", || async {
            let starts = self.starts().count();
            if starts == expected {
                Ok(())
            } else {
                Err(starts)
            }
        })
        .await;
        let starts: Vec<String> = self.starts().collect();
        for name in starts {
            self.started.entry(name).or_insert(rounds);
        }
    }

    /// How many of a class have started.
    fn started_of(&self, class: &str) -> usize {
        let names = self.started.keys();
        names.filter(|name| name.starts_with(class)).count()
    }
}

fn name(class: &str, round: usize, number: usize) -> String {
    format!("{class} {round} {number}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_load_that_can_be_served() {
    let rounds = std::env::var("REMUDA_OVERLOAD_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().unwrap());
    let mut overload = Overload::start().await;
    let before = overload.gateway.process.anonymous_memory();
    let mut most = before;
    for round in 0..rounds {
        overload.send(round).await;
        overload.note(round).await;
        most = most.max(overload.gateway.process.anonymous_memory());
        overload.gate.add_permits(SLOTS);
        overload.note(round + 1).await;
    }
    let starts = overload.started.len();
    let [high, normal, low] = CLASSES.map(|(class, _)| overload.started_of(class));
    println!("{starts} started: {high} of high priority, {normal} of normal, {low} of low");
    for round in 0..rounds {
        let name = name("high", round, 0);
        let started = overload.started.get(&name);
        assert!(
            started.is_some_and(|started| *started <= round + 1),
            "{name}: {started:?}"
        );
    }
    // A tenth of the starts, from when the first of them have aged.
    assert!(low * 11 >= starts, "{low} of {starts}");
    assert!(normal > low, "{normal} of {starts}");
    assert!(most < before + GROWTH, "{} bytes more", most - before);

    // Whoever waits is served after all: the last that have started have left their places in the queue.
    overload.gate.add_permits(overload.sent.len());
    let mut served = 0;
    for request in std::mem::take(&mut overload.sent) {
        let reply = request.await.unwrap();
        match reply.status {
            200 => {
                assert_eq!(reply.json()["done"], true);
                served += 1;
            }
            503 => assert!(reply.header("retry-after").is_some(), "{}", reply.text()),
            status => panic!("{status}: {}", reply.text()),
        }
    }
    assert_eq!(served, starts + QUEUE - SLOTS);
    overload.gateway.idle().await;
}

/// A worker goes on with what else it has to do while large bodies are translated, however many come at once.
#[tokio::test]
async fn large_bodies_hold_nobody_up() {
    let upstream = Upstream::start(|_: &Asked| vec![Step::Hold]).await;
    let entry = format!(
        "{{ name: it, kind: anthropic, base_url: 'http://{}', api_key: sim-key, models: [claude-opus-5], list_models: false }}",
        upstream.address
    );
    let config = Config::of([entry]).set("server.threads", 1);
    let gateway = Gateway::over(&config, 1).await;
    let turns = "word \\n".repeat(4).to_owned();
    let message = format!(r#"{{"role":"user","content":"{turns}"}},"#);
    let messages = message.repeat(40_000);
    let body = format!(
        r#"{{"model":"claude-opus-5","max_tokens":10,"messages":[{}]}}"#,
        messages.trim_end_matches(',')
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (most, last) = body.split_at(body.len() - 1);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Connection::open(gateway.address).await;
        client.send(head.as_bytes()).await;
        client.send(most.as_bytes()).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.send(last.as_bytes()).await;
    }
    let mut answered = 0;
    while upstream.asked().len() < clients.len() {
        assert_eq!(get(gateway.address, "/health/live").await.status, 200);
        answered += 1;
    }
    // On the worker itself, one of them would be answered between two bodies.
    assert!(answered > 40, "{answered} probes were answered meanwhile");
}
