use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::super::exchange::Request;
use super::super::harness::{self, failed, headers, text, value, with, world};
use super::super::{Dialect, Provider};
use super::Google;

fn api() -> Google {
    Google::new(world(Dialect::Google, Google::MODELS))
}

fn request(method: Method, target: &str, body: impl Into<Vec<u8>>) -> Request {
    let headers = headers(&[("x-goog-api-key", "sim-key")]);
    harness::request(method, target, headers, body)
}

fn post(model: &str, method: &str, body: &Value) -> Request {
    let target = format!("/v1beta/models/{model}:{method}");
    request(Method::POST, &target, body.to_string())
}

/// A plain request, with what `patch` adds or replaces.
fn ask(patch: Value) -> Value {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi there"}]}]});
    with(&body, patch)
}

#[track_caller]
fn taken(model: &str, patch: Value) -> Value {
    let reply = api().answer(&post(model, "generateContent", &ask(patch)));
    assert_eq!(reply.status, 200, "{}", value(&reply));
    value(&reply)
}

#[track_caller]
fn refused(model: &str, patch: Value, words: &str) {
    let reply = api().answer(&post(model, "generateContent", &ask(patch)));
    let error = value(&reply);
    assert_eq!(reply.status, 400, "{error}");
    assert_eq!(error["error"]["status"], "INVALID_ARGUMENT");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

fn parts(response: &Value) -> &Vec<Value> {
    response["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap()
}

const NEW: &str = "gemini-3.8-flash";
const OLD: &str = "gemini-2.5-flash";

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| {
        json!({"name": name, "parametersJsonSchema": {"type": "object", "additionalProperties": false,
            "properties": {"city": {"type": "string"}}}})
    };
    json!([{"functionDeclarations": names.iter().map(tool).collect::<Value>()}])
}

#[test]
fn a_whole_answer() {
    let answer = taken(
        OLD,
        json!({"system_instruction": {"parts": [{"text": "Be brief."}]}}),
    );
    let text = parts(&answer)[0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("You said: hi there [system: Be brief.]"),
        "{text}"
    );
    let usage = &answer["usageMetadata"];
    let count = |key: &str| usage[key].as_u64().unwrap();
    assert_eq!(
        count("totalTokenCount"),
        count("promptTokenCount") + count("candidatesTokenCount") + count("thoughtsTokenCount")
    );
    assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
    assert_eq!(answer["modelVersion"], OLD);
}

#[test]
fn keys_models_and_paths() {
    let status = |request: &Request| {
        let reply = api().answer(request);
        (reply.status.as_u16(), text(&reply))
    };
    let mut asked = post(NEW, "generateContent", &ask(json!({})));
    asked
        .headers
        .insert("x-goog-api-key", HeaderValue::from_static("other"));
    let (code, body) = status(&asked);
    assert!(code == 400 && body.contains("API_KEY_INVALID"), "{body}");
    asked.headers.clear();
    assert_eq!(status(&asked).0, 403);
    asked.query = "key=sim-key".into();
    assert_eq!(status(&asked).0, 200);
    assert_eq!(
        status(&post("gemini-9", "generateContent", &ask(json!({})))).0,
        404
    );
    assert_eq!(status(&post(NEW, "embedContent", &json!({}))).0, 404);
    let (code, body) = status(&post("a/../b", "generateContent", &json!({})));
    assert!(code == 404 && body.contains("<html"), "{body}");
    let (code, body) = status(&post("a%2F..%2Fb", "generateContent", &json!({})));
    assert!(
        code == 404 && body.contains("models/a/../b is not found"),
        "{body}"
    );
}

#[test]
fn names_and_contents() {
    for (patch, words) in [
        (
            json!({"messages": []}),
            "Unknown name \"messages\": Cannot find field.",
        ),
        (json!({"contents": []}), "contents is not specified"),
        (
            json!({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}),
            "valid role: user, model",
        ),
        (
            json!({"contents": [{"role": "user", "parts": []}]}),
            "must not be empty",
        ),
        (
            json!({"contents": [{"role": "user", "parts": [{}]}]}),
            "required oneof field 'data'",
        ),
        (
            json!({"contents": [{"parts": [{"text": "x", "functionCall": {"name": "f"}}]}]}),
            "already set",
        ),
        (
            json!({"contents": [{"parts": [{"text": 5}]}]}),
            "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5",
        ),
        (
            json!({"safetySettings": [{"category": "HARM_CATEGORY_FUN", "threshold": "OFF"}]}),
            "TYPE_ENUM",
        ),
    ] {
        refused(NEW, patch, words);
    }
}

#[test]
fn values_of_the_configuration() {
    let config = |config: Value| json!({"generationConfig": config});
    for (patch, words) in [
        (
            config(json!({"temperature": 2.5})),
            "temperature must be in the range [0.0, 2.0]",
        ),
        (config(json!({"topK": 0})), "top_k must be positive"),
        (
            config(json!({"max_tokens": 5})),
            "Unknown name \"max_tokens\" at 'generation_config'",
        ),
        (
            config(json!({"maxOutputTokens": 70_000})),
            "supported range is from 1 (inclusive) to 65537",
        ),
        (
            config(json!({"stopSequences": ["a", "b", "c", "d", "e", "f"]})),
            "at most 5",
        ),
        (
            config(json!({"candidateCount": 2})),
            "Multiple candidates is not enabled",
        ),
        (
            config(json!({"presencePenalty": 0.5})),
            "Penalty is not enabled",
        ),
        (
            config(json!({"logprobs": 2})),
            "only be set if response_logprobs",
        ),
        (
            config(json!({"responseJsonSchema": {}})),
            "needs the mimetype",
        ),
        (
            config(json!({"responseMimeType": "json"})),
            "allowed mimetypes are",
        ),
    ] {
        refused(NEW, patch, words);
    }
    taken(
        "gemini-2.0-flash",
        config(json!({"presencePenalty": 0.5, "top_k": "4"})),
    );
}

fn thinking(config: Value) -> Value {
    json!({"generationConfig": {"thinkingConfig": config}})
}

#[test]
fn thinking_that_a_model_refuses() {
    for (model, config, words) in [
        (
            NEW,
            json!({"thinkingLevel": "low", "thinkingBudget": 100}),
            "only one of thinking budget and thinking level",
        ),
        (
            NEW,
            json!({"thinkingLevel": "minimal"}),
            "Thinking level MINIMAL is not supported",
        ),
        (
            "gemini-4-argon",
            json!({"thinkingBudget": 1_000}),
            "Thinking budget is not supported",
        ),
        (
            OLD,
            json!({"thinkingLevel": "low"}),
            "Thinking level is not supported",
        ),
        (
            OLD,
            json!({"thinkingBudget": 30_000}),
            "between 1 and 24576",
        ),
        (
            OLD,
            json!({"thinkingBudget": 0, "includeThoughts": true}),
            "only enabled when thinking is enabled",
        ),
        (
            "gemini-2.5-pro",
            json!({"thinkingBudget": 0}),
            "only works in thinking mode",
        ),
        (
            "gemini-2.0-flash",
            json!({"thinkingBudget": 0}),
            "Thinking is not supported",
        ),
    ] {
        refused(model, thinking(config), words);
    }
}

#[test]
fn how_models_think() {
    let shown = taken(
        NEW,
        thinking(json!({"thinkingLevel": "LOW", "includeThoughts": true})),
    );
    assert_eq!(parts(&shown)[0]["thought"], true);
    let hidden = taken(NEW, thinking(json!({"thinkingLevel": "low"})));
    assert!(parts(&hidden)[0].get("thought").is_none());
    assert_eq!(
        hidden["usageMetadata"]["thoughtsTokenCount"],
        shown["usageMetadata"]["thoughtsTokenCount"]
    );
    for (model, config) in [
        (OLD, json!({"thinkingBudget": 0})),
        ("gemini-2.5-flash-lite", json!({})),
    ] {
        assert!(
            taken(model, thinking(config))["usageMetadata"]
                .get("thoughtsTokenCount")
                .is_none()
        );
    }
    taken(
        "gemini-3.5-flash",
        thinking(json!({"thinkingLevel": "minimal"})),
    );
    taken("gemini-2.5-pro", thinking(json!({"thinkingBudget": -1})));
}

#[test]
fn declarations() {
    let declare = |declaration: Value| json!({"tools": [{"functionDeclarations": [declaration]}]});
    let object = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    refused(NEW, declare(json!({"name": "1f"})), "Invalid function name");
    refused(
        NEW,
        declare(json!({"name": "f", "parameters": object, "parametersJsonSchema": object})),
        "only one of",
    );
    refused(
        NEW,
        declare(json!({"name": "f", "parameters": {"type": "string"}})),
        "of type OBJECT",
    );
    refused(
        NEW,
        declare(json!({"name": "f", "parametersJsonSchema": {"type": "string"}})),
        "of type object",
    );
    let reference = |member: &str| {
        let beside = json!({"$ref": "#/$defs/d", member: "x"});
        let schema = json!({"type": "object", "properties": {"a": beside}, "$defs": {"d": {"type": "string"}}});
        declare(json!({"name": "f", "parametersJsonSchema": schema}))
    };
    refused(
        NEW,
        reference("description"),
        "cannot be set together with description",
    );
    taken(NEW, reference("$id"));
    refused(
        NEW,
        declare(
            json!({"name": "f", "parameters": {"type": "object", "properties": {}, "$schema": "x"}}),
        ),
        "Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters': Cannot find field.",
    );
    taken(
        NEW,
        declare(json!({"name": "a.b:c-d", "parameters": object})),
    );
    taken(NEW, declare(json!({"name": "no_arguments"})));
}

#[test]
fn modes_of_calling() {
    let mode = |mode: Value| json!({"tools": tools(&["f", "g"]), "toolConfig": {"functionCallingConfig": mode}});
    refused(
        NEW,
        mode(json!({"mode": "AUTO", "allowedFunctionNames": ["f"]})),
        "only when mode is ANY",
    );
    refused(
        NEW,
        mode(json!({"mode": "ANY", "allowedFunctionNames": ["h"]})),
        "is not declared",
    );
    refused(NEW, mode(json!({"mode": "required"})), "TYPE_ENUM");
    refused(
        NEW,
        json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        "without function_declarations",
    );
    let forced = taken(
        OLD,
        mode(json!({"mode": "any", "allowedFunctionNames": ["g"]})),
    );
    assert_eq!(parts(&forced)[0]["functionCall"]["name"], "g");
    assert_eq!(forced["candidates"][0]["finishReason"], "STOP");
}

fn history(steps: &[Value]) -> Value {
    let mut contents = vec![json!({"role": "user", "parts": [{"text": "use f and g"}]})];
    contents.extend_from_slice(steps);
    json!({"contents": contents, "tools": tools(&["f", "g"])})
}

fn answered(names: &[&str]) -> Value {
    let response =
        |name: &&str| json!({"functionResponse": {"name": name, "response": {"output": "rain"}}});
    json!({"role": "user", "parts": names.iter().map(response).collect::<Value>()})
}

#[test]
fn signatures_come_back_on_their_parts() {
    let first = taken(NEW, history(&[]));
    let calls: Vec<Value> = parts(&first)
        .iter()
        .filter(|part| part.get("functionCall").is_some())
        .cloned()
        .collect();
    assert_eq!(calls.len(), 2);
    assert!(
        calls[0].get("thoughtSignature").is_some() && calls[1].get("thoughtSignature").is_none()
    );
    let model = |parts: &[Value]| json!({"role": "model", "parts": parts});
    let responses = answered(&["f", "g"]);
    let answer = taken(NEW, history(&[model(&calls), responses.clone()]));
    assert!(
        parts(&answer)[0]["text"]
            .as_str()
            .unwrap()
            .contains("rain | rain")
    );
    // As streamed answers are kept: a content for every chunk.
    taken(
        NEW,
        history(&[model(&calls[..1]), model(&calls[1..]), responses.clone()]),
    );
    let mut bare = calls.clone();
    bare[0].as_object_mut().unwrap().remove("thoughtSignature");
    refused(
        NEW,
        history(&[model(&bare), responses.clone()]),
        "missing a thought_signature",
    );
    taken(OLD, history(&[model(&bare), responses.clone()]));
    let mut moved = bare.clone();
    moved[1]["thoughtSignature"] = calls[0]["thoughtSignature"].clone();
    refused(
        NEW,
        history(&[model(&moved), responses.clone()]),
        "Corrupted thought signature",
    );
    let later = json!({"role": "user", "parts": [{"text": "and now?"}]});
    let said = json!({"role": "model", "parts": [{"text": "rain"}]});
    taken(
        NEW,
        history(&[model(&bare), responses.clone(), said, later]),
    );
    bare[0]["thoughtSignature"] = "skip_thought_signature_validator".into();
    taken(NEW, history(&[model(&bare), responses]));
}

#[test]
fn responses_match_their_calls() {
    let calls = json!({"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "g", "args": {}}}]});
    let go = |steps: &[Value]| history(&[std::slice::from_ref(&calls), steps].concat());
    taken(OLD, go(&[answered(&["g", "f"])]));
    refused(
        OLD,
        go(&[answered(&["f"])]),
        "number of function response parts is equal",
    );
    refused(
        OLD,
        go(&[answered(&["f"]), answered(&["g"])]),
        "number of function response parts is equal",
    );
    refused(
        OLD,
        go(&[answered(&["f", "h"])]),
        "does not match any function call",
    );
    refused(
        OLD,
        go(&[json!({"role": "user", "parts": [{"text": "x"}]})]),
        "number of function response",
    );
    refused(OLD, go(&[]), "followed by a function response turn");
    refused(
        OLD,
        history(&[answered(&["f"])]),
        "immediately after a function call turn",
    );
    let mut wrong = answered(&["f", "g"]);
    wrong["parts"][0]["functionResponse"]["response"] = "rain".into();
    refused(
        OLD,
        go(&[wrong]),
        "function_response.response' (type.googleapis.com/google.protobuf.Struct), \"rain\"",
    );
}

#[test]
fn images_and_files() {
    let part =
        |part: Value| json!({"contents": [{"role": "user", "parts": [part, {"text": "what?"}]}]});
    let image = |data: &str| part(json!({"inlineData": {"mimeType": "image/png", "data": data}}));
    let answer = taken(NEW, image("iVBORw0KGgo="));
    assert!(
        parts(&answer)[0]["text"]
            .as_str()
            .unwrap()
            .contains("[images: 1]")
    );
    refused(
        NEW,
        image("data:image/png;base64,AA"),
        "Base64 decoding failed",
    );
    refused(
        NEW,
        part(json!({"inlineData": {"mimeType": "image/bmp", "data": "Qk0="}})),
        "Unsupported MIME type",
    );
    refused(
        NEW,
        part(json!({"fileData": {"fileUri": "https://example.com/a.png"}})),
        "Unsupported file URI",
    );
}

/// What a client makes of a stream: the parts of all responses, and the last of everything else.
fn assembled(responses: &[Value]) -> Value {
    let mut whole = responses.last().unwrap().clone();
    let mut joined: Vec<Value> = Vec::new();
    for part in responses.iter().flat_map(parts) {
        let more = part["text"].as_str();
        match (joined.last_mut(), more) {
            (Some(last), Some(more))
                if last["text"].is_string()
                    && (more.is_empty() || last["thought"] == part["thought"]) =>
            {
                last["text"] = (last["text"].as_str().unwrap().to_owned() + more).into();
                if let Some(signature) = part.get("thoughtSignature") {
                    last["thoughtSignature"] = signature.clone();
                }
            }
            (_, Some("")) => {}
            _ => joined.push(part.clone()),
        }
    }
    let content = whole["candidates"][0]["content"].as_object_mut().unwrap();
    content.insert("parts".into(), joined.clone().into());
    if joined.is_empty() {
        content.remove("parts");
    }
    whole
}

#[test]
fn streams_amount_to_the_whole_answer() {
    let thinking = json!({"thinkingConfig": {"includeThoughts": true}});
    for patch in [
        json!({}),
        json!({"generationConfig": thinking}),
        json!({"generationConfig": {"maxOutputTokens": 2}}),
        json!({"generationConfig": {"stopSequences": ["there"]}}),
        history(&[]),
        json!({"contents": [{"parts": [{"text": "FILTER and CACHED"}]}]}),
        json!({"contents": [{"parts": [{"text": "CONTINUE"}]}]}),
    ] {
        let whole = taken(NEW, patch.clone());
        let request = post(NEW, "streamGenerateContent", &ask(patch));
        let array = api().answer(&request);
        assert_eq!(assembled(value(&array).as_array().unwrap()), whole);
        let request = Request {
            query: "alt=sse".into(),
            ..request
        };
        let reply = api().answer(&request);
        assert_eq!(reply.headers["content-type"], "text/event-stream");
        let responses: Vec<Value> = text(&reply)
            .split_terminator("\r\n\r\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        assert_eq!(assembled(&responses), whole);
        let counts = responses.iter().map(|response| {
            response["usageMetadata"]["totalTokenCount"]
                .as_u64()
                .unwrap()
        });
        assert!(counts.is_sorted());
    }
}

#[test]
fn a_blocked_prompt_has_no_candidates() {
    let blocked = taken(NEW, json!({"contents": [{"parts": [{"text": "BLOCK"}]}]}));
    assert_eq!(
        blocked["promptFeedback"]["blockReason"],
        "PROHIBITED_CONTENT"
    );
    assert!(blocked.get("candidates").is_none());
}

#[test]
fn what_was_broken_off_is_continued() {
    let said = json!({"contents": [{"parts": [{"text": "CONTINUE please"}]}]});
    let first = taken(NEW, said.clone());
    assert_eq!(first["candidates"][0]["finishReason"], "CONTINUATION");
    let mut more = said;
    more["continuationToken"] = first["candidates"][0]["continuationToken"].clone();
    let second = taken(NEW, more.clone());
    assert_eq!(second["candidates"][0]["finishReason"], "STOP");
    let text = |answer: &Value| parts(answer)[0]["text"].as_str().unwrap().to_owned();
    assert!((text(&first) + &text(&second)).starts_with("You said: CONTINUE please."));
    more["continuationToken"] = "AAAA".into();
    refused(NEW, more, "Invalid continuation token");
}

#[test]
fn forms_and_logprobs() {
    let schema = json!({"type": "OBJECT", "properties": {"age": {"type": "INTEGER"}}});
    let config = json!({"responseMimeType": "application/json", "responseSchema": schema});
    let answer = taken(NEW, json!({"generationConfig": config}));
    let text = parts(&answer)[0]["text"].as_str().unwrap();
    assert!(
        serde_json::from_str::<Value>(text).unwrap()["age"].is_i64(),
        "{text}"
    );
    let answer = taken(
        "gemini-2.0-flash",
        json!({"generationConfig": {"responseLogprobs": true, "logprobs": 3}}),
    );
    let result = &answer["candidates"][0]["logprobsResult"];
    let chosen = result["chosenCandidates"].as_array().unwrap();
    assert_eq!(
        chosen.len() as u64,
        answer["usageMetadata"]["candidatesTokenCount"]
    );
    assert_eq!(
        result["topCandidates"][0]["candidates"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(result["topCandidates"][0]["candidates"][0], chosen[0]);
}

#[test]
fn embeddings() {
    let model = "gemini-embedding-001";
    let content = |text: &str| json!({"parts": [{"text": text}]});
    let one = |body: Value| value(&api().answer(&post(model, "embedContent", &body)));
    let whole = one(json!({"content": content("a b")}));
    let short = one(json!({"content": content("a b"), "outputDimensionality": 256}));
    let values = |answer: &Value| answer["embedding"]["values"].as_array().unwrap().clone();
    assert_eq!(values(&whole).len(), 3_072);
    assert_eq!(values(&whole)[..256], values(&short)[..]);
    let length: f64 = values(&short)
        .iter()
        .map(|number| number.as_f64().unwrap().powi(2))
        .sum();
    assert!(length < 0.9, "{length}");
    assert_eq!(
        one(json!({"content": content("a"), "outputDimensionality": 4_000}))["error"]["code"],
        400
    );
    let batch = |requests: Value| {
        value(&api().answer(&post(
            model,
            "batchEmbedContents",
            &json!({"requests": requests}),
        )))
    };
    let request = json!({"model": format!("models/{model}"), "content": content("a b")});
    let two = batch(json!([request, request]));
    assert_eq!(two["embeddings"][1]["values"], whole["embedding"]["values"]);
    assert_eq!(batch(vec![request; 101].into())["error"]["code"], 400);
    assert_eq!(
        batch(json!([{"content": content("a")}]))["error"]["code"],
        400
    );
}

#[test]
fn counting_and_listing() {
    let count = |body: &Value| value(&api().answer(&post(NEW, "countTokens", body)));
    let plain = count(&ask(json!({})));
    assert!(plain["totalTokens"].as_u64().unwrap() > 0);
    let inner = |model: &str| json!({"generateContentRequest": ask(json!({ "model": model }))});
    assert_eq!(count(&inner(&format!("models/{NEW}"))), plain);
    for wrong in ["", NEW, "models/x"] {
        assert_eq!(count(&inner(wrong))["error"]["code"], 400, "{wrong}");
    }
    let get = |target: &str| value(&api().answer(&request(Method::GET, target, Vec::new())));
    let first = get("/v1beta/models?pageSize=10");
    let next = first["nextPageToken"].as_str().unwrap();
    let second = get(&format!("/v1beta/models?pageSize=10&pageToken={next}"));
    let length = |page: &Value| page["models"].as_array().unwrap().len();
    assert_eq!(length(&first) + length(&second), Google::MODELS.len());
    assert!(second.get("nextPageToken").is_none());
    assert_eq!(get("/v1beta/models/gemini-2.5-pro")["thinking"], true);
}

#[test]
fn failures_have_their_own_shapes() {
    let mut asked = post(NEW, "streamGenerateContent", &ask(json!({})));
    let array = value(&api().refuse(&asked, &failed(503, None)));
    assert_eq!(array[0]["error"]["status"], "UNAVAILABLE");
    let end = api().break_off(&asked, &failed(500, None), 2);
    assert!(end.starts_with(b",\r\n{") && end.ends_with(b"]\r\n"));
    asked.query = "alt=sse".into();
    let spent = value(&api().refuse(
        &asked,
        &failed(429, Some("GenerateRequestsPerDayPerProjectPerModel")),
    ));
    let details = &spent["error"]["details"];
    assert_eq!(
        details[0]["violations"][0]["quotaId"],
        "GenerateRequestsPerDayPerProjectPerModel"
    );
    assert_eq!(details[1]["retryDelay"], "22s");
    let raw = String::from_utf8(api().break_off(&asked, &failed(500, None), 2).to_vec()).unwrap();
    assert!(raw.starts_with("{\n  \"error\": {\n"), "{raw}");
    let odd = api().refuse(&asked, &failed(400, Some("FAILED_PRECONDITION")));
    assert_eq!(value(&odd)["error"]["status"], "FAILED_PRECONDITION");
}
