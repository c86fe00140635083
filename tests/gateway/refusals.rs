//! What the errors of every kind of provider mean, and how clients of every format are told: by class, in their own
//! form, with the time to wait, and with the words and codes on which their own tools act.

use serde_json::{Value, json};

use crate::across::{KEY, SECRET};
use crate::support::*;

/// Kinds of services.
const SERVICES: [&str; 8] = [
    "openai",
    "openai-compatible",
    "azure",
    "openrouter",
    "perplexity",
    "anthropic",
    "google",
    "bedrock",
];

/// What [`SERVICES`] and an Ollama server say with an error.
fn error_of(kind: &str, status: u16, message: &str) -> String {
    match kind {
        "anthropic" => {
            json!({"type": "error", "error": {"type": "scripted_error", "message": message}})
        }
        "google" => json!({"error": {"code": status, "message": message, "status": ""}}),
        "bedrock" => json!({"message": message}),
        "ollama" => json!({"error": message}),
        _ => {
            // It says nothing that the status does not.
            let vague = match status {
                500.. => "server_error",
                _ => "invalid_request_error",
            };
            json!({"error": {"message": message, "type": vague, "param": null, "code": null}})
        }
    }
    .to_string()
}

/// An entry of `providers` that has one model, whose name is the provider's.
fn entry(name: &str, kind: &str, upstream: &Upstream) -> String {
    let url = format!("http://{}", upstream.address);
    let mut entry =
        json!({"name": name, "kind": kind, "models": [name], "list_models": false, "api_key": KEY});
    entry["base_url"] = match kind {
        "anthropic" | "google" | "bedrock" | "azure" => url.clone().into(),
        _ => format!("{url}/v1").into(),
    };
    let fields = entry.as_object_mut().unwrap();
    match kind {
        "bedrock" => {
            fields.remove("api_key");
            let own = json!({"region": "us-east-1", "control_url": url, "access_key": "AKIDEXAMPLE", "secret_key": SECRET});
            fields.extend(own.as_object().unwrap().clone());
        }
        "azure" => {
            fields.remove("models");
            fields.remove("list_models");
            fields.insert("deployments".into(), json!({name: name}));
        }
        _ => {}
    }
    entry.to_string()
}

/// An answer of an error, with a time to wait.
fn refusal(status: u16, more: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nRetry-After: 7\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The status that a request asks for: the name of its model ends in it.
fn asked_for(asked: &Asked) -> u16 {
    let whole = format!("{}{}", asked.head, String::from_utf8_lossy(&asked.body));
    let (_, rest) = whole.split_once("model-").unwrap();
    rest[..3].parse().unwrap()
}

/// What a status of a provider's comes to for clients of OpenAI and Ollama.
fn comes_to(status: u16) -> u16 {
    match status {
        400 | 405 | 422 => 400,
        // The gateway's credentials and account are none of its clients'.
        401..=403 => 502,
        404 => 404,
        408 | 504 => 504,
        409 | 500 | 502 => 502,
        413 => 413,
        429 => 429,
        503 | 529 => 503,
        other => panic!("{other}"),
    }
}

const STATUSES: [u16; 15] = [
    400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529,
];

/// Whether the client speaks as the provider does, so that what is wrong with a request is told in the provider's words.
fn alike(format: Format, kind: &str) -> bool {
    match format {
        Format::Ollama => kind == "ollama",
        Format::Chat => ["openai", "openai-compatible", "azure", "openrouter"].contains(&kind),
        Format::Responses => ["openai", "azure"].contains(&kind),
        Format::Anthropic => kind == "anthropic",
    }
}

#[tokio::test]
async fn every_status_of_every_kind_has_its_class_for_every_client() {
    for kind in SERVICES {
        let upstream = Upstream::start(move |asked: &Asked| {
            let status = asked_for(asked);
            let more = match (kind, status) {
                ("bedrock", 503) => "x-amzn-errortype: ServiceUnavailableException\r\n",
                _ => "",
            };
            let body = error_of(kind, status, "what was scripted");
            vec![Step::Send(refusal(status, more, &body))]
        })
        .await;
        let entries = STATUSES.map(|status| entry(&format!("model-{status}"), kind, &upstream));
        let config = Config::of(entries)
            .set("routing.breaker", "{ enabled: false }")
            // What is said is looked at here, not whether it is asked for once more.
            .set("routing.max_retries", 0);
        let gateway = Gateway::over(&config, STATUSES.len()).await;
        for status in STATUSES {
            for format in Format::ALL {
                for stream in [false, true] {
                    let model = format!("model-{status}");
                    let body = format.ask(&model, "hi", stream, json!({}));
                    let reply = post(gateway.address, format.path(), &body).await;
                    let what = format!(
                        "{format:?} to {kind} {status}: {} {}",
                        reply.status,
                        reply.text()
                    );
                    let own = alike(format, kind) && matches!(status, 400 | 413 | 422);
                    let expected = match (format, comes_to(status)) {
                        _ if own => status,
                        (Format::Anthropic, 503) => 529,
                        (_, expected) => expected,
                    };
                    assert_eq!(reply.status, expected, "{what}");
                    let message = format.message(&reply);
                    match status {
                        401..=403 => assert!(message.contains("operator"), "{what}"),
                        // Once it is known, it is not asked again until then.
                        429 | 503 | 529 => assert!(!message.is_empty(), "{what}"),
                        _ => assert!(message.contains("what was scripted"), "{what}"),
                    }
                    if format == Format::Anthropic {
                        let kind = reply.json()["error"]["type"].clone();
                        let expected = match expected {
                            400 | 422 => "invalid_request_error",
                            404 => "not_found_error",
                            413 => "request_too_large",
                            429 => "rate_limit_error",
                            504 => "timeout_error",
                            529 => "overloaded_error",
                            _ => "api_error",
                        };
                        assert!(own || kind == expected, "{what}");
                    }
                    let after = reply
                        .header("retry-after")
                        .map(|after| after.parse().unwrap());
                    match status {
                        408 | 409 | 500 | 502 | 504 => assert_eq!(after, Some(7), "{what}"),
                        429 | 503 | 529 => assert!((1..=7).contains(&after.unwrap()), "{what}"),
                        _ if own => {}
                        _ => assert_eq!(after, None, "{what}"),
                    }
                }
            }
        }
        gateway.idle().await;
    }
}

/// A server of the fleet says in the `/v1` formats what it says in its own: errors keep their status and their words.
#[tokio::test]
async fn a_servers_own_status_and_words_reach_clients_of_every_format() {
    let status = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(500));
    let now = status.clone();
    let upstream = Upstream::start(move |_: &Asked| {
        let status = now.load(std::sync::atomic::Ordering::Relaxed);
        let body = error_of(
            "ollama",
            status,
            "it says so itself, at http://10.0.0.7:1/x",
        );
        vec![Step::Send(refusal(status, "", &body))]
    })
    .await;
    let gateway = Gateway::over(&Config::over(&[upstream.address]), 1).await;
    for (sent, expected) in [
        (400, 400),
        (404, 404),
        (413, 413),
        (422, 400),
        (429, 429),
        (500, 500),
        (502, 502),
        (503, 503),
        (504, 504),
    ] {
        status.store(sent, std::sync::atomic::Ordering::Relaxed);
        for format in Format::ALL {
            gateway.healthy(1).await;
            let body = format.ask("scripted", "hi", false, json!({}));
            let reply = post(gateway.address, format.path(), &body).await;
            let what = format!("{format:?} {sent}: {} {}", reply.status, reply.text());
            let expected = match (format, expected) {
                (Format::Ollama, _) => sent,
                (Format::Anthropic, 503) => 529,
                (_, expected) => expected,
            };
            assert_eq!(reply.status, expected, "{what}");
            let message = format.message(&reply);
            assert!(message.starts_with("it says so itself"), "{what}");
            if format != Format::Ollama {
                assert!(!message.contains("10.0.0.7"), "{what}");
            }
            if sent == 429 || sent >= 500 {
                assert_eq!(reply.header("retry-after"), Some("7"), "{what}");
            }
        }
    }
}

/// How kinds say that a prompt of 18,020 tokens is more than 2,048, by answers with that status.
fn overflows(kind: &str) -> Vec<(u16, String)> {
    let said = |status: u16, message: &str| (status, error_of(kind, status, message));
    let runner = json!({"error": {"code": 400, "message": "request (18020 tokens) exceeds the available context size (2048 tokens), try increasing it",
        "type": "exceed_context_size_error", "n_prompt_tokens": 18020, "n_ctx": 2048}});
    match kind {
        "anthropic" => vec![said(400, "prompt is too long: 18020 tokens > 2048 maximum")],
        "google" => vec![said(
            400,
            "The input token count (18020) exceeds the maximum number of tokens allowed (2048).",
        )],
        "bedrock" => vec![said(
            400,
            "The model returned the following errors: prompt is too long: 18020 tokens > 2048 maximum",
        )],
        "ollama" => vec![said(400, &runner.to_string())],
        "openai-compatible" => vec![
            (400, runner.to_string()),
            said(422, "Input validation error: `inputs` must have less than 2048 tokens. Given: 18020"),
            said(400, "The input (18020 tokens) is longer than the model's context length (2048 tokens)."),
            (400, json!({"error": {"message": runner.to_string(), "type": "invalid_request_error"}}).to_string()),
        ],
        "openrouter" => vec![(
            400,
            json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"provider_name": "x",
                "raw": runner.to_string()}}})
            .to_string(),
        )],
        _ => vec![(
            400,
            json!({"error": {"message": "This model's maximum context length is 2048 tokens. However, your messages resulted in 18020 tokens.",
                "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}})
            .to_string(),
        )],
    }
}

fn assert_told(format: Format, kind: &str, reply: &Reply, what: &str) {
    assert_eq!(reply.status, 400, "{what}");
    let message = format.message(reply);
    let error = &reply.json()["error"];
    match format {
        Format::Anthropic => {
            assert_eq!(
                message, "prompt is too long: 18020 tokens > 2048 maximum",
                "{what}"
            );
            assert_eq!(error["type"], "invalid_request_error", "{what}");
        }
        Format::Chat | Format::Responses => {
            assert_eq!(error["code"], "context_length_exceeded", "{what}");
            assert_eq!(error["type"], "invalid_request_error", "{what}");
            assert!(
                message.contains("18020") && message.contains("2048"),
                "{what}"
            );
        }
        Format::Ollama => {
            let inner: Value = serde_json::from_str(&message).unwrap();
            assert_eq!(
                inner["error"]["type"], "exceed_context_size_error",
                "{what}"
            );
            assert_eq!(inner["error"]["n_prompt_tokens"], 18020, "{what}");
            assert_eq!(inner["error"]["n_ctx"], 2048, "{what}");
        }
    }
    assert!(
        kind == "ollama" || reply.header("retry-after").is_none(),
        "{what}"
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_as_each_client_knows_it() {
    for kind in SERVICES.into_iter().chain(["ollama"]) {
        for (status, error) in overflows(kind) {
            let body = error.clone();
            let upstream =
                Upstream::start(move |_: &Asked| vec![Step::Send(json(status, &body))]).await;
            let config = match kind {
                "ollama" => Config::over(&[upstream.address]),
                _ => Config::of([entry("scripted", kind, &upstream)]),
            };
            let gateway = Gateway::over(&config, 1).await;
            for format in Format::ALL {
                for stream in [false, true] {
                    let body = format.ask("scripted", "hi", stream, json!({}));
                    let reply = post(gateway.address, format.path(), &body).await;
                    let what = format!(
                        "{format:?} to {kind}: {error}: {} {}",
                        reply.status,
                        reply.text()
                    );
                    assert_told(format, kind, &reply, &what);
                }
            }
        }
    }
}

/// The same errors as the first thing in a stream, or as a body, under 200.
#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_so_under_200_too() {
    for kind in SERVICES.into_iter().chain(["ollama"]) {
        let (_, error) = overflows(kind).swap_remove(0);
        let upstream = Upstream::start(move |asked: &Asked| {
            let body = String::from_utf8_lossy(&asked.body);
            let streams = body.contains("\"stream\":true") || asked.head.contains("tream");
            vec![Step::Send(match (kind, streams) {
                ("bedrock", true) => in_frames(&error),
                ("ollama", true) => streamed("application/x-ndjson", &format!("{error}\n")),
                ("anthropic", true) => streamed(
                    "text/event-stream",
                    &format!("event: error\ndata: {error}\n\n"),
                ),
                (_, true) => streamed("text/event-stream", &format!("data: {error}\n\n")),
                ("bedrock", false) => json(
                    200,
                    &error.replacen('{', r#"{"__type":"ValidationException","#, 1),
                ),
                (_, false) => json(200, &error),
            })]
        })
        .await;
        let config = match kind {
            "ollama" => Config::over(&[upstream.address]),
            _ => Config::of([entry("scripted", kind, &upstream)]),
        };
        let gateway = Gateway::over(&config, 1).await;
        for format in Format::ALL {
            for stream in [false, true] {
                // What an Ollama server says to its own clients passes.
                if alike(format, kind) && (kind == "ollama" || !stream) {
                    continue;
                }
                let body = format.ask("scripted", "hi", stream, json!({}));
                let reply = post(gateway.address, format.path(), &body).await;
                let what = format!(
                    "{format:?} to {kind} {stream}: {} {}",
                    reply.status,
                    reply.text()
                );
                assert_told(format, kind, &reply, &what);
            }
        }
    }
}

fn streamed(kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A stream of AWS's that is one exception.
fn in_frames(payload: &str) -> Vec<u8> {
    use remuda_formats::wire::eventstream::{Frame, write};
    let frame = Frame::Exception {
        kind: "validationException",
        payload: payload.as_bytes(),
    };
    let mut body = Vec::new();
    write(&frame, &mut body).unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

/// A field that only that provider blames, and its word for it, in either of OpenAI's APIs.
#[tokio::test]
async fn the_field_to_blame_and_the_word_for_it_stay() {
    for (code, param, status) in [
        ("unsupported_parameter", "tools[0].strict", 400),
        ("invalid_value", "messages[0].content", 400),
        ("model_not_found", "model", 404),
        ("content_policy_violation", "prompt", 400),
        ("context_length_exceeded", "messages", 400),
    ] {
        let error = json!({"error": {"message": "so it is", "type": "invalid_request_error", "param": param, "code": code}});
        let error = error.to_string();
        let upstream =
            Upstream::start(move |_: &Asked| vec![Step::Send(json(status, &error))]).await;
        for api in ["chat", "responses"] {
            let mut provider: Value =
                serde_json::from_str(&entry("scripted", "openai-compatible", &upstream)).unwrap();
            provider["chat_api"] = api.into();
            let gateway = Gateway::over(&Config::of([provider.to_string()]), 1).await;
            for format in [Format::Chat, Format::Responses] {
                for stream in [false, true] {
                    let body = format.ask("scripted", "hi", stream, json!({}));
                    let reply = post(gateway.address, format.path(), &body).await;
                    let what = format!("{format:?} over {api}: {}", reply.text());
                    assert_eq!(reply.status, status, "{what}");
                    assert!(format.message(&reply).contains("so it is"), "{what}");
                    assert_eq!(reply.json()["error"]["param"], param, "{what}");
                    assert_eq!(reply.json()["error"]["code"], code, "{what}");
                }
            }
        }
    }
}

/// What servers say that answer in a form which is not that of the API.
const FORMLESS: [(&str, &str); 8] = [
    (r#"{"detail":"no such field"}"#, "no such field"),
    (
        r#"{"detail":[{"type":"extra_forbidden","loc":["body","messages"],"msg":"no such field"}]}"#,
        "no such field",
    ),
    (
        r#"{"object":"error","message":"no such field","type":"BadRequestError","param":"messages","code":400}"#,
        "no such field",
    ),
    (r#"{"error":["no such field"]}"#, "no such field"),
    (r#"{"message":"no such field"}"#, "no such field"),
    (
        r#"{"error":{"message":"no such field","ty"#,
        "no such field",
    ),
    ("no such field\n", "no such field"),
    ("<html>secret</html>", "status"),
];

/// A client's library reads its own API's errors, whatever server is behind the gateway.
#[tokio::test]
async fn an_error_that_is_in_no_form_is_put_into_the_clients() {
    for (kind, formats) in [
        ("openai-compatible", vec![Format::Chat]),
        ("openai", vec![Format::Chat, Format::Responses]),
        ("anthropic", vec![Format::Anthropic]),
        ("ollama", vec![Format::Ollama]),
    ] {
        for status in [400, 404, 413, 422, 500] {
            // What concerns a server alone is told by what can be done about it.
            if kind != "ollama" && matches!(status, 404 | 500) {
                continue;
            }
            for (said, expected) in FORMLESS {
                let upstream = Upstream::start(move |_: &Asked| {
                    vec![Step::Send(refusal(status, "x-own: y\r\n", said))]
                })
                .await;
                let config = match kind {
                    "ollama" => Config::over(&[upstream.address]),
                    _ => Config::of([entry("scripted", kind, &upstream)]),
                };
                let gateway = Gateway::over(&config, 1).await;
                for format in &formats {
                    for stream in [false, true] {
                        gateway.healthy(1).await;
                        let body = format.ask("scripted", "hi", stream, json!({}));
                        let reply = post(gateway.address, format.path(), &body).await;
                        let what = format!(
                            "{format:?} {kind} {status} {said}: {} {}",
                            reply.status,
                            reply.text()
                        );
                        assert_eq!(reply.status, status, "{what}");
                        assert_eq!(reply.header("retry-after"), Some("7"), "{what}");
                        let json = Some("application/json; charset=utf-8");
                        assert_eq!(reply.header("content-type"), json, "{what}");
                        let message = format.message(&reply);
                        assert!(message.contains(expected), "{what}");
                        assert!(!message.contains("secret") && message.len() < 100, "{what}");
                        let error = &reply.json()["error"];
                        match format {
                            Format::Ollama => assert!(error.is_string(), "{what}"),
                            Format::Anthropic => {
                                assert_eq!(reply.json()["type"], "error", "{what}");
                                assert!(error["type"].is_string(), "{what}");
                            }
                            Format::Chat | Format::Responses => {
                                let named = said.contains("loc") || said.contains("param");
                                let param = named.then_some("messages");
                                assert_eq!(error["param"].as_str(), param, "{what}");
                                assert!(error["type"].is_string(), "{what}");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One that is in its form has every byte that its server wrote.
#[tokio::test]
async fn an_error_that_is_in_its_form_is_not_touched() {
    for (kind, format, error) in [
        (
            "openai",
            Format::Chat,
            r#"{ "error": {"code": 400, "message": "no", "more": [1]} }"#,
        ),
        (
            "anthropic",
            Format::Anthropic,
            r#"{ "type":"error", "request_id":"r", "error":{"type":"t","message":"no"} }"#,
        ),
        ("ollama", Format::Ollama, r#"{ "error": "no", "more": 1 }"#),
    ] {
        let upstream =
            Upstream::start(move |_: &Asked| vec![Step::Send(refusal(400, "", error))]).await;
        let config = match kind {
            "ollama" => Config::over(&[upstream.address]),
            _ => Config::of([entry("scripted", kind, &upstream)]),
        };
        let gateway = Gateway::over(&config, 1).await;
        let body = format.ask("scripted", "hi", false, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!((reply.status, reply.text()), (400, error), "{kind}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

/// A client that has been kept waiting has a stream already; its error is the same, and not less.
#[tokio::test]
async fn what_a_waiting_client_is_told_has_its_code_too() {
    let error = json!({"error": {"message": "This model's maximum context length is 2048 tokens. However, your messages resulted in 18020 tokens.",
        "type": "invalid_request_error", "param": "messages", "code": null}})
    .to_string();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let opened = gate.clone();
    let upstream = Upstream::start(move |_: &Asked| {
        vec![Step::Until(opened.clone()), Step::Send(json(400, &error))]
    })
    .await;
    let config = Config::of([entry("scripted", "openai-compatible", &upstream)])
        .set("timeouts.keep_alive", "20ms");
    let gateway = Gateway::over(&config, 1).await;
    for format in Format::ALL {
        let body = format.ask("scripted", "hi", true, json!({}));
        let mut connection = Connection::open(gateway.address).await;
        connection
            .request("POST", format.path(), &[], body.as_bytes())
            .await;
        assert_eq!(connection.head().await.status, 200);
        gate.add_permits(1);
        let (body, ending) = connection.rest().await;
        assert_eq!(ending, Ending::Whole);
        let text = String::from_utf8(body).unwrap();
        let said = format.read(text.as_bytes());
        assert_eq!(said.errors.len(), 1, "{text}");
        let known = match format {
            Format::Ollama => "exceed_context_size_error",
            Format::Anthropic => "prompt is too long: 18020 tokens > 2048 maximum",
            Format::Chat | Format::Responses => r#""code":"context_length_exceeded""#,
        };
        let told = format!("{} {text}", said.errors[0]);
        assert!(told.contains(known), "{text}");
        if matches!(format, Format::Chat | Format::Responses) {
            assert!(text.contains(r#""param":"messages""#), "{text}");
        }
    }
}

/// Many serve messages in Anthropic's format and have no counter beside it.
#[tokio::test]
async fn where_nobody_counts_tokens_there_is_an_estimate() {
    for (status, answer) in [
        (404, r#"{"detail":"Not Found"}"#),
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"Not found"}}"#,
        ),
        (404, "404 page not found"),
        (405, r#"{"detail":"Method Not Allowed"}"#),
        (501, ""),
    ] {
        let upstream =
            Upstream::start(move |_: &Asked| vec![Step::Send(json(status, answer))]).await;
        let gateway =
            Gateway::over(&Config::of([entry("scripted", "anthropic", &upstream)]), 1).await;
        let body = json!({"model": "scripted", "messages": [{"role": "user", "content": "Good morning, all of you."}]});
        let body = body.to_string();
        for _ in 0..2 {
            let reply = post(gateway.address, "/v1/messages/count_tokens", &body).await;
            assert_eq!(reply.status, 200, "{status} {answer}: {}", reply.text());
            let estimate = body.len().div_ceil(4);
            assert_eq!(
                reply.json(),
                json!({"input_tokens": estimate}),
                "{status} {answer}"
            );
        }
        gateway.idle().await;
    }
    // Another error is told.
    let error = error_of("anthropic", 401, "no");
    let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(401, &error))]).await;
    let gateway = Gateway::over(&Config::of([entry("scripted", "anthropic", &upstream)]), 1).await;
    let body = json!({"model": "scripted", "messages": [{"role": "user", "content": "hi"}]});
    let reply = post(
        gateway.address,
        "/v1/messages/count_tokens",
        &body.to_string(),
    )
    .await;
    assert_eq!(reply.status, 502, "{}", reply.text());
}
