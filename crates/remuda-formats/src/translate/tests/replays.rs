//! An answer that a client sends back: its thoughts stand where they stood, and its signatures with what they sign.

use serde_json::{Value, json};

use super::*;

/// What Claude says where it thinks between its words and its calls.
fn interleaved() -> String {
    let blocks = [
        json!({"type": "thinking", "thinking": "t\u{e9} one", "signature": "c2lnMQ=="}),
        json!({"type": "text", "text": "First \u{1f600}\n. "}),
        json!({"type": "thinking", "thinking": "two", "signature": "c2lnMg=="}),
        json!({"type": "redacted_thinking", "data": "cmVk"}),
        json!({"type": "text", "text": "Second."}),
        json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}),
        json!({"type": "thinking", "thinking": "three", "signature": "c2lnMw=="}),
        json!({"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}),
    ];
    let event = |data: Value| {
        format!(
            "event: {}\ndata: {data}\n\n",
            data["type"].as_str().unwrap()
        )
    };
    let mut stream = event(
        json!({"type": "message_start", "message": {"id": "m", "type": "message",
        "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}}),
    );
    for (index, block) in blocks.iter().enumerate() {
        let mut start = block.clone();
        let mut deltas = Vec::new();
        for (field, kind) in [
            ("thinking", "thinking_delta"),
            ("text", "text_delta"),
            ("signature", "signature_delta"),
        ] {
            let Some(said) = block.get(field).and_then(Value::as_str) else {
                continue;
            };
            start[field] = "".into();
            // In two pieces, between characters.
            let half = said.chars().count() / 2;
            let (first, second): (String, String) = (
                said.chars().take(half).collect(),
                said.chars().skip(half).collect(),
            );
            let pieces = match field {
                "signature" => vec![said.to_owned()],
                _ => vec![first, second],
            };
            deltas.extend(
                pieces
                    .into_iter()
                    .map(|piece| json!({"type": kind, field: piece})),
            );
        }
        stream +=
            &event(json!({"type": "content_block_start", "index": index, "content_block": start}));
        for delta in deltas {
            stream +=
                &event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        stream += &event(json!({"type": "content_block_stop", "index": index}));
    }
    stream += &event(
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
    );
    stream + &event(json!({"type": "message_stop"}))
}

/// The message that a client of OpenAI's makes of a stream; details are collected as they come.
fn message(answer: &str, streams: bool) -> Value {
    if !streams {
        return serde_json::from_str::<Value>(answer).unwrap()["choices"][0]["message"].take();
    }
    let mut message = json!({"role": "assistant", "content": ""});
    let mut add = |field: &str, more: &Value| match more {
        Value::String(more) => {
            let before = message
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default();
            message[field] = format!("{before}{more}").into();
        }
        Value::Array(more) => {
            let mut all = message
                .get(field)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            all.extend(more.iter().cloned());
            message[field] = all.into();
        }
        _ => {}
    };
    for event in events(answer) {
        let delta = &event["choices"][0]["delta"];
        for field in ["content", "reasoning", "reasoning_details"] {
            add(field, &delta[field]);
        }
        if delta["tool_calls"][0].get("id").is_some() {
            add("tool_calls", &delta["tool_calls"]);
        }
    }
    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
        call["function"]["arguments"] = "{}".into();
    }
    message
}

#[test]
fn a_chats_thoughts_go_back_where_they_stood() {
    for streams in [false, true] {
        let answer = heard(ClientForm::OpenAiChat, CLAUDE, &interleaved(), streams);
        let said = message(&answer, streams);
        assert_eq!(said["content"], "First \u{1f600}\n. Second.");
        let results = ["toolu_1", "toolu_2"]
            .map(|id| json!({"role": "tool", "tool_call_id": id, "content": "42"}));
        let asked = json!({"model": "m", "messages": [
            {"role": "user", "content": "q"}, said, results[0], results[1]]});
        let (body, _) = sent(ClientForm::OpenAiChat, &asked, CLAUDE);
        assert_eq!(
            body["messages"][1]["content"],
            json!([
                {"type": "thinking", "thinking": "t\u{e9} one", "signature": "c2lnMQ=="},
                {"type": "text", "text": "First \u{1f600}\n. "},
                {"type": "thinking", "thinking": "two", "signature": "c2lnMg=="},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "text", "text": "Second."},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
                {"type": "thinking", "thinking": "three", "signature": "c2lnMw=="},
                {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}]),
            "{streams}"
        );
        let (body, _) = sent(ClientForm::OpenAiChat, &asked, BEDROCK);
        let text = body["messages"][1]["content"].to_string();
        let words = [
            "c2lnMQ==", "First", "c2lnMg==", "cmVk", "Second.", "toolu_1", "c2lnMw==", "toolu_2",
        ];
        assert!(places(&text, &words).is_sorted(), "{text}");
        // Who knows no thoughts gets the words and the calls as they were.
        let (body, _) = sent(ClientForm::OpenAiChat, &asked, OLLAMA);
        assert_eq!(body["messages"][1]["content"], "First \u{1f600}\n. Second.");
    }
}

/// A client may have changed the words, or send details of another gateway: they are looked for at their place, and the
/// turn never ends with one.
#[test]
fn thoughts_whose_place_is_gone_stand_before_what_was_said() {
    let detail =
        |id: Value| json!({"type": "reasoning.text", "text": "t", "signature": "s", "id": id});
    for id in [
        json!("__at__9-4"),
        json!("__at__2-0"),
        json!(null),
        json!(""),
    ] {
        let said = json!({"role": "assistant", "content": "Hi", "reasoning_details": [detail(id)]});
        let ask = json!({"role": "user", "content": "q"});
        let asked = json!({"model": "m", "messages": [ask, said, ask]});
        let (body, _) = sent(ClientForm::OpenAiChat, &asked, CLAUDE);
        assert_eq!(
            body["messages"][1]["content"],
            json!([{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "Hi"}])
        );
    }
}

/// Some of Gemini's answers sign a call after it, in a part without words: it goes back so, and with no mark that there
/// is no signature.
#[test]
fn the_signature_after_a_call_comes_back_after_it() {
    let call = json!({"functionCall": {"name": "f", "args": {"x": 1}}});
    let proof = json!({"text": "", "thoughtSignature": "U0lH"});
    for words in [vec![], vec![json!({"text": "I look."})]] {
        let told = [words.clone(), vec![call.clone(), proof.clone()]].concat();
        let stream = gemini(&told);
        for streams in [false, true] {
            for client in [
                ClientForm::AnthropicMessages,
                ClientForm::OpenAiChat,
                ClientForm::OpenAiResponses,
            ] {
                let answer = heard(client, GEMINI, &stream, streams);
                let said = match client {
                    ClientForm::AnthropicMessages => content(&answer, streams),
                    ClientForm::OpenAiChat => {
                        let mut said = message(&answer, streams);
                        said["tool_calls"][0]["function"]["arguments"] = "{\"x\":1}".into();
                        said
                    }
                    _ if streams => events(&answer).pop().unwrap()["response"]["output"].take(),
                    _ => serde_json::from_str::<Value>(&answer).unwrap()["output"].take(),
                };
                let mut parts = replayed(client, &said);
                for part in parts.as_array_mut().unwrap() {
                    if let Some(call) = part["functionCall"].as_object_mut() {
                        call.remove("id");
                    }
                    if part["functionCall"].is_null() {
                        part.as_object_mut().unwrap().remove("functionCall");
                    }
                }
                assert_eq!(parts, json!(told), "{client:?} {streams} {answer}");
            }
        }
    }
    // Without any, it is said that there is none.
    let answer = heard(
        ClientForm::AnthropicMessages,
        GEMINI,
        &gemini(&[call]),
        true,
    );
    let parts = replayed(ClientForm::AnthropicMessages, &content(&answer, true));
    assert_eq!(
        parts[0]["thoughtSignature"],
        "skip_thought_signature_validator"
    );
}
