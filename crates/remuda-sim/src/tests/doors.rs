//! Ollama's Anthropic-compatible route, and that of Responses.

use super::*;
use serde_json::json;

/// The events of a stream: the name of each, and its data, which names it again.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    assert_eq!(answer.content_type(), "text/event-stream");
    let events = answer.text().split_terminator("\n\n");
    events
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let name = name.strip_prefix("event: ").unwrap().to_owned();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(data["type"], name.as_str());
            (name, data)
        })
        .collect()
}

/// The names of events, each once where it is repeated.
fn names(events: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|(name, _)| &**name).collect();
    names.dedup();
    names
}

/// All that deltas add, of events of that name.
fn said(events: &[(String, Value)], name: &str, field: fn(&Value) -> &Value) -> String {
    let of_name = events.iter().filter(|(event, _)| event == name);
    of_name
        .filter_map(|(_, data)| field(data).as_str())
        .collect()
}

fn message(model: &str, more: Value) -> String {
    let mut body = json!({"model": model, "max_tokens": 12, "messages": [{"role": "user", "content": "Hello"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn tool() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
}

#[tokio::test]
async fn a_message_is_answered_whole_and_as_a_stream_alike() {
    let running = fast("qwen3:8b").await;
    let think = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 500});
    let whole = post(
        &running,
        "/v1/messages",
        &message("qwen3:8b", think.clone()),
    )
    .await;
    assert_eq!(
        (whole.status.as_u16(), whole.content_type()),
        (200, "application/json")
    );
    let whole = whole.json();
    assert_eq!(
        (&whole["type"], &whole["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(whole["stop_reason"], "end_turn");
    let (thought, text) = (&whole["content"][0], &whole["content"][1]);
    assert_eq!(
        (&thought["type"], &text["type"]),
        (&json!("thinking"), &json!("text"))
    );
    assert!(thought.get("signature").is_none());
    let mut streamed = think;
    streamed["stream"] = json!(true);
    let events = events(&post(&running, "/v1/messages", &message("qwen3:8b", streamed)).await);
    assert_eq!(
        names(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let delta = "content_block_delta";
    assert_eq!(
        said(&events, delta, |data| &data["delta"]["text"]),
        text["text"].as_str().unwrap()
    );
    let thoughts = said(&events, delta, |data| &data["delta"]["thinking"]);
    assert_eq!(thoughts, thought["thinking"].as_str().unwrap());
    let (_, last) = &events[events.len() - 2];
    assert_eq!(last["usage"], whole["usage"]);
}

#[tokio::test]
async fn messages_are_checked_in_ollamas_words_and_anthropics_shape() {
    let running = fast("llama3.2").await;
    for (body, status, kind, words) in [
        (
            json!({"max_tokens": 1, "messages": []}),
            400,
            "invalid_request_error",
            "model is required",
        ),
        (
            json!({"model": "llama3.2", "messages": []}),
            400,
            "invalid_request_error",
            "max_tokens is required and must be positive",
        ),
        (
            json!({"model": "llama3.2", "max_tokens": 1, "messages": []}),
            400,
            "invalid_request_error",
            "messages is required",
        ),
        (
            json!({"model": "nobody", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}),
            404,
            "not_found_error",
            "model 'nobody' not found",
        ),
        (
            json!({"model": "llama3.2", "max_tokens": 1, "messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}]}]}),
            400,
            "invalid_request_error",
            "invalid image source type: url. Only base64 images are supported.",
        ),
    ] {
        let answer = post(&running, "/v1/messages", &body.to_string()).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        let told = answer.json();
        assert_eq!(told["error"], json!({"type": kind, "message": words}));
        assert_eq!(told["type"], "error");
        assert!(told["request_id"].as_str().unwrap().starts_with("req_"));
    }
    // A model that cannot think is not asked to, and there is no route that counts tokens.
    let think = json!({"thinking": {"type": "enabled"}});
    let answer = post(&running, "/v1/messages", &message("llama3.2", think)).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let count = post(
        &running,
        "/v1/messages/count_tokens",
        &message("llama3.2", json!({})),
    )
    .await;
    assert_eq!(count.status.as_u16(), 404);
}

#[tokio::test]
async fn tools_are_called_and_their_results_read_by_either_route() {
    let running = fast("llama3.2").await;
    let tools = json!([{"name": "f", "description": "d", "input_schema": tool()}]);
    let asked = message(
        "llama3.2",
        json!({"tools": tools, "stream": true, "max_tokens": 500}),
    );
    let streamed = events(&post(&running, "/v1/messages", &asked).await);
    let arguments = said(
        &streamed,
        "content_block_delta",
        |data| &data["delta"]["partial_json"],
    );
    assert!(serde_json::from_str::<Value>(&arguments).unwrap()["n"].is_i64());
    assert_eq!(
        streamed[streamed.len() - 2].1["delta"]["stop_reason"],
        "tool_use"
    );
    let history = json!({"max_tokens": 500, "tools": tools, "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"n": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "two"}]},
    ]});
    let answered = post(&running, "/v1/messages", &message("llama3.2", history))
        .await
        .json();
    assert_eq!(answered["stop_reason"], "end_turn", "{answered}");

    let tools =
        json!([{"type": "function", "name": "f", "parameters": tool()}, {"type": "web_search"}]);
    let asked = json!({"model": "llama3.2", "input": "Hello", "tools": tools, "stream": true});
    let streamed = events(&post(&running, "/v1/responses", &asked.to_string()).await);
    let arguments = "response.function_call_arguments";
    let told = said(
        &streamed,
        &format!("{arguments}.delta"),
        |data| &data["delta"],
    );
    assert_eq!(
        told,
        said(
            &streamed,
            &format!("{arguments}.done"),
            |data| &data["arguments"]
        )
    );
    let call = &streamed.last().unwrap().1["response"]["output"][0];
    assert_eq!(
        (&call["type"], &call["arguments"]),
        (&json!("function_call"), &json!(told))
    );
    let input = json!([
        {"role": "user", "content": "Hello"},
        call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "two"},
    ]);
    let asked = json!({"model": "llama3.2", "input": input, "tools": tools});
    let answered = post(&running, "/v1/responses", &asked.to_string())
        .await
        .json();
    assert_eq!(answered["output"][0]["type"], "message", "{answered}");
}

#[tokio::test]
async fn a_response_is_answered_whole_and_as_a_stream_alike() {
    let running = fast("qwen3:8b").await;
    let mut body = json!({"model": "qwen3:8b", "instructions": "Be brief.", "reasoning": {"effort": "high"}, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    ]});
    let whole = post(&running, "/v1/responses", &body.to_string())
        .await
        .json();
    assert_eq!(
        (&whole["object"], &whole["status"]),
        (&json!("response"), &json!("completed"))
    );
    body["stream"] = json!(true);
    let events = events(&post(&running, "/v1/responses", &body.to_string()).await);
    for (place, (_, event)) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], place);
    }
    let last = &events.last().unwrap().1["response"];
    let kinds: Vec<&Value> = last["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["type"])
        .collect();
    assert_eq!(kinds, ["reasoning", "message"]);
    let text = said(&events, "response.output_text.delta", |data| &data["delta"]);
    assert_eq!(last["output"][1]["content"][0]["text"], text);
    assert_eq!(whole["output"][1]["content"][0]["text"], text);
    assert_eq!(whole["usage"], last["usage"]);
    assert_eq!(
        names(&events)[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_text.delta"
        ]
    );
    // One that is cut short is as complete as any other.
    body["max_output_tokens"] = json!(3);
    body["stream"] = json!(false);
    let short = post(&running, "/v1/responses", &body.to_string())
        .await
        .json();
    assert_eq!(
        (&short["status"], &short["max_output_tokens"]),
        (&json!("completed"), &json!(3))
    );
    assert_eq!(short["incomplete_details"], Value::Null);
    assert_eq!(short["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn items_that_ollama_does_not_know_are_refused() {
    let running = fast("llama3.2").await;
    for input in [
        json!([{"type": "item_reference", "id": "msg_1"}]),
        json!([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]),
        Value::Null,
    ] {
        let body = json!({"model": "llama3.2", "input": input});
        let answer = post(&running, "/v1/responses", &body.to_string()).await;
        assert_eq!(answer.status.as_u16(), 400, "{input} {}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn an_error_in_mid_stream_is_swallowed() {
    let running = fast("llama3.2").await;
    running.inject(&fault("error:tokens=3"));
    for (path, body, last) in [
        (
            "/v1/messages",
            message("llama3.2", json!({"stream": true})),
            "message_stop",
        ),
        (
            "/v1/responses",
            json!({"model": "llama3.2", "input": "Hello", "stream": true}).to_string(),
            "response.completed",
        ),
    ] {
        let answer = post(&running, path, &body).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert!(
            !names(&events(&answer)).contains(&last),
            "{}",
            answer.text()
        );
    }
}
