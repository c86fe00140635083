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
