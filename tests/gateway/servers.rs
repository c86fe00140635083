//! What servers make of the formats that they speak, where their answers are translated: streams without their formal end,
//! with events that cannot be read, with failures under a 200, and bodies that are no answer.

use serde_json::json;

use crate::across::KEY;
use crate::support::*;

/// A kind of provider, and the clients whose formats are not its own.
const WAYS: [(&str, [Format; 2]); 2] = [
    ("openrouter", [Format::Ollama, Format::Anthropic]),
    ("anthropic", [Format::Ollama, Format::Chat]),
];

/// A scripted service that lists no models.
fn service(name: &str, kind: &str, upstream: &Upstream) -> String {
    let base = match kind {
        "anthropic" => format!("http://{}", upstream.address),
        _ => format!("http://{}/v1", upstream.address),
    };
    json!({"name": name, "kind": kind, "base_url": base, "api_key": KEY,
        "models": ["scripted"], "list_models": false})
    .to_string()
}

/// A server that answers with the next of these bodies each time, and closes.
async fn server(content_type: &'static str, bodies: Vec<String>) -> Upstream {
    Upstream::start(move |asked: &Asked| {
        let body = &bodies[asked.number % bodies.len()];
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        vec![Step::Send([head.as_bytes(), body.as_bytes()].concat())]
    })
    .await
}

/// A stream of events, given by their data or as they are.
fn events(all: &[&str]) -> String {
    let written = |event: &&str| {
        if event.starts_with("event:") {
            format!("{event}\n\n")
        } else {
            format!("data:{event}\n\n")
        }
    };
    all.iter().map(written).collect()
}

const HI: &str =
    r#"{ "id" : "c", "choices" : [ { "index" : 0, "delta" : { "content" : "hi" } } ] }"#;
const STOP: &str = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const BEGUN: &str =
    r#"{"message":{"id":"m","content":[],"usage":{"input_tokens":1}},"type":"message_start"}"#;
const SAID: &str = r#"{ "type" : "content_block_delta", "index" : 0, "delta" : { "text" : "hi", "type" : "text_delta" } }"#;
const STOPPED: &str =
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#;
const OVER: &str = r#"{"type":"message_stop"}"#;

/// Streams that say `hi` twice and end well, of each kind.
fn whole_streams(kind: &str) -> Vec<Vec<&'static str>> {
    match kind {
        "anthropic" => vec![
            vec![BEGUN, SAID, SAID, STOPPED, OVER],
            vec![BEGUN, SAID, "{\"type\":", SAID, STOPPED, OVER],
            vec![BEGUN, SAID, "nonsense", "[]", SAID, STOPPED, OVER],
            vec![BEGUN, SAID, STOPPED, SAID, STOPPED, OVER],
            vec![BEGUN, SAID, r#"{"type":"novel"}"#, SAID, OVER],
        ],
        _ => vec![
            vec![HI, HI, STOP, "[DONE]"],
            vec![HI, HI, STOP],
            vec![HI, "{\"choices\":", HI, STOP],
            vec![HI, "nonsense", "[]", HI, STOP, "[DONE]"],
            vec![HI, STOP, HI, STOP],
            vec![HI, STOP, HI, "[DONE]"],
        ],
    }
}

#[tokio::test]
async fn a_stream_is_whole_that_says_all_however_it_says_it() {
    for (kind, clients) in WAYS {
        let streams = whole_streams(kind);
        let bodies = streams.iter().map(|data| events(data)).collect();
        let upstream = server("text/event-stream", bodies).await;
        let config = Config::of([service("scripted", kind, &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        for client in clients {
            for _ in &streams {
                let ask = client.ask("scripted", "q", true, json!({}));
                let reply = post(gateway.address, client.path(), &ask).await;
                let what = format!("{kind} {client:?}: {}", reply.text());
                assert_eq!(reply.status, 200, "{what}");
                let said = client.read(&reply.body);
                assert_eq!(said.words, "hihi", "{what}");
                assert!(said.success && said.errors.is_empty(), "{what}");
            }
        }
    }
}

/// Streams that fail before they have said anything, in words that differ.
fn failing_streams(kind: &str) -> Vec<Vec<&'static str>> {
    match kind {
        "anthropic" => vec![
            vec![
                BEGUN,
                r#"{"error":{"message":"no","type":"api_error"},"type":"error"}"#,
            ],
            vec![BEGUN, r#"{ "error" : "no" }"#],
            vec![BEGUN, "event:error\ndata:no"],
            vec![BEGUN, "{\"type\":"],
            vec![BEGUN],
            vec!["<html>"],
        ],
        _ => vec![
            vec![r#"{"id":"c","choices":[],"error":{"message":"no","code":500}}"#],
            vec![
                r#"{"choices":[{"delta":{"role":"assistant","content": ""}}]}"#,
                r#"{ "object" : "error", "message" : "no" }"#,
            ],
            vec![
                r#"{"choices":[{"delta":{"role":"assistant"}}]}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
            ],
            vec!["event:error\ndata:no"],
            vec![r#"{"detail":"no"}"#],
            vec!["{\"choices\":"],
            vec!["[DONE]"],
            vec!["<html>"],
        ],
    }
}

/// Bodies under a 200 that are no whole answer.
const NO_ANSWERS: [&str; 8] = [
    r#"{"ok":true}"#,
    "{}",
    "[]",
    "<html></html>",
    r#"{"choices":[],"content":null}"#,
    r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"hi"#,
    r#"{"detail":"no"}"#,
    "data: {\"choices\":[]}\n\n",
];

fn well(kind: &str) -> (String, String) {
    let data: &[&str] = match kind {
        "anthropic" => &[BEGUN, SAID, SAID, STOPPED, OVER],
        _ => &[HI, HI, STOP, "[DONE]"],
    };
    let body = match kind {
        "anthropic" => {
            json!({"type": "message", "content": [{"type": "text", "text": "hihi"}], "stop_reason": "end_turn"})
        }
        _ => json!({"choices": [{"message": {"content": "hihi"}, "finish_reason": "stop"}]}),
    };
    (events(data), body.to_string())
}

#[tokio::test]
async fn an_answer_that_is_none_is_given_by_the_next_candidate() {
    for (kind, clients) in WAYS {
        let (stream, body) = well(kind);
        for streams in [true, false] {
            let (content_type, bad, good) = if streams {
                let failing = failing_streams(kind);
                let bodies: Vec<_> = failing.iter().map(|data| events(data)).collect();
                ("text/event-stream", bodies, stream.clone())
            } else {
                let bodies = NO_ANSWERS.map(str::to_owned).to_vec();
                ("application/json", bodies, body.clone())
            };
            let count = bad.len();
            let first = server(content_type, bad).await;
            let second = server(content_type, vec![good]).await;
            let config = Config::of([
                service("first", kind, &first),
                service("second", kind, &second),
            ])
            .set("routing.strategy", "failover")
            .set("routing.breaker", "{ enabled: false }")
            .set("routing.retry", "{ budget_floor: 1000 }");
            let gateway = Gateway::over(&config, 2).await;
            for client in clients {
                for _ in 0..count {
                    let ask = client.ask("scripted", "q", streams, json!({}));
                    let reply = post(gateway.address, client.path(), &ask).await;
                    let what = format!("{kind} {client:?} {streams}: {}", reply.text());
                    assert_eq!(reply.status, 200, "{what}");
                    let text = if streams {
                        client.read(&reply.body).words
                    } else {
                        client.text(&reply)
                    };
                    assert_eq!(text, "hihi", "{what}");
                }
            }
        }
    }
}
