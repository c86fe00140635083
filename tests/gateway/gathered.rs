//! Whole answers of a fleet: asked for as streams where the model's answers take long or nothing is known of them, and put
//! together as their server would have said them, so that they have the limits of streams.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{
    Asked, Config, Format, Gateway, STREAM_HEAD, Simulation, Step, Upstream, chat, chunk,
    json as answer, post,
};

/// Of a chat, as a real server writes its lines.
const CHAT: [&str; 4] = [
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.1Z","message":{"role":"assistant","content":"","thinking":"hm \u003c"},"done":false}"#,
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.2Z","message":{"role":"assistant","content":"one"},"done":false,"logprobs":[{"token":"one","logprob":-0.1}]}"#,
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.3Z","message":{"role":"assistant","content":" two","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"done":false,"logprobs":[{"token":" two","logprob":-0.2}]}"#,
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.4Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":257615190,"load_duration":253945227,"prompt_eval_count":33,"prompt_eval_duration":978000,"eval_count":6,"eval_duration":806000}"#,
];
const CHAT_WHOLE: &str = r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.4Z","message":{"role":"assistant","content":"one two","thinking":"hm \u003c","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"done":true,"done_reason":"stop","logprobs":[{"token":"one","logprob":-0.1},{"token":" two","logprob":-0.2}],"total_duration":257615190,"load_duration":253945227,"prompt_eval_count":33,"prompt_eval_duration":978000,"eval_count":6,"eval_duration":806000}"#;

const GENERATE: [&str; 3] = [
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.1Z","response":"","thinking":"hm","done":false}"#,
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.2Z","response":" your","done":false}"#,
    r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.3Z","response":" time","done":true,"done_reason":"length","context":[3,122,120],"total_duration":2940717,"load_duration":551023,"prompt_eval_count":25,"prompt_eval_duration":379000,"eval_count":6,"eval_duration":741000}"#,
];
const GENERATE_WHOLE: &str = r#"{"model":"scripted","created_at":"2026-11-30T11:56:19.3Z","response":" your time","thinking":"hm","done":true,"done_reason":"length","context":[3,122,120],"total_duration":2940717,"load_duration":551023,"prompt_eval_count":25,"prompt_eval_duration":379000,"eval_count":6,"eval_duration":741000}"#;

/// A stream of these lines, with a pause before each.
fn stream(lines: &[&str], pause: Duration) -> Vec<Step> {
    let mut steps = vec![Step::Send(STREAM_HEAD.to_vec())];
    for line in lines {
        steps.push(Step::Pause(pause));
        steps.push(Step::Send(chunk(format!("{line}\n").as_bytes())));
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

fn streams(asked: &Asked) -> bool {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    body["stream"] != false
}

/// A server that streams if it is asked to, with a pause before each line, and answers whole if not.
async fn server(pause: Duration) -> Upstream {
    Upstream::start(move |asked| {
        let (lines, whole): (&[&str], _) = if asked.head.starts_with("POST /api/chat") {
            (&CHAT, CHAT_WHOLE)
        } else {
            (&GENERATE, GENERATE_WHOLE)
        };
        if streams(asked) {
            stream(lines, pause)
        } else {
            vec![Step::Send(answer(200, whole))]
        }
    })
    .await
}

#[tokio::test]
async fn a_whole_answer_is_put_together_as_its_server_would_have_said_it() {
    // Nothing is seen of it for longer than a server may take to begin, if it is not streamed.
    let server = server(Duration::from_millis(400)).await;
    let config = Config::over(&[server.address])
        .set("timeouts.first_byte", "700ms")
        .set("timeouts.silent", "700ms")
        .set("routing.max_retries", 0);
    let gateway = Gateway::over(&config, 1).await;
    let generate = r#"{"stream":false,"model":"scripted","prompt":"hi"}"#.to_owned();
    for (path, body, whole) in [
        (
            "/api/chat",
            chat("scripted", "hi", r#","stream":false"#),
            CHAT_WHOLE,
        ),
        ("/api/generate", generate, GENERATE_WHOLE),
    ] {
        let before = server.asked().len();
        let reply = post(gateway.address, path, &body).await;
        assert_eq!((reply.status, reply.text()), (200, whole), "{path}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(
            reply.header("content-length"),
            Some(&*whole.len().to_string())
        );
        assert_eq!(reply.header("transfer-encoding"), None);
        assert_eq!(reply.header("x-remuda-attempts"), Some("1"));
        let asked = &server.asked()[before];
        let expected = body.replace(r#""stream":false"#, r#""stream":true"#);
        assert_eq!(String::from_utf8_lossy(&asked.body), expected, "{path}");
    }
    for format in [Format::Chat, Format::Responses, Format::Anthropic] {
        let body = format.ask("scripted", "hi", false, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 200, "{format:?}: {}", reply.text());
        assert_eq!(format.text(&reply), "one two", "{format:?}");
        assert!(streams(server.asked().last().unwrap()), "{format:?}");
    }
    gateway.idle().await;
}

#[tokio::test]
async fn where_a_models_answers_are_known_to_be_quick_they_pass_as_they_are() {
    let server = server(Duration::ZERO).await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    let ask = async || {
        let body = chat("scripted", "hi", r#","stream":false"#);
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!((reply.status, reply.text()), (200, CHAT_WHOLE));
        gateway.idle().await;
        streams(server.asked().last().unwrap())
    };
    assert!(ask().await, "nothing is known of the model yet");
    assert!(!ask().await, "its answers are quick");
}

/// What a stall means is the same as of a stream, and nothing of the answer has been sent: another server gives it.
#[tokio::test]
async fn a_pause_or_an_error_amid_a_whole_answer_goes_to_another_server() {
    let sim = Simulation::start(2, &["--loaded", "llama3.2", "--keep-alive", "-1"]);
    let config = Config::over(&sim.servers)
        .set("timeouts.first_byte", "5s")
        .set("timeouts.between_chunks", "500ms");
    for format in Format::ALL {
        for (fault, outcome) in [
            (
                r#"{"kind":"stall","at":"body","tokens":3,"seconds":60,"times":1,"route":"/api/chat"}"#,
                "timeout",
            ),
            (
                r#"{"kind":"cut","tokens":3,"times":1,"route":"/api/chat"}"#,
                "reset",
            ),
            (
                r#"{"kind":"error","tokens":3,"message":"CUDA error","times":1,"route":"/api/chat"}"#,
                "error_line",
            ),
        ] {
            // One that does not know the model to be quick.
            let gateway = Gateway::over(&config, 2).await;
            sim.fault(0, fault).await;
            let began = Instant::now();
            let body = format.ask("llama3.2", "hi", false, json!({}));
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 200, "{format:?} {fault}: {}", reply.text());
            assert!(!format.text(&reply).is_empty(), "{format:?}");
            assert_eq!(
                reply.header("x-remuda-attempts"),
                Some("2"),
                "{format:?} {fault}"
            );
            assert_eq!(gateway.attempts(outcome).await, 1.0, "{format:?} {fault}");
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{format:?} {fault}"
            );
            sim.no_faults().await;
            gateway.idle().await;
        }
    }
}
