//! Chats as Converse requests.

use super::*;
use crate::ir::{
    Document, Effort, Format, Image, Json, Message, Part, Role, Sampling, Text, Thinking, Thought,
    Tool, ToolCall, ToolChoice, ToolResult,
};
use serde_json::json;
use std::borrow::Cow;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

fn text(text: &'static str) -> Part<'static> {
    Part::Text(Text::plain(text))
}

fn said(role: Role, parts: Vec<Part<'static>>) -> Message<'static> {
    Message::new(role, parts)
}

fn user(says: &'static str) -> Message<'static> {
    said(Role::User, vec![text(says)])
}

fn assistant(says: &'static str) -> Message<'static> {
    said(Role::Assistant, vec![text(says)])
}

fn call(id: Option<&'static str>, name: &'static str, arguments: &'static str) -> Part<'static> {
    Part::ToolCall(ToolCall {
        id: id.map(Text::plain),
        name: Text::plain(name),
        arguments: Json::trusted(arguments),
        signature: None,
    })
}

fn result(id: Option<&'static str>, parts: Vec<Part<'static>>) -> Part<'static> {
    Part::ToolResult(ToolResult {
        id: id.map(Text::plain),
        name: None,
        parts,
        is_error: false,
    })
}

fn thought(says: &'static str, signature: Option<&'static str>) -> Part<'static> {
    Part::Thought(Thought {
        text: Text::plain(says),
        signature: signature.map(Text::plain),
        ..Thought::default()
    })
}

fn tool(name: &'static str) -> Tool<'static> {
    Tool {
        name: Text::plain(name),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    }
}

fn chat(messages: Vec<Message<'static>>) -> ChatRequest<'static> {
    ChatRequest {
        messages,
        ..ChatRequest::default()
    }
}

fn sent(model: &str, request: ChatRequest<'_>) -> ProviderRequest {
    with_target(model, true, |target| write_chat(request, target)).unwrap()
}

/// The body, and what was dropped.
fn written(model: &str, request: ChatRequest<'_>) -> (Value, Vec<&'static str>) {
    let outgoing = sent(model, request);
    (json(&outgoing.body), outgoing.dropped.fields().to_vec())
}

fn body(model: &str, request: ChatRequest<'_>) -> Value {
    let (body, dropped) = written(model, request);
    assert_eq!(dropped, [""; 0]);
    body
}

fn messages(model: &str, messages: Vec<Message<'static>>) -> Value {
    body(model, chat(messages))["messages"].take()
}

#[test]
fn the_path_is_that_of_the_call() {
    let path = |stream| {
        with_target(OLD_CLAUDE, stream, |target| {
            write_chat(chat(vec![user("a")]), target)
        })
        .unwrap()
        .path
    };
    assert_eq!(
        path(true),
        "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream"
    );
    assert_eq!(
        path(false),
        "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse"
    );
}

/// All that Converse can say at once.
#[test]
fn a_golden_request() {
    let request = ChatRequest {
        messages: vec![
            said(Role::System, vec![text("Be brief")]),
            said(
                Role::User,
                vec![
                    text("What \"is\" it?\n"),
                    Part::Image(Image::from_base64(Cow::Borrowed(PNG)).unwrap()),
                ],
            ),
            said(
                Role::Assistant,
                vec![
                    thought("hm", Some("c2ln")),
                    call(Some("t1"), "look", r#"{"x":1}"#),
                ],
            ),
            said(Role::User, vec![result(Some("t1"), vec![text("42")])]),
        ],
        tools: vec![Tool {
            description: Some(Text::plain("looks")),
            parameters: Some(Json::trusted(
                r#"{"type":"object","properties":{"x":{"type":"integer"}}}"#,
            )),
            strict: Some(true),
            cache: None,
            ..tool("look")
        }],
        max_tokens: Some(100),
        sampling: Sampling {
            temperature: Some(0.5),
            top_k: Some(40),
            ..Sampling::default()
        },
        stop: vec![Text::plain("END")],
        ..ChatRequest::default()
    };
    assert_eq!(
        body(OLD_CLAUDE, request),
        json!({
            "system": [{"text": "Be brief"}],
            "messages": [
                {"role": "user", "content": [
                    {"text": "What \"is\" it?\n"},
                    {"image": {"format": "png", "source": {"bytes": PNG}}}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                    {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"x": 1}}}]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": "42"}]}}]}],
            "toolConfig": {"tools": [{"toolSpec": {
                "name": "look", "description": "looks", "strict": true,
                "inputSchema": {"json": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}]},
            "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"top_k": 40},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        })
    );
}

#[test]
fn turns_alternate_and_begin_with_the_user() {
    let turns = messages(
        UNKNOWN,
        vec![
            assistant("Hi, how can I help?"),
            said(Role::System, vec![text("late")]),
            user("a"),
            user(" \n"),
            user("b"),
            assistant("\t"),
            user("c"),
        ],
    );
    assert_eq!(
        turns,
        json!([
            {"role": "user", "content": [{"text": "Hello."}]},
            {"role": "assistant", "content": [{"text": "Hi, how can I help?"}]},
            {"role": "user", "content": [{"text": "late"}, {"text": "a"}, {"text": "b"}, {"text": "c"}]}
        ])
    );
    for nothing in [
        vec![],
        vec![user(" ")],
        vec![said(Role::System, vec![text("s")])],
    ] {
        assert_eq!(
            messages(UNKNOWN, nothing),
            json!([{"role": "user", "content": [{"text": "Hello."}]}])
        );
    }
}

#[test]
fn the_systems_first_words_are_its_prompt_and_later_ones_stay() {
    let body = body(
        UNKNOWN,
        chat(vec![
            said(Role::System, vec![text("a")]),
            said(Role::System, vec![text("b"), text(" ")]),
            user("q"),
            said(Role::System, vec![text("c")]),
            assistant("r"),
            said(Role::System, vec![text("d")]),
        ]),
    );
    assert_eq!(body["system"], json!([{"text": "a\n\nb"}]));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"text": "q"}, {"text": "c"}]},
            {"role": "assistant", "content": [{"text": "r"}]},
            {"role": "user", "content": [{"text": "d"}]}
        ])
    );
    // Titan's text models know no system prompt.
    let turns = messages(
        "amazon.titan-text-express-v1",
        vec![said(Role::System, vec![text("a")]), user("q")],
    );
    assert_eq!(
        turns,
        json!([{"role": "user", "content": [{"text": "a"}, {"text": "q"}]}])
    );
}

#[test]
fn results_come_first_and_every_call_has_one() {
    let turns = messages(
        NOVA,
        vec![
            user("q"),
            said(
                Role::Assistant,
                vec![
                    call(None, "f", "{}"),
                    call(None, "g", "{}"),
                    call(Some("h/1 é"), "h", "{}"),
                ],
            ),
            said(
                Role::User,
                vec![text("and"), result(None, vec![text("one")])],
            ),
            said(
                Role::User,
                vec![Part::ToolResult(ToolResult {
                    id: None,
                    name: None,
                    parts: vec![text(" ")],
                    is_error: true,
                })],
            ),
        ],
    );
    let ids: Vec<&Value> = turns[1]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["toolUse"]["toolUseId"])
        .collect();
    let content = turns[2]["content"].as_array().unwrap();
    assert_eq!(ids[2], "call_LH5OpGatjAhVq37AL9mndOaMuDY");
    assert_eq!(
        content[..],
        [
            json!({"toolResult": {"toolUseId": ids[0], "content": [{"text": "one"}]}}),
            json!({"toolResult": {"toolUseId": ids[1], "content": [{"text": "(nothing)"}], "status": "error"}}),
            json!({"toolResult": {"toolUseId": ids[2], "content": [{"text": "no result provided"}], "status": "error"}}),
            json!({"text": "and"})
        ]
    );
}

#[test]
fn a_model_that_knows_no_status_reads_of_the_error() {
    let mut failed = result(Some("1"), vec![text("boom")]);
    if let Part::ToolResult(result) = &mut failed {
        result.is_error = true;
    }
    let turns = messages(
        UNKNOWN,
        vec![
            user("q"),
            said(Role::Assistant, vec![call(Some("1"), "f", "{}")]),
            said(Role::User, vec![failed]),
        ],
    );
    assert_eq!(
        turns[2]["content"],
        json!([{"toolResult": {"toolUseId": "1", "content": [{"text": "Error:"}, {"text": "boom"}]}}])
    );
}

#[test]
fn history_with_calls_is_sent_with_a_tool_that_is_none() {
    let history = || {
        vec![
            user("q"),
            said(Role::Assistant, vec![call(Some("1"), "f", "{}")]),
            said(Role::User, vec![result(Some("1"), vec![text("r")])]),
        ]
    };
    let none = |request: ChatRequest<'_>| {
        let config = body(NOVA, request)["toolConfig"].take();
        assert_eq!(config["tools"][0]["toolSpec"]["name"], "none");
        assert_eq!(config["tools"].as_array().unwrap().len(), 1);
        assert_eq!(config["toolChoice"], Value::Null);
    };
    none(chat(history()));
    let choice = ToolChoice::None;
    none(ChatRequest {
        tools: vec![tool("f")],
        tool_choice: choice.clone(),
        ..chat(history())
    });
    let without = ChatRequest {
        tools: vec![tool("f")],
        tool_choice: choice,
        ..chat(vec![user("q")])
    };
    assert_eq!(body(NOVA, without)["toolConfig"], Value::Null);
}

#[test]
fn tools_have_fitting_names_and_schemas_of_objects() {
    let schemas = [
        (None, json!({"type": "object", "properties": {}})),
        (Some("{}"), json!({"type": "object"})),
        (
            Some(r#"{ "properties":{"type":{"type":"string"}}}"#),
            json!({"type": "object", "properties": {"type": {"type": "string"}}}),
        ),
        (
            Some(r#"{"a":{"b":[1]},"type":"object"}"#),
            json!({"a": {"b": [1]}, "type": "object"}),
        ),
        (Some("null"), json!({"type": "object", "properties": {}})),
    ];
    for (schema, expected) in schemas {
        let request = ChatRequest {
            tools: vec![Tool {
                description: Some(Text::plain(" ")),
                parameters: schema.map(Json::trusted),
                ..tool("wetter.für")
            }],
            tool_choice: ToolChoice::Named(Text::plain("wetter.für")),
            ..chat(vec![user("q")])
        };
        let outgoing = sent(NOVA, request);
        assert_eq!(
            json(&outgoing.body)["toolConfig"],
            json!({
                "tools": [{"toolSpec": {"name": "wetter_f_r", "inputSchema": {"json": expected}}}],
                "toolChoice": {"tool": {"name": "wetter_f_r"}}
            })
        );
        assert_eq!(
            outgoing.names.original(Text::escaped("wetter_f_r")),
            Text::plain("wetter.für")
        );
    }
}

#[test]
fn a_choice_is_forced_only_where_the_model_allows_it() {
    let request = || ChatRequest {
        tools: vec![tool("f")],
        tool_choice: ToolChoice::Required,
        ..chat(vec![user("q")])
    };
    assert_eq!(
        body(OLD_CLAUDE, request())["toolConfig"]["toolChoice"],
        json!({"any": {}})
    );
    let (body, dropped) = written(NEWEST_CLAUDE, request());
    assert_eq!(
        (&body["toolConfig"]["toolChoice"], &dropped[..]),
        (&Value::Null, &["tool_choice"][..])
    );
    let thinking = ChatRequest {
        thinking: Some(Thinking::On),
        ..request()
    };
    let (body, dropped) = written(OLD_CLAUDE, thinking);
    assert_eq!(
        (&body["toolConfig"]["toolChoice"], &dropped[..]),
        (&Value::Null, &["tool_choice"][..])
    );
    let one = ChatRequest {
        parallel_tool_calls: Some(false),
        tool_choice: ToolChoice::Auto,
        ..request()
    };
    assert_eq!(written(NOVA, one).1, ["parallel_tool_calls"]);
}

#[test]
fn only_signed_thoughts_are_sent_back_and_where_they_were() {
    let redacted = Part::Thought(Thought {
        signature: Some(Text::plain("cmVk")),
        redacted: true,
        ..Thought::default()
    });
    let foreign = Part::Thought(Thought {
        signature: Some(Text::plain("enc")),
        id: Some(Text::plain("rs_1")),
        ..Thought::default()
    });
    let history = || {
        vec![
            user("q"),
            said(
                Role::Assistant,
                vec![
                    text("a"),
                    thought("unsigned", None),
                    foreign.clone(),
                    thought("", Some("c2ln")),
                    redacted.clone(),
                ],
            ),
            user("r"),
        ]
    };
    assert_eq!(
        messages(OLD_CLAUDE, history())[1]["content"],
        json!([
            {"text": "a"},
            {"reasoningContent": {"reasoningText": {"text": "", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": "cmVk"}}
        ])
    );
    assert_eq!(
        messages(NOVA, history())[1]["content"],
        json!([{"text": "a"}])
    );
}

fn thinking(
    model: &str,
    thinking: Thinking,
    max_tokens: Option<u64>,
) -> (Value, Vec<&'static str>) {
    let request = ChatRequest {
        thinking: Some(thinking),
        max_tokens,
        ..chat(vec![user("q")])
    };
    let (body, dropped) = written(model, request);
    let said = json!([
        body["additionalModelRequestFields"],
        body["outputConfig"],
        body["inferenceConfig"]["maxTokens"]
    ]);
    (said, dropped)
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn claude_is_told_to_think_as_its_version_takes_it() {
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    for (model, wanted, max_tokens, expected) in [
        (OLD_CLAUDE, Thinking::Off, None, json!([null, null, 32000])),
        (
            OLD_CLAUDE,
            Thinking::On,
            None,
            json!([budget(2048), null, 32000]),
        ),
        (
            OLD_CLAUDE,
            Thinking::Effort(Effort::High),
            Some(9000),
            json!([budget(4096), null, 9000]),
        ),
        (
            OLD_CLAUDE,
            Thinking::Budget(5000),
            Some(9000),
            json!([budget(5000), null, 9000]),
        ),
        // Never as much as the answer may have; the least is 1,024.
        (
            OLD_CLAUDE,
            Thinking::Budget(5000),
            Some(5000),
            json!([budget(2500), null, 5000]),
        ),
        (
            OLD_CLAUDE,
            Thinking::Budget(5000),
            Some(1500),
            json!([budget(1024), null, 1500]),
        ),
        (
            OLD_CLAUDE,
            Thinking::On,
            Some(100),
            json!([budget(1024), null, 1124]),
        ),
        (
            OLD_CLAUDE,
            Thinking::Budget(10),
            None,
            json!([budget(1024), null, 32000]),
        ),
        (NEW_CLAUDE, Thinking::Off, None, json!([null, null, 32000])),
        (
            NEW_CLAUDE,
            Thinking::On,
            None,
            json!([adaptive, null, 32000]),
        ),
        (
            NEW_CLAUDE,
            Thinking::Effort(Effort::Max),
            None,
            json!([adaptive, {"effort": "max"}, 32000]),
        ),
        (
            NEW_CLAUDE,
            Thinking::Budget(2500),
            None,
            json!([adaptive, {"effort": "medium"}, 32000]),
        ),
        (
            NEW_CLAUDE,
            Thinking::Effort(Effort::Minimal),
            None,
            json!([adaptive, {"effort": "low"}, 32000]),
        ),
        (NOVA, Thinking::Off, None, json!([null, null, null])),
        (UNKNOWN, Thinking::Off, None, json!([null, null, null])),
    ] {
        assert_eq!(
            thinking(model, wanted, max_tokens),
            (expected, vec![]),
            "{model} {wanted:?}"
        );
    }
    for (model, wanted) in [
        (NEWEST_CLAUDE, Thinking::Off),
        (NOVA, Thinking::On),
        (UNKNOWN, Thinking::Effort(Effort::Low)),
    ] {
        let (said, dropped) = thinking(model, wanted, None);
        assert_eq!(
            (&said[0], dropped),
            (&Value::Null, vec!["thinking"]),
            "{model} {wanted:?}"
        );
    }
}

#[test]
fn a_tool_turn_that_lost_its_thought_goes_on_without() {
    let request = |thought: Option<Part<'static>>| {
        let mut said_before: Vec<_> = thought.into_iter().collect();
        said_before.push(call(Some("1"), "f", "{}"));
        ChatRequest {
            tools: vec![tool("f")],
            thinking: Some(Thinking::On),
            ..chat(vec![
                user("q"),
                said(Role::Assistant, said_before),
                said(Role::User, vec![result(Some("1"), vec![text("r")])]),
            ])
        }
    };
    let (said, dropped) = written(OLD_CLAUDE, request(Some(thought("t", None))));
    assert_eq!(said["additionalModelRequestFields"], Value::Null);
    assert_eq!(dropped, ["thinking"]);
    let said = body(OLD_CLAUDE, request(Some(thought("t", Some("s")))));
    assert_eq!(
        said["additionalModelRequestFields"]["thinking"]["type"],
        "enabled"
    );
    // Claude's adaptive thinking does not mind.
    let said = body(NEW_CLAUDE, request(None));
    assert_eq!(
        said["additionalModelRequestFields"]["thinking"]["type"],
        "adaptive"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn sampling_is_what_the_model_takes() {
    let sampling = |model: &str, sampling: Sampling<'static>| {
        let (body, dropped) = written(
            model,
            ChatRequest {
                sampling,
                ..chat(vec![user("q")])
            },
        );
        let more = body["additionalModelRequestFields"].clone();
        (
            json!([
                body["inferenceConfig"]["temperature"],
                body["inferenceConfig"]["topP"],
                more
            ]),
            dropped,
        )
    };
    let some = |temperature, top_p, top_k| Sampling {
        temperature,
        top_p,
        top_k,
        ..Sampling::default()
    };
    assert_eq!(
        sampling(NOVA, some(Some(1.7), Some(0.25), Some(40))),
        (
            json!([1, 0.25, {"inferenceConfig": {"topK": 40}}]),
            vec!["temperature"]
        )
    );
    assert_eq!(
        sampling(UNKNOWN, some(Some(-1.0), Some(f64::NAN), Some(40))),
        (json!([0, null, null]), vec!["temperature", "top_k"])
    );
    assert_eq!(
        sampling(OLD_CLAUDE, some(Some(0.5), Some(0.5), Some(0))),
        (json!([0.5, null, null]), vec!["top_p"])
    );
    assert_eq!(
        sampling(NEW_CLAUDE, some(Some(0.5), Some(0.5), Some(5))),
        (
            json!([null, null, null]),
            vec!["temperature", "top_p", "top_k"]
        )
    );
    assert_eq!(sampling(NEW_CLAUDE, some(Some(1.0), None, None)).1, [""; 0]);
    let unknown = Sampling {
        min_p: Some(0.1),
        typical_p: Some(0.5),
        repeat_penalty: Some(1.1),
        repeat_last_n: Some(64),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(0.5),
        seed: Some(1),
        logit_bias: Some(Json::empty_object()),
        ..Sampling::default()
    };
    assert_eq!(
        sampling(NOVA, unknown).1,
        [
            "min_p",
            "typical_p",
            "repeat_penalty",
            "repeat_last_n",
            "presence_penalty",
            "frequency_penalty",
            "seed",
            "logit_bias"
        ]
    );
    let harmless = Sampling {
        repeat_penalty: Some(1.0),
        presence_penalty: Some(0.0),
        seed: Some(-1),
        ..Sampling::default()
    };
    assert_eq!(sampling(NOVA, harmless).1, [""; 0]);
}

#[test]
fn answers_are_bounded_as_the_model_allows() {
    let tokens = |model: &str, max_tokens| {
        let (body, dropped) = written(
            model,
            ChatRequest {
                max_tokens,
                ..chat(vec![user("q")])
            },
        );
        (body["inferenceConfig"]["maxTokens"].clone(), dropped)
    };
    assert_eq!(tokens(NOVA, None), (Value::Null, vec![]));
    assert_eq!(tokens(NOVA, Some(50)), (json!(50), vec![]));
    assert_eq!(
        tokens(NOVA, Some(50_000)),
        (json!(10_000), vec!["max_tokens"])
    );
    assert_eq!(
        tokens("anthropic.claude-3-haiku-20240307-v1:0", None),
        (json!(4096), vec![])
    );
}

#[test]
fn stop_strings_that_are_refused_are_left_to_the_gateway() {
    let stop = ["END", "\n\n", "", "é\""].map(Text::plain).to_vec();
    let outgoing = sent(
        NOVA,
        ChatRequest {
            stop,
            ..chat(vec![user("q")])
        },
    );
    assert_eq!(
        json(&outgoing.body)["inferenceConfig"]["stopSequences"],
        json!(["END", "é\""])
    );
    assert_eq!(outgoing.stop, ["\n\n"]);
    assert_eq!(
        json(&outgoing.body)["additionalModelResponseFieldPaths"],
        Value::Null
    );
}

#[test]
fn formats_have_a_field_or_are_asked_for_in_words() {
    let request = |format| ChatRequest {
        format,
        ..chat(vec![said(Role::System, vec![text("s")]), user("q")])
    };
    let schema = || Format::Schema {
        name: Some(Text::plain("ein Name")),
        description: None,
        schema: Json::trusted(r#"{"type":"object","required":["a"]}"#),
        strict: Some(true),
    };
    let said = body(OLD_CLAUDE, request(schema()));
    assert_eq!(
        said["outputConfig"],
        json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {
            "schema": r#"{"type":"object","required":["a"]}"#, "name": "ein_Name"}}}})
    );
    assert_eq!(said["system"], json!([{"text": "s"}]));
    let (said, dropped) = written(NOVA, request(schema()));
    assert_eq!(
        (&said["outputConfig"], dropped),
        (&Value::Null, vec!["response_format"])
    );
    assert_eq!(
        said["system"],
        json!([{"text": "s\n\nAnswer with one JSON value that obeys this JSON Schema, and nothing else:\n{\"type\":\"object\",\"required\":[\"a\"]}"}])
    );
    let said = body(NOVA, request(Format::Json));
    assert_eq!(
        said["system"],
        json!([{"text": "s\n\nAnswer with one JSON object and nothing else."}])
    );
}

#[test]
fn the_assistants_last_words_are_continued_where_the_model_does_so() {
    let history = || vec![user("q"), assistant("So \n")];
    let last = |model: &str, request: ChatRequest<'_>| {
        let (body, dropped) = written(model, request);
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        // That it was not continued is named.
        assert_eq!(dropped.contains(&"prefill"), last["role"] == "user");
        assert!(dropped.len() < 2);
        last
    };
    let go_on = json!({"role": "user", "content": [{"text": "Continue."}]});
    assert_eq!(
        last(OLD_CLAUDE, chat(history())),
        json!({"role": "assistant", "content": [{"text": "So"}]})
    );
    assert_eq!(last(NEW_CLAUDE, chat(history())), go_on);
    assert_eq!(last(UNKNOWN, chat(history())), go_on);
    let with_tools = ChatRequest {
        tools: vec![tool("f")],
        ..chat(history())
    };
    assert_eq!(last(OLD_CLAUDE, with_tools), go_on);
    let thinking = ChatRequest {
        thinking: Some(Thinking::On),
        ..chat(history())
    };
    assert_eq!(last(OLD_CLAUDE, thinking), go_on);
}

#[test]
fn files_are_named_and_never_alone() {
    let file = |name: Option<&'static str>, media_type: &'static str| {
        Part::Document(Document {
            name: name.map(Text::plain),
            media_type: Cow::Borrowed(media_type),
            data: Cow::Borrowed("SGk="),
        })
    };
    let turns = messages(
        NOVA,
        vec![said(
            Role::User,
            vec![
                file(Some("Bericht_2024 (é).pdf"), "application/pdf"),
                file(None, "text/plain; charset=utf-8"),
                file(None, "audio/wav"),
            ],
        )],
    );
    assert_eq!(
        turns[0]["content"],
        json!([
            {"document": {"format": "pdf", "name": "Bericht 2024 ( ) pdf", "source": {"bytes": "SGk="}}},
            {"document": {"format": "txt", "name": "document 2", "source": {"bytes": "SGk="}}},
            {"audio": {"format": "wav", "source": {"bytes": "SGk="}}},
            {"text": "See the document."}
        ])
    );
}

#[test]
fn what_cannot_be_said_is_refused() {
    let refused = |parts: Vec<Part<'static>>| {
        let request = chat(vec![said(Role::User, parts)]);
        with_target(NOVA, true, |target| write_chat(request, target)).unwrap_err()
    };
    let by_address = Image::from_url(Text::plain("https://x/y.png"), None).unwrap();
    assert!(
        refused(vec![Part::Image(by_address)])
            .text
            .contains("address")
    );
    let bitmap = Image::from_base64(Cow::Borrowed("Qk1AAAAA")).unwrap();
    assert!(
        refused(vec![Part::Image(bitmap)])
            .text
            .contains("image/bmp")
    );
    let archive = Document {
        name: None,
        media_type: "application/zip".into(),
        data: "".into(),
    };
    assert!(refused(vec![Part::Document(archive)]).text.contains("type"));
    for (field, completion) in [
        (
            "suffix",
            crate::ir::Completion {
                suffix: Some(Text::plain("x")),
                ..Default::default()
            },
        ),
        (
            "raw",
            crate::ir::Completion {
                raw: true,
                ..Default::default()
            },
        ),
        (
            "template",
            crate::ir::Completion {
                template: Some(Text::plain("x")),
                ..Default::default()
            },
        ),
    ] {
        let request = ChatRequest {
            completion: Some(completion),
            ..chat(vec![user("q")])
        };
        let refused = with_target(NOVA, true, |target| write_chat(request, target)).unwrap_err();
        assert_eq!(refused.param, Some(field));
    }
}
