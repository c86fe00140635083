//! One reader for each form: what is an answer, an error and an end, in bytes that pass and in those that are translated,
//! however a server writes them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::across::KEY;
use crate::support::*;

/// A request in a format and the kind of provider that serves it, with what such a provider says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The provider's kind, and further settings of it.
    pub(crate) kind: &'static str,
    pub(crate) path: &'static str,
    pub(crate) format: Format,
    /// Opens the stream and says nothing.
    pub(crate) opening: &'static str,
    /// The text `Hi`.
    pub(crate) content: &'static str,
    /// What the server's stream says last but for its terminator, and that.
    pub(crate) ending: &'static str,
    pub(crate) terminator: &'static str,
    /// Errors, each as another server writes it.
    pub(crate) errors: &'static [&'static str],
    /// A whole answer.
    pub(crate) whole: &'static str,
}

const CHAT_ERRORS: &[&str] = &[
    "data: {\"error\":{\"message\":\"full\",\"type\":\"server_error\"}}\n\n",
    "data: { \"id\": \"x\", \"choices\": [], \"error\": { \"message\": \"full\" } }\n\n",
    "data: {\"object\": \"error\", \"message\": \"full\", \"code\": 500}\n\n",
];

pub(crate) const CHAT: Case = Case {
    kind: "openai_compatible",
    path: "/v1/chat/completions",
    format: Format::Chat,
    opening: "data: {\"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\", \"content\": \"\"}, \"finish_reason\": null}]}\n\n",
    content: "data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"Hi\"}, \"finish_reason\": null}]}\n\n",
    ending: "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}]}\n\n",
    terminator: "data: [DONE]\n\n",
    errors: &[
        CHAT_ERRORS[0],
        CHAT_ERRORS[1],
        CHAT_ERRORS[2],
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
    ],
    whole: r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#,
};

pub(crate) const COMPLETIONS: Case = Case {
    path: "/v1/completions",
    opening: "data: {\"choices\": [{\"index\": 0, \"text\": \"\", \"finish_reason\": null}]}\n\n",
    content: "data: {\"choices\": [{\"index\": 0, \"text\": \"Hi\", \"finish_reason\": null}]}\n\n",
    ending: "data: {\"choices\": [{\"index\": 0, \"text\": \"\", \"finish_reason\": \"stop\"}]}\n\n",
    errors: CHAT_ERRORS,
    whole: r#"{"id":"c","choices":[{"index":0,"text":"Hi","finish_reason":"stop"}]}"#,
    ..CHAT
};

pub(crate) const RESPONSES: Case = Case {
    kind: "openai_compatible, chat_api: responses",
    path: "/v1/responses",
    format: Format::Responses,
    opening: "event: response.created\ndata: {\"response\": {\"id\": \"r\", \"status\": \"in_progress\"}, \"type\": \"response.created\"}\n\n",
    content: "event: response.output_text.delta\ndata: {\"delta\": \"Hi\", \"output_index\": 0, \"type\": \"response.output_text.delta\"}\n\n",
    ending: "event: response.output_text.done\ndata: {\"output_index\": 0, \"type\": \"response.output_text.done\"}\n\n",
    terminator: "event: response.completed\ndata: {\"response\": {\"id\": \"r\", \"status\": \"completed\", \"output\": []}, \"type\": \"response.completed\"}\n\n",
    errors: &[
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"full\",\"param\":null}\n\n",
        "data: {\"message\": \"full\", \"code\": null, \"type\": \"error\"}\n\n",
        "data: {\"response\": {\"status\": \"failed\", \"error\": {\"message\": \"full\"}}, \"type\": \"response.failed\"}\n\n",
    ],
    whole: r#"{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}"#,
};

pub(crate) const MESSAGES: Case = Case {
    kind: "anthropic",
    path: "/v1/messages",
    format: Format::Anthropic,
    opening: "event: message_start\ndata: {\"message\": {\"id\": \"m\", \"content\": []}, \"type\": \"message_start\"}\n\n",
    content: "event: content_block_delta\ndata: {\"delta\": {\"text\": \"Hi\", \"type\": \"text_delta\"}, \"index\": 0, \"type\": \"content_block_delta\"}\n\n",
    ending: "event: message_delta\ndata: {\"delta\": {\"stop_reason\": \"end_turn\"}, \"usage\": {\"output_tokens\": 1}, \"type\": \"message_delta\"}\n\n",
    terminator: "event: message_stop\ndata: { \"type\": \"message_stop\" }\n\n",
    errors: &[
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"full\"}}\n\n",
        "data: { \"error\": { \"message\": \"full\", \"type\": \"api_error\" }, \"type\": \"error\" }\n\n",
    ],
    whole: r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#,
};

const OLLAMA_ERRORS: &[&str] = &[
    "{\"error\":\"full\"}\n",
    "{ \"model\": \"scripted\", \"error\": \"full\" }\n",
    "{\"error\":{\"message\":\"full\"}}\n",
];

pub(crate) const OLLAMA_CHAT: Case = Case {
    kind: "ollama",
    path: "/api/chat",
    format: Format::Ollama,
    opening: "{ \"message\": { \"role\": \"assistant\", \"content\": \"\" }, \"done\": false }\n",
    content: "{ \"done\": false, \"message\": { \"content\": \"Hi\" } }\n",
    ending: "",
    terminator: "{ \"done\": true, \"done_reason\": \"stop\", \"message\": { \"content\": \"\" } }\n",
    errors: OLLAMA_ERRORS,
    whole: r#"{"model":"scripted","message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"stop"}"#,
};

pub(crate) const GENERATE: Case = Case {
    path: "/api/generate",
    opening: "{ \"response\": \"\", \"done\": false }\n",
    content: "{ \"done\": false, \"response\": \"Hi\" }\n",
    terminator: "{ \"done\": true, \"done_reason\": \"stop\", \"response\": \"\" }\n",
    whole: r#"{"model":"scripted","response":"Hi","done":true,"done_reason":"stop"}"#,
    ..OLLAMA_CHAT
};

pub(crate) const PASSING: [Case; 6] = [
    CHAT,
    COMPLETIONS,
    RESPONSES,
    MESSAGES,
    OLLAMA_CHAT,
    GENERATE,
];

/// Clients of other formats in front of a server of Ollama's or of OpenAI's: the answer is translated.
pub(crate) const ACROSS: [Case; 3] = [
    Case {
        path: "/v1/chat/completions",
        format: Format::Chat,
        ..OLLAMA_CHAT
    },
    Case {
        path: "/v1/messages",
        format: Format::Anthropic,
        ..CHAT
    },
    Case {
        path: "/api/chat",
        format: Format::Ollama,
        ..MESSAGES
    },
];

impl Case {
    pub(crate) fn is_fleet(&self) -> bool {
        self.kind == "ollama"
    }

    /// Whether the client's format is the server's.
    pub(crate) fn passes(&self) -> bool {
        let own = |case: &Case| case.kind == self.kind && case.path == self.path;
        PASSING.iter().any(own)
    }

    /// A request; `number` is found again in what the server is asked.
    pub(crate) fn ask(&self, number: usize, stream: bool) -> String {
        let text = format!("case {number}.");
        match self.path {
            "/v1/completions" | "/api/generate" => {
                json!({"model": "scripted", "prompt": text, "stream": stream}).to_string()
            }
            _ => self.format.ask("scripted", &text, stream, json!({})),
        }
    }

    /// The server's whole stream.
    pub(crate) fn stream(&self) -> String {
        [self.opening, self.content, self.ending, self.terminator].concat()
    }

    /// A provider of this kind at `upstream`.
    pub(crate) fn entry(&self, name: &str, upstream: &Upstream) -> String {
        let address = upstream.address;
        match self.kind {
            "ollama" => {
                format!(
                    "{{ name: {name}, kind: ollama, backends: [\"http://{address}\"], interval: 200ms }}"
                )
            }
            kind => {
                let version = if kind == "anthropic" { "" } else { "/v1" };
                format!(
                    "{{ name: {name}, kind: {kind}, base_url: \"http://{address}{version}\", api_key: {KEY}, \
                     models: [scripted], list_models: false, interval: 200ms }}"
                )
            }
        }
    }

    /// What a client is told in a stream that broke; completions have no reader of their own.
    pub(crate) fn errors(&self, body: &str) -> usize {
        match self.path {
            "/api/generate" | "/v1/completions" => body.matches("\"error\"").count(),
            _ => self.format.read(body.as_bytes()).errors.len(),
        }
    }
}

/// Which case a server is asked for.
pub(crate) fn number(asked: &Asked) -> usize {
    let body = String::from_utf8_lossy(&asked.body);
    let (_, rest) = body.split_once("case ").unwrap();
    rest.split_once('.').unwrap().0.parse().unwrap()
}

/// A chunked answer, whose body is left open without its last chunk.
pub(crate) fn open(kind: &str, body: &str) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    [head.into_bytes(), chunk(body.as_bytes())].concat()
}

pub(crate) fn chunked(kind: &str, body: &str) -> Vec<u8> {
    [open(kind, body), b"0\r\n\r\n".to_vec()].concat()
}

pub(crate) fn events(case: &Case, body: &str) -> Vec<u8> {
    chunked(stream_type(case), body)
}

pub(crate) fn stream_type(case: &Case) -> &'static str {
    if case.is_fleet() {
        "application/x-ndjson"
    } else {
        "text/event-stream"
    }
}

/// A gateway over two providers. Whichever is asked first for a case follows `bad`; the other has a proper answer.
pub(crate) async fn pair(
    case: Case,
    stream: bool,
    bad: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static,
) -> (Vec<Upstream>, Gateway) {
    let tried = Arc::new(Mutex::new(HashSet::new()));
    let bad = Arc::new(bad);
    let mut servers = Vec::new();
    for _ in 0..2 {
        let (tried, bad) = (tried.clone(), bad.clone());
        let script = move |asked: &Asked| {
            let number = number(asked);
            let good = if stream {
                events(&case, &case.stream())
            } else {
                json(200, case.whole)
            };
            if tried.lock().unwrap().insert(number) {
                bad(number)
            } else {
                vec![Step::Send(good)]
            }
        };
        servers.push(Upstream::start(script).await);
    }
    let entries = [("one", &servers[0]), ("two", &servers[1])];
    let entries = entries.map(|(name, server)| case.entry(name, server));
    let config = Config::of(entries).set("routing.breaker", "{ enabled: false }");
    let gateway = Gateway::over(&config, 2).await;
    (servers, gateway)
}

/// A gateway over one provider that follows `script`.
pub(crate) async fn alone(
    case: Case,
    script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static,
) -> (Upstream, Gateway) {
    let server = Upstream::start(move |asked| script(number(asked))).await;
    let config = Config::of([case.entry("one", &server)])
        .set("routing.breaker", "{ enabled: false }")
        .set("routing.max_retries", 0);
    let gateway = Gateway::over(&config, 1).await;
    (server, gateway)
}

/// Waits until so many attempts have ended so: that is counted when the client has its answer already.
pub(crate) async fn ended(gateway: &Gateway, outcome: &str, count: f64) {
    let name = "remuda_attempts_total";
    gateway
        .metric_is(name, &[("outcome", outcome)], count)
        .await;
}

pub(crate) async fn ask(gateway: &Gateway, case: &Case, number: usize, stream: bool) -> Reply {
    post(gateway.address, case.path, &case.ask(number, stream)).await
}

#[tokio::test]
async fn an_error_before_the_first_content_is_another_ones_turn_however_it_is_written() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let bad = move |number: usize| {
            let error = case.errors[number / 2 % case.errors.len()];
            let opening = if number.is_multiple_of(2) {
                ""
            } else {
                case.opening
            };
            vec![Step::Send(events(&case, &format!("{opening}{error}")))]
        };
        let (_servers, gateway) = pair(case, true, bad).await;
        for number in 0..2 * case.errors.len() {
            gateway.healthy(2).await;
            let reply = ask(&gateway, &case, number, true).await;
            let what = format!("{} at {}, {number}: {}", case.path, case.kind, reply.text());
            assert_eq!(reply.status, 200, "{what}");
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
            assert_eq!(case.errors(reply.text()), 0, "{what}");
            if case.passes() {
                assert_eq!(reply.text(), case.stream(), "{what}");
            }
        }
        ended(&gateway, "ok", 2.0 * case.errors.len() as f64).await;
        let broken = gateway.metric("remuda_broken_streams_total", &[]).await;
        assert_eq!(broken, 0.0);
    }
}

#[tokio::test]
async fn an_error_after_content_ends_the_stream_as_broken_however_it_is_written() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let script = move |number: usize| {
            let text = format!("{}{}{}", case.opening, case.content, case.errors[number]);
            // What comes after it is of no interest to anybody.
            vec![Step::Send(events(
                &case,
                &format!("{text}{}", case.terminator),
            ))]
        };
        let (_server, gateway) = alone(case, script).await;
        for number in 0..case.errors.len() {
            gateway.healthy(1).await;
            let reply = ask(&gateway, &case, number, true).await;
            let what = format!("{} at {}, {number}: {}", case.path, case.kind, reply.text());
            // A translation that has all of it at once has told nobody anything yet.
            if case.passes() || reply.status == 200 {
                assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
                assert_eq!(case.errors(reply.text()), 1, "{what}");
                assert!(!reply.text().contains(case.terminator), "{what}");
                assert!(!reply.text().contains("[DONE]"), "{what}");
            }
        }
        gateway.idle().await;
        assert_eq!(
            gateway.attempts("ok").await,
            0.0,
            "{} at {}",
            case.path,
            case.kind
        );
    }
}

/// Whatever a body is that is no answer of the form that was asked for, another server may have one.
#[tokio::test]
async fn a_body_that_is_no_answer_is_another_ones_turn_and_nothing_otherwise() {
    const PAGE: &str = "<html><body>Please sign in.</body></html>";
    fn bodies(case: &Case) -> Vec<Vec<Step>> {
        let whole = case.whole;
        let json_type = "application/json";
        let half = &whole[..whole.len() / 2];
        let short = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{whole}",
            whole.len() + 7
        );
        let events = format!("data: {whole}\n\ndata: [DONE]\n\n");
        let send = |bytes: Vec<u8>| vec![Step::Send(bytes), Step::Close];
        vec![
            send(chunked(json_type, half)),
            send(json(200, &format!("{whole}}}"))),
            send(short.into_bytes()),
            send(open(json_type, whole)),
            send(chunked("text/event-stream", &events)),
            send(json(200, r#"{"ok":true}"#)),
            send(json(200, "[]")),
            send(chunked("text/html; charset=utf-8", PAGE)),
            send(chunked(json_type, PAGE)),
            send(json(200, "")),
            send(json(
                200,
                r#"{ "id": "x", "error": { "message": "full" } }"#,
            )),
        ]
    }
    for case in PASSING.into_iter().chain(ACROSS) {
        let count = bodies(&case).len();
        let (_servers, gateway) =
            pair(case, false, move |number| bodies(&case)[number].clone()).await;
        for number in 0..count {
            gateway.healthy(2).await;
            let reply = ask(&gateway, &case, number, false).await;
            let what = format!("{} at {}, {number}: {}", case.path, case.kind, reply.text());
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
            assert!(reply.text().contains("\"Hi\""), "{what}");
        }
        ended(&gateway, "ok", count as f64).await;
        let (_server, gateway) = alone(case, move |number| bodies(&case)[number].clone()).await;
        for number in 0..count {
            gateway.healthy(1).await;
            let reply = ask(&gateway, &case, number, false).await;
            let what = format!("{} at {}, {number}: {}", case.path, case.kind, reply.text());
            assert!(matches!(reply.status, 500 | 502), "{what}");
            assert!(!case.format.message(&reply).contains("sign in"), "{what}");
        }
        gateway.idle().await;
        ended(&gateway, "ok", 0.0).await;
    }
}

#[tokio::test]
async fn one_body_in_answer_to_a_stream_is_another_ones_turn() {
    for case in [CHAT, COMPLETIONS, RESPONSES, MESSAGES] {
        let bad = move |number: usize| {
            let pretty = case.whole.replace(',', ",\n");
            vec![Step::Send(match number {
                0 => json(200, case.whole),
                1 => chunked("text/event-stream", &pretty),
                2 => chunked(
                    "text/event-stream",
                    "<html>\n\n<body>Please sign in.</body>\n",
                ),
                _ => json(200, r#"{"ok":true}"#),
            })]
        };
        let (_servers, gateway) = pair(case, true, bad).await;
        for number in 0..4 {
            gateway.healthy(2).await;
            let reply = ask(&gateway, &case, number, true).await;
            let what = format!("{} at {}, {number}: {}", case.path, case.kind, reply.text());
            assert_eq!(reply.text(), case.stream(), "{what}");
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
        }
        let (_server, gateway) = alone(case, bad).await;
        for number in 0..4 {
            gateway.healthy(1).await;
            let reply = ask(&gateway, &case, number, true).await;
            assert_eq!(
                reply.status,
                502,
                "{} {number}: {}",
                case.path,
                reply.text()
            );
        }
    }
}

/// A load is answered by one object, whatever was asked for.
#[tokio::test]
async fn ollamas_answer_to_a_load_is_an_answer() {
    const LOADED: &str = r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","response":"","done":true,"done_reason":"load"}"#;
    let script = move |_: usize| vec![Step::Send(json(200, LOADED))];
    let (_server, gateway) = alone(GENERATE, script).await;
    for stream in [true, false] {
        let reply = ask(&gateway, &GENERATE, 0, stream).await;
        assert_eq!((reply.status, reply.text()), (200, LOADED));
        let length = LOADED.len().to_string();
        assert_eq!(reply.header("content-length"), Some(&*length));
    }
    ended(&gateway, "ok", 2.0).await;
}

/// Some servers end their streams with the reason and without a terminator.
#[tokio::test]
async fn a_chat_without_its_terminator_is_complete() {
    for case in [CHAT, COMPLETIONS] {
        let usage =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
        let text = [case.opening, case.content, case.ending].concat();
        let sent = text.clone();
        let script = move |number: usize| {
            let body = match number {
                0 => text.clone(),
                _ => format!("{text}{usage}"),
            };
            let whole = events(&case, &body);
            // With a length, that a terminator would not fit into.
            let stated = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            vec![Step::Send(if number == 2 {
                stated.into_bytes()
            } else {
                whole
            })]
        };
        let (_server, gateway) = alone(case, script).await;
        for number in 0..3 {
            let reply = ask(&gateway, &case, number, true).await;
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
            assert_eq!(reply.text(), format!("{sent}data: [DONE]\n\n"), "{number}");
        }
        ended(&gateway, "ok", 3.0).await;
        // Without the reason it is not.
        let cut = [case.opening, case.content].concat();
        let script = move |_: usize| vec![Step::Send(events(&case, &cut))];
        let (_server, gateway) = alone(case, script).await;
        let reply = ask(&gateway, &case, 0, true).await;
        assert_eq!(case.errors(reply.text()), 1, "{}", reply.text());
        assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
        ended(&gateway, "broken_stream", 1.0).await;
    }
}

/// The client has its answer, and the next its slot, while the server has not ended the body.
#[tokio::test]
async fn a_stream_is_over_with_its_terminator_though_its_body_stays_open() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let script = move |number: usize| {
            let body = open(stream_type(&case), &case.stream());
            match number {
                // In one packet, and byte by byte.
                0 => vec![Step::Send(body), Step::Hold],
                _ => vec![Step::Trickle(body), Step::Hold],
            }
        };
        let server = Upstream::start(move |asked| script(number(asked))).await;
        let config = Config::of([case.entry("one", &server)]).set("routing.max_retries", 0);
        let gateway = Gateway::over(&config, 1).await;
        for number in 0..2 {
            let reply = ask(&gateway, &case, number, true).await;
            let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
            assert_eq!(case.errors(reply.text()), 0, "{what}");
            gateway.idle().await;
        }
        ended(&gateway, "ok", 2.0).await;
        // Neither connection is used again; both are closed.
        assert!(server.asked().iter().all(|asked| asked.on_connection == 0));
        eventually("both connections are closed", || async {
            let left = server.left().len();
            if left == 2 { Ok(()) } else { Err(left) }
        })
        .await;
    }
}

/// Some servers leave out the newline or the blank line after their terminator, and the body open.
#[tokio::test]
async fn a_stream_is_over_with_a_terminator_that_has_no_end_of_its_own() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let missing = if case.is_fleet() {
            &["\n"][..]
        } else {
            &["\n", "\n\n"]
        };
        let script = move |number: usize| {
            let text = case.stream();
            let text = text.strip_suffix(missing[number]).unwrap();
            vec![Step::Send(open(stream_type(&case), text)), Step::Hold]
        };
        let (_server, gateway) = alone(case, script).await;
        for number in 0..missing.len() {
            let reply = ask(&gateway, &case, number, true).await;
            let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
            assert_eq!(case.errors(reply.text()), 0, "{what}");
            if case.passes() {
                assert_eq!(reply.text().trim_end(), case.stream().trim_end());
            }
        }
        ended(&gateway, "ok", missing.len() as f64).await;
    }
}

/// A server that has given its reason to end has said all.
#[tokio::test]
async fn a_chat_that_falls_silent_after_its_reason_is_complete() {
    let across = Case {
        path: "/v1/messages",
        format: Format::Anthropic,
        ..CHAT
    };
    for case in [CHAT, COMPLETIONS, across] {
        let script = move |_: usize| {
            let text = [case.opening, case.content, case.ending].concat();
            vec![Step::Send(open(stream_type(&case), &text)), Step::Hold]
        };
        let server = Upstream::start(move |asked| script(number(asked))).await;
        let config = Config::of([case.entry("one", &server)])
            .set("timeouts.between_chunks", "300ms")
            .set("routing.max_retries", 0);
        let gateway = Gateway::over(&config, 1).await;
        let reply = ask(&gateway, &case, 0, true).await;
        assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
        assert_eq!(case.errors(reply.text()), 0, "{}", reply.text());
        ended(&gateway, "ok", 1.0).await;
    }
}

/// A body that ends soon after its terminator, as most do, leaves a connection that can be used again.
#[tokio::test]
async fn a_connection_whose_body_ends_later_is_used_again() {
    for case in PASSING {
        let ended = Arc::new(tokio::sync::Semaphore::new(0));
        let gate = ended.clone();
        let server = Upstream::start(move |_: &Asked| {
            vec![
                Step::Send(open(stream_type(&case), &case.stream())),
                Step::Until(gate.clone()),
                Step::Send(b"0\r\n\r\n".to_vec()),
            ]
        })
        .await;
        let config = Config::of([case.entry("one", &server)]).set("server.threads", 1);
        let gateway = Gateway::over(&config, 1).await;
        eventually("a connection is used again", || async {
            ask(&gateway, &case, 0, true).await;
            ended.add_permits(1);
            let asked = server.asked();
            if asked.iter().any(|asked| asked.on_connection > 0) {
                Ok(())
            } else {
                Err(asked.len())
            }
        })
        .await;
    }
}

/// Chats in which more comes after a reason to end: all of it passes, up to the terminator.
#[tokio::test]
async fn what_follows_a_reason_to_end_is_read_on() {
    let texts = [
        [CHAT.content, CHAT.ending, CHAT.content, CHAT.terminator].concat(),
        [CHAT.content, CHAT.ending, CHAT.ending, CHAT.terminator].concat(),
        [CHAT.ending, CHAT.content, CHAT.ending, CHAT.terminator].concat(),
    ];
    let sent = texts.clone();
    let script = move |number: usize| vec![Step::Send(events(&CHAT, &texts[number]))];
    let (_server, gateway) = alone(CHAT, script).await;
    for (number, text) in sent.iter().enumerate() {
        let reply = ask(&gateway, &CHAT, number, true).await;
        assert_eq!(reply.text(), text);
    }
    ended(&gateway, "ok", 3.0).await;
}

#[tokio::test]
async fn a_malformed_event_is_left_out_and_counted_while_the_stream_goes_on() {
    for case in PASSING.into_iter().chain(ACROSS) {
        let bad = if case.is_fleet() {
            "{\"half\":\n"
        } else {
            "data: {\"half\":\n\n"
        };
        let script = move |number: usize| {
            let Case {
                opening,
                content,
                ending,
                terminator,
                ..
            } = case;
            let text = match number {
                0 => format!("{opening}{bad}{content}{bad}{ending}{terminator}"),
                _ => format!("{opening}{content}{bad}"),
            };
            vec![Step::Send(events(&case, &text))]
        };
        let (_server, gateway) = alone(case, script).await;
        let reply = ask(&gateway, &case, 0, true).await;
        let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
        assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
        assert!(!reply.text().contains("half"), "{what}");
        assert_eq!(case.errors(reply.text()), 0, "{what}");
        let counted = "remuda_malformed_events_total";
        let of_provider = [("remuda_provider", "one")];
        gateway.metric_is(counted, &of_provider, 2.0).await;
        ended(&gateway, "ok", 1.0).await;
        // If nothing follows, it is where the stream broke.
        let reply = ask(&gateway, &case, 1, true).await;
        let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
        assert!(!reply.text().contains("half"), "{what}");
        assert!(
            reply.status != 200 || case.errors(reply.text()) == 1,
            "{what}"
        );
        ended(&gateway, "ok", 1.0).await;
    }
}

/// Vectors, counts and pictures are held against what was asked for as well.
#[tokio::test]
async fn other_bodies_that_are_no_answer_are_another_ones_turn() {
    let cases = [
        (
            "ollama",
            "/api/embed",
            "input",
            r#"{"model":"scripted","embeddings":[[0.5]]}"#,
        ),
        (
            "ollama",
            "/api/embeddings",
            "prompt",
            r#"{"embedding":[0.5]}"#,
        ),
        (
            "openai_compatible",
            "/v1/embeddings",
            "input",
            r#"{"object":"list","data":[{"index":0,"embedding":[0.5]}]}"#,
        ),
        (
            "openai_compatible",
            "/v1/images/generations",
            "prompt",
            r#"{"created":1,"data":[{"b64_json":"aGk="}]}"#,
        ),
    ];
    for (kind, path, field, whole) in cases {
        let case = Case {
            kind,
            path,
            whole,
            ..CHAT
        };
        let bad = move |number: usize| {
            vec![Step::Send(match number {
                0 => json(200, &whole[..whole.len() - 2]),
                1 => json(200, r#"{"ok":true}"#),
                2 => chunked("application/json", "<html>Please sign in.</html>"),
                _ => chunked("text/event-stream", &format!("data: {whole}\n\n")),
            })]
        };
        let (_servers, gateway) = pair(case, false, bad).await;
        for number in 0..4 {
            gateway.healthy(2).await;
            let body: Value = json!({"model": "scripted", field: format!("case {number}.")});
            let reply = post(gateway.address, path, &body.to_string()).await;
            let what = format!("{path} {number}: {}", reply.text());
            assert_eq!((reply.status, reply.text()), (200, whole), "{what}");
            assert_eq!(reply.header("x-remuda-attempts"), Some("2"), "{what}");
        }
    }
}
