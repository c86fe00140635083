//! Names for models as clients see them: one public name for several models, what is listed, and what servers tell of
//! their models.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::*;

/// A fleet of simulated Ollama servers that answer quickly.
fn fleet(models: &str) -> Simulation {
    Simulation::start(1, &["--models", models, "--answer-tokens", "2"])
}

fn fleet_entry(name: &str, simulation: &Simulation, more: Value) -> String {
    let backends = simulation.servers.iter();
    let backends: Vec<_> = backends.map(|one| format!("http://{one}")).collect();
    let mut entry = json!({"name": name, "kind": "ollama", "backends": backends,
        "interval": "200ms", "probe_timeout": "2s"});
    let fields = entry.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    entry.to_string()
}

async fn chat_with(gateway: SocketAddr, model: &str, key: &str) -> Reply {
    let body = chat(model, "hi", r#","stream":false"#);
    request(
        gateway,
        "POST",
        "/api/chat",
        &[("x-api-key", key)],
        body.as_bytes(),
    )
    .await
}

/// Names in a list of models, sorted.
async fn listed(gateway: SocketAddr, path: &str, key: &str) -> Vec<String> {
    let reply = request(gateway, "GET", path, &[("x-api-key", key)], b"").await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    let (list, name) = match path {
        "/v1/models" => ("data", "id"),
        _ => ("models", "name"),
    };
    let body = reply.json();
    let models = body[list].as_array().unwrap().iter();
    let mut names: Vec<_> = models
        .map(|model| model[name].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

const ALL: &str = "whoever-has-this-may-all-0";
const BOB: &str = "bob-may-use-the-alias-only";

#[tokio::test]
async fn one_public_name_is_served_by_every_fleet_under_its_own() {
    let (one, two) = (fleet("llama3.2"), fleet("qwen3:8b"));
    let config = Config::of([
        fleet_entry("one", &one, json!({"model_map": {"big": "llama3.2"}})),
        fleet_entry("two", &two, json!({"model_map": {"big": "qwen3:8b"}})),
    ])
    .set(
        "routing.aliases",
        "{ any: ['llama3.2', 'qwen3:8b'], same: big, lost: nowhere/x }",
    )
    .key(format!("{{ name: all, key: {ALL} }}"))
    .key(format!("{{ name: bob, key: {BOB}, models: [big, any] }}"));
    let gateway = Gateway::over(&config, 2).await;
    for path in ["/api/tags", "/v1/models"] {
        let names = listed(gateway.address, path, ALL).await;
        let tail = if path == "/v1/models" { "" } else { ":latest" };
        // Whoever may use a model may use what stands for it.
        let expected = ["any", "big", "same"].map(|name| format!("{name}{tail}"));
        let own = ["llama3.2:latest", "qwen3:8b"].map(str::to_owned);
        let mut all = [&expected[..], &own].concat();
        all.sort();
        assert_eq!(names, all, "{path}");
        assert_eq!(listed(gateway.address, path, BOB).await, expected, "{path}");
    }
    for name in ["big", "any", "same"] {
        let shown = post_as(gateway.address, "/api/show", &json!({"model": name}), ALL).await;
        assert_eq!(shown.status, 200, "{name}: {}", shown.text());
        let path = format!("/v1/models/{name}");
        let one = request(gateway.address, "GET", &path, &[("x-api-key", ALL)], b"").await;
        assert_eq!((one.status, one.json()["id"].as_str()), (200, Some(name)));
    }
    // Several at once are served by both, each by its own name.
    for name in ["big", "any", "same"] {
        let before = (one.inferences().await, two.inferences().await);
        let asked = (0..6).map(|_| chat_with(gateway.address, name, ALL));
        let mut models = Vec::new();
        for reply in join_all(asked).await {
            assert_eq!(reply.status, 200, "{name}: {}", reply.text());
            models.push(reply.json()["model"].as_str().unwrap().to_owned());
        }
        let served = (
            (one.inferences().await - before.0) as usize,
            (two.inferences().await - before.1) as usize,
        );
        assert_eq!(served.0 + served.1, 6, "{name}");
        assert!(served.0 > 0 && served.1 > 0, "{name}: {served:?}");
        let own = models.iter().filter(|model| model.starts_with("llama3.2"));
        assert_eq!(own.count(), served.0, "{name}: {models:?}");
    }
    let limited = chat_with(gateway.address, "big", BOB).await;
    assert_eq!(limited.status, 200, "{}", limited.text());
    let refused = chat_with(gateway.address, "llama3.2", BOB).await;
    assert_eq!(refused.status, 403, "{}", refused.text());

    // Metrics tell which model answered, at which provider.
    let (served_one, served_two) = (one.inferences().await, two.inferences().await);
    gateway.idle().await;
    for (model, provider, count) in [
        ("llama3.2:latest", "one", served_one),
        ("qwen3:8b", "two", served_two),
    ] {
        let labels = [
            ("gen_ai_request_model", model),
            ("remuda_provider", provider),
            ("http_route", "/api/chat"),
            ("http_response_status_code", "200"),
        ];
        gateway
            .metric_is("remuda_requests_total", &labels, count as f64)
            .await;
    }

    // With one of them down, the other serves all.
    one.stop(0).await;
    for name in ["big", "any", "same"] {
        let reply = chat_with(gateway.address, name, ALL).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert_eq!(reply.json()["model"], "qwen3:8b", "{name}");
    }
}

async fn post_as(gateway: SocketAddr, path: &str, body: &Value, key: &str) -> Reply {
    let body = body.to_string();
    request(
        gateway,
        "POST",
        path,
        &[("x-api-key", key)],
        body.as_bytes(),
    )
    .await
}

#[tokio::test]
async fn of_several_models_the_one_that_starts_soonest_is_used() {
    // Loads take long, and one model is in memory already.
    let slow = ["--load-time", "20s", "--answer-tokens", "2"];
    let cold = Simulation::start(1, &[&["--models", "llama3.2"], &slow[..]].concat());
    let warm = Simulation::start(1, &["--models", "qwen3:8b", "--answer-tokens", "2"]);
    let config = Config::of([
        fleet_entry("cold", &cold, json!({})),
        fleet_entry("warm", &warm, json!({})),
    ])
    .set("routing.aliases", "{ any: ['llama3.2', 'qwen3:8b'] }");
    let gateway = Gateway::over(&config, 2).await;
    let first = post(
        gateway.address,
        "/api/chat",
        &chat("qwen3:8b", "hi", r#","stream":false"#),
    )
    .await;
    assert_eq!(first.status, 200, "{}", first.text());
    for _ in 0..4 {
        // The last answer's slot is free again.
        gateway.idle().await;
        let reply = post(
            gateway.address,
            "/api/chat",
            &chat("any", "hi", r#","stream":false"#),
        )
        .await;
        assert_eq!(reply.json()["model"], "qwen3:8b", "{}", reply.text());
    }
    assert_eq!(cold.inferences().await, 0);
    gateway.idle().await;
    // When the warm one is busy for a moment, it is waited for rather than that the other loads.
    let asked = (0..3).map(|_| async {
        let body = chat("any", "hi", r#","stream":false"#);
        post(gateway.address, "/api/chat", &body).await
    });
    for reply in join_all(asked).await {
        assert_eq!(reply.json()["model"], "qwen3:8b", "{}", reply.text());
    }
    assert_eq!(cold.inferences().await, 0);
}

/// A server of OpenAI's format that lists `list`, answers `page` at `path`, and chats.
async fn serving(list: &'static str, path: &'static str, page: &'static str) -> Upstream {
    Upstream::start(move |asked: &Asked| {
        let line = asked.head.lines().next().unwrap();
        let target = line.split(' ').nth(1).unwrap();
        let answer = match target {
            "/v1/models" => json(200, list),
            other if other == path => json(200, page),
            "/v1/chat/completions" => json(
                200,
                r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
            ),
            _ => json(404, "{}"),
        };
        vec![Step::Send(answer)]
    })
    .await
}

#[tokio::test]
async fn what_a_server_tells_of_its_context_is_shown_and_used() {
    for (server, list, path, page, context) in [
        (
            "llama.cpp",
            r#"{"object":"list","data":[{"id":"m","owned_by":"llamacpp","meta":{"n_ctx_train":131072}}]}"#,
            "/props",
            r#"{"default_generation_settings":{"n_ctx":2048},"total_slots":1}"#,
            2048,
        ),
        (
            "llama.cpp without /props",
            r#"{"object":"list","data":[{"id":"m","owned_by":"llamacpp","meta":{"n_ctx_train":4096}}]}"#,
            "-",
            "",
            4096,
        ),
        (
            "vLLM",
            r#"{"object":"list","data":[{"id":"m","owned_by":"vllm","max_model_len":3000}]}"#,
            "-",
            "",
            3000,
        ),
        (
            "LM Studio",
            r#"{"object":"list","data":[{"id":"m","owned_by":"organization_owner"}]}"#,
            "/api/v0/models",
            r#"{"data":[{"id":"m","max_context_length":32768,"loaded_context_length":2500}]}"#,
            2500,
        ),
        (
            "text-generation-inference",
            r#"{"object":"list","data":[{"id":"m","created":0,"owned_by":"m"}]}"#,
            "/info",
            r#"{"model_id":"m","max_input_tokens":1000,"max_total_tokens":2200}"#,
            2200,
        ),
    ] {
        let small = serving(list, path, page).await;
        let unknown = serving(r#"{"data":[{"id":"m"}]}"#, "-", "").await;
        let entry = |name, upstream: &Upstream| {
            let url = format!("http://{}/v1", upstream.address);
            json!({"name": name, "kind": "openai_compatible", "base_url": url}).to_string()
        };
        let config = Config::of([entry("small", &small), entry("unknown", &unknown)]);
        let gateway = Gateway::over(&config, 2).await;
        let shown = post(gateway.address, "/api/show", r#"{"model":"small/m"}"#).await;
        let told = shown.json()["model_info"]["small.context_length"].as_u64();
        assert_eq!(told, Some(context), "{server}: {}", shown.text());
        let tags = get(gateway.address, "/api/tags").await.json();
        let rows = tags["models"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["name"] == "small/m:latest")
            .unwrap();
        assert_eq!(row["details"]["context_length"], context, "{server}");
        // A longer prompt goes to the one of which nobody knows.
        let chats = |upstream: &Upstream| {
            let asked = upstream.asked();
            asked
                .iter()
                .filter(|one| one.head.starts_with("POST"))
                .count()
        };
        let long = "word ".repeat(context as usize);
        let body = Format::Chat.ask("m", &long, false, json!({}));
        for round in 1..=2 {
            let reply = post(gateway.address, Format::Chat.path(), &body).await;
            assert_eq!(reply.status, 200, "{server}: {}", reply.text());
            assert_eq!((chats(&small), chats(&unknown)), (0, round), "{server}");
        }
    }
}

#[tokio::test]
async fn a_server_that_keeps_silent_about_its_context_has_its_models_all_the_same() {
    let list = r#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#;
    let upstream = Upstream::start(move |asked: &Asked| match asked.head.split(' ').nth(1) {
        Some("/v1/models") => vec![Step::Send(json(200, list))],
        _ => vec![Step::Hold],
    })
    .await;
    let url = format!("http://{}/v1", upstream.address);
    let entry = json!({"name": "mute", "kind": "openai_compatible", "base_url": url, "probe_timeout": "2s"});
    let gateway = Gateway::over(&Config::of([entry.to_string()]), 1).await;
    let models = get(gateway.address, "/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "m");
}

/// Each name that is listed, by whoever has this key, is one that requests may name.
async fn asks_for_all_that_is_listed(gateway: SocketAddr, key: &str) -> Vec<String> {
    let mut all = Vec::new();
    for path in ["/api/tags", "/v1/models", "/api/ps"] {
        let names = listed(gateway, path, key).await;
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once, names, "{path} lists a name twice");
        for name in names {
            let reply = chat_with(gateway, &name, key).await;
            assert!(
                !matches!(reply.status, 403 | 404),
                "{path} lists {name}: {} {}",
                reply.status,
                reply.text()
            );
            let shown = post_as(gateway, "/api/show", &json!({"model": name}), key).await;
            assert_eq!(shown.status, 200, "{path} lists {name}: {}", shown.text());
            if path == "/v1/models" {
                let path = format!("{path}/{}", name.replace('/', "%2F"));
                let one = request(gateway, "GET", &path, &[("x-api-key", key)], b"").await;
                assert_eq!(one.status, 200, "{name}: {}", one.text());
            }
            all.push(name);
        }
    }
    all
}

#[tokio::test]
async fn every_name_that_is_listed_may_be_asked_for() {
    let world = crate::across::World::with(&[], |config| {
        config
            .set("server.model_names", "both")
            .set(
                "routing.aliases",
                "{ lost: nowhere/x, Mine: [nothing, openai/gpt-9-nobody-has] }",
            )
            .key(format!("{{ name: all, key: {ALL} }}"))
            .key(format!(
                "{{ name: some, key: {BOB}, providers: [openai, anthropic] }}"
            ))
    })
    .await;
    let gateway = world.gateway.address;
    let all = asks_for_all_that_is_listed(gateway, ALL).await;
    for (kind, _) in &world.providers {
        let model = kind.model.to_ascii_lowercase();
        let bare = model.trim_end_matches(":latest");
        assert!(
            all.iter()
                .any(|name| name.to_ascii_lowercase().contains(bare)),
            "{model}: {all:?}"
        );
    }
    assert!(
        all.iter()
            .all(|name| !name.starts_with("lost") && !name.starts_with("mine"))
    );
    let some = asks_for_all_that_is_listed(gateway, BOB).await;
    assert!(!some.is_empty() && some.len() < all.len());
    // What comes to nothing is told to operators, and to no key that is limited.
    for path in ["/health", "/api/providers", "/__proxy/backends"] {
        let page = get(world.gateway.admin, path).await.json();
        let told = page["unresolved_names"].as_array().unwrap().clone();
        let of = |name: &str| told.iter().find(|one| one["name"] == name);
        assert_eq!(
            of("nowhere/x").unwrap()["setting"],
            "routing.aliases.lost",
            "{path}"
        );
        assert!(of("nothing").is_some(), "{path}: {told:?}");
        let why = of("openai/gpt-9-nobody-has").unwrap()["why"]
            .as_str()
            .unwrap();
        assert!(why.contains("openai does not list it"), "{path}: {why}");
    }
    for path in ["/health", "/api/providers", "/__proxy/backends"] {
        let page = request(gateway, "GET", path, &[("x-api-key", BOB)], b"").await;
        assert!(!page.text().contains("unresolved_names"), "{path}");
    }
}

#[tokio::test]
async fn a_servers_model_that_begins_like_another_provider_is_not_listed() {
    let gpus = fleet("llama3.2,cloud/llama3.2,gpus-own/x");
    let cloud = Simulation::start(1, &["--dialect", "openai", "--models", "gpt-4.1"]);
    let url = format!("http://{}/v1", cloud.servers[0]);
    let service = json!({"name": "cloud", "kind": "openai_compatible", "base_url": url, "api_key": "sim-key"});
    let config = Config::of([fleet_entry("gpus", &gpus, json!({})), service.to_string()]);
    let gateway = Gateway::over(&config, 2).await;
    let all = asks_for_all_that_is_listed(gateway.address, "").await;
    assert!(
        all.iter().any(|name| name.starts_with("gpus-own/x")),
        "{all:?}"
    );
    assert!(
        all.iter().all(|name| !name.starts_with("cloud/llama")),
        "{all:?}"
    );
}

#[tokio::test]
async fn only_the_models_that_the_operator_names_of_a_fleet_are_there() {
    let gpus = fleet("llama3.2,qwen3:8b,phi4");
    let stated = json!({"models": ["llama3.2", "absent"], "model_map": {"mapped": "phi4"}});
    let gateway = Gateway::over(&Config::of([fleet_entry("gpus", &gpus, stated)]), 1).await;
    let names = listed(gateway.address, "/api/tags", "").await;
    assert_eq!(names, ["llama3.2:latest", "mapped:latest", "phi4:latest"]);
    for (model, status) in [
        ("llama3.2", 200),
        ("mapped", 200),
        ("qwen3:8b", 404),
        ("absent", 404),
    ] {
        let reply = chat_with(gateway.address, model, "").await;
        assert_eq!(reply.status, status, "{model}: {}", reply.text());
    }
    let page = get(gateway.admin, "/health").await.json();
    assert_eq!(page["unresolved_names"][0]["name"], "absent", "{page}");
    assert_eq!(
        page["unresolved_names"][0]["setting"],
        "providers.gpus.models"
    );
}

#[tokio::test]
async fn a_server_that_is_found_may_list_so_many_models_and_no_more() {
    let models = (0..1_500).map(|number| json!({"name": format!("junk{number}:1b"), "size": 1}));
    let tags = json!({"models": models.collect::<Vec<_>>()}).to_string();
    let rogue = Upstream::listing(["0.33.0", &tags, r#"{"models":[]}"#], |_| {
        vec![Step::Send(json(404, "{}"))]
    })
    .await;
    let gpus = fleet("llama3.2");
    let port = rogue.address.port();
    let found = json!({"name": "found", "discover": {"ports": format!("{port}-{port}")}});
    let config = Config::of([found.to_string(), fleet_entry("gpus", &gpus, json!({}))]);
    let gateway = Gateway::over(&config, 2).await;
    let names = listed(gateway.address, "/api/tags", "").await;
    assert_eq!(names.len(), 1_001);
    assert!(names.contains(&"llama3.2:latest".to_owned()));
    let told = gateway.process.output().join("\n");
    let warning =
        format!("found 127.0.0.1:{port}: it lists 1500 models, of which only the first 1000 count");
    assert_eq!(told.matches(&warning).count(), 1, "{told}");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_for_one_goes_to_one_whose_size_nobody_knows() {
    let refusal = r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
    let small = Upstream::start(move |asked: &Asked| match asked.head.split(' ').nth(1) {
        Some("/v1/models") => vec![Step::Send(json(200, r#"{"data":[{"id":"m"}]}"#))],
        _ => vec![Step::Send(json(400, refusal))],
    })
    .await;
    let unknown = serving(r#"{"data":[{"id":"m"}]}"#, "-", "").await;
    let smaller = serving(r#"{"data":[{"id":"m","max_model_len":100}]}"#, "-", "").await;
    let entry = |name, upstream: &Upstream| {
        let url = format!("http://{}/v1", upstream.address);
        json!({"name": name, "kind": "openai_compatible", "base_url": url}).to_string()
    };
    let entries = [
        entry("small", &small),
        entry("smaller", &smaller),
        entry("unknown", &unknown),
    ];
    let config = Config::of(entries).set("routing.strategy", "failover");
    let gateway = Gateway::over(&config, 3).await;
    let body = Format::Chat.ask("m", &"word ".repeat(200), false, json!({}));
    let reply = post(gateway.address, Format::Chat.path(), &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let chats = |upstream: &Upstream| {
        let asked = upstream.asked();
        let posts = asked.iter().filter(|one| one.head.starts_with("POST"));
        posts.count()
    };
    assert_eq!((chats(&small), chats(&smaller), chats(&unknown)), (1, 0, 1));
}

/// A server that compresses what it lists although nobody asked for it.
#[tokio::test]
async fn a_packed_list_is_a_list() {
    use std::io::Write as _;
    let list = br#"{"object":"list","data":[{"id":"packed-model"}]}"#;
    for coding in ["gzip", "deflate", "zstd"] {
        let body = match coding {
            "gzip" => {
                let mut into = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                into.write_all(list).unwrap();
                into.finish().unwrap()
            }
            "deflate" => {
                let mut into = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
                into.write_all(list).unwrap();
                into.finish().unwrap()
            }
            _ => zstd::encode_all(&list[..], 3).unwrap(),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = [head.as_bytes(), &body].concat();
        let server = Upstream::start(move |_| vec![Step::Send(answer.clone())]).await;
        let config = Config::of([service_entry("one", &server, json!({}))]);
        let gateway = Gateway::over(&config, 1).await;
        let names = listed(gateway.address, "/v1/models", "").await;
        assert_eq!(names, ["packed-model"], "{coding}");
    }
}

fn service_entry(name: &str, server: &Upstream, more: Value) -> String {
    let mut entry = json!({"name": name, "kind": "openai_compatible", "interval": "200ms",
        "base_url": format!("http://{}/v1", server.address)});
    let fields = entry.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    entry.to_string()
}

/// A server that lists other names at each probe is told of once, and what it listed before is gone.
#[tokio::test]
async fn a_list_that_is_another_each_time_is_told_of_once() {
    let server = Upstream::start(|asked| {
        let names = (0..3_000).map(|name| format!(r#"{{"id":"r{}-{name}"}}"#, asked.number));
        let list = names.collect::<Vec<_>>().join(",");
        vec![Step::Send(json(200, &format!(r#"{{"data":[{list}]}}"#)))]
    })
    .await;
    let config = Config::of([service_entry("rogue", &server, json!({}))]);
    let gateway = Gateway::over(&config, 1).await;
    let told = eventually("a complaint", || async {
        let page = get(gateway.admin, "/api/providers").await.json();
        let told = page["providers"]["rogue"]["complaints"][0].as_str();
        told.map(str::to_owned).ok_or(page.to_string())
    })
    .await;
    let name = server.address.to_string();
    assert!(told.starts_with(&name), "{told}");
    assert!(
        told.contains("its list of models is another at each probe"),
        "{told}"
    );
    server.asked_for(server.asked().len() + 4).await;
    let output = gateway.process.output();
    let warned = output
        .iter()
        .filter(|line| line.contains("is another at each probe"));
    let warned: Vec<_> = warned.collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("WARN") && warned[0].contains(&name),
        "{warned:?}"
    );
    assert!(listed(gateway.address, "/v1/models", "").await.len() <= 6_000);
    let metrics = get(gateway.admin, "/metrics").await;
    assert!(metrics.text().len() < 1 << 20, "{}", metrics.text().len());
}

/// The answer names the candidate's model, whether it passes or is written here, streamed or whole.
#[tokio::test]
async fn an_answer_names_the_model_that_gave_it() {
    let server = Simulation::start(
        1,
        &[
            "--dialect",
            "openai",
            "--models",
            "gpt-4.1,text-embedding-3-small",
        ],
    );
    let entry = json!({"name": "cloud", "kind": "openai", "api_key": "sim-key",
        "model_map": {"big": "gpt-4.1", "vectors": "text-embedding-3-small"},
        "base_url": format!("http://{}/v1", server.servers[0])});
    let config =
        Config::of([entry.to_string()]).set("routing.aliases", "{ mine: [gpt-4.1], same: big }");
    let gateway = Gateway::over(&config, 1).await;
    for name in ["big", "mine", "same", "cloud/gpt-4.1"] {
        for path in [
            "/api/chat",
            "/api/generate",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/responses",
        ] {
            for stream in [false, true] {
                let mut body = json!({"model": name, "stream": stream, "max_tokens": 16, "prompt": "hi",
                    "messages": [{"role": "user", "content": "hi"}], "input": "hi"});
                let fields = body.as_object_mut().unwrap();
                let wanted: &[&str] = match path {
                    "/api/generate" => &["prompt"],
                    "/v1/responses" => &["input"],
                    "/v1/messages" => &["messages", "max_tokens"],
                    _ => &["messages"],
                };
                fields.retain(|field, _| {
                    ["model", "stream"].contains(&&**field) || wanted.contains(&&**field)
                });
                let reply = post(gateway.address, path, &body.to_string()).await;
                assert_eq!(reply.status, 200, "{path}: {}", reply.text());
                let text = reply.text().replace(": ", ":");
                assert!(
                    text.contains(r#""model":"gpt-4.1"#),
                    "{name} {path} {stream}: {text}"
                );
                let public = format!(r#""model":"{name}"#);
                assert!(!text.contains(&public), "{name} {path} {stream}: {text}");
            }
        }
    }
    for (path, field) in [
        ("/api/embed", "input"),
        ("/api/embeddings", "prompt"),
        ("/v1/embeddings", "input"),
    ] {
        let reply = post(
            gateway.address,
            path,
            &json!({"model": "vectors", field: "hi"}).to_string(),
        )
        .await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        if path != "/api/embeddings" {
            assert_eq!(reply.json()["model"], "text-embedding-3-small", "{path}");
        }
    }
    // What agrees but for its spelling is as the client wrote it.
    let reply = chat_with(gateway.address, "gpt-4.1:latest", "").await;
    assert_eq!(reply.json()["model"], "gpt-4.1:latest");
}
