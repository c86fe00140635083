//! Paths: models whose names have slashes, a path in front, mistakes in base URLs, and what the log says of them.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::*;

const ALICE: &str = "alice-has-this-key-0";
const CHAT: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const MODELS: [&str; 6] = [
    "qwen3.5-9b",
    // What a bundled alias stands for, at another provider.
    "deepseek/deepseek-v4-flash",
    "org/model:Q4",
    "hf.co/org/m:Q4_K_M",
    "a b%2Fc+d",
    "plain",
];

/// A service with models of all kinds of names, and an Ollama server.
async fn services(configure: impl FnOnce(Config) -> Config) -> (Upstream, Simulation, Gateway) {
    let service = Upstream::start(|_| vec![Step::Send(json(200, CHAT))]).await;
    let simulation = Simulation::start(1, &["--models", "llama3.2,hf.co/bartowski/tiny:Q4_K_M"]);
    let models: Vec<&str> = MODELS
        .into_iter()
        .filter(|name| !name.contains(' '))
        .collect();
    let config = Config::of([
        json!({
            "name": "vllm", "kind": "openai_compatible", "base_url": format!("http://{}/v1", service.address),
            "models": models, "list_models": false, "interval": "200ms",
        })
        .to_string(),
        json!({
            "name": "gpus", "kind": "ollama", "backends": [format!("http://{}", simulation.servers[0])],
            "interval": "200ms",
        })
        .to_string(),
    ]);
    let gateway = Gateway::start(&configure(config));
    // Clients may not get to know it.
    eventually("two healthy backends", || async {
        let health = get(gateway.admin, "/__proxy/health").await.json();
        if health["healthy_backends"] == 2 {
            Ok(())
        } else {
            Err(health)
        }
    })
    .await;
    (service, simulation, gateway)
}

fn encoded(id: &str) -> String {
    let bytes = id.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}

#[tokio::test]
async fn every_id_that_is_listed_can_be_retrieved() {
    let (_service, _simulation, gateway) = services(|config| config).await;
    retrieves_what_is_listed(&gateway, &[], 7, 7).await;
    let keys = [
        (
            "{ name: all, key: all-has-this-key-00 }",
            "all-has-this-key-00",
            7,
            7,
        ),
        (
            "{ name: some, key: some-has-this-key-0, models: ['vllm/*'] }",
            "some-has-this-key-0",
            5,
            5,
        ),
        (
            "{ name: few, key: few-has-this-key-00, models: [plain, '*tiny*'] }",
            "few-has-this-key-00",
            2,
            2,
        ),
        (
            "{ name: one, key: one-has-this-key-00, providers: [gpus] }",
            "one-has-this-key-00",
            2,
            2,
        ),
    ];
    let (_service, _simulation, gateway) =
        services(|config| keys.iter().fold(config, |config, key| config.key(key.0))).await;
    for (_, key, ids, tags) in keys {
        retrieves_what_is_listed(&gateway, &[("x-api-key", key)], ids, tags).await;
    }
}

/// That so many ids, each model once, and at least so many names of Ollama's are listed, and each is found.
async fn retrieves_what_is_listed(
    gateway: &Gateway,
    key: &[(&str, &str)],
    ids: usize,
    tags: usize,
) {
    for version in [&[][..], &[("anthropic-version", "2023-06-01")]] {
        let fields = &*[key, version].concat();
        let listed = request(gateway.address, "GET", "/v1/models", fields, b"")
            .await
            .json();
        let listed = listed["data"].as_array().unwrap();
        assert_eq!(listed.len(), ids, "{key:?} {listed:?}");
        for model in listed {
            let id = model["id"].as_str().unwrap();
            for path in [
                format!("/v1/models/{}", id.replace('%', "%25")),
                format!("/v1/models/{}", encoded(id)),
                format!("/v1/models/{}/", encoded(id)),
                format!("/models/{}", id.replace('%', "%25")),
            ] {
                let reply = request(gateway.address, "GET", &path, fields, b"").await;
                assert_eq!(reply.status, 200, "{path}: {}", reply.text());
                let one = reply.json();
                assert_eq!(one["id"], model["id"], "{path}");
                for (name, value) in model.as_object().unwrap() {
                    assert_eq!(&one[name], value, "{path} {name}");
                }
            }
        }
    }
    let listed = request(gateway.address, "GET", "/api/tags", key, b"")
        .await
        .json();
    let listed = listed["models"].as_array().unwrap();
    assert!(listed.len() >= tags, "{key:?} {listed:?}");
    for model in listed {
        let body = json!({"model": model["name"]}).to_string();
        let reply = request(gateway.address, "POST", "/api/show", key, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_in_the_clients_format() {
    let (_service, _simulation, gateway) = services(|config| config).await;
    for id in [
        "nothing",
        "hf.co/no/such:Q4",
        "../../metrics",
        "..%2F..%2Fmetrics",
        "%00",
        "a//b",
    ] {
        let path = format!("/v1/models/{id}");
        let reply = get(gateway.address, &path).await;
        assert!(
            matches!(reply.status, 400 | 404),
            "{path}: {}",
            reply.status
        );
        Format::Chat.message(&reply);
        let fields = [("anthropic-version", "2023-06-01")];
        let reply = request(gateway.address, "GET", &path, &fields, b"").await;
        assert!(
            matches!(reply.status, 400 | 404),
            "{path}: {}",
            reply.status
        );
        Format::Anthropic.message(&reply);
    }
}

#[tokio::test]
async fn plain_mistakes_are_served() {
    let (service, _simulation, gateway) = services(|config| config).await;
    let openai = Format::Chat.ask("vllm/plain", "hi", false, json!({}));
    let anthropic = Format::Anthropic.ask("vllm/plain", "hi", false, json!({}));
    let ollama = Format::Ollama.ask("vllm/plain", "hi", false, json!({}));
    for (path, format, body) in [
        ("/chat/completions", Format::Chat, &openai),
        ("/v1/chat/completions/", Format::Chat, &openai),
        ("/v1//chat/completions", Format::Chat, &openai),
        ("//v1/chat/completions", Format::Chat, &openai),
        ("/v1/chat/completion", Format::Chat, &openai),
        ("/api/v1/chat/completions", Format::Chat, &openai),
        ("/api/chat/completions", Format::Chat, &openai),
        ("/openai/v1/chat/completions", Format::Chat, &openai),
        (
            "/v1/chat/completions/chat/completions",
            Format::Chat,
            &openai,
        ),
        ("/messages", Format::Anthropic, &anthropic),
        ("/v1/v1/messages?beta=true", Format::Anthropic, &anthropic),
        ("/api/v1/messages", Format::Anthropic, &anthropic),
        ("/anthropic/v1/messages", Format::Anthropic, &anthropic),
        ("/v1/messages/", Format::Anthropic, &anthropic),
        ("/v1/api/chat", Format::Ollama, &ollama),
        ("/api/chat/", Format::Ollama, &ollama),
        ("//api//chat", Format::Ollama, &ollama),
        ("/ollama/api/chat", Format::Ollama, &ollama),
    ] {
        let reply = post(gateway.address, path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(format.text(&reply), "hi", "{path}");
        let asked = service.asked().pop().unwrap();
        assert!(
            asked.head.starts_with("POST /v1/chat/completions "),
            "{path}: {}",
            asked.head
        );
    }
    for (path, field) in [
        ("/models", "data"),
        ("/v1/v1/models", "data"),
        ("/api/tags/", "models"),
        ("/v1/api/tags", "models"),
    ] {
        let reply = get(gateway.address, path).await;
        assert!(reply.json()[field].is_array(), "{path}: {}", reply.text());
    }
    // Counted under the route that was meant.
    let route = [
        ("http_route", "/v1/chat/completions"),
        ("http_response_status_code", "200"),
    ];
    gateway
        .metric_is("remuda_requests_total", &route, 9.0)
        .await;
}

#[tokio::test]
async fn what_is_not_plain_says_which_base_url_is_right() {
    let (service, _simulation, gateway) = services(|config| config).await;
    for (path, format, words) in [
        ("/v1/chat", Format::Chat, "http://localhost/v1"),
        ("/v1", Format::Chat, "http://localhost/v1"),
        ("/v1/nothing", Format::Chat, "http://localhost/v1"),
        (
            "/openai/deployments/x/chat/completions",
            Format::Chat,
            "http://localhost/v1",
        ),
        (
            "/v1/messages/batches",
            Format::Anthropic,
            "http://localhost",
        ),
        (
            "/anthropic/v1/complete",
            Format::Anthropic,
            "http://localhost",
        ),
        ("/nothing", Format::Ollama, "http://localhost/v1"),
        ("/chat", Format::Ollama, "http://localhost/v1"),
    ] {
        let reply = post(gateway.address, path, "{}").await;
        assert_eq!(reply.status, 404, "{path}");
        let message = format.message(&reply);
        assert!(
            message.starts_with(&format!("Endpoint not found: {path}; ")),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
    }
    let version = [("anthropic-version", "2023-06-01")];
    let reply = request(gateway.address, "GET", "/v1/organizations", &version, b"").await;
    Format::Anthropic.message(&reply);
    for (method, path, format) in [
        ("GET", "/v1/chat/completions", Format::Chat),
        ("GET", "/v1/messages", Format::Anthropic),
        ("DELETE", "/v1/models/x", Format::Chat),
        ("GET", "/messages", Format::Anthropic),
        ("GET", "/api/chat", Format::Ollama),
    ] {
        let reply = request(gateway.address, method, path, &[], b"").await;
        assert_eq!(reply.status, 405, "{path}");
        format.message(&reply);
    }
    // As the client reaches it through a proxy, and nothing else that it may say.
    for (fields, words) in [
        (
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "llm.example"),
                ("x-forwarded-prefix", "/ai/"),
            ][..],
            "https://llm.example/ai/v1",
        ),
        (
            &[
                ("x-forwarded-host", "<script>"),
                ("x-forwarded-prefix", "//evil"),
            ],
            "the path /v1",
        ),
    ] {
        let reply = request(gateway.address, "GET", "/v1/nothing", fields, b"").await;
        assert!(
            Format::Chat.message(&reply).ends_with(words),
            "{}",
            reply.text()
        );
    }
    assert!(service.asked().is_empty());
}

/// What a key may not use, and pages that clients do not get, stay closed by whatever path.
#[tokio::test]
async fn no_path_leads_around_what_is_closed() {
    let key = format!("{{ name: alice, key: {ALICE}, models: ['vllm/plain'] }}");
    let (service, simulation, gateway) = services(|config| {
        config
            .key(key)
            .set("server.public", "[health]")
            .set("server.base_path", "/ollama")
    })
    .await;
    let fields = [("x-api-key", ALICE)];
    let open = Format::Chat.ask("vllm/plain", "hi", false, json!({}));
    let closed = Format::Chat.ask("vllm/qwen3.5-9b", "hi", false, json!({}));
    for path in [
        "/chat/completions",
        "/v1/v1/chat/completions/",
        "//v1//chat//completions",
        "/ollama/v1/chat/completions",
        "/ollama/openai/v1/chat/completions",
    ] {
        let ask = |fields, body| request(gateway.address, "POST", path, fields, body);
        assert_eq!(
            ask(&fields[..], open.as_bytes()).await.status,
            200,
            "{path}"
        );
        assert_eq!(
            ask(&fields[..], closed.as_bytes()).await.status,
            403,
            "{path}"
        );
        assert_eq!(ask(&[], open.as_bytes()).await.status, 401, "{path}");
    }
    let asked = service.asked().len();
    for path in [
        "/models/vllm/qwen3.5-9b",
        "/ollama/v1/models/vllm%2Fqwen3.5-9b/",
        "/v1/models/vllm/qwen3.5-9b",
    ] {
        let reply = request(gateway.address, "GET", path, &fields, b"").await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
        assert_eq!(get(gateway.address, path).await.status, 401, "{path}");
    }
    for path in [
        "/metrics",
        "//metrics",
        "/v1/metrics",
        "/ollama/metrics",
        "/ollama//metrics/",
        "/ollama/../metrics",
        "/ollama/%2e%2e/metrics",
        "/%6detrics",
        "/v1/../metrics",
        "/v1/models/../../metrics",
        "/api/v1/metrics",
        "/__proxy/backends",
        "/ollama/__proxy/backends",
        "/v1/__proxy/backends/",
        "/openai//__proxy/backends",
        "/api/providers",
        "/v1/api/providers",
        "/api/tags/vllm",
        "/v1/api/tags/vllm",
        "/ollama/api/usage",
        "/api/route?model=x",
        "/api/explain?model=x",
    ] {
        let reply = request(gateway.address, "GET", path, &fields, b"").await;
        assert!(
            matches!(reply.status, 400 | 403 | 404),
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(!reply.text().contains("remuda_"), "{path}");
    }
    for path in [
        "/v1/api/pull",
        "/ollama/api/pull",
        "/api/api/delete",
        "//api//create",
    ] {
        let method = if path.ends_with("delete") {
            "DELETE"
        } else {
            "POST"
        };
        let body = br#"{"model":"llama3.2"}"#;
        let reply = request(gateway.address, method, path, &fields, body).await;
        assert!(
            matches!(reply.status, 403 | 404),
            "{path}: {}",
            reply.status
        );
    }
    assert_eq!(service.asked().len(), asked);
    assert_eq!(simulation.inferences().await, 0);
}

#[tokio::test]
async fn a_path_in_front_is_taken_away() {
    for base in ["/ollama", "/ollama/", "/team-a/llm"] {
        let (service, _simulation, gateway) =
            services(|config| config.set("server.base_path", base)).await;
        let base = base.trim_end_matches('/');
        let body = Format::Chat.ask("vllm/plain", "hi", false, json!({}));
        for path in [
            "/v1/chat/completions",
            "/chat/completions/",
            "//v1/chat/completions?x=1",
        ] {
            for path in [format!("{base}{path}"), path.to_owned()] {
                let reply = post(gateway.address, &path, &body).await;
                assert_eq!(reply.status, 200, "{path}: {}", reply.text());
                let asked = service.asked().pop().unwrap();
                assert!(
                    asked.head.starts_with("POST /v1/chat/completions"),
                    "{}",
                    asked.head
                );
            }
        }
        for (path, text) in [
            (base.to_owned(), "Ollama is running"),
            (format!("{base}/"), "Ollama is running"),
            (format!("{base}/api/version"), "version"),
            (format!("{base}/api/tags/"), "llama3.2"),
            (format!("{base}/health"), "status"),
            (format!("{base}/health/live/"), "status"),
            (
                format!("{base}/v1/models/hf.co/bartowski/tiny:Q4_K_M"),
                "tiny",
            ),
        ] {
            let reply = get(gateway.address, &path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            assert!(reply.text().contains(text), "{path}: {}", reply.text());
        }
        let reply = get(gateway.address, &format!("{base}/v1/nothing")).await;
        let expected = format!(
            "Endpoint not found: {base}/v1/nothing; the base URL for clients of OpenAI's API is http://localhost{base}/v1"
        );
        assert_eq!(Format::Chat.message(&reply), expected);
        // Told by the proxy as well, it is there once.
        let prefix = [("x-forwarded-prefix", base)];
        let reply = request(
            gateway.address,
            "GET",
            &format!("{base}/v1/nothing"),
            &prefix,
            b"",
        )
        .await;
        assert_eq!(Format::Chat.message(&reply), expected);
        let pinned = [("x-backend", "nobody")];
        let path = format!("{base}/v1/chat/completions");
        let reply = request(gateway.address, "POST", &path, &pinned, body.as_bytes()).await;
        let message = Format::Chat.message(&reply);
        assert!(
            message.contains(&format!("GET {base}/__proxy/backends ")),
            "{message}"
        );
        for path in [
            format!("{base}x/api/tags"),
            format!("{base}/../api/tags"),
            format!("{base}/%2e%2e/api/tags"),
        ] {
            assert_eq!(get(gateway.address, &path).await.status, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn a_name_and_the_key_as_password_open_what_the_key_opens() {
    let (_service, _simulation, gateway) =
        services(|config| config.key(format!("{{ name: alice, key: {ALICE} }}"))).await;
    // `me:` and the key, the key alone behind the colon, and another password.
    let right = "Basic bWU6YWxpY2UtaGFzLXRoaXMta2V5LTA=";
    for (authorization, status) in [
        (right, 200),
        ("basic OmFsaWNlLWhhcy10aGlzLWtleS0w", 200),
        ("Basic bWU6YWxpY2U=", 401),
        ("Basic YWxpY2UtaGFzLXRoaXMta2V5LTA=", 401),
        ("Basic !", 401),
        ("Basic", 401),
    ] {
        let fields = [("authorization", authorization)];
        let reply = request(gateway.address, "GET", "/v1/models", &fields, b"").await;
        assert_eq!(reply.status, status, "{authorization}");
        if status == 401 {
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    let differ = [("authorization", right), ("x-api-key", "another")];
    assert_eq!(
        request(gateway.address, "GET", "/v1/models", &differ, b"")
            .await
            .status,
        401
    );
    let page = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    let basic = Some("Basic realm=\"remuda\", charset=\"UTF-8\"");
    for (method, fields, challenge) in [
        ("GET", &[page][..], basic),
        ("GET", &[page, ("sec-fetch-mode", "navigate")], basic),
        ("GET", &[page, ("sec-fetch-mode", "cors")], Some("Bearer")),
        ("GET", &[("accept", "*/*")], Some("Bearer")),
        (
            "GET",
            &[("accept", "application/json, text/htmlx")],
            Some("Bearer"),
        ),
        ("POST", &[page], Some("Bearer")),
    ] {
        let reply = request(gateway.address, method, "/api/tags", fields, b"").await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, challenge),
            "{fields:?}"
        );
    }
}

/// The lines of the access log, as JSON, that are of a request with this id.
fn logged(gateway: &Gateway, id: &str) -> Value {
    gateway.process.wait_for(id, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let entry = &line["request"];
        (entry["request_id"] == id).then(|| entry.clone())
    })
}

#[tokio::test]
async fn the_log_says_what_was_not_found_or_not_let_in() {
    let (_service, _simulation, gateway) = services(|config| {
        config
            .key(format!("{{ name: alice, key: {ALICE} }}"))
            .set("monitoring.access_log", "true")
            .set("monitoring.log_format", "json")
            .set("server.base_path", "/ollama")
    })
    .await;
    let long = format!("/{}", "x".repeat(5000));
    let name = format!("{}\u{202e}\\n", "m".repeat(1000));
    let odd = Format::Chat.ask(r"no such\nmodel", "secret words", false, json!({}));
    for (number, (method, path, key, body, status, model)) in [
        (
            "GET",
            "/ollama/nothing",
            ALICE,
            String::new(),
            404,
            Value::Null,
        ),
        ("GET", &*long, ALICE, String::new(), 404, Value::Null),
        ("GET", "/v1/models", "", String::new(), 401, Value::Null),
        (
            "POST",
            "/ollama/v1/chat/completions",
            "",
            Format::Chat.ask("gpt-x", "secret words", false, json!({})),
            401,
            json!("gpt-x"),
        ),
        (
            "POST",
            "/api/chat",
            "wrong",
            Format::Ollama.ask("llama3.2", &"secret words".repeat(20_000), true, json!({})),
            401,
            Value::Null,
        ),
        (
            "POST",
            "/v1/chat/completions",
            ALICE,
            Format::Chat.ask("nothing", "secret words", false, json!({})),
            404,
            json!("nothing"),
        ),
        (
            "POST",
            "/v1/messages",
            ALICE,
            Format::Anthropic.ask("no-such", "secret words", true, json!({})),
            404,
            json!("no-such"),
        ),
        (
            "GET",
            "/v1/models/hf.co/a/b",
            ALICE,
            String::new(),
            404,
            json!("hf.co/a/b"),
        ),
        (
            "POST",
            "/v1/chat/completions",
            "",
            Format::Chat.ask(&name, "secret words", false, json!({})),
            401,
            Value::Null,
        ),
        (
            "POST",
            "/v1/chat/completions",
            "",
            odd,
            401,
            json!(r"no\u{20}such\nmodel"),
        ),
        // What is no route says its model too.
        (
            "POST",
            "/V1/Chat/Completions",
            ALICE,
            Format::Chat.ask("gpt-x", "secret words", false, json!({})),
            404,
            json!("gpt-x"),
        ),
        (
            "POST",
            "/ollama/api/nothing",
            ALICE,
            json!({"prompt": "secret words ".repeat(2000), "model": "llama3.2"}).to_string(),
            404,
            json!("llama3.2"),
        ),
        (
            "POST",
            "/v1/nothing",
            "",
            json!({"input": "secret words", "model": "gpt-x"}).to_string(),
            401,
            json!("gpt-x"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("line-{number}");
        let fields = [("x-request-id", &*id), ("x-api-key", key)];
        let reply = request(
            gateway.address,
            method,
            path,
            &fields[..if key.is_empty() { 1 } else { 2 }],
            body.as_bytes(),
        )
        .await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        let entry = logged(&gateway, &id);
        let shown: String = path.chars().take(200).collect();
        let written = entry["path"].as_str().unwrap();
        assert!(
            written.starts_with(&shown) && written.chars().count() <= 201,
            "{entry}"
        );
        if !model.is_null() {
            assert_eq!(entry["model"], model, "{entry}");
        }
        let line = entry.to_string();
        assert!(!line.contains("secret") && line.len() < 2000, "{line}");
    }
}

#[tokio::test]
async fn a_hangup_ends_nothing() {
    let (_service, _simulation, mut gateway) = services(|config| config).await;
    for _ in 0..2 {
        gateway.process.signal(Signal::SIGHUP);
    }
    gateway.process.wait_for("what a hangup does", |line| {
        line.contains("SIGHUP").then_some(())
    });
    assert_eq!(get(gateway.address, "/health/live").await.status, 200);
    // Also while the process ends.
    gateway.process.signal(Signal::SIGTERM);
    gateway.process.signal(Signal::SIGHUP);
    assert!(gateway.process.exit(PATIENCE).success());
}
