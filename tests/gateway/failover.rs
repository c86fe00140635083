//! Until the first content a failed attempt is answered with the next candidate, and the client sees none of it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{
    Config, Connection, Ending, Gateway, Reply, Simulation, Step, Upstream, chat, chunk, get,
    is_done, json, post,
};

/// Two simulated servers that have the model loaded, and a gateway that tries the first one first.
async fn pair(config: impl FnOnce(Config) -> Config) -> (Simulation, Gateway) {
    let sim = warm(2);
    // A server that fails in test after test would be left out.
    let config = |own: Config| config(own.set("routing.breaker", "{ enabled: false }"));
    let gateway = Gateway::over(&config(Config::over(&sim.servers)), 2).await;
    (sim, gateway)
}

fn warm(count: usize) -> Simulation {
    Simulation::start(count, &["--loaded", "llama3.2", "--keep-alive", "-1"])
}

/// Asserts that `reply` is a whole answer that came from `server` at attempt number `attempts`.
fn assert_served(what: &str, reply: &Reply, sim: &Simulation, server: usize, attempts: u32) {
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, 200, "{what}: {text}");
    assert_eq!(reply.ending, Ending::Whole, "{what}");
    assert!(!text.contains("error"), "{what}: {text}");
    assert!(is_done(&reply.lines()), "{what}: {text}");
    let attempts = attempts.to_string();
    assert_eq!(
        reply.header("x-remuda-attempts"),
        Some(&*attempts),
        "{what}"
    );
    let backend = reply.header("x-remuda-backend").unwrap();
    let port = sim.servers[server].port().to_string();
    assert!(backend.ends_with(&port), "{what}: {backend}, not {port}");
}

/// Sends a streaming and a plain request, each against one occurrence of `fault` on the first server.
async fn fails_over(sim: &Simulation, gateway: &Gateway, fault: &str, outcome: &str) {
    for fields in ["", r#","stream":false"#] {
        gateway.healthy(2).await;
        let before = gateway.attempts(outcome).await;
        sim.fault(0, fault).await;
        let mut reply = post(
            gateway.address,
            "/api/chat",
            &chat("llama3.2", "hi", fields),
        )
        .await;
        if !fields.is_empty() {
            reply.body.push(b'\n');
        }
        assert_served(fault, &reply, sim, 1, 2);
        assert_eq!(gateway.attempts(outcome).await, before + 1.0, "{fault}");
        sim.no_faults().await;
    }
}

#[tokio::test]
async fn an_error_before_the_first_content_goes_to_the_next_backend() {
    let (sim, gateway) = pair(|config| config).await;
    for status in [500, 502, 503, 504] {
        let fault =
            format!(r#"{{"kind":"status","status":{status},"times":1,"route":"/api/chat"}}"#);
        fails_over(&sim, &gateway, &fault, "server_error").await;
    }
    for (fault, outcome) in [
        (
            r#"{"kind":"status","status":429,"retry_after":1,"times":1,"route":"/api/chat"}"#,
            "refused",
        ),
        (
            r#"{"kind":"status","status":404,"body":"{\"error\":\"model 'llama3.2' not found\"}","times":1,"route":"/api/chat"}"#,
            "refused",
        ),
        (
            r#"{"kind":"cut","bytes":0,"times":1,"route":"/api/chat"}"#,
            "reset",
        ),
        (
            r#"{"kind":"cut","bytes":0,"reset":true,"times":1,"route":"/api/chat"}"#,
            "reset",
        ),
        (
            r#"{"kind":"cut","bytes":40,"times":1,"route":"/api/chat"}"#,
            "reset",
        ),
        (
            r#"{"kind":"cut","bytes":40,"reset":true,"times":1,"route":"/api/chat"}"#,
            "reset",
        ),
        (
            r#"{"kind":"cut","at":"body","times":1,"route":"/api/chat"}"#,
            "reset",
        ),
    ] {
        fails_over(&sim, &gateway, fault, outcome).await;
    }
    gateway.idle().await;
}

#[tokio::test]
async fn an_error_line_as_the_first_line_goes_to_the_next_backend() {
    let (sim, gateway) = pair(|config| config).await;
    for fields in ["", r#","options":{"seed":3}"#] {
        sim.fault(0, r#"{"kind":"error","times":1,"route":"/api/chat"}"#)
            .await;
        let reply = post(
            gateway.address,
            "/api/chat",
            &chat("llama3.2", "hi", fields),
        )
        .await;
        assert_served("an error line", &reply, &sim, 1, 2);
    }
    assert_eq!(gateway.attempts("error_line").await, 2.0);
}

#[tokio::test]
async fn a_refused_connection_goes_to_the_next_backend_and_ejects_at_once() {
    let (sim, gateway) = pair(|config| config.set("provider.interval", "60s")).await;
    sim.refuse(0).await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert_served("a refused connection", &reply, &sim, 1, 2);
    assert_eq!(gateway.attempts("connect_error").await, 1.0);
    // The regular probe is a minute away: it was the request that told.
    let health = get(gateway.address, "/__proxy/health").await.json();
    assert_eq!(health["healthy_backends"], 1);
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert_served("an ejected backend", &reply, &sim, 1, 1);
    sim.revive(0).await;
    gateway.healthy(2).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_in_time_is_given_up() {
    let (sim, gateway) = pair(|config| config.set("timeouts.first_byte", "1500ms")).await;
    for fault in [
        r#"{"kind":"silent","times":1,"route":"/api/chat"}"#,
        r#"{"kind":"stall","seconds":60,"times":1,"route":"/api/chat"}"#,
        r#"{"kind":"stall","at":"body","seconds":60,"times":1,"route":"/api/chat"}"#,
        r#"{"kind":"stall","bytes":60,"seconds":60,"times":1,"route":"/api/chat"}"#,
    ] {
        fails_over(&sim, &gateway, fault, "timeout").await;
    }
    gateway.idle().await;
}

#[tokio::test]
async fn a_tried_backend_is_not_tried_again_and_attempts_are_bounded() {
    let sim = warm(5);
    let config = Config::over(&sim.servers).set("routing.max_retries", 2);
    let gateway = Gateway::over(&config, 5).await;
    sim.fault_everywhere(r#"{"kind":"status","status":503,"body":"{\"error\":\"first words\"}","route":"/api/chat"}"#)
        .await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.text(), r#"{"error":"first words"}"#);
    let asked: Vec<_> = sim
        .stats()
        .await
        .iter()
        .map(|server| server.requests.get("POST /api/chat").copied().unwrap_or(0))
        .collect();
    assert_eq!(asked.iter().sum::<u64>(), 3, "{asked:?}");
    assert!(asked.iter().all(|count| *count <= 1), "{asked:?}");
    gateway.idle().await;
}

#[tokio::test]
async fn when_all_attempts_fail_without_an_answer_the_client_gets_502() {
    let (sim, gateway) = pair(|config| config).await;
    sim.fault_everywhere(r#"{"kind":"cut","bytes":0,"reset":true,"route":"/api/chat"}"#)
        .await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let error = reply.json()["error"].to_string();
    assert!(
        error.starts_with("\"All backend attempts failed. Errors: ["),
        "{error}"
    );
    let each = error
        .matches("broke the connection before its answer")
        .count();
    assert_eq!(each, 2, "{error}");
    gateway.idle().await;
}

#[tokio::test]
async fn an_error_that_blames_the_request_is_final_and_ejects_nobody() {
    let (sim, gateway) = pair(|config| config).await;
    for fields in [
        r#","options":{"num_ctx":"many"}"#,
        r#","format":"xml""#,
        r#","format":"xml","stream":false"#,
    ] {
        let before = sim.inferences().await;
        let body = chat("llama3.2", "hi", fields);
        let direct = post(sim.servers[0], "/api/chat", &body).await;
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(direct.status, 500, "{}", direct.text());
        assert_eq!(reply.status, 500);
        assert_eq!(reply.body, direct.body);
        assert_eq!(sim.inferences().await, before + 2, "it was retried");
        let health = get(gateway.address, "/__proxy/health").await.json();
        assert_eq!(health["healthy_backends"], 2);
    }
    assert_eq!(gateway.attempts("refused").await, 3.0);
    gateway.idle().await;
}

#[tokio::test]
async fn a_chunked_body_of_fifty_mebibytes_survives_failover() {
    let (sim, gateway) = pair(|config| config).await;
    sim.fault(
        0,
        r#"{"kind":"status","status":503,"times":1,"route":"/api/chat"}"#,
    )
    .await;
    let text = "x".repeat(50 << 20);
    // The context that the copy has in the end, so that nothing in the body is made equal to it.
    let body = chat("llama3.2", &text, r#","options":{"num_ctx":32768}"#);
    let mut client = Connection::open(gateway.address).await;
    client
        .request_chunked("/api/chat", &[], body.as_bytes(), 1 << 18)
        .await;
    let reply = client.reply().await;
    assert_served("50 MiB", &reply, &sim, 1, 2);
    let stats = sim.stats().await;
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let digest: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for address in &sim.servers {
        let server = stats.iter().find(|one| one.port == address.port()).unwrap();
        assert_eq!(server.requests["POST /api/chat"], 1);
    }
    let second = stats
        .iter()
        .find(|one| one.port == sim.servers[1].port())
        .unwrap();
    // A probe may have come since; the body's length in the head of the request is checked by the server itself.
    if let Some(last) = second
        .last_request
        .as_ref()
        .filter(|last| last.target == "/api/chat")
    {
        assert_eq!(last.body_bytes, body.len() as u64);
        assert_eq!(last.body_sha256, digest);
    }
}

/// One whole chat answer with a length.
fn answer() -> Vec<u8> {
    json(
        200,
        r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop"}"#,
    )
}

#[tokio::test]
async fn a_pooled_connection_that_turns_out_closed_is_no_failed_attempt() {
    // Each connection serves one request and is closed when the next one comes, as by a server that has idled out.
    let upstream = Upstream::start(|asked| match asked.on_connection {
        0 => vec![Step::Send(answer())],
        1 if asked.number % 2 == 1 => vec![Step::Close],
        _ => vec![Step::Reset],
    })
    .await;
    // Idle connections are kept by thread.
    let config = Config::over(&[upstream.address])
        .set("routing.max_retries", 0)
        .set("server.threads", 1);
    let gateway = Gateway::over(&config, 1).await;
    for _ in 0..20 {
        let body = chat("scripted", "hi", r#","stream":false"#);
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-remuda-attempts"), Some("1"));
    }
    let resent = upstream
        .asked()
        .iter()
        .filter(|asked| asked.on_connection > 0)
        .count();
    assert!(resent > 0, "no connection was ever reused");
    let ok = [("outcome", "ok")];
    gateway.metric_is("remuda_attempts_total", &ok, 20.0).await;
    gateway.metric_is("remuda_attempts_total", &[], 20.0).await;
}

#[tokio::test]
async fn a_provider_is_waited_for_as_long_as_it_says_itself() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
    let line = || {
        let line =
            r#"{"model":"scripted","message":{"role":"assistant","content":"a"},"done":false}"#;
        Step::Send(chunk(format!("{line}\n").as_bytes()))
    };
    let slow = Upstream::start(move |asked| match asked.number {
        0 => vec![Step::Hold],
        1 => vec![Step::Send(HEAD.to_vec()), line(), Step::Hold],
        _ => {
            let pieces = (0..200).flat_map(|_| [line(), Step::Pause(Duration::from_millis(100))]);
            [Step::Send(HEAD.to_vec())]
                .into_iter()
                .chain(pieces)
                .collect()
        }
    })
    .await;
    let quick = Upstream::start(|_| {
        let answer =
            r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;
        vec![Step::Send(json(200, answer))]
    })
    .await;
    let entry = |name: &str, server: &Upstream, more: &str| {
        format!(
            "{{ name: {name}, kind: ollama, base_url: 'http://{}', interval: 200ms, probe_timeout: 2s{more} }}",
            server.address
        )
    };
    let bounds = "{ first_byte: 500ms, between_chunks: 700ms, total: 1500ms }";
    let config = Config::of([
        entry("slow", &slow, &format!(", priority: 1, timeouts: {bounds}")),
        entry("quick", &quick, ", priority: 2"),
    ])
    .set("routing.strategy", "failover")
    .set("routing.breaker", "{ enabled: false }");
    let gateway = Gateway::over(&config, 2).await;
    // The others are waited for much longer.
    let limit = Duration::from_secs(20);
    for (model, least, ends) in [
        ("scripted", 500, None),
        ("slow/scripted", 700, Some("between_chunks")),
        ("slow/scripted", 1500, Some("total")),
    ] {
        gateway.healthy(2).await;
        let asked = Instant::now();
        let reply = post(gateway.address, "/api/chat", &chat(model, "hi", "")).await;
        let took = asked.elapsed();
        assert!(
            took >= Duration::from_millis(least) && took < limit,
            "{model}: {took:?}"
        );
        assert_eq!(reply.status, 200, "{model}");
        match ends {
            None => assert_eq!(reply.header("x-remuda-attempts"), Some("2")),
            Some(setting) => {
                let last = reply.lines().pop().unwrap().to_string();
                assert!(last.contains(setting), "{last}");
            }
        }
    }
    assert_eq!((slow.asked().len(), quick.asked().len()), (3, 1));
}

/// Errors of a server that are about the request, each about another part of it.
const ABOUT_THE_REQUEST: [(u16, &str); 4] = [
    (
        500,
        r#"error parsing tool call: raw='{"name":"f"', err=unexpected end of JSON input"#,
    ),
    (
        500,
        r#"template: :3:12: executing "" at <.Foo>: can't evaluate field Foo"#,
    ),
    (500, "failed to parse grammar"),
    (501, "This server does not support embeddings."),
];

#[tokio::test]
async fn an_error_about_the_request_takes_no_server_away() {
    let sim = warm(4);
    let gateway = Gateway::over(&Config::over(&sim.servers), 4).await;
    for (status, text) in ABOUT_THE_REQUEST {
        let body = json!({"error": text}).to_string();
        let fault = json!({"kind": "status", "status": status, "body": body, "route": "/api/chat"});
        sim.fault_everywhere(&fault.to_string()).await;
        for _ in 0..5 {
            let before = sim.inferences().await;
            let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
            assert_eq!(reply.status, status, "{}", reply.text());
            assert_eq!(reply.json()["error"], text);
            // One other try at most.
            let tries = sim.inferences().await - before;
            assert!((1..=2).contains(&tries), "{text}: {tries}");
            let health = get(gateway.address, "/__proxy/health").await.json();
            assert_eq!(health["healthy_backends"], 4, "{text}");
        }
        sim.no_faults().await;
    }
    // What nobody has heard of before is about the request, too, if all say it.
    sim.fault_everywhere(
        r#"{"kind":"status","status":500,"body":"{\"error\":\"the flux is unquantised\"}","route":"/api/chat"}"#,
    )
    .await;
    for _ in 0..8 {
        gateway.healthy(4).await;
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert_eq!(reply.status, 500, "{}", reply.text());
    }
    gateway.healthy(4).await;
    sim.no_faults().await;
    // Nor within a stream that has begun.
    sim.fault_everywhere(
        r#"{"kind":"error","tokens":2,"message":"error parsing tool call: raw='{', err=x","route":"/api/chat"}"#,
    )
    .await;
    for _ in 0..5 {
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert!(
            reply.text().contains("error parsing tool call"),
            "{}",
            reply.text()
        );
        let health = get(gateway.address, "/__proxy/health").await.json();
        assert_eq!(health["healthy_backends"], 4);
    }
    assert_eq!(gateway.metric("remuda_breaker_state", &[]).await, 0.0);
    gateway.idle().await;
}

/// Ollama's words for a model that does not load: each server that has it is asked to once, and none is marked.
#[tokio::test]
async fn a_model_that_no_server_can_load_is_tried_once_on_each() {
    for text in [
        "model failed to load, this may be due to resource limitations or an internal error, check ollama server logs for details",
        "cudaMalloc failed: out of memory",
    ] {
        let sim = Simulation::start(3, &["--models", "llama3.2"]);
        let gateway = Gateway::over(&Config::over(&sim.servers), 3).await;
        let body = json!({"error": text}).to_string();
        let fault =
            json!({"kind": "status", "status": 500, "body": body, "route": "/api/generate"});
        for server in 0..3 {
            sim.fault(server, &fault.to_string()).await;
        }
        let body = r#"{"model":"llama3.2","prompt":"hi"}"#;
        let reply = post(gateway.address, "/api/generate", body).await;
        assert_eq!(
            (reply.status, reply.json()["error"].as_str()),
            (500, Some(text))
        );
        let stats = sim.stats().await;
        let tries = stats
            .iter()
            .filter_map(|one| one.requests.get("POST /api/generate"));
        assert_eq!(tries.sum::<u64>(), 3, "{text}");
        let health = get(gateway.address, "/__proxy/health").await.json();
        assert_eq!(health["healthy_backends"], 3, "{text}");
    }
}

/// A broken copy of one model: its server is well for the others, and is passed over for that one while another has it.
#[tokio::test]
async fn a_model_that_cannot_be_loaded_takes_no_server_away() {
    let mut both = [(); 2].map(|()| Simulation::start(1, &["--models", "llama3.2,qwen3:8b"]));
    // The lower port is asked first.
    both.sort_by_key(|one| one.servers[0].port());
    let [broken, sound] = &both;
    let servers = [broken.servers[0], sound.servers[0]];
    let config = Config::over(&servers).set("queue.when_unhealthy", "refuse");
    let gateway = Gateway::over(&config, 2).await;
    let text = "llama-server process has terminated: exit status 3";
    let body = json!({"error": text}).to_string();
    let fault = json!({"kind": "status", "status": 500, "body": body, "route": "/api/generate"});
    broken.fault(0, &fault.to_string()).await;
    for stream in ["true", "false"] {
        for _ in 0..8 {
            let body = format!(r#"{{"model":"llama3.2","prompt":"hi","stream":{stream}}}"#);
            let reply = post(gateway.address, "/api/generate", &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let body = chat("qwen3:8b", "hi", "");
            let reply = post(gateway.address, "/api/chat", &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let health = get(gateway.address, "/__proxy/health").await.json();
            assert_eq!(health["healthy_backends"], 2);
        }
    }
    let stats = broken.stats().await;
    let tries = stats[0].requests.get("POST /api/generate").copied();
    assert!(tries.unwrap_or(0) <= 3, "{tries:?}");
    // Who alone has it is asked all the same, and its word is the client's.
    sound.stop(0).await;
    gateway.healthy(1).await;
    let body = r#"{"model":"llama3.2","prompt":"hi"}"#;
    let reply = post(gateway.address, "/api/generate", body).await;
    assert_eq!(
        (reply.status, reply.json()["error"].as_str()),
        (500, Some(text))
    );
    gateway.idle().await;
}
