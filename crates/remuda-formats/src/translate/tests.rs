//! What becomes of a conversation between any two formats: who says what in which order, and what of it is to be kept.

use http::HeaderMap;
use serde_json::{Value, json};

use super::answer::Translation;
use super::forms::{ClientForm, ProviderForm, chats};
use super::order::{TranslatedRequest, Translating, order};
use crate::dialect::exchange::{ProviderRequest, Reply, Target};
use crate::facts::Facts;
use crate::preferences::Fidelity;
use crate::provider::{ProviderKind, ProviderProfile, SamplingFields};

mod fields;
mod members;
mod replays;
mod servers;

/// A form of a provider of some kind, and a model there.
type To = (ProviderForm, ProviderKind, &'static str);

const CLAUDE: To = (
    ProviderForm::AnthropicMessages,
    ProviderKind::Anthropic,
    "claude-opus-4-5",
);
const BEDROCK: To = (
    ProviderForm::BedrockConverse,
    ProviderKind::Bedrock,
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
);
const OPENROUTER: To = (
    ProviderForm::OpenAiChat,
    ProviderKind::OpenRouter,
    "anthropic/claude-opus-4-5",
);
const GEMINI: To = (
    ProviderForm::GoogleContent,
    ProviderKind::Google,
    "gemini-3.5-flash",
);
const OPENAI: To = (ProviderForm::OpenAiChat, ProviderKind::OpenAi, "gpt-4.1");
const RESPONSES: To = (
    ProviderForm::OpenAiResponses,
    ProviderKind::OpenAi,
    "gpt-5.4",
);
const OTHER: To = (
    ProviderForm::OpenAiChat,
    ProviderKind::OpenAiCompatible,
    "some-model",
);
const OLLAMA: To = (ProviderForm::OllamaChat, ProviderKind::Ollama, "llama3.2");

fn ordered(
    client: ClientForm,
    body: &Value,
    to: To,
    sampling: SamplingFields,
) -> TranslatedRequest {
    let (form, kind, model) = to;
    let facts = Facts::bundled();
    let provider = ProviderProfile {
        sampling,
        ..ProviderProfile::of_kind("p", kind)
    };
    let target = Target {
        model,
        facts: facts.find(kind, model),
        provider,
        stream: false,
    };
    let body = body.to_string();
    let translating = Translating {
        client,
        form,
        body: body.as_bytes(),
        streams: false,
        gathered: false,
        fidelity: Fidelity::Lenient,
        mend: None,
        spare: &[],
    };
    order(&translating, target, Reply::sample()).unwrap()
}

/// What the provider is sent, and what it is not.
fn sent(client: ClientForm, body: &Value, to: To) -> (Value, Vec<&'static str>) {
    let order = ordered(client, body, to, SamplingFields::Standard);
    (
        serde_json::from_slice(&order.outgoing.body).unwrap(),
        order.dropped.fields().to_vec(),
    )
}

/// The conversation without its system prompt.
fn turns(body: &Value) -> &Value {
    ["messages", "contents", "input"]
        .into_iter()
        .find_map(|name| body.get(name))
        .unwrap()
}

/// Where each of the words stands in the text.
fn places(text: &str, words: &[&str]) -> Vec<usize> {
    let place = |word: &&str| text.find(*word).unwrap_or_else(|| panic!("{word}: {text}"));
    words.iter().map(place).collect()
}

/// A conversation with calls, in whose midst the system speaks: between a call and its result, and before the last
/// answer.
fn spoken(client: ClientForm) -> Value {
    match client {
        ClientForm::OpenAiResponses => json!({"model": "m", "instructions": "PROMPT", "input": [
            {"role": "user", "content": "ONE"},
            {"type": "function_call", "call_id": "c1", "name": "TWO", "arguments": "{}"},
            {"role": "developer", "content": [{"type": "input_text", "text": "FOUR"}]},
            {"type": "function_call_output", "call_id": "c1", "output": "THREE"},
            {"role": "assistant", "content": "FIVE"},
            {"role": "system", "content": "SIX"},
            {"role": "user", "content": "SEVEN"}]}),
        ClientForm::AnthropicMessages => {
            json!({"model": "m", "max_tokens": 9, "system": "PROMPT", "messages": [
            {"role": "user", "content": "ONE"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "TWO", "input": {}}]},
            {"role": "system", "content": "FOUR"},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "THREE"}]},
            {"role": "assistant", "content": "FIVE"},
            {"role": "system", "content": "SIX"},
            {"role": "user", "content": "SEVEN"}]})
        }
        _ => {
            let arguments = match client {
                ClientForm::OllamaChat => json!({}),
                _ => json!("{}"),
            };
            json!({"model": "m", "messages": [
                {"role": "system", "content": "PROMPT"},
                {"role": "user", "content": "ONE"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "TWO", "arguments": arguments}}]},
                {"role": "system", "content": "FOUR"},
                {"role": "tool", "tool_call_id": "c1", "content": "THREE"},
                {"role": "assistant", "content": "FIVE"},
                {"role": "developer", "content": "SIX"},
                {"role": "user", "content": "SEVEN"}]})
        }
    }
}

const CLIENTS: [ClientForm; 4] = [
    ClientForm::OllamaChat,
    ClientForm::OpenAiChat,
    ClientForm::OpenAiResponses,
    ClientForm::AnthropicMessages,
];

#[test]
fn the_system_speaks_where_it_spoke_in_every_format() {
    const WORDS: [&str; 7] = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN"];
    for client in CLIENTS {
        for to in [
            CLAUDE, BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER,
        ] {
            let (body, _) = sent(client, &spoken(client), to);
            let case = format!("{client:?} {to:?}: {body}");
            let text = turns(&body).to_string();
            assert!(places(&text, &WORDS).is_sorted(), "{case}");
            assert!(!text.contains("no result provided"), "{case}");
            let prompt = ["system", "systemInstruction", "instructions"];
            let apart = prompt.into_iter().find_map(|name| body.get(name));
            let prompt = apart.unwrap_or(&turns(&body)[0]).to_string();
            assert!(
                prompt.contains("PROMPT") && !prompt.contains("SIX"),
                "{case}"
            );
        }
        // Ollama asks for no order.
        let (body, _) = sent(client, &spoken(client), OLLAMA);
        let text = turns(&body).to_string();
        assert!(
            places(&text, &["ONE", "FOUR", "FIVE", "SIX", "SEVEN"]).is_sorted(),
            "{text}"
        );
    }
}

/// Anthropic's newer models take it as such, after the user and before the assistant.
#[test]
fn the_system_speaks_for_itself_where_anthropic_lets_it() {
    let to = (CLAUDE.0, CLAUDE.1, "claude-opus-4-8");
    let (body, _) = sent(ClientForm::OpenAiChat, &spoken(ClientForm::OpenAiChat), to);
    let roles: Vec<_> = turns(&body)
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| turn["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["user", "assistant", "user", "system", "assistant", "user"]
    );
    assert_eq!(
        turns(&body)[3]["content"],
        json!([{"type": "text", "text": "FOUR"}])
    );
    assert_eq!(turns(&body)[5]["content"][0]["text"], "SIX");
}

/// A request of Claude Code's kind: breakpoints on a tool, the system prompt, and what came last.
fn marked() -> Value {
    let short = json!({"type": "ephemeral"});
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    json!({"model": "m", "max_tokens": 9,
        "system": [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": hour}, {"type": "text", "text": "C"}],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}},
            {"name": "g", "input_schema": {"type": "object", "properties": {}}, "cache_control": hour}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q", "cache_control": short}, {"type": "text", "text": "r"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "42", "cache_control": short}]},
                {"type": "text", "text": "go on"}]}]})
}

#[test]
fn breakpoints_stay_with_what_they_follow() {
    let (body, dropped) = sent(ClientForm::AnthropicMessages, &marked(), BEDROCK);
    let short = json!({"cachePoint": {"type": "default"}});
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!(
        body["system"],
        json!([{"text": "A\n\nB"}, hour, {"text": "C"}])
    );
    assert_eq!(body["toolConfig"]["tools"][2], hour);
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"text": "q"}, short, {"text": "r"}])
    );
    assert_eq!(body["messages"][2]["content"][1], short);
    assert_eq!(body["messages"][2]["content"][2], json!({"text": "go on"}));
    assert_eq!(dropped, [""; 0]);

    let (body, dropped) = sent(ClientForm::AnthropicMessages, &marked(), OPENROUTER);
    let short = json!({"type": "ephemeral"});
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": hour}, {"type": "text", "text": "C"}])
    );
    assert_eq!(body["tools"][1]["cache_control"], hour);
    assert_eq!(
        body["messages"][1]["content"][0],
        json!({"type": "text", "text": "q", "cache_control": short})
    );
    assert_eq!(
        body["messages"][3]["content"],
        json!([{"type": "text", "text": "42", "cache_control": short}])
    );
    assert_eq!(dropped, [""; 0]);

    // And back from a chat.
    let (again, dropped) = sent(ClientForm::OpenAiChat, &body, CLAUDE);
    assert_eq!(
        again["system"][0],
        json!({"type": "text", "text": "A\n\nB", "cache_control": hour})
    );
    assert_eq!(again["tools"][1]["cache_control"], hour);
    assert_eq!(again["messages"][0]["content"][0]["cache_control"], short);
    assert_eq!(again["messages"][2]["content"][0]["type"], "tool_result");
    assert_eq!(again["messages"][2]["content"][0]["cache_control"], short);
    assert_eq!(dropped, [""; 0]);
}

#[test]
fn where_prompts_are_kept_anyway_nothing_is_said_of_it() {
    let says = |to: To, sampling| {
        let order = ordered(ClientForm::AnthropicMessages, &marked(), to, sampling);
        let text = String::from_utf8(order.outgoing.body).unwrap();
        assert!(
            !text.contains("cache_control") && !text.contains("cachePoint"),
            "{text}"
        );
        order.dropped.fields().contains(&"cache_control")
    };
    for to in [GEMINI, OPENAI, RESPONSES, OLLAMA] {
        assert!(!says(to, SamplingFields::Standard), "{to:?}");
    }
    assert!(!says(OTHER, SamplingFields::Vllm));
    assert!(!says(OTHER, SamplingFields::LlamaCpp));
    assert!(says(OTHER, SamplingFields::Standard));
    let llama = (BEDROCK.0, BEDROCK.1, "meta.llama3-1-70b-instruct-v1:0");
    assert!(says(llama, SamplingFields::Standard));
}

/// Bedrock refuses what a model does not have: Nova's tools, and an hour with older ones.
#[test]
fn a_model_gets_the_breakpoints_that_it_takes() {
    let nova = (BEDROCK.0, BEDROCK.1, "amazon.nova-pro-v1:0");
    let (body, dropped) = sent(ClientForm::AnthropicMessages, &marked(), nova);
    assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), 2);
    assert_eq!(
        body["system"][1],
        json!({"cachePoint": {"type": "default"}})
    );
    assert_eq!(dropped, ["cache_control", "cache_control.ttl"]);
    let old = (
        BEDROCK.0,
        BEDROCK.1,
        "anthropic.claude-3-7-sonnet-20250219-v1:0",
    );
    let (body, dropped) = sent(ClientForm::AnthropicMessages, &marked(), old);
    assert_eq!(
        body["toolConfig"]["tools"][2],
        json!({"cachePoint": {"type": "default"}})
    );
    assert_eq!(dropped, ["cache_control.ttl"]);
}

#[test]
fn a_breakpoint_of_the_whole_request_is_at_its_end() {
    let mut asked = marked();
    asked["cache_control"] = json!({"type": "ephemeral"});
    asked["messages"].as_array_mut().unwrap().truncate(1);
    asked["messages"][0]["content"][0]
        .as_object_mut()
        .unwrap()
        .remove("cache_control");
    let (body, _) = sent(ClientForm::AnthropicMessages, &asked, BEDROCK);
    let short = json!({"cachePoint": {"type": "default"}});
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"text": "q"}, {"text": "r"}, short])
    );
    let (body, _) = sent(ClientForm::AnthropicMessages, &asked, OPENROUTER);
    assert_eq!(body["cache_control"], json!({"type": "ephemeral"}));
    let (body, _) = sent(ClientForm::OpenAiChat, &body, CLAUDE);
    assert_eq!(body["cache_control"], json!({"type": "ephemeral"}));
}

#[test]
fn there_are_four_breakpoints_at_most() {
    let part = |text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let asked = json!({"model": "m", "messages": [
        {"role": "system", "content": "a", "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": [part("b"), part("c"), part("d"), part("e")]}]});
    for (to, name) in [
        (CLAUDE, "cache_control"),
        (BEDROCK, "cachePoint"),
        (OPENROUTER, "cache_control"),
    ] {
        let (body, dropped) = sent(ClientForm::OpenAiChat, &asked, to);
        assert_eq!(body.to_string().matches(name).count(), 4, "{body}");
        assert_eq!(dropped, ["cache_control"], "{to:?}");
    }
}

/// Claude refuses thoughts that stand elsewhere than they did.
#[test]
fn thoughts_stay_among_words_and_calls() {
    let asked = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "c2lnMQ=="},
            {"type": "text", "text": "a"},
            {"type": "redacted_thinking", "data": "cmVk"},
            {"type": "thinking", "thinking": "u", "signature": "c2lnMg=="},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "42"}]}]});
    for to in [BEDROCK, CLAUDE] {
        let (body, _) = sent(ClientForm::AnthropicMessages, &asked, to);
        let text = body["messages"][1].to_string();
        let words = ["c2lnMQ==", "\"a\"", "cmVk", "c2lnMg==", "\"c1\""];
        assert!(places(&text, &words).is_sorted(), "{text}");
    }
}

/// What the client hears of a provider's answer; a whole one is one that was not streamed to it.
fn heard(client: ClientForm, to: To, stream: &str, streams: bool) -> String {
    let reply = Reply {
        prompt_estimate: 7,
        ..Reply::sample()
    };
    let mut outgoing = ProviderRequest::default();
    let mut translation =
        Translation::chat(chats(client, to.0), reply, &mut outgoing, true, streams);
    let mut text = translation.feed(stream.as_bytes()).to_vec();
    text.extend_from_slice(translation.finish(&HeaderMap::new()).1);
    String::from_utf8(text).unwrap()
}

fn events(stream: &str) -> Vec<Value> {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

/// The content that a client of Anthropic's makes of the answer; its blocks come one after the other.
fn content(answer: &str, streams: bool) -> Value {
    if !streams {
        return serde_json::from_str::<Value>(answer).unwrap()["content"].take();
    }
    let mut blocks: Vec<Value> = Vec::new();
    let (mut open, mut arguments) = (None, String::new());
    for event in events(answer) {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(
                    (open, event["index"].as_u64()),
                    (None, Some(blocks.len() as u64))
                );
                open = event["index"].as_u64();
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open);
                let block = blocks.last_mut().unwrap();
                for (name, more) in event["delta"].as_object().unwrap() {
                    let more = more.as_str().unwrap();
                    match (&**name, block.get(name).and_then(Value::as_str)) {
                        ("type", _) => {}
                        ("partial_json", _) => arguments.push_str(more),
                        (name, before) => block[name] = format!("{}{more}", before.unwrap()).into(),
                    }
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take());
                if !arguments.is_empty() {
                    blocks.last_mut().unwrap()["input"] = serde_json::from_str(&arguments).unwrap();
                    arguments.clear();
                }
            }
            _ => {}
        }
    }
    assert_eq!(open, None);
    blocks.into()
}

fn gemini(parts: &[Value]) -> String {
    let piece =
        |part: &Value| json!({"candidates": [{"content": {"role": "model", "parts": [part]}}]});
    let pieces = parts
        .iter()
        .map(|part| format!("data: {}\n\n", piece(part)));
    let end = json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 21, "candidatesTokenCount": 2}});
    pieces.chain([format!("data: {end}\n\n")]).collect()
}

/// What Gemini gets back when its answer is replayed in the client's format.
fn replayed(client: ClientForm, said: &Value) -> Value {
    let ask = json!({"role": "user", "content": "q"});
    let body = match client {
        ClientForm::AnthropicMessages => {
            json!({"model": "m", "max_tokens": 9, "messages": [ask, {"role": "assistant", "content": said}, ask]})
        }
        ClientForm::OpenAiChat => json!({"model": "m", "messages": [ask, said, ask]}),
        _ => {
            let items = said.as_array().unwrap().iter().cloned();
            let input: Vec<Value> = [ask.clone()]
                .into_iter()
                .chain(items)
                .chain([ask])
                .collect();
            json!({"model": "m", "input": input})
        }
    };
    let (mut body, _) = sent(client, &body, GEMINI);
    body["contents"][1]["parts"].take()
}

/// Gemini signs the last text of an answer, at the end of it or in a piece of its own.
#[test]
fn the_signature_of_a_text_comes_back_on_it_and_ends_no_answer() {
    let thought = json!({"text": "plan", "thought": true});
    let signed = json!({"text": "Hello", "thoughtSignature": "U0lH"});
    let parts = json!([{"text": "Hello", "thoughtSignature": "U0lH"}]);
    for pieces in [
        vec![thought.clone(), signed],
        vec![
            thought.clone(),
            json!({"text": "Hel"}),
            json!({"text": "lo", "thoughtSignature": "U0lH"}),
        ],
        vec![
            thought.clone(),
            json!({"text": "Hello"}),
            json!({"text": "", "thoughtSignature": "U0lH"}),
        ],
    ] {
        let stream = gemini(&pieces);
        for streams in [false, true] {
            let answer = heard(ClientForm::AnthropicMessages, GEMINI, &stream, streams);
            let content = content(&answer, streams);
            let last = content.as_array().unwrap().last().unwrap();
            assert_eq!(*last, json!({"type": "text", "text": "Hello"}), "{content}");
            assert_eq!(content[0]["thinking"], "plan");
            assert_eq!(content[0]["signature"], "");
            if !streams {
                assert_eq!(replayed(ClientForm::AnthropicMessages, &content), parts);
            }
        }
        let answer = heard(ClientForm::OpenAiChat, GEMINI, &stream, false);
        let message =
            serde_json::from_str::<Value>(&answer).unwrap()["choices"][0]["message"].take();
        assert_eq!(replayed(ClientForm::OpenAiChat, &message), parts);
        let answer = heard(ClientForm::OpenAiChat, GEMINI, &stream, true);
        let mut message = json!({"role": "assistant", "content": "Hello", "reasoning": "plan"});
        for event in events(&answer) {
            let details = &event["choices"][0]["delta"]["reasoning_details"];
            if details.is_array() {
                message["reasoning_details"] = details.clone();
            }
        }
        assert_eq!(replayed(ClientForm::OpenAiChat, &message), parts);

        let answer = heard(ClientForm::OpenAiResponses, GEMINI, &stream, false);
        let output = serde_json::from_str::<Value>(&answer).unwrap()["output"].take();
        let last = output.as_array().unwrap().last().unwrap();
        assert_eq!(last["type"], "message", "{output}");
        assert_eq!(replayed(ClientForm::OpenAiResponses, &output), parts);
        let answer = heard(ClientForm::OpenAiResponses, GEMINI, &stream, true);
        let mut last = events(&answer).pop().unwrap();
        let output = last["response"]["output"].take();
        assert_eq!(
            output.to_string().matches("\"message\"").count(),
            1,
            "{output}"
        );
        assert_eq!(replayed(ClientForm::OpenAiResponses, &output), parts);
    }
}

#[test]
fn the_signature_of_a_text_stands_between_it_and_a_call() {
    let stream = gemini(&[
        json!({"text": "I look."}),
        json!({"text": "", "thoughtSignature": "U0lH"}),
        json!({"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "Q0FMTA=="}),
    ]);
    for streams in [false, true] {
        let answer = heard(ClientForm::AnthropicMessages, GEMINI, &stream, streams);
        let mut content = content(&answer, streams);
        assert_eq!(content.as_array().unwrap().len(), 3, "{content}");
        assert_eq!(content[2]["type"], "tool_use");
        let parts = replayed(ClientForm::AnthropicMessages, &content.take());
        assert_eq!(
            parts[0],
            json!({"text": "I look.", "thoughtSignature": "U0lH"})
        );
        assert_eq!(parts[1]["functionCall"]["name"], "f");
        assert_eq!(parts[1]["thoughtSignature"], "Q0FMTA==");
        assert_eq!(parts.as_array().unwrap().len(), 2, "{parts}");
    }
}

/// OpenRouter tells of Gemini's and OpenAI's proofs after the text.
#[test]
fn no_answer_ends_with_a_thought_that_says_nothing() {
    let delta = |delta: Value, finish: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        )
    };
    let encrypted =
        json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZW5j", "index": 0}]});
    let stream = [
        delta(
            json!({"role": "assistant", "content": "Hello"}),
            Value::Null,
        ),
        delta(encrypted, Value::Null),
        delta(json!({}), json!("stop")),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    for streams in [false, true] {
        let answer = heard(ClientForm::AnthropicMessages, OPENROUTER, &stream, streams);
        let content = content(&answer, streams);
        let last = content.as_array().unwrap().last().unwrap();
        assert_eq!(*last, json!({"type": "text", "text": "Hello"}), "{content}");
    }
}

/// Thoughts between calls of one turn keep their place, though the calls are told as open until the end.
#[test]
fn what_was_thought_between_calls_is_told_between_them() {
    let delta = |delta: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
        )
    };
    let call = |index: u64, id: &str| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let details = |detail: Value| json!({"reasoning_details": [detail]});
    let stream = [
        delta(call(0, "c1")),
        delta(details(json!({"type": "reasoning.text", "text": "then", "index": 0}))),
        delta(details(json!({"type": "reasoning.text", "signature": "c2ln", "index": 0}))),
        delta(call(1, "c2")),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n".to_owned(),
    ]
    .concat();
    for streams in [false, true] {
        let answer = heard(ClientForm::AnthropicMessages, OPENROUTER, &stream, streams);
        let content = content(&answer, streams);
        assert_eq!(content[0]["id"], "c1", "{content}");
        assert_eq!(
            content[1],
            json!({"type": "thinking", "thinking": "then", "signature": "c2ln"})
        );
        assert_eq!(content[2]["id"], "c2");
    }
}

#[test]
fn the_start_of_a_message_tells_about_how_long_the_prompt_is() {
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a".repeat(400)}]}).to_string();
    let asked = crate::dialect::anthropic::read_chat(body.as_bytes()).unwrap();
    assert_eq!(super::count::estimated(&asked), 100);
    let line = |more: Value| {
        let mut line = json!({"message": {"role": "assistant", "content": "a"}, "done": false});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        format!("{line}\n")
    };
    let end =
        json!({"done": true, "done_reason": "stop", "prompt_eval_count": 21, "eval_count": 2});
    let stream = [line(json!({})), line(end)].concat();
    let answer = heard(ClientForm::AnthropicMessages, OLLAMA, &stream, true);
    let events = events(&answer);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 7);
    let told = events
        .iter()
        .find(|event| event["type"] == "message_delta")
        .unwrap();
    assert_eq!(told["usage"]["input_tokens"], 21);
    // Gemini tells it with its first words.
    let first = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 21}});
    let stream = format!("data: {first}\n\n{}", gemini(&[]));
    let answer = heard(ClientForm::AnthropicMessages, GEMINI, &stream, true);
    assert_eq!(
        self::events(&answer)[0]["message"]["usage"]["input_tokens"],
        21
    );
}

/// Claude Code's first line changes with every request.
#[test]
fn the_billing_line_is_left_out_for_all_but_anthropic() {
    let line = "x-anthropic-billing-header: cc_version=2.1; cch=1;";
    let asked = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
        "system": [{"type": "text", "text": line}, {"type": "text", "text": "Be brief."}]});
    for to in [
        BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
    ] {
        let text = sent(ClientForm::AnthropicMessages, &asked, to)
            .0
            .to_string();
        assert!(
            !text.contains("billing") && text.contains("Be brief."),
            "{text}"
        );
    }
    let chat = json!({"model": "m", "messages": [{"role": "system", "content": format!("{line}\nBe brief.")},
        {"role": "user", "content": "q"}]});
    let (body, _) = sent(ClientForm::OpenAiChat, &chat, BEDROCK);
    assert_eq!(body["system"], json!([{"text": "Be brief."}]));
    let (body, _) = sent(ClientForm::OpenAiChat, &chat, CLAUDE);
    assert!(body["system"].as_str().unwrap().starts_with(line));
}
