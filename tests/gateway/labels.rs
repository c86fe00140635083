//! What servers say of their answers and do not do: types that are not those of the bytes, bodies that stay open, and
//! answers to another question. Each is judged alike whether it passes or is translated.

use std::time::{Duration, Instant};

use crate::reading::*;
use crate::support::*;

#[tokio::test]
async fn a_wrong_content_type_is_put_right() {
    for case in PASSING {
        for kind in ["text/plain", "text/event-stream", "application/json", ""] {
            let script = move |number: usize| {
                let text = match number {
                    0 => case.whole.to_owned(),
                    _ => case.stream(),
                };
                let head = match kind {
                    "" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                    kind => format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
                    ),
                };
                let body = [chunk(text.as_bytes()), b"0\r\n\r\n".to_vec()].concat();
                vec![Step::Send([head.into_bytes(), body].concat())]
            };
            let (_server, gateway) = alone(case, script).await;
            let whole = ask(&gateway, &case, 0, false).await;
            let what = format!("{} {kind}: {}", case.path, whole.text());
            assert_eq!((whole.status, whole.text()), (200, case.whole), "{what}");
            let label = whole.header("content-type").unwrap_or_default();
            assert!(label.starts_with("application/json"), "{label} {what}");
            let stream = ask(&gateway, &case, 1, true).await;
            assert_eq!(
                (stream.status, stream.text()),
                (200, &*case.stream()),
                "{what}"
            );
            let expected = match (case.is_fleet(), kind) {
                (false, _) => "text/event-stream",
                // By that name lines go as well.
                (true, "application/json") => kind,
                (true, _) => "application/x-ndjson",
            };
            assert_eq!(stream.header("content-type"), Some(expected), "{what}");
        }
    }
}

#[tokio::test]
async fn events_in_answer_to_a_whole_request_are_judged_by_the_first() {
    for case in [CHAT, RESPONSES, MESSAGES, ACROSS[1]] {
        let script = move |_: usize| {
            vec![
                Step::Send(open("text/event-stream", case.opening)),
                Step::Hold,
            ]
        };
        let (_server, gateway) = alone(case, script).await;
        let began = Instant::now();
        let reply = ask(&gateway, &case, 0, false).await;
        let what = format!("{} at {}: {}", case.path, case.kind, reply.text());
        // A translation may have asked for a stream.
        assert_eq!(reply.status, 502, "{what}");
        case.format.message(&reply);
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
    }
}

/// With the default of a minute between two chunks.
#[tokio::test]
async fn a_stream_that_lacks_nothing_is_over_though_its_body_stays_open() {
    let counts =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    for case in [CHAT, ACROSS[1]] {
        let script = move |_: usize| {
            let text = [case.opening, case.content, case.ending, counts].concat();
            vec![Step::Send(open("text/event-stream", &text)), Step::Hold]
        };
        let (_server, gateway) = alone(case, script).await;
        let began = Instant::now();
        let reply = ask(&gateway, &case, 0, true).await;
        let what = format!("{}: {}", case.path, reply.text());
        assert_eq!((reply.status, reply.ending), (200, Ending::Whole), "{what}");
        assert!(reply.text().contains("Hi"), "{what}");
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        ended(&gateway, "ok", 1.0).await;
    }
}

/// An answer of another operation is none, and an empty one that its provider calls complete is one.
#[tokio::test]
async fn an_answer_is_judged_alike_whether_it_passes_or_is_translated() {
    const EMPTY: &str = r#"{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":0,"total_tokens":3}}"#;
    let empty = Case {
        path: "/v1/chat/completions",
        format: Format::Chat,
        ..RESPONSES
    };
    for (case, body, status) in [
        (OLLAMA_CHAT, GENERATE.whole, 502),
        (ACROSS[0], GENERATE.whole, 502),
        (CHAT, COMPLETIONS.whole, 502),
        (ACROSS[1], COMPLETIONS.whole, 502),
        (RESPONSES, EMPTY, 200),
        (empty, EMPTY, 200),
    ] {
        let script = move |_: usize| vec![Step::Send(json(200, body))];
        let (_server, gateway) = alone(case, script).await;
        let reply = ask(&gateway, &case, 0, false).await;
        assert_eq!(
            reply.status,
            status,
            "{} {body}: {}",
            case.path,
            reply.text()
        );
    }
}
