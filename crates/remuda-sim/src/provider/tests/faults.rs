//! Faults in a provider's shape, over real connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::{Options, Running, start};

async fn simulated(dialect: Dialect, faults: &[&str]) -> Running {
    let options = Options {
        machine: Machine::instant(),
        provider: Some(Setup::new(dialect)),
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ..Options::default()
    };
    start(options).await.unwrap()
}

/// Everything that comes back for one request, head included, until the connection ends.
async fn post(running: &Running, path: &str, body: &Value) -> String {
    let mut stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nauthorization: Bearer sim-key\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

const CHAT: &str = "/v1/chat/completions";

fn streamed() -> Value {
    with(&saying("gpt-4o", "hi"), json!({"stream": true}))
}

#[tokio::test]
async fn a_request_is_answered_counted_and_kept() {
    let running = simulated(Dialect::Openai, &[]).await;
    let answer = post(&running, CHAT, &streamed()).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(answer.contains("data: [DONE]"));
    let stats = &running.stats()[0];
    assert_eq!(
        (stats.completed, stats.requests["POST /v1/chat/completions"]),
        (1, 1)
    );
    assert!(stats.tokens > 3);
    let last = stats.last_request.as_ref().unwrap();
    assert_eq!(last.body.as_deref(), Some(streamed().to_string().as_str()));
    // What runs no model leaves the last one that did.
    post(&running, "/v1/models", &json!({})).await;
    let stats = &running.stats()[0];
    let last = stats.last_request.as_ref().unwrap();
    assert_eq!(last.target, "/v1/models");
    let last = stats.last_inference.as_ref().unwrap();
    assert_eq!(last.target, CHAT);
}

#[tokio::test]
async fn a_status_has_the_providers_words_and_headers() {
    let running = simulated(
        Dialect::Openai,
        &[
            "429:times=1,route=inference",
            "400:times=1,body=<html>,route=inference",
        ],
    )
    .await;
    let answer = post(&running, CHAT, &streamed()).await;
    // Of two statuses the later one is what the server answers.
    assert!(
        answer.starts_with("HTTP/1.1 400")
            && answer.contains("text/html")
            && answer.ends_with("<html>")
    );
    running.inject(&"429:times=1,retry_after=7".parse().unwrap());
    let answer = post(&running, CHAT, &streamed()).await;
    assert!(answer.starts_with("HTTP/1.1 429"));
    assert!(
        answer.contains("retry-after: 7\r\n")
            && answer.contains("x-ratelimit-remaining-requests: 0")
    );
    assert!(answer.contains("\"rate_limit_exceeded\""));
    assert!(
        post(&running, CHAT, &streamed())
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn an_error_comes_where_it_is_asked_for() {
    for (fault, chunks) in [("error", 0), ("error:events=1", 1), ("error:tokens=2", 3)] {
        let running = simulated(Dialect::Openai, &[fault]).await;
        let answer = post(&running, CHAT, &streamed()).await;
        assert_eq!(
            answer.matches("chat.completion.chunk").count(),
            chunks,
            "{fault}: {answer}"
        );
        assert!(answer.contains("data: {\"error\":") && !answer.contains("[DONE]"));
        assert_eq!(running.stats()[0].failed, 1);
        let whole = post(&running, CHAT, &saying("gpt-4o", "hi")).await;
        assert!(whole.starts_with("HTTP/1.1 500"), "{fault}: {whole}");
    }
}

#[tokio::test]
async fn a_stream_may_end_early_cleanly_or_not() {
    let running = simulated(Dialect::Openai, &["end:tokens=1,times=1"]).await;
    let answer = post(&running, CHAT, &streamed()).await;
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    assert!(!answer.contains("[DONE]") && !answer.contains("\"stop\""));
    running.inject(&"end:at=last,times=1".parse().unwrap());
    let answer = post(&running, CHAT, &streamed()).await;
    assert!(!answer.contains("[DONE]") && answer.contains("\"stop\""));
    running.inject(&"cut:tokens=1,times=1".parse().unwrap());
    let answer = post(&running, CHAT, &streamed()).await;
    assert!(answer.contains("data: ") && !answer.ends_with("0\r\n\r\n"));
    assert_eq!(running.stats()[0].aborted, 1);
}

#[tokio::test]
async fn failures_hide_under_a_200_where_they_do() {
    let running = simulated(Dialect::Openrouter, &["error"]).await;
    let body = saying("openai/gpt-4o", "hi");
    let answer = post(&running, "/api/v1/chat/completions", &body).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"error\":{\"code\":502"));
    let running = simulated(Dialect::Responses, &["error:events=2"]).await;
    let body = json!({"model": "gpt-4o", "input": "hi", "stream": true});
    let answer = post(&running, "/v1/responses", &body).await;
    assert!(answer.contains("event: response.failed") && answer.contains("\"sequence_number\":2"));
}
