//! Loads are the gateway's own, whoever waits for them; and what loads or unloads a model, and asks for nothing else, takes no
//! slot.

use serde_json::{Value, json};

use super::support::{
    self, Asked, Config, Connection, Gateway, Simulation, Step, Upstream, chat, eventually, get,
    join_all, post, request,
};

/// An empty prompt.
fn empty(model: &str, fields: Value) -> String {
    let mut body = json!({"model": model, "prompt": ""});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

/// The names of what each server has in memory.
async fn in_memory(sim: &Simulation) -> Vec<Vec<String>> {
    let stats = sim.stats().await;
    stats.into_iter().map(|server| server.loaded).collect()
}

async fn loads(sim: &Simulation) -> u64 {
    sim.stats().await.iter().map(|server| server.loads).sum()
}

#[tokio::test]
async fn whoever_waits_for_a_load_may_leave_and_come_back() {
    let sim = Simulation::start(1, &["--load-time", "1500ms", "--answer-tokens", "3"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    let mut first = Connection::open(gateway.address).await;
    first
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    eventually("the load has begun", || async {
        let running = gateway.metric("remuda_loads_running", &[]).await;
        if running == 1.0 { Ok(()) } else { Err(running) }
    })
    .await;
    let address = gateway.address;
    let (again, other) = (body.clone(), body.clone());
    let second = tokio::spawn(async move { post(address, "/api/chat", &other).await });
    first.reset();
    let reply = post(gateway.address, "/api/chat", &again).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(second.await.unwrap().status, 200);
    assert_eq!(loads(&sim).await, 1);
    gateway.metric_is("remuda_loads_running", &[], 0.0).await;
    assert_eq!(gateway.metric("remuda_load_seconds_count", &[]).await, 1.0);
    gateway.idle().await;
}

/// A request for a stream of a few tokens on each of the routes that stream.
fn streamed(model: &str) -> [(&'static str, String); 6] {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let chat = json!({"model": model, "max_tokens": 5, "stream": true, "messages": messages});
    let prompt = json!({"model": model, "stream": true, "prompt": "hi"});
    [
        ("/v1/chat/completions", chat.to_string()),
        ("/v1/completions", prompt.to_string()),
        (
            "/v1/responses",
            json!({"model": model, "stream": true, "input": "hi"}).to_string(),
        ),
        ("/v1/messages", chat.to_string()),
        ("/api/chat", chat.to_string()),
        ("/api/generate", prompt.to_string()),
    ]
}

#[tokio::test]
async fn a_client_that_waits_for_a_load_hears_of_it() {
    let sim = Simulation::start(1, &["--load-time", "1500ms", "--answer-tokens", "3"]);
    let config = Config::over(&sim.servers)
        .set("timeouts.keep_alive", "100ms")
        .set("provider.interval", "1h");
    let gateway = Gateway::over(&config, 1).await;
    let asked = streamed("llama3.2").map(|(path, body)| {
        let address = gateway.address;
        async move { (path, post(address, path, &body).await) }
    });
    for (path, reply) in join_all(asked).await {
        assert_eq!(reply.status, 200, "{path} {}", reply.text());
        let told = reply.text();
        if path.starts_with("/api/") {
            heard_between_pieces(&reply.lines());
            continue;
        }
        let comments = told.lines().filter(|line| line.starts_with(": loading "));
        let comments: Vec<&str> = comments.collect();
        assert!(comments.len() > 2, "{path} {told}");
        for comment in &comments {
            let left = comment.strip_prefix(": loading llama3.2, about ");
            let left = left.and_then(|left| left.strip_suffix(" s"));
            let seconds: u64 = left.unwrap_or_else(|| panic!("{comment}")).parse().unwrap();
            assert!(seconds > 0, "{comment}");
        }
        let pings = told.matches("event: ping").count();
        assert_eq!(pings > 0, path == "/v1/messages", "{told}");
    }
    assert_eq!(loads(&sim).await, 1);
}

/// Checks that a stream of Ollama's tells of a load in pieces that have no content and end nothing, all of them before the
/// first word of the answer.
fn heard_between_pieces(lines: &[Value]) {
    let is_told = |line: &Value| !line["status"].is_null();
    let (told, answer) = lines.split_at(lines.iter().take_while(|line| is_told(line)).count());
    assert!(told.len() > 2, "{lines:?}");
    for line in told {
        let status = line["status"].as_str().unwrap();
        assert!(status.starts_with("loading llama3.2, "), "{status}");
        let said = line.get("response").unwrap_or(&line["message"]["content"]);
        assert_eq!((said, &line["done"]), (&json!(""), &json!(false)), "{line}");
        assert!(line.get("error").is_none(), "{line}");
    }
    assert!(!answer.iter().any(is_told), "{answer:?}");
    assert_eq!(answer.last().unwrap()["done"], true, "{answer:?}");
}

#[tokio::test]
async fn a_load_is_shown_with_its_progress_and_as_no_copy() {
    let sim = Simulation::start(1, &["--load-time", "60s", "--models", "llama3.2,qwen3:8b"]);
    let config = Config::over(&sim.servers)
        .set("provider.contexts", "[8k]")
        .set("server.expose_backend", "true");
    let gateway = Gateway::over(&config, 1).await;
    let before = get(gateway.address, "/api/ps").await;
    assert_eq!(before.text(), r#"{"models":[]}"#);
    let mut client = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    let ps = eventually("the load is shown", || async {
        let ps = get(gateway.address, "/api/ps").await.json();
        if ps["loading"].is_array() {
            Ok(ps)
        } else {
            Err(ps)
        }
    })
    .await;
    assert_eq!(ps["models"], json!([]), "clients take a row for a copy");
    let load = &ps["loading"][0];
    assert_eq!(load["name"], "llama3.2:latest", "{ps}");
    assert_eq!(load["context_length"], 8192, "{ps}");
    assert_eq!(load["backend"], sim.servers[0].to_string(), "{ps}");
    assert!(load["elapsed_seconds"].as_f64().unwrap() < 60.0, "{ps}");
    assert!(load["expected_seconds"].as_f64().unwrap() > 0.0, "{ps}");
    let providers = get(gateway.admin, "/api/providers").await.json();
    let provider = &providers["providers"]["test"];
    assert_eq!(provider["loading"][0]["name"], "llama3.2:latest");
    let backends = get(gateway.admin, "/__proxy/backends").await.json();
    let backend = &backends["backends"][0];
    assert_eq!(backend["loading"]["name"], "llama3.2:latest", "{backend}");
    assert_eq!(backend["loaded"], json!([]), "{backend}");
    gateway.metric_is("remuda_loads_running", &[], 1.0).await;
}

#[tokio::test]
async fn the_slots_of_servers_without_a_bound_are_those_of_their_copies() {
    let sim = Simulation::start(
        2,
        &[
            "--models",
            "llama3.2,qwen3:8b",
            "--loaded",
            "llama3.2,qwen3:8b",
        ],
    );
    let servers = sim
        .servers
        .iter()
        .map(|server| format!("'http://{server}'"));
    let servers = servers.collect::<Vec<_>>().join(", ");
    let entry = format!("{{ name: test, kind: ollama, parallel: 3, backends: [{servers}] }}");
    let gateway = Gateway::over(&Config::of([entry]), 2).await;
    let backends = get(gateway.admin, "/__proxy/backends").await.json();
    let slots = |row: &Value| row["slots"].as_u64();
    let each = backends["backends"].as_array().unwrap().iter().map(slots);
    assert_eq!(each.collect::<Vec<_>>(), [Some(6); 2], "{backends}");
    let copies = backends["backends"][0]["loaded"].as_array().unwrap();
    assert!(
        copies.iter().all(|copy| copy["parallel"] == 3),
        "{backends}"
    );
    let providers = get(gateway.admin, "/api/providers").await.json();
    let provider = &providers["providers"]["test"];
    assert_eq!(slots(provider), Some(12), "{providers}");
    let labels = [("gen_ai_request_model", "llama3.2:latest")];
    let of_model = gateway.metric("remuda_model_slots", &labels).await;
    assert_eq!(of_model, 6.0);
    assert_eq!(gateway.metric("remuda_slots", &[]).await, 12.0);
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_makes_no_storm() {
    let sim = Simulation::start(1, &["--models", "llama3.2,qwen3:8b"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let text = "llama-server process has terminated: exit status 3";
    let body = json!({"error": text}).to_string();
    let fault = json!({"kind": "status", "status": 500, "body": body, "route": "/api/generate"});
    sim.fault(0, &fault.to_string()).await;
    for path in [
        "/api/chat",
        "/v1/chat/completions",
        "/v1/messages",
        "/api/chat",
        "/api/chat",
    ] {
        let body = json!({"model": "llama3.2", "max_tokens": 9, "stream": false, "messages": [{"role": "user", "content": "hi"}]});
        let reply = post(gateway.address, path, &body.to_string()).await;
        assert_eq!(reply.status, 500, "{path} {}", reply.text());
        assert!(reply.text().contains(text), "{path} {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{path}");
    }
    let stats = sim.stats().await;
    assert_eq!(stats[0].requests.get("POST /api/generate"), Some(&1));
    assert_eq!(gateway.metric("remuda_load_failures_total", &[]).await, 1.0);
    let health = get(gateway.address, "/__proxy/health").await.json();
    assert_eq!(health["healthy_backends"], 1);
    // The server's other models are served.
    sim.no_faults().await;
    let reply = post(gateway.address, "/api/chat", &chat("qwen3:8b", "hi", "")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn a_load_has_a_budget_of_its_own() {
    let tags = r#"{"models":[{"name":"scripted:latest","model":"scripted:latest","modified_at":"2026-01-02T03:04:05Z","size":1000,"digest":"aa","details":{"family":"llama"}}]}"#;
    let pages = ["0.33.0", tags, r#"{"models":[]}"#];
    let server = Upstream::listing(pages, |_| vec![Step::Hold]).await;
    let config = Config::over(&[server.address]).set("timeouts.load", "300ms");
    let gateway = Gateway::over(&config, 1).await;
    for _ in 0..2 {
        let body = chat("scripted", "hi", r#","stream":false"#);
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(reply.status, 500, "{}", reply.text());
        assert!(
            reply.text().contains("took longer than"),
            "{}",
            reply.text()
        );
    }
    // One load, and what unloads whatever it has left behind.
    let asked = server.asked().into_iter();
    let is_unload =
        |asked: &Asked| String::from_utf8_lossy(&asked.body).contains(r#""keep_alive":0"#);
    let loads = asked.filter(|asked| !is_unload(asked)).count();
    assert_eq!(loads, 1);
    assert!(!server.left().is_empty());
    let health = get(gateway.address, "/__proxy/health").await.json();
    assert_eq!(health["healthy_backends"], 1);
}

#[tokio::test]
async fn a_model_is_unloaded_on_all_servers_before_that_is_answered() {
    for (path, body) in [
        (
            "/api/generate",
            json!({"model": "llama3.2", "keep_alive": 0}),
        ),
        (
            "/api/chat",
            json!({"model": "llama3.2", "keep_alive": "0s", "messages": []}),
        ),
        (
            "/api/embed",
            json!({"model": "llama3.2", "keep_alive": 0, "input": []}),
        ),
    ] {
        let sim = Simulation::start(
            3,
            &[
                "--loaded",
                "llama3.2,qwen3:8b",
                "--models",
                "llama3.2,qwen3:8b",
            ],
        );
        let gateway = Gateway::over(
            &Config::over(&sim.servers).set("provider.interval", "1h"),
            3,
        )
        .await;
        let reply = post(gateway.address, path, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{path} {}", reply.text());
        assert_eq!(
            in_memory(&sim).await,
            vec![vec!["qwen3:8b".to_owned()]; 3],
            "{path}"
        );
        let ps = get(gateway.address, "/api/ps").await.json();
        let mut names = ps["models"].as_array().unwrap().iter();
        assert!(names.all(|row| row["name"] == "qwen3:8b"), "{path} {ps}");
        gateway.idle().await;
    }
}

#[tokio::test]
async fn only_the_server_that_a_client_names_unloads_for_it() {
    let sim = Simulation::start(2, &["--loaded", "llama3.2"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 2).await;
    let named = sim.servers[1].to_string();
    let body = empty("llama3.2", json!({"keep_alive": 0}));
    let fields = [("x-backend", &*named)];
    let reply = request(
        gateway.address,
        "POST",
        "/api/generate",
        &fields,
        body.as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["done_reason"], "unload");
    for server in sim.stats().await {
        let is_named = server.port == sim.servers[1].port();
        assert_eq!(server.loaded.is_empty(), is_named, "{server:?}");
    }
}

#[tokio::test]
async fn what_only_loads_or_unloads_does_not_wait_for_a_slot() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2", "--parallel", "1"]);
    let config = Config::over(&sim.servers).set("queue.timeout", "60s");
    let gateway = Gateway::over(&config, 1).await;
    sim.fault(0, r#"{"kind":"stall","seconds":60,"route":"/api/chat"}"#)
        .await;
    let before = loads(&sim).await;
    let mut busy = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", "");
    busy.request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    gateway.metric_is("remuda_slots_used", &[], 1.0).await;
    for (body, reason) in [
        (empty("llama3.2", json!({})), "load"),
        (
            empty(
                "llama3.2",
                json!({"keep_alive": "10m", "options": {"num_ctx": 999}}),
            ),
            "load",
        ),
        (empty("llama3.2", json!({"keep_alive": 0})), "unload"),
    ] {
        let reply = post(gateway.address, "/api/generate", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["done_reason"], reason, "{}", reply.text());
    }
    assert_eq!(loads(&sim).await, before);
}

#[tokio::test]
async fn a_model_is_loaded_and_unloaded_by_every_name_that_it_has() {
    let sim = Simulation::start(1, &["--models", "llama3.2,qwen3:8b"]);
    let config = Config::over(&sim.servers)
        .set("routing.aliases", "{ fast: llama3.2 }")
        .set("provider.model_map", "{ big: 'qwen3:8b' }");
    let gateway = Gateway::over(&config, 1).await;
    for (name, is_copy) in [
        ("fast", "llama3.2:latest"),
        ("big", "qwen3:8b"),
        ("ollama/llama3.2", "llama3.2:latest"),
    ] {
        let reply = post(gateway.address, "/api/generate", &empty(name, json!({}))).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert_eq!(reply.json()["done_reason"], "load", "{}", reply.text());
        let held = get(gateway.address, "/api/ps").await.json();
        assert_eq!(held["models"][0]["name"], is_copy, "{name}: {held}");
        let unload = empty(name, json!({"keep_alive": 0}));
        let reply = post(gateway.address, "/api/generate", &unload).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert_eq!(reply.json()["done_reason"], "unload", "{}", reply.text());
        let held = get(gateway.address, "/api/ps").await.json();
        assert_eq!(held["models"], json!([]), "{name}: {held}");
    }
    assert_eq!(loads(&sim).await, 3);
}

#[tokio::test]
async fn a_model_in_no_memory_is_loaded_for_who_asks_for_that() {
    let sim = Simulation::start(1, &["--load-time", "300ms"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let body = empty("llama3.2", json!({}));
    let asked = (0..3).map(|_| post(gateway.address, "/api/generate", &body));
    for reply in join_all(asked).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["done_reason"], "load", "{}", reply.text());
    }
    assert_eq!(loads(&sim).await, 1);
    gateway.idle().await;
}

/// A request about a model that is in no memory, what its server says of it, and its status.
const MISTAKEN: [(&str, &str, &str, u16, &str); 4] = [
    (
        "llama3.2",
        "/api/chat",
        r#""keep_alive":"foo""#,
        400,
        "invalid duration",
    ),
    (
        "gemma3",
        "/api/chat",
        r#""options":{"num_thread":"many"}"#,
        500,
        "must be of type integer",
    ),
    (
        "qwen3:8b",
        "/api/embed",
        r#""input":"hi""#,
        501,
        "does not support embeddings",
    ),
    (
        "nomic-embed-text",
        "/api/chat",
        r#""think":null"#,
        400,
        "does not support chat",
    ),
];

#[tokio::test]
async fn what_one_client_says_wrongly_keeps_nobody_from_a_model() {
    let sim = Simulation::start(1, &[]);
    let config = Config::over(&sim.servers).set("provider.options", "pass");
    let gateway = Gateway::over(&config, 1).await;
    for (model, path, field, status, words) in MISTAKEN {
        let body = match path {
            "/api/embed" => format!(r#"{{"model":"{model}",{field}}}"#),
            _ => chat(model, "hi", &format!(r#","stream":false,{field}"#)),
        };
        let reply = post(gateway.address, path, &body).await;
        assert_eq!(reply.status, status, "{model} {}", reply.text());
        assert!(reply.text().contains(words), "{model} {}", reply.text());
        let (path, body) = if model == "nomic-embed-text" {
            (
                "/api/embed",
                json!({"model": model, "input": "hi"}).to_string(),
            )
        } else {
            ("/api/chat", chat(model, "hi", r#","stream":false"#))
        };
        let reply = post(gateway.address, path, &body).await;
        assert_eq!(reply.status, 200, "{model} {}", reply.text());
    }
    assert_eq!(gateway.metric("remuda_load_failures_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_model_that_is_not_to_be_kept_is_loaded_by_the_gateway_all_the_same() {
    let sim = Simulation::start(1, &["--load-time", "300ms"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let body = chat("llama3.2", "hi", r#","stream":false,"keep_alive":0"#);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // The answer's own load took nothing: the copy was there.
    let load = reply.json()["load_duration"].as_u64().unwrap();
    assert!(load < 100_000_000, "{load} ns");
    assert_eq!(loads(&sim).await, 1);
    eventually("the copy is gone", || async {
        let there = in_memory(&sim).await;
        if there.iter().all(Vec::is_empty) {
            Ok(())
        } else {
            Err(there)
        }
    })
    .await;
}

#[tokio::test]
async fn a_context_that_one_client_states_and_no_memory_holds_keeps_the_model_from_nobody() {
    // It does not tell for which context its model was trained.
    let tags = r#"{"models":[{"name":"scripted:latest","model":"scripted:latest","modified_at":"2026-01-02T03:04:05Z","size":1000,"digest":"aa","details":{"family":"llama"}}]}"#;
    let pages = ["0.9.0", tags, r#"{"models":[]}"#];
    let server = Upstream::listing(pages, |asked| {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        if body["options"]["num_ctx"].as_u64() > Some(100_000) {
            let told = json!({"error": "llama-server process has terminated: out of memory"});
            return vec![Step::Send(support::json(500, &told.to_string()))];
        }
        let told = json!({"model": "scripted", "created_at": "2026-01-02T03:04:05Z", "done": true, "done_reason": "stop",
            "message": {"role": "assistant", "content": "word"}, "total_duration": 4, "load_duration": 1, "prompt_eval_count": 3,
            "prompt_eval_duration": 1, "eval_count": 1, "eval_duration": 1});
        vec![Step::Send(support::json(200, &told.to_string()))]
    })
    .await;
    let config = Config::over(&[server.address]).set("provider.interval", "1h");
    let gateway = Gateway::over(&config, 1).await;
    let greedy = chat(
        "scripted",
        "hi",
        r#","stream":false,"options":{"num_ctx":1000000}"#,
    );
    post(gateway.address, "/api/chat", &greedy).await;
    let loads = || {
        let asked = server.asked().into_iter();
        let loads = asked.filter(|asked| asked.head.contains("/api/generate"));
        let contexts = loads.map(|asked| {
            let body: Value = serde_json::from_slice(&asked.body).unwrap();
            body["options"]["num_ctx"].as_u64()
        });
        contexts.collect::<Vec<_>>()
    };
    assert_eq!(loads(), [Some(1_000_000), None]);
    assert_eq!(gateway.metric("remuda_load_failures_total", &[]).await, 0.0);
    let modest = chat("scripted", "hi", r#","stream":false"#);
    let reply = post(gateway.address, "/api/chat", &modest).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
