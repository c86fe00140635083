use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::super::exchange::{Failed, Reply, Request};
use super::super::harness::{self, JPEG, PNG, bytes, failed, headers, value, with, world};
use super::super::{Dialect, Provider};
use super::Anthropic;

fn api() -> Anthropic {
    Anthropic::new(world(Dialect::Anthropic, Anthropic::MODELS))
}

fn request(method: Method, target: &str, body: impl Into<Vec<u8>>) -> Request {
    let headers = headers(&[
        ("x-api-key", "sim-key"),
        ("anthropic-version", "2023-06-01"),
        ("content-type", "application/json"),
    ]);
    harness::request(method, target, headers, body)
}

fn post(body: &Value) -> Request {
    request(Method::POST, "/v1/messages", body.to_string())
}

/// The events of a stream, each checked to be named by its type.
fn events(reply: &Reply) -> Vec<Value> {
    let text = String::from_utf8(bytes(reply)).unwrap();
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').unwrap();
        let value: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", value["type"].as_str().unwrap()));
        value
    };
    text.split_terminator("\n\n").map(event).collect()
}

/// A plain request, with what `patch` adds or replaces.
fn ask(patch: Value) -> Value {
    let body = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 2_000,
        "messages": [{"role": "user", "content": "hi there"}],
    });
    with(&body, patch)
}

#[track_caller]
fn taken(patch: Value) -> Value {
    let reply = api().answer(&post(&ask(patch)));
    assert_eq!(reply.status, 200, "{}", value(&reply));
    value(&reply)
}

#[track_caller]
fn refused(patch: Value, status: u16, words: &str) {
    let reply = api().answer(&post(&ask(patch)));
    let error = value(&reply);
    assert_eq!(reply.status, status, "{error}");
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], super::refused::kind(status));
    assert_eq!(
        reply.headers["request-id"],
        error["request_id"].as_str().unwrap()
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| json!({"name": name, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}});
    names.iter().map(tool).collect()
}

#[test]
fn a_whole_message() {
    let message = taken(json!({"system": "Be brief."}));
    assert_eq!(message["content"].as_array().unwrap().len(), 1);
    let text = message["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("You said: hi there [system: Be brief.]"),
        "{text}"
    );
    assert_eq!(message["stop_reason"], "end_turn");
    assert!(message["stop_sequence"].is_null());
    assert!(message["id"].as_str().unwrap().starts_with("msg_01"));
    let reply = api().answer(&post(&ask(json!({}))));
    assert_eq!(
        reply.headers["anthropic-ratelimit-requests-remaining"],
        "3999"
    );
    assert_eq!(
        reply.headers["anthropic-ratelimit-tokens-reset"],
        "2026-09-21T14:14:20Z"
    );
}

/// As Claude Code asks: the field is known to those who name its beta.
#[test]
fn a_history_is_managed_under_its_beta() {
    let wanted = json!({
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    });
    refused(
        wanted.clone(),
        400,
        "context_management: Extra inputs are not permitted",
    );
    let mut request = post(&ask(wanted));
    let beta = "claude-code-20250219,context-management-2025-06-27";
    let beta = HeaderValue::from_static(beta);
    request.headers.insert("anthropic-beta", beta);
    let reply = api().answer(&request);
    assert_eq!(reply.status.as_u16(), 200, "{}", value(&reply));
    assert_eq!(
        value(&reply)["context_management"]["applied_edits"],
        json!([])
    );
}

#[test]
fn keys_and_versions() {
    let answer = |change: &dyn Fn(&mut HeaderMap)| {
        let mut request = post(&ask(json!({})));
        change(&mut request.headers);
        let reply = api().answer(&request);
        (
            reply.status.as_u16(),
            value(&reply)["error"]["message"].clone(),
        )
    };
    let bearer = |token: &'static str| {
        move |headers: &mut HeaderMap| {
            headers.remove("x-api-key");
            headers.insert("authorization", HeaderValue::from_static(token));
            headers.insert("anthropic-version", HeaderValue::from_static("2026-10-21"));
        }
    };
    let without = |name: &'static str| move |headers: &mut HeaderMap| drop(headers.remove(name));
    assert_eq!(answer(&bearer("Bearer sim-key")).0, 200);
    assert_eq!(
        answer(&bearer("Bearer other")),
        (401, "Invalid bearer token".into())
    );
    assert_eq!(
        answer(&without("x-api-key")),
        (401, "x-api-key header is required".into())
    );
    assert_eq!(
        answer(&without("anthropic-version")),
        (400, "anthropic-version: header is required".into())
    );
}

#[test]
fn fields_and_their_types() {
    for (patch, words) in [
        (json!({"seed": 1}), "seed: Extra inputs are not permitted"),
        (json!({"messages": []}), "at least one message"),
        (
            json!({"max_tokens": "9"}),
            "max_tokens: Input should be a valid integer",
        ),
        (json!({"max_tokens": -1}), "greater than or equal to 0"),
        (
            json!({"max_tokens": 64_001}),
            "64001 > 64000, which is the maximum",
        ),
        (
            json!({"temperature": 1.5}),
            "temperature: Input should be less than or equal to 1",
        ),
        (
            json!({"stop_sequences": [" "]}),
            "must contain non-whitespace",
        ),
        (json!({"service_tier": "flex"}), "'auto' or 'standard_only'"),
        (
            json!({"output_config": {"format": {"type": "json_object"}}}),
            "Input should be 'json_schema'",
        ),
        (
            json!({"output_config": {"effort": "high"}}),
            "does not support the effort",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "name": "y"}]}),
            "messages.0.name: Extra",
        ),
    ] {
        refused(patch, 400, words);
    }
    let mut body = ask(json!({}));
    body.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(
        value(&api().answer(&post(&body)))["error"]["message"],
        "max_tokens: Field required"
    );
    refused(json!({"model": "gpt-4o"}), 404, "model: gpt-4o");
}

#[test]
fn texts_and_turns() {
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    refused(
        said(json!("")),
        400,
        "messages.0: all messages must have non-empty content",
    );
    refused(
        said(json!([{"type": "text", "text": ""}])),
        400,
        "must be non-empty",
    );
    refused(
        said(json!([{"type": "text", "text": " \n"}])),
        400,
        "non-whitespace",
    );
    refused(
        said(json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}])),
        400,
        "Input tag 'tool_use'",
    );
    let ends_with = |model: &str, text: &str| {
        json!({"model": model, "messages": [
            {"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]})
    };
    taken(ends_with("claude-haiku-4-5", "Well"));
    refused(
        ends_with("claude-haiku-4-5", "Well "),
        400,
        "trailing whitespace",
    );
    refused(
        ends_with("claude-sonnet-4-6", "Well"),
        400,
        "does not support assistant message prefill",
    );
    refused(
        json!({"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}]}),
        400,
        "first message",
    );
    // Neighbours of one role are one turn.
    taken(
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}),
    );
}

#[test]
fn images_are_what_they_say() {
    let image = |media_type: &str, data: &str| {
        json!({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}},
            {"type": "text", "text": "what is it?"}]}]})
    };
    let message = taken(image("image/png", PNG));
    assert!(
        message["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("[images: 1]")
    );
    refused(
        image("image/png", JPEG),
        400,
        "appears to be a image/jpeg image",
    );
    refused(image("image/bmp", PNG), 400, "Input should be 'image/jpeg'");
    refused(
        image("image/png", "data:image/png;base64,AA"),
        400,
        "invalid base64",
    );
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {"city": "Oslo"}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "rain"})
}

fn loops(calls: &[Value], answer: &[Value]) -> Value {
    json!({"tools": tools(&["f"]), "messages": [
        {"role": "user", "content": "use f"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": answer}]})
}

#[test]
fn every_call_has_its_result_directly_after_it() {
    let text = json!({"type": "text", "text": "and now?"});
    let message = taken(loops(
        &[call("a"), call("b")],
        &[result("b"), result("a"), text.clone()],
    ));
    assert_eq!(message["stop_reason"], "end_turn");
    let message = taken(loops(&[call("a")], &[result("a")]));
    assert!(
        message["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("rain")
    );
    let lost = "without `tool_result` blocks immediately after: a.";
    refused(loops(&[call("a")], std::slice::from_ref(&text)), 400, lost);
    refused(loops(&[call("a")], &[text, result("a")]), 400, lost);
    refused(
        loops(&[call("a")], &[result("a"), result("c")]),
        400,
        "unexpected `tool_use_id`",
    );
    refused(
        loops(&[call("a")], &[result("a"), result("a")]),
        400,
        "Found multiple",
    );
    refused(
        loops(&[call("a"), call("a")], &[result("a")]),
        400,
        "must be unique",
    );
    refused(
        loops(&[call("a:b")], &[result("a:b")]),
        400,
        "String should match pattern",
    );
    let mut wrong = call("a");
    wrong["input"] = "{}".into();
    refused(
        loops(&[wrong], &[result("a")]),
        400,
        "input: Input should be a valid dictionary",
    );
}

#[test]
fn tools_are_called_by_name() {
    let said = json!([{"role": "user", "content": "use get_time and get_weather"}]);
    let both = json!({"messages": said, "tools": tools(&["get_weather", "get_time"])});
    let message = taken(both.clone());
    assert_eq!(message["stop_reason"], "tool_use");
    let names: Vec<&Value> = message["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["name"])
        .collect();
    assert_eq!(names[names.len() - 2..], ["get_time", "get_weather"]);
    let mut one = both.clone();
    one["tool_choice"] =
        json!({"type": "tool", "name": "get_weather", "disable_parallel_tool_use": true});
    let message = taken(one.clone());
    assert_eq!(message["content"][0]["name"], "get_weather");
    assert!(message["content"][0]["input"]["city"].is_string());
    one["model"] = "claude-opus-5-5".into();
    refused(
        one,
        400,
        "tool_choice.type: 'tool' is not supported for this model",
    );
    let mut wrong = both;
    wrong["tool_choice"] = json!({"type": "required"});
    refused(wrong, 400, "Input tag 'required'");
    refused(
        json!({"tools": tools(&["a b"])}),
        400,
        "tools.0.custom.name: String should match",
    );
    refused(json!({"tools": tools(&["a", "a"])}), 400, "must be unique");
    refused(
        json!({"tools": [{"name": "a"}]}),
        400,
        "tools.0.custom.input_schema: Field required",
    );
    refused(
        json!({"tool_choice": {"type": "any"}}),
        400,
        "only be specified while providing tools",
    );
}

/// A request for a model, with what `patch` says.
fn on(model: &str, patch: Value) -> Value {
    with(&patch, json!({"model": model}))
}

#[test]
fn what_older_generations_refuse() {
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    for model in ["claude-haiku-4-5", "claude-opus-4-6"] {
        taken(on(model, budget.clone()));
        taken(on(model, json!({"temperature": 0.3, "top_k": 4})));
        let mut cold = budget.clone();
        cold["temperature"] = 0.3.into();
        refused(on(model, cold), 400, "may only be set to 1 when thinking");
        let mut forced = budget.clone();
        forced["tools"] = tools(&["f"]);
        forced["tool_choice"] = json!({"type": "any"});
        refused(
            on(model, forced),
            400,
            "Thinking may not be enabled when tool_choice forces",
        );
    }
    refused(
        on("claude-haiku-4-5", adaptive),
        400,
        "adaptive thinking is not supported",
    );
    refused(
        json!({"thinking": {"type": "enabled", "budget_tokens": 1_000}}),
        400,
        "greater than or equal to 1024",
    );
    refused(
        json!({"thinking": {"type": "enabled", "budget_tokens": 2_000}}),
        400,
        "must be greater than `thinking.budget_tokens`",
    );
    refused(
        on(
            "claude-opus-4-6",
            json!({"output_config": {"effort": "xhigh"}}),
        ),
        400,
        "Supported levels: low, medium, high, max",
    );
}

#[test]
fn what_newer_generations_refuse() {
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    let off = json!({"thinking": {"type": "disabled"}});
    for model in [
        "claude-opus-4-7",
        "claude-sonnet-5",
        "claude-haiku-5-5",
        "claude-fable-5",
        "claude-opus-5-5",
    ] {
        refused(
            on(model, budget.clone()),
            400,
            "\"thinking.type.enabled\" is not supported",
        );
        refused(
            on(model, json!({"temperature": 0.3})),
            400,
            "`temperature` is deprecated",
        );
        refused(on(model, json!({"top_k": 3})), 400, "`top_k` is deprecated");
        taken(on(model, json!({"temperature": 1})));
        taken(on(model, adaptive.clone()));
    }
    taken(on("claude-haiku-5-5", off.clone()));
    refused(
        on("claude-fable-5", off.clone()),
        400,
        "\"thinking.type.disabled\" is not supported",
    );
    refused(
        on("claude-sonnet-5-5", off),
        400,
        "\"thinking.type.disabled\" is not supported",
    );
}

#[test]
fn thinking_comes_back_as_it_was_given() {
    let thinking = json!({"type": "enabled", "budget_tokens": 1_024});
    let first = taken(json!({"thinking": thinking, "tools": tools(&["f"]),
        "messages": [{"role": "user", "content": "use f"}]}));
    let mut blocks = first["content"].as_array().unwrap().clone();
    assert_eq!(blocks[0]["type"], "thinking");
    assert!(
        first["usage"]["output_tokens_details"]["thinking_tokens"]
            .as_u64()
            .unwrap()
            > 0
    );
    let id = blocks[1]["id"].as_str().unwrap().to_owned();
    let again = |blocks: &[Value]| {
        let mut body = loops(blocks, &[result(&id)]);
        body["thinking"] = thinking.clone();
        body
    };
    taken(again(&blocks));
    refused(
        again(&blocks[1..]),
        400,
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
    );
    blocks[0]["thinking"] = "I thought of something else.".into();
    refused(
        again(&blocks),
        400,
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    );
    blocks[0].as_object_mut().unwrap().remove("signature");
    refused(
        again(&blocks),
        400,
        "messages.1.content.0.thinking.signature: Field required",
    );
}

#[test]
fn the_newest_keep_their_thinking_to_themselves() {
    let message = taken(json!({"model": "claude-opus-5-5"}));
    assert_eq!(message["content"][0]["thinking"], "");
    let signature = message["content"][0]["signature"].as_str().unwrap();
    assert!(super::super::signature::is_of(signature, "thinking", ""));
    let shown = taken(
        json!({"model": "claude-opus-5-5", "thinking": {"type": "adaptive", "display": "summarized"}}),
    );
    assert!(!shown["content"][0]["thinking"].as_str().unwrap().is_empty());
    let message = taken(
        json!({"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "REDACT"}]}),
    );
    assert_eq!(message["content"][0]["type"], "redacted_thinking");
    taken(json!({"model": "claude-opus-5-5", "messages": [
        {"role": "user", "content": "REDACT"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "go on"}]}));
}

/// What a client makes of a stream: the blocks, put together by their indexes.
fn assembled(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut open: Option<u64> = None;
    let mut json = String::new();
    for event in &events[1..] {
        match event["type"].as_str().unwrap() {
            "ping" | "message_stop" => {}
            "content_block_start" => {
                assert_eq!(open, None);
                open = event["index"].as_u64();
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(open, Some(blocks.len() as u64));
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open);
                let block = message["content"]
                    .as_array_mut()
                    .unwrap()
                    .last_mut()
                    .unwrap();
                let delta = &event["delta"];
                let mut grow = |key: &str| {
                    let text = block[key].as_str().unwrap().to_owned();
                    block[key] = (text + delta[key].as_str().unwrap()).into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => grow("text"),
                    "thinking_delta" => grow("thinking"),
                    "signature_delta" => grow("signature"),
                    _ => json.push_str(delta["partial_json"].as_str().unwrap()),
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take());
                if !json.is_empty() {
                    let block = message["content"]
                        .as_array_mut()
                        .unwrap()
                        .last_mut()
                        .unwrap();
                    block["input"] = serde_json::from_str(&std::mem::take(&mut json)).unwrap();
                }
            }
            _ => {
                for (key, value) in event["delta"].as_object().unwrap() {
                    message[key] = value.clone();
                }
                for (key, value) in event["usage"].as_object().unwrap() {
                    message["usage"][key] = value.clone();
                }
            }
        }
    }
    message
}

#[test]
fn a_stream_amounts_to_the_whole_message() {
    let thinking = json!({"type": "enabled", "budget_tokens": 1_024});
    let empty = json!({"name": "ping_it", "input_schema": {"type": "object", "properties": {}}});
    for patch in [
        json!({}),
        json!({"thinking": thinking}),
        json!({"model": "claude-opus-5-5"}),
        json!({"max_tokens": 3}),
        json!({"stop_sequences": ["there"]}),
        json!({"tools": tools(&["get_time", "get_weather"]), "messages": [
            {"role": "user", "content": "use get_time and get_weather"}]}),
        json!({"tools": [empty], "messages": [{"role": "user", "content": "ping_it"}]}),
        json!({"messages": [{"role": "user", "content": "REFUSE this"}]}),
        json!({"messages": [{"role": "user", "content": "PAUSE please"}]}),
        json!({"messages": [{"role": "user", "content": "EMPTY"}]}),
    ] {
        let whole = taken(patch.clone());
        let mut body = ask(patch);
        body["stream"] = true.into();
        let reply = api().answer(&post(&body));
        assert_eq!(
            reply.headers["content-type"],
            "text/event-stream; charset=utf-8"
        );
        let events = events(&reply);
        assert_eq!(events[0]["type"], "message_start");
        assert_eq!(events.last().unwrap()["type"], "message_stop");
        assert!(events.iter().any(|event| event["type"] == "ping"));
        assert_eq!(assembled(&events), whole);
    }
}

#[test]
fn a_tool_without_arguments_streams_no_json() {
    let empty = json!({"name": "ping_it", "input_schema": {"type": "object"}});
    let body = ask(
        json!({"stream": true, "tools": [empty], "messages": [{"role": "user", "content": "ping_it"}]}),
    );
    let events = events(&api().answer(&post(&body)));
    assert!(
        !events
            .iter()
            .any(|event| event["type"] == "content_block_delta"),
        "{events:?}"
    );
}

#[test]
fn a_refusal_and_a_pause() {
    let message = taken(json!({"messages": [{"role": "user", "content": "REFUSE this"}]}));
    assert_eq!(message["stop_reason"], "refusal");
    assert_eq!(message["stop_details"]["type"], "refusal");
    for model in ["claude-haiku-4-5", "claude-opus-5-5"] {
        let question = json!({"role": "user", "content": "PAUSE please"});
        let message = taken(json!({"model": model, "messages": [question]}));
        assert_eq!(message["stop_reason"], "pause_turn");
        let rest = taken(json!({"model": model, "messages": [
            question, {"role": "assistant", "content": message["content"]}]}));
        assert_eq!(rest["stop_reason"], "end_turn");
    }
}

#[test]
fn stops_and_limits() {
    let message = taken(json!({"stop_sequences": ["there"]}));
    assert_eq!(message["stop_reason"], "stop_sequence");
    assert_eq!(message["stop_sequence"], "there");
    let message = taken(json!({"max_tokens": 2}));
    assert_eq!(
        (&message["stop_reason"], &message["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(2))
    );
    let message = taken(json!({"max_tokens": 0}));
    assert_eq!(message["content"], json!([]));
}

#[test]
fn json_of_a_schema() {
    let schema = json!({"type": "object", "additionalProperties": false,
        "properties": {"age": {"type": "integer"}}});
    let message =
        taken(json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
    let text = message["content"][0]["text"].as_str().unwrap();
    assert!(
        serde_json::from_str::<Value>(text).unwrap()["age"].is_i64(),
        "{text}"
    );
}

#[test]
fn caches_are_written_once_and_read_after() {
    let api = api();
    let system = json!([{"type": "text", "text": "A long text to be kept.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let usage = |system: &Value| {
        let reply = api.answer(&post(&ask(json!({"system": system}))));
        value(&reply)["usage"].clone()
    };
    let first = usage(&system);
    let second = usage(&system);
    assert!(first["cache_creation_input_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        first["cache_creation"]["ephemeral_1h_input_tokens"],
        first["cache_creation_input_tokens"]
    );
    assert_eq!(first["cache_read_input_tokens"], 0);
    assert_eq!(
        second["cache_read_input_tokens"],
        first["cache_creation_input_tokens"]
    );
    assert_eq!(second["cache_creation_input_tokens"], 0);
    assert_eq!(first["input_tokens"], second["input_tokens"]);
}

#[test]
fn five_breakpoints_are_too_many() {
    let block = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    taken(json!({"system": vec![block.clone(); 4]}));
    refused(
        json!({"system": vec![block; 5]}),
        400,
        "A maximum of 4 blocks with cache_control",
    );
    let forever =
        json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1d"}}]);
    refused(
        json!({"system": forever}),
        400,
        "system.0.text.cache_control.ttl: Input should be '5m' or '1h'",
    );
}

#[test]
fn counting_needs_no_limit_and_takes_none() {
    let count = |body: &Value| {
        api().answer(&request(
            Method::POST,
            "/v1/messages/count_tokens",
            body.to_string(),
        ))
    };
    let mut body = ask(json!({}));
    body.as_object_mut().unwrap().remove("max_tokens");
    assert!(value(&count(&body))["input_tokens"].as_u64().unwrap() > 0);
    body["max_tokens"] = 5.into();
    assert_eq!(
        value(&count(&body))["error"]["message"],
        "max_tokens: Extra inputs are not permitted"
    );
}

#[test]
fn the_list_of_models_has_pages() {
    let get = |target: &str| value(&api().answer(&request(Method::GET, target, Vec::new())));
    let first = get("/v1/models?limit=10");
    assert_eq!(first["has_more"], true);
    let second = get(&format!(
        "/v1/models?limit=10&after_id={}",
        first["last_id"].as_str().unwrap()
    ));
    assert_eq!(second["has_more"], false);
    let length = |page: &Value| page["data"].as_array().unwrap().len();
    assert_eq!(length(&first) + length(&second), Anthropic::MODELS.len());
    let model = get("/v1/models/claude-sonnet-4-5");
    assert_eq!(model["id"], "claude-sonnet-4-5-20250929");
    assert_eq!(
        model["capabilities"]["thinking"]["types"]["enabled"]["supported"],
        true
    );
    assert_eq!(get("/v1/models/none")["error"]["type"], "not_found_error");
    assert_eq!(
        get("/v1/models?limit=0")["error"]["type"],
        "invalid_request_error"
    );
}

#[test]
fn failures_have_their_own_words() {
    let request = post(&ask(json!({})));
    let reply = api().refuse(&request, &failed(529, None));
    assert_eq!(
        (reply.status.as_u16(), &value(&reply)["error"]["type"]),
        (529, &json!("overloaded_error"))
    );
    let reply = api().refuse(&request, &failed(429, None));
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(reply.headers["anthropic-ratelimit-tokens-remaining"], "0");
    let spent = Failed {
        code: Some("enforced_spend_limit_reached".into()),
        ..failed(429, None)
    };
    let error = value(&api().refuse(&request, &spent));
    assert_eq!(error["error"]["type"], "rate_limit_error");
    assert_eq!(
        error["error"]["details"]["error_code"],
        "enforced_spend_limit_reached"
    );
    let event = api().break_off(&request, &failed(500, None), 3);
    let text = String::from_utf8(event.to_vec()).unwrap();
    assert!(
        text.starts_with("event: error\ndata: {") && text.ends_with("\n\n"),
        "{text}"
    );
    assert!(text.contains("\"overloaded_error\""), "{text}");
}
