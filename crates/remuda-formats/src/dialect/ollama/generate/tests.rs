//! Prompts as clients send them and as servers get them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::ModelFacts;
use crate::ir::{
    ChatRequest, Completion, Image, Json, Local, MediaType, Message, Part, Role, Text, Thinking,
    Tool,
};
use crate::provider::{ProviderKind, ProviderProfile};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

fn read(body: &str) -> ChatRequest<'_> {
    read_chat(body.as_bytes()).unwrap()
}

fn refused(body: &str) -> String {
    read_chat(body.as_bytes()).unwrap_err().text.into_owned()
}

fn text(text: &str) -> Text<'_> {
    Text::plain(text)
}

fn asked(request: ChatRequest<'_>) -> ProviderRequest {
    let (facts, provider) = (
        ModelFacts::default(),
        ProviderProfile::of_kind("gpus", ProviderKind::Ollama),
    );
    let target = Target {
        model: "codellama",
        facts: &facts,
        provider,
        stream: request.stream,
    };
    write_chat(request, &target).unwrap()
}

#[test]
fn a_prompt_is_a_chat_as_well() {
    let body = format!(
        r#"{{"model":"m","prompt":"Why?","System":"Be brief.","images":["{PNG}"],"think":true,
            "options":{{"num_predict":5}},"context":[],"keep_alive":"1h"}}"#
    );
    let image = Image::Base64 {
        media_type: MediaType::Png,
        data: PNG.into(),
        detail: None,
    };
    let expected = ChatRequest {
        stream: true,
        messages: vec![
            Message::new(Role::System, vec![Part::Text(text("Be brief."))]),
            Message::new(
                Role::User,
                vec![Part::Text(text("Why?")), Part::Image(image)],
            ),
        ],
        completion: Some(Completion {
            prompt: text("Why?"),
            system: Some(text("Be brief.")),
            ..Completion::default()
        }),
        thinking: Some(Thinking::On),
        max_tokens: Some(5),
        local: Local {
            keep_alive: Some(Json::trusted(r#""1h""#)),
            ..Local::default()
        },
        ..ChatRequest::default()
    };
    assert_eq!(read(&body), expected);
}

#[test]
fn raw_and_context_are_refused_where_ollama_does_and_memory_is_never_lost() {
    let raw = "raw mode does not support template, system, or context";
    for body in [
        r#"{"prompt":"x","raw":true,"system":"s"}"#,
        r#"{"prompt":"x","raw":true,"template":"t"}"#,
        r#"{"prompt":"x","raw":true,"context":[1]}"#,
    ] {
        assert_eq!(refused(body), raw);
    }
    let context = read_chat(br#"{"prompt":"x","context":[ 1,2]}"#).unwrap_err();
    assert_eq!(context.param, Some("context"));
    assert!(read_chat(br#"{"prompt":"x","context":[ ],"raw":true}"#).is_ok());
    for (body, words) in [
        (
            r#"{"prompt":["x"]}"#,
            "json: cannot unmarshal array into Go struct field GenerateRequest.prompt of type string",
        ),
        (
            r#"{"context":"x"}"#,
            "json: cannot unmarshal string into Go struct field GenerateRequest.context of type []int",
        ),
        (
            r#"{"raw":1}"#,
            "json: cannot unmarshal number into Go struct field GenerateRequest.raw of type bool",
        ),
        (
            "[]",
            "json: cannot unmarshal array into Go value of type api.GenerateRequest",
        ),
        (
            r#"{"options":{"stop":"x"}}"#,
            r#"option "stop" must be of type array"#,
        ),
    ] {
        assert_eq!(refused(body), words);
    }
}

#[test]
fn a_server_gets_the_prompt() {
    let body = format!(
        r#"{{"prompt":"def f(","suffix":"return","template":"{{{{.Prompt}}}}","images":["{PNG}"],"stream":false,
            "format":"json","options":{{"stop":["x"]}}}}"#
    );
    let outgoing = asked(read(&body));
    assert_eq!(outgoing.path, "/api/generate");
    assert!(outgoing.dropped.is_empty());
    let sent: Value = serde_json::from_slice(&outgoing.body).unwrap();
    let expected = json!({"model": "codellama", "prompt": "def f(", "suffix": "return", "template": "{{.Prompt}}",
        "images": [PNG], "format": "json", "options": {"stop": ["x"]}, "stream": false});
    assert_eq!(sent, expected);
}

#[test]
fn a_chat_stays_a_chat() {
    let request = ChatRequest {
        messages: vec![Message::new(Role::User, vec![Part::Text(text("x"))])],
        ..ChatRequest::default()
    };
    assert_eq!(asked(request).path, "/api/chat");
    let tool = Tool {
        name: text("f"),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    };
    let with_tools = ChatRequest {
        tools: vec![tool],
        ..read(r#"{"prompt":"x"}"#)
    };
    assert_eq!(asked(with_tools).dropped.fields(), ["tools"]);
}

#[test]
fn loads_and_unloads_are_told_from_prompts() {
    let load = |body: &str| load_request(body.as_bytes());
    assert_eq!(
        load(r#"{"model":"m","prompt":""}"#),
        Some(LoadOrUnload::Load)
    );
    assert_eq!(
        load(r#"{"model":"m","keep_alive":0}"#),
        Some(LoadOrUnload::Unload)
    );
    assert_eq!(load(r#"{"model":"m","prompt":"x","keep_alive":0}"#), None);
    assert_eq!(load("{"), None);
}

proptest! {
    #[test]
    fn a_prompt_that_is_written_is_read_again(
        prompt in ".{1,12}",
        suffix in proptest::option::of(".{1,6}"),
        system in proptest::option::of(".{1,6}"),
        template in proptest::option::of(".{1,6}"),
        raw in any::<bool>(),
        images in 0..3_usize,
        seed in proptest::option::of(0..100),
    ) {
        prop_assume!(!raw || (system.is_none() && template.is_none()));
        let body = json!({"prompt": prompt, "suffix": suffix, "system": system, "template": template, "raw": raw,
            "images": vec![PNG; images], "options": {"seed": seed}, "stream": raw});
        let body = body.to_string();
        let request = read(&body);
        let written = asked(request.clone());
        prop_assert!(written.dropped.is_empty());
        prop_assert!(read_chat(&written.body).unwrap() == request);
    }

    #[test]
    fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
        let _ = read_chat(&body);
    }
}
