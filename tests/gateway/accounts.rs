//! What is accounted where a request does not end as it should: clients that leave, answers that break off, many at once.

use serde_json::{Value, json};

use super::support::*;

const ALICE: &str = "alice-has-this-key-0";
const BOB: &str = "bob-has-another-one-1";

const PRICES: &str = "
models:
  - { match: gpt-4.1, like: gpt-4.1, price: { rates: { input: 2, output: 8 } } }
  - { match: 'scripted*', price: { rates: { input: 2, output: 8 } } }
";

/// Everything that runs a model: its path, and a body with a prompt of about 100,000 tokens.
fn operations() -> Vec<(&'static str, Vec<u8>)> {
    let text = "word ".repeat(80_000);
    let messages = json!([{"role": "user", "content": text}]);
    let json = |body: Value| body.to_string().into_bytes();
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nscripted\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{}\r\n--b--\r\n",
        "\0".repeat(4_000_000)
    );
    vec![
        (
            "/api/chat",
            json(json!({"model": "scripted", "messages": messages})),
        ),
        (
            "/api/generate",
            json(json!({"model": "scripted", "prompt": text, "stream": false})),
        ),
        (
            "/api/embed",
            json(json!({"model": "scripted", "input": [text]})),
        ),
        (
            "/api/embeddings",
            json(json!({"model": "scripted", "prompt": text})),
        ),
        (
            "/v1/chat/completions",
            json(json!({"model": "scripted", "messages": messages})),
        ),
        (
            "/v1/completions",
            json(json!({"model": "scripted", "prompt": text})),
        ),
        (
            "/v1/responses",
            json(json!({"model": "scripted", "input": text})),
        ),
        (
            "/v1/messages",
            json(json!({"model": "scripted", "messages": messages, "max_tokens": 10})),
        ),
        (
            "/v1/embeddings",
            json(json!({"model": "scripted", "input": text})),
        ),
        (
            "/v1/images/generations",
            json(json!({"model": "scripted", "prompt": text})),
        ),
        ("/v1/audio/transcriptions", form.into_bytes()),
    ]
}

/// A gateway over one provider at that address, with prices of the tests' own and these keys.
async fn gateway(
    kind: &str,
    model: &str,
    address: std::net::SocketAddr,
    keys: &[String],
    set: impl FnOnce(Config) -> Config,
) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("prices.yaml");
    std::fs::write(&prices, PRICES).unwrap();
    let entry = match kind {
        "ollama" => format!(
            "{{ name: it, kind: ollama, backends: ['http://{address}'], max_concurrent_per_backend: 500 }}"
        ),
        kind => format!(
            "{{ name: it, kind: {kind}, base_url: 'http://{address}/v1', api_key: sim-key, models: [{model}], list_models: false }}"
        ),
    };
    let config = Config::of([entry]).set("routing.models_file", prices.display());
    let config = keys.iter().fold(config, |config, key| config.key(key));
    let gateway = Gateway::over(&set(config), 1).await;
    (folder, gateway)
}

fn alice(rest: &str) -> String {
    format!("{{ name: alice, key: {ALICE}{rest} }}")
}

/// The row of the key, once it has so many requests.
async fn row(gateway: &Gateway, key: &str, requests: u64) -> Value {
    eventually(&format!("{requests} requests of {key}"), || async {
        let page = get(gateway.admin, "/api/usage/keys").await.json();
        let mut rows = page["keys"].as_array().unwrap().iter();
        match rows.find(|row| row["key"] == key && row["requests"] == requests) {
            Some(row) => Ok(row.clone()),
            None => Err(page),
        }
    })
    .await
}

fn number(row: &Value, name: &str) -> u64 {
    row[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name}: {row}"))
}

fn content_type(path: &str) -> (&'static str, &'static str) {
    match path {
        "/v1/audio/transcriptions" => ("content-type", "multipart/form-data; boundary=b"),
        _ => ("content-type", "application/json"),
    }
}

/// Whoever leaves before the first byte of an answer has used its prompt, whatever it asked for, at a server of one's own
/// as at a service; and the limits of its key know of it.
#[tokio::test]
async fn who_leaves_before_the_answer_has_used_the_prompt() {
    for kind in ["ollama", "openai"] {
        let upstream = Upstream::start(|_: &Asked| vec![Step::Hold]).await;
        let key = alice(", tokens_per_day: 100000000, tag: team");
        let (_folder, gateway) =
            gateway(kind, "scripted", upstream.address, &[key], |config| config).await;
        let mut before = 0;
        for (count, (path, body)) in (1..).zip(operations()) {
            let mut client = Connection::open(gateway.address).await;
            let fields = [("x-api-key", ALICE), content_type(path)];
            client.request("POST", path, &fields, &body).await;
            upstream.asked_for(count as usize - 1).await;
            drop(client);
            let row = row(&gateway, "alice", count).await;
            let charged = number(&row, "input_tokens") - before;
            before += charged;
            // Of sound, a token has more bytes.
            let least = if path.contains("audio") {
                3_900
            } else {
                100_000
            };
            assert!(
                (least..least + 1_000).contains(&charged),
                "{kind} {path}: {charged}"
            );
            assert_eq!(number(&row, "estimated"), count, "{kind} {path}: {row}");
            assert_eq!(number(&row, "failed"), count, "{kind} {path}: {row}");
        }
        let page = get(gateway.admin, "/api/usage").await.json();
        for table in ["tags", "providers", "models"] {
            assert_eq!(number(&page[table][0], "input_tokens"), before, "{page}");
        }
        if kind == "openai" {
            let cost = number(&page["tags"][0], "cost_micro_usd");
            assert_eq!(cost, 2 * before, "{page}");
        }
        // The limit knows of the same, and of the requests themselves.
        let count = operations().len();
        let mut client = Connection::open(gateway.address).await;
        let body = chat("scripted", "hi", "");
        let fields = [("x-api-key", ALICE)];
        client
            .request("POST", "/api/chat", &fields, body.as_bytes())
            .await;
        upstream.asked_for(count).await;
        drop(client);
        let row = row(&gateway, "alice", count as u64 + 1).await;
        let limited = alice_left(&gateway).await;
        assert_eq!(
            100_000_000 - limited,
            number(&row, "input_tokens"),
            "{kind}"
        );
    }
}

/// How many tokens are left to Alice, as an answer says that is not one of a model.
async fn alice_left(gateway: &Gateway) -> u64 {
    // Refused for its size: more than the limit of a day.
    let body = chat("scripted", "hi", r#","max_tokens":200000000"#);
    let fields = [("x-api-key", ALICE)];
    let path = "/v1/chat/completions";
    let reply = request(gateway.address, "POST", path, &fields, body.as_bytes()).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    let left = reply.header("x-ratelimit-remaining-tokens");
    left.unwrap_or_else(|| panic!("{:?}", reply.headers))
        .parse()
        .unwrap()
}

/// A request that no provider was sent costs nothing, wherever it waited.
#[tokio::test]
async fn who_leaves_the_queue_has_used_nothing() {
    let upstream = Upstream::start(|_: &Asked| vec![Step::Hold]).await;
    let key = alice(", tokens_per_day: 100000000, budget: { usd: 1, per: day }");
    let (_folder, gateway) = gateway("ollama", "scripted", upstream.address, &[key], |config| {
        config.set("queue.size", 10)
    })
    .await;
    let fields = [("x-api-key", ALICE), ("x-backend", "nobody")];
    let body = chat("scripted", "hi", "");
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat",
        &fields,
        body.as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    // The only slots are taken.
    let held: Vec<_> = (0..500)
        .map(|_| Connection::open(gateway.address))
        .collect();
    let mut held = join_all(held).await;
    for client in &mut held {
        let fields = [("x-api-key", ALICE)];
        client
            .request("POST", "/api/chat", &fields, body.as_bytes())
            .await;
    }
    upstream.asked_for(499).await;
    let before = alice_left(&gateway).await;
    let mut waits = Connection::open(gateway.address).await;
    let fields = [("x-api-key", ALICE)];
    let large = chat("scripted", &"word ".repeat(10_000), "");
    waits
        .request("POST", "/api/chat", &fields, large.as_bytes())
        .await;
    gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
    // What it may take is set aside while it waits.
    assert!(alice_left(&gateway).await + 12_000 < before);
    drop(waits);
    gateway.metric_is("remuda_queue_depth", &[], 0.0).await;
    eventually("it is given back", || async {
        let left = alice_left(&gateway).await;
        if left == before {
            Ok(())
        } else {
            Err((left, before))
        }
    })
    .await;
    drop(held);
    let row = row(&gateway, "alice", 500).await;
    assert!(number(&row, "input_tokens") < 500 * 50, "{row}");
}

/// A whole answer and a stream that break off have used their prompt, however large it is.
#[tokio::test]
async fn what_breaks_off_has_used_the_whole_prompt() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"choices\":[".to_vec();
    let stream = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            as &[u8],
        &chunk(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n"),
    ]
    .concat();
    let upstream = Upstream::start(move |asked: &Asked| {
        let begun = if asked.body.ends_with(b"true}") {
            stream.clone()
        } else {
            whole.clone()
        };
        vec![Step::Send(begun), Step::Close]
    })
    .await;
    let (_folder, gateway) = gateway(
        "openai",
        "scripted",
        upstream.address,
        &[alice("")],
        |config| config.set("routing.max_retries", 0),
    )
    .await;
    // Of 2,000,000 bytes.
    let text = "word ".repeat(400_000);
    for (count, streams) in [(1, true), (2, false)] {
        let body = chat("scripted", &text, &format!(r#","stream":{streams}"#));
        let fields = [("x-api-key", ALICE)];
        let mut client = Connection::open(gateway.address).await;
        client
            .request("POST", "/v1/chat/completions", &fields, body.as_bytes())
            .await;
        while matches!(client.piece().await, Piece::Bytes(_)) {}
        let row = row(&gateway, "alice", count).await;
        let charged = number(&row, "input_tokens");
        assert!(
            charged >= 500_000 * count && charged < 501_000 * count,
            "{streams}: {row}"
        );
    }
}

/// A service that says nothing has the prompt, and the operator may have to pay for it; one that refuses has not.
#[tokio::test]
async fn an_attempt_that_is_given_up_has_used_the_prompt() {
    let upstream = Upstream::start(|asked: &Asked| match asked.number {
        0 => vec![Step::Hold],
        _ => vec![Step::Send(json(
            503,
            r#"{"error":{"message":"overloaded"}}"#,
        ))],
    })
    .await;
    let (_folder, gateway) = gateway(
        "openai",
        "scripted",
        upstream.address,
        &[alice("")],
        |config| {
            config
                .set("timeouts.total", "300ms")
                .set("routing.max_retries", 0)
                .set("routing.fallback", "none")
        },
    )
    .await;
    let body = chat("scripted", &"word ".repeat(10_000), "");
    let fields = [("x-api-key", ALICE)];
    for (count, path) in [(1, "/v1/chat/completions"), (2, "/api/chat")] {
        let reply = request(gateway.address, "POST", path, &fields, body.as_bytes()).await;
        assert!(reply.status >= 500, "{}", reply.text());
        let row = row(&gateway, "alice", count).await;
        assert!(
            (12_500..13_000).contains(&number(&row, "input_tokens")),
            "{row}"
        );
    }
}

/// What Alice's requests have cost, in millionths of a dollar, once nothing is in flight.
async fn cost(gateways: &[&Gateway]) -> u64 {
    let mut sum = 0;
    for gateway in gateways {
        gateway.idle().await;
        let page = get(gateway.admin, "/api/usage/keys").await.json();
        let rows = page["keys"].as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == "alice");
        sum += row.map_or(0, |row| number(row, "cost_micro_usd"));
    }
    sum
}

/// How many of so many requests at once are answered; the others are refused in the format's words.
async fn burst(gateways: &[&Gateway], count: usize, format: Format, more: &Value) -> usize {
    let asked = (0..count).map(|number| async move {
        let body = format.ask("gpt-4.1", "hi", false, more.clone());
        let gateway = gateways[number % gateways.len()];
        let fields = [("x-api-key", ALICE)];
        let reply = request(
            gateway.address,
            "POST",
            format.path(),
            &fields,
            body.as_bytes(),
        )
        .await;
        assert!(matches!(reply.status, 200 | 429), "{}", reply.text());
        if reply.status == 429 {
            let text = format.message(&reply);
            assert!(text.contains("budget"), "{text}");
            // A budget that never begins anew is used up for good; what is only set aside comes back.
            let comes_back = text.contains("set aside");
            assert_eq!(reply.header("retry-after").is_some(), comes_back, "{text}");
        }
        usize::from(reply.status == 200)
    });
    join_all(asked).await.into_iter().sum()
}

/// Two hundred requests at once spend no more than the budget, whether they say how much they want or not.
#[tokio::test]
async fn many_at_once_do_not_overspend_a_budget() {
    let arguments = [
        "--models",
        "gpt-4.1",
        "--dialect",
        "openai",
        "--answer-tokens",
        "300",
    ];
    let slow = ["--decode-speed", "1000"];
    let simulation = Simulation::start(1, &[&arguments[..], &slow].concat());
    for more in [
        json!({}),
        json!({"max_tokens": 400}),
        json!({"n": 1, "max_tokens": 300}),
    ] {
        for format in [Format::Chat, Format::Ollama] {
            // Each costs some 2,400 millionths.
            let key = alice(", budget: { usd: 0.02, per: total }");
            let address = simulation.servers[0];
            let (_folder, gateway) =
                gateway("openai", "gpt-4.1", address, &[key], |config| config).await;
            let answered = burst(&[&gateway], 200, format, &more).await;
            let cost = cost(&[&gateway]).await;
            assert!(answered > 0 && cost > 0, "{format:?} {more}");
            // The last one may be longer than what is left.
            let most = 20_000 + 2_600;
            assert!(
                cost <= most,
                "{format:?} {more}: {cost} in {answered} answers"
            );
        }
    }
}

/// The same at two gateways that count together.
#[tokio::test]
async fn many_at_once_do_not_overspend_a_budget_of_two_gateways() {
    let Some(redis) = Redis::start() else { return };
    let arguments = [
        "--models",
        "gpt-4.1",
        "--dialect",
        "openai",
        "--answer-tokens",
        "300",
    ];
    let slow = ["--decode-speed", "1000"];
    let simulation = Simulation::start(1, &[&arguments[..], &slow].concat());
    let key = alice(", budget: { usd: 0.06, per: total }");
    let set = |config: Config| config.set("shared.url", redis.url());
    let keys = [key];
    let address = simulation.servers[0];
    let (_one, one) = gateway("openai", "gpt-4.1", address, &keys, set).await;
    let (_other, other) = gateway("openai", "gpt-4.1", address, &keys, set).await;
    let pair = [&one, &other];
    // Both know of each other by then.
    for gateway in pair {
        assert_eq!(
            burst(&[gateway], 1, Format::Chat, &json!({"max_tokens": 1})).await,
            1
        );
    }
    let mut answered = 0;
    for _ in 0..4 {
        answered += burst(&pair, 100, Format::Chat, &json!({"max_tokens": 400})).await;
    }
    let cost = cost(&pair).await;
    // The last one may be longer than what is left, as at one alone.
    let most = 60_000 + 2_600;
    assert!(cost <= most, "{cost} in {answered} answers");
    assert!(cost > 30_000, "{cost} in {answered} answers");
}

/// What is left is less than the longest answer, and each of two gateways has a request that is alone there.
#[tokio::test]
async fn of_two_gateways_one_request_at_a_time_uses_the_rest_of_a_budget() {
    let Some(redis) = Redis::start() else { return };
    let arguments = ["--models", "gpt-4.1", "--dialect", "openai"];
    let slow = ["--answer-tokens", "300", "--decode-speed", "300"];
    let simulation = Simulation::start(1, &[&arguments[..], &slow].concat());
    let key = alice(", budget: { usd: 0.001, per: total }");
    let set = |config: Config| config.set("shared.url", redis.url());
    let keys = [key];
    let address = simulation.servers[0];
    let (_one, one) = gateway("openai", "gpt-4.1", address, &keys, set).await;
    let (_other, other) = gateway("openai", "gpt-4.1", address, &keys, set).await;
    let pair = [&one, &other];
    // Both have the server by then.
    for gateway in pair {
        let away = || gateway.metric("remuda_shared_limits_away", &[]);
        eventually("the server is there", || async {
            match away().await {
                0.0 => Ok(()),
                away => Err(away),
            }
        })
        .await;
        assert_eq!(
            burst(&[gateway], 1, Format::Chat, &json!({"max_tokens": 1})).await,
            1
        );
    }
    // Some 2,400 millionths each.
    let answered = burst(&pair, 6, Format::Chat, &json!({"max_tokens": 400})).await;
    assert_eq!(answered, 1);
    let cost = cost(&pair).await;
    assert!(cost > 1_000 && cost <= 1_000 + 2_600, "{cost}");
}

/// A stream that grows beyond what was expected of it counts as it grows.
#[tokio::test]
async fn a_stream_that_is_longer_than_expected_leaves_less_to_others() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
    let sent = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            as &[u8],
        &chunk(event.repeat(5_000).as_bytes()),
    ]
    .concat();
    let upstream =
        Upstream::start(move |_: &Asked| vec![Step::Send(sent.clone()), Step::Hold]).await;
    let key = alice(", tokens_per_day: 1000000, budget: { usd: 0.05, per: total }");
    let (_folder, gateway) = gateway("openai", "scripted", upstream.address, &[key], |config| {
        config
    })
    .await;
    let fields = [("x-api-key", ALICE)];
    let path = "/v1/chat/completions";
    let body = chat("scripted", "hi", r#","stream":true"#);
    let mut client = Connection::open(gateway.address).await;
    client.request("POST", path, &fields, body.as_bytes()).await;
    client.head().await;
    let taken = 1_000_000 - 5_000;
    eventually("the limit knows of the tokens so far", || async {
        let left = alice_left(&gateway).await;
        if left < taken { Ok(()) } else { Err(left) }
    })
    .await;
    // 5,000 tokens at 8 millionths, twice: what is left is not enough for another.
    let reply = request(gateway.address, "POST", path, &fields, body.as_bytes()).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.text().contains("set aside"), "{}", reply.text());
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(client);
}

/// To ask how many tokens a prompt has takes none.
#[tokio::test]
async fn counting_takes_no_tokens() {
    let arguments = ["--models", "claude-opus-5", "--dialect", "anthropic"];
    let simulation = Simulation::start(1, &arguments);
    let entry = format!(
        "{{ name: it, kind: anthropic, base_url: 'http://{}', api_key: sim-key, models: [claude-opus-5] }}",
        simulation.servers[0]
    );
    let key = alice(", tokens_per_day: 1000000");
    let gateway = Gateway::over(&Config::of([entry]).key(key), 1).await;
    let body = chat("claude-opus-5", &"word ".repeat(2_000), "");
    let fields = [("x-api-key", ALICE)];
    let path = "/v1/messages/count_tokens";
    for _ in 0..3 {
        let reply = request(gateway.address, "POST", path, &fields, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    gateway.idle().await;
    let reply = request(gateway.address, "POST", path, &fields, body.as_bytes()).await;
    let left = reply.header("anthropic-ratelimit-tokens-remaining");
    assert_eq!(left, Some("1000000"), "{:?}", reply.headers);
}

/// Titan takes one input a call, and each call counts.
#[tokio::test]
async fn each_call_of_a_provider_counts() {
    let model = "amazon.titan-embed-text-v2:0";
    let simulation = Simulation::start(1, &["--models", model, "--dialect", "bedrock"]);
    let url = format!("http://{}", simulation.servers[0]);
    let entry = json!({"name": "it", "kind": "bedrock", "base_url": url, "control_url": url,
        "region": "us-east-1", "access_key": "AKIDEXAMPLE",
        "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "models": [model]});
    let config = Config::of([entry.to_string()])
        .key(alice(", requests_per_day: 20"))
        .key(format!("{{ name: bob, key: {BOB} }}"));
    let gateway = Gateway::over(&config, 1).await;
    let embed = |key: &'static str, inputs: usize| {
        let body = json!({"model": model, "input": vec!["x"; inputs]}).to_string();
        let address = gateway.address;
        async move {
            let fields = [("x-api-key", key)];
            request(address, "POST", "/v1/embeddings", &fields, body.as_bytes()).await
        }
    };
    let first = embed(ALICE, 8).await;
    assert_eq!(first.status, 200, "{}", first.text());
    // What all of them have used is accounted once, as the one request that it is.
    let used = number(&first.json()["usage"], "prompt_tokens");
    let account = row(&gateway, "alice", 1).await;
    assert!(used >= 8, "{}", first.text());
    let of_account = ["input_tokens", "estimated"].map(|name| number(&account, name));
    assert_eq!(of_account, [used, 0], "{account}");
    let second = embed(ALICE, 8).await;
    assert_eq!(second.status, 200, "{}", second.text());
    // The head tells what was left when the request came.
    let third = embed(ALICE, 8).await;
    assert_eq!(third.status, 429, "{}", third.text());
    assert_eq!(third.json()["error"]["code"], "rate_limit_exceeded");
    let many = embed(ALICE, 30).await;
    assert_eq!(many.status, 429, "{}", many.text());
    assert!(many.text().contains("30 calls"), "{}", many.text());
    assert_eq!(many.header("x-should-retry"), Some("false"));
    assert_eq!(embed(BOB, 30).await.status, 200);
}

/// A request that takes several calls of its provider stops with its client: what was not asked yet is not asked, and the
/// calls so far are paid for.
#[tokio::test]
async fn further_calls_end_with_the_client() {
    let upstream = Upstream::start(|asked: &Asked| match asked.number {
        0 => {
            let vectors = vec![r#"{"values":[0.5,0.5]}"#; 100].join(",");
            vec![Step::Send(json(
                200,
                &format!(r#"{{"embeddings":[{vectors}]}}"#),
            ))]
        }
        _ => vec![Step::Hold],
    })
    .await;
    let model = "gemini-embedding-001";
    let entry = format!(
        "{{ name: it, kind: google, base_url: 'http://{}', api_key: sim-key, models: [{model}], list_models: false }}",
        upstream.address
    );
    let config = Config::of([entry]).key(alice(""));
    let gateway = Gateway::over(&config, 1).await;
    let texts = vec!["word word word word"; 1000];
    let body = json!({"model": model, "input": texts}).to_string();
    let mut client = Connection::open(gateway.address).await;
    let fields = [("x-api-key", ALICE)];
    client
        .request("POST", "/v1/embeddings", &fields, body.as_bytes())
        .await;
    upstream.asked_for(1).await;
    drop(client);
    let row = row(&gateway, "alice", 1).await;
    assert!(number(&row, "input_tokens") >= 4_000, "{row}");
    gateway.idle().await;
    assert_eq!((upstream.asked().len(), upstream.left().len()), (2, 1));
}

/// A provider that takes several calls for a request, which it knows by this model.
fn in_several_calls(upstream: &Upstream, kind: &str) -> (&'static str, String) {
    let url = format!("http://{}", upstream.address);
    match kind {
        "google" => {
            let model = "gemini-embedding-001";
            let entry = json!({"name": "it", "kind": kind, "base_url": url, "api_key": "sim-key",
                "models": [model], "list_models": false});
            (model, entry.to_string())
        }
        _ => {
            let model = "amazon.titan-embed-text-v2:0";
            let entry = json!({"name": "it", "kind": kind, "base_url": url, "region": "us-east-1",
                "access_key": "AKIDEXAMPLE", "secret_key": "secret", "models": [model], "list_models": false});
            (model, entry.to_string())
        }
    }
}

/// A connection of the pool that was closed meanwhile is no call, nor are those that would have followed on it.
#[tokio::test]
async fn calls_are_counted_once_where_a_connection_was_closed() {
    let upstream = Upstream::start(|asked: &Asked| {
        if asked.on_connection > 0 && asked.number < 3 {
            return vec![Step::Reset];
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let inputs = body["requests"].as_array().unwrap().len();
        let vectors = vec![r#"{"values":[0.5,0.5]}"#; inputs].join(",");
        let body = format!(r#"{{"embeddings":[{vectors}]}}"#);
        vec![Step::Send(json(200, &body))]
    })
    .await;
    let (model, entry) = in_several_calls(&upstream, "google");
    let config = Config::of([entry]).key(alice(", requests_per_day: 20"));
    let gateway = Gateway::over(&config, 1).await;
    let mut left = Vec::new();
    for inputs in [1, 250, 1] {
        let body = json!({"model": model, "input": vec!["x"; inputs]}).to_string();
        let fields = [("x-api-key", ALICE)];
        let address = gateway.address;
        let path = "/v1/embeddings";
        let reply = request(address, "POST", path, &fields, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let told = reply.header("x-ratelimit-remaining-requests").unwrap();
        left.push(told.parse::<u32>().unwrap());
        gateway.idle().await;
    }
    let on_connections = upstream.asked();
    let closed = on_connections
        .iter()
        .filter(|asked| asked.on_connection > 0);
    assert!(closed.count() >= 1, "no connection was used again");
    // 1 call, then 3, then 1.
    assert_eq!((left[0], left[2]), (19, 15), "{left:?}");
}

/// Where one of several calls is refused, those before it were made and cost what their provider says.
#[tokio::test]
async fn calls_before_one_that_is_refused_are_charged_once() {
    let upstream = Upstream::start(|asked: &Asked| {
        vec![Step::Send(match asked.number {
            0 | 1 => json(200, r#"{"embedding":[0.5,0.5],"inputTextTokenCount":7}"#),
            _ => json(400, r#"{"message":"the input is none"}"#),
        })]
    })
    .await;
    let (model, entry) = in_several_calls(&upstream, "bedrock");
    let config = Config::of([entry]).key(alice(", tokens_per_day: 1000"));
    let gateway = Gateway::over(&config, 1).await;
    let embed = |input: Value| {
        let body = json!({"model": model, "input": input}).to_string();
        let address = gateway.address;
        async move {
            let fields = [("x-api-key", ALICE)];
            request(address, "POST", "/v1/embeddings", &fields, body.as_bytes()).await
        }
    };
    let reply = embed(json!(["x", "y", "z", "z"])).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(upstream.asked().len(), 3);
    gateway.idle().await;
    let account = row(&gateway, "alice", 1).await;
    let of_account = ["input_tokens", "failed", "estimated"].map(|name| number(&account, name));
    assert_eq!(of_account, [14, 1, 0], "{account}");
    // Refused for its size, it says what is left.
    let reply = embed(json!("word ".repeat(10_000))).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    let left = reply.header("x-ratelimit-remaining-tokens");
    assert_eq!(left, Some("986"), "{:?}", reply.headers);
}
