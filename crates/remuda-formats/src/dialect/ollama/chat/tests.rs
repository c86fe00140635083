//! Chats as clients send them and as servers get them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::ollama::LoadOrUnload;
use crate::facts::{Capability, ModelFacts};
use crate::ir::{
    ChatRequest, Document, Effort, Format, Image, Json, MediaType, Message, Part, Refused, Role,
    Sampling, Text, Thinking, Thought, Tool, ToolCall, ToolChoice, ToolResult,
};
use crate::provider::{ProviderKind, ProviderProfile};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEA";

fn read(body: &str) -> ChatRequest<'_> {
    read_chat(body.as_bytes()).unwrap()
}

fn refused(body: &str) -> String {
    read_chat(body.as_bytes()).unwrap_err().text.into_owned()
}

fn text(text: &str) -> Text<'_> {
    Text::plain(text)
}

fn says(what: &str) -> Part<'_> {
    Part::Text(text(what))
}

fn png() -> Image<'static> {
    Image::Base64 {
        media_type: MediaType::Png,
        data: PNG.into(),
        detail: None,
    }
}

fn user(parts: Vec<Part<'_>>) -> Message<'_> {
    Message::new(Role::User, parts)
}

fn asked(request: ChatRequest<'_>) -> Result<ProviderRequest, Refused> {
    write_for(
        request,
        &ModelFacts::default(),
        ProviderProfile::of_kind("gpus", ProviderKind::Ollama),
    )
}

fn write_for(
    request: ChatRequest<'_>,
    facts: &ModelFacts,
    provider: ProviderProfile<'_>,
) -> Result<ProviderRequest, Refused> {
    let target = Target {
        model: "qwen3:8b",
        facts,
        provider,
        stream: request.stream,
    };
    write_chat(request, &target)
}

/// The body that a server gets, and what was dropped.
fn sent(request: ChatRequest<'_>) -> (Value, Vec<&'static str>) {
    shown(asked(request).unwrap())
}

fn shown(outgoing: ProviderRequest) -> (Value, Vec<&'static str>) {
    assert_eq!(outgoing.path, "/api/chat", "Ollama is asked by its own API");
    assert!(outgoing.headers.is_empty() && outgoing.stop.is_empty());
    let body = serde_json::from_slice(&outgoing.body).unwrap();
    (body, outgoing.dropped.fields().to_vec())
}

fn of(messages: Vec<Message<'_>>) -> ChatRequest<'_> {
    ChatRequest {
        messages,
        ..ChatRequest::default()
    }
}

const FULL: &str = r#"{
  "model": "claude", "keep_alive": "5m", "truncate": false, "unknown": {"a": [1]},
  "messages": [
    {"role": "System", "content": "Be <brief>."},
    {"ROLE": "user", "Content": "What is this?\n", "images": ["PNG"]},
    {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [
      {"id": "call_1", "type": "function", "function": {"index": 0, "name": "look", "arguments": {"b": 1, "a": {"c": []}}}},
      {"function": {"name": "time", "arguments": {}}}
    ]},
    {"role": "tool", "content": "a dot", "tool_name": "look", "tool_call_id": "call_1", "images": ["PNG"]},
    {"role": "tool", "content": "noon"},
    {"role": "assistant", "content": "A"}
  ],
  "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.",
    "parameters": {"type": "object", "properties": {"b": {"type": "integer"}}}}}],
  "format": {"type": "object", "required": ["x"]},
  "options": {"temperature": 0.2, "top_p": 1, "top_k": 40.7, "min_p": 0.05, "typical_p": 0.9, "repeat_penalty": 1.1,
    "repeat_last_n": 64, "presence_penalty": 0.5, "frequency_penalty": 0.25, "seed": 42, "num_predict": 100,
    "stop": ["END", "", "<x>"], "num_ctx": 8192, "num_gpu": 99, "use_mmap": null, "mirostat": 1, "tfs_z": "x"},
  "think": "high", "stream": false, "logprobs": true, "top_logprobs": 3
} trailing"#;

#[test]
#[expect(clippy::too_many_lines, reason = "one request has every field")]
fn everything_that_a_client_says_is_read() {
    let body = FULL.replace("PNG", PNG);
    let request = read(&body);
    let call = |id, name, arguments| {
        Part::ToolCall(ToolCall {
            id,
            name: text(name),
            arguments: Json::trusted(arguments),
            signature: None,
        })
    };
    let result = |id, name, parts| {
        user(vec![Part::ToolResult(ToolResult {
            id,
            name,
            parts,
            is_error: false,
        })])
    };
    assert_eq!(
        request.messages,
        [
            Message::new(Role::System, vec![Part::Text(Text::escaped("Be <brief>."))]),
            user(vec![says("What is this?\n"), Part::Image(png())]),
            Message::new(
                Role::Assistant,
                vec![
                    Part::Thought(Thought {
                        text: text("Hm."),
                        ..Thought::default()
                    }),
                    call(Some(text("call_1")), "look", r#"{"b": 1, "a": {"c": []}}"#),
                    call(None, "time", "{}"),
                ]
            ),
            result(
                Some(text("call_1")),
                Some(text("look")),
                vec![says("a dot"), Part::Image(png())]
            ),
            result(None, None, vec![says("noon")]),
            Message::new(Role::Assistant, vec![says("A")]),
        ]
    );
    assert_eq!(
        request.tools,
        [Tool {
            name: text("look"),
            description: Some(text("Looks.")),
            parameters: Some(Json::trusted(
                r#"{"type": "object", "properties": {"b": {"type": "integer"}}}"#
            )),
            strict: None,
            cache: None,
        }]
    );
    assert_eq!(
        request.sampling,
        Sampling {
            temperature: Some(0.2),
            top_p: Some(1.0),
            top_k: Some(40),
            min_p: Some(0.05),
            typical_p: Some(0.9),
            repeat_penalty: Some(1.1),
            repeat_last_n: Some(64),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.25),
            seed: Some(42),
            logit_bias: None,
        }
    );
    let Format::Schema { schema, .. } = &request.format else {
        panic!("{:?}", request.format)
    };
    assert_eq!(schema.as_str(), r#"{"type": "object", "required": ["x"]}"#);
    assert_eq!(request.stop, [text("END"), Text::escaped("<x>")]);
    assert_eq!(request.max_tokens, Some(100));
    assert_eq!(request.thinking, Some(Thinking::Effort(Effort::High)));
    assert_eq!(request.logprobs, Some(3));
    assert!(!request.stream && request.dropped.is_empty());
}

#[test]
fn what_is_left_out_is_ollamas_default() {
    let request = read(r#"{"messages":[{}],"options":{"seed":-1,"num_predict":-2}}"#);
    let empty = ChatRequest {
        stream: true,
        messages: vec![user(vec![Part::Text(Text::default())])],
        ..ChatRequest::default()
    };
    assert_eq!(request, empty);
    let nulls = r#"{"messages":[null],"tools":null,"options":{"temperature":null,"stop":null},"format":null,
        "think":null,"stream":null,"logprobs":null,"top_logprobs":5}"#;
    assert_eq!(read(nulls), empty);
    assert_eq!(read(r#"{"format":"","options":null}"#).messages, []);
    assert_eq!(read(r#"{"format":"json"}"#).format, Format::Json);
}

#[test]
fn think_is_a_switch_or_a_level() {
    for (think, expected) in [
        ("true", Thinking::On),
        ("false", Thinking::Off),
        ("\"low\"", Thinking::Effort(Effort::Low)),
        ("\"medium\"", Thinking::Effort(Effort::Medium)),
        ("\"max\"", Thinking::Effort(Effort::Max)),
    ] {
        let body = format!(r#"{{"think":{think}}}"#);
        assert_eq!(read(&body).thinking, Some(expected));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn what_ollama_refuses_is_refused_in_its_words() {
    for (body, words) in [
        (
            r#"{"options":{"stop":"x"}}"#,
            r#"option "stop" must be of type array"#,
        ),
        (
            r#"{"options":{"stop":[1]}}"#,
            r#"option "stop" must be of an array of strings"#,
        ),
        (
            r#"{"options":{"temperature":"hot"}}"#,
            r#"option "temperature" must be of type float32"#,
        ),
        (
            r#"{"options":{"num_ctx":"8k"}}"#,
            r#"option "num_ctx" must be of type integer"#,
        ),
        (
            r#"{"options":{"use_mmap":1}}"#,
            r#"option "use_mmap" must be of type boolean"#,
        ),
        (
            r#"{"top_logprobs":21}"#,
            "top_logprobs must be between 0 and 20",
        ),
        (
            r#"{"top_logprobs":-1}"#,
            "top_logprobs must be between 0 and 20",
        ),
        (
            r#"{"think":"hard"}"#,
            r#"invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)"#,
        ),
        (
            r#"{"think":1}"#,
            r#"think must be a boolean or string ("high", "medium", "low", "max", true, or false)"#,
        ),
        (
            r#"{"format":"xml"}"#,
            r#"invalid format: "xml"; expected "json" or a valid JSON Schema object"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"text"}]}]}"#,
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
        ),
        (
            r#"{"messages":{}}"#,
            "json: cannot unmarshal object into Go struct field ChatRequest.messages of type []api.Message",
        ),
        (
            r#"{"messages":[{"tool_calls":[{"function":{"arguments":"{}"}}]}]}"#,
            "json: cannot unmarshal string into Go struct field \
             ChatRequest.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments",
        ),
        (
            r#"{"tools":{}}"#,
            "json: cannot unmarshal object into Go struct field ChatRequest.tools of type api.Tools",
        ),
        (
            r#"{"stream":"yes"}"#,
            "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
        ),
        (
            r#"{"messages":[{"images":["?"]}]}"#,
            "the image is not valid base64",
        ),
        ("", "missing request body"),
    ] {
        assert_eq!(refused(body), words, "{body}");
    }
    // A long value is no word, and may be anything.
    let long = format!(r#"{{"format":"{}"}}"#, "secret ".repeat(9));
    assert!(!refused(&long).contains("secret"));
    let long = format!(r#"{{"think":"{}"}}"#, "secret ".repeat(9));
    assert!(!refused(&long).contains("secret"));
}

#[test]
fn images_are_told_by_their_bytes_and_sounds_too() {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"x","images":["data:image/jpeg;base64,{}","{}\n","{WAV}"]}}]}}"#,
        PNG.replace('/', r"\/"),
        PNG.trim_end_matches('=')
    );
    let sound = Part::Document(Document {
        name: None,
        media_type: "audio/wav".into(),
        data: WAV.into(),
    });
    assert_eq!(
        read(&body).messages[0].parts,
        [says("x"), Part::Image(png()), Part::Image(png()), sound]
    );
    let (body, _) = sent(read(&body));
    assert_eq!(body["messages"][0]["images"], json!([PNG, PNG, WAV]));
}

#[test]
fn signatures_come_back_out_of_ids() {
    let packed = crate::dialect::signature::pack(text("call_1"), Some(&text("c2ln")));
    let body = format!(
        r#"{{"messages":[{{"role":"assistant","tool_calls":[{{"id":"{0}","function":{{"name":"f"}}}}]}},
            {{"role":"tool","tool_call_id":"{0}","content":"1"}}]}}"#,
        packed.as_escaped()
    );
    let request = read(&body);
    let Part::ToolCall(call) = &request.messages[0].parts[0] else {
        panic!("no call")
    };
    assert_eq!(call.id, Some(text("call_1")));
    assert_eq!(call.signature, Some(text("c2ln")));
    let Part::ToolResult(result) = &request.messages[1].parts[0] else {
        panic!("no result")
    };
    assert_eq!(result.id, Some(text("call_1")));
    // Only Gemini understands a signature; a template may show the id.
    let (body, _) = sent(request);
    assert_eq!(body["messages"][0]["tool_calls"][0]["id"], "call_1");
}

#[test]
fn a_server_gets_what_the_client_said() {
    let body = FULL.replace("PNG", PNG);
    let (sent, dropped) = sent(read(&body));
    let expected = json!({
        "model": "qwen3:8b",
        "messages": [
            {"role": "system", "content": "Be <brief>."},
            {"role": "user", "content": "What is this?\n", "images": [PNG]},
            {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [
                {"id": "call_1", "function": {"name": "look", "arguments": {"b": 1, "a": {"c": []}}}},
                {"function": {"name": "time", "arguments": {}}},
            ]},
            {"role": "tool", "content": "a dot", "images": [PNG], "tool_name": "look", "tool_call_id": "call_1"},
            {"role": "tool", "content": "noon"},
            {"role": "assistant", "content": "A"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.",
            "parameters": {"type": "object", "properties": {"b": {"type": "integer"}}}}}],
        "format": {"type": "object", "required": ["x"]},
        "think": "high", "logprobs": true, "top_logprobs": 3,
        "options": {"temperature": 0.2, "top_p": 1, "top_k": 40, "min_p": 0.05, "typical_p": 0.9,
            "repeat_penalty": 1.1, "repeat_last_n": 64, "presence_penalty": 0.5, "frequency_penalty": 0.25,
            "seed": 42, "num_predict": 100, "stop": ["END", "<x>"],
            "num_ctx": 8192, "num_gpu": 99, "mirostat": 1, "tfs_z": "x"},
        "keep_alive": "5m", "truncate": false,
        "stream": false,
    });
    assert_eq!(sent, expected);
    assert_eq!(dropped, [""; 0]);
}

#[test]
fn trap_6_content_is_one_string() {
    let result = ToolResult {
        id: Some(text("1")),
        name: None,
        parts: vec![says("one"), says("two"), Part::Image(png())],
        is_error: true,
    };
    let call = ToolCall {
        id: Some(text("1")),
        name: text("f"),
        arguments: Json::trusted("[7]"),
        signature: None,
    };
    let thought = |text: &'static str, redacted| {
        Part::Thought(Thought {
            text: Text::plain(text),
            redacted,
            signature: Some(Text::plain("s")),
            id: None,
        })
    };
    let (body, _) = sent(of(vec![
        user(vec![says("a"), Part::Image(png()), says("b")]),
        Message::new(
            Role::Assistant,
            vec![
                thought("x", false),
                thought("", true),
                thought("y", false),
                says("c"),
                says("d"),
                Part::ToolCall(call),
            ],
        ),
        user(vec![Part::ToolResult(result), says("e"), says("f")]),
        user(vec![]),
    ]));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "a\nb", "images": [PNG]},
            // Ollama takes arguments as an object, and not as a JSON string (aliasrobotics/cai#76).
            {"role": "assistant", "content": "c\nd", "thinking": "x\ny",
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"_raw": "[7]"}}}]},
            // The name is that of the call.
            {"role": "tool", "content": "Error: one\ntwo", "images": [PNG], "tool_name": "f", "tool_call_id": "1"},
            {"role": "user", "content": "e\nf"},
            {"role": "user", "content": ""},
        ])
    );
}

#[test]
fn trap_9_penalties_keep_their_names_and_absent_ones_stay_absent() {
    let request = ChatRequest {
        sampling: Sampling {
            frequency_penalty: Some(0.5),
            top_k: Some(-1),
            logit_bias: Some(Json::trusted("{}")),
            ..Sampling::default()
        },
        ..of(vec![user(vec![says("x")])])
    };
    let (body, dropped) = sent(request);
    assert_eq!(
        body["options"],
        json!({"frequency_penalty": 0.5, "top_k": 0})
    );
    assert_eq!(dropped, ["logit_bias"]);
    let (body, dropped) = sent(of(vec![user(vec![says("x")])]));
    let expected = json!({"model": "qwen3:8b", "messages": [{"role": "user", "content": "x"}], "stream": false});
    assert_eq!((body, dropped.len()), (expected, 0));
}

#[test]
fn trap_61_every_call_has_the_same_num_ctx() {
    let mut provider = ProviderProfile::of_kind("gpus", ProviderKind::Ollama);
    provider.num_ctx = Some(16_384);
    let facts = ModelFacts::default();
    let with_options =
        r#"{"messages":[{"role":"user","content":"x"}],"options":{"num_ctx":2048,"seed":1}}"#;
    for (body, own) in [(r#"{"messages":[]}"#, None), (with_options, Some(2048))] {
        let outgoing = write_for(read(body), &facts, provider).unwrap();
        assert_eq!(shown(outgoing).0["options"]["num_ctx"], 16_384);
        // Without the operator's the client's own counts, as in a request that passes.
        let (without, _) = sent(read(body));
        let length = without["options"].get("num_ctx").and_then(Value::as_u64);
        assert_eq!(length, own);
    }
}

#[test]
fn tool_choice_is_a_hint_at_the_beginning() {
    let tool = |name| Tool {
        name: text(name),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    };
    let with = |tool_choice, messages| ChatRequest {
        tools: vec![tool("f"), tool("g")],
        tool_choice,
        ..of(messages)
    };
    let question = || vec![user(vec![says("x")])];
    let names = |body: &Value| -> Vec<String> {
        let tools = body["tools"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let name = |tool: &Value| tool["function"]["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect()
    };

    let (body, dropped) = sent(with(ToolChoice::Auto, question()));
    assert_eq!((names(&body).len(), dropped.len()), (2, 0));
    assert_eq!(
        body["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {}})
    );

    let (body, dropped) = sent(with(ToolChoice::None, question()));
    assert_eq!((body.get("tools"), dropped.len()), (None, 0));

    let (body, dropped) = sent(with(ToolChoice::Required, question()));
    assert_eq!((names(&body).len(), dropped), (2, vec!["tool_choice"]));
    assert_eq!(body["messages"][0]["role"], "system");
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "x"}));

    let system = Message::new(Role::System, vec![says("Be brief.")]);
    let messages = vec![system.clone(), user(vec![says("x")]), system];
    let (body, dropped) = sent(with(ToolChoice::Named(text("g")), messages));
    assert_eq!(
        (names(&body), dropped),
        (vec!["g".to_owned()], vec!["tool_choice"])
    );
    let hinted = body["messages"][0]["content"].as_str().unwrap();
    assert!(hinted.starts_with("Be brief.\n\nYou must call the tool g now"));
    assert_eq!(body["messages"][2]["content"], "Be brief.");

    let unknown = asked(with(ToolChoice::Named(text("h")), question())).unwrap_err();
    assert_eq!(unknown.param, Some("tool_choice"));
}

#[test]
fn what_ollama_cannot_say_is_noted() {
    let request = ChatRequest {
        parallel_tool_calls: Some(false),
        tools: vec![Tool {
            name: text("f"),
            description: None,
            parameters: None,
            strict: Some(true),
            cache: None,
        }],
        logprobs: Some(200),
        max_tokens: Some(u64::MAX),
        messages: vec![user(vec![says("x")])],
        ..ChatRequest::default()
    };
    let (body, dropped) = sent(request);
    assert_eq!(
        dropped,
        ["parallel_tool_calls", "tools.strict", "top_logprobs"]
    );
    assert_eq!(body["top_logprobs"], 20);
    assert_eq!(body["options"]["num_predict"], i32::MAX);
}

#[test]
fn what_the_client_relies_on_is_refused() {
    let web = Image::Url {
        url: text("https://example.com/x.png"),
        detail: None,
    };
    let file = Document {
        name: None,
        media_type: "application/pdf".into(),
        data: "JVBERi0=".into(),
    };
    for part in [Part::Image(web), Part::Document(file)] {
        let refused = asked(of(vec![user(vec![part])])).unwrap_err();
        assert_eq!(refused.param, Some("messages"));
        assert!(!refused.text.contains("example"));
    }
}

#[test]
fn files_of_text_are_read_to_the_model() {
    let file = |media_type: &'static str, data: &'static str| {
        Part::Document(Document {
            name: Some(text("notes.txt")),
            media_type: media_type.into(),
            data: data.into(),
        })
    };
    let (body, _) = sent(of(vec![user(vec![
        file("text/plain; charset=utf-8", "w6QgIjEi"),
        says("x"),
        file("audio/wav", WAV),
    ])]));
    let expected = json!({"role": "user", "content": "ä \"1\"\nx", "images": [WAV]});
    assert_eq!(body["messages"][0], expected);
    // What calls itself text and is none is no text.
    assert!(asked(of(vec![user(vec![file("text/plain", "/w==")])])).is_err());
}

#[test]
fn thinking_is_asked_of_models_that_can() {
    let ask = |thinking, facts: &ModelFacts| {
        let request = ChatRequest {
            thinking: Some(thinking),
            ..of(vec![user(vec![says("x")])])
        };
        let (body, dropped) = shown(
            write_for(
                request,
                facts,
                ProviderProfile::of_kind("g", ProviderKind::Ollama),
            )
            .unwrap(),
        );
        (body.get("think").cloned(), dropped)
    };
    let unknown = ModelFacts::default();
    for (thinking, word) in [
        (Thinking::Off, json!(false)),
        (Thinking::On, json!(true)),
        (Thinking::Effort(Effort::Minimal), json!("low")),
        (Thinking::Effort(Effort::Low), json!("low")),
        (Thinking::Effort(Effort::Medium), json!("medium")),
        (Thinking::Effort(Effort::High), json!("high")),
        (Thinking::Effort(Effort::XHigh), json!("max")),
        (Thinking::Effort(Effort::Max), json!("max")),
        (Thinking::Budget(0), json!(false)),
        (Thinking::Budget(1_024), json!("low")),
        (Thinking::Budget(2_048), json!("medium")),
        (Thinking::Budget(u64::MAX), json!("high")),
    ] {
        assert_eq!(
            ask(thinking, &unknown),
            (Some(word), vec![]),
            "{thinking:?}"
        );
    }
    let plain = ModelFacts {
        capabilities: Some(vec![Capability::Completion]),
        ..ModelFacts::default()
    };
    assert_eq!(ask(Thinking::On, &plain), (None, vec!["thinking"]));
    assert_eq!(ask(Thinking::Off, &plain), (Some(json!(false)), vec![]));
}

#[test]
fn loads_and_unloads_are_answered_as_ollama_does() {
    let load = |body: &str| load_request(body.as_bytes());
    assert_eq!(load(r#"{"model":"m"}"#), Some(LoadOrUnload::Load));
    assert_eq!(
        load(r#"{"model":"m","messages":[]}"#),
        Some(LoadOrUnload::Load)
    );
    let unload = r#"{"model":"m","messages":null,"keep_alive":"0s"}"#;
    assert_eq!(load(unload), Some(LoadOrUnload::Unload));
    let real = r#"{"messages":[{"role":"user","content":"x"}],"keep_alive":0}"#;
    assert_eq!(load(real), None);

    let reply = Reply::sample();
    for (load, reason) in [
        (LoadOrUnload::Load, "load"),
        (LoadOrUnload::Unload, "unload"),
    ] {
        let mut out = Vec::new();
        write_load(load, &reply, &mut out);
        let mut answer: Value = serde_json::from_slice(&out).unwrap();
        assert!(
            answer
                .as_object_mut()
                .unwrap()
                .remove("created_at")
                .is_some()
        );
        let expected = json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": reason});
        assert_eq!(answer, expected);
    }
}

/// A message as a client may write it, in the form in which the provider gets it too.
fn any_message() -> impl Strategy<Value = Value> {
    let content = || ".{0,12}";
    let images = proptest::option::of(proptest::collection::vec(Just(PNG), 1..3));
    let calls = proptest::collection::vec(
        (proptest::option::of("[a-z0-9_]{1,8}"), ".{1,6}", -5..5_i32),
        0..3,
    );
    let with = |message: Value, name: &str, value: Option<Value>| {
        let mut message = message;
        if let Some(value) = value {
            message[name] = value;
        }
        message
    };
    prop_oneof![
        content().prop_map(|content| json!({"role": "system", "content": content})),
        (content(), images).prop_map(move |(content, images)| {
            with(json!({"role": "user", "content": content}), "images", images.map(Value::from))
        }),
        (content(), proptest::option::of(".{1,8}"), calls).prop_map(move |(content, thinking, calls)| {
            let calls: Vec<Value> = calls
                .into_iter()
                .map(|(id, name, number)| {
                    let call = json!({"function": {"name": name, "arguments": {"n": number, "s": [{}]}}});
                    with(call, "id", id.map(Value::from))
                })
                .collect();
            let message = json!({"role": "assistant", "content": content, "tool_calls": calls});
            with(message, "thinking", thinking.map(Value::from))
        }),
        (content(), proptest::option::of(".{1,6}"), proptest::option::of("[a-z]{1,6}")).prop_map(
            move |(content, name, id)| {
                let message = json!({"role": "tool", "content": content});
                let message = with(message, "tool_name", name.map(Value::from));
                with(message, "tool_call_id", id.map(Value::from))
            }
        ),
    ]
}

fn any_options() -> impl Strategy<Value = Value> {
    let number = || proptest::option::of(-2.0..2.0_f64);
    (number(), number(), proptest::option::of(0..100_i64), proptest::option::of(any::<i32>()),
        proptest::option::of(1..10_000_u32), proptest::collection::vec(".{1,4}", 0..3))
        .prop_map(|(temperature, frequency, top_k, seed, limit, stop)| {
            json!({"temperature": temperature, "frequency_penalty": frequency, "top_k": top_k, "seed": seed,
                "num_predict": limit, "stop": stop})
        })
}

proptest! {
    /// What a client says reaches an Ollama server unchanged: reading what was written gives the same request.
    #[test]
    fn a_chat_that_is_written_is_read_again(
        messages in proptest::collection::vec(any_message(), 0..5),
        options in any_options(),
        tools in proptest::collection::vec(("[a-z]{1,6}", proptest::option::of(".{1,8}")), 0..3),
        think in prop_oneof![Just(json!(null)), Just(json!(true)), Just(json!(false)), Just(json!("max"))],
        format in prop_oneof![Just(json!(null)), Just(json!("json")), Just(json!({"type": "object"}))],
        logprobs in proptest::option::of(0..21_u8),
        stream in any::<bool>(),
    ) {
        let tools: Vec<Value> = tools
            .into_iter()
            .map(|(name, description)| json!({"type": "function", "function":
                {"name": name, "description": description, "parameters": {"type": "object"}}}))
            .collect();
        let body = json!({"model": "m", "messages": messages, "options": options, "tools": tools, "think": think,
            "format": format, "logprobs": logprobs.is_some(), "top_logprobs": logprobs, "stream": stream});
        let body = body.to_string();
        let request = read(&body);
        // Calls answer by id where a name is missing, so the written result says more than the read one.
        let named = request.messages.iter().flat_map(|message| &message.parts).any(|part| {
            matches!(part, Part::ToolResult(ToolResult { id: Some(_), name: None, .. }))
        });
        prop_assume!(!named);
        let written = asked(request.clone()).unwrap();
        prop_assert!(written.dropped.is_empty());
        let again = read_chat(&written.body).unwrap();
        prop_assert!(again == request, "{}", String::from_utf8_lossy(&written.body));
    }

    #[test]
    fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
        let _ = read_chat(&body);
        let _ = load_request(&body);
    }

    #[test]
    fn nothing_like_a_body_makes_it_panic(
        inside in r#"("(messages|tools|options|format|think|images|function|arguments|stop)":[{}\[\]",:a-c0-9]{0,8},?){0,4}"#,
    ) {
        let _ = read_chat(format!("{{{inside}").as_bytes());
        let _ = read_chat(format!("{{\"messages\":[{{{inside}}}]}}").as_bytes());
    }
}
