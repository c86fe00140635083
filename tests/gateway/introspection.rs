//! The pages about the gateway itself: what they tell while things are well, when they are not, and to whom.

use serde_json::{Value, json};

use crate::support::*;

/// Two Ollama servers and a service of OpenAI's format, and a gateway over both.
struct Stage {
    gpus: Simulation,
    openai: Simulation,
    gateway: Gateway,
}

impl Stage {
    async fn set(more: impl FnOnce(Config) -> Config) -> Self {
        let gpus = Simulation::start(2, &["--loaded", "llama3.2"]);
        let openai = Simulation::start(
            1,
            &[
                "--dialect",
                "openai",
                "--models",
                "gpt-4.1",
                "--api-key",
                "sim-key",
            ],
        );
        let backends = gpus
            .servers
            .iter()
            .map(|address| format!("http://{address}"));
        let fleet = json!({"name": "gpus", "kind": "ollama", "interval": "200ms", "probe_timeout": "2s",
            "backends": backends.collect::<Vec<_>>()});
        let service = json!({"name": "openai", "api_key": "sim-key", "interval": "200ms",
            "base_url": format!("http://{}/v1", openai.servers[0])});
        let config = more(Config::of([fleet.to_string(), service.to_string()]));
        let gateway = Gateway::over(&config, 3).await;
        Self {
            gpus,
            openai,
            gateway,
        }
    }

    async fn page(&self, path: &str) -> Value {
        let reply = get(self.gateway.address, path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(
            reply.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        reply.json()
    }

    async fn chat(&self, model: &str) -> Reply {
        let body = chat(model, "say ahoy", r#","stream":false"#);
        post(self.gateway.address, "/api/chat", &body).await
    }

    /// Waits until `/health/detailed` has that status, and gives it.
    async fn status(&self, wanted: &str) -> Value {
        eventually(wanted, || async {
            let health = self.page("/health/detailed").await;
            if health["status"] == wanted {
                Ok(health)
            } else {
                Err(health)
            }
        })
        .await
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn health_follows_the_providers() {
    let stage = Stage::set(|config| config).await;
    for path in ["/health", "/health/"] {
        let health = stage.page(path).await;
        assert_eq!(health["status"], "healthy", "{health}");
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert!(number(&health["timestamp"]) > 1.7e9);
        assert!(number(&health["uptime"]) > 0.0);
        assert_eq!(health["providers"]["gpus"]["healthy"], true);
        assert_eq!(health["providers"]["openai"]["status"], "operational");
        assert_eq!(health["metrics"]["active_providers"], 2);
    }
    assert_eq!(get(stage.gateway.admin, "/health").await.status, 200);

    stage.gpus.stop(0).await;
    let health = stage.status("degraded").await;
    assert_eq!(health["providers"]["gpus"]["status"], "degraded");
    assert_eq!(health["providers"]["gpus"]["healthy"], true);
    assert_eq!(get(stage.gateway.address, "/health").await.status, 200);

    stage.gpus.stop(1).await;
    stage.openai.stop(0).await;
    stage.status("unhealthy").await;
    for address in [stage.gateway.address, stage.gateway.admin] {
        let reply = get(address, "/health").await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.json()["status"], "unhealthy");
        assert_eq!(get(address, "/health/ready").await.status, 503);
        assert_eq!(get(address, "/health/live").await.status, 200);
    }
    let one = stage.page("/health/providers/openai").await;
    assert_eq!(one["healthy"], false);
    assert_eq!(one["status"], "error");
    assert_eq!(
        stage.page("/health/providers").await["openai"]["healthy"],
        false
    );

    stage.openai.revive(0).await;
    stage.status("degraded").await;
    let stats = stage.page("/api/providers/openai/stats").await;
    let history = stats["health_history"].as_array().unwrap();
    let states: Vec<&Value> = history.iter().map(|entry| &entry["healthy"]).collect();
    assert_eq!(states, [true, false, true], "{stats}");
    let times: Vec<f64> = history
        .iter()
        .map(|entry| number(&entry["timestamp"]))
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn statistics_tell_what_was_asked_and_what_became_of_it() {
    let stage = Stage::set(|config| config.set("routing.max_retries", 0)).await;
    let before = stage.page("/api/providers").await;
    assert_eq!(before["providers"]["openai"]["last_used"], 0.0);
    assert_eq!(before["providers"]["openai"]["avg_response_time"], 0.0);
    for _ in 0..3 {
        assert_eq!(stage.chat("gpt-4.1").await.status, 200);
    }
    assert_eq!(stage.chat("llama3.2").await.status, 200);
    stage
        .openai
        .fault_everywhere(r#"{"kind":"status","status":500,"times":1,"route":"inference"}"#)
        .await;
    assert_eq!(stage.chat("openai/gpt-4.1").await.status, 502);

    // A request is recorded a moment after its client has the answer.
    eventually("all four are recorded", || async {
        let stats = stage.page("/api/providers/openai/stats").await;
        let usage = stats["model_usage"].as_object().unwrap().values();
        let recorded: u64 = usage.map(|one| one["requests"].as_u64().unwrap()).sum();
        if recorded >= 4 { Ok(()) } else { Err(stats) }
    })
    .await;
    let stats = stage.page("/api/providers/openai/stats").await;
    assert_eq!(stats["provider"], "openai");
    assert_eq!(stats["provider_type"], "openai");
    assert_eq!(stats["request_count"], 4, "{stats}");
    assert_eq!(stats["error_count"], 1);
    assert_eq!(stats["error_rate"], 25.0);
    assert_eq!(stats["success_rate"], 75.0);
    assert_eq!(stats["outcomes"]["ok"], 3);
    assert_eq!(stats["outcomes"]["server_error"], 1);
    assert_eq!(stats["recent"]["request_count"], 4);
    assert_eq!(stats["recent"]["error_count"], 1);
    assert_eq!(stats["current_load"], 0);
    assert!(number(&stats["last_used"]) > 1.7e9);
    assert_eq!(stats["response_times"]["count"], 3);
    let times = &stats["response_times"];
    assert!(number(&times["min"]) > 0.0);
    assert!(number(&times["min"]) <= number(&times["p50"]));
    assert!(number(&times["p50"]) <= number(&times["p99"]));
    assert!(number(&times["p99"]) <= number(&times["max"]));
    assert_eq!(stats["avg_response_time"], times["avg"]);
    let usage = stats["model_usage"].as_object().unwrap();
    let requests: u64 = usage
        .values()
        .map(|one| one["requests"].as_u64().unwrap())
        .sum();
    assert_eq!(requests, 4, "{stats}");
    assert!(stats["token_usage"]["input_tokens"].as_u64().unwrap() > 0);
    assert!(stats["token_usage"]["output_tokens"].as_u64().unwrap() > 0);
    let capabilities = stats["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&"chat_completion".into()));

    let all = stage.page("/api/providers").await;
    assert_eq!(all["providers"]["gpus"]["backends"], 2);
    assert!(number(&all["providers"]["gpus"]["last_used"]) > 0.0);
    let totals = stage.page("/health/metrics").await;
    assert_eq!(totals["total_requests"], 5);
    assert_eq!(totals["total_errors"], 1);
    assert_eq!(totals["error_rate"], 20.0);
}

#[tokio::test]
async fn load_is_that_of_the_moment() {
    let stage = Stage::set(|config| config).await;
    stage
        .openai
        .fault_everywhere(r#"{"kind":"stall","seconds":60,"route":"inference"}"#)
        .await;
    let mut client = Connection::open(stage.gateway.address).await;
    let body = chat("gpt-4.1", "say ahoy", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    let load = |wanted: u64| {
        let stage = &stage;
        eventually("the load", move || async move {
            let all = stage.page("/api/providers").await;
            if all["providers"]["openai"]["current_load"] == wanted {
                Ok(())
            } else {
                Err(all)
            }
        })
    };
    load(1).await;
    drop(client);
    load(0).await;
}

#[tokio::test]
async fn a_provider_is_named_by_its_name_or_its_kind() {
    let stage = Stage::set(|config| config).await;
    let names = |page: Value| {
        let models = page["models"].as_array().unwrap().clone();
        let names = models
            .into_iter()
            .map(|model| model["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(stage.page("/api/tags/openai").await),
        ["openai/gpt-4.1:latest"]
    );
    assert_eq!(
        names(stage.page("/api/tags/OpenAI").await),
        ["openai/gpt-4.1:latest"]
    );
    let gpus = names(stage.page("/api/tags/gpus").await);
    assert!(gpus.contains(&"llama3.2:latest".to_owned()), "{gpus:?}");
    assert!(gpus.iter().all(|name| !name.contains('/')), "{gpus:?}");
    assert_eq!(names(stage.page("/api/tags/ollama").await), gpus);
    let stats = stage.page("/api/providers/ollama/stats").await;
    assert_eq!(stats["provider"], "gpus");

    for start in ["/api/tags/", "/api/providers/", "/health/providers/"] {
        let end = if start == "/api/providers/" {
            "/stats"
        } else {
            ""
        };
        for (name, status, text) in [
            ("nonsense", 400, "Invalid provider type: nonsense"),
            ("anthropic", 404, "Provider anthropic not configured"),
            ("aws_bedrock", 404, "Provider aws_bedrock not configured"),
            ("groq", 404, "Provider groq not configured"),
        ] {
            let reply = get(stage.gateway.address, &format!("{start}{name}{end}")).await;
            assert_eq!(reply.status, status, "{start}{name}: {}", reply.text());
            let body = reply.json();
            assert!(body["error"].as_str().unwrap().starts_with(text), "{body}");
            assert_eq!(body["error"], body["detail"]);
        }
    }
    let reply = get(stage.gateway.address, "/health/providers/anthropic").await;
    assert_eq!(reply.json()["status"], "not_configured");
    let reply = post(stage.gateway.address, "/api/providers", "{}").await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    let mut client = Connection::open(stage.gateway.address).await;
    client.request("HEAD", "/health", &[], b"").await;
    assert_eq!(client.head().await.status, 200);
    // No body follows: the next answer begins right after the head.
    client.request("GET", "/health/live", &[], b"").await;
    assert_eq!(client.reply().await.json()["status"], "ok");
}

/// One page of each group of `server.public`.
const PAGES: [(&str, &str); 5] = [
    ("health", "/health"),
    ("providers", "/api/providers"),
    ("tags", "/api/tags/gpus"),
    ("backends", "/__proxy/backends"),
    ("metrics", "/metrics"),
];

#[tokio::test]
async fn clients_get_the_pages_that_the_operator_names() {
    let gpus = Simulation::start(1, &["--loaded", "llama3.2"]);
    let config = || Config::over(&gpus.servers).set("provider.name", "gpus");
    let all = ["health", "providers", "tags", "backends"];
    for (public, expected) in [
        (None, all.as_slice()),
        (Some("[]"), &[]),
        (Some("[metrics, health]"), &["metrics", "health"]),
    ] {
        let config = match public {
            Some(list) => config().set("server.public", list),
            None => config(),
        };
        let gateway = Gateway::start(&config);
        gateway
            .metric_is("remuda_backends", &[("health", "healthy")], 1.0)
            .await;
        for (group, path) in PAGES {
            let status = if expected.contains(&group) { 200 } else { 404 };
            assert_eq!(
                get(gateway.address, path).await.status,
                status,
                "{public:?} {path}"
            );
            assert_eq!(get(gateway.admin, path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn health_may_say_ok_for_as_long_as_the_process_serves() {
    let gpus = Simulation::start(1, &[]);
    gpus.stop(0).await;
    let config = Config::over(&gpus.servers).set("server.health_status", "ok");
    let gateway = Gateway::start(&config);
    let reply = get(gateway.address, "/health").await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("ok")));
    let detailed = get(gateway.address, "/health/detailed").await;
    assert_eq!(detailed.json()["status"], "unhealthy");
}

#[tokio::test]
async fn the_admin_listener_answers_to_its_own_names_alone() {
    let sim = Simulation::start(1, &[]);
    let config = Config::over(&sim.servers).set("server.hosts", "[]");
    let gateway = Gateway::over(&config, 1).await;
    for (host, status) in [
        ("localhost:11435", 200),
        ("127.0.0.1", 200),
        ("[::1]:11435", 200),
        ("evil.example:11435", 403),
    ] {
        for path in [
            "/metrics",
            "/api/usage",
            "/api/route?model=llama3.2",
            "/health",
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let mut connection = Connection::open(gateway.admin).await;
            connection.send(request.as_bytes()).await;
            let reply = connection.reply().await;
            assert_eq!(reply.status, status, "{host} {path}: {}", reply.text());
        }
    }
}

/// A key that is refused shows on every page, and the provider gets no model's prompt that nobody lists.
#[tokio::test]
async fn a_provider_that_refuses_its_key_says_so_and_attracts_nothing() {
    for status in [401, 403] {
        let cloud = Upstream::start(move |_| {
            vec![Step::Send(json(
                status,
                r#"{"error":{"message":"no such key"}}"#,
            ))]
        })
        .await;
        let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
        let config = Config::of([
            format!(
                "{{ name: cloud, kind: openai_compatible, api_key: wrong, base_url: \"http://{}/v1\" }}",
                cloud.address
            ),
            format!(
                "{{ name: gpus, backends: [\"http://{}\"] }}",
                sim.servers[0]
            ),
        ]);
        let gateway = Gateway::over(&config, 2).await;
        let body = chat("private-model", "secret", "");
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(reply.status, 404, "{}", reply.text());
        let asked = cloud.asked();
        assert!(
            asked.iter().all(|one| one.head.starts_with("GET ")),
            "{asked:?}"
        );

        let health = get(gateway.address, "/health").await.json();
        let provider = &health["providers"]["cloud"];
        assert_eq!(provider["status"], "degraded", "{health}");
        let list = get(gateway.address, "/api/providers").await.json();
        for page in [provider, &list["providers"]["cloud"]] {
            let cause = page["last_error"].as_str().unwrap();
            assert!(cause.contains("refuses the gateway's key"), "{page}");
            assert!(cause.contains(&status.to_string()), "{page}");
            assert!(page["since"].as_f64().unwrap() > 1e9, "{page}");
        }
        gateway.process.wait_for("that the key is refused", |line| {
            line.contains("provider cloud refuses the gateway's key")
                .then_some(())
        });
    }
}

/// Not all say it with 401: it is in the words, in other statuses, or in an error under 200.
#[tokio::test]
async fn a_key_that_is_refused_in_other_words_is_refused() {
    const GOOGLE: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    for kind in ["google", "openai", "anthropic", "openai_compatible"] {
        for (status, body) in [
            (400, GOOGLE),
            (402, r#"{"error":{"message":"Insufficient Balance"}}"#),
            (
                200,
                r#"{"error":{"message":"Invalid API key","type":"authentication_error"}}"#,
            ),
            (200, r#"{"error":{"message":"no"}}"#),
            (302, "{}"),
        ] {
            let cloud = Upstream::start(move |_| vec![Step::Send(json(status, body))]).await;
            let config = Config::of([format!(
                "{{ name: cloud, kind: {kind}, api_key: wrong, base_url: \"http://{}/v1\" }}",
                cloud.address
            )]);
            let gateway = Gateway::over(&config, 1).await;
            let body = chat("private-model", "secret", "");
            let reply = post(gateway.address, "/api/chat", &body).await;
            let what = format!("{kind} {status} {body}: {}", reply.text());
            assert_eq!(reply.status, 404, "{what}");
            let asked = cloud.asked();
            assert!(
                asked.iter().all(|one| one.head.starts_with("GET ")),
                "{what}"
            );
            let health = get(gateway.address, "/health").await.json();
            let provider = &health["providers"]["cloud"];
            assert_eq!(provider["status"], "degraded", "{what} {health}");
            let cause = provider["last_error"].as_str().unwrap();
            assert!(cause.contains(&status.to_string()), "{cause}");
        }
    }
}

/// A list that anybody may see says nothing of the key: a request does, until one is served.
#[tokio::test]
async fn a_key_that_requests_find_refused_is_told_until_one_is_served() {
    let right = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let own = right.clone();
    let cloud = Upstream::start(move |asked| {
        let answer = match asked.head.starts_with("GET ") {
            true => json(200, r#"{"data":[{"id":"m"}]}"#),
            false if own.load(std::sync::atomic::Ordering::Acquire) => json(
                200,
                r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#,
            ),
            false => json(401, r#"{"error":{"message":"no such key"}}"#),
        };
        vec![Step::Send(answer)]
    })
    .await;
    let config = Config::of([format!(
        "{{ name: cloud, kind: openai_compatible, api_key: wrong, interval: 200ms, base_url: \"http://{}/v1\" }}",
        cloud.address
    )]);
    let gateway = Gateway::over(&config, 1).await;
    let status = async || {
        let health = get(gateway.address, "/health").await.json();
        health["providers"]["cloud"]["status"].clone()
    };
    assert_eq!(status().await, "operational");
    let ask = async || {
        post(
            gateway.address,
            "/v1/chat/completions",
            &chat("m", "hi", ""),
        )
        .await
    };
    assert_eq!(ask().await.status, 502);
    let before = cloud.asked().len();
    cloud.asked_for(before + 2).await;
    assert_eq!(status().await, "degraded");
    right.store(true, std::sync::atomic::Ordering::Release);
    assert_eq!(ask().await.status, 200);
    assert_eq!(status().await, "operational");
}

#[tokio::test]
async fn pages_say_why_a_backend_is_down_and_which_names_lead_nowhere() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    sim.stop(0).await;
    let backends = format!(
        "[\"http://nowhere.invalid:11434\", \"http://{}\"]",
        sim.servers[0]
    );
    let config = Config::new().set("provider.backends", backends);
    let gateway = Gateway::start(&config);
    let page = eventually("the pages know", || async {
        let page = get(gateway.address, "/__proxy/backends").await.json();
        let told = page["backends"][0]["last_error"].is_string() && page["unresolved"].is_array();
        if told { Ok(page) } else { Err(page) }
    })
    .await;
    assert_eq!(page["backends"][0]["last_error"], "no connection: refused");
    let lost = &page["unresolved"][0];
    assert_eq!(lost["name"], "nowhere.invalid:11434");
    assert_eq!(lost["provider"], "test");
    assert!(
        lost["last_error"]
            .as_str()
            .unwrap()
            .starts_with("cannot resolve"),
        "{lost}"
    );
    let health = get(gateway.address, "/health").await.json();
    let list = get(gateway.address, "/api/providers").await.json();
    for page in [&health["providers"]["test"], &list["providers"]["test"]] {
        assert_eq!(page["last_error"], "no connection: refused", "{page}");
        assert_eq!(page["unresolved"][0], "nowhere.invalid:11434", "{page}");
    }
    sim.revive(0).await;
    gateway.healthy(1).await;
    let health = get(gateway.address, "/health").await.json();
    assert_eq!(
        health["providers"]["test"]["status"], "degraded",
        "{health}"
    );
}
