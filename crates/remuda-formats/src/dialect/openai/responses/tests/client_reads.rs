//! Requests as clients send them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::read_chat;
use crate::ir::{
    ChatRequest, Effort, Format, Image, Json, MediaType, Message, Part, Refused, Role, Serving,
    Text, Thinking, Thought, ToolCall, ToolChoice, ToolResult,
};

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgo=";

fn read(body: Value) -> Result<ChatRequest<'static>, Refused> {
    read_chat(Box::leak(body.to_string().into_boxed_str()).as_bytes())
}

fn good(body: Value) -> ChatRequest<'static> {
    read(body).unwrap()
}

fn input(items: Value) -> Vec<Message<'static>> {
    good(json!({"model": "m", "input": items})).messages
}

fn text(text: &'static str) -> Part<'static> {
    Part::Text(Text::escaped(text))
}

fn call(id: &'static str, name: &'static str, arguments: &'static str) -> Part<'static> {
    Part::ToolCall(ToolCall {
        id: Some(Text::escaped(id)),
        name: Text::escaped(name),
        arguments: Json::trusted(arguments),
        signature: None,
    })
}

fn result(id: &'static str, parts: Vec<Part<'static>>) -> Message<'static> {
    let result = ToolResult {
        id: Some(Text::escaped(id)),
        name: None,
        parts,
        is_error: false,
    };
    Message::new(Role::User, vec![Part::ToolResult(result)])
}

#[test]
fn a_string_is_what_the_user_says() {
    let request = good(json!({"input": "hi", "instructions": "be kind"}));
    assert_eq!(
        request.messages,
        [
            Message::new(Role::System, vec![text("be kind")]),
            Message::new(Role::User, vec![text("hi")])
        ]
    );
    assert!(!request.stream && request.dropped.is_empty());
}

#[test]
fn messages_come_with_and_without_a_type() {
    let messages = input(json!([
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": "b"},
    ]));
    assert_eq!(messages[0], Message::new(Role::System, vec![text("d")]));
    let Part::Image(Image::Base64 {
        media_type, detail, ..
    }) = &messages[1].parts[1]
    else {
        panic!("an image")
    };
    assert_eq!(
        (*media_type, detail.as_ref().unwrap().as_escaped()),
        (MediaType::Png, "low")
    );
    let Part::Document(document) = &messages[1].parts[2] else {
        panic!("a file")
    };
    assert_eq!(
        (&*document.media_type, &*document.data),
        ("application/pdf", "JVBERg==")
    );
    assert_eq!(
        messages[2],
        Message::new(Role::Assistant, vec![text("a"), text("no"), text("b")])
    );
    assert_eq!(messages.len(), 3);
}

#[test]
fn trap_22_several_calls_are_one_turn() {
    let messages = input(json!([
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"},
            {"type": "summary_text", "text": "b"}], "encrypted_content": "gAAA=="},
        {"type": "message", "role": "assistant", "content": "I look."},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"x\":1}"},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_text", "text": "one"}, {"type": "input_image", "image_url": PIXEL}]},
    ]));
    let thought = Part::Thought(Thought {
        text: Text::escaped(r"a\n\nb"),
        signature: Some(Text::escaped("gAAA==")),
        redacted: false,
        id: Some(Text::escaped("rs_1")),
    });
    assert_eq!(
        messages[1],
        Message::new(
            Role::Assistant,
            vec![
                thought,
                text("I look."),
                call("c1", "f", r#"{"x":1}"#),
                call("c2", "g", "{}")
            ]
        )
    );
    assert_eq!(messages[2], result("c2", vec![text("two")]));
    let Part::ToolResult(one) = &messages[3].parts[0] else {
        panic!("a result")
    };
    assert!(matches!(one.parts[1], Part::Image(_)));
}

#[test]
fn trap_7_arguments_that_are_no_json_are_kept() {
    let messages = input(json!([
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"x\":"},
        {"type": "function_call", "call_id": "d", "name": "f", "arguments": {"x": 1}},
    ]));
    assert_eq!(
        messages[0].parts,
        [
            call("c", "f", r#"{"_raw":"{\"x\":"}"#),
            call("d", "f", r#"{"x":1}"#)
        ]
    );
}

#[test]
fn ids_of_thoughts_that_the_gateway_made_are_not_passed_on() {
    let messages = input(json!([
        {"type": "reasoning", "id": "rs_remuda_a1_0", "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": "s"},
        {"type": "reasoning", "id": "rs_remuda_hidden_a1_1", "summary": [], "encrypted_content": "h"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "open"}]},
        {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": null},
    ]));
    let thought = |text, signature: Option<&'static str>, redacted, id: Option<&'static str>| {
        Part::Thought(Thought {
            text: Text::escaped(text),
            signature: signature.map(Text::escaped),
            redacted,
            id: id.map(Text::escaped),
        })
    };
    assert_eq!(
        messages[0].parts,
        [
            thought("t", Some("s"), false, None),
            thought("", Some("h"), true, None),
            thought("open", None, false, Some("rs_2"))
        ]
    );
}

#[test]
fn custom_calls_are_kept_and_hosted_ones_are_noted() {
    let request = good(json!({"input": [
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** \"x\""},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
    ]}));
    assert_eq!(
        request.messages,
        [
            Message::new(
                Role::Assistant,
                vec![call("c", "patch", r#"{"input":"*** \"x\""}"#)]
            ),
            result("c", vec![text("done")])
        ]
    );
    assert_eq!(request.dropped.fields(), ["input"]);
}

#[test]
fn fields_are_read() {
    let request = good(
        json!({"input": "q", "stream": true, "max_output_tokens": 50, "temperature": 0.5, "top_p": 0.9,
        "parallel_tool_calls": false, "reasoning": {"effort": "high", "summary": "auto"}, "user": "u",
        "include": ["reasoning.encrypted_content"], "top_logprobs": 3, "store": true, "truncation": "auto",
        "metadata": {"a": "b"}, "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n",
            "schema": {"type": "object"}, "strict": true}}}),
    );
    assert!(request.stream);
    assert_eq!(request.max_tokens, Some(50));
    assert_eq!(
        (request.sampling.temperature, request.sampling.top_p),
        (Some(0.5), Some(0.9))
    );
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert_eq!(request.thinking, Some(Thinking::Effort(Effort::High)));
    assert_eq!(request.logprobs, Some(3));
    assert_eq!(request.user, Some(Text::escaped("u")));
    assert_eq!(request.dropped.fields(), ["truncation"]);
    let text = |text| Some(Text::escaped(text));
    assert_eq!(
        request.serving,
        Serving {
            metadata: Some(Json::trusted(r#"{"a":"b"}"#)),
            store: Some(true),
            verbosity: text("low"),
            ..Serving::default()
        }
    );
    let Format::Schema {
        name,
        strict,
        schema,
        ..
    } = request.format
    else {
        panic!("a schema")
    };
    assert_eq!(
        (name, strict, schema.as_str()),
        (Some(Text::escaped("n")), Some(true), r#"{"type":"object"}"#)
    );
}

#[test]
fn nulls_and_what_says_nothing_are_absent() {
    let request = good(
        json!({"input": "q", "instructions": null, "tools": null, "tool_choice": null, "text": null,
        "reasoning": {"summary": "auto"}, "previous_response_id": null, "conversation": null, "background": false,
        "top_logprobs": 0, "include": null, "safety_identifier": "s", "stream": null}),
    );
    assert_eq!(
        (request.thinking, request.logprobs, request.format),
        (None, None, Format::Text)
    );
    assert_eq!(request.user, None);
    let identifier = request.serving.safety_identifier;
    assert_eq!(identifier, Some(Text::escaped("s")));
    let off = good(
        json!({"input": "q", "reasoning": {"effort": "none"}, "text": {"format": {"type": "json_object"}},
        "include": ["message.output_text.logprobs"]}),
    );
    assert_eq!(
        (off.thinking, off.format, off.logprobs),
        (Some(Thinking::Off), Format::Json, Some(0))
    );
}

#[test]
fn tools_stand_flat_and_those_of_openai_are_noted() {
    let request = good(json!({"input": "q", "tools": [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
        {"type": "web_search"}, {"type": "custom", "name": "patch"}, {"type": "mcp", "server_url": "x"}],
        "tool_choice": {"type": "function", "name": "f"}}));
    assert_eq!(request.tools.len(), 2);
    assert_eq!(request.tools[0].strict, Some(true));
    assert_eq!(
        request.tools[0].parameters,
        Some(Json::trusted(r#"{"type":"object"}"#))
    );
    assert_eq!(request.tool_choice, ToolChoice::Named(Text::escaped("f")));
    assert_eq!(request.dropped.fields(), ["tools.web_search", "tools.mcp"]);
}

#[test]
fn trap_25_allowed_tools_and_parallel_calls_survive() {
    let tools = json!([{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]);
    let request = good(
        json!({"input": "q", "tools": tools, "parallel_tool_calls": false, "tool_choice": {"type": "allowed_tools",
            "mode": "required", "tools": [{"type": "function", "name": "g"}]}}),
    );
    assert_eq!(request.tools.len(), 1);
    assert_eq!(request.tools[0].name, Text::escaped("g"));
    assert_eq!(request.tool_choice, ToolChoice::Required);
    assert_eq!(request.parallel_tool_calls, Some(false));
    for (choice, read) in [
        ("auto", ToolChoice::Auto),
        ("none", ToolChoice::None),
        ("required", ToolChoice::Required),
    ] {
        let request = good(json!({"input": "q", "tools": tools, "tool_choice": choice}));
        assert_eq!(request.tool_choice, read);
    }
}

/// Clients that believe stored what they were answered name its items; what was thought can be done without.
#[test]
fn a_reference_to_a_thought_of_ours_is_left_out_and_named() {
    let input =
        json!([{"role": "user", "content": "q"}, {"type": "item_reference", "id": "rs_remuda_1"}]);
    let request = good(json!({"input": input}));
    assert_eq!(request.messages.len(), 1);
    assert_eq!(request.dropped.fields(), ["input"]);
}

#[test]
fn what_only_openai_keeps_is_refused_by_name() {
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
        ("background", json!(true)),
    ] {
        let mut body = json!({"input": "q"});
        body[field] = value;
        let refused = read(body).unwrap_err();
        assert_eq!(refused.param, Some(field));
        assert!(refused.text.contains(field), "{refused}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn what_is_wrong_is_refused_without_its_words() {
    let item = |item: Value| json!({"input": [item]});
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 7}), "input"),
        (item(json!("hunter2")), "input"),
        (item(json!({"role": "hunter2", "content": "x"})), "input"),
        (
            item(json!({"role": "user", "content": [{"type": "hunter2"}]})),
            "input",
        ),
        (
            item(
                json!({"role": "user", "content": [{"type": "input_image", "file_id": "hunter2"}]}),
            ),
            "input",
        ),
        (
            item(
                json!({"role": "user", "content": [{"type": "input_image", "image_url": "hunter2"}]}),
            ),
            "input",
        ),
        (
            item(
                json!({"role": "user", "content": [{"type": "input_file", "file_id": "hunter2"}]}),
            ),
            "input",
        ),
        (
            item(json!({"type": "item_reference", "id": "hunter2"})),
            "input",
        ),
        (
            item(json!({"type": "function_call", "name": "hunter2"})),
            "input",
        ),
        (
            item(json!({"type": "function_call", "call_id": "hunter2"})),
            "input",
        ),
        (
            item(json!({"type": "function_call_output", "output": "hunter2"})),
            "input",
        ),
        (
            json!({"input": "q", "tools": [{"type": "function", "description": "hunter2"}]}),
            "tools",
        ),
        (
            json!({"input": "q", "tool_choice": "hunter2"}),
            "tool_choice",
        ),
        (
            json!({"input": "q", "tool_choice": {"type": "function", "name": "hunter2"}}),
            "tool_choice",
        ),
        (
            json!({"input": "q", "tool_choice": {"type": "web_search"}}),
            "tool_choice",
        ),
        (
            json!({"input": "q", "text": {"format": {"type": "hunter2"}}}),
            "text.format",
        ),
        (
            json!({"input": "q", "text": {"format": {"type": "json_schema"}}}),
            "text.format",
        ),
        (
            json!({"input": "q", "reasoning": {"effort": "hunter2"}}),
            "reasoning.effort",
        ),
        (json!({"input": "q", "top_logprobs": 21}), "top_logprobs"),
        (
            json!({"input": "q", "max_output_tokens": 0}),
            "max_output_tokens",
        ),
        (
            json!({"input": "q", "temperature": "hunter2"}),
            "temperature",
        ),
    ] {
        let refused = read(body.clone()).unwrap_err();
        assert_eq!(refused.param, Some(param), "{body}");
        assert!(!refused.text.contains("hunter2"), "{refused}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in any::<Vec<u8>>()) {
        let _ = read_chat(&bytes);
    }

    #[test]
    fn no_json_panics(input in ".{0,60}", kind in "(message|reasoning|function_call|custom_tool_call|x)", raw in "[\\[\\]{}\":,a-z0-9]{0,40}") {
        let body = json!({"input": [{"type": kind, "content": input, "call_id": input, "name": input, "arguments": input,
            "encrypted_content": input, "summary": [{"text": input}], "role": "user"}]}).to_string();
        let _ = read_chat(body.as_bytes());
        let _ = read_chat(format!("{{\"input\":{raw}}}").as_bytes());
    }
}
