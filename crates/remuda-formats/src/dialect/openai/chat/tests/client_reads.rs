//! What is read of clients' requests.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::read_chat;
use crate::dialect::signature;
use crate::ir::{
    ChatRequest, Effort, Format, Image, Json, Message, Part, Role, Serving, Text, Thinking,
    ToolChoice,
};

/// Reads a body, and gives what was read to `look`.
fn with<R>(body: Value, look: impl FnOnce(ChatRequest<'_>) -> R) -> R {
    let body = body.to_string();
    look(read_chat(body.as_bytes()).unwrap_or_else(|refused| panic!("{refused}: {body}")))
}

/// A request of one user's message and these fields.
fn asking(fields: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Which field is blamed.
fn refusal(body: Value) -> &'static str {
    let body = body.to_string();
    let refused = read_chat(body.as_bytes()).expect_err(&body);
    refused.param.unwrap_or("")
}

/// Turns as short text: role, then parts.
fn shown(messages: &[Message<'_>]) -> Vec<String> {
    messages
        .iter()
        .map(|message| {
            let parts: Vec<_> = message.parts.iter().map(part).collect();
            format!("{:?} {}", message.role, parts.join(" | "))
        })
        .collect()
}

fn part(part: &Part<'_>) -> String {
    let or_dash = |text: &Option<Text<'_>>| {
        text.as_ref()
            .map_or("-".to_owned(), |text| text.decoded().into_owned())
    };
    match part {
        Part::Text(text) => text.decoded().into_owned(),
        Part::Image(Image::Base64 { media_type, .. }) => media_type.name().to_owned(),
        Part::Image(Image::Url { url, detail }) => {
            format!("{} {}", url.decoded(), or_dash(detail))
        }
        Part::Document(document) => format!(
            "{} {} {}",
            or_dash(&document.name),
            document.media_type,
            document.data
        ),
        Part::Thought(thought) => {
            format!(
                "thought {} {}",
                thought.text.decoded(),
                or_dash(&thought.signature)
            )
        }
        Part::ToolCall(call) => format!(
            "call {} {} {} {}",
            or_dash(&call.id),
            call.name.decoded(),
            call.arguments.as_str(),
            or_dash(&call.signature)
        ),
        Part::ToolResult(result) => {
            let parts: Vec<_> = result.parts.iter().map(self::part).collect();
            format!(
                "result {} {} {}",
                or_dash(&result.id),
                or_dash(&result.name),
                parts.join(" + ")
            )
        }
        Part::Breakpoint(ttl) => format!("breakpoint {ttl:?}"),
    }
}

#[test]
fn every_role_and_part_is_read() {
    let packed = signature::pack(Text::escaped("call_2"), Some(&Text::escaped("sig")));
    let body = json!({"messages": [
        {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "system", "content": "and \"kind\""},
        {"role": "user", "name": "ann", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]},
        {"role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"\\u00e9\"}"}},
            {"id": packed.as_escaped(), "type": "function", "function": {"name": "g", "arguments": ""}},
            {"id": "", "function": {"name": "h", "arguments": {"b": 1}}},
            {"id": "call_4", "type": "function", "function": {"name": "i", "arguments": "{\"broken\":"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": packed.as_escaped(), "content": [{"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "", "refusal": "no", "function_call": {"name": "old", "arguments": "{}"}},
        {"role": "function", "name": "old", "content": "three"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
    ]});
    with(body, |request| {
        assert_eq!(
            shown(&request.messages),
            [
                "System be brief",
                "System and \"kind\"",
                "User look | https://x/y.png low | image/png | - audio/wav UklGRg== | a.pdf application/pdf JVBERi0=",
                "Assistant thought hm - | call call_1 f {\"a\":\"\\u00e9\"} - | call call_2 g {} sig | call - h {\"b\":1} - | call call_4 i {\"_raw\":\"{\\\"broken\\\":\"} -",
                "User result call_1 - one",
                "User result call_2 - two",
                "Assistant no | call - old {} -",
                "User result - old three",
                "Assistant never",
            ]
        );
        assert_eq!(request.messages[2].name, Some(Text::escaped("ann")));
    });
}

#[test]
fn thoughts_keep_their_signatures() {
    let body = json!({"messages": [{"role": "assistant", "content": "x", "reasoning": "hm",
        "reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}]});
    with(body, |request| {
        assert_eq!(shown(&request.messages), ["Assistant thought hm s | x"]);
    });
}

#[test]
fn sampling_and_limits_are_read() {
    let body = asking(json!({
        "stream": true, "stream_options": {"include_usage": true}, "temperature": 0, "top_p": 0.5, "top_k": 4.0,
        "min_p": 0.1, "typical_p": 0.2, "repetition_penalty": 1.1, "repeat_last_n": 64, "presence_penalty": -1,
        "frequency_penalty": 2, "seed": -5, "logit_bias": {"5": 1}, "max_tokens": 5, "max_completion_tokens": 6,
        "stop": "end", "logprobs": true, "top_logprobs": 3, "user": "u", "n": 1, "parallel_tool_calls": false,
        "verbosity": "low", "store": true, "metadata": {"a": "b"}, "service_tier": "auto"
    }));
    with(body, |request| {
        assert!(request.stream && request.include_usage);
        assert_eq!(request.max_tokens, Some(6));
        assert_eq!(request.stop, [Text::escaped("end")]);
        assert_eq!(request.logprobs, Some(3));
        assert_eq!(request.user, Some(Text::escaped("u")));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert!(request.dropped.is_empty());
        let text = |text| Some(Text::escaped(text));
        let expected = Serving {
            tier: text("auto"),
            metadata: Some(Json::trusted(r#"{"a":"b"}"#)),
            store: Some(true),
            verbosity: text("low"),
            ..Serving::default()
        };
        assert_eq!(request.serving, expected);
        let sampling = &request.sampling;
        assert_eq!(sampling.temperature, Some(0.0));
        assert_eq!(sampling.top_p, Some(0.5));
        assert_eq!(sampling.top_k, Some(4));
        assert_eq!(sampling.min_p, Some(0.1));
        assert_eq!(sampling.typical_p, Some(0.2));
        assert_eq!(sampling.repeat_penalty, Some(1.1));
        assert_eq!(sampling.repeat_last_n, Some(64));
        assert_eq!(sampling.presence_penalty, Some(-1.0));
        assert_eq!(sampling.frequency_penalty, Some(2.0));
        assert_eq!(sampling.seed, Some(-5));
        assert_eq!(sampling.logit_bias.as_ref().unwrap().as_str(), "{\"5\":1}");
    });
}

#[test]
fn null_is_absent_everywhere() {
    let mut nulls = json!({});
    for field in [
        "stream",
        "stream_options",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "n",
        "stop",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
        "reasoning_effort",
        "reasoning",
        "thinking",
        "user",
        "modalities",
        "verbosity",
        "audio",
    ] {
        nulls[field] = Value::Null;
    }
    let plain = asking(json!({})).to_string();
    with(asking(nulls), |request| {
        assert_eq!(request, read_chat(plain.as_bytes()).unwrap());
        assert_eq!(shown(&request.messages), ["User q"]);
    });
}

#[test]
fn tools_and_choices_are_read() {
    let tools = json!([
        {"type": "function", "function": {"name": "f", "description": "does", "strict": true,
            "parameters": {"type": "object"}}},
        {"function": {"name": "g", "description": null}}]);
    for (choice, expected) in [
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!("any"), ToolChoice::Required),
        (
            json!({"type": "function", "function": {"name": "g"}}),
            ToolChoice::Named(Text::escaped("g")),
        ),
    ] {
        with(
            asking(json!({"tools": tools, "tool_choice": choice})),
            |request| {
                assert_eq!(request.tool_choice, expected);
                assert_eq!(request.tools.len(), 2);
                assert_eq!(request.tools[0].strict, Some(true));
                assert_eq!(
                    request.tools[0].parameters.as_ref().unwrap().as_str(),
                    "{\"type\":\"object\"}"
                );
                assert_eq!(request.tools[1].description, None);
            },
        );
    }
}

/// `allowed_tools` and `parallel_tool_calls` survive a translation (maximhq/bifrost#7348).
#[test]
fn allowed_tools_are_the_only_ones() {
    let body = asking(json!({
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
            "tools": [{"type": "function", "function": {"name": "g"}}]}}}));
    with(body, |request| {
        assert_eq!(request.tool_choice, ToolChoice::Required);
        assert_eq!(request.tools.len(), 1);
        assert_eq!(request.tools[0].name, Text::escaped("g"));
    });
}

#[test]
fn functions_of_the_old_kind_are_tools() {
    let body = asking(
        json!({"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}}),
    );
    with(body, |request| {
        assert_eq!(request.tools[0].name, Text::escaped("f"));
        assert_eq!(request.tool_choice, ToolChoice::Named(Text::escaped("f")));
        assert!(request.functions);
    });
    let both = json!({"tools": [{"type": "function", "function": {"name": "g"}}], "functions": [{"name": "f"}]});
    with(asking(both), |request| {
        assert_eq!(request.tools[0].name, Text::escaped("g"));
        assert!(!request.functions);
    });
}

#[test]
fn calls_and_results_of_the_old_kind_are_understood() {
    let body = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\":1}"}},
        {"role": "function", "name": "f", "content": "42"}]});
    with(body, |request| {
        let [Part::ToolCall(call)] = &request.messages[1].parts[..] else {
            panic!("a call");
        };
        assert_eq!(
            (call.name.as_escaped(), call.arguments.as_str()),
            ("f", "{\"x\":1}")
        );
        let [Part::ToolResult(result)] = &request.messages[2].parts[..] else {
            panic!("a result");
        };
        assert_eq!(result.name, Some(Text::escaped("f")));
        assert_eq!(result.parts, [Part::Text(Text::escaped("42"))]);
    });
}

#[test]
fn several_answers_may_be_asked_for() {
    for (n, answers) in [(json!(1), None), (json!(null), None), (json!(3), Some(3))] {
        with(asking(json!({ "n": n })), |request| {
            assert_eq!(request.answers, answers);
        });
    }
}

#[test]
fn formats_are_read() {
    let format = |wanted: Value| {
        with(
            asking(json!({"response_format": wanted})),
            |request| match request.format {
                Format::Text => "text".to_owned(),
                Format::Json => "json".to_owned(),
                Format::Schema {
                    name,
                    schema,
                    strict,
                    ..
                } => {
                    format!(
                        "{:?} {} {strict:?}",
                        name.map(|name| name.decoded().into_owned()),
                        schema.as_str()
                    )
                }
            },
        )
    };
    assert_eq!(format(json!({"type": "text"})), "text");
    assert_eq!(format(json!({"type": "json_object"})), "json");
    assert_eq!(
        format(
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"a": 1}}})
        ),
        "Some(\"n\") {\"a\":1} Some(true)"
    );
    assert_eq!(
        format(json!({"type": "json_schema", "json_schema": {"name": "n"}})),
        "json"
    );
    assert_eq!(
        refusal(asking(json!({"response_format": {"type": "grammar"}}))),
        "response_format"
    );
}

#[test]
fn reasoning_is_asked_for_in_many_ways() {
    for (fields, expected) in [
        (json!({}), None),
        (json!({"reasoning_effort": "none"}), Some(Thinking::Off)),
        (
            json!({"reasoning_effort": "xhigh"}),
            Some(Thinking::Effort(Effort::XHigh)),
        ),
        (
            json!({"reasoning": {"effort": "low", "exclude": true}}),
            Some(Thinking::Effort(Effort::Low)),
        ),
        (
            json!({"reasoning": {"max_tokens": 500}}),
            Some(Thinking::Budget(500)),
        ),
        (json!({"reasoning": {"enabled": true}}), Some(Thinking::On)),
        (json!({"reasoning": {"exclude": true}}), None),
        (
            json!({"thinking": {"type": "disabled"}}),
            Some(Thinking::Off),
        ),
        (json!({"thinking": {"type": "enabled"}}), Some(Thinking::On)),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}}),
            Some(Thinking::Budget(9)),
        ),
        (json!({"enable_thinking": false}), Some(Thinking::Off)),
        (
            json!({"chat_template_kwargs": {"enable_thinking": true, "x": []}}),
            Some(Thinking::On),
        ),
    ] {
        with(asking(fields.clone()), |request| {
            assert_eq!(request.thinking, expected, "{fields}");
        });
    }
}

#[test]
fn what_cannot_be_said_elsewhere_is_refused_by_name() {
    for (fields, blamed) in [
        (json!({"n": 0}), "n"),
        (json!({"n": 129}), "n"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (
            json!({"tools": [{"type": "custom", "custom": {"name": ""}}]}),
            "tools",
        ),
        (
            json!({"tools": [{"type": "function", "function": {}}]}),
            "tools",
        ),
        (
            json!({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}),
            "tool_choice",
        ),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "absent"}}}),
            "tool_choice",
        ),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (
            json!({"top_logprobs": 21, "logprobs": true}),
            "top_logprobs",
        ),
        (json!({"stop": 5}), "stop"),
        (json!({"reasoning_effort": "extreme"}), "reasoning_effort"),
        (json!({"logit_bias": []}), "logit_bias"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "narrator", "content": "x"}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "id": "x"}]}]}),
            "messages",
        ),
    ] {
        assert_eq!(refusal(asking(fields.clone())), blamed, "{fields}");
    }
}

#[test]
fn a_refusal_names_the_message() {
    let body =
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": 5}]})
            .to_string();
    let refused = read_chat(body.as_bytes()).unwrap_err();
    assert!(refused.text.starts_with("`messages[1]`: "), "{refused}");
}

#[test]
fn large_texts_are_borrowed_from_the_body() {
    let text = "x".repeat(1000);
    let body = asking(json!({"messages": [{"role": "user", "content": text}]})).to_string();
    let request = read_chat(body.as_bytes()).unwrap();
    let Part::Text(text) = &request.messages[0].parts[0] else {
        panic!("a text")
    };
    assert!(
        body.as_bytes()
            .as_ptr_range()
            .contains(&text.as_escaped().as_ptr())
    );
    assert_eq!(request.messages[0].role, Role::User);
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
        let _ = read_chat(&body);
    }

    #[test]
    fn no_json_makes_it_panic(fields in prop::collection::vec(
        (prop::sample::select(vec!["messages", "tools", "tool_choice", "stop", "response_format", "reasoning", "n"]),
         prop::sample::select(vec!["null", "[]", "{}", "7", "-0.5e9", "\"x\"", "[null]", "[{}]", "[[]]", "[\"\\ud800\"]",
            "{\"type\":\"function\"}", "[{\"role\":\"tool\"}]", "[{\"role\":\"user\",\"content\":[{}]}]"])), 0..6)) {
        let inside: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let _ = read_chat(format!("{{{}}}", inside.join(",")).as_bytes());
    }
}
