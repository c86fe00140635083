//! Bodies that are whole, empty, packed, or left open, and errors in place of answers: told alike whether they pass or are
//! translated.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::reading::*;
use crate::support::*;

const JSON: &str = "application/json";

/// Across to a provider of each kind, for clients of other formats.
const ANTHROPIC_ACROSS: Case = Case {
    path: "/v1/chat/completions",
    format: Format::Chat,
    ..MESSAGES
};

/// A gateway over one provider that is not asked again.
async fn over(case: &Case, server: &Upstream) -> Gateway {
    let config = Config::of([case.entry("one", server)])
        .set("routing.breaker", "{ enabled: false }")
        .set("routing.max_retries", 0)
        .set("timeouts.between_chunks", "400ms");
    Gateway::over(&config, 1).await
}

#[tokio::test]
async fn a_whole_body_is_over_with_its_value_though_its_framing_stays_open() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let server = Upstream::start(move |asked| {
            let body = open(JSON, case.whole);
            match number(asked) {
                0 => vec![Step::Send(body), Step::Hold],
                _ => vec![Step::Trickle(body), Step::Hold],
            }
        })
        .await;
        let gateway = over(&case, &server).await;
        for number in 0..2 {
            let reply = ask(&gateway, &case, number, false).await;
            let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
            assert!(reply.text().contains("\"Hi\""), "{what}");
            if case.passes() {
                assert_eq!(reply.text(), case.whole);
            }
            gateway.idle().await;
        }
        ended(&gateway, "ok", 2.0).await;
        // Neither connection is used again.
        assert!(server.asked().iter().all(|asked| asked.on_connection == 0));
    }
}

/// What a refusal says is told though its body stays open.
#[tokio::test]
async fn an_error_answer_is_told_though_its_framing_stays_open() {
    for case in [CHAT, MESSAGES, OLLAMA_CHAT, ACROSS[0], ACROSS[1]] {
        let script = move |_: usize| {
            let body = if case.is_fleet() {
                json!({"error": "the words of it"})
            } else {
                json!({"type": "error", "error":
                    {"type": "invalid_request_error", "message": "the words of it", "param": null, "code": null}})
            };
            let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            let body = chunk(body.to_string().as_bytes());
            vec![Step::Send([head.as_bytes(), &body].concat()), Step::Hold]
        };
        let (_server, gateway) = alone(case, script).await;
        let reply = ask(&gateway, &case, 0, false).await;
        let message = case.format.message(&reply);
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(message.contains("the words of it"), "{message}");
    }
}

/// A stream that is gathered falls silent no longer than one that the client gets.
#[tokio::test]
async fn a_gathered_stream_that_falls_silent_ends_as_a_passing_one() {
    let case = ANTHROPIC_ACROSS;
    let script = |number: usize| {
        let text = [MESSAGES.opening, MESSAGES.content, MESSAGES.ending].concat();
        let text = match number {
            0 => text,
            _ => text + MESSAGES.terminator.trim_end(),
        };
        vec![Step::Send(open("text/event-stream", &text)), Step::Hold]
    };
    let server = Upstream::start(move |asked| script(number(asked))).await;
    let gateway = over(&case, &server).await;
    let began = std::time::Instant::now();
    let silent = ask(&gateway, &case, 0, false).await;
    assert!(matches!(silent.status, 502 | 504), "{}", silent.text());
    assert!(began.elapsed() < Duration::from_secs(20));
    let whole = ask(&gateway, &case, 1, false).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert!(whole.text().contains("\"Hi\""), "{}", whole.text());
    ended(&gateway, "timeout", 1.0).await;
    ended(&gateway, "ok", 1.0).await;
}

/// An error in place of a stream's first content, and what it is told as to a client of each way.
#[tokio::test]
async fn an_error_in_place_of_an_answer_is_told_alike_both_ways() {
    let chat_to_messages = Case {
        path: "/v1/messages",
        format: Format::Anthropic,
        ..CHAT
    };
    let ollama_errors: [(&str, u16); 3] = [
        ("{\"error\":\"the runner has died\"}\n", 500),
        ("{\"error\":\"server busy, please try again\"}\n", 503),
        ("{\"error\":\"model 'x' not found\"}\n", 404),
    ];
    let chat_errors: [(&str, u16); 4] = [
        (
            "data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\",\"code\":500}}\n\n",
            502,
        ),
        (
            "data: {\"error\":{\"message\":\"full\",\"code\":503}}\n\n",
            503,
        ),
        (
            "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n",
            429,
        ),
        (
            "data: {\"error\":{\"message\":\"too slow\",\"code\":504}}\n\n",
            504,
        ),
    ];
    for (cases, errors) in [
        ([OLLAMA_CHAT, ACROSS[0]], &ollama_errors[..]),
        ([CHAT, chat_to_messages], &chat_errors[..]),
    ] {
        for case in cases {
            for (number, (error, status)) in errors.iter().enumerate() {
                let error = *error;
                let script = move |_: usize| vec![Step::Send(events(&case, error))];
                let (_server, gateway) = alone(case, script).await;
                let reply = ask(&gateway, &case, number, true).await;
                let expected = match (case.format, status) {
                    (Format::Anthropic, 503) => 529,
                    (_, status) => *status,
                };
                let what = format!("{} at {}: {error} {}", case.path, case.kind, reply.text());
                assert_eq!(reply.status, expected, "{what}");
                case.format.message(&reply);
                ended(&gateway, "error_line", 1.0).await;
            }
        }
    }
}

/// Each has the names of an answer.
#[tokio::test]
async fn empty_answers_are_another_ones_turn() {
    const EMPTY: &[(Case, &[&str])] = &[
        (
            CHAT,
            &[
                r#"{"choices":[]}"#,
                r#"{"choices":[],"usage":{"prompt_tokens":3}}"#,
                r#"{"choices":[1]}"#,
                r#"{"choices":[{}]}"#,
            ],
        ),
        (COMPLETIONS, &[r#"{"choices":[]}"#, r#"{"choices":[{}]}"#]),
        (
            RESPONSES,
            &[
                r#"{"status":"completed","output":[1]}"#,
                r#"{"status":"completed","output":[{"type":"message","content":null}]}"#,
            ],
        ),
        (
            MESSAGES,
            &[
                r#"{"type":"message","content":[1],"stop_reason":"end_turn"}"#,
                r#"{"type":"message","content":[{}],"stop_reason":"end_turn"}"#,
            ],
        ),
        (
            ANTHROPIC_ACROSS,
            &[
                r#"{"type":"message","content":[1],"stop_reason":"end_turn"}"#,
                r#"{"type":"message","content":[{"type":"text"}],"stop_reason":"end_turn"}"#,
            ],
        ),
        (ACROSS[1], &[r#"{"choices":[]}"#, r#"{"choices":[1]}"#]),
        (OLLAMA_CHAT, &[r#"{"response":"Hi","done":true}"#]),
        (GENERATE, &[r#"{"message":{"content":"Hi"},"done":true}"#]),
        (OLLAMA_CHAT, &[r#"{"model":"scripted","done":true}"#]),
    ];
    for (case, bodies) in EMPTY {
        let (case, bodies) = (*case, *bodies);
        let bad = move |number: usize| vec![Step::Send(json(200, bodies[number]))];
        let (_servers, gateway) = pair(case, false, bad).await;
        for (number, body) in bodies.iter().enumerate() {
            gateway.healthy(2).await;
            let reply = ask(&gateway, &case, number, false).await;
            let what = format!("{} {body}: {}", case.path, reply.text());
            assert_eq!(reply.status, 200, "{what}");
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
            assert!(reply.text().contains("\"Hi\""), "{what}");
        }
        let (_server, gateway) = alone(case, bad).await;
        for (number, body) in bodies.iter().enumerate() {
            gateway.healthy(1).await;
            let reply = ask(&gateway, &case, number, false).await;
            assert_eq!(reply.status, 502, "{} {body}: {}", case.path, reply.text());
            case.format.message(&reply);
        }
        ended(&gateway, "ok", 0.0).await;
    }
}

/// Streams of another operation than was asked for, and an end without an answer.
#[tokio::test]
async fn lines_of_another_operation_are_another_ones_turn() {
    for (case, bad) in [
        (OLLAMA_CHAT, GENERATE.stream()),
        (GENERATE, OLLAMA_CHAT.stream()),
        (CHAT, COMPLETIONS.stream()),
        (COMPLETIONS, CHAT.stream()),
        (
            OLLAMA_CHAT,
            "{\"done\":false}\n{\"done\":true}\n".to_owned(),
        ),
        (GENERATE, "{\"done\":false}\n{\"done\":true}\n".to_owned()),
    ] {
        let script = move |_: usize| vec![Step::Send(events(&case, &bad))];
        let (_servers, gateway) = pair(case, true, script).await;
        let reply = ask(&gateway, &case, 0, true).await;
        assert_eq!(reply.text(), case.stream(), "{}", case.path);
        assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
    }
}

#[tokio::test]
async fn a_byte_order_mark_takes_nothing_of_an_answer_with_it() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let script = move |number: usize| {
            vec![Step::Send(match number {
                0 => events(&case, &format!("\u{feff}{}", case.stream())),
                _ => chunked(JSON, &format!("\u{feff}{}", case.whole)),
            })]
        };
        let (_server, gateway) = alone(case, script).await;
        for (number, sent) in [case.stream(), case.whole.to_owned()].iter().enumerate() {
            let reply = ask(&gateway, &case, number, number == 0).await;
            let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
            assert!(reply.text().contains("Hi") && !reply.text().contains('\u{feff}'));
            if case.passes() {
                assert_eq!(reply.text(), sent, "{what}");
            }
        }
        ended(&gateway, "ok", 2.0).await;
    }
}

fn packed(coding: &str, text: &str) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(text.as_bytes(), 3).unwrap(),
        _ => text.as_bytes().to_vec(),
    }
}

/// Nobody asks for it, but servers and what stands before them compress all the same.
#[tokio::test]
async fn answers_that_come_packed_are_unpacked() {
    for case in [CHAT, MESSAGES, OLLAMA_CHAT, ACROSS[0], ACROSS[1]] {
        for coding in ["gzip", "deflate", "zstd"] {
            let script = move |asked: &Asked| {
                let (kind, text) = match number(asked) {
                    0 => (JSON, case.whole.to_owned()),
                    _ => (stream_type(&case), case.stream()),
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                let packed = packed(coding, &text);
                let (one, two) = packed.split_at(packed.len() / 2);
                vec![
                    Step::Send([head.as_bytes(), &chunk(one)].concat()),
                    Step::Send([chunk(two), b"0\r\n\r\n".to_vec()].concat()),
                ]
            };
            let server = Upstream::start(script).await;
            let gateway = over(&case, &server).await;
            for (number, sent) in [case.whole.to_owned(), case.stream()].iter().enumerate() {
                let reply = ask(&gateway, &case, number, number == 1).await;
                let what = format!("{} {coding}: {}", case.path, reply.text());
                assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
                assert_eq!(reply.header("content-encoding"), None, "{what}");
                assert!(reply.text().contains("Hi"), "{what}");
                if case.passes() {
                    assert_eq!(reply.text(), sent, "{what}");
                }
            }
            for asked in server.asked() {
                let head = asked.head.to_ascii_lowercase();
                assert!(head.contains("accept-encoding: identity"), "{head}");
            }
            ended(&gateway, "ok", 2.0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_unpacked_says_so() {
    for case in [CHAT, OLLAMA_CHAT, ACROSS[1]] {
        let script = move |_: usize| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: {}\r\n\r\n",
                case.whole.len()
            );
            vec![Step::Send(
                [head.as_bytes(), case.whole.as_bytes()].concat(),
            )]
        };
        let (_server, gateway) = alone(case, script).await;
        let reply = ask(&gateway, &case, 0, false).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
        let message = case.format.message(&reply);
        assert!(message.contains("Content-Encoding"), "{message}");
    }
}

/// One vector for each input, in bytes that pass, in those that are encoded here, and in a translation.
#[tokio::test]
async fn an_answer_with_too_few_vectors_is_another_ones_turn() {
    const OLLAMAS: [&str; 2] = [
        r#"{"model":"scripted","embeddings":[[1.0],[1.0]]}"#,
        r#"{"model":"scripted","embeddings":[[1.0]]}"#,
    ];
    const OPENAIS: [&str; 2] = [
        r#"{"object":"list","data":[{"index":0,"embedding":[1.0]},{"index":1,"embedding":[1.0]}]}"#,
        r#"{"object":"list","data":[{"index":0,"embedding":[1.0]}]}"#,
    ];
    for (kind, path, [good, short], empty) in [
        ("ollama", "/api/embed", OLLAMAS, r#"{"embeddings":[]}"#),
        ("ollama", "/v1/embeddings", OLLAMAS, r#"{"embeddings":[]}"#),
        (
            "openai_compatible",
            "/v1/embeddings",
            OPENAIS,
            r#"{"data":[]}"#,
        ),
        ("openai_compatible", "/api/embed", OPENAIS, r#"{"data":[]}"#),
    ] {
        let case = Case {
            kind,
            path,
            whole: good,
            ..CHAT
        };
        let bad = move |number: usize| {
            vec![Step::Send(json(
                200,
                if number == 0 { short } else { empty },
            ))]
        };
        let (_servers, gateway) = pair(case, false, bad).await;
        for number in 0..2 {
            gateway.healthy(2).await;
            let body = json!({"model": "scripted", "input": [format!("case {number}."), "two"]});
            let reply = post(gateway.address, path, &body.to_string()).await;
            let what = format!("{kind} {path} {number}: {}", reply.text());
            assert_eq!(reply.status, 200, "{what}");
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
            let list = match path {
                "/api/embed" => "embeddings",
                _ => "data",
            };
            let vectors = reply.json()[list].as_array().map(Vec::len);
            assert_eq!(vectors, Some(2), "{what}");
        }
    }
}

/// Ollama loads the model and answers without vectors; of a service there is nothing to ask.
#[tokio::test]
async fn vectors_of_nothing_are_answered_here_for_a_service() {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, r#"{"data":[]}"#))]).await;
    let gateway = over(&CHAT, &server).await;
    let none: [(&str, Value, Value); 4] = [
        (
            "/api/embed",
            json!({"input": []}),
            json!({"model": "scripted", "embeddings": []}),
        ),
        (
            "/api/embed",
            json!({"input": ""}),
            json!({"model": "scripted", "embeddings": []}),
        ),
        (
            "/api/embed",
            json!({}),
            json!({"model": "scripted", "embeddings": []}),
        ),
        (
            "/api/embeddings",
            json!({"prompt": ""}),
            json!({"embedding": []}),
        ),
    ];
    for (path, mut body, expected) in none {
        body["model"] = json!("scripted");
        let reply = post(gateway.address, path, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text());
        assert_eq!(reply.json(), expected, "{path} {body}");
    }
    assert!(server.asked().is_empty());
}
