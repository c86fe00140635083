//! What formats do not have in common: older forms of a request, what only one provider can go on with, what a
//! provider does not take and can do without, and what passes unread where both sides speak alike.

use std::time::Duration;

use serde_json::{Value, json};

use crate::across::{KEY, KINDS, Kind, SECRET, World};
use crate::support::*;

fn sent(simulation: &Server) -> Value {
    let last = simulation.last_request.as_ref().unwrap();
    serde_json::from_str(last.body.as_ref().unwrap()).unwrap()
}

/// A scripted service of a kind that lists no models.
fn scripted(kind: &str, upstream: &Upstream) -> String {
    let base = match kind {
        "anthropic" => format!("http://{}", upstream.address),
        _ => format!("http://{}/v1", upstream.address),
    };
    json!({"name": "scripted", "kind": kind, "base_url": base, "api_key": KEY,
        "models": ["scripted"], "list_models": false})
    .to_string()
}

#[tokio::test]
async fn a_client_of_2023_is_answered_in_its_own_words() {
    let world = World::start().await;
    let functions = json!([{"name": "get_weather", "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]);
    for kind in KINDS {
        let ask = async |messages: &Value, stream: bool| {
            let body = json!({"model": kind.model, "messages": messages, "functions": functions, "stream": stream});
            post(
                world.gateway.address,
                "/v1/chat/completions",
                &body.to_string(),
            )
            .await
        };
        let mut messages = json!([{"role": "user", "content": "Use get_weather for Oslo."}]);
        let reply = ask(&messages, false).await;
        let choice = reply.json()["choices"][0].clone();
        assert_eq!(
            choice["finish_reason"], "function_call",
            "{}: {choice}",
            kind.name
        );
        let message = &choice["message"];
        assert_eq!(message["function_call"]["name"], "get_weather", "{choice}");
        let arguments = message["function_call"]["arguments"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(arguments).unwrap()["city"].is_string());
        assert_eq!(message.get("tool_calls"), None, "{choice}");

        let reply = ask(&messages, true).await;
        let text = reply.text();
        assert!(!text.contains("tool_calls"), "{}: {text}", kind.name);
        let (mut name, mut pieces, mut reason) = (String::new(), String::new(), None);
        let events = text.lines().filter_map(|line| line.strip_prefix("data: {"));
        for event in events {
            let event: Value = serde_json::from_str(&format!("{{{event}")).unwrap();
            let choice = &event["choices"][0];
            let call = &choice["delta"]["function_call"];
            name.push_str(call["name"].as_str().unwrap_or_default());
            pieces.push_str(call["arguments"].as_str().unwrap_or_default());
            reason = reason.or(choice["finish_reason"].as_str().map(str::to_owned));
        }
        assert_eq!(
            (&*name, reason.as_deref()),
            ("get_weather", Some("function_call"))
        );
        assert!(serde_json::from_str::<Value>(&pieces).unwrap()["city"].is_string());

        let turns = messages.as_array_mut().unwrap();
        turns.push(message.clone());
        turns.push(json!({"role": "function", "name": "get_weather", "content": "dry and cold"}));
        let reply = ask(&messages, false).await;
        assert_eq!(reply.status, 200, "{}: {}", kind.name, reply.text());
        let choice = reply.json()["choices"][0].clone();
        assert_eq!(choice["finish_reason"], "stop", "{choice}");
        let said = choice["message"]["content"].as_str().unwrap();
        assert!(said.contains("dry and cold"), "{}: {said}", kind.name);
    }
}

fn count(model: &str) -> String {
    json!({"model": model, "system": "Be brief.", "messages": [{"role": "user", "content": "Good morning, all of you."}],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]})
    .to_string()
}

/// An error of a counter is not passed on to the client (envoyproxy/ai-gateway#2546).
#[tokio::test]
async fn tokens_are_counted_by_the_provider_and_estimated_where_it_does_not() {
    let world = World::start().await;
    for (kind, simulation) in &world.providers {
        let counter = match kind.name {
            "google" => format!("/v1beta/models/{}:countTokens", kind.model),
            "bedrock" => {
                "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/count-tokens".to_owned()
            }
            _ => continue,
        };
        let body = count(kind.model);
        let estimate = body.len().div_ceil(4) as u64;
        let ask = async || {
            let reply = post(world.gateway.address, "/v1/messages/count_tokens", &body).await;
            assert_eq!(reply.status, 200, "{}: {}", kind.name, reply.text());
            reply.json()["input_tokens"].as_u64().unwrap()
        };
        let counted = ask().await;
        assert!((1..estimate).contains(&counted), "{}: {counted}", kind.name);
        let stats = simulation.stats().await;
        let last = stats[0].last_request.as_ref().unwrap();
        assert!(last.target.ends_with(&counter), "{}", last.target);
        for status in [400, 429, 500] {
            let fault = json!({"kind": "status", "status": status});
            simulation.fault(0, &fault.to_string()).await;
            assert_eq!(ask().await, estimate, "{} {status}", kind.name);
            simulation.no_faults().await;
        }
        assert_eq!(ask().await, counted);
    }
    world.gateway.idle().await;
}

#[tokio::test]
async fn a_model_that_cannot_think_answers_without_unless_its_client_insists() {
    let fleet = Simulation::start(1, &["--models", "llama3.2"]);
    let config = || Config::over(&fleet.servers);
    let gateway = Gateway::over(&config(), 1).await;
    let soft = [
        (Format::Chat, json!({"reasoning_effort": "low"})),
        (Format::Responses, json!({"reasoning": {"effort": "high"}})),
        (Format::Anthropic, json!({"thinking": {"type": "adaptive"}})),
        (
            Format::Anthropic,
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ),
    ];
    let firm = [
        (Format::Ollama, json!({"think": true})),
        (Format::Ollama, json!({"think": "low"})),
        (Format::Chat, json!({"reasoning": {"enabled": true}})),
    ];
    let mut attempts = "2";
    for stream in [false, true] {
        for (format, fields) in &soft {
            let body = format.ask("llama3.2", "Say something.", stream, fields.clone());
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 200, "{format:?} {fields}: {}", reply.text());
            assert_eq!(reply.header("x-remuda-dropped"), Some("thinking"));
            assert_eq!(reply.header("x-remuda-attempts"), Some(attempts));
            // From then on it is known.
            attempts = "1";
        }
        for (format, fields) in &firm {
            let body = format.ask("llama3.2", "Say something.", stream, fields.clone());
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 400, "{format:?} {fields}: {}", reply.text());
            let message = format.message(&reply);
            assert!(message.contains("does not support thinking"), "{message}");
        }
    }
    let labels = [("remuda_provider", "test"), ("without", "thinking")];
    let counted = gateway
        .metric("remuda_mended_requests_total", &labels)
        .await;
    assert_eq!(counted, 1.0);

    let strict = Gateway::over(&config().set("routing.fidelity", "strict"), 1).await;
    let (format, fields) = &soft[0];
    let body = format.ask("llama3.2", "Say something.", false, fields.clone());
    let reply = post(strict.address, format.path(), &body).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(format.message(&reply).contains("does not support thinking"));
}

/// A history with a thought whose signature nobody believes.
fn distrusted(format: Format) -> Value {
    let thought = "This is a plan that another model has made.";
    let signature = "c2lnbmVkIGJ5IHNvbWVib2R5IGVsc2U=";
    let user = |text: &str| json!({"role": "user", "content": text});
    match format {
        Format::Anthropic => json!({"messages": [user("Plan."),
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": thought, "signature": signature},
                {"type": "text", "text": "A plan."}]},
            user("Go on.")]}),
        Format::Chat => json!({"messages": [user("Plan."),
            {"role": "assistant", "content": "A plan.", "reasoning_details": [
                {"type": "reasoning.text", "text": thought, "signature": signature, "index": 0}]},
            user("Go on.")]}),
        _ => unreachable!("these carry no signature of Anthropic's"),
    }
}

#[tokio::test]
async fn signatures_that_a_provider_does_not_believe_are_left_out_once() {
    let world = World::start().await;
    let mut mended = 0.0;
    for (format, kind, simulation) in world.pairs() {
        let signs = matches!(kind.name, "anthropic" | "bedrock");
        if !signs || !matches!(format, Format::Anthropic | Format::Chat) {
            continue;
        }
        for stream in [false, true] {
            let what = format!("{format:?} to {}", kind.name);
            let reply = world
                .ask_with(format, kind.model, "", stream, distrusted(format))
                .await;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            assert_eq!(
                reply.header("x-remuda-dropped"),
                Some("thinking.signature"),
                "{what}"
            );
            let stats = simulation.stats().await;
            let body = sent(&stats[0]).to_string();
            assert!(!body.contains("another model"), "{what}: {body}");
            assert!(body.contains("A plan."), "{what}: {body}");
            mended += 1.0;
        }
    }
    let counted = world
        .gateway
        .metric("remuda_mended_requests_total", &[("without", "signatures")])
        .await;
    assert_eq!(counted, mended);
}

/// Gemini's stand on calls, and travel in their ids.
#[tokio::test]
async fn a_call_that_gemini_does_not_believe_goes_without_its_signature() {
    let google: Kind = KINDS[2];
    let simulation = google.simulation(&[]);
    let entry = google.entry("google", &simulation, KEY, SECRET);
    let gateway = Gateway::over(&Config::of([entry]), 1).await;
    let call = json!({"id": "c1__thought__c3BvaWx0", "type": "function",
        "function": {"name": "get_weather", "arguments": "{\"city\":\"Oslo\"}"}});
    let body = json!({"model": google.model, "messages": [
            {"role": "user", "content": "How is the weather in Oslo?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "dry and cold"}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]});
    let reply = post(gateway.address, "/v1/chat/completions", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-dropped"), Some("thinking.signature"));
    assert!(Format::Chat.text(&reply).contains("dry and cold"));
}

/// In the formats that pass as they came: OpenAI's reasoning items, OpenRouter's details.
#[tokio::test]
async fn reasoning_that_its_provider_cannot_read_is_left_out_where_formats_are_alike() {
    const ITEMS: &str = r#"[{"role":"user","content":"q"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"e"},{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"42"}]"#;
    const DETAILS: &str = r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s"}]},{"role":"user","content":"r"}]"#;
    for (kind, path, field, history, proof, error) in [
        (
            "openai",
            "/v1/responses",
            "input",
            ITEMS,
            "encrypted_content",
            r#"{"error":{"message":"The encrypted content for item rs_1 could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}"#,
        ),
        (
            "openrouter",
            "/v1/chat/completions",
            "messages",
            DETAILS,
            "signature",
            r#"{"error":{"code":400,"message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#,
        ),
    ] {
        let upstream = Upstream::start(move |asked: &Asked| {
            let body = String::from_utf8_lossy(&asked.body);
            vec![Step::Send(if body.contains(proof) {
json(400, error)
} else {
json(
                    200,
                    r#"{"id":"x","status":"completed","output":[],"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#,
                )
})]
        })
        .await;
        let gateway = Gateway::over(&Config::of([scripted(kind, &upstream)]), 1).await;
        let body = format!(r#"{{"model":"scripted","{field}":{history},"stream":false}}"#);
        let reply = post(gateway.address, path, &body).await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
        assert_eq!(reply.header("x-remuda-dropped"), Some("thinking.signature"));
        let asked = upstream.asked();
        assert_eq!(asked.len(), 2, "{kind}");
        assert_eq!(asked[0].body, body.as_bytes(), "{kind}");
        let again: Value = serde_json::from_slice(&asked[1].body).unwrap();
        assert_eq!(again["stream"], false);
        assert!(again[field].as_array().unwrap().len() >= 3, "{again}");
        // Another conversation is not spared anything.
        post(gateway.address, path, &body).await;
        assert_eq!(upstream.asked().len(), 4, "{kind}");
    }
}

/// A provider that refuses whatever it is sent is asked twice, not for ever.
#[tokio::test]
async fn what_is_refused_again_is_told() {
    const REFUSED: &str = r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#;
    let upstream = Upstream::start(|_: &Asked| vec![Step::Send(json(400, REFUSED))]).await;
    let config = Config::of([scripted("anthropic", &upstream)]);
    let gateway = Gateway::over(&config, 1).await;
    for format in [Format::Anthropic, Format::Chat] {
        let before = upstream.asked().len();
        let body = format.ask("scripted", "", false, distrusted(format));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(format.message(&reply).contains("signature"));
        assert_eq!(upstream.asked().len(), before + 2, "{format:?}");
        // Without a thought there is nothing to be left out.
        let body = format.ask("scripted", "hi", false, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 400);
        assert_eq!(upstream.asked().len(), before + 3, "{format:?}");
    }
}

/// Two servers that take no effort of reasoning beside tools: one that reasons unless it is told not to, and one that knows
/// no such field.
#[tokio::test]
async fn an_effort_that_is_refused_beside_tools_is_left_out() {
    const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"one"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}}"#;
    const BESIDE: &str = "Function tools with reasoning_effort are not supported for scripted in /v1/chat/completions. Please use /v1/responses instead, or set reasoning_effort to 'none'.";
    const UNKNOWN: &str = "Unrecognized request argument supplied: reasoning_effort";
    let schema = json!({"type": "object", "properties": {}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    for (words, told) in [(BESIDE, Some("none")), (UNKNOWN, None)] {
        let upstream = Upstream::start(move |asked: &Asked| {
            let body: Value = serde_json::from_slice(&asked.body).unwrap();
            let effort = body.get("reasoning_effort").and_then(Value::as_str);
            vec![Step::Send(if effort == told {
json(200, ANSWER)
} else {
json(
                    400,
                    &json!({"error": {"message": words, "type": "invalid_request_error", "param": null, "code": null}})
                        .to_string(),
                )
})]
        })
        .await;
        let config = Config::of([scripted("openai_compatible", &upstream)]);
        let gateway = Gateway::over(&config, 1).await;
        for (format, fields, name) in [
            (
                Format::Anthropic,
                json!({"thinking": {"type": "adaptive"}, "tools": [{"name": "f", "input_schema": schema}]}),
                "thinking",
            ),
            (
                Format::Chat,
                json!({"reasoning_effort": "low", "tools": tools}),
                "reasoning_effort",
            ),
        ] {
            let before = upstream.asked().len();
            let body = format.ask("scripted", "hi", false, fields);
            let reply = post(gateway.address, format.path(), &body).await;
            assert_eq!(reply.status, 200, "{format:?} {words}: {}", reply.text());
            assert_eq!(reply.header("x-remuda-dropped"), Some(name), "{format:?}");
            assert_eq!(upstream.asked().len(), before + 2, "{format:?}");
        }
    }
}

#[tokio::test]
async fn a_parameter_that_a_model_has_come_to_refuse_is_left_out() {
    const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"one STOP two"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}}"#;
    let upstream = Upstream::start(|asked: &Asked| {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let refused = ["temperature", "stop"].into_iter().find(|name| body.get(name).is_some());
        vec![Step::Send(match refused {
            Some(name) => json(400, &format!(
                r#"{{"error":{{"message":"Unsupported parameter: '{name}' is not supported with this model.","type":"invalid_request_error","param":"{name}","code":"unsupported_parameter"}}}}"#
            )),
            None => json(200, ANSWER),
        })]
    })
    .await;
    let config = Config::of([scripted("openai", &upstream)]);
    let gateway = Gateway::over(&config, 1).await;
    let ask = async |gateway: &Gateway, options: Value| {
        let body = Format::Ollama.ask("scripted", "hi", false, json!({ "options": options }));
        post(gateway.address, "/api/chat", &body).await
    };
    let reply = ask(&gateway, json!({"temperature": 0.5})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-dropped"), Some("temperature"));
    assert_eq!(Format::Ollama.text(&reply), "one STOP two");
    // The gateway stops where the model no longer does: nothing is lost.
    let reply = ask(&gateway, json!({"stop": ["STOP"]})).await;
    assert_eq!(reply.header("x-remuda-dropped"), None);
    assert_eq!(Format::Ollama.text(&reply), "one ");
    // Both are known by now.
    let before = upstream.asked().len();
    let both = || json!({"stop": ["STOP"], "temperature": 0.5});
    let reply = ask(&gateway, both()).await;
    assert_eq!(reply.header("x-remuda-dropped"), Some("temperature"));
    assert_eq!(Format::Ollama.text(&reply), "one ");
    assert_eq!(upstream.asked().len(), before + 1);
    // Of what is not, one is left out, not one after the other.
    let other = Gateway::over(&config, 1).await;
    let reply = ask(&other, both()).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let strict = Gateway::over(&config.set("routing.fidelity", "strict"), 1).await;
    let reply = ask(&strict, json!({"temperature": 0.5})).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(Format::Ollama.message(&reply).contains("temperature"));
}

/// No other client can send a paused turn back, so it is told that the answer was cut short.
#[tokio::test]
async fn a_turn_that_only_its_provider_can_go_on_with_ends_as_cut_short() {
    let world = World::start().await;
    for (format, kind, _) in world.pairs() {
        let word = match kind.name {
            "anthropic" => "PAUSE",
            "google" => "CONTINUE",
            _ => continue,
        };
        let what = format!("{format:?} to {}", kind.name);
        let text = format!("{word} please");
        let reply = world
            .ask_with(format, kind.model, &text, false, json!({}))
            .await;
        let reason = match (format, kind.name) {
            (Format::Anthropic, "anthropic") => "pause_turn",
            (Format::Anthropic, _) => "max_tokens",
            (Format::Responses, _) => "incomplete",
            _ => "length",
        };
        assert_eq!(format.reason(&reply), reason, "{what}: {}", reply.text());
        if format == Format::Responses {
            let details = &reply.json()["incomplete_details"];
            assert_eq!(details["reason"], "max_output_tokens");
        }
        let reply = world
            .ask_with(format, kind.model, &text, true, json!({}))
            .await;
        assert_eq!(reply.ending, Ending::Whole, "{what}");
        let told = reply.text();
        assert!(told.contains(&format!("\"{reason}\"")), "{what}: {told}");
        assert!(format.read(&reply.body).errors.is_empty(), "{what}: {told}");
    }
}

/// Fields, tools, choices and items that the gateway does not know survive where formats are alike (maximhq/bifrost#7236,
/// maximhq/bifrost#7348), and none is added that OpenAI would refuse.
#[tokio::test]
async fn between_like_formats_nothing_is_read_and_nothing_added() {
    let cases = [
        (
            "openai",
            "/v1/chat/completions",
            r#"{"model":"scripted", "messages":[{"role":"user","content":"hi","odd":1e2}],"tools":[{"type":"hologram","hologram":{"name":"h"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}},"parallel_tool_calls":false,"novel":{"a":[1,{}]},"stream":false}"#,
            r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"a","novel":[]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1},"x":{"y":1.0}}"#,
        ),
        (
            "openai",
            "/v1/responses",
            r#"{"model":"scripted","input":[{"type":"novel_call","id":"n"}],"tools":[{"type":"hologram"}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[]},"store":true,"stream":false}"#,
            r#"{"id":"r","status":"completed","output":[{"type":"hologram_call","id":"x","data":"…"}],"usage":{"input_tokens":1,"output_tokens":1}}"#,
        ),
        (
            "anthropic",
            "/v1/messages",
            r#"{"model":"scripted","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"EqQB+/="},{"type":"redacted_thinking","data":"x"},{"type":"novel"}]}],"context_management":{"edits":[]},"stream":false}"#,
            r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"novel","x":1}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#,
        ),
    ];
    for (kind, path, body, answer) in cases {
        let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(200, answer))]).await;
        let gateway = Gateway::over(&Config::of([scripted(kind, &upstream)]), 1).await;
        let reply = post(gateway.address, path, body).await;
        assert_eq!((reply.status, reply.text()), (200, answer), "{path}");
        assert_eq!(reply.header("x-remuda-dropped"), None);
        let asked = upstream.asked_for(0).await;
        assert_eq!(String::from_utf8(asked.body).unwrap(), body, "{path}");
    }
}

/// A client that leaves ends the provider's work at any time, not only while pieces arrive (BerriAI/litellm#13774).
#[tokio::test]
async fn a_client_that_leaves_before_the_first_word_ends_the_providers_work() {
    // Ten minutes to read the prompt, or as long to write a whole answer.
    let slow = ["--prompt-speed", "0.01", "--decode-speed", "5"];
    let world = World::with(&slow, |config| config).await;
    for (format, kind, simulation) in world.pairs() {
        for stream in [false, true] {
            let before = simulation.stats().await.remove(0);
            let body = format.ask(kind.model, "Say something.", stream, json!({}));
            let mut client = Connection::open(world.gateway.address).await;
            client
                .request("POST", format.path(), &[], body.as_bytes())
                .await;
            eventually("the provider is at work", || async {
                let now = simulation.stats().await.remove(0);
                match now.active {
                    0 => Err(now),
                    _ => Ok(()),
                }
            })
            .await;
            drop(client);
            eventually(&format!("{format:?}: {} stops", kind.name), || async {
                let now = simulation.stats().await.remove(0);
                if now.active == 0 && now.aborted == before.aborted + 1 {
                    Ok(())
                } else {
                    Err(now)
                }
            })
            .await;
        }
    }
    world.gateway.idle().await;
}

/// A body that is not in the provider's format is no answer, whatever its status says.
#[tokio::test]
async fn a_page_in_place_of_an_answer_is_no_answer() {
    const PAGE: &str = "<html><body>Please sign in.</body></html>";
    for kind in ["openai", "anthropic"] {
        for status in [200, 302] {
            let upstream = Upstream::start(move |_: &Asked| {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
                    PAGE.len()
                );
                vec![Step::Send([head.as_bytes(), PAGE.as_bytes()].concat())]
            })
            .await;
            let config = Config::of([scripted(kind, &upstream)])
                .set("routing.breaker", "{ enabled: false }");
            let gateway = Gateway::over(&config, 1).await;
            for format in Format::ALL {
                for stream in [false, true] {
                    let body = format.ask("scripted", "hi", stream, json!({}));
                    let reply = post(gateway.address, format.path(), &body).await;
                    let what = format!("{format:?} to {kind}, {status}, {stream}");
                    assert_eq!(reply.status, 502, "{what}: {}", reply.text());
                    assert!(!format.message(&reply).contains("sign in"), "{what}");
                }
            }
        }
    }
}

/// OpenRouter may say with status 200 that it has failed.
#[tokio::test]
async fn an_error_under_a_200_has_the_class_that_it_names() {
    for (code, class, status) in [
        (429, "rate_limit_exceeded", 429),
        (502, "provider_unavailable", 502),
        (402, "payment_required", 502),
    ] {
        let error = format!(
            r#"{{"error":{{"code":{code},"message":"no","metadata":{{"error_type":"{class}"}}}},"user_id":"u"}}"#
        );
        let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(200, &error))]).await;
        let gateway = Gateway::over(
            &Config::of([scripted("openrouter", &upstream)]).set("routing.max_retries", 0),
            1,
        )
        .await;
        for format in Format::ALL {
            let body = format.ask("scripted", "hi", false, json!({}));
            let reply = post(gateway.address, format.path(), &body).await;
            let what = format!("{format:?} {code}");
            assert_eq!(reply.status, status, "{what}: {}", reply.text());
            assert!(!format.message(&reply).contains("user_id"), "{what}");
        }
    }
}

/// Only foundation models of Bedrock's count; the gateway knows their profiles.
#[tokio::test]
async fn a_profile_is_counted_as_its_model() {
    let bedrock: Kind = KINDS[3];
    let simulation = bedrock.simulation(&[]);
    let entry = bedrock.entry("bedrock", &simulation, KEY, SECRET);
    let gateway = Gateway::over(&Config::of([entry]), 1).await;
    let reply = post(
        gateway.address,
        "/v1/messages/count_tokens",
        &count(bedrock.model),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let attempts = [("remuda_provider", "bedrock"), ("outcome", "ok")];
    assert_eq!(
        gateway.metric("remuda_attempts_total", &attempts).await,
        1.0
    );
    tokio::time::timeout(Duration::from_secs(10), gateway.idle())
        .await
        .unwrap();
}

/// Clients of Ollama look for a numeric version (exo-explore/exo#2091) and for a model's capabilities and context
/// (jjang-ai/mlxstudio#72) before they ask, also where there is no Ollama server.
#[tokio::test]
async fn what_clients_of_ollama_look_at_first_is_there() {
    let world = World::start().await;
    let version = get(world.gateway.address, "/api/version").await.json();
    let version = version["version"].as_str().unwrap();
    let numbers: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(numbers.len() == 3 && numbers >= vec![0, 6, 4], "{version}");
    let head = request(world.gateway.address, "HEAD", "/api/version", &[], b"").await;
    assert_eq!(head.status, 200);
    for kind in KINDS {
        let body = json!({"model": kind.model}).to_string();
        let show = post(world.gateway.address, "/api/show", &body).await.json();
        let family = show["model_info"]["general.architecture"].as_str().unwrap();
        let context = &show["model_info"][format!("{family}.context_length")];
        assert!(context.as_u64().unwrap() >= 8192, "{show}");
        let capabilities = show["capabilities"].as_array().unwrap();
        assert!(capabilities.contains(&"tools".into()), "{show}");
    }
}
