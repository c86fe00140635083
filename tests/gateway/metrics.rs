//! What is counted, by which names, and what neither metrics nor logs may hold.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::support::{
    Config, Connection, Gateway, Metrics, Reply, Simulation, chat, eventually, get, post, request,
};

/// What prompts, keys and headers of these tests hold, and nothing else may.
const MARK: &str = "zanzibar-7731";
/// A name and a path that nothing has.
const NAME: &str = "timbuktu-4217";

const REQUESTS: &str = "remuda_requests_total";

/// Two servers, the first of which tests break.
async fn gateway(
    arguments: &[&str],
    configure: impl FnOnce(Config) -> Config,
) -> (Simulation, Gateway) {
    let mut arguments = arguments.to_vec();
    if !arguments.contains(&"--answer-tokens") {
        arguments.extend(["--answer-tokens", "7"]);
    }
    let sim = Simulation::start(2, &arguments);
    let gateway = Gateway::over(&configure(Config::over(&sim.servers)), 2).await;
    (sim, gateway)
}

/// Requests of every kind that there is, good and bad.
async fn all_kinds(sim: &Simulation, gateway: &Gateway) {
    let address = gateway.address;
    for fields in ["", r#","stream":false"#] {
        let body = chat("llama3.2", MARK, fields);
        assert_eq!(post(address, "/api/chat", &body).await.status, 200);
        assert_eq!(
            post(address, "/v1/chat/completions", &body).await.status,
            200
        );
    }
    for (path, body, status) in [
        (
            "/api/generate",
            format!(r#"{{"model":"qwen3:8b","prompt":"{MARK}"}}"#),
            200,
        ),
        (
            "/api/embed",
            format!(r#"{{"model":"nomic-embed-text","input":"{MARK}"}}"#),
            200,
        ),
        (
            "/v1/chat/completions",
            chat("llama3.2", MARK, r#","logit_bias":{"1":1}"#),
            200,
        ),
        // A model that cannot think is asked once more.
        (
            "/v1/chat/completions",
            chat("llama3.2", MARK, r#","reasoning_effort":"low""#),
            200,
        ),
        ("/api/show", r#"{"model":"llama3.2"}"#.to_owned(), 200),
        ("/api/chat", chat(NAME, MARK, ""), 404),
        (
            "/api/chat",
            format!(r#"{{"model":"llama3.2","messages":"{MARK}"}}"#),
            400,
        ),
        ("/api/chat", MARK.to_owned(), 400),
        ("/api/pull", format!(r#"{{"model":"{MARK}"}}"#), 403),
    ] {
        let reply = post(address, path, &body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/api/tags", 200),
        ("GET", "/api/ps", 200),
        ("GET", "/api/version", 200),
        ("GET", "/v1/models", 200),
        ("GET", &*format!("/v1/models/{NAME}"), 404),
        ("GET", &*format!("/{NAME}?key={MARK}"), 404),
        ("PUT", "/api/chat", 405),
    ] {
        let fields = [
            ("Authorization", MARK),
            ("Cookie", MARK),
            ("X-Own", MARK),
            ("User-Agent", MARK),
        ];
        let reply = request(address, method, path, &fields, b"").await;
        assert_eq!(reply.status, status, "{path}");
    }
    for fault in [
        format!(
            r#"{{"kind":"status","status":500,"body":"{{\"error\":\"{MARK}\"}}","times":1,"route":"/api/chat"}}"#
        ),
        format!(
            r#"{{"kind":"error","tokens":0,"message":"{MARK}","times":1,"route":"/api/chat"}}"#
        ),
        format!(
            r#"{{"kind":"error","tokens":3,"message":"{MARK}","times":1,"route":"/api/chat"}}"#
        ),
        r#"{"kind":"cut","bytes":0,"times":1,"route":"/api/chat"}"#.to_owned(),
        r#"{"kind":"cut","tokens":3,"times":1,"route":"/api/chat"}"#.to_owned(),
    ] {
        gateway.healthy(2).await;
        sim.fault(0, &fault).await;
        post(address, "/api/chat", &chat("llama3.2", MARK, "")).await;
        sim.no_faults().await;
    }
    gateway.healthy(2).await;
    // What is no HTTP at all, too.
    for garbage in [
        format!("{MARK}\r\n\r\n"),
        format!("GET /{MARK} HTTP/9.9\r\n{MARK}: {MARK}\r\n\r\n"),
        format!("POST /api/chat HTTP/1.1\r\nHost: {MARK}\r\nContent-Length: -1\r\n\r\n{MARK}"),
        format!("GET /api/tags HTTP/1.1\r\nHost: x\r\n{MARK} {MARK}\r\n\r\n"),
    ] {
        let mut client = Connection::open(address).await;
        client.send(garbage.as_bytes()).await;
        client.try_head().await;
    }
    gateway.idle().await;
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let (sim, gateway) = gateway(&[], |config| config).await;
    all_kinds(&sim, &gateway).await;
    let reply = get(gateway.admin, "/metrics").await;
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("promtool is not installed; nothing checked");
        return;
    };
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(&reply.body)
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// The table in docs/metrics.md is what dashboards are written from.
#[tokio::test]
async fn names_types_and_labels_are_those_of_the_page() {
    let (sim, gateway) = gateway(&[], |config| config).await;
    all_kinds(&sim, &gateway).await;
    let reply = get(gateway.admin, "/metrics").await;
    let mut documented = documented();
    documented.retain(|(name, ..)| !ELSEWHERE.contains(&&**name));
    assert_eq!(scraped(reply.text()), documented);
}

/// There only while a breaker is not closed, or while servers have different digests under one name: their labels are compared
/// with the page where that is so.
const ELSEWHERE: [&str; 2] = [MODEL_BREAKER, MODEL_DIGESTS];
pub(crate) const MODEL_BREAKER: &str = "remuda_model_breaker_state";
pub(crate) const MODEL_DIGESTS: &str = "remuda_model_digests";

/// The family of that name on the page of metrics is as the documented one.
pub(crate) fn is_as_documented(text: &str, family: &str) {
    let of = |families: Vec<Family>| -> Vec<Family> {
        let mut families = families;
        families.retain(|(name, ..)| name == family);
        families
    };
    let there = of(scraped(text));
    assert_eq!((there.len(), &there), (1, &of(documented())));
}

/// A metric's name, type and labels.
type Family = (String, String, Vec<String>);

/// The metrics of a page of them.
pub(crate) fn scraped(text: &str) -> Vec<Family> {
    let mut scraped: Vec<Family> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            (name.to_owned(), kind.to_owned(), labels_of(text, name))
        })
        .collect();
    scraped.sort();
    scraped
}

/// The metrics that `docs/metrics.md` lists.
pub(crate) fn documented() -> Vec<Family> {
    let mut documented: Vec<Family> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind, labels, ..] = cells[..] else {
                return None;
            };
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return None;
            }
            let mut labels: Vec<String> = labels
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect();
            labels.sort();
            Some((name.trim_matches('`').to_owned(), kind.to_owned(), labels))
        })
        .collect();
    documented.sort();
    documented
}

/// The labels of a metric's series, `le` of a histogram apart.
fn labels_of(text: &str, name: &str) -> Vec<String> {
    let series = text.lines().find(|line| {
        ["{", "_bucket{", " "].iter().any(|next| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(next))
        })
    });
    let labels = series.unwrap().split_once('{').map_or("", |(_, rest)| rest);
    let mut labels: Vec<String> = labels
        .split("\",")
        .filter_map(|label| label.split_once("=\""))
        .map(|(label, _)| label.to_owned())
        .filter(|label| label != "le")
        .collect();
    labels.sort();
    labels
}

fn code(code: &str) -> [(&str, &str); 1] {
    [("http_response_status_code", code)]
}

#[tokio::test]
async fn requests_add_up_by_code_and_route() {
    let (_sim, gateway) = gateway(&["--loaded", "llama3.2"], |config| config).await;
    let good = chat("llama3.2", "x", "");
    for _ in 0..5 {
        assert_eq!(post(gateway.address, "/api/chat", &good).await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(post(gateway.address, "/api/chat", "{").await.status, 400);
    }
    for _ in 0..2 {
        assert_eq!(
            post(gateway.address, "/api/chat", &chat("none", "x", ""))
                .await
                .status,
            404
        );
    }
    assert_eq!(get(gateway.address, "/api/tags").await.status, 200);
    assert_eq!(get(gateway.address, "/nothing").await.status, 404);
    let route = ("http_route", "/api/chat");
    let model = ("gen_ai_request_model", "llama3.2:latest");
    let provider = ("remuda_provider", "test");
    let count = |metrics: &Metrics, status, more: &[(&str, &str)]| {
        let labels = [&code(status), more].concat();
        metrics.sum(REQUESTS, &labels)
    };
    // A request is counted when its answer has been sent, which its client may see first.
    gateway
        .metric_is(REQUESTS, &[("http_route", "/api/tags")], 1.0)
        .await;
    eventually("all are counted", || async {
        let metrics = gateway.metrics().await;
        let now = [
            count(&metrics, "200", &[route, model, provider]),
            count(&metrics, "400", &[route]),
            count(
                &metrics,
                "404",
                &[route, ("gen_ai_request_model", "unknown")],
            ),
            count(&metrics, "404", &[("http_route", "other")]),
        ];
        if now == [5.0, 3.0, 2.0, 1.0] {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum(REQUESTS, &[route]), 10.0);
    assert_eq!(metrics.sum(REQUESTS, &[("http_route", "/nothing")]), 0.0);
    for (histogram, count) in [
        ("gen_ai_server_request_duration_seconds_count", 5.0),
        ("gen_ai_server_time_to_first_token_seconds_count", 5.0),
        ("gen_ai_server_time_per_output_token_seconds_count", 5.0),
        ("remuda_queue_wait_seconds_count", 5.0),
    ] {
        assert_eq!(
            metrics.sum(histogram, &[route, model]),
            count,
            "{histogram}"
        );
    }
    assert_eq!(gateway.attempts("ok").await, 5.0);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_499() {
    let slow = [
        "--loaded",
        "llama3.2",
        "--answer-tokens",
        "100000",
        "--decode-speed",
        "50",
    ];
    let (_sim, gateway) = gateway(&slow, |config| config).await;
    for (fields, gone) in [("", 1.0), (r#","stream":false"#, 2.0)] {
        let mut client = Connection::open(gateway.address).await;
        let body = chat("llama3.2", "x", fields);
        client
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        if fields.is_empty() {
            client.head().await;
        }
        gateway
            .metric_is("remuda_backend_in_flight", &[], 1.0)
            .await;
        gateway
            .metric_is("remuda_requests_in_flight", &[], 1.0)
            .await;
        drop(client);
        gateway.metric_is(REQUESTS, &code("499"), gone).await;
        assert_eq!(gateway.attempts("client_gone").await, gone);
    }
    gateway.idle().await;
    let whole = [code("200")[0], ("http_route", "/api/chat")];
    assert_eq!(gateway.metric(REQUESTS, &whole).await, 0.0);
}

/// Tokens that an answer says it cost.
fn tokens(answer: &Value) -> (f64, f64) {
    let count = |value: &Value| value.as_f64().unwrap_or(0.0);
    let usage = &answer["usage"];
    (
        count(&answer["prompt_eval_count"]) + count(&usage["prompt_tokens"]),
        count(&answer["eval_count"]) + count(&usage["completion_tokens"]),
    )
}

#[tokio::test]
async fn tokens_are_those_that_the_answers_state() {
    let arguments = ["--loaded", "llama3.2", "--answer-tokens", "3-40"];
    let (_sim, gateway) = gateway(&arguments, |config| config).await;
    let mut stated = (0.0, 0.0);
    let mut add = |answer: &Value| {
        let (input, output) = tokens(answer);
        assert!(input > 0.0, "{answer}");
        stated = (stated.0 + input, stated.1 + output);
    };
    for number in 0..6 {
        let text = "word ".repeat(1 + number);
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", &text, "")).await;
        add(reply.lines().last().unwrap());
        let body = chat("llama3.2", &text, r#","stream":false"#);
        add(&post(gateway.address, "/api/chat", &body).await.json());
        add(&post(gateway.address, "/v1/chat/completions", &body)
            .await
            .json());
        let body = format!(r#"{{"model":"llama3.2","prompt":"{text}"}}"#);
        let reply = post(gateway.address, "/api/generate", &body).await;
        add(reply.lines().last().unwrap());
        let body = format!(r#"{{"model":"nomic-embed-text","input":"{text}"}}"#);
        add(&post(gateway.address, "/api/embed", &body).await.json());
    }
    eventually("all tokens are counted", || async {
        let metrics = gateway.metrics().await;
        let sum = |kind| {
            metrics.sum(
                "gen_ai_client_token_usage_sum",
                &[("gen_ai_token_type", kind)],
            )
        };
        let counted = (sum("input"), sum("output"));
        if counted == stated {
            Ok(())
        } else {
            Err((counted, stated))
        }
    })
    .await;
    let speed = gateway
        .metric("remuda_output_tokens_per_second_count", &[])
        .await;
    assert!(speed > 0.0);
}

#[tokio::test]
async fn attempts_are_counted_by_how_they_ended() {
    let (sim, gateway) = gateway(&["--loaded", "llama3.2"], |config| {
        config.set("timeouts.first_byte", "400ms")
    })
    .await;
    for (fault, outcome) in [
        (
            r#"{"kind":"status","status":500,"times":1,"route":"/api/chat"}"#,
            "server_error",
        ),
        (
            r#"{"kind":"status","status":429,"times":1,"route":"/api/chat"}"#,
            "refused",
        ),
        (
            r#"{"kind":"error","tokens":0,"message":"x","times":1,"route":"/api/chat"}"#,
            "error_line",
        ),
        (
            r#"{"kind":"cut","bytes":0,"times":1,"route":"/api/chat"}"#,
            "reset",
        ),
        (
            r#"{"kind":"silent","times":1,"route":"/api/chat"}"#,
            "timeout",
        ),
        (
            r#"{"kind":"cut","tokens":3,"times":1,"route":"/api/chat"}"#,
            "broken_stream",
        ),
    ] {
        gateway.healthy(2).await;
        assert_eq!(gateway.attempts(outcome).await, 0.0);
        sim.fault(0, fault).await;
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "x", "")).await;
        assert_eq!(reply.status, 200, "{outcome}");
        eventually(outcome, || async {
            let count = gateway.attempts(outcome).await;
            if count == 1.0 { Ok(()) } else { Err(count) }
        })
        .await;
    }
    gateway.idle().await;
    // Each failure was followed by an attempt that succeeded, the broken stream too.
    assert_eq!(gateway.attempts("ok").await, 6.0);
    assert_eq!(gateway.metric("remuda_attempts_total", &[]).await, 12.0);
    assert_eq!(
        gateway.metric("remuda_broken_streams_total", &[]).await,
        1.0
    );
}

#[tokio::test]
async fn gauges_follow_the_fleet_and_the_queue() {
    let arguments = [
        "--load-time",
        "300ms",
        "--answer-tokens",
        "100000",
        "--decode-speed",
        "50",
    ];
    let (sim, gateway) = gateway(&arguments, |config| config).await;
    let provider = ("remuda_provider", "test");
    let health = |health| [provider, ("health", health)];
    gateway
        .metric_is("remuda_backends", &health("healthy"), 2.0)
        .await;
    gateway.metric_is("remuda_slots", &[provider], 2.0).await;
    gateway
        .metric_is("remuda_models_available", &[provider], 4.0)
        .await;
    assert_eq!(gateway.metric("remuda_models_loaded", &[]).await, 0.0);
    assert_eq!(gateway.metric("remuda_cold_loads_total", &[]).await, 0.0);
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = Connection::open(gateway.address).await;
        let body = chat("llama3.2", "x", "");
        client
            .request("POST", "/api/chat", &[], body.as_bytes())
            .await;
        clients.push(client);
        gateway
            .metric_is("remuda_requests_in_flight", &[], f64::from(number + 1))
            .await;
    }
    gateway
        .metric_is("remuda_slots_used", &[provider], 2.0)
        .await;
    gateway.metric_is("remuda_queue_depth", &[], 3.0).await;
    let model = [provider, ("gen_ai_request_model", "llama3.2:latest")];
    gateway.metric_is("remuda_models_loaded", &model, 2.0).await;
    assert_eq!(gateway.metric("remuda_cold_loads_total", &[]).await, 2.0);
    let backend = ("backend", &*sim.servers[0].to_string());
    eventually("the memory of its model is known", || async {
        let bytes = gateway
            .metric("remuda_backend_vram_bytes", &[backend])
            .await;
        if bytes > 1e9 { Ok(()) } else { Err(bytes) }
    })
    .await;
    gateway.metric_is("remuda_connections", &[], 5.0).await;
    drop(clients);
    gateway.idle().await;
    gateway.metric_is("remuda_connections", &[], 0.0).await;
    sim.stop(0).await;
    gateway
        .metric_is("remuda_backends", &health("unhealthy"), 1.0)
        .await;
    gateway
        .metric_is("remuda_backend_healthy", &[backend], 0.0)
        .await;
    gateway.metric_is("remuda_slots", &[provider], 1.0).await;
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.sum(
            "remuda_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))]
        ),
        1.0
    );
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 1e6);
}

/// Prompts, keys and whatever else clients send stay out of metrics, logs and the gateway's own errors.
#[tokio::test]
async fn nothing_that_a_client_sends_is_told_to_others() {
    for format in ["text", "json"] {
        let (sim, gateway) = gateway(&[], |config| {
            config
                .set("monitoring.log_format", format)
                .set("provider.api_key", format!("key-{MARK}"))
        })
        .await;
        all_kinds(&sim, &gateway).await;
        let metrics = get(gateway.admin, "/metrics").await;
        for word in [MARK, NAME] {
            assert!(!metrics.text().contains(word), "{}", metrics.text());
        }
        for path in [
            "/__proxy/backends",
            "/health",
            "/health/ready",
            "/api/providers",
            "/api/providers/test/stats",
            "/nothing",
        ] {
            let reply = get(gateway.admin, path).await;
            assert!(!reply.text().contains(MARK), "{}", reply.text());
        }
        let logged = gateway.process.output();
        assert!(logged.len() > 20, "{logged:?}");
        let told: Vec<_> = logged.iter().filter(|line| line.contains(MARK)).collect();
        assert!(told.is_empty(), "{told:#?}");
        // What is not there is named in its own line of the log.
        let named: Vec<_> = logged.iter().filter(|line| line.contains(NAME)).collect();
        assert_eq!(named.len(), 3, "{named:#?}");
    }
}

#[tokio::test]
async fn debug_logs_hold_no_prompt_and_no_key_either() {
    let (sim, gateway) = gateway(&[], |config| {
        config
            .set("monitoring.log_level", "debug")
            .set("provider.api_key", format!("key-{MARK}"))
    })
    .await;
    let fields = [("Authorization", MARK), ("Cookie", MARK)];
    for body in [
        chat("llama3.2", MARK, ""),
        chat("llama3.2", MARK, r#","stream":false"#),
    ] {
        let reply = request(
            gateway.address,
            "POST",
            "/api/chat",
            &fields,
            body.as_bytes(),
        )
        .await;
        assert_eq!(reply.status, 200);
    }
    sim.fault(
        0,
        r#"{"kind":"cut","bytes":0,"times":1,"route":"/api/chat"}"#,
    )
    .await;
    let body = chat("llama3.2", MARK, "");
    request(
        gateway.address,
        "POST",
        "/api/chat",
        &fields,
        body.as_bytes(),
    )
    .await;
    gateway.idle().await;
    let logged = gateway.process.output();
    let told: Vec<_> = logged.iter().filter(|line| line.contains(MARK)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// The access log's entry of the request with this id.
fn entry(gateway: &Gateway, id: &str) -> Value {
    gateway.process.wait_for("an access log entry", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let request = line.get("request")?;
        (request["request_id"] == id).then(|| request.clone())
    })
}

async fn with_id(gateway: &Gateway, id: &str, path: &str, body: &str) -> Reply {
    let fields = [("X-Request-Id", id)];
    request(gateway.address, "POST", path, &fields, body.as_bytes()).await
}

#[tokio::test]
async fn json_logs_are_json_and_say_what_happened() {
    let (sim, gateway) = gateway(&[], |config| config.set("monitoring.log_format", "json")).await;
    with_id(&gateway, "first", "/api/chat", &chat("llama3.2", "x", "")).await;
    let first = entry(&gateway, "first");
    for (key, value) in [
        ("client", Value::from("127.0.0.1")),
        ("method", "POST".into()),
        ("path", "/api/chat".into()),
        ("status", 200.into()),
        ("model", "llama3.2:latest".into()),
        ("backend", sim.servers[0].to_string().into()),
        ("attempts", 1.into()),
        // The gateway itself has had the model loaded.
        ("cold", false.into()),
        ("tokens", 7.into()),
    ] {
        assert_eq!(first[key], value, "{key}: {first}");
    }
    assert!(first["bytes"].as_u64().unwrap() > 500);
    assert!(first["duration_ms"].as_f64() >= first["first_content_ms"].as_f64());
    with_id(&gateway, "second", "/api/chat", "{").await;
    let second = entry(&gateway, "second");
    assert_eq!(
        (&second["status"], &second["error"]),
        (&400.into(), &"bad_request".into())
    );
    sim.fault(
        0,
        r#"{"kind":"status","status":500,"times":1,"route":"/api/chat"}"#,
    )
    .await;
    with_id(&gateway, "third", "/api/chat", &chat("llama3.2", "x", "")).await;
    assert_eq!(entry(&gateway, "third")["attempts"], 2);
    all_kinds(&sim, &gateway).await;
    for line in gateway.process.output() {
        let line: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["time"].is_string() && line["level"].is_string(),
            "{line}"
        );
        assert_ne!(
            line["message"].is_string(),
            line["request"].is_object(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_access_log_can_be_off() {
    let (_sim, gateway) = gateway(&[], |config| config.set("monitoring.access_log", "false")).await;
    with_id(&gateway, "mine", "/api/chat", &chat("llama3.2", "x", "")).await;
    gateway
        .metric_is(REQUESTS, &[("http_route", "/api/chat")], 1.0)
        .await;
    assert!(
        gateway
            .process
            .output()
            .iter()
            .all(|line| !line.contains("mine"))
    );
}

/// Where clients are shown the metrics, a key that is limited sees what its limits leave: no other key's use, and no model
/// or provider that it may not ask.
#[tokio::test]
async fn a_limited_key_sees_its_part_of_the_metrics() {
    let (_sim, gateway) = gateway(&["--models", "llama3.2,qwen3:8b"], |config| {
        config
            .set("server.public", "[health, backends, metrics]")
            .key("{ name: alice, key: alice-has-this-key-0, models: [llama3*] }")
            .key("{ name: bob, key: bob-has-another-one-1 }")
            .key("{ name: carol, key: carol-has-one-as-well-2, models: [nothing] }")
    })
    .await;
    let (alice, bob) = ("alice-has-this-key-0", "bob-has-another-one-1");
    for (key, model) in [(alice, "llama3.2"), (bob, "qwen3:8b"), (alice, "qwen3:8b")] {
        let body = chat(model, "hi", r#","stream":false"#);
        let fields = [("x-api-key", key)];
        let reply = request(
            gateway.address,
            "POST",
            "/api/chat",
            &fields,
            body.as_bytes(),
        )
        .await;
        assert!(matches!(reply.status, 200 | 403), "{}", reply.text());
    }
    gateway.idle().await;
    let page = |key: &'static str| async move {
        let fields = [("x-api-key", key)];
        request(gateway.address, "GET", "/metrics", &fields, b"").await
    };
    let all = page(bob).await;
    assert_eq!(all.status, 200);
    for text in ["llama3.2:latest", "qwen3:8b", "\"alice\"", "\"bob\""] {
        assert!(all.text().contains(text), "{text}");
    }
    let part = page(alice).await;
    for (text, shown) in [
        ("llama3.2:latest", true),
        ("remuda_provider=\"test\"", true),
        ("remuda_key=\"alice\"", true),
        ("remuda_build_info", true),
        ("qwen3:8b", false),
        ("bob", false),
        ("carol", false),
    ] {
        assert_eq!(part.text().contains(text), shown, "{text}: {}", part.text());
    }
    let none = page("carol-has-one-as-well-2").await;
    for text in ["llama3.2", "qwen3", "unknown", "alice", "bob"] {
        assert!(!none.text().contains(text), "{text}: {}", none.text());
    }
    // On the listener for operators everything is there.
    assert!(
        get(gateway.admin, "/metrics")
            .await
            .text()
            .contains("\"bob\"")
    );
}
