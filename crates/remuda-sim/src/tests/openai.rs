//! The OpenAI-compatible routes.

use super::*;
use serde_json::json;

fn events(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.content_type(), "text/event-stream");
    answer
        .text()
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_chat_streams_events() {
    let running = fast("llama3.2").await;
    let more = r#"],"stream":true,"stream_options":{"include_usage":true},"max_tokens":4}"#;
    let answer = post(&running, "/v1/chat/completions", &CHAT.replace("]}", more)).await;
    let events = events(&answer);
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert_eq!(chunks.len(), 4 + 1 + 1);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[4]["choices"][0]["delta"], json!({}));
    assert_eq!(chunks[5]["choices"], json!([]));
    assert_eq!(chunks[5]["usage"]["completion_tokens"], 4);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
}

#[tokio::test]
async fn whole_answers_of_both_kinds() {
    let running = fast("qwen3:8b").await;
    let chat = CHAT.replace("llama3.2", "qwen3:8b");
    let answer = post(&running, "/v1/chat/completions", &chat).await.json();
    let message = &answer["choices"][0]["message"];
    assert!(message["reasoning"].is_string() && message["content"].is_string());
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let text = r#"{"model":"qwen3:8b","prompt":"once"}"#;
    let answer = post(&running, "/v1/completions", text).await.json();
    assert_eq!(answer["object"], "text_completion");
    assert!(answer["choices"][0]["text"].is_string());
}

#[tokio::test]
async fn tool_calls_have_their_arguments_as_text() {
    let running = fast("llama3.2").await;
    let tools = r#"],"tools":[{"type":"function","function":{"name":"f","parameters":
        {"type":"object","properties":{"n":{"type":"integer"}}}}}]}"#;
    let answer = post(&running, "/v1/chat/completions", &CHAT.replace("]}", tools))
        .await
        .json();
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    let arguments = call["function"]["arguments"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(arguments).unwrap()["n"].is_i64());
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn parts_are_read_and_links_refused() {
    let running = fast("llava").await;
    let body = |url: &str| {
        format!(
            r#"{{"model":"llava","messages":[{{"role":"user","content":[{{"type":"text","text":"?"}},
            {{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    let path = "/v1/chat/completions";
    let seen = post(&running, path, &body("data:image/png;base64,iVBORw0KGgo=")).await;
    assert_eq!(seen.status, 200);
    let link = post(&running, path, &body("https://example.com/a.png")).await;
    assert_eq!(link.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn embeddings_in_both_encodings() {
    let running = fast("all-minilm").await;
    let body = r#"{"model":"all-minilm","input":"a","encoding_format":"base64"}"#;
    let answer = post(&running, "/v1/embeddings", body).await.json();
    let coded = answer["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(coded.len(), 384 * 4 / 3 * 4);
    let body = r#"{"model":"all-minilm","input":["a","b"]}"#;
    let answer = post(&running, "/v1/embeddings", body).await.json();
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(
        answer["data"][1]["embedding"].as_array().unwrap().len(),
        384
    );
}

#[tokio::test]
async fn models_are_listed() {
    let running = fast("qwen3:8b").await;
    let list = get(&running, "/v1/models").await.json();
    assert_eq!(list["data"][0]["id"], "qwen3:8b");
    assert_eq!(list["data"][0]["owned_by"], "library");
    assert_eq!(get(&running, "/v1/models/qwen3%3A8b").await.status, 200);
    let missing = get(&running, "/v1/models/nope").await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn a_mid_stream_error_is_swallowed_as_ollama_does() {
    let running = fast("llama3.2").await;
    running.inject(&fault("error:tokens=2"));
    let body = CHAT.replace("]}", r#"],"stream":true}"#);
    let events = events(&post(&running, "/v1/chat/completions", &body).await);
    assert_eq!(events.len(), 2 + 1);
    assert!(!events.iter().any(|event| event == "[DONE]"));
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["choices"][0]["delta"]["content"], "");
    assert_eq!(last["choices"][0]["finish_reason"], Value::Null);
}
