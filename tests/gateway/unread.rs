//! Clients that ask and do not read: what waits for them is bounded, on one connection and on all, whoever answers.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Asked, Config, Connection, Gateway, STREAM_HEAD, Step, Upstream, chat, chunk, eventually, get,
    json, post,
};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;

/// A client by HTTP/2 that writes frames by hand and lets nothing of a body come.
struct Deaf {
    stream: TcpStream,
    next: u32,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field without an index and without Huffman's code (RFC 7541 section 6.2.2), by the static table's name.
fn field(name: u8, value: &str) -> Vec<u8> {
    let mut field = vec![name];
    field.push(u8::try_from(value.len()).unwrap());
    field.extend_from_slice(value.as_bytes());
    field
}

impl Deaf {
    /// With a window of 0 for bodies, and no more than a head's size read.
    async fn open(gateway: &Gateway) -> Deaf {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE.
        bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
        stream.write_all(&bytes).await.unwrap();
        Deaf { stream, next: 1 }
    }

    /// Asks on a stream of its own; false when the connection is closed.
    async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> bool {
        // :method, :scheme http, :path, :authority.
        let mut head = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x86];
        head.extend(field(0x04, path));
        head.extend(field(0x01, "x"));
        let mut bytes = frame(1, 4 | u8::from(body.is_empty()), self.next, &head);
        if !body.is_empty() {
            bytes.extend(frame(0, 1, self.next, body));
        }
        self.next += 2;
        self.stream.write_all(&bytes).await.is_ok()
    }

    async fn reset(&mut self, stream: u32) -> bool {
        let bytes = frame(3, 0, stream, &[0, 0, 0, 8]);
        self.stream.write_all(&bytes).await.is_ok()
    }
}

/// A page of some size: what is known of many models.
async fn gateway(models: usize, configure: impl FnOnce(Config) -> Config) -> (Upstream, Gateway) {
    let model = |number| {
        format!(
            r#"{{"name":"model-{number}:latest","model":"model-{number}:latest","modified_at":"2026-01-02T03:04:05Z","size":1000,"digest":"aa","details":{{"format":"gguf","family":"llama","families":["llama"],"parameter_size":"1B","quantization_level":"Q4_0"}}}}"#
        )
    };
    let tags: Vec<_> = (0..models).map(model).collect();
    let tags = format!(
        r#"{{"models":[{{"name":"scripted:latest","model":"scripted:latest"}},{}]}}"#,
        tags.join(",")
    );
    let server = Upstream::listing(["0.33.0", &tags, r#"{"models":[]}"#], |asked: &Asked| {
        if asked.body.windows(6).any(|word| word == b"stream") {
vec![Step::Send(json(200, ANSWER))]
} else {
let line = format!(
                    "{{\"model\":\"scripted\",\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"done\":false}}\n",
                    "x".repeat(16 * 1024)
                );
                let mut steps = vec![Step::Send(STREAM_HEAD.to_vec())];
                steps.extend((0..200).map(|_| Step::Send(chunk(line.as_bytes()))));
                steps.push(Step::Hold);
                steps
}
    })
    .await;
    let config = Config::over(&[server.address]).set("provider.max_concurrent_per_backend", 500);
    let gateway = Gateway::over(&configure(config), 1).await;
    (server, gateway)
}

/// Somebody who reads is served meanwhile.
async fn others_are_served(gateway: &Gateway) {
    eventually("a page for whoever reads", || async {
        let reply = get(gateway.address, "/api/tags").await;
        let whole = reply.status == 200 && reply.json()["models"].is_array();
        if whole { Ok(()) } else { Err(reply.status) }
    })
    .await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn pages_that_nobody_reads_take_no_more_than_their_bound() {
    let (_server, gateway) = gateway(500, |config| config.set("server.max_unsent", "16MiB")).await;
    let page = get(gateway.address, "/api/tags").await.body.len();
    assert!(page > 100_000, "{page}");
    let before = gateway.process.anonymous_memory();
    let mut deaf = Vec::new();
    // 2,000 pages of 100 KB: 200 MB, for less than 100 KB sent.
    for _ in 0..20 {
        let mut client = Deaf::open(&gateway).await;
        for _ in 0..100 {
            client.ask("GET", "/api/tags", b"").await;
        }
        deaf.push(client);
    }
    gateway.metric_is("remuda_connections", &[], 20.0).await;
    let mut most = 0;
    for _ in 0..20 {
        most = most.max(gateway.process.anonymous_memory().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("{} MB for pages that nobody reads", most >> 20);
    assert!(most < 80 << 20, "{most} bytes for pages that nobody reads");
    others_are_served(&gateway).await;
    drop(deaf);
    gateway.metric_is("remuda_connections", &[], 0.0).await;
    gateway.idle().await;
}

/// By HTTP/1.1 there is one page a connection, and as many as there are connections.
#[tokio::test]
async fn whoever_does_not_read_by_http_1_is_bounded_alike() {
    let (_server, gateway) = gateway(3000, |config| config.set("server.max_unsent", "8MiB")).await;
    let page = get(gateway.address, "/api/tags").await.body.len();
    assert!(page > 600_000, "{page}");
    let before = gateway.process.anonymous_memory();
    let mut deaf = Vec::new();
    for _ in 0..60 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(gateway.address).await.unwrap();
        let asking = b"GET /api/tags HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
        stream.write_all(&asking).await.unwrap();
        deaf.push(stream);
    }
    let mut most = 0;
    for _ in 0..20 {
        most = most.max(gateway.process.anonymous_memory().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("{} MB for pages that nobody reads", most >> 20);
    assert!(most < 60 << 20, "{most} bytes for pages that nobody reads");
    others_are_served(&gateway).await;
}

/// What a server answers waits at the server.
#[tokio::test]
async fn answers_that_are_relayed_wait_at_their_server() {
    let (_server, gateway) = gateway(1, |config| config.set("server.max_unsent", "16MiB")).await;
    let before = gateway.process.anonymous_memory();
    let mut deaf = Vec::new();
    // 200 answers of 3 MB.
    for _ in 0..4 {
        let mut client = Deaf::open(&gateway).await;
        for _ in 0..50 {
            let body = br#"{"model":"scripted","messages":[{"role":"user","content":"hi"}]}"#;
            client.ask("POST", "/api/chat", body).await;
        }
        deaf.push(client);
    }
    gateway.metric_is("remuda_slots_used", &[], 200.0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = gateway.process.anonymous_memory().saturating_sub(before);
    eprintln!("{} MB for answers that nobody reads", grown >> 20);
    assert!(
        grown < 80 << 20,
        "{grown} bytes for answers that nobody reads"
    );
    drop(deaf);
    gateway.idle().await;
}

/// What a server has said in full costs it nothing more, whether or not the client reads it: whole and streamed, as it came
/// and translated.
#[tokio::test]
async fn a_slot_is_free_once_the_server_has_said_everything() {
    const EVENTS: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let words = "x".repeat(4000);
    let line = |done: bool| {
        let counts = if done {
            r#","done_reason":"stop","prompt_eval_count":7,"eval_count":40"#
        } else {
            ""
        };
        format!(
            "{{\"model\":\"scripted\",\"created_at\":\"2026-01-02T03:04:05Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"{words}\"}},\"done\":{done}{counts}}}\n"
        )
    };
    let piece = |finish: &str, rest: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"scripted\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"{words}\"}},\"finish_reason\":{finish}}}]}}\n\n{rest}"
        )
    };
    let streamed = |head: &[u8], more: &str, last: &str| {
        let mut steps = vec![Step::Send(head.to_vec())];
        for _ in 0..20 {
            steps.push(Step::Send(chunk(more.as_bytes())));
            steps.push(Step::Pause(Duration::from_millis(5)));
        }
        steps.push(Step::Send(chunk(last.as_bytes())));
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        steps
    };
    let lines = streamed(STREAM_HEAD, &line(false), &line(true));
    let events = streamed(
        EVENTS,
        &piece("null", ""),
        &piece("\"stop\"", "data: [DONE]\n\n"),
    );
    let whole = vec![Step::Send(json(200, &line(true)))];
    let script = move |asked: &Asked| {
        let is_whole = asked
            .body
            .windows(14)
            .any(|word| word == br#""stream":false"#);
        match asked.head.starts_with("POST /v1/") {
            _ if is_whole => whole.clone(),
            true => events.clone(),
            false => lines.clone(),
        }
    };
    let fleet = Upstream::start(script.clone()).await;
    let cloud = Upstream::start(script).await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config::of([
        format!("{{ name: gpus, backends: [\"http://{}\"] }}", fleet.address),
        format!(
            "{{ name: cloud, kind: openai_compatible, api_key: k, base_url: \"http://{}/v1\", models: [big], list_models: false }}",
            cloud.address
        ),
    ])
    .set("usage.path", folder.path().join("usage.db").display());
    let gateway = Gateway::over(&config, 2).await;
    let mut served = 0;
    for (path, model, stream) in [
        ("/api/chat", "scripted", false),
        ("/api/chat", "scripted", true),
        ("/v1/chat/completions", "scripted", true),
        ("/api/chat", "big", true),
        ("/v1/chat/completions", "big", true),
    ] {
        let what = format!("{path} {model} {stream}");
        let server = if model == "big" { &cloud } else { &fleet };
        let before = server.asked().len();
        let body = format!(
            r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        let mut client = Deaf::open(&gateway).await;
        assert!(client.ask("POST", path, body.as_bytes()).await);
        eventually(&what, || async {
            match server.asked().len() {
                more if more > before => Ok(()),
                same => Err(same),
            }
        })
        .await;
        gateway.metric_is("remuda_slots_used", &[], 0.0).await;
        gateway
            .metric_is("remuda_backend_in_flight", &[], 0.0)
            .await;
        assert_eq!(
            gateway.metric("remuda_requests_in_flight", &[]).await,
            1.0,
            "{what}: the client has not read it"
        );
        drop(client);
        gateway.idle().await;
        served += 1;
        let page = eventually("it is accounted", || async {
            let page = get(gateway.admin, "/api/usage/providers").await.json();
            let rows = page["providers"].as_array().unwrap().clone();
            let all: u64 = rows
                .iter()
                .map(|row| row["requests"].as_u64().unwrap())
                .sum();
            if all == served { Ok(rows) } else { Err(page) }
        })
        .await;
        let gpus = page.iter().find(|row| row["provider"] == "gpus").unwrap();
        let told = if served < 3 { served } else { 2 };
        assert!(
            gpus["output_tokens"].as_u64().unwrap() >= 40 * told,
            "{page:?}"
        );
        if served < 3 {
            // As the server has counted, not as is guessed of what was cut short.
            assert_eq!(gpus["input_tokens"], 7 * told, "{page:?}");
            assert_eq!(gpus["output_tokens"], 40 * told, "{page:?}");
        }
    }
}

#[tokio::test]
async fn streams_take_places_as_connections_do() {
    let (_server, gateway) = gateway(500, |config| {
        config
            .set("server.max_connections", 50)
            .set("server.max_streams", 20)
            .set("timeouts.between_chunks", "5s")
    })
    .await;
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let mut client = Deaf::open(&gateway).await;
        for _ in 0..100 {
            client.ask("GET", "/api/tags", b"").await;
        }
        deaf.push(client);
    }
    gateway.metric_is("remuda_connections", &[], 3.0).await;
    eventually("no more requests than places", || async {
        let flying = gateway.metric("remuda_requests_in_flight", &[]).await;
        if flying > 30.0 && flying <= 47.0 {
            Ok(())
        } else {
            Err(flying)
        }
    })
    .await;
    drop(deaf);
    gateway.metric_is("remuda_connections", &[], 0.0).await;
    others_are_served(&gateway).await;
}

/// Opening and resetting streams (CVE-2023-44487) ends the connection before it costs anything.
#[tokio::test]
async fn a_flood_of_resets_ends_its_connection() {
    let (_server, gateway) = gateway(1, |config| config).await;
    let before = gateway.process.processor_time();
    let mut client = Deaf::open(&gateway).await;
    let started = Instant::now();
    let mut streams = 0;
    while started.elapsed() < Duration::from_secs(20) {
        let stream = client.next;
        let going = client.ask("GET", "/api/version", b"").await && client.reset(stream).await;
        streams += 1;
        if !going || streams >= 200_000 {
            break;
        }
    }
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), client.stream.read_to_end(&mut rest));
    assert!(read.await.is_ok(), "the connection goes on");
    assert!(streams < 200_000, "it took every reset");
    let cost = gateway.process.processor_time() - before;
    assert!(
        cost < 5.0,
        "{cost} s of processor time for {streams} streams"
    );
    let mut other = Connection::open(gateway.address).await;
    other.request("GET", "/api/version", &[], b"").await;
    assert_eq!(other.reply().await.status, 200);
}
