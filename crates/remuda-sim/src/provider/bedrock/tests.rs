use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::super::exchange::Request;
use super::super::harness::{self, JPEG, PNG, bytes, failed, headers, value, with, world};
use super::super::{Dialect, Provider};
use super::Bedrock;

const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const OPUS: &str = "us.anthropic.claude-opus-5-5";
const NOVA: &str = "amazon.nova-lite-v1:0";

fn api() -> Bedrock {
    Bedrock::new(world(Dialect::Bedrock, Bedrock::MODELS))
}

fn request(method: Method, target: &str, body: impl Into<Vec<u8>>) -> Request {
    let headers = headers(&[("authorization", "Bearer sim-key")]);
    harness::request(method, target, headers, body)
}

fn post(model: &str, operation: &str, body: &Value) -> Request {
    let model = model.replace(':', "%3A").replace('/', "%2F");
    let target = format!("/model/{model}/{operation}");
    request(Method::POST, &target, body.to_string())
}

/// A plain request, with what `patch` adds or replaces.
fn ask(patch: Value) -> Value {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hi there"}]}]});
    with(&body, patch)
}

#[track_caller]
fn taken(model: &str, patch: Value) -> Value {
    let reply = api().answer(&post(model, "converse", &ask(patch)));
    assert_eq!(reply.status, 200, "{}", value(&reply));
    value(&reply)
}

#[track_caller]
fn refused(model: &str, patch: Value, words: &str) {
    let reply = api().answer(&post(model, "converse", &ask(patch)));
    let error = value(&reply);
    assert_eq!(reply.status, 400, "{error}");
    let exception = reply.headers["x-amzn-errortype"].to_str().unwrap();
    assert!(exception.contains("Exception:http://"), "{exception}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

fn content(answer: &Value) -> &Vec<Value> {
    answer["output"]["message"]["content"].as_array().unwrap()
}

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        json!({"toolSpec": {"name": name, "inputSchema": {"json": schema}}})
    };
    json!({"tools": names.iter().map(tool).collect::<Value>()})
}

fn said(blocks: Value) -> Value {
    json!({"messages": [{"role": "user", "content": blocks}]})
}

#[test]
fn a_whole_message() {
    let answer = taken(HAIKU, json!({"system": [{"text": "Be brief."}]}));
    let text = content(&answer)[0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("You said: hi there [system: Be brief.]"),
        "{text}"
    );
    assert_eq!(answer["stopReason"], "end_turn");
    let count = |key: &str| answer["usage"][key].as_u64().unwrap();
    assert_eq!(
        count("totalTokens"),
        count("inputTokens") + count("outputTokens")
    );
    assert!(answer["metrics"]["latencyMs"].is_u64());
}

#[test]
fn ids_profiles_and_arns() {
    let answer = |model: &str| {
        let reply = api().answer(&post(model, "converse", &ask(json!({}))));
        (
            reply.status.as_u16(),
            value(&reply)["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    for model in [
        HAIKU,
        "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc123def456",
        "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    ] {
        assert_eq!(answer(model).0, 200, "{model}");
    }
    let (code, message) = answer("anthropic.claude-haiku-4-5-20251001-v1:0");
    assert!(
        code == 400 && message.contains("on-demand throughput"),
        "{message}"
    );
    let (code, message) = answer("gpt-4o");
    assert!(
        code == 400 && message.contains("model identifier is invalid"),
        "{message}"
    );
    assert_eq!(answer("arn:aws:bedrock:us-east-1:1:custom-model/x").0, 404);
    assert_eq!(answer("cohere.embed-v4:0").0, 400);
}

#[test]
fn credentials() {
    let mut asked = post(HAIKU, "converse", &ask(json!({})));
    let mut with = |authorization: Option<&'static str>| {
        asked.headers.remove("authorization");
        if let Some(authorization) = authorization {
            asked
                .headers
                .insert("authorization", HeaderValue::from_static(authorization));
        }
        let reply = api().answer(&asked);
        let exception = reply.headers.get("x-amzn-errortype");
        let exception = exception.map(|name| name.to_str().unwrap().to_owned());
        (reply.status.as_u16(), exception.unwrap_or_default())
    };
    assert_eq!(with(Some("Bearer sim-key")).0, 200);
    assert_eq!(
        with(Some("Bearer other")),
        (403, "AccessDeniedException".into())
    );
    assert_eq!(
        with(None),
        (403, "MissingAuthenticationTokenException".into())
    );
    assert_eq!(
        with(Some("Basic x")),
        (403, "IncompleteSignatureException".into())
    );
}

#[test]
fn members_and_their_values() {
    let config = |config: Value| json!({"inferenceConfig": config});
    for (patch, words) in [
        (
            json!({"max_tokens": 5}),
            "Unknown parameter in input: \"max_tokens\"",
        ),
        (
            config(json!({"topK": 5})),
            "Unknown parameter in inferenceConfig: \"topK\"",
        ),
        (
            config(json!({"temperature": 1.5})),
            "'1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1",
        ),
        (config(json!({"temperature": "hot"})), "is not a float"),
        (
            config(json!({"maxTokens": 0})),
            "greater than or equal to 1",
        ),
        (
            config(json!({"maxTokens": 64_001})),
            "exceeds the model limit of 64000",
        ),
        (
            config(json!({"stopSequences": [""]})),
            "length greater than or equal to 1",
        ),
        (json!({"system": [{"text": " "}]}), "at system.0 is blank"),
        (
            said(json!([])),
            "The content field in the Message object at messages.0 is empty",
        ),
        (
            said(json!([{"text": "\n"}])),
            "at messages.0.content.0 is blank",
        ),
        (said(json!([{"text": "a", "image": {}}])), "tagged union"),
        (
            said(json!([{"type": "text", "text": "a"}])),
            "Unknown parameter in messages.0.content.0: \"type\"",
        ),
        (
            said(json!([{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}])),
            "not supported for the user role",
        ),
        (json!({"messages": []}), "must start with a user message"),
        (
            json!({"messages": [{"role": "system", "content": [{"text": "x"}]}]}),
            "enum value set: [user, assistant]",
        ),
    ] {
        refused(HAIKU, patch, words);
    }
}

#[test]
fn tools_formats_and_extra_fields() {
    for (patch, words) in [
        (
            json!({"toolConfig": {"tools": []}}),
            "length greater than or equal to 1",
        ),
        (
            json!({"toolConfig": tools(&["a.b"])}),
            "regular expression pattern: [a-zA-Z0-9_-]+",
        ),
        (json!({"toolConfig": tools(&["a", "a"])}), "already defined"),
        (
            json!({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": "", "inputSchema": {"json": {"type": "object"}}}}]}}),
            "description",
        ),
        (
            json!({"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "string"}}}}]}}),
            "must be one of the following: object",
        ),
        (
            json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": {}}}}}}),
            "is not a string",
        ),
        (
            json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}}),
            "not a valid JSON schema",
        ),
        (
            json!({"additionalModelRequestFields": {"seed": 1}}),
            "extraneous key [seed] is not permitted",
        ),
    ] {
        refused(HAIKU, patch, words);
    }
}

#[test]
fn the_choice_of_a_tool() {
    let choice = |choice: Value| {
        let mut config = tools(&["f"]);
        config["toolChoice"] = choice;
        json!({"toolConfig": config})
    };
    refused(
        HAIKU,
        choice(json!({"none": {}})),
        "Unknown parameter in toolConfig.toolChoice: \"none\"",
    );
    refused(
        HAIKU,
        choice(json!({"tool": {"name": "g"}})),
        "is not defined at toolConfig.tools",
    );
    let forced = taken(HAIKU, choice(json!({"tool": {"name": "f"}})));
    assert_eq!(content(&forced)[0]["toolUse"]["name"], "f");
    refused(
        OPUS,
        choice(json!({"any": {}})),
        "not supported for this model",
    );
}

#[test]
fn turns_alternate() {
    let user = json!({"role": "user", "content": [{"text": "a"}]});
    let assistant = json!({"role": "assistant", "content": [{"text": "b"}]});
    let turns = |turns: &[&Value]| json!({"messages": turns});
    refused(
        HAIKU,
        turns(&[&user, &user]),
        "must alternate between user and assistant",
    );
    refused(
        HAIKU,
        turns(&[&assistant, &user]),
        "must start with a user message",
    );
    taken(HAIKU, turns(&[&user, &assistant, &user]));
    taken(HAIKU, turns(&[&user, &assistant]));
    refused(
        OPUS,
        turns(&[&user, &assistant]),
        "does not support assistant message prefill",
    );
    let mut with_tools = turns(&[&user, &assistant]);
    with_tools["toolConfig"] = tools(&["f"]);
    refused(
        HAIKU,
        with_tools,
        "pre-filling the `assistant` response is not supported",
    );
}

fn call(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "f", "input": {"city": "Oslo"}}})
}

fn result(id: &str) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": [{"text": "rain"}], "status": "success"}})
}

fn loops(calls: &[Value], answer: &[Value]) -> Value {
    json!({"toolConfig": tools(&["f"]), "messages": [
        {"role": "user", "content": [{"text": "use f"}]},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": answer}]})
}

#[test]
fn every_tool_use_has_its_result() {
    let answer = taken(
        HAIKU,
        loops(&[call("a"), call("b:1.c")], &[result("b:1.c"), result("a")]),
    );
    assert!(
        content(&answer)[0]["text"]
            .as_str()
            .unwrap()
            .contains("rain | rain")
    );
    refused(
        HAIKU,
        loops(&[call("a")], &[result("a"), result("b")]),
        "exceeds the number of toolUse blocks",
    );
    refused(
        HAIKU,
        loops(&[call("a"), call("b")], &[result("a")]),
        "for the following Ids: b",
    );
    refused(
        HAIKU,
        loops(&[call("a")], &[result("b")]),
        "for the following Ids: a",
    );
    refused(
        HAIKU,
        loops(&[call("a"), call("a")], &[result("a"), result("a")]),
        "duplicate Ids",
    );
    refused(
        HAIKU,
        loops(&[call("a b")], &[result("a b")]),
        "[a-zA-Z0-9_.:-]+",
    );
    refused(
        HAIKU,
        loops(&[call(&"x".repeat(65))], &[]),
        "less than or equal to 64",
    );
    let mut wrong = call("a");
    wrong["toolUse"]["input"] = "".into();
    refused(
        HAIKU,
        loops(&[wrong], &[result("a")]),
        "messages.1.content.0.toolUse.input is invalid. Provide a json object",
    );
    let mut bare = loops(&[call("a")], &[result("a")]);
    bare.as_object_mut().unwrap().remove("toolConfig");
    refused(HAIKU, bare, "The toolConfig field must be defined");
}

#[test]
fn images_and_documents() {
    let image = |format: &str, bytes: &str| json!({"image": {"format": format, "source": {"bytes": bytes}}});
    let answer = taken(HAIKU, said(json!([image("png", PNG), {"text": "what?"}])));
    assert!(
        content(&answer)[0]["text"]
            .as_str()
            .unwrap()
            .contains("[images: 1]")
    );
    refused(
        HAIKU,
        said(json!([image("png", JPEG)])),
        "does not match the provided media type image/png",
    );
    refused(
        HAIKU,
        said(json!([image("bmp", PNG)])),
        "enum value set: [png, jpeg, gif, webp]",
    );
    refused(
        HAIKU,
        said(json!([image("png", "data:x")])),
        "not a valid base64 blob",
    );
    refused(
        HAIKU,
        said(vec![image("png", PNG); 21].into()),
        "The maximum is 20",
    );
    refused(
        "amazon.nova-micro-v1:0",
        said(json!([image("png", PNG)])),
        "doesn't support the image content block",
    );
    let document = |name: &str| json!({"document": {"format": "txt", "name": name, "source": {"bytes": "aGk="}}});
    refused(
        HAIKU,
        said(json!([document("a.txt"), {"text": "x"}])),
        "file name can only contain",
    );
    refused(
        HAIKU,
        said(json!([document("a")])),
        "must include a text block",
    );
    taken(HAIKU, said(json!([document("a (1)"), {"text": "x"}])));
}

#[test]
fn what_models_take_beyond_converse() {
    let extra = |extra: Value| json!({"additionalModelRequestFields": extra});
    taken(HAIKU, extra(json!({"top_k": 5})));
    refused(NOVA, extra(json!({"top_k": 5})), "extraneous key [top_k]");
    taken(NOVA, extra(json!({"inferenceConfig": {"topK": 5}})));
    refused(
        HAIKU,
        extra(json!({"inferenceConfig": {"topK": 5}})),
        "extraneous key [inferenceConfig]",
    );
    refused(
        "us.meta.llama3-3-70b-instruct-v1:0",
        extra(json!({"top_k": 5})),
        "extraneous key [top_k]",
    );
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}});
    let shown = taken(HAIKU, extra(budget.clone()));
    assert!(
        !content(&shown)[0]["reasoningContent"]["reasoningText"]["text"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    refused(
        OPUS,
        extra(budget.clone()),
        "\"thinking.type.enabled\" is not supported",
    );
    refused(
        OPUS,
        extra(json!({"thinking": {"type": "disabled"}})),
        "\"thinking.type.disabled\" is not supported",
    );
    refused(
        HAIKU,
        extra(json!({"thinking": {"type": "adaptive"}})),
        "adaptive thinking is not supported",
    );
    let mut hot = extra(budget);
    hot["inferenceConfig"] = json!({"temperature": 0.5});
    refused(HAIKU, hot, "may only be set to 1 when thinking");
    refused(
        OPUS,
        json!({"inferenceConfig": {"temperature": 0.5}}),
        "`temperature` is deprecated for this model",
    );
}

#[test]
fn reasoning_comes_back_signed_and_first() {
    for (model, extra) in [
        (
            HAIKU,
            json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}}),
        ),
        (OPUS, json!({})),
    ] {
        let with = |body: Value| {
            let mut body = body;
            body["additionalModelRequestFields"] = extra.clone();
            body
        };
        let mut first = said(json!([{"text": "use f"}]));
        first["toolConfig"] = tools(&["f"]);
        let answer = taken(model, with(first));
        let blocks = content(&answer).clone();
        assert!(blocks[0].get("reasoningContent").is_some(), "{blocks:?}");
        let answers = [result(blocks[1]["toolUse"]["toolUseId"].as_str().unwrap())];
        taken(model, with(loops(&blocks, &answers)));
        taken(model, with(loops(&blocks[1..], &answers)));
        let turned: Vec<Value> = blocks.iter().rev().cloned().collect();
        refused(
            model,
            with(loops(&turned, &answers)),
            "blocks in the latest assistant message cannot be modified",
        );
        let mut changed = blocks.clone();
        changed[0]["reasoningContent"]["reasoningText"]["text"] = "something else".into();
        refused(
            model,
            with(loops(&changed, &answers)),
            "messages.1.content.0: Invalid `signature`",
        );
        let inner = changed[0]["reasoningContent"]["reasoningText"]
            .as_object_mut()
            .unwrap();
        inner.remove("signature");
        refused(
            model,
            with(loops(&changed, &answers)),
            "thinking.signature: Field required",
        );
    }
    let redacted = taken(OPUS, said(json!([{"text": "REDACT"}])));
    let block = content(&redacted)[0].clone();
    assert!(block["reasoningContent"]["redactedContent"].is_string());
    taken(
        OPUS,
        json!({"messages": [{"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [block, {"text": "b"}]}, {"role": "user", "content": [{"text": "c"}]}]}),
    );
}

/// The events of a stream, read by the layout of its frames.
fn events(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (total, named) = (number(bytes), number(&bytes[4..]));
        assert_eq!(number(&bytes[8..]), crc32fast::hash(&bytes[..8]) as usize);
        let (frame, rest) = bytes.split_at(total);
        let (content, sum) = frame.split_at(total - 4);
        assert_eq!(number(sum), crc32fast::hash(content) as usize);
        let headers = String::from_utf8_lossy(&content[12..12 + named]).into_owned();
        let name = headers.split(":content-type").next().unwrap();
        let name = name.trim_start_matches(|character: char| character.is_control());
        let name = name.strip_prefix(":event-type").unwrap();
        let name: String = name
            .chars()
            .filter(|character| character.is_alphanumeric())
            .collect();
        events.push((
            name,
            serde_json::from_slice(&content[12 + named..]).unwrap(),
        ));
        bytes = rest;
    }
    events
}

/// What a client makes of a stream.
fn assembled(events: &[(String, Value)]) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    let mut answer = json!({});
    let grow = |value: &mut Value, more: &Value| {
        *value = (value.as_str().unwrap_or_default().to_owned() + more.as_str().unwrap()).into();
    };
    for (name, payload) in events {
        assert!(payload["p"].is_string(), "{payload}");
        let index = payload["contentBlockIndex"].as_u64().unwrap_or_default() as usize;
        match name.as_str() {
            "messageStart" => assert_eq!(payload["role"], "assistant"),
            "contentBlockStart" => {
                assert_eq!(index, blocks.len());
                blocks.push(payload["start"].clone());
                blocks[index]["toolUse"]["input"] = "".into();
            }
            "contentBlockDelta" => {
                if index == blocks.len() {
                    blocks.push(json!({}));
                }
                let (block, delta) = (&mut blocks[index], &payload["delta"]);
                let reasoning = &delta["reasoningContent"];
                if delta.get("text").is_some() {
                    grow(&mut block["text"], &delta["text"]);
                } else if delta.get("toolUse").is_some() {
                    grow(&mut block["toolUse"]["input"], &delta["toolUse"]["input"]);
                } else if let Some(data) = reasoning.get("redactedContent") {
                    block["reasoningContent"]["redactedContent"] = data.clone();
                } else {
                    let inner = &mut block["reasoningContent"]["reasoningText"];
                    for key in ["text", "signature"] {
                        grow(&mut inner[key], reasoning.get(key).unwrap_or(&"".into()));
                    }
                }
            }
            "contentBlockStop" => {
                if let Some(input) = blocks[index].pointer_mut("/toolUse/input") {
                    let text = input.as_str().unwrap();
                    *input =
                        serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap();
                }
            }
            "messageStop" => answer["stopReason"] = payload["stopReason"].clone(),
            _ => {
                answer["usage"] = payload["usage"].clone();
                answer["metrics"] = payload["metrics"].clone();
            }
        }
    }
    answer["output"] = json!({"message": {"role": "assistant", "content": blocks}});
    answer
}

#[test]
fn a_stream_amounts_to_the_whole_message() {
    let empty =
        json!({"toolSpec": {"name": "ping_it", "inputSchema": {"json": {"type": "object"}}}});
    let named = |text: &str| said(json!([{"text": text}]));
    let both = |text: &str, config: Value| {
        let mut body = named(text);
        body["toolConfig"] = config;
        body
    };
    for (model, patch) in [
        (HAIKU, json!({})),
        (
            HAIKU,
            json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1_024}}}),
        ),
        (OPUS, named("hello")),
        (OPUS, named("REDACT")),
        (NOVA, json!({"inferenceConfig": {"maxTokens": 2}})),
        (
            NOVA,
            json!({"inferenceConfig": {"stopSequences": ["there"]}}),
        ),
        (
            NOVA,
            both(
                "use get_time and get_weather",
                tools(&["get_time", "get_weather"]),
            ),
        ),
        (NOVA, both("ping_it", json!({"tools": [empty]}))),
        (NOVA, named("BLOCK")),
        (NOVA, named("FILTER")),
    ] {
        let whole = taken(model, patch.clone());
        let reply = api().answer(&post(model, "converse-stream", &ask(patch)));
        assert_eq!(
            reply.headers["content-type"],
            "application/vnd.amazon.eventstream"
        );
        let events = events(&bytes(&reply));
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "messageStart");
        assert_eq!(names[names.len() - 2..], ["messageStop", "metadata"]);
        assert_eq!(assembled(&events), whole);
    }
}

#[test]
fn how_answers_end() {
    let reason = |model: &str, patch: Value| taken(model, patch)["stopReason"].clone();
    assert_eq!(
        reason(NOVA, json!({"inferenceConfig": {"maxTokens": 2}})),
        "max_tokens"
    );
    assert_eq!(
        reason(NOVA, said(json!([{"text": "BLOCK"}]))),
        "guardrail_intervened"
    );
    assert_eq!(
        reason(NOVA, said(json!([{"text": "REFUSE"}]))),
        "content_filtered"
    );
    let stopped = taken(
        HAIKU,
        json!({"inferenceConfig": {"stopSequences": ["there"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence"]}),
    );
    assert_eq!(stopped["stopReason"], "stop_sequence");
    assert_eq!(
        stopped["additionalModelResponseFields"]["stop_sequence"],
        "there"
    );
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}}).to_string();
    let format = json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "x"}}});
    let answer = taken(HAIKU, json!({"outputConfig": {"textFormat": format}}));
    let text = content(&answer)[0]["text"].as_str().unwrap();
    assert!(
        serde_json::from_str::<Value>(text).unwrap()["age"].is_i64(),
        "{text}"
    );
}

#[test]
fn caches_are_written_once_and_read_after() {
    let api = api();
    let body = ask(
        json!({"system": [{"text": "A long text to be kept."}, {"cachePoint": {"type": "default"}}]}),
    );
    let usage = || value(&api.answer(&post(HAIKU, "converse", &body)))["usage"].clone();
    let (first, second) = (usage(), usage());
    assert!(first["cacheWriteInputTokens"].as_u64().unwrap() > 0);
    assert_eq!(
        second["cacheReadInputTokens"],
        first["cacheWriteInputTokens"]
    );
    assert_eq!(second["cacheWriteInputTokens"], 0);
    assert_eq!(first["inputTokens"], second["inputTokens"]);
}

#[test]
fn embeddings_of_every_family() {
    let invoke = |model: &str, body: Value| api().answer(&post(model, "invoke", &body));
    let length = |value: &Value| value.as_array().unwrap().len();
    let titan = "amazon.titan-embed-text-v2:0";
    let reply = value(&invoke(
        titan,
        json!({"inputText": "hi", "dimensions": 256}),
    ));
    assert_eq!(length(&reply["embedding"]), 256);
    assert_eq!(reply["embeddingsByType"]["float"], reply["embedding"]);
    assert_eq!(reply["inputTextTokenCount"], 1);
    let v1 = invoke(
        "amazon.titan-embed-text-v1",
        json!({"inputText": "hi", "dimensions": 256}),
    );
    assert!(
        value(&v1)["message"]
            .as_str()
            .unwrap()
            .contains("extraneous key [dimensions]")
    );
    let v3 = "cohere.embed-english-v3";
    let reply = invoke(
        v3,
        json!({"texts": ["a", "b"], "input_type": "search_query"}),
    );
    assert_eq!(reply.headers["x-amzn-bedrock-input-token-count"], "2");
    assert_eq!(length(&value(&reply)["embeddings"]), 2);
    let typed = json!({"texts": ["a"], "input_type": "clustering", "embedding_types": ["float"], "output_dimension": 512});
    assert_eq!(
        length(&value(&invoke("cohere.embed-v4:0", typed))["embeddings"]["float"][0]),
        512
    );
    let nova = json!({"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams":
        {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 384, "text": {"truncationMode": "END", "value": "a"}}});
    let reply = value(&invoke("amazon.nova-2-multimodal-embeddings-v1:0", nova));
    assert_eq!(length(&reply["embeddings"][0]["embedding"]), 384);
    for (model, wrong) in [
        (titan, json!({"inputText": ["a"]})),
        (titan, json!({"inputText": "a", "dimensions": 300})),
        (titan, json!({})),
        (v3, json!({"texts": ["a"]})),
        (
            v3,
            json!({"texts": vec!["a"; 97], "input_type": "clustering"}),
        ),
        (v3, json!({"texts": ["a"], "input_type": "query"})),
        (
            v3,
            json!({"texts": ["a"], "input_type": "clustering", "output_dimension": 512}),
        ),
    ] {
        let reply = invoke(model, wrong.clone());
        assert_eq!(reply.status, 400, "{model} {wrong}");
        assert!(
            value(&reply)["message"]
                .as_str()
                .unwrap()
                .starts_with("Malformed input request")
        );
    }
}

#[test]
fn counting_and_listing() {
    let converse = json!({"input": {"converse": ask(json!({}))}});
    let count = |id: &str, body: &Value| api().answer(&post(id, "count-tokens", body));
    let base = super::models::base(HAIKU).0;
    let counted = value(&count(base, &converse));
    assert!(counted["inputTokens"].as_u64().unwrap() > 0);
    assert_eq!(count(HAIKU, &converse).status, 400);
    let mut limited = converse.clone();
    limited["input"]["converse"]["inferenceConfig"] = json!({"maxTokens": 5});
    assert_eq!(count(base, &limited).status, 400);
    let get = |target: &str| value(&api().answer(&request(Method::GET, target, Vec::new())));
    let all = get("/foundation-models");
    assert_eq!(
        all["modelSummaries"].as_array().unwrap().len(),
        super::models::MODELS.len()
    );
    let some = get("/foundation-models?byProvider=anthropic&byInferenceType=ON_DEMAND");
    assert_eq!(some["modelSummaries"], json!([]));
    let first = get("/inference-profiles?type=SYSTEM_DEFINED&maxResults=2");
    let next = first["nextToken"].as_str().unwrap().replace(':', "%3A");
    let second = get(&format!(
        "/inference-profiles?maxResults=2&nextToken={next}"
    ));
    assert_ne!(
        first["inferenceProfileSummaries"],
        second["inferenceProfileSummaries"]
    );
    assert_eq!(
        second["inferenceProfileSummaries"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn failures_have_their_own_shapes() {
    let asked = post(HAIKU, "converse-stream", &ask(json!({})));
    let refuse = |status: u16, code: Option<&str>| {
        let reply = api().refuse(&asked, &failed(status, code));
        assert_eq!(reply.status, status);
        reply.headers["x-amzn-errortype"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(refuse(429, None), "ThrottlingException");
    assert_eq!(refuse(408, None), "ModelTimeoutException");
    assert_eq!(refuse(424, None), "ModelErrorException");
    assert_eq!(
        refuse(503, None),
        "com.amazon.bedrock#ServiceUnavailableException"
    );
    assert!(
        refuse(400, Some("ServiceQuotaExceededException"))
            .starts_with("ServiceQuotaExceededException:http")
    );
    let text = |code: Option<&str>| {
        let frame = api().break_off(&asked, &failed(500, code), 3);
        String::from_utf8_lossy(&frame).into_owned()
    };
    assert!(
        text(None).contains("modelStreamErrorException")
            && text(None).contains("\"originalStatusCode\":500")
    );
    assert!(text(Some("ThrottlingException")).contains("throttlingException"));
    assert!(text(Some("InternalFailure")).contains(":error-code"));
}
