//! Who may ask, for what and how much: keys, addresses, limits and budgets, each refusal in the client's own format.

use std::collections::BTreeMap;
use std::future::Future;

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
    let page = [("origin", "http://localhost:3000")];
    let preflight = request(gateway.address, "OPTIONS", "/api/chat", &page, b"").await;
    assert_eq!(preflight.status, 204);
    // Without an origin it is no page's question.
    for body in [&b""[..], b"{}"] {
        let other = request(gateway.address, "OPTIONS", "/api/chat", &[], body).await;
        assert_eq!(other.status, 401);
    }
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

/// Many clients at once, each asking several times on a connection of its own; how often which status came.
async fn flood(
    gateways: &[&Gateway],
    clients: usize,
    times: usize,
    body: &str,
) -> BTreeMap<u16, u64> {
    let asking = (0..clients).map(|client| async move {
        let address = gateways[client % gateways.len()].address;
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for _ in 0..times {
            let key = [("x-api-key", ALICE)];
            let reply = request(address, "POST", "/api/chat", &key, body.as_bytes()).await;
            *counts.entry(reply.status).or_default() += 1;
            if reply.status == 429 {
                let after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=62).contains(&after), "{after}");
            }
        }
        counts
    });
    let mut sum: BTreeMap<u16, u64> = BTreeMap::new();
    for counts in join_all(asking).await {
        for (status, count) in counts {
            *sum.entry(status).or_default() += count;
        }
    }
    sum
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_however_many_ask_at_once() {
    let (simulation, gateway) =
        gateway(&[&alice(", requests_per_minute: 300")], |config| config).await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    let counts = flood(&[&gateway], 200, 4, &body).await;
    assert_eq!(counts, BTreeMap::from([(200, 300), (429, 500)]));
    assert_eq!(simulation.inferences().await, 300);
    let refused = [("reason", "requests"), ("remuda_key", "alice")];
    gateway
        .metric_is("remuda_rejected_requests_total", &refused, 500.0)
        .await;
    gateway.idle().await;
    for format in Format::ALL {
        let reply = ask(&gateway, format, ALICE, "llama3.2").await;
        assert_eq!(reply.status, 429, "{}", reply.text());
        let text = format.message(&reply);
        assert!(
            text.starts_with(
                "rate limit reached: this key may have 300 requests per minute; try again in "
            ),
            "{text}"
        );
        let expected = match format {
            Format::Ollama => (Value::Null, Value::Null),
            Format::Anthropic => (json!("rate_limit_error"), Value::Null),
            _ => (json!("api_error"), json!("rate_limit_exceeded")),
        };
        assert_eq!(kind(format, &reply), expected);
        assert_eq!(levels(format, &reply, "requests"), (300, 0));
    }
}

/// Limit and what remains of it, as that format's clients are told.
fn levels(format: Format, reply: &Reply, unit: &str) -> (u64, u64) {
    let field = |what: &str| {
        let name = match format {
            Format::Anthropic => format!("anthropic-ratelimit-{unit}-{what}"),
            _ => format!("x-ratelimit-{what}-{unit}"),
        };
        let value = reply.header(&name);
        value
            .unwrap_or_else(|| panic!("{name}: {:?}", reply.headers))
            .to_owned()
    };
    match format {
        Format::Anthropic => assert!(field("reset").ends_with('Z')),
        _ => assert!(field("reset").ends_with('s')),
    }
    (
        field("limit").parse().unwrap(),
        field("remaining").parse().unwrap(),
    )
}

#[tokio::test]
async fn answers_say_what_is_left() {
    let limits = ", requests_per_minute: 100, requests_per_day: 50, tokens_per_minute: 100000";
    let (_simulation, gateway) = gateway(&[&alice(limits)], |config| config).await;
    let mut requests = 50;
    for format in Format::ALL {
        for stream in [false, true] {
            let body = format.ask("llama3.2", "hi", stream, json!({}));
            let key = [("x-api-key", ALICE)];
            let reply = request(
                gateway.address,
                "POST",
                format.path(),
                &key,
                body.as_bytes(),
            )
            .await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            requests -= 1;
            // The day has less left than the minute.
            assert_eq!(
                levels(format, &reply, "requests"),
                (50, requests),
                "{format:?}"
            );
            let (limit, left) = levels(format, &reply, "tokens");
            // What was set aside for it is more than it took.
            assert_eq!(limit, 100_000);
            assert!((90_000..99_990).contains(&left), "{left}");
        }
    }
    // A key without limits is told nothing.
    let (_simulation, gateway) = super::access::gateway(&[&alice("")], |config| config).await;
    let reply = ask(&gateway, Format::Chat, ALICE, "llama3.2").await;
    assert_eq!(reply.header("x-ratelimit-limit-requests"), None);
}

/// Tokens of one answer of Ollama's, in and out.
fn tokens(reply: &Reply) -> u64 {
    let body = reply.json();
    let count = |name: &str| body[name].as_u64().unwrap_or_else(|| panic!("{body}"));
    count("prompt_eval_count") + count("eval_count")
}

#[tokio::test]
async fn tokens_are_set_aside_and_then_counted_as_they_were() {
    let limit = 20_000;
    let key = alice(&format!(", tokens_per_minute: {limit}"));
    let (_simulation, gateway) = gateway(&[&key], |config| config).await;
    let body = chat(
        "llama3.2",
        "hi",
        r#","stream":false,"options":{"num_predict":100}"#,
    );
    let field = [("x-api-key", ALICE)];
    let one = request(
        gateway.address,
        "POST",
        "/api/chat",
        &field,
        body.as_bytes(),
    )
    .await;
    let each = tokens(&one);
    // What the request may have taken is given back but for what it took.
    let list = || async {
        let small = chat(
            "llama3.2",
            "",
            r#","stream":false,"options":{"num_predict":1}"#,
        );
        request(
            gateway.address,
            "POST",
            "/api/chat",
            &field,
            small.as_bytes(),
        )
        .await
    };
    let second = list().await;
    let (_, left) = levels(Format::Ollama, &second, "tokens");
    assert!(
        limit - left >= each && limit - left < each + 150,
        "{left} after {each}"
    );
    let clients = (0..200).map(|_| async {
        let mut spent = Vec::new();
        for _ in 0..4 {
            let reply = request(
                gateway.address,
                "POST",
                "/api/chat",
                &field,
                body.as_bytes(),
            )
            .await;
            match reply.status {
                200 => spent.push(tokens(&reply)),
                status => assert_eq!(status, 429, "{}", reply.text()),
            }
        }
        spent
    });
    let spent: Vec<u64> = join_all(clients).await.into_iter().flatten().collect();
    let sum: u64 = spent.iter().sum::<u64>() + each + tokens(&second);
    assert!(sum <= limit * 105 / 100, "{sum} of {limit}");
    assert!(
        sum > limit / 2,
        "{sum} of {limit} in {} answers",
        spent.len()
    );
    // One that can never pass says so, and is not to be asked again.
    let large = chat(
        "llama3.2",
        "hi",
        r#","stream":false,"options":{"num_predict":50000}"#,
    );
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat",
        &field,
        large.as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn no_more_are_in_flight_than_allowed_and_no_slot_is_lost() {
    let models = "llama3.2";
    let simulation = Simulation::start(
        1,
        &[
            "--models",
            models,
            "--parallel",
            "500",
            "--decode-speed",
            "300",
        ],
    );
    let config = Config::over(&simulation.servers)
        .set("provider.max_concurrent_per_backend", "500")
        .key(alice(", max_concurrent: 20"));
    let gateway = Gateway::over(&config, 1).await;
    let body = chat("llama3.2", "hi", r#","options":{"num_predict":30}"#);
    let counts = flood(&[&gateway], 200, 3, &body).await;
    assert!(counts[&200] >= 20 && counts[&429] > 0, "{counts:?}");
    let most = simulation.stats().await[0].max_active;
    assert!((10..=20).contains(&most), "{most}");
    // Clients that leave in the middle of their streams, and some before they begin.
    let key = [("x-api-key", ALICE)];
    for round in 0..3 {
        let leaving = (0..20).map(|_| async {
            let mut connection = Connection::open(gateway.address).await;
            connection
                .request("POST", "/api/chat", &key, body.as_bytes())
                .await;
            if round > 0 {
                connection.head().await;
            }
            connection.reset();
        });
        join_all(leaving).await;
    }
    gateway.idle().await;
    let all = flood(&[&gateway], 20, 2, &body).await;
    assert_eq!(all, BTreeMap::from([(200, 40)]));
}

#[tokio::test]
async fn a_key_goes_no_further_ahead_than_its_priority() {
    let (_simulation, gateway) = gateway(&[&alice(", priority: low")], |config| config).await;
    for (priority, status) in [("high", 200), ("-20", 200), ("soon", 400)] {
        let fields = [("x-api-key", ALICE), ("x-priority", priority)];
        let body = chat("llama3.2", "hi", r#","stream":false"#);
        let reply = request(
            gateway.address,
            "POST",
            "/api/chat",
            &fields,
            body.as_bytes(),
        )
        .await;
        assert_eq!(reply.status, status, "{priority}: {}", reply.text());
    }
}

/// Two gateways that count together, in front of one simulated server.
async fn pair(redis: &Redis, key: &str) -> (Simulation, [Gateway; 2]) {
    let simulation = Simulation::start(1, &["--models", "llama3.2"]);
    let config = Config::over(&simulation.servers)
        .set("provider.max_concurrent_per_backend", "500")
        .set("shared.url", redis.url())
        .key(key);
    let gateways = [
        Gateway::over(&config, 1).await,
        Gateway::over(&config, 1).await,
    ];
    (simulation, gateways)
}

const AWAY: &str = "remuda_shared_limits_away";

#[tokio::test]
async fn two_gateways_count_together() {
    let Some(redis) = Redis::start() else { return };
    let (simulation, [one, other]) = pair(
        &redis,
        &alice(", requests_per_minute: 300, tokens_per_day: 900000"),
    )
    .await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    // All that one lets through counts at the other.
    let first = flood(&[&one], 10, 10, &body).await;
    assert_eq!(first, BTreeMap::from([(200, 100)]));
    let then = flood(&[&one, &other], 200, 4, &body).await;
    let passed = 100 + then[&200];
    assert!((270..=315).contains(&passed), "{passed}");
    assert_eq!(simulation.inferences().await, passed);
    for gateway in [&one, &other] {
        gateway.metric_is(AWAY, &[], 0.0).await;
        gateway.idle().await;
    }
}

#[tokio::test]
async fn without_their_server_gateways_go_on_with_their_shares_and_it_comes_back() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let (simulation, [one, other]) = pair(&redis, &alice(", requests_per_minute: 300")).await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    let both = [&one, &other];
    let killing = async {
        eventually("some have passed", || async {
            let passed = simulation.inferences().await;
            if passed >= 100 { Ok(()) } else { Err(passed) }
        })
        .await;
        redis.kill();
        BTreeMap::new()
    };
    type Flood<'a> = std::pin::Pin<Box<dyn Future<Output = BTreeMap<u16, u64>> + 'a>>;
    let flooding: [Flood<'_>; 2] = [Box::pin(flood(&both, 200, 8, &body)), Box::pin(killing)];
    let counts = join_all(flooding).await;
    let passed = counts[0][&200];
    assert!((200..=315).contains(&passed), "{passed}");
    for gateway in both {
        gateway.metric_is(AWAY, &[], 1.0).await;
        gateway.process.wait_for("what it says of it", |line| {
            line.contains("shared limits: the server is away")
                .then_some(())
        });
    }
    redis.revive();
    for gateway in both {
        gateway.metric_is(AWAY, &[], 0.0).await;
        gateway.process.wait_for("what it says of it", |line| {
            line.contains("shared limits: the server is back")
                .then_some(())
        });
    }
    // What was used is known to the new server, though it was told nothing by the old one.
    flood(&both, 50, 2, &body).await;
    let passed = simulation.inferences().await;
    assert!(passed <= 315, "{passed}");
    for gateway in both {
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_gateway_starts_without_the_server_that_it_would_count_at() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    redis.kill();
    let (_simulation, [one, _other]) = pair(&redis, &alice(", requests_per_minute: 10")).await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    let counts = flood(&[&one], 5, 4, &body).await;
    assert_eq!(counts, BTreeMap::from([(200, 10), (429, 10)]));
}

#[tokio::test]
async fn a_budget_that_is_spent_at_one_gateway_is_spent_at_all() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("prices.yaml");
    let price = "{ rates: { input: 2, output: 8 } }";
    let facts = format!("models: [ {{ match: gpt-4.1, like: gpt-4.1, price: {price} }} ]");
    std::fs::write(&prices, facts).unwrap();
    let simulation = Simulation::start(1, &["--models", "gpt-4.1", "--dialect", "openai"]);
    let entry = format!(
        "{{ name: openai, kind: openai, base_url: 'http://{}/v1', api_key: sim-key, models: [gpt-4.1] }}",
        simulation.servers[0]
    );
    let budget = "budget: { usd: 0.005, per: total }";
    let config = Config::of([entry])
        .set("routing.models_file", prices.display())
        .set("shared.url", redis.url())
        .key(format!("{{ name: alice, key: {ALICE}, {budget} }}"))
        .key(format!("{{ name: bob, key: {BOB}, {budget} }}"));
    let one = Gateway::over(&config, 1).await;
    let other = Gateway::over(&config, 1).await;
    let asks = |gateway, key| async move {
        let reply = ask(gateway, Format::Chat, key, "gpt-4.1").await;
        if reply.status == 429 {
            let quota = (json!("insufficient_quota"), json!("insufficient_quota"));
            assert_eq!(kind(Format::Chat, &reply), quota);
        }
        reply.status
    };
    let spend = |gateway, key| async move {
        let mut answers = 0;
        while asks(gateway, key).await == 200 {
            answers += 1;
            assert!(answers < 1000, "the budget is never spent");
        }
        answers
    };
    let refused = |gateway, key| async move {
        eventually("it is refused here too", || async move {
            match asks(gateway, key).await {
                429 => Ok(()),
                status => Err(status),
            }
        })
        .await;
    };
    for _ in 0..3 {
        assert_eq!(asks(&other, ALICE).await, 200);
    }
    assert!(spend(&one, ALICE).await > 3);
    refused(&other, ALICE).await;

    redis.kill();
    for gateway in [&one, &other] {
        gateway.metric_is(AWAY, &[], 1.0).await;
        for _ in 0..3 {
            assert_eq!(asks(gateway, ALICE).await, 429);
        }
    }
    // What is left to others is theirs.
    assert_eq!(asks(&one, BOB).await, 200);
    redis.revive();
    for gateway in [&one, &other] {
        gateway.metric_is(AWAY, &[], 0.0).await;
        assert_eq!(asks(gateway, ALICE).await, 429);
    }
    // The new server has been told by each what it had spent, and tells one that knows of nothing.
    let third = Gateway::over(&config, 1).await;
    refused(&third, ALICE).await;
    assert!(spend(&other, BOB).await > 3);
    refused(&one, BOB).await;
    for gateway in [&one, &other, &third] {
        assert_eq!(asks(gateway, ALICE).await, 429);
    }
}
