//! Single fields and texts: what clients of Ollama say through other APIs, what a model is known to refuse in a request that
//! passes, schemas, halves of characters, vectors as base64, cached tokens.

use serde_json::{Value, json};

use crate::across::KEY;
use crate::support::*;

/// A scripted service that has one model and lists none.
fn service(kind: &str, model: &str, upstream: &Upstream) -> String {
    let base = match kind {
        "anthropic" => format!("http://{}", upstream.address),
        "google" => format!("http://{}/v1beta", upstream.address),
        _ => format!("http://{}/v1", upstream.address),
    };
    json!({"name": "scripted", "kind": kind, "base_url": base, "api_key": KEY,
        "models": [model], "list_models": false})
    .to_string()
}

async fn answering(answer: &'static str) -> Upstream {
    Upstream::start(move |_: &Asked| vec![Step::Send(json(200, answer))]).await
}

/// What was sent last.
fn sent(upstream: &Upstream) -> Value {
    serde_json::from_slice(&upstream.asked().last().unwrap().body).unwrap()
}

const CHAT: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":4}}}"#;
const OLLAMA: &str = r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"yes"},"response":"yes","embeddings":[[0.6,0.8]],"done":true,"done_reason":"stop","prompt_eval_count":9,"prompt_eval_cached_count":4,"eval_count":1}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"yes"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"yes"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}"#;
const RESPONSE: &str = r#"{"id":"r","object":"response","status":"completed","output":[{"type":"message","id":"i","role":"assistant","content":[{"type":"output_text","text":"yes","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1}}"#;

#[tokio::test]
async fn what_is_meant_for_ollama_reaches_it_through_any_api() {
    let upstream = answering(OLLAMA).await;
    // What only tunes the server is left out unless the operator lets it pass.
    let config = Config::over(&[upstream.address]).set("provider.options", "pass");
    let gateway = Gateway::over(&config, 1).await;
    let local = json!({"keep_alive": "10m", "truncate": false, "shift": true, "think": "low",
        "options": {"num_ctx": 8192, "mirostat": 1, "temperature": 0.5}, "num_gpu": 1, "min_p": 0.1,
        "top_k": 7, "repeat_penalty": 1.2, "format": "json"});
    for format in [Format::Chat, Format::Responses, Format::Anthropic] {
        for fields in [local.clone(), json!({"extra_body": local})] {
            let body = format.ask("scripted", "hi", false, fields);
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 200, "{format:?}: {}", reply.text());
            assert_eq!(reply.header("x-remuda-dropped"), None, "{format:?}");
            let body = sent(&upstream);
            assert_eq!(body["keep_alive"], "10m", "{body}");
            assert_eq!(
                (&body["truncate"], &body["shift"]),
                (&false.into(), &true.into())
            );
            assert_eq!(
                (&body["think"], &body["format"]),
                (&"low".into(), &"json".into())
            );
            let options = &body["options"];
            assert_eq!(options["num_ctx"], 8192, "{body}");
            assert_eq!(
                (&options["mirostat"], &options["num_gpu"]),
                (&1.into(), &1.into())
            );
            assert_eq!(
                (&options["top_k"], &options["min_p"]),
                (&7.into(), &json!(0.1))
            );
            assert_eq!(options["temperature"], 0.5);
            assert_eq!(options["repeat_penalty"], 1.2);
        }
    }
    let completion =
        json!({"model": "scripted", "prompt": "p", "keep_alive": -1, "raw": true, "num_ctx": 4096});
    post(gateway.address, "/v1/completions", &completion.to_string()).await;
    let body = sent(&upstream);
    assert_eq!(
        (&body["keep_alive"], &body["raw"]),
        (&json!(-1), &json!(true))
    );
    assert_eq!(body["options"]["num_ctx"], 4096, "{body}");

    let vectors = json!({"model": "scripted", "input": "p", "keep_alive": 0, "truncate": false, "options": {"num_ctx": 2048}});
    let reply = post(gateway.address, "/v1/embeddings", &vectors.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = sent(&upstream);
    assert_eq!(
        (&body["keep_alive"], &body["truncate"]),
        (&json!(0), &json!(false))
    );
    assert_eq!(body["options"]["num_ctx"], 2048, "{body}");

    let wrong = Format::Chat.ask("scripted", "hi", false, json!({"num_ctx": "many"}));
    let reply = post(gateway.address, "/v1/chat/completions", &wrong).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["param"], "num_ctx");
}

#[tokio::test]
async fn what_is_meant_for_ollama_is_named_where_nobody_can_do_it() {
    let upstream = answering(MESSAGE).await;
    let config = Config::of([service("anthropic", "scripted", &upstream)]);
    let gateway = Gateway::over(&config, 1).await;
    let fields = json!({"keep_alive": "5m", "options": {"num_ctx": 8192, "temperature": 0.5, "num_predict": 50}, "shift": false});
    let body = Format::Chat.ask("scripted", "hi", false, fields.clone());
    let reply = post(gateway.address, "/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.header("x-remuda-dropped"),
        Some("keep_alive, shift, num_ctx")
    );
    assert_eq!(sent(&upstream)["temperature"], 0.5);
    // To Ollama's own clients as well.
    let body = Format::Ollama.ask("scripted", "hi", false, fields);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(
        reply.header("x-remuda-dropped"),
        Some("keep_alive, shift, num_ctx")
    );
}

/// OpenAI refuses what it does not know, also in a request that could pass as it came.
#[tokio::test]
async fn what_is_meant_for_ollama_does_not_pass_to_who_is_known_not_to_take_it() {
    const VECTORS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,0.8]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    for (kind, leaves_out) in [
        ("openai", true),
        ("openrouter", true),
        ("openai_compatible", false),
    ] {
        let upstream = Upstream::start(|asked: &Asked| {
            let vectors = asked.head.contains("/embeddings ");
            let answer = if vectors { VECTORS } else { CHAT };
            vec![Step::Send(json(200, answer))]
        })
        .await;
        let config = Config::of([service(kind, "scripted", &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        let fields = json!({"keep_alive": "5m", "options": {"num_ctx": 8192}, "shift": null});
        let mut vectors = fields.clone();
        vectors["model"] = "scripted".into();
        vectors["input"] = "p".into();
        for (path, body) in [
            (
                "/v1/chat/completions",
                Format::Chat.ask("scripted", "hi", false, fields.clone()),
            ),
            ("/v1/embeddings", vectors.to_string()),
        ] {
            let reply = post(gateway.address, path, &body).await;
            assert_eq!(reply.status, 200, "{kind} {path}: {}", reply.text());
            let named = reply.header("x-remuda-dropped");
            let sent = sent(&upstream);
            let has = |name: &str| sent.get(name).is_some();
            let passed = [has("keep_alive"), has("options"), has("shift")];
            assert_eq!(passed, [!leaves_out; 3], "{kind} {path}: {sent}");
            assert_eq!(named, leaves_out.then_some("keep_alive, options"), "{path}");
        }
    }
}

/// Anthropic answers 400 to what it does not know.
#[tokio::test]
async fn what_is_meant_for_ollama_does_not_pass_to_anthropic() {
    let upstream = answering(MESSAGE).await;
    let entry = service("anthropic", "scripted", &upstream);
    let gateway = Gateway::over(&Config::of([entry.clone()]), 1).await;
    let strict = Config::of([entry]).set("routing.fidelity", "strict");
    let strict = Gateway::over(&strict, 1).await;
    let fields = json!({"keep_alive": "5m", "options": {"num_ctx": 8192}, "num_ctx": 1, "think": true,
        "truncate": null, "extra_body": {"shift": true}});
    let ask = |fields| Format::Anthropic.ask("scripted", "hi", false, fields);
    let plain = ask(json!({}));
    let body = ask(fields);
    let reply = post(gateway.address, "/v1/messages", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.header("x-remuda-dropped"),
        Some("keep_alive, options, num_ctx, think, extra_body")
    );
    assert_eq!(
        sent(&upstream),
        serde_json::from_str::<Value>(&plain).unwrap()
    );
    assert_eq!(
        post(strict.address, "/v1/messages", &body).await.status,
        400
    );
    // What has none of them is not touched.
    post(gateway.address, "/v1/messages", &plain).await;
    assert_eq!(upstream.asked().last().unwrap().body, plain.as_bytes());
}

/// OpenAI takes 16 tokens for the least limit of a response, and its own ids alone for items.
#[tokio::test]
async fn a_response_that_passes_is_put_right_as_a_translated_one() {
    let upstream = answering(RESPONSE).await;
    let gateway = Gateway::over(&Config::of([service("openai", "scripted", &upstream)]), 1).await;
    let body = json!({"model": "scripted", "max_output_tokens": 5, "input": [
        {"role": "user", "content": "q"},
        {"type": "function_call", "id": "toolu_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "o"}]});
    let reply = post(gateway.address, "/v1/responses", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-dropped"), Some("max_output_tokens"));
    let mut expected = body;
    expected["max_output_tokens"] = 16.into();
    expected["input"][1].as_object_mut().unwrap().remove("id");
    assert_eq!(sent(&upstream), expected);
}

#[tokio::test]
async fn cached_tokens_are_told_in_every_format() {
    let upstream = answering(OLLAMA).await;
    let gateway = Gateway::over(&Config::over(&[upstream.address]), 1).await;
    for (format, place) in [
        (Format::Chat, "/usage/prompt_tokens_details/cached_tokens"),
        (
            Format::Responses,
            "/usage/input_tokens_details/cached_tokens",
        ),
        (Format::Anthropic, "/usage/cache_read_input_tokens"),
        (Format::Ollama, "/prompt_eval_cached_count"),
    ] {
        let body = format.ask("scripted", "hi", false, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(
            reply.json().pointer(place),
            Some(&4.into()),
            "{}",
            reply.text()
        );
    }
    gateway.idle().await;
    let labels = [("gen_ai_token_type", "cached")];
    gateway
        .metric_is("remuda_tokens_total", &labels, 16.0)
        .await;
    let openai = answering(CHAT).await;
    let config = Config::of([service("openai", "scripted", &openai)]);
    let gateway = Gateway::over(&config, 1).await;
    let body = Format::Ollama.ask("scripted", "hi", false, json!({}));
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(
        reply.json()["prompt_eval_cached_count"],
        4,
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["prompt_eval_count"], 9);
}

#[tokio::test]
async fn half_a_character_becomes_a_whole_one_on_its_way_to_strict_parsers() {
    let half = r"cut \ud83d here";
    let arguments = r#"{\"x\":\"\\ud83d\"}"#;
    let chat = format!(
        r#"{{"max_tokens":9,"messages":[{{"role":"user","content":"{half}","\uDE00":1}},{{"role":"assistant","content":null,"tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{arguments}"}}}}]}},{{"role":"tool","tool_call_id":"c","content":"say \\ud83d"}}],"model":"scripted"}}"#
    );
    for (kind, answer) in [("openai", CHAT), ("anthropic", MESSAGE), ("google", GEMINI)] {
        let upstream = answering(answer).await;
        let config = Config::of([service(kind, "scripted", &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        let reply = post(gateway.address, "/v1/chat/completions", &chat).await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
        let body = String::from_utf8(upstream.asked()[0].body.clone()).unwrap();
        // A parser that refuses halves.
        let read: Value = serde_json::from_str(&body).unwrap();
        assert!(
            read.to_string().contains("cut \u{fffd} here"),
            "{kind}: {body}"
        );
        assert!(!body.contains(r#":\"\\ud83d"#), "{kind}: {body}");
        assert!(body.contains(r"say \\ud83d"), "{kind}: {body}");
    }
    // A message that passes, with bytes that are no text before the model's name.
    let upstream = answering(MESSAGE).await;
    let entry = service("anthropic", "scripted", &upstream);
    let gateway = Gateway::over(&Config::of([entry]), 1).await;
    let mut client = Connection::open(gateway.address).await;
    let body = b"{\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"a\xff\xed\xa0\xbdb\"}],\"model\":\"scripted/scripted\"}";
    client.request("POST", "/v1/messages", &[], body).await;
    assert_eq!(client.reply().await.status, 200);
    let body = sent(&upstream);
    assert_eq!(body["model"], "scripted", "{body}");
    assert!(
        body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .starts_with("a\u{fffd}")
    );
    // And a chat, whose bytes are looked at as they were sent.
    let chats = answering(CHAT).await;
    let entry = service("openai_compatible", "scripted", &chats);
    let to_chats = Gateway::over(&Config::of([entry]), 1).await;
    let mut client = Connection::open(to_chats.address).await;
    let chat = b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\xff\xed\xa0\xbdb\"}],\"model\":\"scripted\"}";
    client
        .request("POST", "/v1/chat/completions", &[], chat)
        .await;
    assert_eq!(client.reply().await.status, 200);
    let body = String::from_utf8(chats.asked()[0].body.clone()).unwrap();
    assert!(body.contains("\"a\u{fffd}\u{fffd}"), "{body}");
    // Whole characters pass as they were written.
    let whole = r#"{"model":"scripted","max_tokens":9,"messages":[{"role":"user","content":"\ud83d\ude00 \\ud83d"}]}"#;
    post(gateway.address, "/v1/messages", whole).await;
    assert_eq!(upstream.asked()[1].body, whole.as_bytes());
}

#[tokio::test]
async fn halves_that_come_in_two_events_are_joined() {
    let upstream = Upstream::start(|_: &Asked| {
        let event = |delta: &str, end: &str| format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{delta}\"}},\"finish_reason\":{end}}}]}}\n\n");
        let stream = [event(r"a\ud83d", "null"), event(r"\ude00b\ud83d", "null"), event("", "\"stop\""), "data: [DONE]\n\n".to_owned()].concat();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n", stream.len());
        vec![Step::Send([head, stream].concat().into_bytes())]
    })
    .await;
    let config = Config::of([service("openai", "scripted", &upstream)]);
    let gateway = Gateway::over(&config, 1).await;
    for format in [Format::Ollama, Format::Anthropic] {
        let body = format.ask("scripted", "hi", true, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        let text = reply.text();
        assert!(
            text.contains(r"\ud83d\ude00") || text.contains('😀'),
            "{text}"
        );
        let alone = text.replace(r"\ud83d\ude00", "");
        assert!(
            !alone.contains(r"\ud83d") && alone.contains(r"\ufffd"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_request_that_passes_is_put_right_by_what_is_known_of_its_model() {
    let chat = json!({"max_tokens": 50, "temperature": 0.2, "presence_penalty": 0.5, "reasoning_effort": "low", "novel": 1});
    let responses = json!({"temperature": 0.2, "top_p": 0.5, "novel": 1});
    let message = json!({"temperature": 0.2, "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 2048}, "novel": 1});
    for (kind, model, format, answer, fields, dropped) in [
        (
            "openai",
            "gpt-5",
            Format::Chat,
            CHAT,
            &chat,
            "temperature, presence_penalty",
        ),
        (
            "openai",
            "gpt-5",
            Format::Responses,
            RESPONSE,
            &responses,
            "temperature, top_p",
        ),
        (
            "anthropic",
            "claude-opus-5",
            Format::Anthropic,
            MESSAGE,
            &message,
            "temperature, top_k",
        ),
    ] {
        let upstream = answering(answer).await;
        let config = Config::of([service(kind, model, &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        let body = format.ask(model, "hi", false, fields.clone());
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 200, "{format:?}: {}", reply.text());
        assert_eq!(
            reply.header("x-remuda-dropped"),
            Some(dropped),
            "{format:?}"
        );
        let body = sent(&upstream);
        assert!(
            body.get("temperature").is_none() && body["novel"] == 1,
            "{body}"
        );
        match format {
            Format::Chat => {
                assert_eq!(body["max_completion_tokens"], 50, "{body}");
                assert!(body.get("max_tokens").is_none());
            }
            Format::Anthropic => assert_eq!(body["thinking"]["type"], "adaptive", "{body}"),
            _ => {}
        }
        // Nothing needs to be put right: the bytes stay.
        let fine = format.ask(model, "hi", false, json!({"seed_of_doubt": [1.0, 2e3]}));
        post(gateway.address, format.path(), &fine).await;
        assert_eq!(upstream.asked()[1].body, fine.as_bytes(), "{format:?}");
        let strict = Gateway::over(&config.set("routing.fidelity", "strict"), 1).await;
        let body = format.ask(model, "hi", false, fields.clone());
        let reply = post(strict.address, format.path(), &body).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(format.message(&reply).contains("temperature"));
    }
}

#[tokio::test]
async fn what_a_model_turns_out_to_refuse_is_left_out_of_what_passes() {
    let upstream = Upstream::start(|asked: &Asked| {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let refused = ["temperature", "max_tokens"].into_iter().find(|name| body.get(name).is_some());
        vec![Step::Send(match refused {
            Some(name) => json(400, &format!(
                r#"{{"error":{{"message":"Unsupported parameter: '{name}' is not supported with this model.","type":"invalid_request_error","param":"{name}","code":"unsupported_parameter"}}}}"#
            )),
            None => json(200, CHAT),
        })]
    })
    .await;
    let config = Config::of([service("openai_compatible", "scripted", &upstream)]);
    let gateway = Gateway::over(&config, 1).await;
    let ask = async |format: Format, fields: Value| {
        let body = format.ask("scripted", "hi", false, fields);
        post(gateway.address, format.path(), &body).await
    };
    let reply = ask(Format::Chat, json!({"temperature": 0.5})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-dropped"), Some("temperature"));
    let reply = ask(Format::Chat, json!({"max_tokens": 7})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-dropped"), None);
    assert_eq!(sent(&upstream)["max_completion_tokens"], 7);
    // Both are known by now, in what is translated too.
    let before = upstream.asked().len();
    for format in [Format::Chat, Format::Anthropic] {
        let reply = ask(format, json!({"temperature": 0.5, "max_tokens": 7})).await;
        assert_eq!(
            reply.header("x-remuda-dropped"),
            Some("temperature"),
            "{}",
            reply.text()
        );
        assert_eq!(sent(&upstream)["max_completion_tokens"], 7);
    }
    assert_eq!(upstream.asked().len(), before + 2);
    let strict = Gateway::over(&config.set("routing.fidelity", "strict"), 1).await;
    let body = Format::Chat.ask("scripted", "hi", false, json!({"temperature": 0.5}));
    let reply = post(strict.address, "/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(Format::Chat.message(&reply).contains("temperature"));
}

#[tokio::test]
async fn an_object_says_what_properties_it_has() {
    let bare = json!({"type": "object", "$defs": {"d": {"type": "object"}}});
    let whole = json!({"type": "object", "properties": {}, "$defs": {"d": {"type": "object", "properties": {}}}});
    let chat = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": bare}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": bare}}});
    let message = json!({"tools": [{"name": "f", "input_schema": bare}]});
    let responses = json!({"tools": [{"type": "function", "name": "f", "parameters": bare}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": bare}}});
    let ollama = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": bare}}], "format": bare});
    for kind in ["openai", "openai_compatible", "openrouter"] {
        let upstream = answering(CHAT).await;
        let config = Config::of([service(kind, "scripted", &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        for (format, fields) in [
            (Format::Chat, &chat),
            (Format::Anthropic, &message),
            (Format::Ollama, &ollama),
        ] {
            let body = format.ask("scripted", "hi", false, fields.clone());
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 200, "{kind} {format:?}: {}", reply.text());
            let body = sent(&upstream);
            assert_eq!(
                body["tools"][0]["function"]["parameters"], whole,
                "{kind} {format:?}"
            );
            if format != Format::Anthropic {
                let schema = &body["response_format"]["json_schema"]["schema"];
                assert_eq!(*schema, whole, "{kind} {format:?}");
            }
        }
    }
    let upstream = answering(RESPONSE).await;
    let config = Config::of([service("openai", "scripted", &upstream)]);
    let gateway = Gateway::over(&config, 1).await;
    let body = Format::Responses.ask("scripted", "hi", false, responses);
    let reply = post(gateway.address, "/v1/responses", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = sent(&upstream);
    assert_eq!(body["tools"][0]["parameters"], whole);
    assert_eq!(body["text"]["format"]["schema"], whole);
}

#[tokio::test]
async fn gemini_gets_no_reference_beside_other_members() {
    let schema = json!({"type": "object", "properties": {
            "color": {"$ref": "#/$defs/color", "description": "of the sky"},
            "plain": {"$ref": "#/$defs/color"}},
        "$defs": {"color": {"type": "string", "enum": ["red"]}}});
    let model = "gemini-3.5-flash";
    let upstream = answering(GEMINI).await;
    let gateway = Gateway::over(&Config::of([service("google", model, &upstream)]), 1).await;
    let fields = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let body = Format::Chat.ask(model, "hi", false, fields);
    let reply = post(gateway.address, "/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = sent(&upstream);
    let tool = &body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"];
    let format = &body["generationConfig"]["responseJsonSchema"];
    for schema in [tool, format] {
        let color = json!({"type": "string", "enum": ["red"], "description": "of the sky"});
        assert_eq!(schema["properties"]["color"], color, "{body}");
    }
    // References that double at each step are refused before they fill the memory.
    let mut defs = serde_json::Map::new();
    for number in 0..60 {
        let next = json!({"$ref": format!("#/$defs/d{}", number + 1), "title": "t"});
        defs.insert(
            format!("d{number}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    defs.insert("d60".into(), json!({"type": "string"}));
    let schema = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0", "title": "t"}}, "$defs": defs});
    let fields =
        json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]});
    let body = Format::Chat.ask(model, "hi", false, fields);
    let reply = post(gateway.address, "/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.json()["error"]["param"], "tools");
}

/// OpenAI's libraries ask for base64 when their user says nothing.
#[tokio::test]
async fn vectors_are_written_as_the_client_wants_them() {
    // [1.0, -2.5]
    const BASE64: &str = "AACAPwAAIMA=";
    let data = |vector: &str| {
        format!(
            r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{vector}}}],"model":"m","usage":{{"prompt_tokens":3,"total_tokens":3}},"novel":1.50}}"#
        )
    };
    let floats = data("[1.0, -2.5]");
    let encoded = data(&format!("\"{BASE64}\""));
    let refusal = r#"{"detail":[{"type":"literal_error","loc":["body","encoding_format"],"msg":"Input should be 'float'"}]}"#;
    let ask = async |gateway: &Gateway, fields: Value| {
        let mut body = json!({"model": "scripted", "input": ["a"], "novel": true});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let reply = post(gateway.address, "/v1/embeddings", &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply
    };
    let (base64, float) = (
        json!({"encoding_format": "base64"}),
        json!({"encoding_format": "float"}),
    );
    // One refuses base64, one does not know the field, one knows nothing else.
    let answers = floats.clone();
    let picky = Upstream::start(move |asked: &Asked| {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        vec![Step::Send(match body.get("encoding_format") {
            Some(_) => json(422, refusal),
            None => json(200, &answers),
        })]
    })
    .await;
    let config = Config::of([service("openai_compatible", "scripted", &picky)]);
    let gateway = Gateway::over(&config, 1).await;
    for attempts in [2, 3] {
        let reply = ask(&gateway, base64.clone()).await;
        assert_eq!(
            reply.json()["data"][0]["embedding"],
            BASE64,
            "{}",
            reply.text()
        );
        assert_eq!(reply.json()["usage"]["prompt_tokens"], 3);
        assert_eq!(reply.header("x-remuda-dropped"), None);
        // The second time it is known.
        assert_eq!(picky.asked().len(), attempts);
        assert_eq!(sent(&picky)["novel"], true);
    }
    for (answer, fields, expected) in [
        (&floats, &base64, json!(BASE64)),
        (&encoded, &float, json!([1.0, -2.5])),
        (&encoded, &json!({}), json!([1.0, -2.5])),
    ] {
        let answer = answer.clone();
        let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(200, &answer))]).await;
        let config = Config::of([service("openai_compatible", "scripted", &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        let reply = ask(&gateway, fields.clone()).await;
        assert_eq!(
            reply.json()["data"][0]["embedding"],
            expected,
            "{}",
            reply.text()
        );
    }
    // As it is wanted it passes as it came.
    for (answer, fields) in [(&floats, &float), (&encoded, &base64)] {
        let same = answer.clone();
        let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(200, &same))]).await;
        let config = Config::of([service("openai_compatible", "scripted", &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        assert_eq!(ask(&gateway, fields.clone()).await.text(), answer);
    }
}
