//! Ten times more requests than the servers can take: memory stays bounded, high priority hardly waits, and low
//! priority gets its share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::support::{
    Asked, Config, Connection, Gateway, Reply, Simulation, Step, Upstream, eventually, get, request,
};

/// Seconds of overload; `REMUDA_OVERLOAD_SECONDS` makes it longer.
const SECONDS: u64 = 8;
/// Answers of 20 tokens at 400 tokens a second on two servers of two slots: 80 requests a second.
const CAPACITY: f64 = 80.0;
/// Bytes that the process may grow by: a queue of 200, their connections, and the answers in flight.
const GROWTH: u64 = 24 << 20;

/// A class of requests: its priority, and its part of what the servers can take.
#[derive(Clone, Copy, Debug)]
struct Class {
    name: &'static str,
    load: f64,
}

const CLASSES: [Class; 3] = [
    Class {
        name: "high",
        load: 0.3,
    },
    Class {
        name: "normal",
        load: 6.0,
    },
    Class {
        name: "low",
        load: 3.7,
    },
];

/// What came of one class.
#[derive(Debug, Default)]
struct Came {
    /// Times from sending to the answer's end, of those that were served.
    times: Vec<Duration>,
    refused: u64,
}

impl Came {
    fn quantile(&mut self, part: f64) -> Duration {
        self.times.sort();
        let last = self.times.len() - 1;
        self.times[(last as f64 * part).round() as usize]
    }
}

/// Sends requests of a class at its rate until the end, each by itself, and waits for all their answers.
async fn offer(gateway: Arc<Gateway>, class: Class, until: Instant) -> Came {
    let every = Duration::from_secs_f64(1.0 / (class.load * CAPACITY));
    let mut due = Instant::now();
    let mut sent = Vec::new();
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        let gateway = Arc::clone(&gateway);
        sent.push(tokio::spawn(async move {
            let body = r#"{"model":"llama3.2","stream":false,"messages":[{"role":"user","content":"hi"}]}"#;
            let started = Instant::now();
            let fields = [("X-Priority", class.name)];
            let reply = request(gateway.address, "POST", "/api/chat", &fields, body.as_bytes()).await;
            (reply, started.elapsed())
        }));
        due += every;
    }
    let mut came = Came::default();
    for request in sent {
        let (reply, time): (Reply, Duration) = request.await.unwrap();
        match reply.status {
            200 => {
                assert_eq!(reply.json()["done"], true);
                came.times.push(time);
            }
            503 => {
                assert!(reply.header("retry-after").is_some(), "{}", reply.text());
                came.refused += 1;
            }
            status => panic!("{status}: {}", reply.text()),
        }
    }
    came
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_load_that_can_be_served() {
    let seconds = std::env::var("REMUDA_OVERLOAD_SECONDS");
    let seconds = seconds.map_or(SECONDS, |text| text.parse().unwrap());
    let arguments = [
        "--loaded",
        "llama3.2",
        "--parallel",
        "2",
        "--prompt-speed",
        "0",
        "--decode-speed",
        "400",
        "--answer-tokens",
        "20",
    ];
    let sim = Simulation::start(2, &arguments);
    let config = Config::over(&sim.servers)
        .set("provider.max_concurrent_per_backend", "2")
        .set("monitoring.access_log", "false")
        .set("queue.size", "200")
        .set("queue.timeout", "6s")
        .set("queue.ageing", "1s")
        .set("queue.aged_share", "0.1");
    let gateway = Arc::new(Gateway::over(&config, 2).await);
    let before = gateway.process.anonymous_memory();
    let until = Instant::now() + Duration::from_secs(seconds);
    let offers = CLASSES.map(|class| tokio::spawn(offer(Arc::clone(&gateway), class, until)));
    let mut most = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(gateway.process.anonymous_memory());
        assert!(gateway.metric("remuda_queue_depth", &[]).await <= 200.0);
    }
    let mut came = Vec::new();
    for offer in offers {
        came.push(offer.await.unwrap());
    }
    let [high, normal, low] = &mut came[..] else {
        unreachable!("there are three classes")
    };
    let served = high.times.len() + normal.times.len() + low.times.len();
    let (longest_high, usual_normal) = (high.quantile(0.99), normal.quantile(0.5));
    let figures = format!(
        "{served} served in {seconds} s; high: {} served, {} refused, p99 {:?}; normal: {} served, {} refused, median \
         {:?}; low: {} served, {} refused; memory {:.1} MiB more",
        high.times.len(),
        high.refused,
        longest_high,
        normal.times.len(),
        normal.refused,
        usual_normal,
        low.times.len(),
        low.refused,
        (most.saturating_sub(before)) as f64 / f64::from(1 << 20),
    );
    println!("{figures}");
    assert_eq!(high.refused, 0, "{figures}");
    assert!(longest_high < usual_normal, "{figures}");
    // A tenth of the starts, from when the first of them have aged.
    assert!(low.times.len() * 15 >= served, "{figures}");
    assert!(most < before + GROWTH, "{figures}");
    eventually("nothing is left", || async {
        match gateway.metric("remuda_queue_depth", &[]).await {
            0.0 => Ok(()),
            depth => Err(depth),
        }
    })
    .await;
    gateway.idle().await;
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
