//! Anthropic, Google and Bedrock over real connections: how each refuses, breaks off and ends too early.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::{Options, Running, start};

/// A provider with a format of its own, and what asks it for a streamed answer.
struct Format {
    dialect: Dialect,
    path: &'static str,
    headers: &'static str,
    body: &'static str,
    /// What a complete stream has at its end.
    end: &'static [u8],
}

const ANTHROPIC: Format = Format {
    dialect: Dialect::Anthropic,
    path: "/v1/messages",
    headers: "x-api-key: sim-key\r\nanthropic-version: 2023-06-01\r\n",
    body: r#"{"model":"claude-haiku-4-5","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
    end: b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
};

const GOOGLE: Format = Format {
    dialect: Dialect::Google,
    path: "/v1beta/models/gemini-2.5-flash-lite:streamGenerateContent?alt=sse",
    headers: "x-goog-api-key: sim-key\r\n",
    body: r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
    end: b"\"finishReason\":\"STOP\"",
};

const BEDROCK: Format = Format {
    dialect: Dialect::Bedrock,
    path: "/model/amazon.nova-lite-v1%3A0/converse-stream",
    headers: "authorization: Bearer sim-key\r\n",
    body: r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#,
    end: b"\"totalTokens\"",
};

impl Format {
    async fn start(&self) -> Running {
        let options = Options {
            machine: Machine::instant(),
            provider: Some(Setup::new(self.dialect)),
            ..Options::default()
        };
        start(options).await.unwrap()
    }

    /// Everything that comes back for one request under `fault`, head included, until the connection ends.
    async fn ask(&self, running: &Running, fault: &str) -> Vec<u8> {
        if !fault.is_empty() {
            let more = if fault.contains(':') { ',' } else { ':' };
            running.inject(&format!("{fault}{more}times=1").parse().unwrap());
        }
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            self.path,
            self.headers,
            self.body.len(),
            self.body
        );
        let mut stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    }
}

fn has(answer: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(answer, part).is_some()
}

#[track_caller]
fn assert_has(answer: &[u8], parts: &[&str]) {
    for part in parts {
        let shown = String::from_utf8_lossy(answer);
        assert!(has(answer, part.as_bytes()), "{part:?} is not in {shown}");
    }
}

#[tokio::test]
async fn a_stream_is_complete_unless_something_happens_to_it() {
    for format in [&ANTHROPIC, &GOOGLE, &BEDROCK] {
        let running = format.start().await;
        let whole = format.ask(&running, "").await;
        assert!(whole.starts_with(b"HTTP/1.1 200"));
        assert!(has(&whole, format.end) && whole.ends_with(b"0\r\n\r\n"));
        let ended = format.ask(&running, "end:tokens=4").await;
        assert!(ended.starts_with(b"HTTP/1.1 200"));
        assert!(!has(&ended, format.end) && ended.ends_with(b"0\r\n\r\n"));
        let cut = format.ask(&running, "cut:tokens=4").await;
        assert!(!has(&cut, format.end) && !cut.ends_with(b"0\r\n\r\n"));
        assert!(running.stats()[0].tokens > 8);
    }
}

#[tokio::test]
async fn anthropic_fails() {
    let running = ANTHROPIC.start().await;
    let busy = ANTHROPIC.ask(&running, "529:route=inference").await;
    assert_has(
        &busy,
        &[
            "HTTP/1.1 529",
            "request-id: req_011",
            "\"overloaded_error\"",
        ],
    );
    let limited = ANTHROPIC.ask(&running, "429:retry_after=7").await;
    assert_has(
        &limited,
        &[
            "HTTP/1.1 429",
            "retry-after: 7\r\n",
            "anthropic-ratelimit-requests-remaining: 0\r\n",
        ],
    );
    let first = ANTHROPIC.ask(&running, "error").await;
    assert_has(
        &first,
        &["HTTP/1.1 200", "event: error\ndata: {\"error\":{"],
    );
    assert!(!has(&first, b"message_start"));
    let later = ANTHROPIC
        .ask(&running, "error:tokens=2,code=api_error")
        .await;
    assert_has(
        &later,
        &[
            "event: message_start",
            "text_delta",
            "\"type\":\"api_error\"",
        ],
    );
}

#[tokio::test]
async fn google_fails() {
    let running = GOOGLE.start().await;
    let limited = GOOGLE.ask(&running, "429:retry_after=7").await;
    assert_has(
        &limited,
        &[
            "HTTP/1.1 429",
            "\"retryDelay\": \"7s\"",
            "RESOURCE_EXHAUSTED",
        ],
    );
    assert!(!has(&limited, b"retry-after"));
    let busy = GOOGLE.ask(&running, "503").await;
    assert_has(&busy, &["HTTP/1.1 503", "\"status\": \"UNAVAILABLE\""]);
    let later = GOOGLE.ask(&running, "error:tokens=2").await;
    assert_has(
        &later,
        &[
            "HTTP/1.1 200",
            "data: {\"candidates\"",
            "{\n  \"error\": {\n    \"code\": 503,\n",
        ],
    );
}

#[tokio::test]
async fn bedrock_fails() {
    let running = BEDROCK.start().await;
    let limited = BEDROCK.ask(&running, "429:retry_after=7").await;
    assert_has(
        &limited,
        &["HTTP/1.1 429", "x-amzn-errortype: ThrottlingException"],
    );
    assert!(!has(&limited, b"retry-after"));
    let later = BEDROCK
        .ask(
            &running,
            "error:tokens=2,code=throttlingException,message=slow down",
        )
        .await;
    assert_has(
        &later,
        &[
            "messageStart",
            ":exception-type",
            "throttlingException",
            "{\"message\":\"slow down\"}",
        ],
    );
    let unknown = BEDROCK
        .ask(&running, "error:tokens=2,code=InternalFailure")
        .await;
    assert_has(
        &unknown,
        &[":error-code", "InternalFailure", ":error-message"],
    );
}
