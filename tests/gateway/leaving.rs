//! A client that leaves takes its upstream connection and its slot with it, at once, wherever its request stands.

use std::time::{Duration, Instant};

use super::support::{
    Asked, Config, Connection, Ending, Gateway, STREAM_HEAD, Simulation, Step, Upstream,
    assert_median, chat, chunk, eventually, is_done, json, lines, post,
};

/// The promise is 100 ms; the rest is for a machine that does other things too.
const AT_ONCE: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;

const LINE: &[u8] = b"{\"model\":\"scripted\",\"created_at\":\"2026-01-02T03:04:05Z\",\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"done\":false}\n";

/// How a client ends its connection.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    Reset,
}

fn leave(client: Connection, how: Leave) -> Instant {
    match how {
        Leave::Close => drop(client),
        Leave::Reset => client.reset(),
    }
    Instant::now()
}

async fn gateway_over(
    script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let gateway = Gateway::over(&Config::over(&[upstream.address]), 1).await;
    (upstream, gateway)
}

async fn assert_counted(gateway: &Gateway, clients: usize) {
    let label = [("http_response_status_code", "499")];
    gateway
        .metric_is("remuda_requests_total", &label, clients as f64)
        .await;
    let label = [("outcome", "client_gone")];
    gateway
        .metric_is("remuda_attempts_total", &label, clients as f64)
        .await;
    gateway.idle().await;
}

/// Clients leave a request whose answer has come as far as `sent`. Another one waits for the slot: what is measured
/// is the time from leaving to the upstream's end of the connection, and to the next request's start.
async fn leaves_after(what: &str, fields: &str, sent: Vec<u8>) {
    let last = json(200, r#"{"message":{"content":"next"},"done":true}"#);
    let answered = sent.clone();
    let (upstream, gateway) = gateway_over(move |asked| match asked.header("x-next") {
        Some(_) => vec![Step::Send(last.clone())],
        None => vec![Step::Send(sent.clone()), Step::Hold],
    })
    .await;
    let (mut closed, mut freed) = (Vec::new(), Vec::new());
    let body = chat("scripted", "hi", fields);
    for round in 0..ROUNDS {
        let how = if round % 2 == 0 {
            Leave::Close
        } else {
            Leave::Reset
        };
        let mut client = Connection::open(gateway.address).await;
        client
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        upstream.asked_for(2 * round).await;
        if !answered.is_empty() && fields.is_empty() {
            client.head().await;
            client.body_until("\n").await;
        }
        let mut next = Connection::open(gateway.address).await;
        let plain = chat("scripted", "hi", r#","stream":false"#);
        next.request("POST", "/api/chat", &[("X-Next", "1")], plain.as_bytes())
            .await;
        gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
        let gone = leave(client, how);
        let started = upstream.asked_for(2 * round + 1).await.at;
        assert_eq!(next.reply().await.status, 200);
        let left = eventually("the upstream sees the end", || async {
            upstream.left().get(round).copied().ok_or("not yet")
        })
        .await;
        closed.push(left.saturating_duration_since(gone));
        freed.push(started.saturating_duration_since(gone));
    }
    assert_counted(&gateway, ROUNDS).await;
    assert_median(&format!("{what}: connection closed after"), closed, AT_ONCE);
    assert_median(&format!("{what}: slot free after"), freed, AT_ONCE);
}

#[tokio::test]
async fn while_streaming() {
    let mut sent = STREAM_HEAD.to_vec();
    sent.extend_from_slice(&chunk(LINE));
    leaves_after("while streaming", "", sent).await;
}

#[tokio::test]
async fn while_waiting_for_the_first_byte() {
    leaves_after("before the first byte", "", Vec::new()).await;
}

#[tokio::test]
async fn while_waiting_for_a_plain_answer() {
    leaves_after("before a plain answer", r#","stream":false"#, Vec::new()).await;
}

#[tokio::test]
async fn amid_a_plain_answer() {
    let mut sent = json(
        200,
        &format!("{{\"message\":{{\"content\":\"{}", "x".repeat(3000)),
    );
    let length = b"Content-Length: 3".len();
    let at = memchr::memmem::find(&sent, b"Content-Length: 3").unwrap() + length;
    sent[at - 1] = b'9';
    leaves_after("amid a plain answer", r#","stream":false"#, sent).await;
}

#[tokio::test]
async fn while_queued() {
    let (upstream, gateway) = gateway_over(|_| vec![Step::Hold]).await;
    let body = chat("scripted", "hi", "");
    let mut first = Connection::open(gateway.address).await;
    first
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    upstream.asked_for(0).await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let how = if round % 2 == 0 {
            Leave::Close
        } else {
            Leave::Reset
        };
        let mut client = Connection::open(gateway.address).await;
        client
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
        let gone = leave(client, how);
        gateway.metric_is("remuda_queue_depth", &[], 0.0).await;
        times.push(gone.elapsed());
    }
    assert_median("while queued: out of the queue after", times, AT_ONCE);
    let label = [("http_response_status_code", "499")];
    gateway
        .metric_is("remuda_requests_total", &label, ROUNDS as f64)
        .await;
    assert_eq!(
        upstream.asked().len(),
        1,
        "a client that had left was served"
    );
    drop(first);
    gateway.idle().await;
}

#[tokio::test]
async fn while_a_model_loads() {
    let sim = Simulation::start(1, &["--load-time", "2s", "--answer-tokens", "3"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    eventually("the load has begun", || async {
        let stats = sim.stats().await;
        if stats[0].waiting == 1 {
            Ok(())
        } else {
            Err(stats)
        }
    })
    .await;
    leave(client, Leave::Close);
    let label = [("http_response_status_code", "499")];
    gateway
        .metric_is("remuda_requests_total", &label, 1.0)
        .await;
    // The load is nobody's in particular: who comes back has only to wait for what is left of it.
    let again = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let stats = sim.stats().await;
    assert_eq!((stats[0].loads, stats[0].abandoned_loads), (1, 0));
    gateway.idle().await;
}

/// A client that stays gets the whole of its answer although others leave around it.
#[tokio::test]
async fn others_are_not_disturbed() {
    let arguments = [
        ["--loaded", "llama3.2"],
        ["--decode-speed", "200"],
        ["--answer-tokens", "100"],
        ["--parallel", "4"],
    ];
    let sim = Simulation::start(1, arguments.as_flattened());
    let config = Config::over(&sim.servers).set("provider.max_concurrent_per_backend", 4);
    let gateway = Gateway::over(&config, 1).await;
    let mut stays = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "stay", "");
    stays
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    stays.head().await;
    let mut answer = stays.body_until("\n").await;
    for number in 0..20 {
        let mut leaver = Connection::open(gateway.address).await;
        let body = chat("llama3.2", &format!("leave {number}"), "");
        leaver
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        if number % 2 == 0 {
            leaver.head().await;
        }
    }
    let (rest, ending) = stays.rest().await;
    answer.extend_from_slice(&rest);
    assert_eq!(ending, Ending::Whole);
    let lines = lines(&answer);
    assert!(is_done(&lines));
    assert_eq!(lines.len(), 101);
    gateway.idle().await;
    let completed = sim.stats().await[0].completed;
    assert!(completed < 20, "{completed} answers were made to their end");
}
