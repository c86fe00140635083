//! Chat completions, completions, embeddings and models.

use super::*;

const CHAT: &str = "/v1/chat/completions";

fn openai() -> Client {
    Client::new(Dialect::Openai, "authorization", "Bearer sim-key")
}

#[test]
fn the_key_is_checked() {
    let mut client = openai();
    let body = saying("gpt-4o", "hi");
    client.headers.insert(
        "authorization",
        HeaderValue::from_static("Bearer sk-0123456789"),
    );
    let (status, error) = client.refused(CHAT, &body);
    assert_eq!(
        (status, error["code"].as_str()),
        (401, Some("invalid_api_key"))
    );
    assert!(
        error["message"].as_str().unwrap().contains("sk-0*****6789"),
        "{error}"
    );
    client.headers.clear();
    let (status, error) = client.refused(CHAT, &body);
    assert_eq!((status, error["code"].as_str()), (401, None));
}

#[test]
fn routes_that_are_not_there() {
    let client = openai();
    assert_eq!(client.post("/v1/nothing", &json!({})).status, 404);
    assert_eq!(client.get(CHAT).status, 405);
    let (status, error) = client.refused(CHAT, &saying("gpt-9", "hi"));
    assert_eq!(
        (status, error["code"].as_str()),
        (404, Some("model_not_found"))
    );
    assert_eq!(client.get("/v1/models/gpt-9").status, 404);
    let models = value(&client.get("/v1/models"));
    assert_eq!(models["object"], "list");
    assert_eq!(value(&client.get("/v1/models/gpt-4o"))["id"], "gpt-4o");
}

#[test]
fn a_whole_answer_says_what_was_seen() {
    let reply = openai().post(
        CHAT,
        &json!({"model": "gpt-4o", "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is it"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}),
    );
    assert!(reply.headers.contains_key("x-request-id"));
    assert_eq!(reply.headers["x-ratelimit-reset-tokens"], "6m0s");
    let answer = value(&reply);
    assert_eq!(answer["object"], "chat.completion");
    let choice = &answer["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(
        text.starts_with("You said: what is it [images: 1] [system: be kind]"),
        "{text}"
    );
    assert_eq!(choice["finish_reason"], "stop");
    let usage = &answer["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
}

#[test]
fn a_stream_has_role_content_finish_usage_and_done() {
    let client = openai();
    let body = saying("gpt-4o", "hello");
    let whole = client.whole(CHAT, &body);
    let body = with(
        &body,
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let stream = client.stream(CHAT, &body);
    assert!(stream.ends_with("data: [DONE]\n\n"));
    assert!(!stream.contains("event:"));
    let chunks = data(&stream);
    let delta = |chunk: &Value| chunk["choices"][0]["delta"].clone();
    assert_eq!(
        delta(&chunks[0]),
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    assert_eq!(
        joined(&chunks, "/choices/0/delta/content"),
        whole["choices"][0]["message"]["content"]
    );
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], whole["usage"]);
    let finish = chunks.last().unwrap();
    assert_eq!(
        (
            finish["choices"][0]["finish_reason"].as_str(),
            delta(finish)
        ),
        (Some("stop"), json!({}))
    );
    for chunk in chunks {
        assert!(chunk["usage"].is_null() && chunk.get("usage").is_some());
        assert_eq!(chunk["id"], usage["id"]);
        assert!(!chunk["obfuscation"].as_str().unwrap().is_empty());
    }
    let body = with(
        &body,
        json!({"stream_options": {"include_obfuscation": false}}),
    );
    let plain = client.stream(CHAT, &body);
    assert!(!plain.contains("obfuscation") && !plain.contains("usage"));
}

#[test]
fn tools_are_called_in_parallel_and_their_results_repeated() {
    let client = openai();
    let tools = json!([function("get_weather"), function("get_time")]);
    let body = with(
        &saying("gpt-4o", "use get_weather and get_time"),
        json!({"tools": tools}),
    );
    let whole = client.whole(CHAT, &body);
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    let arguments: Value =
        serde_json::from_str(calls[0]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string() && arguments["days"].is_i64());

    let chunks = data(&client.stream(CHAT, &with(&body, json!({"stream": true}))));
    for (index, call) in calls.iter().enumerate() {
        let deltas: Vec<&Value> = chunks
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
            .filter(|delta| delta["index"] == index)
            .collect();
        assert_eq!(
            deltas
                .iter()
                .filter(|delta| delta["id"].is_string())
                .count(),
            1
        );
        let text: String = deltas
            .iter()
            .filter_map(|delta| delta["function"]["arguments"].as_str())
            .collect();
        assert_eq!(text, call["function"]["arguments"]);
    }

    let mut next = body.clone();
    let messages = next["messages"].as_array_mut().unwrap();
    messages.push(choice["message"].clone());
    for (call, result) in calls.iter().zip(["rain", "noon"]) {
        messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
    }
    let answer = client.whole(CHAT, &next);
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with("The tools said: rain | noon"), "{text}");
    next["messages"].as_array_mut().unwrap().pop();
    let (status, error) = client.refused(CHAT, &next);
    assert_eq!(status, 400);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("did not have response messages")
    );
}

#[test]
fn a_forced_tool_ends_with_stop() {
    let client = openai();
    let forced = json!({"type": "function", "function": {"name": "get_time"}});
    let body = with(
        &saying("gpt-4o", "hi"),
        json!({"tools": [function("get_time")], "tool_choice": forced}),
    );
    let choice = client.whole(CHAT, &body)["choices"][0].clone();
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"]["name"],
        "get_time"
    );
    assert_eq!(choice["finish_reason"], "stop");
}

#[test]
fn functions_and_custom_tools_are_called_as_they_were_given() {
    let client = openai();
    let body = with(
        &saying("gpt-4o", "use get_time"),
        json!({"functions": [function("get_time")["function"]]}),
    );
    let choice = client.whole(CHAT, &body)["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "function_call");
    assert_eq!(choice["message"]["function_call"]["name"], "get_time");
    let custom = json!([{"type": "custom", "custom": {"name": "note"}}]);
    let body = with(
        &saying("gpt-4o", "note this"),
        json!({"tools": custom, "stream": true}),
    );
    let chunks = data(&client.stream(CHAT, &body));
    let begin = chunks
        .iter()
        .find_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
        .unwrap();
    assert_eq!(begin["type"], "custom");
}

#[test]
fn limits_stops_seeds_and_counts() {
    let client = openai();
    let body = saying("gpt-4o", "one two three four");
    let content = |fields: Value| client.whole(CHAT, &with(&body, fields))["choices"][0].clone();
    let cut = content(json!({"max_tokens": 3}));
    assert_eq!(
        (
            cut["message"]["content"].as_str(),
            cut["finish_reason"].as_str()
        ),
        (Some("You said: one"), Some("length"))
    );
    let stopped = content(json!({"stop": "three"}));
    assert_eq!(
        (
            stopped["message"]["content"].as_str(),
            stopped["finish_reason"].as_str()
        ),
        (Some("You said: one two "), Some("stop"))
    );
    assert_ne!(content(json!({"seed": 1})), content(json!({"seed": 2})));
    assert_eq!(
        content(json!({"seed": 1}))["message"],
        content(json!({"seed": 1}))["message"]
    );
    let two = client.whole(CHAT, &with(&body, json!({"n": 2})));
    assert_eq!(two["choices"].as_array().unwrap().len(), 2);
    assert_eq!(two["choices"][1]["index"], 1);
    let chunks = data(&client.stream(CHAT, &with(&body, json!({"n": 2, "stream": true}))));
    let finishes = chunks
        .iter()
        .filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null());
    assert_eq!(finishes.count(), 2);
}

#[test]
fn log_probabilities_cover_every_token() {
    let client = openai();
    let body = with(
        &saying("gpt-4o", "hi"),
        json!({"logprobs": true, "top_logprobs": 2}),
    );
    let choice = client.whole(CHAT, &body)["choices"][0].clone();
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(joined(tokens, "/token"), choice["message"]["content"]);
    assert_eq!(tokens[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert!(tokens[0]["logprob"].as_f64().unwrap() <= 0.0);
    let chunks = data(&client.stream(CHAT, &with(&body, json!({"stream": true}))));
    assert_eq!(
        joined(&chunks, "/choices/0/logprobs/content/0/token"),
        choice["message"]["content"]
    );
}

#[test]
fn json_fits_its_schema() {
    let client = openai();
    let schema = json!({"type": "object", "properties": {"days": {"type": "integer"}},
        "required": ["days"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    let answer = client.whole(
        CHAT,
        &with(&saying("gpt-4o", "hi"), json!({"response_format": format})),
    );
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["days"].is_i64());
    let object = json!({"response_format": {"type": "json_object"}});
    let (_, error) = client.refused(CHAT, &with(&saying("gpt-4o", "hi"), object.clone()));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("must contain the word 'json'")
    );
    client.whole(CHAT, &with(&saying("gpt-4o", "hi in json"), object));
}

#[test]
fn reasoning_is_counted_and_never_shown() {
    let client = openai();
    let body = saying("gpt-5", "hi");
    let answer = client.whole(CHAT, &body);
    let reasoning = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
        .as_u64()
        .unwrap();
    assert!(reasoning > 0);
    assert!(!answer.to_string().contains("The user said"));
    let none = client.whole(
        CHAT,
        &with(
            &saying("gpt-5.5", "hi"),
            json!({"reasoning_effort": "none"}),
        ),
    );
    assert_eq!(
        none["usage"]["completion_tokens_details"]["reasoning_tokens"],
        0
    );
    let short = client.whole(CHAT, &with(&body, json!({"max_completion_tokens": 1})));
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["choices"][0]["message"]["content"], "");
}

#[test]
fn what_a_model_refuses_is_a_400_of_openais_shape() {
    let client = openai();
    let (status, error) = client.refused(
        CHAT,
        &with(&saying("gpt-5", "hi"), json!({"max_tokens": 5})),
    );
    assert_eq!(status, 400);
    assert_eq!(
        error,
        json!({"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"})
    );
    let tools = json!({"tools": [function("f")]});
    let (_, error) = client.refused(CHAT, &with(&saying("gpt-6-sol", "hi"), tools.clone()));
    assert!(error["message"].as_str().unwrap().contains("/v1/responses"));
    client.whole(
        CHAT,
        &with(
            &with(&saying("gpt-6-sol", "hi"), tools),
            json!({"reasoning_effort": "none"}),
        ),
    );
    assert_eq!(client.refused(CHAT, &saying("gpt-5.5-pro", "hi")).0, 404);
}

#[test]
fn fields_that_are_wrong_unknown_or_alone_are_refused() {
    let client = openai();
    let body = saying("gpt-4o", "hi");
    for (fields, code) in [
        (json!({"top_k": 4}), Some("unknown_parameter")),
        (
            json!({"usage": {"include": true}}),
            Some("unknown_parameter"),
        ),
        (json!({"temperature": 3}), Some("decimal_above_max_value")),
        (
            json!({"stop": ["a", "b", "c", "d", "e"]}),
            Some("array_above_max_length"),
        ),
        (json!({"max_tokens": 999_999}), Some("invalid_value")),
        (json!({"max_tokens": 0}), Some("integer_below_min_value")),
        (json!({"messages": []}), Some("empty_array")),
        (
            json!({"messages": null}),
            Some("missing_required_parameter"),
        ),
        (json!({"stream_options": {}}), None),
        (json!({"metadata": {}}), None),
        (json!({"parallel_tool_calls": true}), None),
        (json!({"tools": []}), Some("empty_array")),
    ] {
        let (status, error) = client.refused(CHAT, &with(&body, fields.clone()));
        assert_eq!(
            (status, error["code"].as_str()),
            (400, code),
            "{fields}: {error}"
        );
    }
    let long = "word ".repeat(110_000);
    let (_, error) = client.refused(CHAT, &saying("gpt-4o", &long));
    assert_eq!(error["code"], "context_length_exceeded");
    let (_, error) = client.refused(CHAT, &saying("gpt-4o", "BLOCK this"));
    assert_eq!(error["code"], "content_policy_violation");
}

#[test]
fn refusals_and_filters_of_the_answer() {
    let client = openai();
    let refusal = client.whole(CHAT, &saying("gpt-4o", "REFUSE this"))["choices"][0].clone();
    assert!(refusal["message"]["content"].is_null());
    let chunks = data(&client.stream(
        CHAT,
        &with(&saying("gpt-4o", "REFUSE this"), json!({"stream": true})),
    ));
    assert_eq!(
        joined(&chunks, "/choices/0/delta/refusal"),
        refusal["message"]["refusal"]
    );
    let filtered = client.whole(CHAT, &saying("gpt-4o", "FILTER this"))["choices"][0].clone();
    assert_eq!(filtered["finish_reason"], "content_filter");
}

#[test]
fn long_prompts_are_partly_cached() {
    let answer = openai().whole(CHAT, &saying("gpt-4o", &"word ".repeat(1_000)));
    let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    assert!(cached >= 1_024 && cached.is_multiple_of(128));
    assert!(cached < answer["usage"]["prompt_tokens"].as_u64().unwrap());
}

#[test]
fn completions_take_prompts_of_every_kind() {
    let client = openai();
    let post = |fields: Value| {
        let body = with(
            &json!({"model": "gpt-3.5-turbo-instruct", "prompt": "once upon"}),
            fields,
        );
        client.whole("/v1/completions", &body)
    };
    let answer = post(json!({"echo": true, "logprobs": 2, "max_tokens": 5}));
    assert_eq!(answer["object"], "text_completion");
    let choice = &answer["choices"][0];
    assert!(
        choice["text"]
            .as_str()
            .unwrap()
            .starts_with("once uponYou said:")
    );
    assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), 5);
    assert_eq!(choice["logprobs"]["text_offset"][0], 9);
    let two = post(json!({"prompt": ["a", "b"], "n": 2, "seed": -1}));
    assert_eq!(two["choices"].as_array().unwrap().len(), 4);
    assert_eq!(
        post(json!({"prompt": [[1, 2], [3]]}))["usage"]["prompt_tokens"],
        3
    );
    assert_eq!(
        post(json!({"prompt": [1, 2]}))["choices"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let stream = client.stream(
        "/v1/completions",
        &json!({"model": "gpt-3.5-turbo-instruct", "prompt": "a", "stream": true,
            "stream_options": {"include_usage": true}}),
    );
    assert!(stream.ends_with("data: [DONE]\n\n"));
    let chunks = data(&stream);
    assert_eq!(
        joined(&chunks, "/choices/0/text"),
        post(json!({"prompt": "a"}))["choices"][0]["text"]
    );
    assert!(chunks.last().unwrap()["usage"]["total_tokens"].is_u64());
    assert_eq!(
        client
            .refused(
                "/v1/completions",
                &json!({"model": "gpt-4o", "prompt": "a"})
            )
            .0,
        404
    );
}

#[test]
fn embeddings_in_both_encodings() {
    let client = openai();
    let body =
        json!({"model": "text-embedding-3-small", "input": ["a cat", "a dog"], "dimensions": 8});
    let float = client.whole("/v1/embeddings", &body);
    let numbers: Vec<f64> = serde_json::from_value(float["data"][1]["embedding"].clone()).unwrap();
    assert_eq!((numbers.len(), &float["data"][1]["index"]), (8, &json!(1)));
    let base64 = client.whole(
        "/v1/embeddings",
        &with(&body, json!({"encoding_format": "base64"})),
    );
    let bytes =
        super::super::picture::decode(base64["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let floats = bytes
        .chunks(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    for (one, other) in floats.zip(numbers) {
        assert!((f64::from(one) - other).abs() < 1e-6);
    }
    let full = client.whole(
        "/v1/embeddings",
        &json!({"model": "text-embedding-3-large", "input": [1, 2]}),
    );
    assert_eq!(
        full["data"][0]["embedding"].as_array().unwrap().len(),
        3_072
    );
    for (fields, status) in [
        (json!({"input": ""}), 400),
        (json!({"input": []}), 400),
        (json!({"dimensions": 5_000}), 400),
        (json!({"encoding_format": "hex"}), 400),
        (json!({"model": "gpt-4o"}), 403),
        (json!({"truncate": true}), 400),
    ] {
        assert_eq!(
            client
                .refused("/v1/embeddings", &with(&body, fields.clone()))
                .0,
            status,
            "{fields}"
        );
    }
}

#[test]
fn failures_have_openais_words() {
    let client = openai();
    let request = client.request(Method::POST, CHAT, &saying("gpt-4o", "hi"));
    let limited = client.provider.refuse(&request, &failed(429, None));
    assert_eq!(limited.headers["x-ratelimit-remaining-requests"], "0");
    assert_eq!(limited.headers["retry-after-ms"], "120");
    let quota = client
        .provider
        .refuse(&request, &failed(429, Some("insufficient_quota")));
    assert!(!quota.headers.contains_key("retry-after"));
    assert_eq!(value(&quota)["error"]["type"], "insufficient_quota");
    let bytes = client.provider.break_off(&request, &failed(500, None), 3);
    let events = data(std::str::from_utf8(&bytes).unwrap());
    assert_eq!(events[0]["error"]["type"], "server_error");
}
