//! Every documented member of every client's request, against every provider's writer: each changes what is sent, or is
//! named, or is refused. None is lost in silence.

use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::ProviderRequest;
use crate::ir::Refused;

const CHATS: [To; 8] = [
    CLAUDE, BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
];

const CONTINUES: [To; 4] = [
    (
        ProviderForm::OllamaGenerate,
        ProviderKind::Ollama,
        "llama3.2",
    ),
    (
        ProviderForm::OpenAiCompletions,
        ProviderKind::OpenAi,
        "gpt-3.5-turbo-instruct",
    ),
    (
        ProviderForm::OpenAiCompletions,
        ProviderKind::OpenAiCompatible,
        "some-model",
    ),
    CLAUDE,
];

const VECTORS: [To; 6] = [
    (
        ProviderForm::OpenAiEmbeddings,
        ProviderKind::OpenAi,
        "text-embedding-3-small",
    ),
    (
        ProviderForm::OpenAiEmbeddings,
        ProviderKind::OpenAiCompatible,
        "some-model",
    ),
    (
        ProviderForm::GoogleEmbed,
        ProviderKind::Google,
        "gemini-embedding-001",
    ),
    (
        ProviderForm::BedrockEmbed,
        ProviderKind::Bedrock,
        "amazon.titan-embed-text-v2:0",
    ),
    (
        ProviderForm::BedrockEmbed,
        ProviderKind::Bedrock,
        "cohere.embed-multilingual-v3",
    ),
    (
        ProviderForm::OllamaEmbed,
        ProviderKind::Ollama,
        "nomic-embed-text",
    ),
];

/// What a provider is told, and what the client is told of it.
#[derive(PartialEq)]
struct Outcome {
    told: Vec<(String, Vec<u8>, Vec<String>)>,
    dropped: Vec<&'static str>,
}

fn outcome(client: ClientForm, body: &Value, to: To) -> Result<Outcome, Refused> {
    let (form, kind, model) = to;
    let facts = Facts::bundled();
    let provider = ProviderProfile::of_kind("p", kind);
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
    let order = order(&translating, target, Reply::sample())?;
    let told = |outgoing: &ProviderRequest| {
        let ProviderRequest {
            path, body, stop, ..
        } = outgoing;
        (path.clone(), body.clone(), stop.clone())
    };
    Ok(Outcome {
        told: std::iter::once(&order.outgoing)
            .chain(&order.more)
            .map(told)
            .collect(),
        dropped: order.dropped.fields().to_vec(),
    })
}

/// The request with a member more, where its pointer says; the last step is the member's name.
fn with(mut body: Value, (pointer, value): &(&str, Value)) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer} has a parent"));
    match parent {
        Value::Array(items) => items.push(value.clone()),
        parent => parent[name] = value.clone(),
    }
    body
}

/// What comes to the same with and without, and is not lost: the gateway itself cuts an answer at stop strings that
/// Responses has no field for, and a completion has no template anyway.
fn is_kept(member: &(&str, Value), to: To) -> bool {
    match to.0 {
        ProviderForm::OpenAiResponses => {
            matches!(member.0, "/stop" | "/stop_sequences") || member.1.get("stop").is_some()
        }
        ProviderForm::OpenAiCompletions => member.0 == "/raw",
        _ => false,
    }
}

/// Which members are lost in silence.
fn lost(
    client: ClientForm,
    base: &Value,
    members: &[(&str, Value)],
    targets: &[To],
) -> Vec<String> {
    let mut lost = Vec::new();
    for to in targets {
        let before = outcome(client, base, *to)
            .unwrap_or_else(|refused| panic!("{client:?} {to:?}: {refused}"));
        for member in members {
            let after = outcome(client, &with(base.clone(), member), *to);
            if after.is_ok_and(|after| after == before) && !is_kept(member, *to) {
                lost.push(format!("{} of {client:?} to {to:?}", member.0));
            }
        }
    }
    lost
}

fn none_lost(client: ClientForm, base: &Value, members: &[(&str, Value)], targets: &[To]) {
    let lost = lost(client, base, members, targets);
    assert!(
        lost.is_empty(),
        "{} are lost:\n{}",
        lost.len(),
        lost.join("\n")
    );
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false})
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn of_a_chat() {
    let call =
        json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let base = json!({"model": "m", "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": "a", "tool_calls": call},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "user", "content": "r"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema()}}]});
    none_lost(
        ClientForm::OpenAiChat,
        &base,
        &[
            ("/audio", json!({"voice": "alloy", "format": "wav"})),
            ("/frequency_penalty", json!(0.5)),
            ("/logit_bias", json!({"5": 1})),
            ("/logprobs", json!(true)),
            ("/max_completion_tokens", json!(77)),
            ("/max_tokens", json!(77)),
            ("/metadata", json!({"a": "b"})),
            ("/modalities", json!(["text", "audio"])),
            ("/moderation", json!({"a": 1})),
            ("/n", json!(2)),
            ("/parallel_tool_calls", json!(false)),
            ("/prediction", json!({"type": "content", "content": "x"})),
            ("/presence_penalty", json!(0.5)),
            ("/prompt_cache_key", json!("k")),
            ("/prompt_cache_retention", json!("24h")),
            ("/reasoning_effort", json!("low")),
            ("/response_format", json!({"type": "json_object"})),
            (
                "/response_format",
                json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema()}}),
            ),
            ("/safety_identifier", json!("w")),
            ("/seed", json!(7)),
            ("/service_tier", json!("flex")),
            ("/stop", json!(["x"])),
            ("/store", json!(true)),
            ("/stream_options", json!({"include_obfuscation": true})),
            ("/temperature", json!(0.5)),
            ("/tool_choice", json!("required")),
            ("/tool_choice", json!("none")),
            (
                "/tools/-",
                json!({"type": "custom", "custom": {"name": "g"}}),
            ),
            ("/tools/0/function/description", json!("d")),
            ("/tools/0/function/strict", json!(true)),
            ("/top_p", json!(0.5)),
            ("/user", json!("w")),
            ("/verbosity", json!("low")),
            ("/web_search_options", json!({})),
            // Messages.
            ("/messages/0/name", json!("bob")),
            ("/messages/1/name", json!("ann")),
            ("/messages/2/name", json!("eve")),
            ("/messages/2/refusal", json!("no")),
            ("/messages/2/audio", json!({"id": "audio_1"})),
            (
                "/messages/1/content/-",
                json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}),
            ),
            (
                "/messages/1/content/-",
                json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
            ),
            (
                "/messages/1/content/-",
                json!({"type": "file", "file": {"file_id": "file-1"}}),
            ),
            (
                "/messages/1/content/-",
                json!({"type": "file", "file": {"filename": "n", "file_data": "data:text/plain;base64,aGk="}}),
            ),
            // Other servers' with this API.
            ("/best_of", json!(2)),
            ("/chat_template", json!("x")),
            ("/chat_template_kwargs", json!({"enable_thinking": true})),
            ("/documents", json!([{"text": "d"}])),
            ("/enable_thinking", json!(true)),
            ("/grammar", json!("root ::= x")),
            ("/guided_choice", json!(["a"])),
            ("/guided_grammar", json!("g")),
            ("/guided_json", json!({})),
            ("/guided_regex", json!("x")),
            ("/ignore_eos", json!(true)),
            ("/include_stop_str_in_output", json!(true)),
            ("/json_schema", json!({})),
            ("/length_penalty", json!(0.5)),
            ("/logits_processors", json!(["x"])),
            ("/mm_processor_kwargs", json!({"a": 1})),
            ("/min_p", json!(0.1)),
            ("/min_tokens", json!(2)),
            ("/models", json!(["a"])),
            ("/plugins", json!([{"id": "web"}])),
            ("/priority", json!(1)),
            ("/prompt_logprobs", json!(1)),
            ("/provider", json!({"order": ["a"]})),
            ("/random_seed", json!(7)),
            ("/reasoning", json!({"effort": "low"})),
            ("/reasoning_format", json!("hidden")),
            ("/include_reasoning", json!(false)),
            ("/repetition_penalty", json!(1.2)),
            ("/route", json!("fallback")),
            ("/safe_prompt", json!(true)),
            ("/search_parameters", json!({"mode": "on"})),
            ("/skip_special_tokens", json!(false)),
            ("/stop_token_ids", json!([1])),
            ("/structured_outputs", json!({})),
            (
                "/thinking",
                json!({"type": "enabled", "budget_tokens": 2048}),
            ),
            ("/top_a", json!(0.1)),
            ("/top_k", json!(5)),
            ("/transforms", json!(["middle-out"])),
            ("/typical_p", json!(0.1)),
            ("/use_beam_search", json!(true)),
            ("/verbosity", json!("high")),
            // Ollama's.
            ("/keep_alive", json!("5m")),
            ("/options", json!({"num_ctx": 9})),
            ("/num_ctx", json!(9)),
            ("/think", json!(true)),
            ("/truncate", json!(false)),
            ("/shift", json!(false)),
        ],
        &CHATS,
    );
    // Functions of 2023, where there are no tools.
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
    let functions = json!([{"name": "f", "parameters": schema()}]);
    let members = [("/functions", functions.clone())];
    none_lost(ClientForm::OpenAiChat, &base, &members, &CHATS);
    let base = with(base, &members[0]);
    let members = [
        ("/function_call", json!({"name": "f"})),
        ("/function_call", json!("none")),
    ];
    none_lost(ClientForm::OpenAiChat, &base, &members, &CHATS);
    // With alternatives, where there are log probabilities.
    let base =
        json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "logprobs": true});
    let takes_them = [OPENAI, RESPONSES, OTHER, OLLAMA];
    none_lost(
        ClientForm::OpenAiChat,
        &base,
        &[("/top_logprobs", json!(3))],
        &takes_them,
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn of_a_response() {
    let base = json!({"model": "m", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
            {"role": "user", "content": "r"}],
        "tools": [{"type": "function", "name": "f", "parameters": schema()}]});
    none_lost(
        ClientForm::OpenAiResponses,
        &base,
        &[
            ("/background", json!(true)),
            ("/client_metadata", json!({"a": "b"})),
            ("/context_management", json!([{"type": "compaction"}])),
            ("/conversation", json!("conv_1")),
            ("/include", json!(["message.output_text.logprobs"])),
            ("/include", json!(["file_search_call.results"])),
            ("/include", json!(["web_search_call.action.sources"])),
            ("/include", json!(["code_interpreter_call.outputs"])),
            ("/instructions", json!("i")),
            ("/max_output_tokens", json!(77)),
            ("/max_tool_calls", json!(3)),
            ("/metadata", json!({"a": "b"})),
            ("/moderation", json!({"a": 1})),
            ("/parallel_tool_calls", json!(false)),
            ("/previous_response_id", json!("resp_1")),
            ("/prompt", json!({"id": "p"})),
            ("/prompt_cache_key", json!("k")),
            ("/prompt_cache_retention", json!("24h")),
            ("/reasoning", json!({"effort": "low"})),
            ("/reasoning", json!({"summary": "detailed"})),
            ("/reasoning", json!({"generate_summary": "detailed"})),
            ("/safety_identifier", json!("w")),
            ("/service_tier", json!("flex")),
            ("/store", json!(true)),
            ("/stream_options", json!({"include_obfuscation": true})),
            ("/temperature", json!(0.5)),
            ("/text", json!({"verbosity": "low"})),
            ("/text", json!({"format": {"type": "json_object"}})),
            (
                "/text",
                json!({"format": {"type": "json_schema", "name": "n", "schema": schema()}}),
            ),
            ("/tool_choice", json!("required")),
            ("/tool_choice", json!({"type": "function", "name": "f"})),
            ("/tools/-", json!({"type": "web_search"})),
            ("/tools/-", json!({"type": "custom", "name": "g"})),
            ("/tools/-", json!({"type": "mcp", "server_label": "l"})),
            ("/tools/0/description", json!("d")),
            ("/tools/0/strict", json!(true)),
            ("/top_logprobs", json!(3)),
            ("/top_p", json!(0.5)),
            ("/truncation", json!("auto")),
            ("/user", json!("w")),
            (
                "/input/0/content/-",
                json!({"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}),
            ),
            (
                "/input/0/content/-",
                json!({"type": "input_image", "file_id": "file-1"}),
            ),
            (
                "/input/0/content/-",
                json!({"type": "input_file", "file_url": "https://example.com/a.pdf"}),
            ),
            (
                "/input/0/content/-",
                json!({"type": "input_file", "filename": "n", "file_data": "data:text/plain;base64,aGk="}),
            ),
            (
                "/input/-",
                json!({"type": "web_search_call", "id": "w", "status": "completed"}),
            ),
            ("/input/-", json!({"type": "item_reference", "id": "i"})),
            ("/keep_alive", json!("5m")),
            ("/options", json!({"num_ctx": 9})),
            ("/think", json!(true)),
        ],
        &CHATS,
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn of_a_message() {
    let base = json!({"model": "m", "max_tokens": 9000, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "42"}]}]},
            {"role": "user", "content": "r"}],
        "tools": [{"name": "f", "input_schema": schema()}]});
    let mark = json!({"type": "ephemeral"});
    let others = [
        BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
    ];
    let members = [
        ("/container", json!("c")),
        ("/context_management", json!({"edits": []})),
        ("/inference_geo", json!("us")),
        ("/max_tokens", json!(77)),
        (
            "/mcp_servers",
            json!([{"type": "url", "url": "https://example.com", "name": "n"}]),
        ),
        ("/metadata", json!({"user_id": "w"})),
        ("/output_config", json!({"effort": "low"})),
        (
            "/output_config",
            json!({"format": {"type": "json_schema", "schema": schema()}}),
        ),
        (
            "/output_config",
            json!({"task_budget": {"type": "tokens", "total": 9}}),
        ),
        (
            "/output_format",
            json!({"type": "json_schema", "schema": schema()}),
        ),
        ("/service_tier", json!("priority")),
        ("/speed", json!("fast")),
        ("/stop_sequences", json!(["x"])),
        ("/system", json!("s")),
        ("/temperature", json!(0.5)),
        (
            "/thinking",
            json!({"type": "enabled", "budget_tokens": 2048}),
        ),
        (
            "/thinking",
            json!({"type": "adaptive", "display": "omitted"}),
        ),
        ("/tool_choice", json!({"type": "any"})),
        ("/tool_choice", json!({"type": "none"})),
        (
            "/tool_choice",
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (
            "/tools/-",
            json!({"type": "web_search_20250305", "name": "web_search"}),
        ),
        ("/tools/0/description", json!("d")),
        ("/tools/0/strict", json!(true)),
        ("/tools/0/input_examples", json!([{}])),
        ("/tools/0/defer_loading", json!(true)),
        (
            "/tools/0/allowed_callers",
            json!(["code_execution_20250825"]),
        ),
        ("/tools/0/eager_input_streaming", json!(true)),
        ("/top_k", json!(5)),
        ("/top_p", json!(0.5)),
        ("/messages/2/content/0/is_error", json!(true)),
        (
            "/messages/0/content/-",
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}),
        ),
        (
            "/messages/0/content/-",
            json!({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        ),
        (
            "/messages/0/content/-",
            json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}),
        ),
        (
            "/messages/0/content/-",
            json!({"type": "document", "source": {"type": "content", "content": "d"}}),
        ),
        (
            "/messages/0/content/-",
            json!({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
        ),
        (
            "/messages/0/content/-",
            json!({"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "d"}]}),
        ),
        (
            "/messages/0/content/-",
            json!({"type": "container_upload", "file_id": "f"}),
        ),
        (
            "/messages/1/content/-",
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        ("/keep_alive", json!("5m")),
        ("/options", json!({"num_ctx": 9})),
    ];
    none_lost(ClientForm::AnthropicMessages, &base, &members, &others);
    let marks = [
        ("/cache_control", mark.clone()),
        ("/tools/0/cache_control", mark.clone()),
        ("/messages/0/content/0/cache_control", mark),
    ];
    none_lost(
        ClientForm::AnthropicMessages,
        &base,
        &marks,
        &[BEDROCK, OPENROUTER, OTHER],
    );
}

fn options() -> Vec<(&'static str, Value)> {
    vec![
        ("/options", json!({"frequency_penalty": 0.5})),
        ("/options", json!({"min_p": 0.1})),
        ("/options", json!({"mirostat": 1})),
        ("/options", json!({"num_batch": 9})),
        ("/options", json!({"num_ctx": 9})),
        ("/options", json!({"num_gpu": 1})),
        ("/options", json!({"num_keep": 4})),
        ("/options", json!({"num_predict": 77})),
        ("/options", json!({"num_thread": 4})),
        ("/options", json!({"penalize_newline": true})),
        ("/options", json!({"presence_penalty": 0.5})),
        ("/options", json!({"repeat_last_n": 9})),
        ("/options", json!({"repeat_penalty": 1.2})),
        ("/options", json!({"seed": 7})),
        ("/options", json!({"stop": ["x"]})),
        ("/options", json!({"temperature": 0.5})),
        ("/options", json!({"top_k": 5})),
        ("/options", json!({"top_p": 0.5})),
        ("/options", json!({"typical_p": 0.5})),
        ("/options", json!({"use_mmap": true})),
        ("/format", json!("json")),
        ("/format", schema()),
        ("/keep_alive", json!("5m")),
        ("/logprobs", json!(true)),
        ("/shift", json!(false)),
        ("/think", json!(true)),
        ("/truncate", json!(false)),
    ]
}

#[test]
fn of_a_chat_of_ollamas() {
    let base = json!({"model": "m", "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "tool_name": "f", "content": "42"},
            {"role": "user", "content": "r"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema()}}]});
    let mut members = options();
    members.extend([
        ("/messages/0/images", json!(["iVBORw0KGgo="])),
        ("/tools/0/function/description", json!("d")),
        ("/_debug_render_only", json!(true)),
    ]);
    let others = [
        CLAUDE, BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER,
    ];
    none_lost(ClientForm::OllamaChat, &base, &members, &others);
}

#[test]
fn of_a_completion() {
    let base = json!({"model": "m", "prompt": "p"});
    let mut members = options();
    members.extend([
        ("/context", json!([1])),
        ("/images", json!(["iVBORw0KGgo="])),
        ("/raw", json!(true)),
        ("/suffix", json!("s")),
        ("/system", json!("s")),
        ("/template", json!("{{ .Prompt }}")),
        ("/width", json!(64)),
        ("/height", json!(64)),
        ("/steps", json!(4)),
    ]);
    let others = [
        CLAUDE,
        BEDROCK,
        OPENROUTER,
        GEMINI,
        OPENAI,
        RESPONSES,
        OTHER,
        CONTINUES[1],
        CONTINUES[2],
    ];
    none_lost(ClientForm::OllamaGenerate, &base, &members, &others);
    let members = [
        ("/best_of", json!(2)),
        ("/echo", json!(true)),
        ("/frequency_penalty", json!(0.5)),
        ("/logit_bias", json!({"5": 1})),
        ("/logprobs", json!(2)),
        ("/max_tokens", json!(77)),
        ("/n", json!(2)),
        ("/presence_penalty", json!(0.5)),
        ("/seed", json!(7)),
        ("/stop", json!(["x"])),
        ("/suffix", json!("s")),
        ("/temperature", json!(0.5)),
        ("/top_p", json!(0.5)),
        ("/user", json!("w")),
        ("/keep_alive", json!("5m")),
        ("/raw", json!(true)),
        ("/template", json!("{{ .Prompt }}")),
        ("/system", json!("s")),
    ];
    // Ollama's servers continue texts by an operation of their own.
    let targets = [&CHATS[..7], &CONTINUES[..]].concat();
    none_lost(ClientForm::OpenAiCompletions, &base, &members, &targets);
}

#[test]
fn of_embeddings() {
    let base = json!({"model": "m", "input": ["a"]});
    let of_ollama = [
        ("/keep_alive", json!("5m")),
        ("/options", json!({"num_ctx": 9})),
    ];
    let mut members = of_ollama.to_vec();
    members.push(("/dimensions", json!(256)));
    none_lost(ClientForm::OllamaEmbed, &base, &members, &VECTORS[..5]);
    members.extend([
        ("/encoding_format", json!("int8")),
        ("/input_type", json!("query")),
        ("/user", json!("w")),
        ("/truncate_prompt_tokens", json!(9)),
        ("/provider", json!({"order": ["a"]})),
    ]);
    none_lost(ClientForm::OpenAiEmbeddings, &base, &members, &VECTORS);
    // One of both is what a provider does by itself.
    for to in VECTORS {
        for client in [ClientForm::OpenAiEmbeddings, ClientForm::OllamaEmbed] {
            let (yes, no) = (("/truncate", json!(true)), ("/truncate", json!(false)));
            let silent = lost(client, &base, &[yes, no], &[to]);
            assert!(silent.len() < 2, "{silent:?}");
        }
    }
    let base = json!({"model": "m", "prompt": "a"});
    none_lost(
        ClientForm::OllamaEmbeddings,
        &base,
        &of_ollama,
        &VECTORS[..5],
    );
}
