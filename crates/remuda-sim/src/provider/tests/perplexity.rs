//! Perplexity's Agent API.

use super::*;

const PATH: &str = "/v1/responses";

fn perplexity() -> Client {
    Client::new(Dialect::Perplexity, "authorization", "Bearer sim-key")
}

fn input(said: &str) -> Value {
    json!({"model": "perplexity/sonar", "input": [{"type": "message", "role": "user", "content": said}]})
}

/// The events of a stream, which have no names.
fn events(stream: &str) -> Vec<Value> {
    assert!(!stream.contains("event:") && !stream.contains("[DONE]"));
    let events = data(stream);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    events
}

#[test]
fn routes_and_keys() {
    let mut client = perplexity();
    client.whole("/v1/agent", &json!({"preset": "fast", "input": "hi"}));
    let (status, error) = client.refused("/chat/completions", &saying("sonar", "hi"));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Sonar is now the Agent API")
    );
    assert_eq!((status, error["code"].as_u64()), (400, Some(400)));
    let (_, error) = client.refused(
        PATH,
        &with(&input("hi"), json!({"model": "perplexity/sonar-pro"})),
    );
    assert_eq!(error["type"], "invalid_model");
    client.headers.clear();
    assert_eq!(client.refused(PATH, &input("hi")).0, 401);
    assert_eq!(value(&client.get("/v1/models"))["object"], "list");
}

#[test]
fn unknown_fields_are_refused_at_every_depth() {
    let client = perplexity();
    for (fields, name) in [
        (json!({"seed": 1}), "seed"),
        (json!({"stop": ["a"]}), "stop"),
        (json!({"text": {"format": {"type": "text"}}}), "text"),
        (json!({"reasoning": {"summary": "auto"}}), "summary"),
        (
            json!({"tools": [{"type": "web_search", "depth": 1}]}),
            "depth",
        ),
        (
            json!({"input": [{"type": "message", "role": "user", "content": "x", "cache_control": {}}]}),
            "cache_control",
        ),
    ] {
        let reply = client.post(PATH, &with(&input("hi"), fields));
        let message = value(&reply)["error"]["message"].clone();
        assert_eq!(
            message,
            format!("invalid request body: json: unknown field \"{name}\"")
        );
    }
    let untyped = json!({"model": "perplexity/sonar", "input": [{"role": "user", "content": "x"}]});
    assert_eq!(client.refused(PATH, &untyped).0, 400);
    let claude = with(&input("hi"), json!({"model": "anthropic/claude-sonnet-5"}));
    assert_eq!(client.refused(PATH, &claude).0, 400);
    client.whole(PATH, &with(&claude, json!({"max_output_tokens": 5})));
    let named = json!({"tools": [{"type": "function", "name": "web_search"}]});
    assert_eq!(client.refused(PATH, &with(&input("hi"), named)).0, 400);
}

#[test]
fn searches_bring_sources_and_cost() {
    let client = perplexity();
    let body = with(
        &input("what is new"),
        json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}),
    );
    let whole = client.whole(PATH, &body);
    assert_eq!(whole["output"][0]["type"], "search_results");
    assert_eq!(whole["output"][0]["results"][0]["id"], 1);
    assert!(
        whole["output"][1]["content"][0]["text"]
            .as_str()
            .unwrap()
            .ends_with("[1]")
    );
    assert_eq!(
        whole["usage"]["tool_calls_details"]["search_web"]["invocation"],
        1
    );
    assert!(whole["usage"]["cost"]["total_cost"].as_f64().unwrap() > 0.005);
    let events = events(&client.stream(PATH, &with(&body, json!({"stream": true}))));
    let types: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(
        types[..6],
        [
            "response.created",
            "response.in_progress",
            "response.reasoning.started",
            "response.reasoning.search_queries",
            "response.reasoning.search_results",
            "response.reasoning.stopped",
        ]
    );
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"], whole["usage"]);
    assert_eq!(
        joined(&events, "/delta"),
        whole["output"][1]["content"][0]["text"]
    );
}

#[test]
fn functions_are_called_and_answered() {
    let client = perplexity();
    let mut tool = function("get_time")["function"].clone();
    tool["type"] = "function".into();
    let body = with(&input("use get_time"), json!({"tools": [tool]}));
    let call = client.whole(PATH, &body)["output"][0].clone();
    assert_eq!(call["type"], "function_call");
    let mut next = body.clone();
    let items = next["input"].as_array_mut().unwrap();
    items.push(json!({"type": "function_call", "call_id": call["call_id"], "name": "get_time", "arguments": call["arguments"]}));
    items.push(
        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "noon"}),
    );
    assert!(
        client
            .whole(PATH, &next)
            .to_string()
            .contains("The tools said: noon")
    );
}

#[test]
fn schemas_come_as_chat_has_them() {
    let client = perplexity();
    let schema = json!({"type": "object", "properties": {"days": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let whole = client.whole(
        PATH,
        &with(&input("hi"), json!({"response_format": format})),
    );
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["days"].is_i64());
}

#[test]
fn failed_runs_are_200() {
    let client = perplexity();
    let request = client.request(Method::POST, PATH, &input("hi"));
    let whole = client.provider.fail_whole(&request, &failed(500, None));
    assert_eq!(
        (whole.status.as_u16(), value(&whole)["status"].as_str()),
        (200, Some("failed"))
    );
    let bytes = client.provider.break_off(&request, &failed(500, None), 5);
    let event = data(std::str::from_utf8(&bytes).unwrap())[0].clone();
    assert_eq!(
        (&event["type"], &event["sequence_number"]),
        (&json!("response.failed"), &json!(5))
    );
    let limited = client.provider.refuse(&request, &failed(429, None));
    assert_eq!(
        value(&limited)["error"]["type"],
        "request_rate_limit_exceeded"
    );
    assert_eq!(limited.headers["x-ratelimit-remaining-requests"], "0");
}
