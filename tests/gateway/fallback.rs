//! When providers fail: what the client sees, and how often each provider was asked, for every kind of failure under
//! every strategy; breakers, rests of keys and limits.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::metrics;
use crate::support::{self, *};

/// What simulated providers expect.
const KEY: &str = "sim-key";
const MODEL: &str = "gpt-4.1";

const STRATEGIES: [&str; 4] = ["none", "next_available", "retry_same", "best_alternative"];

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// The same provider may do better, and another.
    Again,
    /// Only another provider may do better.
    Other,
    /// Nothing would.
    Nothing,
    /// The provider could not be asked at all; another may do better.
    Unasked,
    /// The answer had begun, and another provider may go on with it.
    Begun,
}

/// One failure, with what it means and the status that the client gets where nothing follows.
struct Case {
    name: &'static str,
    fault: &'static str,
    follows: Follows,
    status: u16,
    /// Of streamed requests only, or of others.
    streamed: Option<bool>,
}

const fn case(name: &'static str, fault: &'static str, follows: Follows, status: u16) -> Case {
    Case {
        name,
        fault,
        follows,
        status,
        streamed: None,
    }
}

const CASES: [Case; 21] = [
    case(
        "bad-request",
        r#"{"kind":"status","status":400}"#,
        Follows::Nothing,
        400,
    ),
    case(
        "context",
        r#"{"kind":"status","status":400,"code":"context_length_exceeded"}"#,
        // The other provider's model holds no more.
        Follows::Nothing,
        400,
    ),
    case(
        "unauthorized",
        r#"{"kind":"status","status":401}"#,
        Follows::Other,
        502,
    ),
    case(
        "payment",
        r#"{"kind":"status","status":402}"#,
        Follows::Other,
        502,
    ),
    case(
        "forbidden",
        r#"{"kind":"status","status":403}"#,
        Follows::Other,
        502,
    ),
    case(
        "not-found",
        r#"{"kind":"status","status":404}"#,
        Follows::Other,
        404,
    ),
    case(
        "timeout",
        r#"{"kind":"status","status":408}"#,
        Follows::Again,
        504,
    ),
    case(
        "too-large",
        r#"{"kind":"status","status":413}"#,
        Follows::Nothing,
        413,
    ),
    case(
        "rate",
        r#"{"kind":"status","status":429}"#,
        Follows::Again,
        429,
    ),
    case(
        "quota",
        r#"{"kind":"status","status":429,"code":"insufficient_quota"}"#,
        Follows::Other,
        502,
    ),
    case(
        "error",
        r#"{"kind":"status","status":500}"#,
        Follows::Again,
        502,
    ),
    case(
        "gateway",
        r#"{"kind":"status","status":502}"#,
        Follows::Again,
        502,
    ),
    case(
        "unavailable",
        r#"{"kind":"status","status":503}"#,
        Follows::Again,
        503,
    ),
    case(
        "overloaded",
        r#"{"kind":"status","status":529}"#,
        Follows::Again,
        503,
    ),
    case("refused", r#"{"kind":"refuse"}"#, Follows::Unasked, 502),
    case(
        "reset",
        r#"{"kind":"cut","bytes":0,"reset":true}"#,
        Follows::Again,
        502,
    ),
    case(
        "closed",
        r#"{"kind":"cut","at":"body"}"#,
        Follows::Again,
        502,
    ),
    // Who has said nothing is not asked again.
    Case {
        streamed: Some(true),
        ..case("stalled", r#"{"kind":"silent"}"#, Follows::Other, 502)
    },
    // Of what is not asked for as a stream nothing can be seen: whoever serves it may take as long.
    Case {
        streamed: Some(false),
        ..case("silent", r#"{"kind":"silent"}"#, Follows::Nothing, 504)
    },
    case("error-event", r#"{"kind":"error"}"#, Follows::Again, 502),
    Case {
        streamed: Some(true),
        ..case(
            "broken",
            r#"{"kind":"cut","tokens":3}"#,
            Follows::Begun,
            200,
        )
    },
];

/// A provider over one simulated server that has [`MODEL`] under another name.
fn entry(name: &str, model: &str, simulation: &Simulation, server: usize) -> Value {
    json!({
        "name": name,
        "kind": "openai",
        "base_url": format!("http://{}/v1", simulation.servers[server]),
        "api_key": KEY,
        "list_models": false,
        "model_map": {model: MODEL},
    })
}

fn simulation(servers: usize) -> Simulation {
    Simulation::start(servers, &["--dialect", "openai", "--models", MODEL])
}

/// Model requests that each of `servers` has received, and those that it has answered to their end.
async fn asked(simulation: &Simulation) -> Vec<(u64, u64)> {
    let mut stats = simulation.stats().await;
    stats.sort_by_key(|server| server.port);
    let asked = |server: &Server| {
        let requests = server.requests.iter();
        let posted = requests.filter(|(route, _)| route.starts_with("POST"));
        (posted.map(|(_, count)| count).sum(), server.completed)
    };
    stats.iter().map(asked).collect()
}

/// Every failure, streamed and not, each with two providers of its own.
async fn matrix(strategy: &'static str) {
    let runs: Vec<(&Case, bool)> = CASES
        .iter()
        .flat_map(|case| [(case, false), (case, true)])
        .filter(|(case, streamed)| case.streamed.is_none_or(|only| only == *streamed))
        .collect();
    let simulation = simulation(runs.len() * 2);
    let model = |run: usize| format!("case-{run}");
    let entries = (0..runs.len()).flat_map(|run| {
        let provider = |name: &str, server| {
            entry(&format!("{name}-{run}"), &model(run), &simulation, server).to_string()
        };
        [provider("first", 2 * run), provider("second", 2 * run + 1)]
    });
    let config = Config::of(entries)
        .set("routing.fallback", strategy)
        .set("routing.retry", "{ attempts: 1, base: 20ms }")
        .set("timeouts.first_byte", "3s")
        .set("timeouts.silent", "3s");
    let gateway = Gateway::over(&config, runs.len() * 2).await;
    for (run, (case, _)) in runs.iter().enumerate() {
        let mut fault: Value = serde_json::from_str(case.fault).unwrap();
        if case.follows != Follows::Unasked {
            fault["route"] = "inference".into();
        }
        simulation.fault(2 * run, &fault.to_string()).await;
        if case.follows == Follows::Unasked {
            simulation.refuse(2 * run).await;
        }
    }
    let replies = join_all(runs.iter().enumerate().map(|(run, (_, streamed))| {
        let body = Format::Chat.ask(&model(run), "Say something.", *streamed, json!({}));
        let address = gateway.address;
        async move { post(address, Format::Chat.path(), &body).await }
    }))
    .await;
    let asked = asked(&simulation).await;
    for (run, ((case, streamed), reply)) in runs.iter().zip(&replies).enumerate() {
        let what = format!("{} under {strategy}, streamed: {streamed}", case.name);
        check(
            &what,
            case,
            strategy,
            *streamed,
            reply,
            &asked[2 * run..2 * run + 2],
        );
    }
    gateway.idle().await;
}

fn check(
    what: &str,
    case: &Case,
    strategy: &str,
    streamed: bool,
    reply: &Reply,
    asked: &[(u64, u64)],
) {
    let text = reply.text();
    eprintln!("{what}: {} {asked:?} {text}", reply.status);
    let goes_on = matches!(
        case.follows,
        Follows::Again | Follows::Other | Follows::Unasked | Follows::Begun
    ) && strategy != "none";
    let first = match (case.follows, strategy) {
        (Follows::Unasked, _) => 0,
        (Follows::Again, "retry_same") => 2,
        _ => 1,
    };
    assert_eq!(asked[0].0, first, "{what}: the first provider");
    assert_eq!(
        asked[1],
        (u64::from(goes_on), u64::from(goes_on)),
        "{what}: the second provider"
    );
    if goes_on {
        assert_eq!(reply.status, 200, "{what}: {text}");
        if streamed {
            let said = Format::Chat.read(&reply.body);
            assert!(said.success && said.errors.is_empty(), "{what}: {text}");
        } else {
            assert!(!Format::Chat.text(reply).is_empty(), "{what}: {text}")
        }
        return;
    }
    assert!(!text.contains(KEY), "{what}: {text}");
    assert_eq!(reply.status, case.status, "{what}: {text}");
    if case.follows == Follows::Begun {
        let said = Format::Chat.read(&reply.body);
        assert!(!said.words.is_empty() && !said.success, "{what}: {text}");
        assert_eq!(said.errors.len(), 1, "{what}: {text}");
    } else {
        assert!(!Format::Chat.message(reply).is_empty(), "{what}");
    }
}

#[tokio::test]
async fn failures_without_fallback() {
    matrix(STRATEGIES[0]).await;
}

#[tokio::test]
async fn failures_with_the_next_provider() {
    matrix(STRATEGIES[1]).await;
}

#[tokio::test]
async fn failures_with_the_same_provider_first() {
    matrix(STRATEGIES[2]).await;
}

#[tokio::test]
async fn failures_with_the_best_alternative() {
    matrix(STRATEGIES[3]).await;
}

/// Providers `first`, `second`, … with one server each, all with the model `shared`.
async fn shared(servers: usize, set: impl FnOnce(Config) -> Config) -> (Simulation, Gateway) {
    shared_with(servers, |_| {}, set).await
}

async fn shared_with(
    servers: usize,
    change: impl Fn(&mut Value),
    set: impl FnOnce(Config) -> Config,
) -> (Simulation, Gateway) {
    let simulation = simulation(servers);
    let names = ["first", "second", "third"];
    let entries = (0..servers).map(|server| {
        let mut entry = entry(names[server], "shared", &simulation, server);
        change(&mut entry);
        entry.to_string()
    });
    let gateway = Gateway::over(&set(Config::of(entries)), servers).await;
    (simulation, gateway)
}

async fn ask(gateway: &Gateway) -> Reply {
    ask_for(gateway, false).await
}

async fn ask_for(gateway: &Gateway, streamed: bool) -> Reply {
    let body = Format::Chat.ask("shared", "Say something.", streamed, json!({}));
    post(gateway.address, Format::Chat.path(), &body).await
}

fn status(status: u16) -> String {
    json!({"kind": "status", "status": status, "route": "inference"}).to_string()
}

/// A server of a fleet that says this to everything that runs a model.
async fn saying(status: u16, text: &str) -> Upstream {
    let answer = support::json(status, &json!({"error": text}).to_string());
    Upstream::start(move |_| vec![Step::Send(answer.clone())]).await
}

/// Fleets of so many servers each.
async fn fleets(sizes: &[usize], servers: &[Upstream]) -> Gateway {
    let mut servers = servers.iter();
    let entries = sizes.iter().enumerate().map(|(number, size)| {
        let servers = servers.by_ref().take(*size);
        let backends: Vec<_> = servers
            .map(|server| format!("http://{}", server.address))
            .collect();
        json!({"name": format!("gpus{number}"), "backends": backends}).to_string()
    });
    let entries: Vec<_> = entries.collect();
    Gateway::over(&Config::of(entries), sizes.iter().sum()).await
}

/// One server or several, of one provider or of several: the client hears what they all say as one of them says it.
#[tokio::test]
async fn what_all_candidates_say_is_told_as_one_would_have_said_it() {
    const SICK: &str = "llama-server process has terminated: exit status 3";
    const SHUT: &str = "This server does not support embeddings. Start it with `--embeddings`";
    for sizes in [&[1][..], &[2], &[3], &[1, 1], &[2, 1]] {
        let count: usize = sizes.iter().sum();
        let mut sick = Vec::new();
        let mut shut = Vec::new();
        for _ in 0..count {
            sick.push(saying(500, SICK).await);
            shut.push(saying(501, SHUT).await);
        }
        let gateway = fleets(sizes, &sick).await;
        for format in Format::ALL {
            for streamed in [true, false] {
                let body = format.ask("scripted", "hi", streamed, json!({}));
                let reply = post(gateway.address, format.path(), &body).await;
                let what = format!("{format:?} {streamed} {sizes:?}: {}", reply.text());
                assert_eq!(
                    (reply.status, &*format.message(&reply)),
                    (500, SICK),
                    "{what}"
                );
                if format == Format::Ollama {
                    assert_eq!(reply.text(), json!({"error": SICK}).to_string(), "{what}");
                }
            }
        }
        gateway.healthy(count).await;
        let gateway = fleets(sizes, &shut).await;
        for (path, field, format) in [
            ("/api/embed", "input", Format::Ollama),
            ("/api/embeddings", "prompt", Format::Ollama),
            ("/v1/embeddings", "input", Format::Chat),
        ] {
            let body = json!({"model": "scripted", field: "a"}).to_string();
            let reply = post(gateway.address, path, &body).await;
            let what = format!("{path} {sizes:?}: {}", reply.text());
            assert_eq!(
                (reply.status, &*format.message(&reply)),
                (501, SHUT),
                "{what}"
            );
        }
        gateway.healthy(count).await;
    }
}

/// Where they differ, each is told with its own words, and with its address where the operator shows those.
#[tokio::test]
async fn what_candidates_say_differently_is_told_of_each() {
    let servers = [
        saying(500, "llama-server process has terminated: exit status 3").await,
        saying(
            500,
            "model requires more system memory (9 GiB) than is available at 10.1.2.3:99",
        )
        .await,
    ];
    for sizes in [&[2][..], &[1, 1]] {
        let gateway = fleets(sizes, &servers).await;
        for format in Format::ALL {
            for streamed in [true, false] {
                let body = format.ask("scripted", "hi", streamed, json!({}));
                let reply = post(gateway.address, format.path(), &body).await;
                let what = format!("{format:?} {streamed} {sizes:?}: {}", reply.text());
                assert_eq!(reply.status, 500, "{what}");
                let told = format.message(&reply);
                for said in [
                    "exit status 3",
                    "requires more system memory",
                    "gpus0 (127.0.0.1:",
                ] {
                    assert!(told.contains(said), "{what}");
                }
                assert!(!told.contains("10.1.2.3"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn when_all_fail_the_client_reads_what_each_said() {
    let (simulation, gateway) = shared(2, |config| config).await;
    simulation.fault(0, &status(500)).await;
    let busy = json!({"kind": "status", "status": 429, "route": "inference"});
    simulation.fault(1, &busy.to_string()).await;
    let reply = ask(&gateway).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let message = Format::Chat.message(&reply);
    let (start, end) = (r#"All providers failed. Errors: ["first: "#, "]");
    assert!(
        message.starts_with(start) && message.ends_with(end),
        "{message}"
    );
    assert!(message.contains(r#"", "second: "#), "{message}");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    let counts: Vec<u64> = asked(&simulation)
        .await
        .iter()
        .map(|(asked, _)| *asked)
        .collect();
    assert_eq!(counts, [1, 1]);
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone_and_comes_back() {
    let (simulation, gateway) = shared(2, |config| {
        config.set("routing.breaker", "{ open: 2s, ramp: 0s }")
    })
    .await;
    let state = [("remuda_provider", "first"), ("backend", "")];
    simulation.fault(0, &status(500)).await;
    for _ in 0..20 {
        assert_eq!(ask(&gateway).await.status, 200);
    }
    let opened = Instant::now();
    let counts = asked(&simulation).await;
    assert_eq!(
        (counts[0].0, counts[1].1),
        (5, 20),
        "after five failures it is not asked"
    );
    gateway.metric_is("remuda_breaker_state", &state, 2.0).await;
    let providers = get(gateway.admin, "/api/providers").await.json();
    let breaker = &providers["providers"]["first"]["circuit_breaker"];
    assert_eq!(breaker["state"], "open", "{providers}");
    assert_eq!(breaker["cause"], "5 requests in a row failed");
    simulation.no_faults().await;
    gateway.metric_is("remuda_breaker_state", &state, 1.0).await;
    assert!(opened.elapsed() > Duration::from_millis(1500));
    let before = asked(&simulation).await[0].0;
    for _ in 0..6 {
        assert_eq!(ask(&gateway).await.status, 200);
    }
    gateway.metric_is("remuda_breaker_state", &state, 0.0).await;
    assert!(asked(&simulation).await[0].0 > before);
    let output = gateway.process.output().join("\n");
    for told in [
        "provider first is left alone for 2s: 5 requests in a row failed",
        "provider first is tried again",
        "provider first is well again",
    ] {
        assert!(output.contains(told), "{told}: {output}");
    }
}

#[tokio::test]
async fn while_the_only_provider_is_left_alone_clients_are_told_when_to_come_back() {
    let (simulation, gateway) = shared(1, |config| config.set("routing.fallback", "none")).await;
    simulation.fault(0, &status(500)).await;
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.status, 502);
    }
    let before = Instant::now();
    let reply = ask(&gateway).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert!(
        Format::Chat
            .message(&reply)
            .contains("5 requests in a row failed")
    );
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(asked(&simulation).await[0].0, 5);
}

/// The only model that was asked for fails: it is left alone, and the others are asked all the same.
#[tokio::test]
async fn failures_of_one_model_take_no_untried_one_with_it() {
    let server = Upstream::start(move |asked| {
        let failing = String::from_utf8_lossy(&asked.body).contains("\"bad\"");
        vec![Step::Send(if failing {
support::json(500, r#"{"error":{"message":"oops"}}"#)
} else {
support::json(
                200,
                r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#,
            )
})]
    })
    .await;
    let entry = json!({"name": "first", "kind": "openai", "base_url": format!("http://{}/v1", server.address),
        "api_key": KEY, "list_models": false, "models": ["good", "bad"]})
    .to_string();
    let config = Config::of([entry])
        .set("routing.fallback", "none")
        .set("routing.breaker", "{ open: 60s }");
    let gateway = Gateway::over(&config, 1).await;
    let ask = async |model: &str| {
        let body = Format::Chat.ask(model, "hi", false, json!({}));
        post(gateway.address, Format::Chat.path(), &body).await
    };
    for _ in 0..5 {
        assert_eq!(ask("bad").await.status, 502);
    }
    let page = get(gateway.admin, "/api/providers").await.json();
    let breaker = &page["providers"]["first"]["circuit_breaker"];
    assert_eq!(breaker["state"], "open", "{page}");
    assert_eq!(breaker["one_model_only"], true, "{page}");
    assert_eq!(breaker["models"][0]["model"], "bad", "{page}");
    assert_eq!(breaker["models"][0]["state"], "open", "{page}");
    let labels = [
        ("remuda_provider", "first"),
        ("gen_ai_request_model", "bad"),
    ];
    gateway
        .metric_is("remuda_model_breaker_state", &labels, 2.0)
        .await;
    let page = get(gateway.admin, "/metrics").await;
    metrics::is_as_documented(page.text(), metrics::MODEL_BREAKER);
    let refused = ask("bad").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask("good").await.status, 200);
    assert_eq!(ask("bad").await.status, 503);
    let state = [("remuda_provider", "first"), ("backend", "")];
    gateway.metric_is("remuda_breaker_state", &state, 0.0).await;
    gateway
        .metric_is("remuda_model_breaker_state", &labels, 2.0)
        .await;
    let output = gateway.process.output().join("\n");
    let told =
        "provider first is left alone for 60s: 5 requests in a row failed, all for model \"bad\"";
    assert!(output.contains(told), "{output}");
}

/// What one model of an alias's list fails with does not keep the next of the list from being asked at the same provider.
#[tokio::test]
async fn the_next_model_of_a_list_is_asked_where_the_one_before_has_failed() {
    const ERRORS: [(u16, &str); 7] = [
        (500, r#"{"error":{"message":"oops"}}"#),
        (503, r#"{"error":{"message":"The model is overloaded."}}"#),
        (504, r#"{"error":{"message":"The model took too long."}}"#),
        (
            429,
            r#"{"error":{"message":"Rate limit reached.","code":"rate_limit_exceeded"}}"#,
        ),
        (
            403,
            r#"{"error":{"message":"Your project has no access to this model."}}"#,
        ),
        (
            404,
            r#"{"error":{"message":"There is no such model.","code":"model_not_found"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ),
    ];
    const REFUSED: (u16, &str) = (
        401,
        r#"{"error":{"message":"Incorrect API key provided."}}"#,
    );
    let server = Upstream::start(move |asked| {
        let body = String::from_utf8_lossy(&asked.body);
        let mut errors = ERRORS.iter().chain([&REFUSED]);
        let failing = errors.find(|(status, _)| body.contains(&format!("\"bad-{status}\"")));
        vec![Step::Send(match failing {
            Some((status, error)) => support::json(*status, error),
            None => support::json(
                200,
                r#"{"id":"1","object":"chat.completion","created":1,"model":"good","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#,
            ),
        })]
    })
    .await;
    let statuses = ERRORS.iter().chain([&REFUSED]).map(|(status, _)| status);
    let bad = statuses.clone().map(|status| format!("bad-{status}"));
    let models: Vec<_> = bad.chain(["good".to_owned()]).collect();
    let aliases: Vec<_> = statuses
        .map(|status| format!("list-{status}: [bad-{status}, good]"))
        .collect();
    let entry = json!({"name": "first", "kind": "openai", "base_url": format!("http://{}/v1", server.address),
        "api_key": KEY, "list_models": false, "models": models})
    .to_string();
    let config = Config::of([entry])
        .set("routing.strategy", "failover")
        .set("routing.breaker", "{ enabled: false }")
        .set("routing.aliases", format!("{{ {} }}", aliases.join(", ")));
    let gateway = Gateway::over(&config, 1).await;
    let ask = async |status: u16, format: Format| {
        let body = format.ask(&format!("list-{status}"), "hi", false, json!({}));
        post(gateway.address, format.path(), &body).await
    };
    for (status, _) in ERRORS {
        for format in [Format::Chat, Format::Ollama] {
            let before = server.asked().len();
            let reply = ask(status, format).await;
            assert_eq!(reply.status, 200, "{status}: {}", reply.text());
            assert_eq!(reply.json()["model"], "good", "{status}");
            let first = String::from_utf8_lossy(&server.asked()[before].body).into_owned();
            let rests = status == 429 && format == Format::Ollama;
            assert_eq!(first.contains("bad-"), !rests, "{status}: {first}");
        }
    }
    // A key that is refused is refused for every model.
    let before = server.asked().len();
    let reply = ask(REFUSED.0, Format::Chat).await;
    assert_ne!(reply.status, 200, "{}", reply.text());
    assert_eq!(server.asked().len(), before + 1);
}

/// A model that fails is left alone while the provider's others are well, and its requests go to the next provider.
#[tokio::test]
async fn a_model_that_keeps_failing_takes_no_other_with_it() {
    let upstream = |bad: bool| {
        Upstream::start(move |asked| {
            let failing = bad && String::from_utf8_lossy(&asked.body).contains("\"bad\"");
            vec![Step::Send(if failing {
                support::json(500, r#"{"error":{"message":"oops"}}"#)
            } else {
                support::json(
                    200,
                    r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#,
                )
            })]
        })
    };
    let (first, second) = (upstream(true).await, upstream(false).await);
    let entry = |name: &str, server: &Upstream| {
        json!({"name": name, "kind": "openai", "base_url": format!("http://{}/v1", server.address),
            "api_key": KEY, "list_models": false, "models": ["good", "bad"]})
        .to_string()
    };
    let config = Config::of([entry("first", &first), entry("second", &second)])
        .set("routing.strategy", "failover")
        .set("routing.breaker", "{ open: 60s }");
    let gateway = Gateway::over(&config, 2).await;
    let ask = async |model: &str| {
        let body = Format::Chat.ask(model, "hi", false, json!({}));
        let reply = post(gateway.address, Format::Chat.path(), &body).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let port = first.address.port().to_string();
        reply.header("x-remuda-backend").unwrap().ends_with(&port)
    };
    for _ in 0..20 {
        assert!(!ask("bad").await);
        assert!(ask("good").await, "the provider is not left alone");
    }
    let bad = first.asked().into_iter();
    let bad = bad.filter(|one| String::from_utf8_lossy(&one.body).contains("\"bad\""));
    assert_eq!(
        bad.count(),
        5,
        "after five failures the model is not asked for there"
    );
}

/// A connection from the pool on which a request was waited for is no stale one: the request was taken.
#[tokio::test]
async fn a_pooled_connection_that_dies_after_a_long_silence_is_a_failure() {
    const DONE: &str = r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop"}"#;
    let upstream = Upstream::start(|asked| match asked.on_connection {
        0 => vec![Step::Send(support::json(200, DONE))],
        _ => vec![Step::Pause(Duration::from_secs(3)), Step::Close],
    })
    .await;
    let gateway = Gateway::over(&Config::over(&[upstream.address]), 1).await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    // Until one finds its worker's connection in the pool.
    eventually("a pooled connection is used", || async {
        match post(gateway.address, "/api/chat", &body).await.status {
            502 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    let asked = upstream.asked();
    assert_eq!(asked.last().unwrap().on_connection, 1, "{asked:?}");
    assert_eq!(gateway.attempts("reset").await, 1.0);
}

#[tokio::test]
async fn a_key_that_meets_its_limit_rests() {
    let simulation = Simulation::start(1, &["--dialect", "anthropic", "--models", "claude-opus-5"]);
    let entry = json!({"name": "one", "kind": "anthropic", "models": ["claude-opus-5"],
        "base_url": format!("http://{}", simulation.servers[0]), "api_key": KEY});
    let gateway = Gateway::over(&Config::of([entry.to_string()]), 1).await;
    let ask = || async {
        let body = Format::Anthropic.ask("claude-opus-5", "hi", false, json!({}));
        post(gateway.address, Format::Anthropic.path(), &body).await
    };
    let fault = json!({"kind": "status", "status": 429, "retry_after": 60, "route": "inference"});
    simulation.fault(0, &fault.to_string()).await;
    for _ in 0..5 {
        let reply = ask().await;
        assert_eq!(reply.status, 429, "{}", reply.text());
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=60).contains(&wait), "{wait}");
        assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
    }
    assert_eq!(asked(&simulation).await[0].0, 1, "it was asked once");
}

#[tokio::test]
async fn a_short_rest_is_waited_for() {
    // OpenAI asks for 120 ms.
    let (simulation, gateway) = shared(1, |config| config).await;
    let once = json!({"kind": "status", "status": 429, "times": 1, "route": "inference"});
    simulation.fault(0, &once.to_string()).await;
    let began = Instant::now();
    let reply = ask(&gateway).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(began.elapsed() >= Duration::from_millis(120));
    assert_eq!(asked(&simulation).await[0], (2, 1));
}

/// By default a failure that comes at once is tried once more where nobody else has the model: not before the provider's
/// own word, and not if it has said nothing.
#[tokio::test]
async fn a_quick_failure_is_tried_once_more_where_nobody_else_has_the_model() {
    let quick = |config: Config| {
        config
            .set("routing.retry", "{ base: 20ms, max_wait: 3s }")
            .set("routing.breaker", "{ enabled: false }")
            .set("timeouts.first_byte", "500ms")
    };
    let (simulation, gateway) = shared(1, quick).await;
    let fault = |fields: Value| {
        let mut fault = json!({"kind": "status", "times": 1, "route": "inference"});
        fault
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        fault.to_string()
    };
    for (fields, streamed, status, asked_more, least) in [
        (json!({"status": 500}), false, 200, 2, 0),
        (json!({"status": 502}), true, 200, 2, 0),
        (json!({"status": 503}), false, 200, 2, 0),
        (
            json!({"kind": "cut", "bytes": 0, "reset": true}),
            true,
            200,
            2,
            0,
        ),
        // It asks for 120 ms.
        (json!({"status": 429}), false, 200, 2, 120),
        (json!({"kind": "silent"}), true, 502, 1, 500),
        // Twice is too often.
        (json!({"status": 500, "times": 2}), false, 502, 2, 0),
    ] {
        simulation.no_faults().await;
        let before = asked(&simulation).await[0].0;
        simulation.fault(0, &fault(fields.clone())).await;
        let began = Instant::now();
        let reply = ask_for(&gateway, streamed).await;
        assert_eq!(reply.status, status, "{fields}: {}", reply.text());
        let after = asked(&simulation).await[0].0;
        assert_eq!(after - before, asked_more, "{fields}");
        assert!(began.elapsed().as_millis() >= least, "{fields}");
    }
}

/// No further attempt lasts longer than the time for all of them, and the error names it.
#[tokio::test]
async fn all_attempts_together_have_one_time_which_the_error_names() {
    let (simulation, gateway) = shared(3, |config| {
        config
            .set("routing.retry", "{ within: 1s }")
            .set("timeouts.first_byte", "700ms")
    })
    .await;
    for server in 0..3 {
        let silent = json!({"kind": "silent", "route": "inference"});
        simulation.fault(server, &silent.to_string()).await;
    }
    let began = Instant::now();
    let reply = ask_for(&gateway, true).await;
    let took = began.elapsed().as_millis();
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert!((1_000..3_000).contains(&took), "{took}");
    let told = Format::Chat.message(&reply);
    assert!(told.contains("routing.retry.within (1 s)"), "{told}");
    assert!(told.contains("did not answer in time"), "{told}");
    let asked = asked(&simulation).await;
    assert_eq!(asked.iter().map(|(asked, _)| asked).sum::<u64>(), 2);
    // The second had less time than a server may take.
    assert_eq!(gateway.attempts("timeout").await, 2.0);
    gateway.idle().await;
}

/// What can be seen only when it is whole has a limit of its own: nobody else is asked, and nobody is marked.
#[tokio::test]
async fn what_is_silent_until_it_is_whole_has_a_limit_of_its_own() {
    let own = Simulation::start(3, &["--models", "shared", "--loaded", "shared"]);
    let cloud = simulation(2);
    let fleet = json!({"name": "gpus", "backends": own.servers.iter().map(|server| format!("http://{server}")).collect::<Vec<_>>()});
    let services = ["first", "second"].iter().enumerate();
    let services = services.map(|(server, name)| entry(name, "other", &cloud, server).to_string());
    let config = Config::of(services.chain([fleet.to_string()]))
        .set("timeouts.first_byte", "200ms")
        .set("timeouts.silent", "600ms")
        .set("routing.breaker", "{ failures: 1 }");
    let gateway = Gateway::over(&config, 5).await;
    let stalled = json!({"kind": "silent", "route": "inference"});
    own.fault_everywhere(&stalled.to_string()).await;
    cloud.fault_everywhere(&stalled.to_string()).await;
    let embed = |model: &str, field: &str| json!({"model": model, field: "a"}).to_string();
    let chat = Format::Chat.ask("other", "hi", false, json!({}));
    let messages = Format::Anthropic.ask("other", "hi", false, json!({}));
    for (path, body) in [
        ("/api/embed", embed("shared", "input")),
        ("/api/embeddings", embed("shared", "prompt")),
        ("/v1/embeddings", embed("shared", "input")),
        ("/v1/embeddings", embed("other", "input")),
        (Format::Chat.path(), chat),
        (Format::Anthropic.path(), messages),
    ] {
        let before = gateway.attempts("timeout").await;
        let began = Instant::now();
        let reply = post(gateway.address, path, &body).await;
        let took = began.elapsed().as_millis();
        assert_eq!(reply.status, 504, "{path}: {}", reply.text());
        let told = "when the time of the setting timeouts.silent (0.6 s) was over";
        assert!(reply.text().contains(told), "{path}: {}", reply.text());
        assert!((600..3_000).contains(&took), "{path}: {took}");
        assert_eq!(reply.header("x-should-retry"), Some("false"), "{path}");
        assert_eq!(gateway.attempts("timeout").await, before + 1.0, "{path}");
        gateway.idle().await;
        let health = get(gateway.address, "/__proxy/health").await.json();
        assert_eq!(health["healthy_backends"], 5, "{path}");
        let first = [("remuda_provider", "first"), ("backend", "")];
        assert_eq!(gateway.metric("remuda_breaker_state", &first).await, 0.0);
    }
}

#[tokio::test]
async fn the_next_key_is_used_when_one_is_refused() {
    const WRONG: &str = "wrong-key-4711";
    let keys = |entry: &mut Value| {
        entry["api_key"] = WRONG.into();
        entry["api_keys"] = json!([KEY]);
    };
    let (simulation, gateway) = shared_with(1, keys, |config| {
        config
            .set("routing.fallback", "none")
            .set("monitoring.log_level", "debug")
    })
    .await;
    for _ in 0..4 {
        let reply = ask(&gateway).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    // One more request with the key that is not accepted; then it is set aside.
    assert_eq!(asked(&simulation).await[0], (5, 4));
    let aside = [("remuda_provider", "first")];
    gateway
        .metric_is("remuda_keys_set_aside", &aside, 1.0)
        .await;
    let output = gateway.process.output().join("\n");
    assert!(output.contains("key 1 of provider first is set aside: the provider refuses it"));
    assert!(
        !output.contains("4711") && !output.contains(KEY),
        "{output}"
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_long_goes_to_a_model_that_holds_more() {
    let simulation = Simulation::start(
        3,
        &[
            "--dialect",
            "openai",
            "--models",
            "gpt-4o,gpt-4o-mini,gpt-4.1",
        ],
    );
    // 128,000 tokens each, then a million.
    let entries = ["gpt-4o", "gpt-4o-mini", "gpt-4.1"]
        .iter()
        .zip(["a", "b", "c"])
        .enumerate();
    let entries = entries.map(|(server, (model, name))| {
        let mut entry = entry(name, "shared", &simulation, server);
        entry["model_map"] = json!({"shared": model});
        entry.to_string()
    });
    let gateway = Gateway::over(&Config::of(entries), 3).await;
    let fault = json!({"kind": "status", "status": 400, "code": "context_length_exceeded", "route": "inference"});
    simulation.fault(0, &fault.to_string()).await;
    let reply = ask(&gateway).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(asked(&simulation).await, [(1, 0), (0, 0), (1, 1)]);
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let (simulation, gateway) = shared(2, |config| {
        config
            .set("routing.fallback", "retry_same")
            .set(
                "routing.retry",
                "{ base: 1ms, budget: 0.2, budget_floor: 3 }",
            )
            .set("routing.breaker", "{ enabled: false }")
    })
    .await;
    simulation.fault(0, &status(500)).await;
    simulation.fault(1, &status(500)).await;
    const REQUESTS: u64 = 40;
    for _ in 0..REQUESTS {
        assert_eq!(ask(&gateway).await.status, 502);
    }
    let asked: u64 = asked(&simulation)
        .await
        .iter()
        .map(|(asked, _)| asked)
        .sum();
    // A fifth more, and the floor of each of the two; without a budget it would be eight times as many.
    assert!(
        (REQUESTS..=REQUESTS * 6 / 5 + 2 * 4).contains(&asked),
        "{asked}"
    );
    assert!(gateway.metric("remuda_retries_denied_total", &[]).await > 0.0);
}

#[tokio::test]
async fn clients_of_another_format_read_the_limits_in_its_names() {
    let (_simulation, gateway) = shared(1, |config| config).await;
    let ask = |format: Format| {
        let body = format.ask("shared", "hi", false, json!({}));
        let address = gateway.address;
        async move { post(address, format.path(), &body).await }
    };
    let reply = ask(Format::Anthropic).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.header("anthropic-ratelimit-requests-limit"),
        Some("500")
    );
    assert_eq!(
        reply.header("anthropic-ratelimit-tokens-remaining"),
        Some("29000")
    );
    let reset = reply.header("anthropic-ratelimit-tokens-reset").unwrap();
    assert!(reset.ends_with('Z') && reset.contains('T'), "{reset}");
    assert_eq!(reply.header("x-ratelimit-limit-requests"), None);
    let same = ask(Format::Chat).await;
    assert_eq!(same.header("x-ratelimit-limit-requests"), Some("500"));
    let ollama = ask(Format::Ollama).await;
    assert_eq!(ollama.header("x-ratelimit-limit-requests"), None);
}

#[tokio::test]
async fn a_server_that_answers_probes_and_fails_requests_is_left_out() {
    let simulation = Simulation::start(2, &["--loaded", "llama3.2", "--keep-alive", "-1"]);
    let config = Config::over(&simulation.servers).set("routing.breaker", "{ failures: 3 }");
    let gateway = Gateway::over(&config, 2).await;
    let fault = json!({"kind": "status", "status": 500, "route": "/api/chat"});
    simulation.fault(0, &fault.to_string()).await;
    let port = simulation.servers[0].port().to_string();
    let name = format!("127.0.0.1:{port}");
    let state = [("remuda_provider", "test"), ("backend", &*name)];
    let mut failed = 0;
    while gateway.metric("remuda_breaker_state", &state).await < 2.0 {
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let attempts: u32 = reply.header("x-remuda-attempts").unwrap().parse().unwrap();
        failed += attempts - 1;
        assert!(failed <= 3);
        // Its probes are good: it would be back at once.
        if failed < 3 {
            gateway.healthy(2).await;
        }
    }
    assert_eq!(failed, 3);
    for _ in 0..5 {
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert_eq!(reply.header("x-remuda-attempts"), Some("1"));
    }
    gateway.healthy(1).await;
}

/// Two providers with one slot each, the first of which holds its answer for a while.
async fn busy_first(
    change: impl Fn(&mut Value),
    set: impl FnOnce(Config) -> Config,
) -> (Simulation, Gateway) {
    let (simulation, gateway) = shared_with(
        2,
        |entry| {
            entry["max_concurrent"] = 1.into();
            change(entry);
        },
        |config| set(config.set("routing.strategy", "failover")),
    )
    .await;
    let stall = json!({"kind": "stall", "seconds": 3, "times": 1, "route": "inference"});
    simulation.fault(0, &stall.to_string()).await;
    (simulation, gateway)
}

#[tokio::test]
async fn a_slot_is_waited_for_only_so_long_where_another_provider_has_one() {
    let (simulation, gateway) =
        busy_first(|_| {}, |config| config.set("routing.slot_wait", "300ms")).await;
    let second = async {
        gateway
            .metric_is("remuda_slots_used", &[("remuda_provider", "first")], 1.0)
            .await;
        let asked = Instant::now();
        (ask(&gateway).await, asked.elapsed())
    };
    let (first, (second, took)) = tokio::join!(ask(&gateway), second);
    assert_eq!((first.status, second.status), (200, 200));
    assert!((250..2_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(asked(&simulation).await, [(1, 1), (1, 1)]);
}

#[tokio::test]
async fn a_provider_for_fallback_only_is_not_for_what_can_wait() {
    let reserve = |entry: &mut Value| {
        entry["fallback_only"] = (entry["name"] == "second").into();
    };
    let (simulation, gateway) =
        busy_first(reserve, |config| config.set("routing.slot_wait", "50ms")).await;
    let second = async {
        gateway
            .metric_is("remuda_slots_used", &[("remuda_provider", "first")], 1.0)
            .await;
        ask(&gateway).await
    };
    let (first, second) = tokio::join!(ask(&gateway), second);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(asked(&simulation).await, [(2, 2), (0, 0)]);
    simulation.fault(0, &status(500)).await;
    assert_eq!(ask(&gateway).await.status, 200);
    assert_eq!(asked(&simulation).await, [(3, 2), (1, 1)]);
}

/// Providers with one slot each. The first does not answer in time, which is once too often.
async fn failing_first(servers: usize) -> (Simulation, Gateway) {
    let one_slot = |entry: &mut Value| entry["max_concurrent"] = 1.into();
    let breaker = "{ failures: 1, min_requests: 1, open: 60s }";
    let (simulation, gateway) = shared_with(servers, one_slot, |config| {
        config
            .set("routing.strategy", "failover")
            .set("routing.slot_wait", "30s")
            .set("routing.breaker", breaker)
            .set("timeouts.first_byte", "1s")
    })
    .await;
    let stall = json!({"kind": "stall", "seconds": 60, "times": 1, "route": "inference"});
    simulation.fault(0, &stall.to_string()).await;
    (simulation, gateway)
}

/// Two requests, the second of which waits for the first one's slot; how long it takes.
async fn queued(gateway: &Gateway) -> (Reply, Reply, Duration) {
    let second = async {
        gateway
            .metric_is("remuda_slots_used", &[("remuda_provider", "first")], 1.0)
            .await;
        let asked = Instant::now();
        (ask_for(gateway, true).await, asked.elapsed())
    };
    let (first, (second, took)) = tokio::join!(ask_for(gateway, true), second);
    (first, second, took)
}

#[tokio::test]
async fn who_is_queued_for_a_provider_that_is_left_alone_goes_to_the_next() {
    let (simulation, gateway) = failing_first(2).await;
    let (first, second, took) = queued(&gateway).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let asked: Vec<u64> = asked(&simulation)
        .await
        .iter()
        .map(|(asked, _)| *asked)
        .collect();
    assert_eq!(asked, [1, 2], "nobody asked the first again");
    gateway.idle().await;
}

#[tokio::test]
async fn who_is_queued_for_the_only_provider_is_told_that_it_is_left_alone() {
    let (simulation, gateway) = failing_first(1).await;
    let (first, second, took) = queued(&gateway).await;
    assert_eq!(
        (first.status, second.status),
        (502, 503),
        "{}",
        second.text()
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=60).contains(&wait), "{wait}");
    let told = Format::Chat.message(&second);
    assert!(told.contains("1 requests in a row failed"), "{told}");
    assert_eq!(asked(&simulation).await[0].0, 1);
    gateway.idle().await;
}

#[tokio::test]
async fn who_is_queued_for_a_server_that_dies_goes_to_the_reserve() {
    let own = Simulation::start(1, &["--models", "shared", "--loaded", "shared"]);
    let cloud = simulation(1);
    let fleet = json!({"name": "first", "backends": [format!("http://{}", own.servers[0])], "max_concurrent_per_backend": 1});
    let mut reserve = entry("second", "shared", &cloud, 0);
    reserve["fallback_only"] = true.into();
    let config = Config::of([fleet.to_string(), reserve.to_string()]);
    let gateway = Gateway::over(&config, 2).await;
    let stall = json!({"kind": "stall", "seconds": 60, "route": "inference"});
    own.fault(0, &stall.to_string()).await;
    let death = async {
        gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
        own.stop(0).await;
    };
    let ((first, second, took), ()) = tokio::join!(queued(&gateway), death);
    assert_eq!(
        (first.status, second.status),
        (200, 200),
        "{}",
        second.text()
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(asked(&cloud).await, [(2, 2)]);
    gateway.idle().await;
}

#[tokio::test]
async fn a_server_on_trial_is_sent_a_few_requests_and_then_more_by_steps() {
    let arguments = [
        "--loaded",
        "llama3.2",
        "--keep-alive",
        "-1",
        "--parallel",
        "4",
    ];
    let simulation = Simulation::start(2, &arguments);
    let config = Config::over(&simulation.servers)
        .set("provider.max_concurrent_per_backend", "4")
        .set(
            "routing.breaker",
            "{ failures: 1, open: 1s, successes: 1, ramp: 1s }",
        );
    let gateway = Gateway::over(&config, 2).await;
    let names = [0, 1].map(|server: usize| simulation.servers[server].to_string());
    let of = |server: usize| [("remuda_provider", "test"), ("backend", &*names[server])];
    let (state, in_flight) = ("remuda_breaker_state", "remuda_backend_in_flight");
    let ask = || async {
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let fault = json!({"kind": "status", "status": 500, "times": 1, "route": "/api/chat"});
    simulation.fault(0, &fault.to_string()).await;
    while gateway.metric(state, &of(0)).await < 2.0 {
        ask().await;
    }
    gateway.metric_is(state, &of(0), 1.0).await;
    gateway.healthy(2).await;

    let stall = json!({"kind": "stall", "seconds": 1, "route": "/api/chat"});
    simulation.fault_everywhere(&stall.to_string()).await;
    let on_trial = async {
        gateway.metric_is(in_flight, &of(1), 4.0).await;
        gateway.metric_is("remuda_queue_depth", &[], 3.0).await;
        assert_eq!(gateway.metric(in_flight, &of(0)).await, 1.0);
    };
    tokio::join!(join_all((0..8).map(|_| ask())), on_trial);
    gateway.metric_is(state, &of(0), 0.0).await;

    // Nothing ends meanwhile, so that those who wait start as the limit rises.
    simulation.no_faults().await;
    let stall = json!({"kind": "stall", "seconds": 3, "route": "/api/chat"});
    simulation.fault_everywhere(&stall.to_string()).await;
    let as_before = async {
        gateway.metric_is(in_flight, &of(0), 4.0).await;
        gateway.metric_is("remuda_queue_depth", &[], 0.0).await;
    };
    tokio::join!(join_all((0..8).map(|_| ask())), as_before);
    gateway.idle().await;
}

/// One request for a stream, answered by nothing but an error of that code; with the default error if it is empty.
async fn only_an_error(dialect: &str, format: Format, code: &str) -> (Reply, Gateway) {
    let model = if dialect == "anthropic" {
        "claude-opus-5"
    } else {
        MODEL
    };
    let simulation = Simulation::start(1, &["--dialect", dialect, "--models", model]);
    let version = if dialect == "anthropic" { "" } else { "/v1" };
    let entry = json!({"name": "one", "kind": dialect, "models": [model], "api_key": KEY,
        "base_url": format!("http://{}{version}", simulation.servers[0])});
    let config = Config::of([entry.to_string()]).set("routing.fallback", "none");
    let gateway = Gateway::over(&config, 1).await;
    let mut fault = json!({"kind": "error", "tokens": 0, "route": "inference"});
    if !code.is_empty() {
        fault["code"] = code.into();
    }
    simulation.fault(0, &fault.to_string()).await;
    let body = format.ask(model, "Say something.", true, json!({}));
    (post(gateway.address, format.path(), &body).await, gateway)
}

#[tokio::test]
async fn a_stream_that_is_nothing_but_an_error_has_that_errors_status() {
    for (dialect, format, code, status) in [
        ("anthropic", Format::Anthropic, "overloaded_error", 529),
        ("anthropic", Format::Anthropic, "rate_limit_error", 429),
        ("anthropic", Format::Anthropic, "api_error", 502),
        ("openai", Format::Chat, "", 502),
        ("openai", Format::Chat, "rate_limit_exceeded", 429),
        ("openai", Format::Responses, "", 502),
    ] {
        let (reply, gateway) = only_an_error(dialect, format, code).await;
        let what = format!("{format:?} {code}: {} {}", reply.status, reply.text());
        assert_eq!(reply.status, status, "{what}");
        assert!(!format.message(&reply).is_empty(), "{what}");
        if dialect == "anthropic" {
            assert_eq!(reply.json()["error"]["type"], code, "{what}");
        }
        let failed = [
            ("remuda_provider", "one"),
            ("http_response_status_code", &*format!("{status}")),
        ];
        gateway
            .metric_is("remuda_requests_total", &failed, 1.0)
            .await;
        assert_eq!(gateway.attempts("error_line").await, 1.0, "{what}");
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_servers_error_line_alone_has_a_status_too() {
    let simulation = Simulation::start(1, &["--loaded", "llama3.2"]);
    let gateway = Gateway::over(&Config::over(&simulation.servers), 1).await;
    let fault = json!({"kind": "error", "tokens": 0, "message": "CUDA error: out of memory", "route": "/api/chat"});
    simulation.fault(0, &fault.to_string()).await;
    let body = Format::Ollama.ask("llama3.2", "hi", true, json!({}));
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert_eq!(reply.json(), json!({"error": "CUDA error: out of memory"}));
    gateway.idle().await;
}
