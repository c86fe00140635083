//! What coding agents say through OpenAI's APIs to models of other providers: tools in namespaces and tools that take
//! plain text, calls that are demanded, fields of one API that the other has as well, and ids from whoever answered before.

use serde_json::{Value, json};

use crate::across::{KEY, KINDS, World};
use crate::support::*;

/// A scripted service of a kind that lists no models.
fn scripted(kind: &str, upstream: &Upstream, more: &Value) -> String {
    let base = match kind {
        "anthropic" => format!("http://{}", upstream.address),
        _ => format!("http://{}/v1", upstream.address),
    };
    let mut entry = json!({"name": "scripted", "kind": kind, "base_url": base, "api_key": KEY,
        "models": ["scripted"], "list_models": false});
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    entry.to_string()
}

fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: {"));
    data.map(|data| serde_json::from_str(&format!("{{{data}")).unwrap())
        .collect()
}

/// The output of a response, streamed or whole.
fn output(reply: &Reply, stream: bool) -> Vec<Value> {
    let response = if stream {
        events(reply).pop().unwrap()["response"].take()
    } else {
        reply.json()
    };
    response["output"].as_array().unwrap().clone()
}

const LONG: &str = "read_the_whole_conversation_with_this_customer_since_the_beginning";

fn offer() -> Value {
    let function = |name: &str| {
        json!({"type": "function", "name": name, "description": "d", "strict": false,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}})
    };
    json!([
        {"type": "custom", "name": "apply_patch", "description": "Edits files.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
        {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [function("send"), function(LONG)]},
        {"type": "namespace", "name": "chat", "description": "Chat.", "tools": [function("send")]},
        {"type": "web_search"},
    ])
}

/// The function by which a provider knows a tool of the client's.
fn names_of(body: &Value) -> Vec<String> {
    let tools = match &body["toolConfig"]["tools"] {
        Value::Array(tools) => tools.clone(),
        _ => match &body["tools"][0]["functionDeclarations"] {
            Value::Array(tools) => tools.clone(),
            _ => body["tools"].as_array().unwrap().clone(),
        },
    };
    let name = |tool: &Value| {
        [
            &tool["name"],
            &tool["function"]["name"],
            &tool["toolSpec"]["name"],
        ]
        .into_iter()
        .find_map(|name| name.as_str().map(str::to_owned))
        .unwrap()
    };
    tools.iter().map(name).collect()
}

/// Every provider is asked to call each tool, and is told what came of it.
#[tokio::test]
async fn tools_of_agents_reach_every_provider_and_come_back_as_they_were_offered() {
    let world = World::start().await;
    for (kind, simulation) in &world.providers {
        if kind.name == "openai" {
            continue;
        }
        let ask = async |input: &Value, stream: bool| {
            let body = json!({"model": kind.model, "input": input, "tools": offer(), "stream": stream,
                "store": false, "prompt_cache_key": "k", "include": ["reasoning.encrypted_content"]});
            let reply = post(world.gateway.address, "/v1/responses", &body.to_string()).await;
            assert_eq!(reply.status, 200, "{}: {}", kind.name, reply.text());
            reply
        };
        let reply = ask(&json!("Hello."), false).await;
        let left_out = reply.header("x-remuda-dropped").unwrap_or_default();
        assert!(left_out.contains("tools.web_search"), "{left_out}");
        let stats = simulation.stats().await;
        let sent = stats[0]
            .last_request
            .as_ref()
            .unwrap()
            .body
            .clone()
            .unwrap();
        let functions = names_of(&serde_json::from_str(&sent).unwrap());
        assert_eq!(functions.len(), 4, "{functions:?}");
        assert!(
            functions.iter().all(|name| name.len() <= 64),
            "{functions:?}"
        );
        let own = [
            (None, "apply_patch"),
            (Some("mail"), "send"),
            (Some("mail"), LONG),
            (Some("chat"), "send"),
        ];
        for (function, (namespace, name)) in functions.iter().zip(own) {
            for stream in [false, true] {
                let what = format!("{} {function} {stream}", kind.name);
                let mut input =
                    json!([{"role": "user", "content": format!("Use {function} for Oslo.")}]);
                let reply = ask(&input, stream).await;
                let output = output(&reply, stream);
                let call = output.iter().find(|item| item["call_id"].is_string());
                let call = call.unwrap_or_else(|| panic!("{what}: {output:?}"));
                assert_eq!(call["name"], name, "{what}");
                assert_eq!(
                    call.get("namespace").and_then(Value::as_str),
                    namespace,
                    "{what}"
                );
                let text = namespace.is_none();
                let kind_of_call = if text {
                    "custom_tool_call"
                } else {
                    "function_call"
                };
                assert_eq!(call["type"], kind_of_call, "{what}");
                let said = &call[if text { "input" } else { "arguments" }];
                assert!(!said.as_str().unwrap().is_empty(), "{what}: {call}");
                if stream {
                    check_deltas(&events(&reply), call);
                }
                let items = input.as_array_mut().unwrap();
                items.extend(output.iter().cloned());
                items.push(
                    json!({"type": format!("{kind_of_call}_output"), "call_id": call["call_id"],
                    "output": "dry and cold"}),
                );
                let reply = ask(&input, false).await;
                assert!(
                    reply.text().contains("dry and cold"),
                    "{what}: {}",
                    reply.text()
                );
            }
        }
    }
}

/// What came in pieces is the whole.
fn check_deltas(events: &[Value], call: &Value) {
    let (kind, field) = match call["type"].as_str().unwrap() {
        "custom_tool_call" => ("response.custom_tool_call_input", "input"),
        _ => ("response.function_call_arguments", "arguments"),
    };
    let of = |end: &str| {
        let kind = format!("{kind}.{end}");
        let of_call = events.iter().filter(move |event| event["type"] == *kind);
        of_call.map(|event| {
            assert_eq!(event["item_id"], call["id"]);
            event.clone()
        })
    };
    let told: String = of("delta")
        .map(|event| event["delta"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, call[field]);
    let done: Vec<Value> = of("done").collect();
    assert_eq!((done.len(), &done[0][field]), (1, &call[field]));
}

/// A patch that the model writes in many pieces reaches the client in as many.
#[tokio::test]
async fn a_text_for_a_tool_is_told_as_it_comes() {
    let chunk = |delta: Value, reason: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        format!("data: {chunk}\n\n")
    };
    let piece = |arguments: &str| {
        let call = json!([{"index": 0, "function": {"arguments": arguments}}]);
        chunk(json!({"tool_calls": call}), Value::Null)
    };
    let mut stream = chunk(
        json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "call_1", "type": "function",
            "function": {"name": "apply_patch", "arguments": ""}}]}),
        Value::Null,
    );
    for arguments in [
        "{\"inp",
        "ut\":\"*** Begin",
        " Patch\\",
        "n+\\u00",
        "e9 \\ud83d",
        "\\ude00\"",
        "}",
    ] {
        stream += &piece(arguments);
    }
    stream += &chunk(json!({}), "tool_calls".into());
    stream += "data: [DONE]\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let answer = format!("{head}{stream}");
    let upstream = Upstream::start(move |_: &Asked| {
        vec![Step::Send(answer.clone().into_bytes()), Step::Close]
    })
    .await;
    let entry = scripted("openai_compatible", &upstream, &json!({}));
    let gateway = Gateway::over(&Config::of([entry]), 1).await;
    let text = "*** Begin Patch\n+é 😀";
    for (path, body) in [
        ("/v1/responses", json!({"input": "q", "tools": offer()})),
        (
            "/v1/responses",
            json!({"input": "q", "tools": offer(), "tool_choice": {"type": "custom", "name": "apply_patch"}}),
        ),
    ] {
        let mut body = body;
        body["model"] = "scripted".into();
        body["stream"] = true.into();
        let reply = post(gateway.address, path, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let call = output(&reply, true).pop().unwrap();
        assert_eq!(
            (&call["type"], &call["input"]),
            (&json!("custom_tool_call"), &json!(text))
        );
        let events = events(&reply);
        check_deltas(&events, &call);
        let pieces = events
            .iter()
            .filter(|event| event["type"] == "response.custom_tool_call_input.delta");
        assert!(pieces.count() >= 4, "{}", reply.text());
    }
}

/// Chats have tools of that kind too.
#[tokio::test]
async fn a_tool_of_a_chat_that_takes_text_reaches_every_provider() {
    let world = World::start().await;
    let tool =
        json!({"type": "custom", "custom": {"name": "apply_patch", "description": "Edits files."}});
    for kind in KINDS.into_iter().filter(|kind| kind.name != "openai") {
        for stream in [false, true] {
            let mut messages = json!([{"role": "user", "content": "Use apply_patch for Oslo."}]);
            let ask = async |messages: &Value, stream: bool| {
                let body = json!({"model": kind.model, "messages": messages, "tools": [tool], "stream": stream});
                let reply = post(
                    world.gateway.address,
                    "/v1/chat/completions",
                    &body.to_string(),
                )
                .await;
                assert_eq!(reply.status, 200, "{}: {}", kind.name, reply.text());
                reply
            };
            let reply = ask(&messages, stream).await;
            let call = if stream {
                let (mut call, mut input) = (Value::Null, String::new());
                for event in events(&reply) {
                    let piece = &event["choices"][0]["delta"]["tool_calls"][0];
                    if piece["id"].is_string() {
                        call = piece.clone();
                    }
                    input += piece["custom"]["input"].as_str().unwrap_or_default();
                }
                call.as_object_mut().unwrap().remove("index");
                call["custom"]["input"] = input.into();
                call
            } else {
                reply.json()["choices"][0]["message"]["tool_calls"][0].clone()
            };
            assert_eq!(
                (&call["type"], &call["custom"]["name"]),
                (&json!("custom"), &json!("apply_patch"))
            );
            assert!(
                !call["custom"]["input"].as_str().unwrap().is_empty(),
                "{call}"
            );
            let turns = messages.as_array_mut().unwrap();
            turns.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
            turns.push(
                json!({"role": "tool", "tool_call_id": call["id"], "content": "dry and cold"}),
            );
            let reply = ask(&messages, false).await;
            assert!(
                reply.text().contains("dry and cold"),
                "{}: {}",
                kind.name,
                reply.text()
            );
        }
    }
}

#[tokio::test]
async fn a_call_that_is_demanded_is_not_forgotten_for_want_of_tools() {
    let world = World::start().await;
    let question = json!([{"role": "user", "content": "q"}]);
    let hosted = json!([{"type": "web_search"}]);
    let anthropic = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    for kind in KINDS {
        let mut cases = vec![];
        if kind.name != "openai" {
            cases.push((
                "/v1/chat/completions",
                json!({"messages": question, "tool_choice": "required"}),
            ));
            let choice = json!({"type": "function", "function": {"name": "f"}});
            cases.push((
                "/v1/chat/completions",
                json!({"messages": question, "tool_choice": choice}),
            ));
            cases.push((
                "/v1/responses",
                json!({"input": "q", "tools": hosted, "tool_choice": "required"}),
            ));
            cases.push((
                "/v1/responses",
                json!({"input": "q", "tools": hosted, "tool_choice": {"type": "web_search"}}),
            ));
            cases.push(("/v1/responses", json!({"input": "q", "tools": [{"type": "function", "name": "f"}],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}})));
        }
        if kind.name != "anthropic" {
            for choice in [
                json!({"type": "any"}),
                json!({"type": "tool", "name": "web_search"}),
            ] {
                cases.push(("/v1/messages", json!({"messages": question, "max_tokens": 9, "tools": anthropic, "tool_choice": choice})));
            }
        }
        for (path, mut body) in cases {
            body["model"] = kind.model.into();
            let reply = post(world.gateway.address, path, &body.to_string()).await;
            assert_eq!(
                reply.status,
                400,
                "{} {path} {body}: {}",
                kind.name,
                reply.text()
            );
            assert!(reply.text().contains("tool_choice"), "{}", reply.text());
        }
    }
}

/// What is the same field in both of a provider's APIs, and what has another name in each.
#[tokio::test]
async fn between_two_apis_of_one_provider_nothing_is_lost() {
    let shared = json!({"service_tier": "flex", "prompt_cache_key": "k", "prompt_cache_retention": "24h",
        "metadata": {"a": "b"}, "safety_identifier": "s", "user": "u", "store": true, "parallel_tool_calls": false});
    let whole = r#"{"id":"r","object":"response","status":"completed","service_tier":"flex","output":[{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#;
    let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","service_tier":"flex","system_fingerprint":"fp_1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    for (api, path, own, answer, expected) in [
        (
            "responses",
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "q"}], "verbosity": "low", "logprobs": true, "top_logprobs": 2,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
                    {"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}}}]}),
            whole,
            json!({"text": {"verbosity": "low"}, "top_logprobs": 2}),
        ),
        (
            "chat",
            "/v1/responses",
            json!({"input": "q", "text": {"verbosity": "low"}, "top_logprobs": 2,
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}},
                    {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}}]}),
            chat,
            json!({"verbosity": "low", "logprobs": true, "top_logprobs": 2}),
        ),
    ] {
        let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(200, answer))]).await;
        let entry = scripted("openai", &upstream, &json!({"chat_api": api}));
        let gateway = Gateway::over(&Config::of([entry]), 1).await;
        let mut body = own;
        for (key, value) in shared.as_object().unwrap() {
            body[key] = value.clone();
        }
        body["model"] = "scripted".into();
        body["stream"] = false.into();
        let reply = post(gateway.address, path, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-remuda-dropped"), None, "{api}");
        assert_eq!(reply.json()["service_tier"], "flex", "{api}");
        let sent: Value = serde_json::from_slice(&upstream.asked_for(0).await.body).unwrap();
        for (key, value) in shared
            .as_object()
            .unwrap()
            .iter()
            .chain(expected.as_object().unwrap())
        {
            assert_eq!(sent[key], *value, "{api} {key}");
        }
        let custom = &sent["tools"][1];
        assert_eq!(custom["type"], "custom", "{api}: {custom}");
        let definition = match api {
            "responses" => &custom["format"]["definition"],
            _ => &custom["custom"]["format"]["grammar"]["definition"],
        };
        assert_eq!(definition, "a+");
    }
}

/// Elsewhere it is named, and no reason to refuse what says nothing of the answer.
#[tokio::test]
async fn what_another_provider_has_no_field_for_is_named() {
    let world = World::with(&[], |config| config.set("routing.fidelity", "strict")).await;
    let gemini = KINDS[2];
    let mut body = json!({"model": gemini.model, "messages": [{"role": "user", "content": "q"}],
        "prompt_cache_key": "k", "metadata": {"a": "b"}, "store": true, "safety_identifier": "s"});
    let reply = post(
        world.gateway.address,
        "/v1/chat/completions",
        &body.to_string(),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let left_out = reply.header("x-remuda-dropped").unwrap();
    assert_eq!(
        left_out,
        "prompt_cache_key, metadata, store, safety_identifier"
    );
    body["verbosity"] = "low".into();
    let reply = post(
        world.gateway.address,
        "/v1/chat/completions",
        &body.to_string(),
    )
    .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("verbosity"));
}

/// Gemini's ids carry a signature and are longer than others take: also where nothing else is read.
#[tokio::test]
async fn ids_of_calls_are_as_long_as_the_next_provider_takes() {
    let long = format!("call_1__thought__{}", "c3BvaWx0".repeat(10));
    let chat = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": long, "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": long, "content": "1"},
        {"role": "tool", "tool_call_id": "call_2", "content": "2"}]});
    let responses = json!({"input": [
        {"role": "user", "content": "q"},
        {"type": "function_call", "call_id": long, "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": long, "output": "1"},
        {"type": "function_call_output", "call_id": "call_2", "output": "2"}]});
    let odd = "functions.f:0";
    let messages = json!({"max_tokens": 9, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": odd, "name": "f", "input": {}},
            {"type": "tool_use", "id": "call_2", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": odd, "content": "1"},
            {"type": "tool_result", "tool_use_id": "call_2", "content": "2"}]}]});
    const REFUSED: &str = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
    let upstream = Upstream::start(|_: &Asked| vec![Step::Send(json(400, REFUSED))]).await;
    let ids = |text: &str| {
        let body: Value = serde_json::from_str(text).unwrap();
        let place = |path: &str| body.pointer(path).unwrap().as_str().unwrap().to_owned();
        match (&body["input"], &body["messages"][1]["tool_calls"]) {
            (Value::Array(_), _) => {
                ["/input/1/call_id", "/input/3/call_id", "/input/2/call_id"].map(place)
            }
            (_, Value::Array(_)) => [
                "/messages/1/tool_calls/0/id",
                "/messages/2/tool_call_id",
                "/messages/1/tool_calls/1/id",
            ]
            .map(place),
            _ => [
                "/messages/1/content/0/id",
                "/messages/2/content/0/tool_use_id",
                "/messages/1/content/1/id",
            ]
            .map(place),
        }
    };
    for (kind, path, asked, most) in [
        ("openai", "/v1/chat/completions", &chat, 40),
        ("openrouter", "/v1/chat/completions", &chat, 40),
        ("openai", "/v1/responses", &responses, 64),
        ("anthropic", "/v1/messages", &messages, 64),
        ("anthropic", "/v1/chat/completions", &chat, 64),
        ("openai", "/v1/messages", &messages, 40),
        ("openai_compatible", "/v1/responses", &responses, 40),
    ] {
        let entry = scripted(kind, &upstream, &json!({}));
        let gateway = Gateway::over(&Config::of([entry]), 1).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut body = asked.clone();
            body["model"] = "scripted".into();
            let before = upstream.asked().len();
            post(gateway.address, path, &body.to_string()).await;
            let sent = upstream.asked_for(before).await;
            let [call, result, other] = ids(std::str::from_utf8(&sent.body).unwrap());
            assert_eq!(call, result, "{kind} {path}");
            assert!(call.len() <= most, "{kind} {path}: {call}");
            assert!(
                call.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
                "{call}"
            );
            assert_eq!(other, "call_2");
            seen.push(call);
        }
        assert_eq!(seen[0], seen[1], "{kind} {path}");
    }
}

/// As Claude Code asks: under its beta the field reaches Anthropic, which tells what it edited, and is named elsewhere.
#[tokio::test]
async fn a_history_is_managed_where_the_provider_can() {
    let world = World::start().await;
    let betas = "claude-code-20250219,context-management-2025-06-27";
    for (kind, _) in &world.providers {
        for stream in [false, true] {
            let body = json!({"model": kind.model, "max_tokens": 2000, "stream": stream, "thinking": {"type": "adaptive"},
                "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
                "messages": [{"role": "user", "content": "hi"}]});
            let reply = request(
                world.gateway.address,
                "POST",
                "/v1/messages?beta=true",
                &[("anthropic-beta", betas)],
                body.to_string().as_bytes(),
            )
            .await;
            let what = format!("{} {stream}: {}", kind.name, reply.text());
            assert_eq!(reply.status, 200, "{what}");
            let dropped = reply.header("x-remuda-dropped").unwrap_or_default();
            let managed = reply.text().contains("applied_edits");
            let is_theirs = kind.name == "anthropic";
            assert_eq!(managed, is_theirs, "{what}");
            assert_eq!(
                dropped.contains("context_management"),
                !is_theirs,
                "{dropped}"
            );
        }
    }
}

/// As Codex asks of a model that it does not know.
#[tokio::test]
async fn a_summary_of_reasoning_is_not_asked_of_a_model_that_does_not_reason() {
    let azure = Simulation::start(1, &["--dialect", "azure", "--api-key", KEY]);
    let entry = json!({"name": "azure", "kind": "azure", "base_url": format!("http://{}", azure.servers[0]),
        "api_key": KEY, "deployments": {"gpt-4o": "gpt-4o"}});
    let gateway = Gateway::over(&Config::of([entry.to_string()]), 1).await;
    let body = json!({"model": "azure/gpt-4o", "input": "hi", "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"], "client_metadata": {"turn_id": "t"}});
    let reply = post(gateway.address, "/v1/responses", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let dropped = reply.header("x-remuda-dropped").unwrap_or_default();
    assert!(
        dropped.contains("reasoning") && dropped.contains("include"),
        "{dropped}"
    );
}
