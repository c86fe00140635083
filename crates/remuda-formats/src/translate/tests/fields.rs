//! Fields beside the conversation: what a provider has no place for is named, and is told to be missing by the name that
//! the client has for it.

use serde_json::{Value, json};

use super::*;
use crate::ir::{Dropped, Refused};
use crate::translate::order::faithful;

const EVERYBODY: [To; 8] = [
    CLAUDE, BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
];

/// A question in a client's form, with these fields.
fn question(client: ClientForm, fields: Value) -> Value {
    let mut body = match client {
        ClientForm::OpenAiResponses => json!({"model": "m", "input": "q"}),
        _ => {
            json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}]})
        }
    };
    let Value::Object(fields) = fields else {
        panic!("fields are an object");
    };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// A question about one part, in the form of Messages.
fn about(part: &Value) -> Value {
    json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": [part]}]})
}

#[test]
fn who_the_user_is_is_sent_or_named() {
    for (client, fields, name) in [
        (ClientForm::OpenAiChat, json!({"user": "WHO"}), "user"),
        (ClientForm::OpenAiResponses, json!({"user": "WHO"}), "user"),
        (
            ClientForm::OpenAiChat,
            json!({"safety_identifier": "WHO"}),
            "safety_identifier",
        ),
        (
            ClientForm::AnthropicMessages,
            json!({"metadata": {"user_id": "WHO"}}),
            "metadata.user_id",
        ),
    ] {
        for to in EVERYBODY {
            let (body, dropped) = sent(client, &question(client, fields.clone()), to);
            let is_sent = body.to_string().contains("WHO");
            assert_ne!(is_sent, dropped.contains(&name), "{client:?} {to:?} {body}");
            assert!(
                is_sent || dropped == [name],
                "{client:?} {to:?} {dropped:?}"
            );
        }
    }
}

/// Words of the assistant's that an answer is to begin with, to models that do not go on with them.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn words_to_go_on_with_are_named_where_nobody_does() {
    let turns =
        json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "It is"}]);
    let refusing = [
        GEMINI,
        (
            ProviderForm::OpenAiChat,
            ProviderKind::OpenRouter,
            "anthropic/claude-opus-5",
        ),
        (
            ProviderForm::OpenAiChat,
            ProviderKind::OpenAiCompatible,
            "claude-opus-5",
        ),
        (
            ProviderForm::OpenAiResponses,
            ProviderKind::OpenAiCompatible,
            "claude-opus-5",
        ),
        (
            ProviderForm::AnthropicMessages,
            ProviderKind::Anthropic,
            "claude-opus-5",
        ),
        (
            ProviderForm::BedrockConverse,
            ProviderKind::Bedrock,
            "us.anthropic.claude-opus-5-v1:0",
        ),
    ];
    for (client, asked) in [
        (
            ClientForm::OllamaChat,
            json!({"model": "m", "messages": turns}),
        ),
        (
            ClientForm::OpenAiChat,
            json!({"model": "m", "messages": turns}),
        ),
        (
            ClientForm::OpenAiResponses,
            json!({"model": "m", "input": turns}),
        ),
        (
            ClientForm::AnthropicMessages,
            json!({"model": "m", "max_tokens": 99, "messages": turns}),
        ),
    ] {
        for to in refusing {
            let (body, dropped) = sent(client, &asked, to);
            assert_eq!(dropped, ["prefill"], "{client:?} {to:?}");
            let last = self::turns(&body).as_array().unwrap().last().unwrap();
            assert_eq!(last["role"], "user", "{client:?} {to:?} {body}");
        }
        // Who goes on, or may, is not asked to begin anew.
        for to in [OPENAI, OTHER, RESPONSES, OLLAMA, CLAUDE] {
            let (body, dropped) = sent(client, &asked, to);
            assert_eq!(dropped, [""; 0], "{client:?} {to:?}");
            let last = self::turns(&body).as_array().unwrap().last().unwrap();
            assert_eq!(last["role"], "assistant", "{client:?} {to:?} {body}");
        }
    }
}

/// Who speaks is told by the field where there is one, else before the words, as OpenRouter does.
#[test]
fn names_of_speakers_are_kept_or_said() {
    let asked = json!({"model": "m", "messages": [
        {"role": "system", "content": "s", "name": "rules"},
        {"role": "user", "content": "one", "name": "ann"},
        {"role": "user", "content": "two", "name": "bob"},
        {"role": "assistant", "content": "three", "name": "eve"},
        {"role": "user", "content": "four"}]});
    let client = ClientForm::OpenAiChat;
    for to in EVERYBODY {
        let (body, dropped) = sent(client, &asked, to);
        let text = body.to_string();
        if to == OPENAI || to == OPENROUTER {
            let names: Vec<_> = turns(&body)
                .as_array()
                .unwrap()
                .iter()
                .map(|turn| turn["name"].as_str())
                .collect();
            let expected = [Some("rules"), Some("ann"), Some("bob"), Some("eve"), None];
            assert_eq!(names, expected, "{to:?} {text}");
            assert_eq!(dropped, [""; 0], "{to:?}");
            continue;
        }
        assert!(text.contains("rules: s"), "{to:?} {text}");
        let words = ["ann: one", "bob: two", "three", "four"];
        assert!(places(&text, &words).is_sorted(), "{to:?} {text}");
        assert!(
            !text.contains("eve") && !text.contains("\"name\""),
            "{to:?} {text}"
        );
        assert_eq!(dropped, ["messages.name"], "{to:?}");
    }
}

/// What a client has found by itself, and a document in pieces, are read as documents of text are.
#[test]
fn what_was_found_is_told_with_its_title_and_source() {
    let pieces = json!([{"type": "text", "text": "ONE"}, {"type": "text", "text": "TWO"}]);
    let found = json!({"type": "search_result", "title": "TITLE", "source": "https://example.com/SOURCE",
        "content": pieces, "citations": {"enabled": true}});
    let cut = json!({"type": "document", "title": "TITLE", "context": "SOURCE",
        "source": {"type": "content", "content": pieces}});
    let plain = json!({"type": "document", "title": "TITLE", "context": "SOURCE",
        "source": {"type": "content", "content": "ONE TWO"}});
    let others = [
        BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
    ];
    for (block, named) in [
        (&found, vec!["messages.content.citations"]),
        (&cut, vec![]),
        (&plain, vec![]),
    ] {
        let of_tool = json!({"model": "m", "max_tokens": 99, "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [block]}]}]});
        for to in others {
            for asked in [&about(block), &of_tool] {
                let (body, dropped) = sent(ClientForm::AnthropicMessages, asked, to);
                let places = places(&body.to_string(), &["TITLE", "SOURCE", "ONE", "TWO"]);
                assert!(places.is_sorted(), "{to:?} {body}");
                assert_eq!(dropped, named, "{to:?}");
            }
        }
    }
    // With a picture among the pieces.
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let shown = json!({"type": "document", "title": "TITLE",
        "source": {"type": "content", "content": [{"type": "text", "text": "ONE"}, image]}});
    let (body, _) = sent(ClientForm::AnthropicMessages, &about(&shown), BEDROCK);
    assert!(places(&body.to_string(), &["TITLE", "ONE", "iVBORw0KGgo="]).is_sorted());
    // By address nobody else reads it, and that is said.
    let away = about(
        &json!({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
    );
    let body = away.to_string();
    let refused = crate::dialect::anthropic::read_chat(body.as_bytes()).unwrap_err();
    assert!(refused.text.contains("not by address"), "{refused}");
}

#[test]
fn what_only_anthropic_has_is_named() {
    let asked = json!({"inference_geo": "us", "speed": "fast",
        "output_config": {"task_budget": {"type": "tokens", "total": 9000}},
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "input_examples": [{}]}]});
    let client = ClientForm::AnthropicMessages;
    for to in [
        BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
    ] {
        let (_, dropped) = sent(client, &question(client, asked.clone()), to);
        for name in [
            "inference_geo",
            "speed",
            "output_config.task_budget",
            "tools.input_examples",
        ] {
            assert!(dropped.contains(&name), "{to:?} {name} {dropped:?}");
        }
    }
    let usual = question(client, json!({"speed": "standard"}));
    assert_eq!(sent(client, &usual, GEMINI).1, [""; 0]);
}

#[test]
fn a_format_by_its_older_name_is_one() {
    let client = ClientForm::AnthropicMessages;
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}},
        "required": ["a"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "schema": schema});
    for to in EVERYBODY {
        let older = sent(
            client,
            &question(client, json!({"output_format": format})),
            to,
        );
        let newer = json!({"output_config": {"format": format}});
        assert_eq!(older, sent(client, &question(client, newer), to), "{to:?}");
        assert!(
            older.0.to_string().contains("required"),
            "{to:?} {}",
            older.0
        );
    }
}

#[test]
fn a_document_of_text_keeps_its_title_and_context() {
    let document = about(
        &json!({"type": "document", "title": "TITLE", "context": "CONTEXT",
        "citations": {"enabled": true},
        "source": {"type": "text", "media_type": "text/plain", "data": "WORDS"}}),
    );
    for to in [
        BEDROCK, OPENROUTER, GEMINI, OPENAI, RESPONSES, OTHER, OLLAMA,
    ] {
        let (body, dropped) = sent(ClientForm::AnthropicMessages, &document, to);
        let places = places(&body.to_string(), &["TITLE", "CONTEXT", "WORDS"]);
        assert!(places.is_sorted(), "{to:?} {body}");
        assert_eq!(dropped, ["messages.content.citations"], "{to:?}");
    }
    let pdf = about(&json!({"type": "document", "title": "T", "context": "C",
        "citations": {"enabled": false},
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}));
    let (_, dropped) = sent(ClientForm::AnthropicMessages, &pdf, GEMINI);
    assert!(dropped.contains(&"messages.content.context"), "{dropped:?}");
}

#[test]
fn files_of_text_are_documents_of_text_to_anthropic() {
    for kind in [
        "text/plain",
        "text/markdown",
        "text/csv",
        "text/plain;charset=utf-8",
        "application/json",
    ] {
        let data = format!("data:{kind};base64,aMOkIg==");
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.txt", "file_data": data}}]}]});
        let responses = json!({"model": "m", "input": [{"role": "user", "content": [
            {"type": "input_file", "filename": "a.txt", "file_data": data}]}]});
        for (client, body) in [
            (ClientForm::OpenAiChat, chat),
            (ClientForm::OpenAiResponses, responses),
        ] {
            let (body, dropped) = sent(client, &body, CLAUDE);
            assert_eq!(
                body["messages"][0]["content"],
                json!([{"type": "document", "title": "a.txt",
                    "source": {"type": "text", "media_type": "text/plain", "data": "hä\""}}]),
                "{kind}"
            );
            assert_eq!(dropped, [""; 0]);
        }
    }
}

#[test]
fn marks_in_the_input_of_responses_are_breakpoints() {
    let mark = json!({"type": "ephemeral"});
    let asked = json!({"model": "m", "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "one", "cache_control": mark},
            {"type": "input_text", "text": "two"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [
            {"type": "input_text", "text": "three", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"role": "user", "content": "four", "cache_control": mark}]});
    let client = ClientForm::OpenAiResponses;
    let (body, dropped) = sent(client, &asked, CLAUDE);
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"type": "text", "text": "one", "cache_control": mark}, {"type": "text", "text": "two"}])
    );
    let last = &body["messages"][2]["content"];
    assert_eq!(last[0]["cache_control"]["ttl"], "1h", "{body}");
    assert_eq!(last[1]["cache_control"], mark, "{body}");
    assert_eq!(dropped, [""; 0]);
    let (body, _) = sent(client, &asked, BEDROCK);
    assert_eq!(body.to_string().matches("cachePoint").count(), 3, "{body}");
    assert_eq!(sent(client, &asked, OTHER).1, ["cache_control"]);
}

/// What says nothing of the answer is no reason to refuse a request.
#[test]
fn strictness_is_about_the_answer() {
    let strict = |fields: &[&'static str]| -> Result<(), Refused> {
        let mut dropped = Dropped::default();
        fields.iter().for_each(|field| dropped.add(field));
        faithful(Fidelity::Strict, &dropped, ProviderKind::OpenAiCompatible)
    };
    for field in [
        "cache_control",
        "cache_control.ttl",
        "keep_alive",
        "user",
        "metadata.user_id",
    ] {
        assert_eq!(strict(&[field]), Ok(()), "{field}");
    }
    for field in ["top_k", "inference_geo", "messages.content"] {
        assert!(strict(&["keep_alive", field]).is_err(), "{field}");
    }
}
