//! Where requests go: names, rules, filters and strategies over simulated providers, by what those have counted.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

const MODEL: &str = "gpt-4.1";

/// A simulated provider of OpenAI's format.
fn provider(arguments: &[&str]) -> Simulation {
    let mut all = vec!["--dialect", "openai"];
    if !arguments.contains(&"--answer-tokens") {
        all.extend(["--answer-tokens", "2"]);
    }
    if !arguments.contains(&"--models") {
        all.extend(["--models", MODEL]);
    }
    all.extend(arguments);
    Simulation::start(1, &all)
}

/// An entry of `providers`.
fn entry(name: &str, simulation: &Simulation, more: Value) -> String {
    let url = format!("http://{}/v1", simulation.servers[0]);
    let mut entry =
        json!({"name": name, "kind": "openai_compatible", "base_url": url, "api_key": "sim-key"});
    let fields = entry.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    entry.to_string()
}

async fn ask(gateway: &Gateway, model: &str, more: Value) -> Reply {
    let body = Format::Chat.ask(model, "Say something.", false, more);
    post(gateway.address, Format::Chat.path(), &body).await
}

async fn ask_of(gateway: &Gateway, model: &str, provider: &str) -> Reply {
    let body = Format::Chat.ask(model, "Say something.", false, json!({}));
    let headers = [("x-provider", provider)];
    let path = Format::Chat.path();
    request(gateway.address, "POST", path, &headers, body.as_bytes()).await
}

/// Answers that a provider has made to their end.
async fn served(simulation: &Simulation) -> u64 {
    simulation.stats().await[0].completed
}

/// The last body that a provider was sent.
async fn sent(simulation: &Simulation) -> Value {
    let last = simulation.stats().await.remove(0).last_request.unwrap();
    serde_json::from_str(&last.body.unwrap()).unwrap()
}

/// `count` requests from each of `clients` at the same time, over a connection each.
async fn load(gateway: &Gateway, clients: usize, count: usize) {
    let body = Format::Chat.ask(MODEL, "hi", false, json!({}));
    let client = |_| async {
        let mut connection = Connection::open(gateway.address).await;
        for _ in 0..count {
            let path = Format::Chat.path();
            connection.request("POST", path, &[], body.as_bytes()).await;
            let reply = connection.reply().await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    };
    join_all((0..clients).map(client)).await;
}

#[tokio::test]
async fn weights_are_met_within_two_hundredths() {
    let weights = [5, 3, 2];
    let simulations = weights.map(|_| provider(&[]));
    let entries = ["a", "b", "c"].iter().zip(weights).zip(&simulations);
    let entries = entries.map(|((name, weight), one)| entry(name, one, json!({"weight": weight})));
    let config = Config::of(entries)
        .set("routing.strategy", "weighted")
        .set("monitoring.access_log", "false");
    let gateway = Gateway::over(&config, 3).await;
    let began = Instant::now();
    load(&gateway, 40, 250).await;
    eprintln!("10,000 requests in {:.1?}", began.elapsed());
    for (simulation, weight) in simulations.iter().zip(weights) {
        let share = served(simulation).await as f64 / 10_000.0;
        let expected = f64::from(weight) / 10.0;
        assert!(
            (share - expected).abs() < 0.02 * expected,
            "{share} for {expected}"
        );
    }
    gateway.idle().await;
}

#[tokio::test]
async fn turns_are_even() {
    let simulations = [provider(&[]), provider(&[])];
    let entries = ["a", "b"].iter().zip(&simulations);
    let entries = entries.map(|(name, one)| entry(name, one, json!({})));
    let config = Config::of(entries).set("routing.strategy", "round_robin");
    let gateway = Gateway::over(&config, 2).await;
    load(&gateway, 4, 25).await;
    assert_eq!(
        [served(&simulations[0]).await, served(&simulations[1]).await],
        [50, 50]
    );
}

#[tokio::test]
async fn the_least_loaded_serves_the_most() {
    // A fifth of a second each, at as many requests at once as the other.
    let slow = provider(&["--answer-tokens", "20", "--decode-speed", "100"]);
    let quick = provider(&["--answer-tokens", "20", "--decode-speed", "1000"]);
    let entries = [
        entry("slow", &slow, json!({})),
        entry("quick", &quick, json!({})),
    ];
    let config = Config::of(entries).set("routing.strategy", "least_loaded");
    let gateway = Gateway::over(&config, 2).await;
    load(&gateway, 12, 40).await;
    let (slow, quick) = (served(&slow).await, served(&quick).await);
    eprintln!("slow {slow}, quick {quick}");
    assert_eq!(slow + quick, 480);
    // Both are busy all the time, so that their work is as their speeds.
    assert!(slow > 10 && quick > 3 * slow, "slow {slow}, quick {quick}");
}

#[tokio::test]
async fn the_fastest_is_followed_when_it_slows_down() {
    let (one, other) = (provider(&[]), provider(&[]));
    let entries = [
        entry("one", &one, json!({})),
        entry("other", &other, json!({})),
    ];
    let config = Config::of(entries).set("routing.strategy", "fastest_response");
    let gateway = Gateway::over(&config, 2).await;
    let stall = |seconds: f64| {
        let fault = json!({"kind": "stall", "seconds": seconds, "route": "inference"});
        fault.to_string()
    };
    other.fault(0, &stall(0.2)).await;
    load(&gateway, 1, 40).await;
    let (first, second) = (served(&one).await, served(&other).await);
    assert_eq!(first + second, 40);
    assert!(second <= 3, "{second} of 40 went to the slow one");

    one.fault(0, &stall(0.8)).await;
    load(&gateway, 1, 20).await;
    let more = served(&one).await - first;
    assert!(more <= 2, "{more} of 20 went to the one that slowed down");
}

#[tokio::test]
async fn the_cheapest_that_is_up_is_asked() {
    let own = Simulation::start(1, &["--models", MODEL]);
    let (cheap, dear) = (provider(&[]), provider(&[]));
    let fleet = json!({"name": "own", "backends": [format!("http://{}", own.servers[0])], "interval": "100ms"});
    // The price of the model is the same at both; what such services usually take is not.
    let quickly = json!({"interval": "100ms", "kind": "openrouter"});
    let entries = [
        entry(
            "dear",
            &dear,
            json!({"interval": "100ms", "kind": "openai"}),
        ),
        entry("cheap", &cheap, quickly),
        fleet.to_string(),
    ];
    let config = Config::of(entries).set("routing.strategy", "cost_optimized");
    let gateway = Gateway::over(&config, 3).await;
    let ask = |expected: &'static str| {
        let gateway = &gateway;
        async move {
            let reply = ask(gateway, MODEL, json!({})).await;
            assert_eq!(reply.status, 200, "{expected}: {}", reply.text());
        }
    };
    ask("own").await;
    assert_eq!(own.inferences().await, 1);
    own.stop(0).await;
    gateway.healthy(2).await;
    ask("cheap").await;
    assert_eq!((served(&cheap).await, served(&dear).await), (1, 0));
    cheap.stop(0).await;
    gateway.healthy(1).await;
    ask("dear").await;
    assert_eq!(served(&dear).await, 1);
    cheap.revive(0).await;
    gateway.healthy(2).await;
    ask("cheap").await;
    own.revive(0).await;
    gateway.healthy(3).await;
    ask("own").await;
    assert_eq!(served(&dear).await, 1);
}

#[tokio::test]
async fn who_is_named_is_asked() {
    let (one, other) = (provider(&[]), provider(&[]));
    let entries = [
        entry("one", &one, json!({})),
        entry("other", &other, json!({})),
    ];
    let rules = r#"[{ match: "team-*", provider: other, model: gpt-4.1 }]"#;
    let config = Config::of(entries).set("routing.rules", rules);
    let gateway = Gateway::over(&config, 2).await;
    for (model, header, ends) in [
        (MODEL, Some("other"), (0, 1)),
        (MODEL, Some("ONE"), (1, 1)),
        ("other/gpt-4.1", None, (1, 2)),
        ("one-gpt-4.1", None, (2, 2)),
        ("team-a", None, (2, 3)),
        ("Team-B", Some("other"), (2, 4)),
    ] {
        let reply = match header {
            Some(name) if !model.contains("eam") => ask_of(&gateway, model, name).await,
            _ => ask(&gateway, model, json!({})).await,
        };
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        assert_eq!((served(&one).await, served(&other).await), ends, "{model}");
    }
    assert_eq!(sent(&other).await["model"], MODEL);
    let refused = ask_of(&gateway, MODEL, "nobody").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let told = Format::Chat.message(&refused);
    assert!(told.contains("one, other"), "{told}");
    let refused = ask_of(&gateway, "one/gpt-4.1", "other").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
}

#[tokio::test]
async fn what_a_name_stands_for_is_listed_and_shown() {
    let gpus = Simulation::start(2, &["--models", "llama3.2,qwen3:8b"]);
    let openai = provider(&[]);
    let backends = gpus
        .servers
        .iter()
        .map(|address| format!("http://{address}"));
    let fleet = json!({"name": "gpus", "kind": "ollama", "interval": "200ms", "probe_timeout": "2s",
        "backends": backends.collect::<Vec<_>>()});
    let config = Config::of([
        fleet.to_string(),
        entry("openai", &openai, json!({"kind": "openai"})),
    ])
    .set("routing.bundled_aliases", "false")
    .set(
        "routing.aliases",
        "{ fast: gpus/llama3.2, plain: 'qwen3:8b', best: openai/gpt-4.1 }",
    )
    .key("{ name: bob, key: bob-has-another-one-1, models: [fast, best] }")
    .key("{ name: carol, key: carol-has-no-limits-2 }");
    let gateway = Gateway::over(&config, 3).await;
    let ask = async |key, method, path: &str, body: Value| {
        let body = match method {
            "GET" => String::new(),
            _ => body.to_string(),
        };
        request(
            gateway.address,
            method,
            path,
            &[("x-api-key", key)],
            body.as_bytes(),
        )
        .await
    };
    for (model, allowed) in [
        ("fast", true),
        ("best", true),
        ("plain", false),
        ("gpus/llama3.2", false),
    ] {
        for (key, status) in [
            ("carol-has-no-limits-2", 200),
            ("bob-has-another-one-1", if allowed { 200 } else { 403 }),
        ] {
            let shown = ask(key, "POST", "/api/show", json!({"model": model})).await;
            assert_eq!(shown.status, status, "{model}: {}", shown.text());
            let path = format!("/v1/models/{}", model.replace('/', "%2F"));
            let one = ask(key, "GET", &path, Value::Null).await;
            assert_eq!(one.status, status, "{model}: {}", one.text());
            if status == 200 {
                assert_eq!(one.json()["id"], model);
                assert!(shown.json()["capabilities"].is_array());
            }
        }
    }
    for (key, expected) in [
        ("bob-has-another-one-1", &["best:latest", "fast:latest"][..]),
        (
            "carol-has-no-limits-2",
            &[
                "best:latest",
                "fast:latest",
                "llama3.2:latest",
                "openai/gpt-4.1:latest",
                "plain:latest",
                "qwen3:8b",
            ],
        ),
    ] {
        let tags = ask(key, "GET", "/api/tags", Value::Null).await.json();
        let mut names: Vec<_> = tags["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, expected, "{key}");
    }
}

#[tokio::test]
async fn what_is_filtered_is_neither_listed_nor_served() {
    let simulation = provider(&["--models", "gpt-4.1,gpt-5.4,gpt-5.4-mini"]);
    let filter = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(filter.path(), "# ours\ngpt-5*\n!*-mini\n").unwrap();
    let path = filter.path().to_str().unwrap();
    let config = Config::of([entry("one", &simulation, json!({}))]);
    let gateway = Gateway::over(&config.environment("MODELS_FILTER_PATH", path), 1).await;
    let models = get(gateway.address, "/v1/models").await.json();
    let ids = models["data"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gpt-5.4"]);
    let tags = get(gateway.address, "/api/tags").await.text().to_owned();
    assert!(
        tags.contains("gpt-5.4") && !tags.contains("mini") && !tags.contains("4.1"),
        "{tags}"
    );
    for (model, status) in [
        ("gpt-5.4", 200),
        ("gpt-4.1", 404),
        ("one/gpt-4.1", 404),
        ("gpt-5.4-mini", 404),
    ] {
        let reply = ask(&gateway, model, json!({})).await;
        assert_eq!(reply.status, status, "{model}: {}", reply.text());
    }
}

#[tokio::test]
async fn optillms_parameters_go_to_optillm_alone() {
    let (plain, optillm) = (provider(&[]), provider(&[]));
    let entries = [
        entry("plain", &plain, json!({})),
        entry(
            "optillm",
            &optillm,
            json!({"approaches": true, "models": [], "list_models": false}),
        ),
    ];
    let gateway = Gateway::over(&Config::of(entries), 2).await;
    for (model, fields) in [
        ("proxy-gpt-4.1", json!({})),
        (MODEL, json!({"optillm_approach": "proxy", "mcts_depth": 3})),
        (
            MODEL,
            json!({"extra_body": {"optillm_approach": "none", "rstar_c": 1.4}}),
        ),
        ("proxy-gpt-4.1", json!({"best_of_n": 3, "extra_body": {}})),
    ] {
        let reply = ask(&gateway, model, fields.clone()).await;
        assert_eq!(reply.status, 200, "{model} {fields}: {}", reply.text());
        let sent = sent(&plain).await;
        assert_eq!(sent["model"], MODEL);
        let mut names: Vec<&String> = sent.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["messages", "model", "stream"], "{model} {fields}");
    }
    assert_eq!(served(&plain).await, 4);
    for (model, fields) in [
        ("bon&proxy-gpt-4.1", json!({})),
        (MODEL, json!({"optillm_approach": "bon", "best_of_n": 3})),
        (MODEL, json!({"optillm_approach": "proxy", "wrap": "moa"})),
        (
            "proxy-gpt-4.1",
            json!({"extra_body": {"wrapped_approach": "moa"}}),
        ),
    ] {
        // The simulated server knows no approaches, and says so; what counts is what it was sent.
        ask(&gateway, model, fields.clone()).await;
        let sent = sent(&optillm).await;
        assert_eq!(sent["model"], model);
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&sent[name], value, "{model} {fields}");
        }
    }
    assert_eq!(served(&plain).await, 4);

    let alone = Gateway::over(&Config::of([entry("plain", &plain, json!({}))]), 1).await;
    for (model, fields) in [
        ("bon&proxy-gpt-4.1", json!({})),
        (MODEL, json!({"optillm_approach": "moa"})),
    ] {
        let reply = ask(&alone, model, fields).await;
        assert_eq!(reply.status, 400, "{model}: {}", reply.text());
        let told = Format::Chat.message(&reply);
        assert!(told.contains("approaches: true"), "{told}");
    }
}

#[tokio::test]
async fn a_model_of_a_provider_that_is_about_to_answer_is_awaited() {
    let (quick, late) = (provider(&[]), provider(&["--models", "late-model"]));
    let stall = r#"{"kind":"stall","seconds":1.5,"route":"/v1/models"}"#;
    late.fault(0, stall).await;
    let entries = [
        entry("quick", &quick, json!({})),
        entry("late", &late, json!({})),
    ];
    let gateway = Gateway::over(&Config::of(entries), 1).await;
    let reply = ask(&gateway, "late-model", json!({})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // All have told what they have.
    let began = Instant::now();
    let reply = ask(&gateway, "no-such-model", json!({})).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn an_overflow_serves_while_the_model_is_down_or_busy() {
    let own = Simulation::start(1, &["--models", "qwen3:8b", "--parallel", "1"]);
    let cloud = provider(&[]);
    let fleet = json!({"name": "own", "backends": [format!("http://{}", own.servers[0])], "interval": "100ms"});
    let models = r#"{ "qwen3:8b": { overflow: [cloud/gpt-4.1], max_wait: 300ms } }"#;
    let config = Config::of([fleet.to_string(), entry("cloud", &cloud, json!({}))]);
    let gateway = Gateway::over(&config.set("routing.models", models), 2).await;
    let reply = ask(&gateway, "qwen3:8b", json!({})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!((own.inferences().await, served(&cloud).await), (1, 0));
    // The one slot is taken for as long as the answer stalls.
    own.fault(
        0,
        r#"{"kind":"stall","seconds":5,"route":"inference","times":1}"#,
    )
    .await;
    let busy = ask(&gateway, "qwen3:8b", json!({}));
    let other = async {
        eventually("the slot is taken", || async {
            match own.inferences().await {
                2 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let reply = ask(&gateway, "qwen3:8b", json!({})).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(served(&cloud).await, 1);
    };
    let (busy, ()) = tokio::join!(busy, other);
    assert_eq!(busy.status, 200, "{}", busy.text());
    own.stop(0).await;
    gateway.healthy(1).await;
    let reply = ask(&gateway, "qwen3:8b", json!({})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(served(&cloud).await, 2);
}

#[tokio::test]
async fn an_overflow_serves_at_once_what_would_wait_too_long() {
    // A second an answer, one after the other.
    let own = Simulation::start(
        1,
        &[
            "--models",
            "qwen3:8b",
            "--loaded",
            "qwen3:8b",
            "--parallel",
            "1",
            "--prompt-speed",
            "0",
            "--answer-tokens",
            "20",
            "--decode-speed",
            "40",
        ],
    );
    let cloud = provider(&[]);
    let fleet = json!({"name": "own", "backends": [format!("http://{}", own.servers[0])], "interval": "100ms", "max_concurrent_per_backend": 1});
    let models = r#"{ "qwen3:8b": { overflow: [cloud/gpt-4.1], max_wait: 1500ms } }"#;
    let config = Config::of([fleet.to_string(), entry("cloud", &cloud, json!({}))]);
    let gateway = Gateway::over(&config.set("routing.models", models), 2).await;
    let told = || async { get(gateway.admin, "/api/route?model=qwen3:8b").await.json() };
    let steps = told().await["steps"].clone();
    assert_eq!(
        (&steps[0]["expected_wait_seconds"], &steps[1]["due"]),
        (&json!(0.0), &json!(false))
    );
    // How long an answer takes has to be seen once.
    assert_eq!(ask(&gateway, "qwen3:8b", json!({})).await.status, 200);
    let running = ask(&gateway, "qwen3:8b", json!({}));
    // One second to wait, which is allowed.
    let waiting = async {
        let used = [("remuda_provider", "own")];
        gateway.metric_is("remuda_slots_used", &used, 1.0).await;
        ask(&gateway, "qwen3:8b", json!({})).await
    };
    let third = async {
        gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
        let steps = told().await["steps"].clone();
        let asked = Instant::now();
        let reply = ask(&gateway, "qwen3:8b", json!({})).await;
        (steps, reply.status, asked.elapsed())
    };
    let (running, waiting, (steps, status, took)) = tokio::join!(running, waiting, third);
    assert_eq!((running.status, waiting.status, status), (200, 200, 200));
    assert!(took < Duration::from_millis(1_000), "{took:?}");
    assert_eq!((own.inferences().await, served(&cloud).await), (3, 1));
    let wait = steps[0]["expected_wait_seconds"].as_f64().unwrap();
    assert!((1.5..3.0).contains(&wait), "{steps}");
    assert_eq!(steps[1]["due"], true, "{steps}");
}

#[tokio::test]
async fn a_running_gateway_tells_where_a_request_would_go() {
    let (one, other) = (provider(&[]), provider(&["--models", "else"]));
    let entries = [
        entry("one", &one, json!({})),
        entry("other", &other, json!({})),
    ];
    let aliases = r#"{ swift: "one/gpt-4.1" }"#;
    let gateway = Gateway::over(&Config::of(entries).set("routing.aliases", aliases), 2).await;
    let page = get(gateway.admin, "/api/route?model=swift").await;
    assert_eq!(page.status, 200, "{}", page.text());
    let told = page.json();
    assert_eq!(told["steps"][0]["providers"], json!(["one"]));
    assert_eq!(told["steps"][0]["model"], MODEL);
    assert_eq!(told["decided_by"][0], "alias: swift stands for one/gpt-4.1");
    assert_eq!(get(gateway.admin, "/api/route").await.status, 400);
    // Operators alone are told.
    assert_eq!(
        get(gateway.address, "/api/route?model=swift").await.status,
        404
    );

    let url = format!("http://{}", gateway.admin);
    let route = |arguments: &[&str]| {
        let mut command: Command = Process::remuda();
        command.arg("route").args(arguments).args(["--url", &url]);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = route(&["else"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("step 1     else at other\n"), "{text}");
    assert!(text.contains("without    the model: one\n"), "{text}");
    let (code, text) = route(&["nothing", "--provider", "one"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("step 1     nothing at one\n"), "{text}");
    let (code, text) = route(&["nothing"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no provider has the model"), "{text}");
    let (code, text) = route(&["else", "--strategy", "best"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("round_robin"), "{text}");
}
