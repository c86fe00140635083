//! After the first content: bytes pass unchanged however they arrive, and a stream that breaks never looks complete.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::support::{
    Asked, Config, Connection, Ending, Gateway, Reply, STREAM_HEAD, Simulation, Step, Upstream,
    chat, chunk, is_done, join_all, json, lines, post,
};

/// A chat answer of four lines, with text that a careless relay would damage.
fn answer_lines() -> Vec<Vec<u8>> {
    [
        r#"{"model":"scripted","created_at":"2026-01-02T03:04:05.1Z","message":{"role":"assistant","content":"caf\u00e9 \"done\":true"},"done":false}"#,
        r#"{"model":"scripted","created_at":"2026-01-02T03:04:05.25Z","message":{"role":"assistant","content":" → 🙂"},"done":false}"#,
        r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"{\"error\":1}\n"},"done":false}"#,
        r#"{"model":"scripted","created_at":"2026-01-02T03:04:06Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":5,"prompt_eval_count":9,"eval_count":3,"eval_duration":4}"#,
    ]
    .iter()
    .map(|line| format!("{line}\n").into_bytes())
    .collect()
}

/// The same answer in OpenAI's format.
fn answer_events() -> Vec<Vec<u8>> {
    [
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"scripted","choices":[{"index":0,"delta":{"role":"assistant","content":"café"},"finish_reason":null}]}"#,
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"scripted","choices":[{"index":0,"delta":{"content":" [DONE]"},"finish_reason":null}]}"#,
        r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"scripted","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        "data: [DONE]",
    ]
    .iter()
    .map(|event| format!("{event}\n\n").into_bytes())
    .collect()
}

/// The whole HTTP answer, a chunk for each line.
fn streamed(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = STREAM_HEAD.to_vec();
    for line in lines {
        bytes.extend_from_slice(&chunk(line));
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

const CHAT: (&str, &str) = (
    "/api/chat",
    r#"{"model":"scripted","messages":[{"role":"user","content":"hi"}]}"#,
);
const PLAIN_CHAT: (&str, &str) = (
    "/api/chat",
    r#"{"model":"scripted","stream":false,"messages":[{"role":"user","content":"hi"}]}"#,
);
const OPENAI: (&str, &str) = (
    "/v1/chat/completions",
    r#"{"model":"scripted","stream":true,"user":"USER","messages":[{"role":"user","content":"hi"}]}"#,
);

/// A provider of the format that the request is in, so that bytes pass.
fn speaking(request: (&str, &str), config: Config) -> Config {
    if request == OPENAI {
        config
            .set("provider.kind", "openai_compatible")
            .set("provider.list_models", false)
            .set("provider.models", "[scripted]")
    } else {
        config
    }
}

/// A gateway over scripted servers that all follow `script`.
async fn scripted(
    count: usize,
    config: impl FnOnce(Config) -> Config,
    script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> (Vec<Upstream>, Gateway) {
    let script = Arc::new(script);
    let mut servers = Vec::new();
    for _ in 0..count {
        let script = script.clone();
        servers.push(Upstream::start(move |asked| script(asked)).await);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    // They fail on purpose, again and again.
    let own = Config::over(&addresses).set("routing.breaker", "{ enabled: false }");
    let gateway = Gateway::over(&config(own), count).await;
    (servers, gateway)
}

/// The number that a test put into `X-Position` or, for services, which get no header fields of the client's own, into
/// `user`; it chooses how a scripted answer goes wrong.
fn position(asked: &Asked) -> usize {
    if let Some(position) = asked.header("x-position") {
        return position.parse().unwrap();
    }
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    body["user"].as_str().unwrap().parse().unwrap()
}

async fn ask(gateway: &Gateway, (path, body): (&str, &str), position: usize) -> Reply {
    let position = position.to_string();
    let headers = [("X-Position", &*position)];
    let body = body.replace("USER", &position);
    let mut client = Connection::open(gateway.address).await;
    client
        .request("POST", path, &headers, body.as_bytes())
        .await;
    client.reply().await
}

/// Asks for every position, some at a time, and hands each answer to `check`.
async fn ask_everywhere(
    gateway: &Gateway,
    request: (&str, &str),
    positions: impl Iterator<Item = usize>,
    check: impl Fn(usize, &Reply),
) {
    const AT_ONCE: usize = 16;
    let positions: Vec<usize> = positions.collect();
    for some in positions.chunks(AT_ONCE) {
        let asking = some.iter().map(|position| ask(gateway, request, *position));
        let replies = join_all(asking).await;
        for (position, reply) in some.iter().zip(&replies) {
            check(*position, reply);
        }
    }
}

#[tokio::test]
async fn an_answer_split_at_any_byte_passes_unchanged() {
    for (request, lines, kind) in [
        (CHAT, answer_lines(), "application/x-ndjson"),
        // The server calls it lines as well.
        (OPENAI, answer_events(), "text/event-stream"),
    ] {
        let whole = streamed(&lines);
        let (script, length) = (whole.clone(), whole.len());
        let (_servers, gateway) = scripted(
            16,
            |config| speaking(request, config),
            move |asked| {
                let (first, second) = script.split_at(position(asked));
                vec![
                    Step::Send(first.to_vec()),
                    Step::Pause(Duration::from_millis(1)),
                    Step::Send(second.to_vec()),
                ]
            },
        )
        .await;
        ask_everywhere(&gateway, request, 1..length, |position, reply| {
            assert_eq!(reply.status, 200);
            assert_eq!(reply.ending, Ending::Whole, "split at {position}");
            assert_eq!(reply.header("content-type"), Some(kind));
            let text = String::from_utf8_lossy(&reply.body);
            assert_eq!(
                text,
                String::from_utf8(lines.concat()).unwrap(),
                "split at {position}"
            );
        })
        .await;
        gateway.idle().await;
        let broken = gateway.metric("remuda_broken_streams_total", &[]).await;
        assert_eq!(broken, 0.0);
    }
}

#[tokio::test]
async fn an_answer_of_one_byte_a_packet_passes_unchanged() {
    let plain = json(
        200,
        r#"{"model":"scripted","message":{"role":"assistant","content":"é"},"done":true}"#,
    );
    for (request, whole, body) in [
        (CHAT, streamed(&answer_lines()), answer_lines().concat()),
        (OPENAI, streamed(&answer_events()), answer_events().concat()),
        (
            PLAIN_CHAT,
            plain.clone(),
            plain[plain.len() - 78..].to_vec(),
        ),
    ] {
        let (_servers, gateway) = scripted(
            1,
            |config| speaking(request, config),
            move |_| vec![Step::Trickle(whole.clone())],
        )
        .await;
        let reply = ask(&gateway, request, 0).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.ending, Ending::Whole);
        assert_eq!(
            String::from_utf8_lossy(&reply.body),
            String::from_utf8_lossy(&body)
        );
    }
}

/// Lines that no gateway should touch, though no Ollama sends them. Those that carry nothing would end the stream for
/// clients' libraries, and are left out.
#[tokio::test]
async fn odd_bytes_pass_unchanged() {
    let body = b"{\"message\":{\"content\":\"\xff\xfe\"},\"done\":false}\r\n{\"unknown\":[1,{}],\"message\":{},\"done\":false}\n{\"message\":{\"content\":\"last\"},\"done\":true}";
    let mut sent = b"\r\n  \n{\"unknown\":[1,{}],\"done\":false}\n".to_vec();
    sent.extend_from_slice(body);
    let mut whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson; x=y\r\nOpenai-Version: a\r\nOpenai-Version: b\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    whole.extend_from_slice(&chunk(&sent));
    whole.extend_from_slice(b"0\r\n\r\n");
    let (_servers, gateway) =
        scripted(1, |config| config, move |_| vec![Step::Send(whole.clone())]).await;
    let reply = ask(&gateway, CHAT, 0).await;
    assert_eq!(reply.ending, Ending::Whole);
    assert_eq!(reply.body, body);
    assert_eq!(
        reply.header("content-type"),
        Some("application/x-ndjson; x=y")
    );
    let own: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "openai-version")
        .collect();
    assert_eq!(own.len(), 2);
}

/// Asserts that what follows a break at `position` is whole lines of the answer and Ollama's error line.
fn assert_broken_lines(position: usize, reply: &Reply, whole: &[Vec<u8>]) {
    if reply.status == 502 {
        // Nothing of the answer had come: there is no other backend, and the client is told so.
        let error = reply.json()["error"].to_string();
        assert!(
            error.starts_with("\"All backend attempts failed. Errors: ["),
            "{error}"
        );
        assert!(
            error.contains("broke the connection before its answer"),
            "{error}"
        );
        return;
    }
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, 200, "cut at {position}: {text}");
    assert_eq!(reply.ending, Ending::Whole, "cut at {position}: {text}");
    let all = lines(&reply.body);
    if is_done(&all) {
        // Every line had come; only the last chunk, which says nothing more, is missing.
        assert_eq!(reply.body, whole.concat(), "cut at {position}");
        return;
    }
    let (last, before) = all.split_last().unwrap();
    assert!(last["error"].is_string(), "cut at {position}: {text}");
    assert_eq!(
        last.as_object().unwrap().len(),
        1,
        "cut at {position}: {text}"
    );
    let sent = reply.body.len() - format!("{last}\n").len();
    assert_eq!(
        reply.body[..sent],
        whole.concat()[..sent],
        "cut at {position}"
    );
    assert!(
        before.iter().all(|line| line["done"] == false),
        "cut at {position}: {text}"
    );
}

/// Cuts a streamed answer after every `every`th byte by `end`; gives how many broken streams the clients saw.
async fn cut_everywhere(end: Step, every: usize) {
    let whole = streamed(&answer_lines());
    let length = whole.len();
    let script = move |asked: &Asked| {
        let sent = Step::Send(whole[..position(asked)].to_vec());
        // What was sent is read before the connection ends, or RST would take it back.
        vec![sent, Step::Pause(Duration::from_millis(2)), end.clone()]
    };
    let no_retry = |config: Config| config.set("routing.max_retries", 0);
    let (_servers, gateway) = scripted(32, no_retry, script).await;
    let lines = answer_lines();
    let broken = AtomicUsize::new(0);
    let first_body_byte = STREAM_HEAD.len();
    ask_everywhere(
        &gateway,
        CHAT,
        (0..length).step_by(every),
        |position, reply| {
            assert_broken_lines(position, reply, &lines);
            if reply.status == 200 && !is_done(&self::lines(&reply.body)) {
                broken.fetch_add(1, Ordering::Relaxed);
            }
            if position <= first_body_byte {
                assert_eq!(reply.status, 502, "cut at {position}");
            }
        },
    )
    .await;
    let broken = broken.into_inner();
    assert!(broken > length / every / 2, "only {broken} streams broke");
    gateway
        .metric_is("remuda_broken_streams_total", &[], broken as f64)
        .await;
    gateway.idle().await;
    eprintln!("{} cuts, {broken} broken streams", length.div_ceil(every));
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_never_looks_complete() {
    cut_everywhere(Step::Close, 1).await;
}

#[tokio::test]
async fn a_stream_reset_at_any_byte_never_looks_complete() {
    cut_everywhere(Step::Reset, 3).await;
}

/// A stream that breaks within its first line has shown the client nothing, so that another server can still answer.
#[tokio::test]
async fn a_stream_cut_within_its_first_line_goes_to_the_next_backend() {
    for (request, lines) in [(CHAT, answer_lines()), (OPENAI, answer_events())] {
        let (whole, body) = (streamed(&lines), lines.concat());
        let first = STREAM_HEAD.len() + chunk(&lines[0]).len() - b"\r\n".len();
        let cut = Mutex::new(HashSet::new());
        let script = move |asked: &Asked| {
            let position = position(asked);
            if !cut.lock().unwrap().insert(position) {
                return vec![Step::Send(whole.clone())];
            }
            vec![
                Step::Send(whole[..position].to_vec()),
                Step::Pause(Duration::from_millis(1)),
                Step::Close,
            ]
        };
        let config = |config| speaking(request, config);
        let (_servers, gateway) = scripted(32, config, script).await;
        ask_everywhere(&gateway, request, 0..first, |position, reply| {
            assert_eq!(reply.status, 200, "cut at {position}");
            // Without its head, an answer on a pooled connection is one that had been closed.
            if position >= STREAM_HEAD.len() {
                assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
            }
            let text = String::from_utf8_lossy(&reply.body);
            assert_eq!(
                text,
                String::from_utf8_lossy(&body),
                "cut at {position} of {first}"
            );
        })
        .await;
        gateway.idle().await;
        let broken = gateway.metric("remuda_broken_streams_total", &[]).await;
        assert_eq!(broken, 0.0);
    }
}

#[tokio::test]
async fn an_event_stream_cut_at_any_byte_never_looks_complete() {
    let whole = streamed(&answer_events());
    let length = whole.len();
    let script = move |asked: &Asked| {
        vec![
            Step::Send(whole[..position(asked)].to_vec()),
            Step::Pause(Duration::from_millis(1)),
            Step::Close,
        ]
    };
    let no_retry = |config: Config| speaking(OPENAI, config.set("routing.max_retries", 0));
    let (_servers, gateway) = scripted(32, no_retry, script).await;
    let sent = answer_events().concat();
    ask_everywhere(&gateway, OPENAI, 0..length, |position, reply| {
        if reply.status == 502 {
            return;
        }
        let text = std::str::from_utf8(&reply.body).unwrap();
        assert!(text.ends_with("\n\n"), "cut at {position}: {text:?}");
        let events: Vec<&str> = text.trim_end().split("\n\n").collect();
        let (last, before) = events.split_last().unwrap();
        if *last == "data: [DONE]" {
            assert_eq!(reply.body, sent, "cut at {position}");
            return;
        }
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap())
            .unwrap_or_else(|error| panic!("cut at {position}: {error}: {text:?}"));
        assert!(
            error["error"]["message"].is_string(),
            "cut at {position}: {text:?}"
        );
        for event in before {
            let whole = format!("{event}\n\n");
            assert!(
                memchr::memmem::find(&sent, whole.as_bytes()).is_some(),
                "cut at {position}: {text:?}"
            );
            assert!(
                !event.contains("data: [DONE]"),
                "cut at {position}: {text:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_no_stream_and_breaks_never_looks_complete() {
    let body = format!(
        r#"{{"model":"scripted","message":{{"role":"assistant","content":"{}"}},"done":true}}"#,
        "a ".repeat(100)
    );
    let with_length = json(200, &body);
    let mut chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(&chunk(body.as_bytes()));
    chunked.extend_from_slice(b"0\r\n\r\n");
    for whole in [with_length, chunked] {
        let length = whole.len();
        let script = move |asked: &Asked| {
            let sent = Step::Send(whole[..position(asked)].to_vec());
            vec![sent, Step::Pause(Duration::from_millis(1)), Step::Close]
        };
        let no_retry = |config: Config| config.set("routing.max_retries", 0);
        let (_servers, gateway) = scripted(32, no_retry, script).await;
        ask_everywhere(&gateway, PLAIN_CHAT, 0..length, |position, reply| {
            let looks_complete = reply.status == 200 && reply.ending == Ending::Whole;
            if looks_complete {
                // Only the mark of the end can be missing from it, never a byte.
                assert_eq!(reply.text(), body, "cut at {position}");
            }
        })
        .await;
        gateway.idle().await;
    }
}

#[tokio::test]
async fn an_error_line_amid_a_stream_passes_and_is_counted() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2", "--answer-tokens", "40"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    sim.fault_everywhere(
        r#"{"kind":"error","tokens":7,"message":"CUDA error: out of memory","route":"/api/chat"}"#,
    )
    .await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    let lines = reply.lines();
    assert_eq!(lines.len(), 8);
    assert_eq!(
        lines[7].to_string(),
        r#"{"error":"CUDA error: out of memory"}"#
    );
    assert!(lines[..7].iter().all(|line| line["done"] == false));
    gateway
        .metric_is("remuda_broken_streams_total", &[], 1.0)
        .await;
    gateway.idle().await;
}

#[tokio::test]
async fn a_stream_that_stalls_ends_with_an_error_line() {
    let sim = Simulation::start(2, &["--loaded", "llama3.2", "--answer-tokens", "40"]);
    let config = Config::over(&sim.servers)
        .set("timeouts.between_chunks", "700ms")
        .set("routing.resume", "off");
    let gateway = Gateway::over(&config, 2).await;
    for fault in [
        r#"{"kind":"stall","tokens":5,"seconds":60,"times":1,"route":"/api/chat"}"#,
        r#"{"kind":"stall","bytes":1000,"seconds":60,"times":1,"route":"/api/chat"}"#,
    ] {
        sim.no_faults().await;
        sim.fault_everywhere(fault).await;
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
        let lines = reply.lines();
        let (last, before) = lines.split_last().unwrap();
        let text = last["error"].as_str().unwrap();
        assert!(text.contains("timeouts.between_chunks"), "{text}");
        assert!(!before.is_empty() && before.iter().all(|line| line["done"] == false));
    }
    gateway
        .metric_is("remuda_broken_streams_total", &[], 2.0)
        .await;
    gateway.idle().await;
}

#[tokio::test]
async fn a_stream_that_ends_without_its_last_line_does_not_look_complete() {
    let mut lines = answer_lines();
    lines.pop();
    let whole = streamed(&lines);
    let (_servers, gateway) =
        scripted(1, |config| config, move |_| vec![Step::Send(whole.clone())]).await;
    let reply = ask(&gateway, CHAT, 0).await;
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    assert!(reply.body.starts_with(&lines.concat()));
    let all = reply.lines();
    assert!(all.last().unwrap()["error"].is_string());
    assert_eq!(all.len(), lines.len() + 1);
    gateway
        .metric_is("remuda_broken_streams_total", &[], 1.0)
        .await;
}

/// Answers of the same server, asked directly and through the gateway, differ in times alone.
#[tokio::test]
async fn an_answer_through_the_gateway_is_the_servers_own() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2,qwen3:8b", "--seed", "7"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    for (path, body) in [
        ("/api/chat", chat("llama3.2", "tell me", "")),
        ("/api/chat", chat("qwen3:8b", "think first", "")),
        (
            "/api/chat",
            chat("llama3.2", "tell me", r#","stream":false"#),
        ),
        (
            "/api/generate",
            r#"{"model":"llama3.2","prompt":"x"}"#.to_owned(),
        ),
        (
            "/api/embed",
            r#"{"model":"nomic-embed-text","input":["a","b"]}"#.to_owned(),
        ),
        (
            "/api/chat",
            r#"{"model":"llama3.2","messages":7}"#.to_owned(),
        ),
        ("/api/show", r#"{"model":"llama3.2"}"#.to_owned()),
    ] {
        let direct = post(sim.servers[0], path, &body).await;
        let through = post(gateway.address, path, &body).await;
        assert_eq!(through.status, direct.status, "{path}: {}", through.text());
        assert_eq!(
            through.header("content-type"),
            direct.header("content-type"),
            "{path}"
        );
        assert_eq!(timeless(&through.body), timeless(&direct.body), "{path}");
        assert_eq!(through.ending, Ending::Whole);
    }
}

/// Text without what no two answers share: times, durations and ids.
fn timeless(body: &[u8]) -> String {
    let mut text = String::from_utf8(body.to_vec()).unwrap();
    for key in [
        r#""created_at":"#,
        r#""modified_at":"#,
        r#""created":"#,
        r#""total_duration":"#,
        r#""load_duration":"#,
        r#""prompt_eval_duration":"#,
        r#""eval_duration":"#,
        r#""id":"#,
    ] {
        let mut kept = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(key) {
            kept.push_str(before);
            kept.push_str(key);
            rest = &after[after.find([',', '}']).unwrap()..];
        }
        kept.push_str(rest);
        text = kept;
    }
    text
}

/// The text of an answer in any format, streamed or whole.
fn said(reply: &Reply) -> String {
    let text = reply.text();
    let mut events: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok())
        .collect();
    if events.is_empty() {
        events = vec![reply.json()];
    }
    let places = [
        "/choices/0/delta/content",
        "/choices/0/message/content",
        "/choices/0/text",
        "/delta/text",
        "/content/0/text",
        "/message/content",
        "/response",
    ];
    let text = |event: &Value| {
        let found = places
            .iter()
            .find_map(|place| event.pointer(place)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    events.iter().map(text).collect()
}

/// Ollama's servers are asked by their own API, whatever the client speaks; what they say is the same.
#[tokio::test]
async fn other_formats_say_what_the_servers_own_would() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2,qwen3:8b", "--seed", "7"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let native = (
        "/api/chat",
        chat(
            "llama3.2",
            "x",
            r#","stream":false,"options":{"num_predict":20}"#,
        ),
    );
    let prompt = (
        "/api/generate",
        r#"{"model":"llama3.2","prompt":"x","stream":false,"options":{"num_predict":20}}"#
            .to_owned(),
    );
    for (path, body, (native_path, native_body)) in [
        (
            "/v1/chat/completions",
            chat("llama3.2", "x", r#","max_tokens":20,"stream":true"#),
            &native,
        ),
        (
            "/v1/chat/completions",
            chat("llama3.2", "x", r#","max_completion_tokens":20"#),
            &native,
        ),
        (
            "/v1/messages",
            chat("llama3.2", "x", r#","max_tokens":20,"stream":true"#),
            &native,
        ),
        (
            "/v1/messages",
            chat("llama3.2", "x", r#","max_tokens":20"#),
            &native,
        ),
        (
            "/v1/completions",
            r#"{"model":"llama3.2","prompt":"x","max_tokens":20}"#.to_owned(),
            &prompt,
        ),
    ] {
        let direct = post(sim.servers[0], native_path, native_body).await;
        let through = post(gateway.address, path, &body).await;
        assert_eq!(through.status, 200, "{path}: {}", through.text());
        assert_eq!(through.ending, Ending::Whole);
        assert!(!said(&direct).is_empty(), "{path}: {}", direct.text());
        assert_eq!(said(&through), said(&direct), "{path} {body}");
    }
}
