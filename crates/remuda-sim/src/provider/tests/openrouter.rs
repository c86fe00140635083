//! OpenRouter.

use super::*;

const PATH: &str = "/api/v1/chat/completions";
const CLAUDE: &str = "anthropic/claude-opus-5-5";

fn openrouter() -> Client {
    Client::new(Dialect::Openrouter, "authorization", "Bearer sim-key")
}

#[test]
fn keys_models_and_routing() {
    let mut client = openrouter();
    assert_eq!(
        client.refused(PATH, &saying("no/model", "hi")),
        (
            400,
            json!({"code": 400, "message": "no/model is not a valid model ID"})
        )
    );
    let fallback = with(
        &saying("no/model", "hi"),
        json!({"models": ["openai/gpt-4o"]}),
    );
    assert_eq!(client.whole(PATH, &fallback)["model"], "openai/gpt-4o");
    client.whole(PATH, &saying("openai/gpt-4o:floor", "hi"));
    let only = with(
        &saying(CLAUDE, "hi"),
        json!({"provider": {"only": ["openai"]}}),
    );
    assert_eq!(client.refused(PATH, &only).0, 404);
    assert_eq!(client.refused(PATH, &json!({"model": CLAUDE})).0, 400);
    assert_eq!(client.post("/api/v1/nothing", &json!({})).status, 404);
    let key = value(&client.get("/api/v1/key"));
    assert!(key["data"]["label"].is_string());
    client.headers.clear();
    assert_eq!(
        client.refused(PATH, &saying(CLAUDE, "hi")).1["message"],
        "No auth credentials found"
    );
    let models = value(&client.get("/api/v1/models"));
    assert!(models["data"][0]["pricing"]["prompt"].is_string());
}

#[test]
fn unknown_fields_are_ignored_and_known_ones_checked() {
    let client = openrouter();
    let body = with(
        &saying("openai/gpt-4o", "hi"),
        json!({"usage": {"include": true}, "foo": 1, "top_k": 5, "num_ctx": 3}),
    );
    client.whole(PATH, &body);
    assert_eq!(
        client.refused(PATH, &with(&body, json!({"top_k": "x"}))).0,
        400
    );
    assert_eq!(
        client
            .refused(
                PATH,
                &with(
                    &body,
                    json!({"reasoning": {"effort": "low", "max_tokens": 5}})
                )
            )
            .0,
        400
    );
}

#[test]
fn reasoning_is_shown_signed_and_checked_on_return() {
    let client = openrouter();
    let body = saying(CLAUDE, "hi");
    let message = client.whole(PATH, &body)["choices"][0]["message"].clone();
    assert!(
        message["reasoning"]
            .as_str()
            .unwrap()
            .starts_with("The user said")
    );
    assert_eq!(
        message["reasoning_details"][0]["text"],
        message["reasoning"]
    );
    assert!(message["reasoning_details"][0]["signature"].is_string());
    let chunks = data(&client.stream(PATH, &with(&body, json!({"stream": true}))));
    assert_eq!(
        joined(&chunks, "/choices/0/delta/reasoning"),
        message["reasoning"]
    );
    assert_eq!(
        joined(&chunks, "/choices/0/delta/reasoning_details/0/text"),
        message["reasoning"]
    );
    assert_eq!(
        joined(&chunks, "/choices/0/delta/reasoning_details/0/signature"),
        message["reasoning_details"][0]["signature"]
    );

    let mut next = saying(CLAUDE, "again");
    next["messages"]
        .as_array_mut()
        .unwrap()
        .insert(0, message.clone());
    client.whole(PATH, &next);
    next["messages"][0]["reasoning_details"][0]["text"] = "changed".into();
    let (status, error) = client.refused(PATH, &next);
    assert_eq!(
        (status, error["message"].as_str()),
        (400, Some("Provider returned error"))
    );

    let hidden = client.whole(PATH, &with(&body, json!({"reasoning": {"exclude": true}})));
    assert!(hidden["choices"][0]["message"].get("reasoning").is_none());
    let none = client.whole(PATH, &with(&body, json!({"reasoning": {"effort": "none"}})));
    assert_eq!(
        none["usage"]["completion_tokens_details"]["reasoning_tokens"],
        0
    );
    let summary = client.whole(PATH, &saying("openai/gpt-6-sol", "hi"));
    let details = &summary["choices"][0]["message"]["reasoning_details"];
    assert_eq!(
        (&details[0]["type"], &details[1]["type"]),
        (&json!("reasoning.summary"), &json!("reasoning.encrypted"))
    );
}

#[test]
fn streams_begin_with_comments_and_end_with_usage() {
    let client = openrouter();
    let body = saying("openai/gpt-4o", "hi");
    let whole = client.whole(PATH, &body);
    assert!(whole["usage"]["cost"].as_f64().unwrap() > 0.0);
    assert!(whole["id"].as_str().unwrap().starts_with("gen-"));
    let stream = client.stream(PATH, &with(&body, json!({"stream": true})));
    assert!(stream.starts_with(": OPENROUTER PROCESSING\n\n"));
    assert!(stream.ends_with("data: [DONE]\n\n"));
    let chunks = data(&stream);
    assert_eq!(
        joined(&chunks, "/choices/0/delta/content"),
        whole["choices"][0]["message"]["content"]
    );
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
    assert_eq!(whole["choices"][0]["native_finish_reason"], "completed");
}

#[test]
fn tools_are_called() {
    let client = openrouter();
    let body = with(
        &saying(CLAUDE, "use get_time"),
        json!({"tools": [function("get_time")]}),
    );
    let choice = client.whole(PATH, &body)["choices"][0].clone();
    assert_eq!(
        (&choice["finish_reason"], &choice["native_finish_reason"]),
        (&json!("tool_calls"), &json!("tool_use"))
    );
    let chunks = data(&client.stream(PATH, &with(&body, json!({"stream": true}))));
    let arguments = joined(&chunks, "/choices/0/delta/tool_calls/0/function/arguments");
    assert_eq!(
        arguments,
        choice["message"]["tool_calls"][0]["function"]["arguments"]
    );
}

#[test]
fn failures_may_hide_under_a_200() {
    let client = openrouter();
    let request = client.request(Method::POST, PATH, &saying(CLAUDE, "hi"));
    let whole = client.provider.fail_whole(&request, &failed(500, None));
    assert_eq!(
        (
            whole.status.as_u16(),
            value(&whole)["error"]["code"].as_u64()
        ),
        (200, Some(502))
    );
    let bytes = client
        .provider
        .break_off(&request, &failed(500, Some("provider_overloaded")), 3);
    let chunk = data(std::str::from_utf8(&bytes).unwrap())[0].clone();
    assert_eq!(
        (
            &chunk["choices"][0]["finish_reason"],
            &chunk["error"]["code"]
        ),
        (&json!("error"), &json!(529))
    );
    let limited = client.provider.refuse(&request, &failed(429, None));
    assert_eq!(
        value(&limited)["error"]["metadata"]["headers"]["X-RateLimit-Remaining"],
        "0"
    );
    let (status, error) = client.refused(PATH, &saying(CLAUDE, "BLOCK it"));
    assert_eq!(
        (status, error["metadata"]["reasons"][0].as_str()),
        (403, Some("violence"))
    );
}
