//! What providers are asked. Requests are made of what clients of this API say, so both directions are held.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{read_chat, write_chat};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::signature;
use crate::facts::{
    Capability, EffortLevel, Facts, ModelFacts, Parameter, Reasoning, ReasoningControl,
    SamplingRule,
};
use crate::ir::{ChatRequest, Completion, Document, Message, Part, Refused, Role, Text, Thought};
use crate::provider::{ProviderKind, ProviderProfile, SamplingFields};

/// A provider and the facts of the model that is asked.
struct To {
    provider: ProviderProfile<'static>,
    facts: ModelFacts,
    stream: bool,
}

fn to(kind: ProviderKind) -> To {
    let provider = ProviderProfile::of_kind("p", kind);
    To {
        provider,
        facts: ModelFacts::default(),
        stream: false,
    }
}

fn openai() -> To {
    to(ProviderKind::OpenAi)
}

fn compatible(sampling: SamplingFields) -> To {
    let mut to = to(ProviderKind::OpenAiCompatible);
    to.provider.sampling = sampling;
    to
}

impl To {
    fn facts(self, change: impl FnOnce(&mut ModelFacts)) -> To {
        let mut facts = self.facts;
        change(&mut facts);
        To { facts, ..self }
    }

    fn refusing(self, parameters: &[Parameter]) -> To {
        self.facts(|facts| facts.refused = parameters.to_vec())
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
            stream: self.stream,
        };
        write_chat(request, &target)
    }

    /// What is sent for a request with these fields, besides the model and `stream`.
    fn sends(&self, fields: Value) -> Value {
        self.sends_and_drops(fields).0
    }

    fn sends_and_drops(&self, fields: Value) -> (Value, Vec<&'static str>) {
        let body = asking(fields).to_string();
        let outgoing = self.outgoing(read_chat(body.as_bytes()).unwrap()).unwrap();
        let mut sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
        assert_eq!(sent["model"], "m");
        assert_eq!(sent["stream"], self.stream);
        let object = sent.as_object_mut().unwrap();
        object.remove("model");
        object.remove("stream");
        (sent, outgoing.dropped.fields().to_vec())
    }

    /// As [`Self::sends`], without the messages.
    fn adds(&self, fields: Value) -> Value {
        let mut sent = self.sends(fields);
        sent.as_object_mut().unwrap().remove("messages");
        sent
    }

    /// The messages that become of these.
    fn says(&self, messages: Value) -> Value {
        self.sends(json!({"messages": messages}))["messages"].take()
    }

    fn refuses(&self, fields: Value) -> &'static str {
        let body = asking(fields).to_string();
        let refused = self
            .outgoing(read_chat(body.as_bytes()).unwrap())
            .unwrap_err();
        refused.param.unwrap()
    }
}

fn asking(fields: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "q"}]});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn reasoner(efforts: &[EffortLevel]) -> Reasoning {
    Reasoning {
        form: ReasoningControl::Effort,
        efforts: efforts.to_vec(),
        default: EffortLevel::Medium,
        off: efforts.contains(&EffortLevel::None),
        budget: None,
    }
}

#[test]
fn a_plain_question_is_short() {
    assert_eq!(
        openai().sends(json!({})),
        json!({"messages": [{"role": "user", "content": "q"}]})
    );
}

/// Remuda asks for the usage of every stream, also where the client did not, so that none is accounted as nothing
/// (open-webui/open-webui#23917). OpenAI refuses OpenRouter's own field `usage`, as it refuses every unknown field.
#[test]
fn usage_is_asked_for_where_it_must_be() {
    for (kind, expected) in [
        (
            ProviderKind::OpenAi,
            json!({"stream_options": {"include_usage": true}}),
        ),
        (
            ProviderKind::Azure,
            json!({"stream_options": {"include_usage": true}}),
        ),
        (
            ProviderKind::OpenAiCompatible,
            json!({"stream_options": {"include_usage": true}}),
        ),
        (ProviderKind::OpenRouter, json!({})),
    ] {
        let streaming = To {
            stream: true,
            ..to(kind)
        };
        assert_eq!(streaming.adds(json!({})), expected, "{kind:?}");
        assert_eq!(
            to(kind).adds(json!({"stream_options": {"include_usage": true}})),
            json!({})
        );
    }
}

/// OpenAI's reasoning models take `max_completion_tokens` and refuse `max_tokens` (BerriAI/litellm#13381).
#[test]
fn the_limit_has_the_name_that_is_taken() {
    let old = json!({"max_tokens": 5});
    let new = json!({"max_completion_tokens": 5});
    assert_eq!(openai().adds(old.clone()), new);
    assert_eq!(to(ProviderKind::OpenRouter).adds(new.clone()), old);
    let compatible = compatible(SamplingFields::Standard);
    assert_eq!(compatible.adds(new.clone()), old);
    assert_eq!(
        compatible
            .refusing(&[Parameter::MaxTokens])
            .adds(old.clone()),
        new
    );
    for (version, expected) in [
        (None, &new),
        (Some("2024-10-21"), &new),
        (Some("2024-06-01"), &old),
    ] {
        let mut azure = to(ProviderKind::Azure);
        azure.provider.api_version = version;
        assert_eq!(&azure.adds(old.clone()), expected, "{version:?}");
    }
    let short = openai().facts(|facts| facts.max_output = Some(3));
    let (sent, dropped) = short.sends_and_drops(old);
    assert_eq!(
        (&sent["max_completion_tokens"], &*dropped),
        (&json!(3), &["max_tokens"][..])
    );
}

#[test]
fn paths_are_those_of_the_provider() {
    let path = |to: To| {
        let body = asking(json!({})).to_string();
        to.outgoing(read_chat(body.as_bytes()).unwrap())
            .unwrap()
            .path
    };
    assert_eq!(path(openai()), "/chat/completions");
    assert_eq!(path(to(ProviderKind::Azure)), "/openai/v1/chat/completions");
    let mut azure = to(ProviderKind::Azure);
    azure.provider.api_version = Some("2024-10-21");
    assert_eq!(
        path(azure),
        "/openai/deployments/m/chat/completions?api-version=2024-10-21"
    );
}

const ALL_SAMPLING: &str = r#"{"temperature": 3, "top_p": 0.5, "top_k": 40, "min_p": 0.1, "typical_p": 0.2,
    "repeat_penalty": 1.1, "repeat_last_n": 64, "presence_penalty": -1, "frequency_penalty": 2, "seed": 7,
    "logit_bias": {"5": 1}, "logprobs": true, "top_logprobs": 3, "user": "u"}"#;

/// Each sampling parameter is sent only where it is known: a penalty on repetition, as Ollama and vLLM have it, is no
/// penalty on frequency.
#[test]
fn sampling_goes_where_it_is_taken() {
    let all: Value = serde_json::from_str(ALL_SAMPLING).unwrap();
    let common = json!({"temperature": 2.0, "top_p": 0.5, "presence_penalty": -1.0, "frequency_penalty": 2.0,
        "seed": 7, "logit_bias": {"5": 1}, "logprobs": true, "top_logprobs": 3});
    let with = |more: Value| {
        let mut all = common.clone();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        all
    };
    let standard = [
        "temperature",
        "top_k",
        "min_p",
        "typical_p",
        "repeat_penalty",
        "repeat_last_n",
    ];
    let vllm = json!({"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "user": "u"});
    for (to, sent, dropped) in [
        (openai(), with(json!({"user": "u"})), &standard[..]),
        (
            compatible(SamplingFields::Standard),
            with(json!({})),
            &[&standard[..], &["user"]].concat(),
        ),
        (
            compatible(SamplingFields::Vllm),
            with(vllm.clone()),
            &["temperature", "typical_p", "repeat_last_n"],
        ),
        (
            to(ProviderKind::OpenRouter),
            with(vllm),
            &["temperature", "typical_p", "repeat_last_n"],
        ),
        (
            compatible(SamplingFields::LlamaCpp),
            with(json!({"top_k": 40, "min_p": 0.1, "typical_p": 0.2,
            "repeat_penalty": 1.1, "repeat_last_n": 64})),
            &["temperature", "user"],
        ),
    ] {
        let (mut was, lost) = to.sends_and_drops(all.clone());
        was.as_object_mut().unwrap().remove("messages");
        assert_eq!(was, sent);
        assert_eq!(lost, dropped);
    }
}

#[test]
fn zero_switches_top_k_off() {
    let off = json!({"top_k": 0, "seed": -1});
    assert_eq!(
        compatible(SamplingFields::Vllm).adds(off.clone()),
        json!({"top_k": -1})
    );
    assert_eq!(
        compatible(SamplingFields::LlamaCpp).adds(off.clone()),
        json!({"top_k": 0})
    );
    let (sent, dropped) = openai().sends_and_drops(off);
    assert!(sent.get("top_k").is_none() && sent.get("seed").is_none() && dropped.is_empty());
}

#[test]
fn what_a_model_refuses_is_left_out_and_told() {
    use Parameter::*;
    let all: Value = serde_json::from_str(ALL_SAMPLING).unwrap();
    let refused = [
        Temperature,
        TopP,
        PresencePenalty,
        FrequencyPenalty,
        Seed,
        LogitBias,
        Logprobs,
    ];
    let to = openai().refusing(&refused);
    let (sent, dropped) = to.sends_and_drops(all);
    assert_eq!(
        sent.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["messages", "user"]
    );
    assert_eq!(dropped.len(), 12);
    // The only temperature that such a model takes is the one it has.
    let (_, dropped) = to.sends_and_drops(json!({"temperature": 1}));
    assert!(dropped.is_empty());
    let one = openai().facts(|facts| facts.sampling = SamplingRule::OneOfTemperatureAndTopP);
    assert_eq!(
        one.adds(json!({"temperature": 0.5, "top_p": 0.5})),
        json!({"temperature": 0.5})
    );
    assert_eq!(one.adds(json!({"top_p": 0.5})), json!({"top_p": 0.5}));
}

#[test]
fn some_parameters_are_refused_only_while_the_model_reasons() {
    let to = openai().facts(|facts| {
        facts.refused_while_reasoning = vec![Parameter::Temperature];
        facts.reasoning = reasoner(&[EffortLevel::None, EffortLevel::Low, EffortLevel::High]);
    });
    let ask = |effort: Value| to.adds(json!({"temperature": 0.5, "reasoning_effort": effort}));
    assert_eq!(
        ask(json!("none")),
        json!({"temperature": 0.5, "reasoning_effort": "none"})
    );
    assert_eq!(ask(json!("xhigh")), json!({"reasoning_effort": "high"}));
    assert_eq!(ask(Value::Null), json!({}));
}

#[test]
fn stop_strings_beyond_the_limit_are_the_gateways() {
    let six = json!({"stop": ["a", "b", "c", "d", "é", "\n"]});
    let of = |to: &To| {
        let body = asking(six.clone()).to_string();
        let outgoing = to.outgoing(read_chat(body.as_bytes()).unwrap()).unwrap();
        let sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
        (sent["stop"].as_array().map_or(0, Vec::len), outgoing.stop)
    };
    assert_eq!(of(&openai()), (4, vec!["é".to_owned(), "\n".to_owned()]));
    assert_eq!(of(&openai().refusing(&[Parameter::Stop])).1.len(), 6);
    assert_eq!(of(&compatible(SamplingFields::Vllm)), (6, vec![]));
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn reasoning_is_asked_for_in_the_servers_way() {
    let wants = |to: &To, wanted: &str| match wanted {
        "on" => to.adds(json!({"reasoning": {"enabled": true}})),
        "budget" => to.adds(json!({"reasoning": {"max_tokens": 3000}})),
        effort => to.adds(json!({"reasoning_effort": effort})),
    };
    let effort = openai().facts(|facts| {
        facts.reasoning = reasoner(&[
            EffortLevel::None,
            EffortLevel::Low,
            EffortLevel::Medium,
            EffortLevel::Xhigh,
        ]);
    });
    for (wanted, sent) in [
        ("none", json!({"reasoning_effort": "none"})),
        ("max", json!({"reasoning_effort": "xhigh"})),
        ("budget", json!({"reasoning_effort": "medium"})),
        ("on", json!({})),
    ] {
        assert_eq!(wants(&effort, wanted), sent, "{wanted}");
    }
    // Nothing is known: what is harmless is sent.
    assert_eq!(wants(&openai(), "none"), json!({}));
    assert_eq!(
        wants(&openai(), "high"),
        json!({"reasoning_effort": "high"})
    );
    let never = openai().facts(|facts| facts.reasoning.form = ReasoningControl::Never);
    assert_eq!(wants(&never, "high"), json!({}));

    let router = to(ProviderKind::OpenRouter);
    for (wanted, sent) in [
        ("none", json!({"enabled": false})),
        ("high", json!({"effort": "high"})),
        ("max", json!({"effort": "xhigh"})),
        ("on", json!({"enabled": true})),
        ("budget", json!({"max_tokens": 3000})),
    ] {
        assert_eq!(
            wants(&router, wanted),
            json!({"reasoning": sent}),
            "{wanted}"
        );
    }

    let deepseek = compatible(SamplingFields::Standard).known("deepseek-v4-flash");
    assert_eq!(
        wants(&deepseek, "none"),
        json!({"thinking": {"type": "disabled"}})
    );
    assert_eq!(
        wants(&deepseek, "on"),
        json!({"thinking": {"type": "enabled"}})
    );
    assert_eq!(
        wants(&deepseek, "xhigh"),
        json!({"thinking": {"type": "enabled"}, "reasoning_effort": "max"})
    );

    let vllm = compatible(SamplingFields::Vllm);
    assert_eq!(
        wants(&vllm, "none"),
        json!({"chat_template_kwargs": {"enable_thinking": false}})
    );
    assert_eq!(
        wants(&vllm, "xhigh"),
        json!({"chat_template_kwargs": {"enable_thinking": true, "reasoning_effort": "high"},
            "reasoning_effort": "high"})
    );
    assert_eq!(
        wants(&compatible(SamplingFields::LlamaCpp), "low"),
        json!({"chat_template_kwargs": {"enable_thinking": true, "reasoning_effort": "low"}})
    );
}

#[test]
fn instructions_stand_where_the_model_takes_them() {
    let messages = json!([{"role": "system", "content": "a"}, {"role": "user", "content": "q"},
        {"role": "assistant", "content": "r"}, {"role": "developer", "content": "b"}, {"role": "user", "content": "s"}]);
    let roles = |to: To| -> Vec<String> {
        to.says(messages.clone())
            .as_array()
            .unwrap()
            .iter()
            .map(|message| format!("{} {}", message["role"], message["content"]).replace('"', ""))
            .collect()
    };
    assert_eq!(
        roles(openai()),
        ["system a", "user q", "assistant r", "system b", "user s"]
    );
    let reasons = openai().facts(|facts| facts.reasoning = reasoner(&[EffortLevel::Low]));
    assert_eq!(
        roles(reasons),
        [
            "developer a",
            "user q",
            "assistant r",
            "developer b",
            "user s"
        ]
    );
    assert_eq!(
        roles(compatible(SamplingFields::Standard)),
        ["system a", "user q", "assistant r", "user b\\ns"]
    );
    assert_eq!(
        roles(openai().refusing(&[Parameter::System])),
        ["user a\\nq", "assistant r", "user b\\ns"]
    );
}

#[test]
fn a_conversation_of_instructions_alone_gets_a_turn() {
    let said =
        compatible(SamplingFields::Standard).says(json!([{"role": "system", "content": "a"}]));
    assert_eq!(
        said,
        json!([{"role": "system", "content": "a"}, {"role": "user", "content": "."}])
    );
}

#[test]
fn an_answer_that_was_begun_is_asked_to_go_on_where_it_cannot_be_continued() {
    let begun = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]);
    assert_eq!(openai().says(begun.clone()), begun);
    let said = openai().refusing(&[Parameter::Prefill]).says(begun);
    assert_eq!(said[2], json!({"role": "user", "content": "Continue."}));
}

/// Every call has its result, which follows it at once, as providers refuse a call without one (aliasrobotics/cai#182).
#[test]
fn calls_and_results_are_paired() {
    let long = "x".repeat(50);
    let packed = signature::pack(Text::escaped("call_2"), Some(&Text::escaped("sig")));
    let said = openai().says(json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": long, "type": "function", "function": {"name": "get weather", "arguments": "{\"a\": \"<b>\"}"}},
            {"id": packed.as_escaped(), "type": "function", "function": {"name": "g", "arguments": ""}},
            {"id": "call_3", "type": "function", "function": {"name": "h", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": packed.as_escaped(), "content": [{"type": "text", "text": "two"},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "tool", "tool_call_id": long, "content": "one"},
        {"role": "user", "content": "and?"}]));
    // The same at every gateway.
    let short = "call_d88SBg1HGD6oxANF5ziefgXLB1M";
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    assert_eq!(
        said,
        json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [call(short, "get_weather", "{\"a\": \"<b>\"}"),
                call("call_2", "g", "{}"), call("call_3", "h", "{}")]},
            {"role": "tool", "tool_call_id": short, "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": "two"},
            {"role": "tool", "tool_call_id": "call_3", "content": "Error: no result provided"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "text", "text": "and?"}]},
        ])
    );
    let blank = compatible(SamplingFields::Standard).says(json!([{"role": "assistant",
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}]));
    assert_eq!(blank[0]["content"], "");
}

#[test]
fn images_and_files_are_sent_where_they_are_taken() {
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";
    let parts = json!([{"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{png}"), "detail": "high"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]);
    let messages = json!([{"role": "user", "content": parts}]);
    assert_eq!(openai().says(messages.clone()), messages);
    let asks = json!({"messages": messages});
    assert_eq!(
        compatible(SamplingFields::Standard).refuses(asks.clone()),
        "messages"
    );
    let blind = openai().facts(|facts| facts.capabilities = Some(vec![Capability::Completion]));
    assert_eq!(blind.refuses(asks), "messages");
    // A file of text can be read by all.
    let text = json!([{"role": "user", "content": [{"type": "text", "text": "see"},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aMOkIg=="}}]}]);
    assert_eq!(
        compatible(SamplingFields::Standard).says(text)[0]["content"][1],
        json!({"type": "text", "text": "a.txt:\nhä\""})
    );
}

#[test]
fn unknown_recordings_are_refused() {
    let document = Document {
        name: None,
        media_type: "video/mp4".into(),
        data: "AAAA".into(),
    };
    let request = ChatRequest {
        messages: vec![Message::new(Role::User, vec![Part::Document(document)])],
        ..ChatRequest::default()
    };
    assert_eq!(
        openai().outgoing(request).unwrap_err().param,
        Some("messages")
    );
}

/// DeepSeek expects `reasoning_content` in the history (Wei-Shaw/sub2api#2926). Unsigned reasoning is left out
/// elsewhere, and does not become text (can1357/oh-my-pi#7241).
#[test]
fn thoughts_go_back_only_where_they_belong() {
    let history = || {
        json!([{"role": "user", "content": "q"},
            {"role": "assistant", "content": "r", "reasoning_content": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]},
            {"role": "user", "content": "s"}, {"role": "assistant", "content": "t"}, {"role": "user", "content": "u"}])
    };
    let turns = |to: To, fields: Value| {
        let mut fields = fields;
        fields["messages"] = history();
        let sent = to.sends(fields);
        let turn = |place: usize| {
            let mut turn = sent["messages"][place].clone();
            let object = turn.as_object_mut().unwrap();
            object.remove("role");
            object.remove("content");
            turn
        };
        [turn(1), turn(3)]
    };
    assert_eq!(turns(openai(), json!({})), [json!({}), json!({})]);
    let deepseek = || compatible(SamplingFields::Standard).known("deepseek-v4-flash");
    assert_eq!(
        turns(deepseek(), json!({})),
        [
            json!({"reasoning_content": "hm"}),
            json!({"reasoning_content": " "})
        ]
    );
    assert_eq!(
        turns(deepseek(), json!({"reasoning_effort": "none"})),
        [json!({}), json!({})]
    );
    assert_eq!(
        turns(compatible(SamplingFields::Vllm), json!({})),
        [
            json!({"reasoning": "hm", "reasoning_content": "hm"}),
            json!({})
        ]
    );
    assert_eq!(
        turns(compatible(SamplingFields::LlamaCpp), json!({}))[0],
        json!({"reasoning_content": "hm"})
    );
    assert_eq!(
        turns(to(ProviderKind::OpenRouter), json!({}))[0],
        json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]})
    );
}

#[test]
fn a_thought_without_words_is_no_turn() {
    let request = ChatRequest {
        messages: vec![
            Message::new(Role::User, vec![Part::Text(Text::escaped("q"))]),
            Message::new(Role::Assistant, vec![Part::Thought(Thought::default())]),
        ],
        ..ChatRequest::default()
    };
    let outgoing = openai().outgoing(request).unwrap();
    let sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
    assert_eq!(sent["messages"], json!([{"role": "user", "content": "q"}]));
}

#[test]
fn tools_are_sent_with_their_choice() {
    let tools = json!([{"type": "function", "function": {"name": "get weather", "description": "d",
        "parameters": {"type": "object"}, "strict": true}}, {"type": "function", "function": {"name": "g"}}]);
    let sent_tools = json!([{"type": "function", "function": {"name": "get_weather", "description": "d",
        "parameters": {"type": "object", "properties": {}}, "strict": true}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}]);
    let named = json!({"type": "function", "function": {"name": "get weather"}});
    let asks = json!({"tools": tools, "tool_choice": named, "parallel_tool_calls": false});
    assert_eq!(
        openai().adds(asks.clone()),
        json!({"tools": sent_tools, "parallel_tool_calls": false,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}}})
    );
    let unwilling = openai().refusing(&[Parameter::ForcedToolChoice, Parameter::ParallelToolCalls]);
    let (sent, dropped) = unwilling.sends_and_drops(asks.clone());
    assert!(sent.get("tool_choice").is_none() && sent.get("parallel_tool_calls").is_none());
    assert_eq!(dropped, ["tool_choice", "parallel_tool_calls"]);
    let unable = openai().facts(|facts| facts.capabilities = Some(vec![Capability::Completion]));
    assert_eq!(unable.refuses(asks), "tools");
    // Legal only beside tools.
    assert_eq!(
        openai().adds(json!({"parallel_tool_calls": false})),
        json!({})
    );
}

#[test]
fn json_is_asked_for_in_words_as_well() {
    let json_object = json!({"type": "json_object"});
    let said = openai().sends(json!({"response_format": json_object}));
    assert_eq!(said["response_format"], json_object);
    assert_eq!(
        said["messages"][0],
        json!({"role": "system", "content": "Answer with a JSON object."})
    );
    let messages = json!([{"role": "user", "content": "give me Json"}]);
    let said = openai().sends(json!({"response_format": json_object, "messages": messages}));
    assert_eq!(said["messages"], messages);
}

#[test]
fn schemas_have_a_name_or_become_words() {
    let schema = json!({"type": "object", "properties": {}, "title": "a \"b\""});
    let asks =
        json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    assert_eq!(
        openai().adds(asks.clone()),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}})
    );
    let full = json!({"response_format": {"type": "json_schema", "json_schema":
        {"name": "n", "description": "d", "schema": schema, "strict": true}}});
    assert_eq!(openai().adds(full.clone()), full);
    let unable = openai().facts(|facts| facts.capabilities = Some(vec![Capability::Completion]));
    let said = unable.sends(asks);
    assert_eq!(said["response_format"], json!({"type": "json_object"}));
    let words = said["messages"][0]["content"].as_str().unwrap();
    assert!(
        words.ends_with(&format!("JSON Schema: {schema}")),
        "{words}"
    );
}

#[test]
fn completions_that_are_no_chats_are_refused() {
    let ask = |change: fn(&mut Completion<'static>)| {
        let mut completion = Completion::default();
        change(&mut completion);
        let request = ChatRequest {
            messages: vec![Message::new(
                Role::User,
                vec![Part::Text(Text::escaped("q"))],
            )],
            completion: Some(completion),
            ..ChatRequest::default()
        };
        openai().outgoing(request).map_err(|refused| refused.param)
    };
    assert!(ask(|_| {}).is_ok());
    assert_eq!(
        ask(|it| it.suffix = Some(Text::escaped("s"))).unwrap_err(),
        Some("suffix")
    );
    assert_eq!(ask(|it| it.raw = true).unwrap_err(), Some("raw"));
    assert_eq!(
        ask(|it| it.template = Some(Text::escaped("t"))).unwrap_err(),
        Some("template")
    );
    assert_eq!(ask(|it| it.echo = true).unwrap_err(), Some("echo"));
}

proptest! {
    /// What a client says to a provider of the same format is what the provider is told.
    #[test]
    fn nothing_is_lost_on_the_way(text in "\\PC{0,40}", name in "[a-z]{1,9}", quarters in 0_u8..=8, limit in 1_u64..9999) {
        let temperature = f64::from(quarters) / 4.0;
        let messages = json!([{"role": "system", "content": format!("be {text}")},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x"}}]},
            {"role": "assistant", "content": format!("!{text}"), "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": name, "arguments": json!({"x": text}).to_string()}}]},
            {"role": "tool", "tool_call_id": "c", "content": text}]);
        let fields = json!({"messages": messages, "temperature": temperature, "max_completion_tokens": limit, "stop": ["s"]});
        prop_assert_eq!(openai().sends(fields.clone()), fields);
    }
}

#[test]
fn tools_that_take_text_stay_so_where_they_are_known() {
    let fields = json!({
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "a \"b\"\n"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"}],
        "tools": [{"type": "custom", "custom": {"name": "patch", "description": "d",
            "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}}}],
        "tool_choice": {"type": "custom", "custom": {"name": "patch"}}});
    let known = openai().sends(fields.clone());
    assert_eq!(known["tools"], fields["tools"]);
    assert_eq!(known["tool_choice"], fields["tool_choice"]);
    assert_eq!(known["messages"], fields["messages"]);
    let elsewhere = to(ProviderKind::OpenAiCompatible).sends(fields);
    let function = &elsewhere["tools"][0]["function"];
    assert_eq!(
        (&function["name"], &function["description"]),
        (&json!("patch"), &json!("d"))
    );
    assert_eq!(function["parameters"]["required"], json!(["input"]));
    assert_eq!(
        elsewhere["tool_choice"],
        json!({"type": "function", "function": {"name": "patch"}})
    );
    assert_eq!(
        elsewhere["messages"][1]["tool_calls"][0]["function"],
        json!({"name": "patch", "arguments": "{\"input\":\"a \\\"b\\\"\\n\"}"})
    );
}

#[test]
fn a_provider_that_wants_ids_of_nine_letters_gets_them() {
    let mut mistral = to(ProviderKind::OpenAiCompatible);
    mistral.provider.is_mistral = true;
    let said = mistral.says(json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"}]));
    let id = said[1]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(
        id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );
    assert_eq!(said[2]["tool_call_id"], id);
}

/// What the history called first does not decide which name a tool gets.
#[test]
fn names_of_tools_do_not_depend_on_the_history() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let tools = json!([tool("a.b"), tool("a/b"), tool("a_b")]);
    let sent = openai().sends(json!({"tools": tools, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "a/b", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"}]}));
    let names: Vec<_> = sent["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].clone())
        .collect();
    assert_eq!(names, ["a_b_2", "a_b_3", "a_b"]);
    assert_eq!(
        sent["messages"][1]["tool_calls"][0]["function"]["name"],
        "a_b_3"
    );
}
