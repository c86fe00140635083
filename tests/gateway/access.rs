//! Who may ask, for what and how much: keys, addresses, limits and budgets, each refusal in the client's own format.

use serde_json::{Value, json};

use super::support::*;

const ALICE: &str = "alice-has-this-key-0";
const BOB: &str = "bob-has-another-one-1";

/// A gateway with these keys in front of one simulated server.
async fn gateway(keys: &[&str], configure: impl FnOnce(Config) -> Config) -> (Simulation, Gateway) {
    let models = "llama3.2,qwen3:8b,nomic-embed-text";
    let simulation = Simulation::start(1, &["--models", models]);
    let config =
        Config::over(&simulation.servers).set("provider.max_concurrent_per_backend", "500");
    let config = keys.iter().fold(config, |config, key| config.key(key));
    let gateway = Gateway::over(&configure(config), 1).await;
    (simulation, gateway)
}

fn alice(rest: &str) -> String {
    format!("{{ name: alice, key: {ALICE}{rest} }}")
}

/// Asks as a client with that key does.
async fn ask(gateway: &Gateway, format: Format, key: &str, model: &str) -> Reply {
    let body = format.ask(model, "hi", false, json!({}));
    let bearer = format!("Bearer {key}");
    let field = match format {
        Format::Anthropic => ("x-api-key", key),
        _ => ("authorization", &*bearer),
    };
    request(
        gateway.address,
        "POST",
        format.path(),
        &[field],
        body.as_bytes(),
    )
    .await
}

/// The type and the code of an error, where the format has them.
fn kind(format: Format, reply: &Reply) -> (Value, Value) {
    format.message(reply);
    let mut error = reply.json()["error"].take();
    match format {
        Format::Ollama => (Value::Null, Value::Null),
        _ => (error["type"].take(), error["code"].take()),
    }
}

#[tokio::test]
async fn a_key_opens_in_each_format_and_nothing_else_does() {
    let (simulation, gateway) = gateway(&[&alice("")], |config| config).await;
    for format in Format::ALL {
        let reply = ask(&gateway, format, ALICE, "llama3.2").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        for (key, text) in [
            (BOB, "Invalid API key"),
            (&ALICE[1..], "Invalid API key"),
            (
                "",
                "Invalid Authorization header. Expected format: 'Authorization: Bearer YOUR_API_KEY'",
            ),
        ] {
            let reply = ask(&gateway, format, key, "llama3.2").await;
            assert_eq!(reply.status, 401, "{}", reply.text());
            assert_eq!(format.message(&reply), text);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            let expected = match format {
                Format::Ollama => (Value::Null, Value::Null),
                Format::Anthropic => (json!("authentication_error"), Value::Null),
                _ => (json!("invalid_request_error"), json!("invalid_api_key")),
            };
            assert_eq!(kind(format, &reply), expected, "{format:?}");
        }
    }
    assert_eq!(simulation.inferences().await, Format::ALL.len() as u64);
    let refused = [("reason", "credential"), ("remuda_key", "none")];
    gateway
        .metric_is("remuda_rejected_requests_total", &refused, 12.0)
        .await;
}

#[tokio::test]
async fn credentials_that_differ_are_refused_and_none_goes_upstream() {
    let server = Upstream::start(|_: &Asked| {
        vec![Step::Send(json(
            200,
            r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#,
        ))]
    })
    .await;
    let config = Config::over(&[server.address]).key(alice(""));
    let gateway = Gateway::over(&config, 1).await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let send = |fields: &'static [(&'static str, &'static str)]| {
        request(
            gateway.address,
            "POST",
            "/api/chat",
            fields,
            body.as_bytes(),
        )
    };
    let both = send(&[
        ("x-api-key", ALICE),
        ("authorization", "Bearer alice-has-this-key-0"),
    ])
    .await;
    assert_eq!(both.status, 200, "{}", both.text());
    let differ = send(&[
        ("x-api-key", ALICE),
        ("authorization", "Bearer bob-has-another-one-1"),
    ])
    .await;
    assert_eq!(differ.status, 401);
    assert!(
        differ.text().contains("two API keys that differ"),
        "{}",
        differ.text()
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].head.contains("alice"), "{}", asked[0].head);
}

#[tokio::test]
async fn probes_need_no_key_and_lists_do() {
    let (_simulation, gateway) = gateway(&[&alice("")], |config| config).await;
    for path in [
        "/",
        "/__proxy/health",
        "/health",
        "/health/live",
        "/health/ready",
    ] {
        let reply = get(gateway.address, path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.text().contains("providers"), "{}", reply.text());
    }
    let key = [("authorization", "Bearer alice-has-this-key-0")];
    let health = request(gateway.address, "GET", "/health", &key, b"").await;
    assert!(health.text().contains("providers"), "{}", health.text());
    for path in [
        "/api/tags",
        "/api/ps",
        "/api/version",
        "/v1/models",
        "/__proxy/backends",
        "/api/tags/test",
        "/health/detailed",
    ] {
        assert_eq!(get(gateway.address, path).await.status, 401, "{path}");
        let reply = request(gateway.address, "GET", path, &key, b"").await;
        assert_eq!(reply.status, 200, "{path}");
    }
    let body = br#"{"model":"llama3.2"}"#;
    let reply = request(gateway.address, "POST", "/api/show", &[], body).await;
    assert_eq!(reply.status, 401);
    // An unknown path is as closed as a known one.
    assert_eq!(get(gateway.address, "/nothing").await.status, 401);
    let preflight = request(gateway.address, "OPTIONS", "/api/chat", &[], b"").await;
    assert_ne!(preflight.status, 401);
    let with_body = request(gateway.address, "OPTIONS", "/api/chat", &[], b"{}").await;
    assert_eq!(with_body.status, 401);
}

#[tokio::test]
async fn a_key_uses_and_sees_its_models_alone() {
    let keys = [
        &*alice(", models: [LLAMA*, 'test/nomic*']"),
        &format!("{{ name: bob, key: {BOB} }}"),
    ];
    let (simulation, gateway) = gateway(&keys, |config| config).await;
    for format in Format::ALL {
        for (key, model, status) in [
            (ALICE, "llama3.2", 200),
            (ALICE, "Llama3.2:latest", 200),
            (ALICE, "qwen3:8b", 403),
            // What is not there is not told apart from what is not allowed.
            (ALICE, "nothing", 403),
            (BOB, "qwen3:8b", 200),
            (BOB, "nothing", 404),
        ] {
            let reply = ask(&gateway, format, key, model).await;
            assert_eq!(reply.status, status, "{format:?} {model}: {}", reply.text());
            if status == 403 {
                let text = format!("this key may not use the model {model:?}");
                assert_eq!(format.message(&reply), text);
                let expected = match format {
                    Format::Ollama => (Value::Null, Value::Null),
                    Format::Anthropic => (json!("permission_error"), Value::Null),
                    _ => (json!("invalid_request_error"), json!("model_not_allowed")),
                };
                assert_eq!(kind(format, &reply), expected);
            }
        }
    }
    assert_eq!(simulation.inferences().await, 4 * 3);
    let names = |reply: Reply, list: &str, name: &str| -> Vec<String> {
        let list = reply.json()[list].take();
        let names = list.as_array().unwrap().iter();
        let mut names: Vec<String> = names
            .map(|one| one[name].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let field = [("x-api-key", ALICE)];
    let anthropic = [("x-api-key", ALICE), ("anthropic-version", "2023-06-01")];
    let tags = request(gateway.address, "GET", "/api/tags", &field, b"").await;
    let mine = ["llama3.2:latest", "nomic-embed-text:latest"];
    assert_eq!(names(tags, "models", "name"), mine);
    for fields in [&field[..], &anthropic] {
        let models = request(gateway.address, "GET", "/v1/models", fields, b"").await;
        assert_eq!(names(models, "data", "id"), mine);
    }
    let all = [("x-api-key", BOB)];
    let tags = request(gateway.address, "GET", "/api/tags", &all, b"").await;
    assert_eq!(names(tags, "models", "name").len(), 3);
    let show = request(
        gateway.address,
        "POST",
        "/api/show",
        &field,
        br#"{"model":"qwen3:8b"}"#,
    )
    .await;
    assert_eq!(show.status, 403, "{}", show.text());
}

#[tokio::test]
async fn a_key_uses_its_providers_alone() {
    let one = Simulation::start(1, &["--models", "llama3.2,qwen3:8b"]);
    let other = Simulation::start(1, &["--models", "llama3.2,gemma3"]);
    let entry = |name: &str, simulation: &Simulation| {
        let url = simulation.servers[0];
        format!(
            "{{ name: {name}, kind: ollama, base_url: 'http://{url}', interval: 200ms, probe_timeout: 2s }}"
        )
    };
    let config =
        Config::of([entry("one", &one), entry("other", &other)]).key(alice(", providers: [ONE]"));
    let gateway = Gateway::over(&config, 2).await;
    for _ in 0..5 {
        let reply = ask(&gateway, Format::Ollama, ALICE, "llama3.2").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!((one.inferences().await, other.inferences().await), (5, 0));
    for (model, status) in [
        ("one/qwen3:8b", 200),
        ("gemma3", 403),
        ("other/llama3.2", 403),
        ("nothing", 404),
    ] {
        let reply = ask(&gateway, Format::Ollama, ALICE, model).await;
        assert_eq!(reply.status, status, "{model}: {}", reply.text());
    }
    let tags = request(
        gateway.address,
        "GET",
        "/api/tags",
        &[("x-api-key", ALICE)],
        b"",
    )
    .await;
    assert!(!tags.text().contains("gemma3"), "{}", tags.text());
    assert_eq!(other.inferences().await, 0);
}

/// Asks for the health page from an address of this machine.
async fn from(gateway: &Gateway, address: &str) -> Reply {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket
        .bind(format!("{address}:0").parse().unwrap())
        .unwrap();
    let stream = in_time("a connection", socket.connect(gateway.address)).await;
    let mut connection = Connection::of(stream.unwrap());
    connection.request("GET", "/__proxy/health", &[], b"").await;
    connection.reply().await
}

#[tokio::test]
async fn a_list_of_addresses_keeps_others_out() {
    let config = Config::over(&[]).set("server.allow", "[127.0.0.2, 127.5.0.0/16]");
    let gateway = Gateway::start(&config.set("provider.discover", "{ ports: 1-2 }"));
    for (address, status) in [
        ("127.0.0.1", 403),
        ("127.0.0.2", 200),
        ("127.0.0.3", 403),
        ("127.5.6.7", 200),
        ("127.6.0.0", 403),
    ] {
        let reply = from(&gateway, address).await;
        assert_eq!(reply.status, status, "{address}: {}", reply.text());
    }
    // In the words of each format, and whatever else the request says.
    for format in Format::ALL {
        let reply = ask(&gateway, format, ALICE, "llama3.2").await;
        assert_eq!(reply.status, 403);
        assert!(
            format.message(&reply).contains("server.allow"),
            "{}",
            reply.text()
        );
    }
    let refused = [("reason", "address")];
    gateway
        .metric_is("remuda_rejected_requests_total", &refused, 7.0)
        .await;
}

#[tokio::test]
async fn a_provider_balancers_key_is_taken_from_its_environment() {
    let (_simulation, gateway) =
        gateway(&[], |config| config.environment("OPTILLM_API_KEY", ALICE)).await;
    assert_eq!(
        ask(&gateway, Format::Chat, ALICE, "llama3.2").await.status,
        200
    );
    assert_eq!(
        ask(&gateway, Format::Chat, BOB, "llama3.2").await.status,
        401
    );
}
