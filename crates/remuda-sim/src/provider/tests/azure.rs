//! Azure OpenAI.

use super::*;

const CLASSIC: &str = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
const V1: &str = "/openai/v1/chat/completions";

fn azure() -> Client {
    Client::new(Dialect::Azure, "api-key", "sim-key")
}

fn hi() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}]})
}

#[test]
fn both_forms_of_path_and_key() {
    let mut client = azure();
    let ignored = with(&hi(), json!({"model": "something else"}));
    assert_eq!(client.whole(CLASSIC, &ignored)["model"], "gpt-4o");
    client.whole(V1, &saying("gpt-4o", "hi"));
    client.whole(
        &format!("{V1}?api-version=preview"),
        &saying("gpt-4o", "hi"),
    );
    client.headers.clear();
    client
        .headers
        .insert("authorization", HeaderValue::from_static("Bearer sim-key"));
    client.whole(CLASSIC, &hi());
    client.headers.clear();
    assert_eq!(
        client.refused(CLASSIC, &hi()),
        (
            401,
            json!({"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."})
        )
    );
}

#[test]
fn what_is_not_there() {
    let client = azure();
    for path in [
        "/openai/deployments/gpt-4o/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions?api-version=latest",
        "/openai/deployments/gpt-4o/responses?api-version=2024-10-21",
        "/v1/chat/completions",
    ] {
        let (status, error) = client.refused(path, &hi());
        assert_eq!(
            (status, error["code"].as_str()),
            (404, Some("404")),
            "{path}"
        );
    }
    for (path, body) in [
        (
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
            hi(),
        ),
        (V1, saying("mine", "hi")),
        (
            "/openai/v1/responses",
            json!({"model": "mine", "input": "hi"}),
        ),
    ] {
        let (status, error) = client.refused(path, &body);
        assert_eq!(
            (status, error["code"].as_str()),
            (404, Some("DeploymentNotFound")),
            "{path}"
        );
    }
}

#[test]
fn other_operations() {
    let client = azure();
    let path = "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21";
    assert_eq!(
        client.whole(path, &json!({"input": "hi"}))["object"],
        "list"
    );
    let response = json!({"model": "gpt-4o", "input": "hi"});
    client.whole(
        "/openai/responses?api-version=2025-04-01-preview",
        &response,
    );
    client.whole("/openai/v1/responses", &response);
    assert_eq!(value(&client.get("/openai/v1/models"))["object"], "list");
}

#[test]
fn a_stream_has_the_filters_chunks() {
    let client = azure();
    let whole = client.whole(CLASSIC, &hi());
    assert_eq!(whole["prompt_filter_results"][0]["prompt_index"], 0);
    assert_eq!(
        whole["choices"][0]["content_filter_results"]["hate"]["severity"],
        "safe"
    );
    let body = with(
        &hi(),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let stream = client.stream(CLASSIC, &body);
    assert!(stream.ends_with("data: [DONE]\n\n"));
    let chunks = data(&stream);
    assert_eq!(
        (&chunks[0]["choices"], &chunks[0]["id"], &chunks[0]["model"]),
        (&json!([]), &json!(""), &json!(""))
    );
    assert_eq!(
        joined(&chunks, "/choices/0/delta/content"),
        whole["choices"][0]["message"]["content"]
    );
    let finish = chunks
        .iter()
        .position(|chunk| chunk["choices"][0]["finish_reason"] == "stop")
        .unwrap();
    let after = &chunks[finish + 1]["choices"][0];
    assert!(after.get("delta").is_none() && after["content_filter_offsets"].is_object());
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
}

#[test]
fn text_comes_in_bursts() {
    let client = azure();
    let Content::Stream(pieces) = client
        .post(CLASSIC, &with(&hi(), json!({"stream": true})))
        .content
    else {
        panic!("not a stream");
    };
    assert!(pieces.iter().any(|piece| piece.tokens > 1));
}

#[test]
fn the_filter_stops_prompts_and_answers() {
    let client = azure();
    let (status, error) = client.refused(V1, &saying("gpt-4o", "BLOCK it"));
    assert_eq!((status, error["status"].as_u64()), (400, Some(400)));
    assert_eq!(error["innererror"]["code"], "ResponsibleAIPolicyViolation");
    let filtered = client.whole(V1, &saying("gpt-4o", "FILTER it"));
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(
        filtered["choices"][0]["content_filter_results"]["violence"]["filtered"],
        true
    );
}

#[test]
fn reasoning_models_refuse_what_openai_refuses() {
    let client = azure();
    let path = "/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21";
    let (status, error) = client.refused(path, &with(&hi(), json!({"max_tokens": 5})));
    assert_eq!(
        (status, error["code"].as_str()),
        (400, Some("unsupported_parameter"))
    );
}

#[test]
fn failures_have_azures_codes() {
    let client = azure();
    let request = client.request(Method::POST, CLASSIC, &hi());
    let limited = client.provider.refuse(&request, &failed(429, None));
    assert_eq!(value(&limited)["error"]["code"], "429");
    assert_eq!(
        (
            &limited.headers["retry-after"],
            &limited.headers["retry-after-ms"]
        ),
        (
            &HeaderValue::from_static("2"),
            &HeaderValue::from_static("1500")
        )
    );
    assert_eq!(
        value(&client.provider.refuse(&request, &failed(408, None)))["error"]["code"],
        "Timeout"
    );
}
