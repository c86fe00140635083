//! What providers are asked. Requests are made of what clients of this API say, so both directions are held.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{read_chat, write_chat};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::{
    Capability, EffortLevel, Facts, ModelFacts, Parameter, Reasoning, ReasoningControl,
};
use crate::ir::{
    ChatRequest, Completion, Json, Message, Part, Refused, Role, Sampling, Text, Thinking, Thought,
    ToolCall,
};
use crate::provider::{ProviderKind, ProviderProfile};

/// A provider and the facts of the model that is asked.
struct To {
    provider: ProviderProfile<'static>,
    facts: ModelFacts,
}

fn to(kind: ProviderKind) -> To {
    let provider = ProviderProfile::of_kind("p", kind);
    To {
        provider,
        facts: ModelFacts::default(),
    }
}

fn openai() -> To {
    to(ProviderKind::OpenAi)
}

fn perplexity() -> To {
    to(ProviderKind::Perplexity)
}

fn reasoner() -> To {
    openai().facts(|facts| {
        facts.reasoning = Reasoning {
            form: ReasoningControl::Effort,
            efforts: vec![EffortLevel::Low, EffortLevel::Medium, EffortLevel::High],
            default: EffortLevel::Medium,
            off: false,
            budget: None,
        }
    })
}

impl To {
    fn facts(self, change: impl FnOnce(&mut ModelFacts)) -> To {
        let mut facts = self.facts;
        change(&mut facts);
        To { facts, ..self }
    }

    fn known(self, model: &str) -> To {
        let kind = self.provider.kind;
        self.facts(|facts| *facts = Facts::bundled().find(kind, model).clone())
    }

    fn outgoing(&self, request: ChatRequest<'_>) -> Result<ProviderRequest, Refused> {
        let target = Target {
            model: "m",
            facts: &self.facts,
            provider: self.provider,
            stream: true,
        };
        write_chat(request, &target)
    }

    /// What is sent for a request, without what every one has.
    fn sends_of(&self, request: ChatRequest<'_>) -> (Value, Vec<&'static str>) {
        let outgoing = self.outgoing(request).unwrap();
        let mut sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
        let object = sent.as_object_mut().unwrap();
        assert_eq!(object.remove("model").unwrap(), "m");
        assert_eq!(object.remove("stream").unwrap(), true);
        assert_eq!(object.remove("store").unwrap(), false);
        (sent, outgoing.dropped.fields().to_vec())
    }

    fn sends(&self, fields: Value) -> (Value, Vec<&'static str>) {
        let body = asking(fields).to_string();
        self.sends_of(read_chat(body.as_bytes()).unwrap())
    }

    /// As [`Self::sends`], without the input.
    fn adds(&self, fields: Value) -> Value {
        let (mut sent, _) = self.sends(fields);
        sent.as_object_mut().unwrap().remove("input");
        sent
    }

    fn input(&self, items: Value) -> Value {
        self.sends(json!({"input": items})).0["input"].take()
    }

    fn refuses(&self, fields: Value) -> &'static str {
        let body = asking(fields).to_string();
        let refused = self.outgoing(read_chat(body.as_bytes()).unwrap());
        refused.unwrap_err().param.unwrap()
    }
}

fn asking(fields: Value) -> Value {
    let mut body = json!({"input": "q"});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn asks() -> ChatRequest<'static> {
    ChatRequest {
        messages: vec![Message::new(
            Role::User,
            vec![Part::Text(Text::escaped("q"))],
        )],
        ..ChatRequest::default()
    }
}

fn says(role: &str, content: &str) -> Value {
    json!({"type": "message", "role": role, "content": content})
}

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgo=";

#[test]
fn a_plain_question_is_short() {
    for to in [openai(), perplexity()] {
        assert_eq!(
            to.sends(json!({})),
            (json!({"input": [says("user", "q")]}), vec![])
        );
    }
}

#[test]
fn the_path_is_the_providers() {
    let mut azure = to(ProviderKind::Azure);
    let path = |to: &To| to.outgoing(asks()).unwrap().path;
    assert_eq!(path(&azure), "/openai/v1/responses");
    azure.provider.api_version = Some("2025-04-01-preview");
    assert_eq!(
        path(&azure),
        "/openai/responses?api-version=2025-04-01-preview"
    );
    for kind in [
        ProviderKind::OpenAi,
        ProviderKind::OpenAiCompatible,
        ProviderKind::Perplexity,
    ] {
        assert_eq!(path(&to(kind)), "/responses");
    }
}

#[test]
fn what_clients_say_comes_through() {
    let items = json!([
        says("user", "look"),
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "at this"},
            {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}]},
    ]);
    assert_eq!(
        openai().input(items.clone())[0]["content"],
        json!([{"type": "input_text", "text": "look"}, items[1]["content"][0], items[1]["content"][1],
            items[1]["content"][2]])
    );
    let items = json!([
        says("user", "q"),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": "gAAA=="},
        says("assistant", "I look."),
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\":1}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
        says("user", "go on"),
    ]);
    assert_eq!(reasoner().input(items.clone()), items);
    let (sent, dropped) = openai().sends(json!({"instructions": "be kind", "input": [
        says("developer", "and short"), says("user", "q")], "user": "u", "max_output_tokens": 50, "temperature": 0.5,
        "top_p": 0.9}));
    assert_eq!(
        sent,
        json!({"instructions": "be kind\n\nand short", "input": [says("user", "q")], "user": "u",
            "max_output_tokens": 50, "temperature": 0.5, "top_p": 0.9})
    );
    assert!(dropped.is_empty());
}

#[test]
fn images_of_results_follow_as_the_users() {
    let input = openai().input(json!([
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "see"},
            {"type": "input_image", "image_url": PIXEL}]},
    ]));
    assert_eq!(
        input.as_array().unwrap()[1..],
        [
            json!({"type": "function_call_output", "call_id": "c", "output": "see"}),
            json!({"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]})
        ]
    );
}

#[test]
fn every_call_has_its_output() {
    let input = openai().input(json!([
        says("user", "q"),
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        says("user", "never mind"),
        {"type": "function_call_output", "call_id": "other", "output": "lost"},
    ]));
    assert_eq!(
        input.as_array().unwrap()[2],
        json!({"type": "function_call_output", "call_id": "c", "output": "Error: no result provided"})
    );
    assert_eq!(input.as_array().unwrap().len(), 4);
}

#[test]
fn only_thoughts_that_openai_believes_go_back() {
    let thought = |id: Option<&'static str>, signature: Option<&'static str>, redacted| {
        Part::Thought(Thought {
            text: Text::escaped("t"),
            signature: signature.map(Text::escaped),
            redacted,
            id: id.map(Text::escaped),
        })
    };
    let input = |to: &To, parts: Vec<Part<'static>>| {
        let mut request = asks();
        request.messages.push(Message::new(Role::Assistant, parts));
        to.sends_of(request).0["input"].take()
    };
    let text = || Part::Text(Text::escaped("a"));
    let unbelieved = vec![
        thought(None, None, false),
        thought(Some("rs_1"), None, false),
        thought(None, Some("s"), false),
        thought(Some("toolu_1"), Some("s"), false),
        thought(Some("rs_1"), Some("s"), true),
        text(),
        // It led to nothing.
        thought(Some("rs_1"), Some("s"), false),
    ];
    let plain = json!([says("user", "q"), says("assistant", "a")]);
    assert_eq!(input(&reasoner(), unbelieved), plain);
    let believed = || vec![thought(Some("rs_1"), Some("s"), false), text()];
    assert_eq!(
        input(&reasoner(), believed())[1],
        json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": "s"})
    );
    // Models that do not reason refuse such items, and so does Perplexity.
    assert_eq!(input(&openai(), believed()), plain);
    assert_eq!(input(&perplexity(), believed()), plain);
}

#[test]
fn trap_17_reasoning_is_asked_for_with_tools_and_given_back() {
    let known = openai().known("gpt-5.4");
    let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": false}]);
    assert_eq!(
        known.adds(json!({"reasoning": {"effort": "high"}, "tools": tools})),
        json!({"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "high", "summary": "auto"},
            "tools": tools})
    );
    assert_eq!(
        known.adds(json!({"reasoning": {"effort": "none"}})),
        json!({"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "none"}})
    );
    let wants = |thinking| {
        let request = ChatRequest {
            thinking: Some(thinking),
            ..asks()
        };
        reasoner().sends_of(request).0["reasoning"].take()
    };
    // What it does by itself need not be said; that it is to be shown does.
    assert_eq!(wants(Thinking::On), json!({"summary": "auto"}));
    assert_eq!(wants(Thinking::Off), json!({"effort": "low"}));
    assert_eq!(
        wants(Thinking::Budget(2048)),
        json!({"effort": "medium", "summary": "auto"})
    );
    // Of an unknown model no more is asked than the client did.
    assert_eq!(
        openai().adds(json!({"reasoning": {"effort": "high"}})),
        json!({"reasoning": {"effort": "high"}})
    );
    assert_eq!(
        openai().adds(json!({"reasoning": {"effort": "none"}})),
        json!({})
    );
}

#[test]
fn refused_parameters_are_left_out_and_named() {
    let fields = json!({"temperature": 0.5, "top_p": 0.9, "top_logprobs": 2, "parallel_tool_calls": false,
        "tools": [{"type": "function", "name": "f"}]});
    let (sent, dropped) = openai().known("o4-mini").sends(fields);
    for field in [
        "temperature",
        "top_p",
        "top_logprobs",
        "parallel_tool_calls",
    ] {
        assert!(sent.get(field).is_none(), "{field}");
    }
    assert_eq!(
        dropped,
        ["temperature", "top_p", "logprobs", "parallel_tool_calls"]
    );
    // Legal while the model does not reason, which is its default.
    let (sent, dropped) = openai()
        .known("gpt-5.1")
        .sends(json!({"temperature": 0.5, "top_logprobs": 2}));
    assert_eq!(sent["temperature"], 0.5);
    assert_eq!(sent["top_logprobs"], 2);
    assert_eq!(
        sent["include"],
        json!([
            "reasoning.encrypted_content",
            "message.output_text.logprobs"
        ])
    );
    assert!(dropped.is_empty());
    let (sent, dropped) = openai()
        .known("gpt-5.1")
        .sends(json!({"temperature": 0.5, "reasoning": {"effort": "low"}}));
    assert!(sent.get("temperature").is_none());
    assert_eq!(dropped, ["temperature"]);
}

#[test]
fn what_the_api_has_no_field_for_is_named_and_stop_strings_are_the_gateways() {
    let request = ChatRequest {
        stop: vec![Text::escaped(r"\n"), Text::escaped("END")],
        sampling: Sampling {
            top_k: Some(40),
            min_p: Some(0.1),
            typical_p: Some(0.9),
            repeat_penalty: Some(1.1),
            repeat_last_n: Some(64),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.5),
            seed: Some(7),
            logit_bias: Some(Json::trusted(r#"{"1":2}"#)),
            ..Sampling::default()
        },
        ..asks()
    };
    for to in [openai(), perplexity()] {
        let outgoing = to.outgoing(request.clone()).unwrap();
        assert_eq!(outgoing.stop, ["\n", "END"]);
        assert_eq!(
            to.sends_of(request.clone()),
            (
                json!({"input": [says("user", "q")]}),
                vec![
                    "top_k",
                    "min_p",
                    "typical_p",
                    "repeat_penalty",
                    "repeat_last_n",
                    "presence_penalty",
                    "frequency_penalty",
                    "seed",
                    "logit_bias"
                ]
            )
        );
    }
    let nothing = ChatRequest {
        sampling: Sampling {
            top_k: Some(0),
            seed: Some(-1),
            ..Sampling::default()
        },
        ..asks()
    };
    assert!(openai().sends_of(nothing).1.is_empty());
}

#[test]
fn numbers_out_of_range_are_moved_and_named() {
    assert_eq!(
        openai().sends(json!({"max_output_tokens": 5, "temperature": 3, "top_p": -1})),
        (
            json!({"input": [says("user", "q")], "max_output_tokens": 16, "temperature": 2.0, "top_p": 0.0}),
            vec!["max_tokens", "temperature", "top_p"]
        )
    );
    let compatible = to(ProviderKind::OpenAiCompatible).facts(|facts| facts.max_output = Some(100));
    assert_eq!(
        compatible.adds(json!({"max_output_tokens": 5, "user": "u"})),
        json!({"max_output_tokens": 5})
    );
    assert_eq!(
        compatible.sends(json!({"max_output_tokens": 500})).1,
        ["max_tokens"]
    );
}

#[test]
fn tools_are_flat_and_not_strict_by_themselves() {
    let sent = openai().adds(
        json!({"tools": [{"type": "function", "name": "a.b", "description": "d"},
        {"type": "function", "name": "g", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "a.b"}, "parallel_tool_calls": true}),
    );
    assert_eq!(
        sent,
        json!({"tools": [{"type": "function", "name": "a_b", "description": "d",
            "parameters": {"type": "object", "properties": {}}, "strict": false},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": true}],
            "tool_choice": {"type": "function", "name": "a_b"}, "parallel_tool_calls": true})
    );
    for choice in ["none", "required"] {
        let tools = json!([{"type": "function", "name": "f"}]);
        let sent = openai().adds(json!({"tools": tools, "tool_choice": choice}));
        assert_eq!(sent["tool_choice"], choice);
    }
}

#[test]
fn formats_are_said_in_their_field_and_json_in_words_too() {
    let schema = json!({"format": {"type": "json_schema", "name": "my answer", "schema": {"type": "object"}, "strict": true}});
    assert_eq!(
        openai().adds(json!({"text": schema})),
        json!({"text": {"format": {"type": "json_schema", "name": "my_answer", "schema": {"type": "object", "properties": {}},
            "strict": true}}})
    );
    let object = json!({"format": {"type": "json_object"}});
    assert_eq!(
        openai().sends(json!({"text": object})).0,
        json!({"text": object, "input": [says("developer", "Answer with a JSON object."), says("user", "q")]})
    );
    let (sent, _) = openai().sends(json!({"text": object, "input": "in JSON please"}));
    assert_eq!(sent["input"], json!([says("user", "in JSON please")]));
    let unable = openai().facts(|facts| facts.capabilities = Some(vec![Capability::Completion]));
    let (sent, _) = unable.sends(json!({"text": schema}));
    assert_eq!(sent["text"], object);
    assert_eq!(
        sent["input"][0]["content"],
        "Answer with a JSON object that follows this JSON Schema: {\"type\":\"object\"}"
    );
}

#[test]
fn what_the_model_cannot_do_is_refused() {
    let unable = openai().facts(|facts| facts.capabilities = Some(vec![Capability::Completion]));
    let image = json!([{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]}]);
    let file = json!([{"role": "user", "content": [{"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg=="}]}]);
    assert_eq!(
        unable.refuses(json!({"tools": [{"type": "function", "name": "f"}]})),
        "tools"
    );
    assert_eq!(unable.refuses(json!({"input": image})), "messages");
    assert_eq!(perplexity().refuses(json!({"input": file})), "messages");
    let raw = ChatRequest {
        completion: Some(Completion {
            raw: true,
            ..Completion::default()
        }),
        ..asks()
    };
    assert_eq!(openai().outgoing(raw).unwrap_err().param, Some("raw"));
}

#[test]
fn odd_conversations_become_legal() {
    let empty = ChatRequest {
        messages: vec![Message::new(
            Role::System,
            vec![Part::Text(Text::escaped("s"))],
        )],
        ..ChatRequest::default()
    };
    assert_eq!(
        openai().sends_of(empty.clone()).0,
        json!({"instructions": "s", "input": [says("user", ".")]})
    );
    let no_system =
        openai().facts(|facts| facts.refused = vec![Parameter::System, Parameter::Prefill]);
    let mut request = empty;
    request.messages.extend([
        asks().messages.remove(0),
        Message::new(Role::Assistant, vec![Part::Text(Text::escaped("and"))]),
    ]);
    assert_eq!(
        no_system.sends_of(request).0,
        json!({"input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "s"},
                {"type": "input_text", "text": "q"}]},
            says("assistant", "and"), says("user", "Continue.")]})
    );
}

/// Every field that Perplexity's API reference has; it answers 400 to any other, at every depth.
fn check_known(sent: &Value) {
    fn only(value: &Value, known: &[&str]) {
        for key in value
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys())
        {
            assert!(known.contains(&key.as_str()), "{key}");
        }
    }
    only(
        sent,
        &[
            "model",
            "input",
            "instructions",
            "stream",
            "store",
            "max_output_tokens",
            "temperature",
            "top_p",
            "reasoning",
            "response_format",
            "tools",
            "tool_choice",
        ],
    );
    only(&sent["reasoning"], &["effort"]);
    only(&sent["response_format"], &["type", "json_schema"]);
    only(
        &sent["response_format"]["json_schema"],
        &["name", "schema", "description", "strict"],
    );
    for item in sent["input"].as_array().unwrap() {
        match item["type"].as_str().unwrap() {
            "message" => only(item, &["type", "role", "content"]),
            "function_call" => only(
                item,
                &["type", "call_id", "name", "arguments", "thought_signature"],
            ),
            "function_call_output" => {
                only(
                    item,
                    &["type", "call_id", "name", "output", "thought_signature"],
                );
            }
            other => panic!("{other}"),
        }
        for part in item["content"].as_array().into_iter().flatten() {
            only(part, &["type", "text", "image_url"]);
        }
    }
    for tool in sent["tools"].as_array().into_iter().flatten() {
        only(
            tool,
            &["type", "name", "description", "parameters", "strict"],
        );
    }
}

#[test]
fn trap_30_perplexity_gets_no_unknown_field() {
    let body = json!({"model": "x", "instructions": "i", "temperature": 0.5, "top_p": 0.9, "top_logprobs": 3,
        "parallel_tool_calls": false, "user": "u", "max_output_tokens": 8, "reasoning": {"effort": "max"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "description": "d"}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "q"},
                {"type": "input_image", "image_url": PIXEL, "detail": "high"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "s"},
            says("assistant", "I look."),
            {"type": "function_call", "call_id": "c__thought__c2ln", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c__thought__c2ln", "output": "one"}]})
    .to_string();
    let outgoing = perplexity()
        .outgoing(read_chat(body.as_bytes()).unwrap())
        .unwrap();
    let sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
    check_known(&sent);
    assert_eq!(
        outgoing.dropped.fields(),
        ["max_tokens", "logprobs", "parallel_tool_calls", "user"]
    );
    assert_eq!(sent["max_output_tokens"], 16);
    assert_eq!(sent["reasoning"], json!({"effort": "xhigh"}));
    assert_eq!(
        sent["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {"type": "object", "properties": {}}}})
    );
    assert_eq!(
        sent["input"].as_array().unwrap()[1..],
        [
            says("assistant", "I look."),
            json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "thought_signature": "sig"}),
            json!({"type": "function_call_output", "call_id": "c", "name": "f", "thought_signature": "sig",
                "output": "one"})
        ]
    );
}

#[test]
fn trap_30_perplexitys_own_models_search() {
    let sonar = perplexity().known("perplexity/sonar");
    assert_eq!(
        sonar.adds(json!({})),
        json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}})
    );
    // With functions of the client's the choice is the model's.
    assert_eq!(
        sonar.adds(json!({"tools": [{"type": "function", "name": "f"}]})),
        json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}},
            {"type": "web_search"}]})
    );
    assert_eq!(
        sonar.refuses(json!({"tools": [{"type": "function", "name": "web_search"}]})),
        "tools"
    );
    // Marks of sources would spoil JSON, asked for in words or by a schema.
    for format in [
        json!({"type": "json_object"}),
        json!({"type": "json_schema", "name": "n", "schema": {}}),
    ] {
        let sent = sonar.adds(json!({"text": {"format": format}}));
        assert!(sent.get("tools").is_none(), "{sent}");
    }
    assert_eq!(
        perplexity().known("openai/gpt-6-sol").adds(json!({})),
        json!({})
    );
}

#[test]
fn perplexity_demands_a_limit_for_claude_and_takes_json_in_words() {
    let claude = perplexity().known("anthropic/claude-sonnet-5");
    assert_eq!(claude.adds(json!({})), json!({"max_output_tokens": 8192}));
    let (sent, dropped) = perplexity().sends(
        json!({"text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "none"}}),
    );
    assert!(sent.get("text").is_none() && sent.get("response_format").is_none());
    let said = sent["input"][0]["content"].as_str().unwrap();
    assert!(said.starts_with("Answer with a JSON object and nothing else"));
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn signatures_of_other_providers_calls_are_left_out() {
    let call = Part::ToolCall(ToolCall {
        id: Some(Text::escaped(
            "an id of more than forty characters, with blanks",
        )),
        name: Text::escaped("f"),
        arguments: Json::empty_object(),
        signature: Some(Text::escaped("sig")),
    });
    let mut request = asks();
    request
        .messages
        .push(Message::new(Role::Assistant, vec![call]));
    let (sent, _) = openai().sends_of(request);
    let items = sent["input"].as_array().unwrap();
    let id = items[1]["call_id"].as_str().unwrap();
    assert!(id.len() <= 40 && !id.contains(' '), "{id}");
    assert_eq!(items[2]["call_id"], id);
    assert!(items[1].get("thought_signature").is_none());
}

proptest! {
    /// What is written for a provider is read back as it was: nothing that the API can say is lost.
    #[test]
    fn a_request_comes_back_as_it_was(said in "[a-z\"\\\\é\n]{1,8}", turns in prop::collection::vec(0..3u8, 0..6)) {
        let mut items = vec![says("user", &said)];
        for (place, turn) in turns.into_iter().enumerate() {
            let id = format!("c{place}");
            match turn {
                0 => items.push(says("assistant", &said)),
                1 => items.extend([
                    json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": said}],
                        "encrypted_content": said}),
                    json!({"type": "function_call", "call_id": id, "name": "f", "arguments": json!({"a": said}).to_string()}),
                ]),
                _ => items.push(json!({"type": "function_call", "call_id": id, "name": "g", "arguments": "{}"})),
            }
            if turn > 0 {
                items.push(json!({"type": "function_call_output", "call_id": id, "output": said}));
            }
            items.push(says("user", &said));
        }
        let body = json!({"input": items}).to_string();
        prop_assume!(!said.trim().is_empty());
        let sent = reasoner().outgoing(read_chat(body.as_bytes()).unwrap()).unwrap();
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        prop_assert_eq!(&sent["input"], &Value::Array(items));
    }

    #[test]
    fn nothing_panics(body in "\\{\"input\":[\\[\\]{}\":,a-z0-9]{0,40}\\}") {
        if let Ok(request) = read_chat(body.as_bytes()) {
            let _ = perplexity().outgoing(request);
        }
    }
}

#[test]
fn tools_that_take_text_stay_so_where_they_are_known() {
    let fields = json!({
        "input": [
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "a \"b\"\n"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
            {"type": "function_call_output", "call_id": "c2", "output": "1"}],
        "tools": [{"type": "custom", "name": "patch", "description": "d",
            "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}}],
        "tool_choice": {"type": "custom", "name": "patch"}});
    let (known, _) = openai().sends(fields.clone());
    assert_eq!(known["tools"], fields["tools"]);
    assert_eq!(known["tool_choice"], fields["tool_choice"]);
    assert_eq!(known["input"], fields["input"]);
    let (elsewhere, _) = to(ProviderKind::OpenAiCompatible).sends(fields);
    assert_eq!(elsewhere["tools"][0]["type"], "function");
    assert_eq!(
        elsewhere["tool_choice"],
        json!({"type": "function", "name": "patch"})
    );
    assert_eq!(
        elsewhere["input"][0]["arguments"],
        "{\"input\":\"a \\\"b\\\"\\n\"}"
    );
    assert_eq!(elsewhere["input"][2]["type"], "function_call_output");
}

#[test]
fn how_a_request_is_served_is_said() {
    let fields = json!({"service_tier": "flex", "prompt_cache_key": "k", "prompt_cache_retention": "24h",
        "metadata": {"a": "b"}, "safety_identifier": "s", "user": "u",
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {}}}}});
    let (mut sent, dropped) = openai().sends(fields.clone());
    sent.as_object_mut().unwrap().remove("input");
    assert_eq!(sent, fields);
    assert_eq!(dropped, [""; 0]);
}
