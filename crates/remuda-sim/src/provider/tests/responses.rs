//! OpenAI's Responses.

use super::*;

const PATH: &str = "/v1/responses";

fn responses() -> Client {
    Client::new(Dialect::Responses, "authorization", "Bearer sim-key")
}

fn flat(name: &str) -> Value {
    let mut tool = function(name)["function"].clone();
    tool["type"] = "function".into();
    tool
}

/// The events of a stream, each checked to be named and numbered.
fn events(stream: &str) -> Vec<Value> {
    let events = data(stream);
    let names: Vec<&str> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names.len(), events.len());
    for (number, (name, event)) in names.iter().zip(&events).enumerate() {
        assert_eq!(event["type"], *name);
        assert_eq!(event["sequence_number"], number);
    }
    assert!(!stream.contains("[DONE]"));
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    types.dedup();
    types
}

#[test]
fn only_responses_are_there() {
    let client = responses();
    assert_eq!(
        client
            .refused("/v1/chat/completions", &saying("gpt-4o", "hi"))
            .0,
        404
    );
    let client = Client::new(Dialect::Openai, "authorization", "Bearer sim-key");
    client.whole(PATH, &json!({"model": "gpt-4o", "input": "hi"}));
}

#[test]
fn a_plain_answer_streams_in_order() {
    let client = responses();
    let body = json!({"model": "gpt-4o", "input": "hi", "instructions": "be kind"});
    let whole = client.whole(PATH, &body);
    assert_eq!(
        (whole["object"].as_str(), whole["status"].as_str()),
        (Some("response"), Some("completed"))
    );
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("You said: hi [system: be kind]"), "{text}");
    let events = events(&client.stream(PATH, &with(&body, json!({"stream": true}))));
    assert_eq!(
        types(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let deltas: Vec<Value> = events
        .iter()
        .filter(|event| event["delta"].is_string())
        .cloned()
        .collect();
    assert_eq!(joined(&deltas, "/delta"), text);
    assert!(deltas.iter().all(|delta| delta["obfuscation"].is_string()));
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(last["output"][0]["content"], whole["output"][0]["content"]);
}

#[test]
fn reasoning_calls_and_their_return() {
    let client = responses();
    let body = json!({"model": "gpt-6-astra", "input": "use get_time and get_date", "store": false,
        "tools": [flat("get_date"), flat("get_time")], "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"]});
    let whole = client.whole(PATH, &body);
    let kinds: Vec<&str> = whole["output"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        ["reasoning", "message", "function_call", "function_call"]
    );
    let events = events(&client.stream(PATH, &with(&body, json!({"stream": true}))));
    assert_eq!(
        types(&events)[2..8],
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
        ]
    );
    for (index, item) in events.last().unwrap()["response"]["output"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let done = events.iter().find(|event| {
            event["type"] == "response.output_item.done" && event["output_index"] == index
        });
        assert_eq!(&done.unwrap()["item"], item);
    }

    let mut input = vec![json!({"role": "user", "content": "use get_time and get_date"})];
    input.extend(whole["output"].as_array().unwrap().iter().cloned());
    for item in whole["output"].as_array().unwrap() {
        if let Some(call) = item["call_id"].as_str() {
            input.push(json!({"type": "function_call_output", "call_id": call, "output": "done"}));
        }
    }
    let next = with(&body, json!({"input": input}));
    let answer = client.whole(PATH, &next);
    let message = answer["output"].as_array().unwrap().last().unwrap();
    assert!(
        message["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("The tools said: done | done")
    );
    let mut tampered = next.clone();
    tampered["input"][1]["encrypted_content"] = "gAAAAABother".into();
    let (_, error) = client.refused(PATH, &tampered);
    assert_eq!(error["code"], "invalid_encrypted_content");
    tampered["input"][1]["encrypted_content"] = Value::Null;
    assert_eq!(client.refused(PATH, &tampered).0, 404);
}

#[test]
fn stored_responses_can_be_continued_read_and_deleted() {
    let client = responses();
    let body =
        json!({"model": "gpt-6-astra", "input": "use get_time", "tools": [flat("get_time")]});
    let first = client.whole(PATH, &body);
    let id = first["id"].as_str().unwrap();
    let call = first["output"][1]["call_id"].clone();
    let next = json!({"model": "gpt-6-astra", "previous_response_id": id,
        "input": [{"type": "function_call_output", "call_id": call, "output": "noon"}]});
    assert!(
        client
            .whole(PATH, &next)
            .to_string()
            .contains("The tools said: noon")
    );
    let path = format!("{PATH}/{id}");
    assert_eq!(value(&client.get(&path))["id"], id);
    let delete = client.request(Method::DELETE, &path, &Value::Null);
    assert_eq!(value(&client.provider.answer(&delete))["deleted"], true);
    assert_eq!(client.get(&path).status, 404);
    let (_, error) = client.refused(PATH, &next);
    assert_eq!(error["code"], "previous_response_not_found");
}

#[test]
fn limits_and_filters_leave_a_response_incomplete() {
    let client = responses();
    let body = json!({"model": "gpt-4o", "input": "a b c d e f g h i j k l m n o p q", "max_output_tokens": 16});
    let whole = client.whole(PATH, &body);
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    let events = events(&client.stream(PATH, &with(&body, json!({"stream": true}))));
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    let filtered = client.whole(PATH, &json!({"model": "gpt-4o", "input": "FILTER it"}));
    assert_eq!(filtered["incomplete_details"]["reason"], "content_filter");
    let refused = client.whole(PATH, &json!({"model": "gpt-4o", "input": "REFUSE it"}));
    assert_eq!(refused["output"][0]["content"][0]["type"], "refusal");
}

#[test]
fn what_is_wrong_is_refused() {
    let client = responses();
    let body = json!({"model": "gpt-6-sol", "input": "hi"});
    for (fields, param) in [
        (json!({"messages": []}), "messages"),
        (json!({"max_output_tokens": 5}), "max_output_tokens"),
        (json!({"temperature": 0.5}), "temperature"),
        (
            json!({"reasoning": {"effort": "minimal"}}),
            "reasoning.effort",
        ),
        (json!({"tools": [function("f")]}), "tools[0].name"),
        (
            json!({"text": {"format": {"type": "json_schema", "schema": {}}}}),
            "text.format.name",
        ),
        (
            json!({"text": {"format": {"type": "json_object"}}}),
            "input",
        ),
        (json!({"include": ["everything"]}), "include[0]"),
        (
            json!({"response_format": {"type": "text"}}),
            "response_format",
        ),
        (json!({"input": null}), "input"),
    ] {
        let (status, error) = client.refused(PATH, &with(&body, fields.clone()));
        assert_eq!(
            (status, error["param"].as_str()),
            (400, Some(param)),
            "{fields}: {error}"
        );
    }
}

#[test]
fn failures_are_events_or_a_failed_response() {
    let client = responses();
    let request = client.request(
        Method::POST,
        PATH,
        &json!({"model": "gpt-4o", "input": "hi"}),
    );
    let bytes = client.provider.break_off(&request, &failed(500, None), 4);
    let event = &data(std::str::from_utf8(&bytes).unwrap())[0];
    assert_eq!(
        (event["type"].as_str(), event["sequence_number"].as_u64()),
        (Some("response.failed"), Some(4))
    );
    assert_eq!(event["response"]["status"], "failed");
    let bytes = client
        .provider
        .break_off(&request, &failed(500, Some("rate_limit_exceeded")), 0);
    assert!(bytes.starts_with(b"event: error\n"));
    let whole = client.provider.fail_whole(&request, &failed(500, None));
    assert_eq!(
        (whole.status.as_u16(), value(&whole)["status"].as_str()),
        (200, Some("failed"))
    );
}
