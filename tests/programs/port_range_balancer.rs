//! In place of the port-range balancer: its environment, its endpoints and its words.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::support::{
    Asked, Config, Connection, Ending, Gateway, Process, Reply, Simulation, Step, Upstream, chat,
    eventually, get, is_done, json, post, request,
};

/// The first of `count` ports in a row that nothing listens on. They lie below those that the system hands out, or
/// other tests would take them meanwhile.
fn free_range(count: u16) -> u16 {
    const LOWEST: u32 = 12_000;
    const STEPS: u32 = 1_800;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..STEPS {
        let step = std::process::id() * 31 + NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(LOWEST + step % STEPS * 10).unwrap();
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (start..start + count).all(free) {
            return start;
        }
    }
    panic!("no {count} free ports in a row");
}

/// Servers on the second and fourth of six ports in a row, whose first is given.
fn servers_in_a_range(arguments: &[&str]) -> (u16, Simulation) {
    let start = free_range(6);
    let ports = format!("{},{}", start + 1, start + 3);
    (start, Simulation::on(&ports, arguments))
}

/// A gateway that is configured by its environment alone, in a folder without a file.
fn by_environment(start: u16, more: &[(&str, &str)]) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Process::remuda();
    command
        .arg("serve")
        .current_dir(folder.path())
        .env("PROXY_HOST", "127.0.0.1")
        .env("PROXY_PORT", "0")
        .env("PROXY_ADMIN", "127.0.0.1:0")
        .env("BACKEND_HOST", "127.0.0.1")
        .env("BACKEND_PORT_START", start.to_string())
        .env("BACKEND_PORT_END", (start + 5).to_string())
        .env("SCAN_INTERVAL_SECONDS", "0.2")
        .env("PROBE_TIMEOUT_SECONDS", "2.0")
        .env("BACKEND_CONNECT_TIMEOUT_SECONDS", "2.0")
        .env("BACKEND_READ_TIMEOUT_SECONDS", "600")
        .env("QUEUE_TIMEOUT_SECONDS", "3600")
        .env("MAX_RETRIES", "2")
        .env("MAX_CONCURRENT_PER_BACKEND", "1")
        .env("LOG_LEVEL", "INFO")
        .envs(more.iter().copied());
    Gateway::launch(command, folder)
}

fn assert_both_keys(reply: &Reply, status: u16, text: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(
        reply.json(),
        serde_json::json!({"error": text, "detail": text})
    );
}

#[tokio::test]
async fn the_environment_alone_makes_a_gateway() {
    let (start, sim) = servers_in_a_range(&["--loaded", "llama3.2"]);
    let gateway = by_environment(start, &[]);
    gateway.healthy(2).await;
    let health = get(gateway.address, "/__proxy/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(
        health.json(),
        serde_json::json!({"status": "ok", "healthy_backends": 2})
    );
    let rows = get(gateway.address, "/__proxy/backends").await.json();
    let rows = rows["backends"].as_array().unwrap();
    let told: Vec<(u64, &Value, &Value)> = rows
        .iter()
        .map(|row| {
            (
                row["port"].as_u64().unwrap(),
                &row["healthy"],
                &row["in_flight"],
            )
        })
        .collect();
    let (yes, none) = (Value::from(true), Value::from(0));
    assert_eq!(
        told,
        [
            (u64::from(start + 1), &yes, &none),
            (u64::from(start + 3), &yes, &none)
        ]
    );
    let body = r#"{"model":"llama3.2","prompt":"hi","stream":false}"#;
    let reply = post(gateway.address, "/api/generate", body).await;
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    assert_eq!(reply.json()["done"], true);
    // Unless the operator refuses it, streaming is Ollama's own.
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert!(is_done(&reply.lines()));
    // Servers come and go without a restart.
    sim.stop(0).await;
    gateway.healthy(1).await;
    sim.revive(0).await;
    gateway.healthy(2).await;
}

#[tokio::test]
async fn its_page_says_what_works() {
    let (start, _sim) = servers_in_a_range(&["--loaded", "llama3.2"]);
    let gateway = by_environment(start, &[]);
    gateway.healthy(2).await;
    crate::migration::ask_all("port-range-balancer", &gateway).await;
}

#[tokio::test]
async fn nobody_is_healthy_and_health_is_200_all_the_same() {
    let start = free_range(6);
    let gateway = by_environment(start, &[("QUEUE_TIMEOUT_SECONDS", "0.3")]);
    let health = get(gateway.address, "/__proxy/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(
        health.json(),
        serde_json::json!({"status": "ok", "healthy_backends": 0})
    );
    assert_eq!(
        get(gateway.address, "/__proxy/backends").await.json(),
        serde_json::json!({"backends": []})
    );
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    for path in ["/api/generate", "/api/chat"] {
        let reply = post(gateway.address, path, &body).await;
        assert_both_keys(
            &reply,
            503,
            "No healthy Ollama backends available within timeout",
        );
        assert!(reply.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn a_busy_server_and_a_queue_timeout_are_told_in_its_words() {
    let (start, _sim) = servers_in_a_range(&[
        "--loaded",
        "llama3.2",
        "--answer-tokens",
        "100000",
        "--decode-speed",
        "50",
    ]);
    let gateway = by_environment(start, &[("QUEUE_TIMEOUT_SECONDS", "0.4")]);
    gateway.healthy(2).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = Connection::open(gateway.address).await;
        let body = chat("llama3.2", "hi", "");
        client
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        assert_eq!(client.head().await.status, 200);
        busy.push(client);
    }
    let rows = get(gateway.address, "/__proxy/backends").await.json();
    for row in rows["backends"].as_array().unwrap() {
        assert_eq!(row["in_flight"], 1, "{rows}");
    }
    let reply = post(
        gateway.address,
        "/api/generate",
        r#"{"model":"llama3.2","prompt":"x"}"#,
    )
    .await;
    assert_both_keys(
        &reply,
        503,
        "Queue timeout waiting for an available backend",
    );
}

#[tokio::test]
async fn failed_attempts_are_told_in_its_words() {
    const FAILED: &str = "All backend attempts failed. Errors: [";
    const BROKEN: &str = "broke the connection before its answer";
    let (start, sim) = servers_in_a_range(&["--loaded", "llama3.2"]);
    let gateway = by_environment(start, &[("QUEUE_TIMEOUT_SECONDS", "0.5")]);
    gateway.healthy(2).await;
    sim.fault_everywhere(r#"{"kind":"cut","bytes":0,"route":"inference"}"#)
        .await;
    let reply = post(
        gateway.address,
        "/api/generate",
        r#"{"model":"llama3.2","prompt":"x"}"#,
    )
    .await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let told = reply.json();
    assert_eq!(told["detail"], "All backend attempts failed");
    assert_eq!(told.as_object().unwrap().len(), 2, "{told}");
    let text = told["error"].as_str().unwrap();
    assert!(text.starts_with(FAILED) && text.contains(BROKEN), "{text}");
    // Clients of OpenAI's format keep its shape.
    eventually("both are healthy again", || async {
        let health = get(gateway.address, "/__proxy/health").await.json();
        if health["healthy_backends"] == 2 {
            Ok(())
        } else {
            Err(health)
        }
    })
    .await;
    let reply = post(
        gateway.address,
        "/v1/chat/completions",
        &chat("llama3.2", "x", ""),
    )
    .await;
    assert_eq!(reply.status, 502);
    let told = reply.json()["error"]["message"].to_string();
    assert!(told.contains(FAILED) && told.contains(BROKEN), "{told}");
    assert!(reply.json().get("detail").is_none());
}

#[tokio::test]
async fn streaming_is_refused_where_the_operator_says_so() {
    let (start, _sim) = servers_in_a_range(&["--loaded", "llama3.2"]);
    let gateway = by_environment(start, &[("REJECT_STREAMING", "true")]);
    gateway.healthy(2).await;
    let text = "Streaming is not supported by this proxy; use stream=false";
    for path in ["/api/generate", "/api/chat"] {
        let reply = post(
            gateway.address,
            path,
            &chat("llama3.2", "x", r#","stream":true"#),
        )
        .await;
        assert_both_keys(&reply, 400, text);
        // An absent `stream` means false.
        let reply = post(
            gateway.address,
            path,
            &chat("llama3.2", "x", r#","prompt":"x""#),
        )
        .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(
            reply
                .header("content-type")
                .unwrap()
                .starts_with("application/json")
        );
        assert_eq!(reply.json()["done"], true);
        let body = chat("llama3.2", "x", r#","stream":false"#);
        assert_eq!(
            post(gateway.address, path, &body).await.json()["done"],
            true
        );
    }
    let body = r#"{"model":"nomic-embed-text","input":"x"}"#;
    assert_eq!(post(gateway.address, "/api/embed", body).await.status, 200);
}

#[tokio::test]
async fn the_content_type_of_a_request_is_ignored() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let body = r#"{"model":"llama3.2","prompt":"hi","stream":false}"#;
    for kind in [
        None,
        Some("application/json"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("nonsense"),
    ] {
        let fields: Vec<(&str, &str)> = kind.iter().map(|kind| ("Content-Type", *kind)).collect();
        let reply = request(
            gateway.address,
            "POST",
            "/api/generate",
            &fields,
            body.as_bytes(),
        )
        .await;
        assert_eq!(reply.status, 200, "{kind:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn bad_requests_are_400_in_ollamas_words_and_cost_no_attempt() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    for (body, text) in [
        ("", "missing request body"),
        ("{", "unexpected EOF"),
        ("{\"model\":", "unexpected EOF"),
        ("not json", "invalid character"),
        (
            "{\"model\":1}",
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        (
            "[]",
            "json: cannot unmarshal array into Go value of type api.ChatRequest",
        ),
        ("{}", "model is required"),
        ("{\"model\":\"\"}", "model is required"),
    ] {
        let reply = post(gateway.address, "/api/chat", body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(text), "{body}: {error}");
    }
    assert_eq!(sim.inferences().await, 0);
    let reply = post(
        gateway.address,
        "/api/chat",
        &chat("nobody-has-this", "x", ""),
    )
    .await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"], "model 'nobody-has-this' not found");
    assert_eq!(sim.inferences().await, 0);
}

/// The original answered 200 to whatever a server refused.
#[tokio::test]
async fn a_servers_refusal_is_relayed_as_it_is() {
    const BODY: &str =
        r#"{"error":"registry.ollama.ai/library/x:latest does not support tools","own":[1]}"#;
    let server = Upstream::start(|asked: &Asked| {
        let status = asked.head.to_ascii_lowercase();
        let (_, rest) = status.split_once("x-status: ").unwrap();
        let status = rest.lines().next().unwrap().trim().parse().unwrap();
        vec![Step::Send(json(status, BODY))]
    })
    .await;
    let config = Config::over(&[server.address]).set("routing.max_retries", 0);
    let gateway = Gateway::over(&config, 1).await;
    for status in ["400", "401", "403", "404", "409", "413", "422", "429"] {
        for stream in ["true", "false"] {
            let body = chat("scripted", "x", &format!(r#","stream":{stream}"#));
            let fields = [("X-Status", status)];
            let reply = request(
                gateway.address,
                "POST",
                "/api/chat",
                &fields,
                body.as_bytes(),
            )
            .await;
            assert_eq!(reply.status.to_string(), status);
            assert_eq!(reply.text(), BODY, "{status}");
            assert_eq!(
                reply.header("content-type"),
                Some("application/json; charset=utf-8")
            );
        }
    }
    assert_eq!(server.asked().len(), 16);
    gateway.healthy(1).await;
    let failed = gateway
        .metric(
            "remuda_requests_total",
            &[("http_response_status_code", "413")],
        )
        .await;
    assert_eq!(failed, 2.0);
}

#[tokio::test]
async fn the_choice_is_the_least_busy_and_then_the_lowest_port() {
    let (start, sim) = servers_in_a_range(&[
        "--loaded",
        "llama3.2",
        "--answer-tokens",
        "100000",
        "--decode-speed",
        "50",
    ]);
    let gateway = by_environment(start, &[("MAX_CONCURRENT_PER_BACKEND", "2")]);
    gateway.healthy(2).await;
    let mut streams = Vec::new();
    for expected in [[1, 0], [1, 1], [2, 1], [2, 2]] {
        let mut client = Connection::open(gateway.address).await;
        let body = chat("llama3.2", "hi", "");
        client
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        streams.push(client);
        eventually("it has begun", || in_flight_is(gateway.address, &expected)).await;
    }
    drop(streams);
    gateway.idle().await;
    drop(sim);
}

async fn in_flight_is(address: SocketAddr, expected: &[u64]) -> Result<(), Value> {
    let rows = get(address, "/__proxy/backends").await.json();
    let now: Vec<u64> = rows["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["in_flight"].as_u64().unwrap())
        .collect();
    if now == expected { Ok(()) } else { Err(rows) }
}

/// The tunnels of batch jobs: the first server appears while a request already waits for one.
#[tokio::test]
async fn a_waiting_request_starts_on_a_server_that_appears() {
    let start = free_range(6);
    let gateway = by_environment(start, &[]);
    let waiting = async {
        post(
            gateway.address,
            "/api/generate",
            r#"{"model":"llama3.2","prompt":"x","stream":false}"#,
        )
        .await
    };
    let appearing = async {
        gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
        Simulation::on(&(start + 2).to_string(), &[])
    };
    let (reply, _sim) = tokio::join!(waiting, appearing);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["done"], true);
}
