//! Nothing that is secret is written to the log, however much is logged.

use serde_json::json;

use super::support::*;

const CLIENT: &str = "client-key-kqxv7301";
const WRONG: &str = "wrong-key-kqxv7302";
const OPERATOR: &str = "operator-key-kqxv7303";
const PROMPT: &str = "prompt-kqxv7304";
const SAID: &str = "answer-kqxv7305";

#[tokio::test]
async fn the_most_talkative_log_shows_no_credential_and_no_prompt() {
    let answer = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "mini",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": SAID }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })
    .to_string();
    let server = Upstream::start(move |asked: &Asked| {
        let refuses = format!(r#"{{"error":{{"message":"bad key {OPERATOR}"}}}}"#);
        let event = format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{SAID}\"}}}}]}}\n\n"
        );
        match asked.number % 4 {
            0 => vec![Step::Send(json(200, &answer))],
            1 => vec![Step::Send(json(401, &refuses))],
            2 => vec![Step::Send(format!("garbage {SAID}\r\n\r\n").into_bytes()), Step::Close],
            _ => vec![
                Step::Send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
                Step::Send(chunk(event.as_bytes())),
                Step::Reset,
            ],
        }
    })
    .await;
    let secure = Secure::start(Certificate::Localhost).await;
    let entry = |name: &str, url: String| {
        json!({
            "name": name, "kind": "openai_compatible", "base_url": url, "api_key": OPERATOR,
            "models": ["mini", "scripted"], "list_models": false, "interval": "200ms",
        })
        .to_string()
    };
    let port = secure.port;
    let config = Config::of([
        entry("plain", format!("http://{}/v1", server.address)),
        entry("sealed", format!("https://localhost:{port}/v1")),
        // One that misses its probes, which is logged at this level alone. At this interval its regular probe comes before
        // any other is due.
        r#"{ name: away, kind: ollama, backends: ["http://127.0.0.1:9"], interval: 1s }"#
            .to_owned(),
    ])
    .key(format!("{{ name: alice, key: {CLIENT} }}"))
    .set("monitoring.log_level", "trace")
    .environment("RUST_LOG", "trace")
    .environment(
        "SSL_CERT_FILE",
        Certificate::Localhost.authority().to_str().unwrap(),
    );
    let gateway = Gateway::start(&config);
    for model in ["plain/mini", "sealed/scripted"] {
        for format in Format::ALL {
            for stream in [false, true] {
                let body = format.ask(model, PROMPT, stream, json!({}));
                let bearer = format!("Bearer {CLIENT}");
                for (name, value) in [
                    ("authorization", &*bearer),
                    ("x-api-key", CLIENT),
                    ("x-api-key", WRONG),
                    ("api-key", WRONG),
                ] {
                    let mut client = Connection::open(gateway.address).await;
                    let fields = [(name, value)];
                    client
                        .request("POST", format.path(), &fields, body.as_bytes())
                        .await;
                    let _ = client.try_head().await;
                }
            }
        }
    }
    // Heads and bodies that are broken, with secrets in every place.
    for bytes in [
        format!(
            "GET /api/tags HTTP/1.1\r\nHost: x\r\nx-api-key: {CLIENT}\r\nno colon {CLIENT}\r\n\r\n"
        ),
        format!(
            "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CLIENT}\r\nContent-Length: x\r\n\r\n{PROMPT}"
        ),
        format!(
            "POST /api/chat HTTP/1.1\r\nHost: x\r\nx-api-key: {CLIENT}\r\nTransfer-Encoding: chunked\r\n\r\nzz {PROMPT}\r\n"
        ),
        format!(
            "POST /api/chat HTTP/1.1\r\nHost: x\r\nx-api-key: {CLIENT}\r\nContent-Length: 900\r\n\r\n{{\"model\":\"mini\",{PROMPT}"
        ),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{CLIENT}{PROMPT}"),
        format!("{PROMPT} {CLIENT}\r\n\r\n"),
    ] {
        let mut client = Connection::open(gateway.address).await;
        client.send(bytes.as_bytes()).await;
        client.finish().await;
        let _ = client.try_head().await;
    }
    gateway.idle().await;
    gateway.process.wait_for("a missed probe", |line| {
        line.contains("missed a probe").then_some(())
    });
    let lines = gateway.process.output();
    assert!(
        lines.iter().any(|line| line.contains(" access ")),
        "{lines:?}"
    );
    for secret in [CLIENT, WRONG, OPERATOR, PROMPT, SAID] {
        let shown: Vec<_> = lines.iter().filter(|line| line.contains(secret)).collect();
        assert!(shown.is_empty(), "{secret}: {shown:?}");
    }
}
