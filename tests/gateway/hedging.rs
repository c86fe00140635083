//! Where a candidate keeps silent, another is asked too: the first content wins, and the other is cancelled, which is no
//! failure of its server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{
    Asked, Config, Connection, Format, Gateway, STREAM_HEAD, Step, Upstream, chat, chunk,
    eventually, get, is_done, json as answer, post, request,
};

const KEY: &str = "alice-has-this-key-0";
const PRICES: &str = "
models:
  - { match: one, like: gpt-4.1, price: { rates: { input: 2, output: 8 } } }
  - { match: two, like: gpt-4.1, price: { rates: { input: 30, output: 60 } } }
";
/// When the second is asked in these tests.
const AFTER: Duration = Duration::from_millis(300);

/// What a server of a fleet says of a chat, streamed or not as it is asked.
fn of_fleet(asked: &Asked) -> Vec<Step> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let line = |content: &str, done: bool| {
        json!({"model": "scripted", "created_at": "2026-11-30T11:56:19.1Z", "done": done,
            "message": {"role": "assistant", "content": content}, "eval_count": 1, "prompt_eval_count": 1})
        .to_string()
    };
    if body["stream"] == false {
        return vec![Step::Send(answer(200, &line("hello", true)))];
    }
    let lines = format!("{}\n{}\n", line("hello", false), line("", true));
    let stream = [STREAM_HEAD, &chunk(lines.as_bytes()), b"0\r\n\r\n"].concat();
    vec![Step::Send(stream)]
}

/// The head of a stream, and then nothing.
fn silent() -> Vec<Step> {
    vec![Step::Send(STREAM_HEAD.to_vec()), Step::Hold]
}

/// Two servers of a fleet. To whichever is asked first applies the first script, to the other the second, and so on.
async fn pair(
    scripts: [fn(&Asked) -> Vec<Step>; 2],
    set: impl FnOnce(Config) -> Config,
) -> ([Upstream; 2], Gateway) {
    let turn = Arc::new(AtomicUsize::new(0));
    let server = || {
        let turn = Arc::clone(&turn);
        Upstream::start(move |asked: &Asked| {
            scripts[turn.fetch_add(1, Ordering::SeqCst) % 2](asked)
        })
    };
    let servers = [server().await, server().await];
    let config = Config::over(&[servers[0].address, servers[1].address])
        .set("routing.retry", "{ hedge_after: 300ms }");
    let gateway = Gateway::over(&set(config), 2).await;
    (servers, gateway)
}

/// Connections that were held until the gateway closed them.
async fn let_go(servers: &[Upstream], count: usize) {
    eventually(&format!("{count} connections closed"), || async {
        let left: usize = servers.iter().map(|server| server.left().len()).sum();
        if left == count { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn where_a_server_keeps_silent_its_sibling_is_asked_too_and_answers() {
    let scripts: [fn(&Asked) -> Vec<Step>; 2] = [|_| silent(), of_fleet];
    let (servers, gateway) = pair(scripts, |config| config).await;
    let mut count = 0;
    for format in Format::ALL {
        for streamed in [true, false] {
            let what = format!("{format:?}, streamed: {streamed}");
            let began = Instant::now();
            let body = format.ask("scripted", "hi", streamed, json!({}));
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            assert!(reply.text().contains("hello"), "{what}: {}", reply.text());
            let took = began.elapsed();
            assert!(
                AFTER <= took && took < Duration::from_secs(5),
                "{what}: {took:?}"
            );
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
            count += 1;
            // Its connection is closed and its slot is free, although it never answers.
            let_go(&servers, count).await;
            gateway.idle().await;
        }
    }
    let metrics = gateway.metrics().await;
    let attempts = |outcome| metrics.sum("remuda_attempts_total", &[("outcome", outcome)]);
    assert_eq!(attempts("cancelled"), count as f64);
    assert_eq!(attempts("ok"), count as f64);
    assert_eq!(
        metrics.sum("remuda_attempts_total", &[]),
        2.0 * count as f64
    );
    let requests = [("http_response_status_code", "200")];
    for path in ["/api/chat", "/v1/chat/completions"] {
        let of_path = [requests[0], ("http_route", path)];
        assert_eq!(
            metrics.sum("remuda_requests_total", &of_path),
            2.0,
            "{path}"
        );
    }
    // Nobody is marked for it.
    gateway.healthy(2).await;
}

/// That its request was taken elsewhere does not hide that a server answers nobody.
#[tokio::test]
async fn a_server_that_was_left_for_its_silence_is_watched() {
    let scripts: [fn(&Asked) -> Vec<Step>; 2] = [|_| silent(), of_fleet];
    let (servers, gateway) = pair(scripts, |config| config.set("provider.interval", "60s")).await;
    for server in &servers {
        server.deaf(true);
    }
    let asked = Instant::now();
    let reply = post(gateway.address, "/api/chat", &chat("scripted", "hi", "")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.healthy(1).await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let backend = reply.header("x-remuda-backend").unwrap();
    let page = get(gateway.address, "/__proxy/backends").await.json();
    for row in page["backends"].as_array().unwrap() {
        // The one that answered has nothing to show for.
        assert_eq!(row["healthy"], row["name"] == *backend, "{row}");
    }
}

#[tokio::test]
async fn the_first_may_still_be_the_one_to_answer() {
    let late: fn(&Asked) -> Vec<Step> = |asked| {
        [
            vec![Step::Pause(Duration::from_millis(900))],
            of_fleet(asked),
        ]
        .concat()
    };
    let (servers, gateway) = pair([late, |_| silent()], |config| config).await;
    let reply = post(gateway.address, "/api/chat", &chat("scripted", "hi", "")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(is_done(&reply.lines()), "{}", reply.text());
    // Until then neither server has seen which of them was cancelled.
    let_go(&servers, 1).await;
    let first = servers.iter().find(|server| server.left().is_empty());
    let port = first.unwrap().address.port().to_string();
    let backend = reply.header("x-remuda-backend").unwrap();
    assert!(backend.ends_with(&port), "{backend}");
    assert_eq!(gateway.attempts("cancelled").await, 1.0);
    assert_eq!(gateway.attempts("ok").await, 1.0);
    gateway.idle().await;
}

/// What is silent by its nature, whom the client means, and who says no, is not asked twice.
#[tokio::test]
async fn nobody_else_is_asked_where_that_is_of_no_use() {
    let late: fn(&Asked) -> Vec<Step> = |asked| {
        let pause = Step::Pause(Duration::from_millis(900));
        if asked.head.starts_with("POST /api/embed ") {
            vec![
                pause,
                Step::Send(answer(200, r#"{"model":"scripted","embeddings":[[1.0]]}"#)),
            ]
        } else {
            [vec![pause], of_fleet(asked)].concat()
        }
    };
    let asked = |servers: &[Upstream; 2]| -> usize {
        servers.iter().map(|server| server.asked().len()).sum()
    };
    let (servers, gateway) = pair([late, late], |config| config).await;
    let embed = json!({"model": "scripted", "input": "hi"}).to_string();
    let reply = post(gateway.address, "/api/embed", &embed).await;
    assert_eq!(
        (reply.status, asked(&servers)),
        (200, 1),
        "{}",
        reply.text()
    );
    let backend = reply.header("x-remuda-backend").unwrap().to_owned();
    let body = chat("scripted", "hi", "");
    let pinned = [("x-backend", &*backend)];
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat",
        &pinned,
        body.as_bytes(),
    )
    .await;
    assert_eq!(
        (reply.status, asked(&servers)),
        (200, 2),
        "{}",
        reply.text()
    );
    let off = |config: Config| config.set("routing.retry", "{ hedge_after: off }");
    let (servers, gateway) = pair([late, late], off).await;
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(
        (reply.status, asked(&servers)),
        (200, 1),
        "{}",
        reply.text()
    );
}

/// A model that is being loaded is waited for, as long as a load of its size takes.
#[tokio::test]
async fn a_load_is_no_silence() {
    let tags = r#"{"models":[{"name":"scripted:latest","model":"scripted:latest","modified_at":"2026-01-02T03:04:05Z","size":40000000000,"digest":"aa","details":{"format":"gguf","family":"llama","families":["llama"],"parameter_size":"70B","quantization_level":"Q4_0"}}]}"#;
    let late = |asked: &Asked| {
        let is_load = asked.head.starts_with("POST /api/generate");
        let pause = Step::Pause(Duration::from_millis(900));
        let pause = is_load.then_some(pause).into_iter();
        pause.chain(of_fleet(asked)).collect()
    };
    let server = || Upstream::listing(["0.33.0", tags, r#"{"models":[]}"#], late);
    let servers = [server().await, server().await];
    let config = Config::over(&[servers[0].address, servers[1].address])
        .set("routing.retry", "{ hedge_after: 300ms }");
    let gateway = Gateway::over(&config, 2).await;
    let reply = post(gateway.address, "/api/chat", &chat("scripted", "hi", "")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-attempts"), Some("1"));
    // The load, and the request.
    let mut asked = [servers[0].asked().len(), servers[1].asked().len()];
    asked.sort_unstable();
    assert_eq!(asked, [0, 2]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let (servers, gateway) = pair([|_| silent(), |_| silent()], |config| config).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    for server in &servers {
        server.asked_for(0).await;
    }
    drop(client);
    let_go(&servers, 2).await;
    let gone = [("outcome", "client_gone")];
    gateway.metric_is("remuda_attempts_total", &gone, 2.0).await;
    gateway.idle().await;
    gateway.healthy(2).await;
}

/// A piece of a stream in OpenAI's format, or the end of one.
fn event(data: &str) -> Vec<u8> {
    chunk(format!("data: {data}\n\n").as_bytes())
}

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A service's stream, by that model.
fn of_service(model: &str) -> Vec<Step> {
    let piece = |delta: Value, finish: Value| {
        event(
            &json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            .to_string(),
        )
    };
    let usage = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model,
        "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}});
    let stream = [
        EVENTS.to_vec(),
        piece(
            json!({"role": "assistant", "content": "hello"}),
            Value::Null,
        ),
        piece(json!({}), "stop".into()),
        event(&usage.to_string()),
        event("[DONE]"),
        b"0\r\n\r\n".to_vec(),
    ];
    vec![Step::Send(stream.concat())]
}

/// Two services that have the model `big` by names of their own, of which the first is asked first.
async fn services(
    scripts: [fn(&Asked) -> Vec<Step>; 2],
    second: &str,
    set: impl FnOnce(Config) -> Config,
) -> (tempfile::TempDir, [Upstream; 2], Gateway) {
    services_within("100", scripts, second, set).await
}

/// As [`services`], with a budget of so many dollars.
async fn services_within(
    usd: &str,
    scripts: [fn(&Asked) -> Vec<Step>; 2],
    second: &str,
    set: impl FnOnce(Config) -> Config,
) -> (tempfile::TempDir, [Upstream; 2], Gateway) {
    let servers = [
        Upstream::start(scripts[0]).await,
        Upstream::start(scripts[1]).await,
    ];
    let entry = |name: &str, model: &str, server: usize, rest: &str| {
        format!(
            "{{ name: {name}, kind: openai, base_url: 'http://{}/v1', api_key: sim-key, list_models: false, model_map: {{ big: {model} }}{rest} }}",
            servers[server].address
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("prices.yaml");
    std::fs::write(&prices, PRICES).unwrap();
    let config = Config::of([
        entry("first", "one", 0, ""),
        entry("second", "two", 1, second),
    ])
    .set("routing.models_file", prices.display())
    .set("routing.retry", "{ hedge_after: 300ms }")
    .set("routing.max_retries", 0)
    .key(format!(
        "{{ name: alice, key: {KEY}, budget: {{ usd: {usd}, per: day }} }}"
    ));
    let gateway = Gateway::over(&set(config), 2).await;
    (folder, servers, gateway)
}

async fn ask_big(gateway: &Gateway) -> super::support::Reply {
    let most = json!({"max_tokens": 1000});
    let body = Format::Chat.ask("big", "Say something.", true, most);
    let fields = [("x-api-key", KEY)];
    request(
        gateway.address,
        "POST",
        Format::Chat.path(),
        &fields,
        body.as_bytes(),
    )
    .await
}

/// What each provider is charged with: requests, tokens of input, how many of them by an estimate.
async fn charged(gateway: &Gateway) -> Vec<(String, u64, u64, u64)> {
    let page = get(gateway.admin, "/api/usage").await.json();
    let rows = page["providers"].as_array().unwrap().iter();
    let number = |row: &Value, name: &str| {
        row[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {row}"))
    };
    let mut rows: Vec<_> = rows
        .map(|row| {
            let name = row["provider"].as_str().unwrap_or_else(|| panic!("{row}"));
            (
                name.to_owned(),
                number(row, "requests"),
                number(row, "input_tokens"),
                number(row, "estimated"),
            )
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn the_answer_and_its_bill_are_those_of_the_service_that_answered() {
    let silent: fn(&Asked) -> Vec<Step> = |_| vec![Step::Send(EVENTS.to_vec()), Step::Hold];
    let scripts: [fn(&Asked) -> Vec<Step>; 2] = [silent, |_| of_service("two")];
    let (_folder, servers, gateway) = services(scripts, "", |config| config).await;
    let reply = ask_big(&gateway).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(
        reply.text().contains(r#""model":"two""#),
        "{}",
        reply.text()
    );
    assert!(
        !reply.text().contains(r#""model":"one""#),
        "{}",
        reply.text()
    );
    let second = servers[1].address.to_string();
    assert_eq!(reply.header("x-remuda-backend"), Some(&*second));
    let_go(&servers, 1).await;
    gateway.idle().await;
    let charged = charged(&gateway).await;
    let [(first, none, prompt, 1), (second, 1, 7, 0)] = &charged[..] else {
        panic!("{charged:?}");
    };
    // The first has the prompt, and was left with it.
    assert_eq!((&**first, &**second, *none), ("first", "second", 0));
    assert!((1..100).contains(prompt), "{charged:?}");
    // Nothing of it opens a breaker or sets a key aside: the first is asked first again.
    assert_eq!(ask_big(&gateway).await.status, 200);
    assert_eq!(servers[0].asked().len(), 2);
    assert_eq!(gateway.attempts("cancelled").await, 2.0);
}

#[tokio::test]
async fn a_reserve_is_not_asked_beside_another() {
    let late: fn(&Asked) -> Vec<Step> = |_| {
        [
            vec![Step::Pause(Duration::from_millis(900))],
            of_service("one"),
        ]
        .concat()
    };
    let scripts: [fn(&Asked) -> Vec<Step>; 2] = [late, |_| of_service("two")];
    let (_folder, servers, gateway) =
        services(scripts, ", fallback_only: true", |config| config).await;
    let reply = ask_big(&gateway).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!((servers[0].asked().len(), servers[1].asked().len()), (1, 0));
}

/// Answers after [`AFTER`], but before anybody is looked for again.
fn late_one(_: &Asked) -> Vec<Step> {
    let pause = Step::Pause(Duration::from_millis(900));
    [vec![pause], of_service("one")].concat()
}

/// An answer of the first costs 0.8 cents at most, and one of the second 6.0: what is set aside has to have room for both.
#[tokio::test]
async fn nobody_else_is_asked_where_the_budget_has_no_room_for_both() {
    for (usd, model, asked) in [("0.066", "one", (1, 0)), ("0.07", "two", (1, 1))] {
        let scripts: [fn(&Asked) -> Vec<Step>; 2] = [late_one, |_| of_service("two")];
        let (_folder, servers, gateway) = services_within(usd, scripts, "", |config| config).await;
        let reply = ask_big(&gateway).await;
        assert_eq!(reply.status, 200, "{usd}: {}", reply.text());
        let of = format!(r#""model":"{model}""#);
        assert!(reply.text().contains(&of), "{usd}: {}", reply.text());
        let counts = (servers[0].asked().len(), servers[1].asked().len());
        assert_eq!(counts, asked, "{usd}");
        gateway.idle().await;
    }
}

/// A second ask is a further attempt, of which a service gets only as many as `routing.retry.budget` allows.
#[tokio::test]
async fn nobody_else_is_asked_beyond_the_budget_of_further_attempts() {
    for (retry, model, asked, denied) in [
        ("budget: 0, budget_floor: 0", "one", (1, 0), 1.0),
        ("budget: 0, budget_floor: 1", "two", (1, 1), 0.0),
    ] {
        let scripts: [fn(&Asked) -> Vec<Step>; 2] = [late_one, |_| of_service("two")];
        let retry = format!("{{ hedge_after: 300ms, {retry} }}");
        let (_folder, servers, gateway) =
            services(scripts, "", |config| config.set("routing.retry", &retry)).await;
        let reply = ask_big(&gateway).await;
        assert_eq!(reply.status, 200, "{retry}: {}", reply.text());
        let of = format!(r#""model":"{model}""#);
        assert!(reply.text().contains(&of), "{retry}: {}", reply.text());
        let counts = (servers[0].asked().len(), servers[1].asked().len());
        assert_eq!(counts, asked, "{retry}");
        let second = [("remuda_provider", "second")];
        let count = gateway.metric("remuda_retries_denied_total", &second).await;
        assert_eq!(count, denied, "{retry}");
        gateway.idle().await;
    }
}

/// The one that is left goes on, whichever it is; if both fail, each is told with its reason.
#[tokio::test]
async fn of_two_that_are_asked_one_may_fail() {
    let breaks: fn(&Asked) -> Vec<Step> =
        |_| vec![Step::Pause(Duration::from_millis(900)), Step::Reset];
    let fails: fn(&Asked) -> Vec<Step> = |_| {
        let error = r#"{"error":{"message":"the second is ill","type":"server_error"}}"#;
        vec![
            Step::Pause(Duration::from_millis(50)),
            Step::Send(answer(500, error)),
        ]
    };
    let late: fn(&Asked) -> Vec<Step> = |asked| {
        let model = if asked.body.windows(5).any(|part| part == br#""one""#) {
            "one"
        } else {
            "two"
        };
        [
            vec![Step::Pause(Duration::from_millis(1_500))],
            of_service(model),
        ]
        .concat()
    };
    for (scripts, status, model, outcomes) in [
        ([breaks, late], 200, "two", ["reset", "ok"]),
        ([late, fails], 200, "one", ["server_error", "ok"]),
        ([breaks, fails], 502, "", ["reset", "server_error"]),
    ] {
        let (_folder, servers, gateway) = services(scripts, "", |config| config).await;
        let reply = ask_big(&gateway).await;
        assert_eq!(reply.status, status, "{outcomes:?}: {}", reply.text());
        if status == 200 {
            let of = format!(r#""model":"{model}""#);
            assert!(reply.text().contains(&of), "{outcomes:?}: {}", reply.text());
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{outcomes:?}");
        } else {
            let told = Format::Chat.message(&reply);
            assert!(told.contains("first: broke the connection"), "{told}");
            assert!(told.contains("second: the second is ill"), "{told}");
        }
        gateway.idle().await;
        let metrics = gateway.metrics().await;
        for outcome in outcomes {
            let count = metrics.sum("remuda_attempts_total", &[("outcome", outcome)]);
            assert_eq!(count, 1.0, "{outcomes:?}: {outcome}");
        }
        assert_eq!(
            metrics.sum("remuda_attempts_total", &[]),
            2.0,
            "{outcomes:?}"
        );
        assert_eq!((servers[0].asked().len(), servers[1].asked().len()), (1, 1));
    }
}
