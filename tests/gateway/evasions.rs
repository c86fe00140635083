//! Ways around what a key may use: bodies, forms and names that the gateway and a provider could read differently.

use serde_json::json;

use super::support::*;

const ALICE: &str = "alice-has-this-key-0";

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"mini","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2},"text":"hi","data":[{"b64_json":"aGk="}]}"#;

const PICTURE: &str = r#"{"created":1,"data":[{"b64_json":"aGk="}]}"#;

/// A service of OpenAI's format with two models, of which the key may use `mini`.
async fn service() -> (Upstream, Gateway) {
    let server = Upstream::start(|asked: &Asked| {
        let pictures = asked.head.contains("/images/");
        vec![Step::Send(json(
            200,
            if pictures { PICTURE } else { ANSWER },
        ))]
    })
    .await;
    let entry = json!({
        "name": "vendor", "kind": "openai_compatible", "base_url": format!("http://{}/v1", server.address),
        "models": ["mini", "big"], "list_models": false, "interval": "200ms",
    });
    let config = Config::of([entry.to_string()])
        .key(format!("{{ name: alice, key: {ALICE}, models: [mini] }}"))
        .set("routing.aliases", "{ small: vendor/mini }");
    let gateway = Gateway::over(&config, 1).await;
    (server, gateway)
}

async fn send(gateway: &Gateway, path: &str, kind: &str, body: &[u8]) -> Reply {
    let fields = [("x-api-key", ALICE), ("content-type", kind)];
    request(gateway.address, "POST", path, &fields, body).await
}

#[tokio::test]
async fn a_body_names_one_model_to_the_key_and_to_the_provider() {
    let (server, gateway) = service().await;
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    for (fields, status) in [
        // Names of fields are the same to Ollama in any case, and to nobody else.
        (r#""model":"big","MODEL":"mini""#, 400),
        (r#""MODEL":"mini","model":"big""#, 400),
        (r#""model":"big","model":"mini""#, 400),
        (r#""model":"big","mode\u006c":"mini""#, 400),
        (r#""model":"mini","stream":true,"Stream":false"#, 400),
        (r#""model":"big""#, 403),
        (r#""model":"mini","model":"mini""#, 200),
    ] {
        let body = format!("{{{fields},{messages}}}");
        let reply = send(
            &gateway,
            "/v1/chat/completions",
            "application/json",
            body.as_bytes(),
        )
        .await;
        assert_eq!(reply.status, status, "{fields}: {}", reply.text());
    }
    assert_eq!(server.asked().len(), 1);
}

/// A form with these parts, each a disposition's parameters and a value.
fn form(boundary: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let mut form = String::new();
    for (parameters, value) in parts {
        form += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; {parameters}\r\n\r\n{value}\r\n"
        );
    }
    form += &format!("--{boundary}--\r\n");
    form.into_bytes()
}

#[tokio::test]
async fn a_form_names_one_model_to_the_key_and_to_the_provider() {
    let (server, gateway) = service().await;
    let path = "/v1/audio/transcriptions";
    let file = (r#"name="file"; filename="a.wav""#, "RIFF");
    let model = |name| (r#"name="model""#, name);
    let kind = "multipart/form-data; boundary=xyz";
    let hidden = [
        form("abc", &[model("mini")]),
        form("xyz", &[model("big"), file]),
    ]
    .concat();
    for (what, body, status) in [
        ("allowed", form("xyz", &[model("mini"), file]), 200),
        ("not allowed", form("xyz", &[file, model("big")]), 403),
        (
            "twice",
            form("xyz", &[model("big"), model("mini"), file]),
            400,
        ),
        (
            "folded",
            form("xyz", &[("\r\n name=\"model\"", "big"), model("mini")]),
            400,
        ),
        (
            "two names",
            form(
                "xyz",
                &[(r#"name="x"; name="model""#, "big"), model("mini")],
            ),
            400,
        ),
        ("another boundary", hidden, 400),
    ] {
        let reply = send(&gateway, path, kind, &body).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("content-type"), Some(kind));
    // An alias is told to the provider by its own name.
    let reply = send(&gateway, path, kind, &form("xyz", &[file, model("small")])).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(server.asked()[1].body, form("xyz", &[file, model("mini")]));
    // So it is with pictures, which come as a form or as JSON.
    let path = "/v1/images/edits";
    let picture = |name| form("xyz", &[file, (r#"name="prompt""#, "more"), model(name)]);
    for (kind, body, status) in [
        (kind, picture("small"), 200),
        (kind, picture("big"), 403),
        ("multipart/form-data; boundary=abc", picture("mini"), 400),
        (
            "application/json",
            br#"{"model":"small","prompt":"x"}"#.to_vec(),
            200,
        ),
    ] {
        let reply = send(&gateway, path, kind, &body).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let asked = server.asked();
    assert_eq!(asked[2].body, picture("mini"));
    assert_eq!(asked[3].body, br#"{"model":"mini","prompt":"x"}"#);
}

#[tokio::test]
async fn what_cannot_be_printed_or_has_no_end_is_no_model() {
    let (server, gateway) = service().await;
    for name in [
        "m".repeat(10_000),
        "a\u{1b}[2J".to_owned(),
        "a\nb".to_owned(),
    ] {
        let name = format!("vendor/{name}");
        for path in [
            "/v1/chat/completions",
            "/api/chat",
            "/v1/messages",
            "/api/show",
        ] {
            let body = json!({"model": name, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
            let body = body.to_string();
            let reply = send(&gateway, path, "application/json", body.as_bytes()).await;
            assert_eq!(reply.status, 400, "{path}: {}", reply.text());
            assert!(reply.text().len() < 1000);
        }
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_key_makes_its_models_of_its_models_alone() {
    let sim = Simulation::start(1, &["--models", "llama3.2,qwen3:8b"]);
    let config = Config::over(&sim.servers)
        .set("server.manage", "true")
        .key(format!(
            "{{ name: alice, key: {ALICE}, models: ['llama*', 'mine*'] }}"
        ));
    let gateway = Gateway::over(&config, 1).await;
    for (path, body, status) in [
        (
            "/api/create",
            r#"{"model":"mine","from":"qwen3:8b","stream":false}"#,
            403,
        ),
        (
            "/api/copy",
            r#"{"source":"qwen3:8b","destination":"mine"}"#,
            403,
        ),
        (
            "/api/create",
            r#"{"model":"mine","from":"llama3.2","stream":false}"#,
            200,
        ),
        (
            "/api/copy",
            r#"{"source":"llama3.2","destination":"mine-too"}"#,
            200,
        ),
    ] {
        let reply = send(&gateway, path, "application/json", body.as_bytes()).await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
    }
}

/// Of Anthropic's Messages: what is told of the usage first, and so many pieces of eight tokens each.
fn pieces(count: usize) -> Vec<u8> {
    let start = r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"mini","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":1}}}"#;
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let piece = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"thirty-two bytes of text, again. "}}"#;
    let last = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"the last"}}"#;
    let mut answer =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    let events = [("message_start", start), ("content_block_start", block)]
        .into_iter()
        .chain(std::iter::repeat_n(("content_block_delta", piece), count))
        .chain([("content_block_delta", last)]);
    for (event, data) in events {
        answer.extend(chunk(
            format!("event: {event}\ndata: {data}\n\n").as_bytes(),
        ));
    }
    answer
}

#[tokio::test]
async fn who_leaves_before_the_end_has_used_what_had_come() {
    const WHOLE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"mini","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#;
    let server = Upstream::start(|asked| match asked.number {
        0 => vec![Step::Send(pieces(100)), Step::Hold],
        _ => vec![Step::Send(json(200, WHOLE))],
    })
    .await;
    let entry = json!({
        "name": "vendor", "kind": "anthropic", "base_url": format!("http://{}", server.address), "api_key": "k",
        "models": ["mini"], "list_models": false, "interval": "200ms",
    });
    let config = Config::of([entry.to_string()]).key(format!(
        "{{ name: alice, key: {ALICE}, tokens_per_minute: 100000 }}"
    ));
    let gateway = Gateway::over(&config, 1).await;
    let ask = |stream| {
        json!({"model": "mini", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
            .to_string()
    };
    let fields = [("x-api-key", ALICE), ("content-type", "application/json")];
    let mut client = Connection::open(gateway.address).await;
    client
        .request("POST", "/v1/messages", &fields, ask(true).as_bytes())
        .await;
    assert_eq!(client.head().await.status, 200);
    client.body_until("the last").await;
    client.reset();
    gateway.idle().await;
    let reply = send(
        &gateway,
        "/v1/messages",
        "application/json",
        ask(false).as_bytes(),
    )
    .await;
    let left = reply
        .header("anthropic-ratelimit-tokens-remaining")
        .unwrap();
    let left: u64 = left.parse().unwrap();
    assert!((98_000..=99_300).contains(&left), "{left}");
}
