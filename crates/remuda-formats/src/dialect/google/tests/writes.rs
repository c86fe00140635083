//! Requests against what they have to look like.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ir::{
    Completion, Document, Effort, Format, Image, MediaType, Sampling, Thinking, Thought, Tool,
    ToolChoice,
};

const LEVELS: &str = "gemini-3.8-flash";
const BUDGETS: &str = "gemini-2.5-flash";
const PLAIN: &str = "gemini-2.0-flash";
const PARAMETERS: &str = r##"{"type":"object","properties":{"x":{"$ref":"#/$defs/n"}},"additionalProperties":false,"$defs":{"n":{"type":"integer","default":1}}}"##;

fn tool(name: &'static str, parameters: Option<&'static str>) -> Tool<'static> {
    Tool {
        name: Text::escaped(name),
        description: Some(Text::escaped("what it does")),
        parameters: parameters.map(Json::trusted),
        strict: None,
        cache: None,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn a_request_is_what_the_reference_shows() {
    let request = ChatRequest {
        messages: vec![
            message(Role::System, vec![text("Be brief")]),
            message(
                Role::User,
                vec![
                    text("What is it?\n\"?\""),
                    Part::Image(Image::Base64 {
                        media_type: MediaType::Png,
                        data: "iVBORw0KGgo=".into(),
                        detail: None,
                    }),
                ],
            ),
            message(
                Role::Assistant,
                vec![
                    text("It is"),
                    call("c1", "look up", Some("CiQB")),
                    call("c2", "f", None),
                ],
            ),
            message(
                Role::User,
                vec![
                    text("and?"),
                    result("c2", vec![text("two")]),
                    result("c1", vec![text("a"), text("b")]),
                ],
            ),
            message(Role::System, vec![text("Be kind")]),
        ],
        tools: vec![tool("look up", Some(PARAMETERS)), tool("f", None)],
        tool_choice: ToolChoice::Named(Text::escaped("look up")),
        max_tokens: Some(100),
        sampling: Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            seed: Some(7),
            ..Sampling::default()
        },
        stop: vec![Text::escaped("END")],
        thinking: Some(Thinking::Effort(Effort::Low)),
        ..ChatRequest::default()
    };
    let sent = outgoing(LEVELS, request);
    assert_eq!(sent.path, "/models/gemini-3.8-flash:generateContent");
    assert!(sent.dropped.is_empty() && sent.stop.is_empty() && sent.headers.is_empty());
    assert_eq!(
        sent.names.original(Text::escaped("look_up")).as_escaped(),
        "look up"
    );
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "Be brief"}]},
        "tools": [{"functionDeclarations": [
            {"name": "look_up", "description": "what it does", "parametersJsonSchema":
                {"type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}, "additionalProperties": false,
                 "$defs": {"n": {"type": "integer", "default": 1}}}},
            {"name": "f", "description": "what it does"},
        ]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look_up"]}},
        "contents": [
            {"role": "user", "parts": [
                {"text": "What is it?\n\"?\""},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
            ]},
            {"role": "model", "parts": [
                {"text": "It is"},
                {"functionCall": {"id": "c1", "name": "look_up", "args": {"x": 1}}, "thoughtSignature": "CiQB"},
                {"functionCall": {"id": "c2", "name": "f", "args": {"x": 1}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "c1", "name": "look_up", "response": {"output": "a\nb"}}},
                {"functionResponse": {"id": "c2", "name": "f", "response": {"output": "two"}}},
            ]},
            {"role": "user", "parts": [{"text": "and?"}, {"text": "Be kind"}]},
        ],
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 100, "seed": 7, "stopSequences": ["END"],
            "thinkingConfig": {"includeThoughts": true, "thinkingLevel": "low"},
        },
    });
    assert_eq!(body, expected);
}

#[test]
fn the_least_request_has_contents_alone() {
    let body = written(LEVELS, asking(vec![user("hi")]));
    assert_eq!(
        body,
        json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
    );
    let path = at(LEVELS, true, |target| {
        write_chat(asking(vec![user("hi")]), target).unwrap().path
    });
    assert_eq!(
        path,
        "/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
    );
}

/// What Gemini and its roles cannot do without: the first and the last turn are the user's, none is blank.
#[test]
fn turns_are_put_in_order() {
    let roles = |messages: Vec<Message<'static>>| -> Vec<String> {
        let body = written(LEVELS, asking(messages));
        let turns = body["contents"].as_array().unwrap().iter();
        turns
            .map(|turn| {
                format!(
                    "{}:{}",
                    turn["role"].as_str().unwrap(),
                    turn["parts"][0]["text"].as_str().unwrap()
                )
            })
            .collect()
    };
    assert_eq!(roles(vec![]), ["user:Hello."]);
    assert_eq!(
        roles(vec![message(Role::System, vec![text("s")])]),
        ["user:Hello."]
    );
    let assistant = |says: &str| message(Role::Assistant, vec![text(says)]);
    assert_eq!(
        roles(vec![assistant("a")]),
        ["user:Hello.", "model:a", "user:Continue."]
    );
    assert_eq!(
        roles(vec![user("q"), user(" "), assistant(""), user("r")]),
        ["user:q"]
    );
    assert_eq!(
        roles(vec![user("q"), assistant("a"), assistant("b"), user("r")]),
        ["user:q", "model:a", "user:r"]
    );
}

#[test]
fn a_result_is_named_after_its_call_and_an_error_says_so() {
    let failed = ToolResult {
        id: None,
        name: None,
        parts: vec![text("no \"such\" city")],
        is_error: true,
    };
    let picture = Part::Image(Image::Base64 {
        media_type: MediaType::Jpeg,
        data: "/9j/4A==".into(),
        detail: None,
    });
    let body = written(
        PLAIN,
        asking(vec![
            user("q"),
            message(
                Role::Assistant,
                vec![
                    call("", "f", None),
                    call("", "g", None),
                    call("", "h", None),
                ],
            ),
            message(
                Role::User,
                vec![
                    Part::ToolResult(failed),
                    result("", vec![text("seen"), picture]),
                ],
            ),
        ]),
    );
    assert_eq!(
        body["contents"][1]["parts"][0]["thoughtSignature"],
        Value::Null
    );
    let results = &body["contents"][2]["parts"];
    let of = |place: usize| {
        let it = &results[place]["functionResponse"];
        (it["name"].as_str().unwrap(), it["response"].to_string())
    };
    assert_eq!(of(0), ("f", r#"{"error":"no \"such\" city"}"#.into()));
    assert_eq!(of(1), ("g", r#"{"output":"seen"}"#.into()));
    assert_eq!(of(2), ("h", r#"{"error":"no result provided"}"#.into()));
    assert_eq!(
        body["contents"][3]["parts"][0]["inlineData"]["mimeType"],
        "image/jpeg"
    );
    for place in 0..3 {
        let called = &body["contents"][1]["parts"][place]["functionCall"];
        assert_eq!(called["id"], results[place]["functionResponse"]["id"]);
    }
}

#[test]
fn a_call_from_elsewhere_says_that_it_has_no_signature() {
    let history = || {
        asking(vec![
            user("q"),
            message(
                Role::Assistant,
                vec![text("hm"), call("1", "f", None), call("2", "f", None)],
            ),
            message(Role::User, vec![result("1", vec![]), result("2", vec![])]),
            message(Role::Assistant, vec![call("3", "f", Some("CiQB"))]),
            message(Role::User, vec![result("3", vec![])]),
        ])
    };
    let signatures = |model: &str| -> Vec<Value> {
        let body = written(model, history());
        [(1, 1), (1, 2), (3, 0)]
            .map(|(turn, part)| body["contents"][turn]["parts"][part]["thoughtSignature"].clone())
            .into()
    };
    let stand_in = json!("skip_thought_signature_validator");
    assert_eq!(
        signatures(LEVELS),
        [stand_in.clone(), Value::Null, json!("CiQB")]
    );
    assert_eq!(
        signatures("gemini-5-flash"),
        [stand_in, Value::Null, json!("CiQB")]
    );
    assert_eq!(
        signatures(BUDGETS),
        [Value::Null, Value::Null, json!("CiQB")]
    );
}

#[test]
fn thoughts_of_others_are_left_out() {
    let thought = |says: &str, signature: Option<&'static str>, id: Option<&'static str>| {
        Part::Thought(Thought {
            text: Text::plain(says).into_owned(),
            signature: signature.map(Text::escaped),
            redacted: false,
            id: id.map(Text::escaped),
        })
    };
    let body = written(
        LEVELS,
        asking(vec![
            user("q"),
            message(
                Role::Assistant,
                vec![
                    thought("unsigned", None, None),
                    thought("Claude's", Some("EqQB"), None),
                    thought("OpenAI's", Some("gAAA"), Some("rs_1")),
                    thought("mine", Some("gemini:Cg=="), None),
                    text("a"),
                    thought("", Some("gemini:Ch=="), None),
                    thought("", Some("gemini:"), None),
                ],
            ),
            message(
                Role::Assistant,
                vec![thought("Claude's", Some("EqQB"), None)],
            ),
            user("r"),
        ]),
    );
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"text": "mine", "thought": true, "thoughtSignature": "Cg=="},
            {"text": "a", "thoughtSignature": "Ch=="},
        ])
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn thinking_is_said_in_the_models_own_way() {
    let config = |model: &str, thinking: Option<Thinking>| {
        let request = ChatRequest {
            thinking,
            ..asking(vec![user("hi")])
        };
        let sent = outgoing(model, request);
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        let config = body["generationConfig"]["thinkingConfig"].to_string();
        match sent.dropped.fields() {
            [] => config,
            fields => format!("{config} dropped {fields:?}"),
        }
    };
    let effort = |effort| Some(Thinking::Effort(effort));
    for (model, thinking, expected) in [
        (LEVELS, None, "null"),
        (LEVELS, Some(Thinking::On), r#"{"includeThoughts":true}"#),
        (LEVELS, Some(Thinking::Off), r#"{"thinkingLevel":"low"}"#),
        (
            LEVELS,
            effort(Effort::Minimal),
            r#"{"includeThoughts":true,"thinkingLevel":"low"}"#,
        ),
        (
            LEVELS,
            effort(Effort::Max),
            r#"{"includeThoughts":true,"thinkingLevel":"high"}"#,
        ),
        (
            LEVELS,
            Some(Thinking::Budget(1500)),
            r#"{"includeThoughts":true,"thinkingLevel":"low"}"#,
        ),
        (
            "gemini-3.5-flash",
            Some(Thinking::Off),
            r#"{"thinkingLevel":"minimal"}"#,
        ),
        (BUDGETS, None, "null"),
        (BUDGETS, Some(Thinking::Off), r#"{"thinkingBudget":0}"#),
        (
            BUDGETS,
            Some(Thinking::Budget(0)),
            r#"{"thinkingBudget":0}"#,
        ),
        (
            BUDGETS,
            Some(Thinking::On),
            r#"{"includeThoughts":true,"thinkingBudget":-1}"#,
        ),
        (
            BUDGETS,
            effort(Effort::Medium),
            r#"{"includeThoughts":true,"thinkingBudget":8192}"#,
        ),
        (
            BUDGETS,
            effort(Effort::Max),
            r#"{"includeThoughts":true,"thinkingBudget":24576}"#,
        ),
        (
            "gemini-2.5-pro",
            Some(Thinking::Off),
            r#"{"thinkingBudget":128}"#,
        ),
        (
            "gemini-2.5-pro",
            Some(Thinking::Budget(u64::MAX)),
            r#"{"includeThoughts":true,"thinkingBudget":32768}"#,
        ),
        (
            "gemini-2.5-flash-lite",
            Some(Thinking::On),
            r#"{"includeThoughts":true,"thinkingBudget":-1}"#,
        ),
        (PLAIN, Some(Thinking::Off), "null"),
        (PLAIN, Some(Thinking::On), r#"null dropped ["thinking"]"#),
        ("new-model", None, "null"),
        (
            "new-model",
            Some(Thinking::On),
            r#"{"includeThoughts":true}"#,
        ),
        (
            "new-model",
            effort(Effort::High),
            r#"{"includeThoughts":true,"thinkingLevel":"high"}"#,
        ),
    ] {
        assert_eq!(config(model, thinking), expected, "{model} {thinking:?}");
    }
}

#[test]
fn what_gemini_cannot_say_is_reported() {
    let request = || ChatRequest {
        sampling: Sampling {
            temperature: Some(3.0),
            top_p: Some(f64::NAN),
            top_k: Some(0),
            min_p: Some(0.1),
            typical_p: Some(1.0),
            repeat_penalty: Some(1.1),
            repeat_last_n: Some(64),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.0),
            seed: Some(-1),
            logit_bias: Some(Json::trusted("{}")),
        },
        stop: ["a", "", "b", "c", "d", "e", "f\\n"]
            .map(Text::escaped)
            .into(),
        max_tokens: Some(1 << 40),
        logprobs: Some(3),
        parallel_tool_calls: Some(false),
        tools: vec![tool("f", None)],
        ..asking(vec![user("hi")])
    };
    let sent = outgoing(LEVELS, request());
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        body["generationConfig"],
        json!({"temperature": 2, "maxOutputTokens": 65536, "stopSequences": ["a", "b", "c", "d", "e"]})
    );
    assert_eq!(sent.stop, ["f\n"]);
    let mut dropped = sent.dropped.fields().to_vec();
    dropped.sort_unstable();
    assert_eq!(
        dropped,
        [
            "logit_bias",
            "logprobs",
            "max_tokens",
            "min_p",
            "parallel_tool_calls",
            "presence_penalty",
            "repeat_last_n",
            "repeat_penalty",
            "temperature"
        ]
    );
    let body = written(PLAIN, request());
    let config = &body["generationConfig"];
    assert_eq!(
        (&config["responseLogprobs"], &config["logprobs"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(config["presencePenalty"], 0.5);
}

#[test]
fn tool_choices_become_modes() {
    let mode = |tool_choice, tools| {
        let request = ChatRequest {
            tool_choice,
            tools,
            ..asking(vec![user("hi")])
        };
        written(LEVELS, request)["toolConfig"]["functionCallingConfig"].to_string()
    };
    let one = || vec![tool("f", None)];
    assert_eq!(mode(ToolChoice::Auto, one()), "null");
    assert_eq!(mode(ToolChoice::None, one()), r#"{"mode":"NONE"}"#);
    assert_eq!(mode(ToolChoice::Required, one()), r#"{"mode":"ANY"}"#);
    assert_eq!(
        mode(ToolChoice::Named(Text::escaped("f")), one()),
        r#"{"allowedFunctionNames":["f"],"mode":"ANY"}"#
    );
    assert_eq!(mode(ToolChoice::Required, vec![]), "null");
}

#[test]
fn names_are_in_geminis_alphabet() {
    let request = ChatRequest {
        tools: ["9lives", "weather now", "a.b", "größe", "-x", "ok_1-2"]
            .map(|name| tool(name, None))
            .into(),
        ..asking(vec![user("hi")])
    };
    let sent = outgoing(LEVELS, request);
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    let declared = body["tools"][0]["functionDeclarations"].as_array().unwrap();
    let names: Vec<&str> = declared
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["_9lives", "weather_now", "a_b", "gr__e", "_-x", "ok_1-2"]
    );
    assert_eq!(
        sent.names.original(Text::escaped("gr__e")).decoded(),
        "größe"
    );
    let request = ChatRequest {
        tools: ["a.b", "a_b", "__", "_9x", "9x", "é"]
            .map(|name| tool(name, None))
            .into(),
        ..asking(vec![user("hi")])
    };
    let sent = outgoing(LEVELS, request);
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    let declared = body["tools"][0]["functionDeclarations"].as_array().unwrap();
    let own: Vec<String> = declared
        .iter()
        .map(|tool| Text::plain(tool["name"].as_str().unwrap()).into_owned())
        .map(|name| sent.names.original(name).decoded().into_owned())
        .collect();
    assert_eq!(own, ["a.b", "a_b", "__", "_9x", "9x", "é"]);
}

#[test]
fn json_is_asked_for_as_each_model_takes_it() {
    let schema = r#"{"type":"object","properties":{"a":{"type":["string","null"]}},"additionalProperties":false}"#;
    let asked = |model: &str, format: Format<'static>, tools: bool| {
        let request = ChatRequest {
            format,
            tools: if tools { vec![tool("f", None)] } else { vec![] },
            ..asking(vec![user("hi")])
        };
        let sent = outgoing(model, request);
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        (
            body["generationConfig"].clone(),
            body["systemInstruction"]["parts"][0]["text"].clone(),
            sent.dropped.fields().to_vec(),
        )
    };
    let with_schema = || Format::Schema {
        name: None,
        description: None,
        schema: Json::trusted(schema),
        strict: None,
    };
    let full: Value = serde_json::from_str(schema).unwrap();
    for tools in [false, true] {
        let (config, system, dropped) = asked(LEVELS, with_schema(), tools);
        assert_eq!(
            config,
            json!({"responseMimeType": "application/json", "responseJsonSchema": full})
        );
        assert_eq!((system, dropped), (Value::Null, vec![]));
    }
    let (config, _, _) = asked(PLAIN, with_schema(), false);
    assert_eq!(
        config["responseSchema"],
        json!({"type": "object", "properties": {"a": {"type": "string", "nullable": true}}})
    );
    let (config, _, _) = asked(BUDGETS, Format::Json, false);
    assert_eq!(config, json!({"responseMimeType": "application/json"}));
    for (format, says) in [
        (Format::Json, "one JSON object"),
        (with_schema(), "additionalProperties"),
    ] {
        let (config, system, dropped) = asked(BUDGETS, format, true);
        assert_eq!((config, dropped), (Value::Null, vec!["response_format"]));
        assert!(system.as_str().unwrap().contains(says));
    }
}

#[test]
fn a_model_without_system_prompts_is_told_by_the_user() {
    let request = || {
        asking(vec![
            message(Role::System, vec![text("Be brief")]),
            user("hi"),
        ])
    };
    let body = written("gemma-3-27b-it", request());
    assert_eq!(
        body,
        json!({"contents": [{"role": "user", "parts": [{"text": "Be brief"}, {"text": "hi"}]}]})
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn what_gemini_cannot_do_is_refused() {
    let refused = |request: ChatRequest<'_>| {
        at(LEVELS, false, |target| write_chat(request, target)).unwrap_err()
    };
    let part = |part| asking(vec![message(Role::User, vec![part])]);
    let image = |media_type| {
        Part::Image(Image::Base64 {
            media_type,
            data: "AA==".into(),
            detail: None,
        })
    };
    for media_type in [MediaType::Gif, MediaType::Bmp, MediaType::Avif] {
        assert!(
            refused(part(image(media_type)))
                .text
                .contains(media_type.name())
        );
    }
    let url = |url: &'static str| {
        Part::Image(Image::Url {
            url: Text::escaped(url),
            detail: None,
        })
    };
    assert!(
        refused(part(url("https://example.com/a.png")))
            .text
            .contains("base64")
    );
    let own = "https://generativelanguage.googleapis.com/v1beta/files/a";
    let body = written(LEVELS, part(url(own)));
    assert_eq!(
        body["contents"][0]["parts"][0],
        json!({"fileData": {"fileUri": own}})
    );
    let document = |media_type: &'static str| {
        Part::Document(Document {
            name: None,
            media_type: Cow::Borrowed(media_type),
            data: "AA==".into(),
        })
    };
    for media_type in ["application/zip", "text/\"x", "", "text/x\\"] {
        refused(part(document(media_type)));
    }
    let body = written(LEVELS, part(document("Application/PDF; charset=x")));
    assert_eq!(
        body["contents"][0]["parts"][0]["inlineData"]["mimeType"],
        "Application/PDF"
    );
    for (completion, field) in [
        (
            Completion {
                suffix: Some(Text::escaped("x")),
                ..Completion::default()
            },
            "suffix",
        ),
        (
            Completion {
                raw: true,
                ..Completion::default()
            },
            "raw",
        ),
        (
            Completion {
                template: Some(Text::escaped("")),
                ..Completion::default()
            },
            "template",
        ),
    ] {
        let request = ChatRequest {
            completion: Some(completion),
            ..asking(vec![user("hi")])
        };
        assert_eq!(refused(request).param, Some(field));
    }
}

fn any_part() -> impl Strategy<Value = Part<'static>> {
    let id = prop::option::of("[a-c]");
    prop_oneof![
        any::<String>().prop_map(|says| text(&says)),
        (
            id.clone(),
            any::<String>(),
            prop::option::of("[A-Za-z0-9+/=]{0,8}")
        )
            .prop_map(|(id, name, signature)| {
                Part::ToolCall(ToolCall {
                    id: id.map(|id| Text::plain(&id).into_owned()),
                    name: Text::plain(&name).into_owned(),
                    arguments: Json::trusted(r#"{"a":[1]}"#),
                    signature: signature.map(|text| Text::plain(&text).into_owned()),
                })
            }),
        (
            id,
            prop::option::of(any::<String>()),
            any::<String>(),
            any::<bool>()
        )
            .prop_map(|(id, name, says, is_error)| {
                Part::ToolResult(ToolResult {
                    id: id.map(|id| Text::plain(&id).into_owned()),
                    name: name.map(|name| Text::plain(&name).into_owned()),
                    parts: vec![text(&says)],
                    is_error,
                })
            }),
        (
            any::<String>(),
            prop::option::of("(gemini:)?[A-Za-z0-9]{0,8}")
        )
            .prop_map(|(says, signature)| {
                Part::Thought(Thought {
                    text: Text::plain(&says).into_owned(),
                    signature: signature.map(|text| Text::plain(&text).into_owned()),
                    ..Thought::default()
                })
            }),
    ]
}

fn any_message() -> impl Strategy<Value = Message<'static>> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant)];
    (role, prop::collection::vec(any_part(), 0..5)).prop_map(|(role, parts)| {
        let fits = |part: &Part<'_>| match part {
            Part::ToolCall(_) | Part::Thought(_) => role == Role::Assistant,
            Part::ToolResult(_) => role == Role::User,
            _ => true,
        };
        Message::new(role, parts.into_iter().filter(fits).collect())
    })
}

proptest! {
    /// Whatever the history: roles, parts and the numbers of calls and responses are legal.
    #[test]
    fn any_history_is_legal(messages in prop::collection::vec(any_message(), 0..8)) {
        let body = written(LEVELS, asking(messages));
        let turns = body["contents"].as_array().unwrap();
        prop_assert!(turns[0]["role"] == "user" && turns.last().unwrap()["role"] == "user");
        let mut pending = 0;
        for turn in turns {
            let parts = turn["parts"].as_array().unwrap();
            prop_assert!(!parts.is_empty());
            let count = |kind: &str| parts.iter().filter(|part| part.get(kind).is_some()).count();
            prop_assert_eq!(count("functionResponse"), pending);
            pending = count("functionCall");
            let is_user = turn["role"] == "user";
            prop_assert!(is_user || turn["role"] == "model");
            prop_assert!(!is_user || pending == 0);
            prop_assert!(!is_user || count("functionResponse") == 0 || count("functionResponse") == parts.len());
            let mut calls = parts.iter().filter(|part| part.get("functionCall").is_some());
            prop_assert!(calls.next().is_none_or(|first| first.get("thoughtSignature").is_some()));
        }
        prop_assert_eq!(pending, 0);
    }
}
