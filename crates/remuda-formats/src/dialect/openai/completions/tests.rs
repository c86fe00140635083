//! Completions in both directions.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;

use super::*;
use crate::dialect::exchange::{Reply, Target};
use crate::facts::{Capability, ModelFacts};
use crate::ir::{
    Assembler, ChatRequest, Completion, Event, Fault, Finish, Format, Image, Json, Message, Part,
    Role, Text, ToolNames, Usage,
};
use crate::provider::{ProviderKind, ProviderProfile, SamplingFields};

fn text(text: &'static str) -> Text<'static> {
    Text::escaped(text)
}

fn reply(include_usage: bool) -> Reply {
    Reply {
        include_usage,
        ..Reply::sample()
    }
}

#[test]
fn a_completion_is_a_chat_of_one_message() {
    let body = json!({"model": "m", "prompt": ["once"], "suffix": "end", "echo": true, "max_tokens": 9, "logprobs": 2,
        "temperature": 0.5, "stop": "x", "stream": true, "n": 1, "best_of": 1, "user": "u"})
    .to_string();
    let request = read_chat(body.as_bytes()).unwrap();
    let completion = request.completion.as_ref().unwrap();
    assert_eq!(completion.prompt, text("once"));
    assert_eq!(completion.suffix, Some(text("end")));
    assert!(completion.echo && !completion.raw && request.stream);
    assert_eq!(
        request.messages,
        [Message::new(Role::User, vec![Part::Text(text("once"))])]
    );
    assert_eq!((request.max_tokens, request.logprobs), (Some(9), Some(2)));
    assert_eq!(request.sampling.temperature, Some(0.5));
    assert_eq!(
        (request.stop, request.user),
        (vec![text("x")], Some(text("u")))
    );
}

#[test]
fn wrong_requests_are_refused_by_name() {
    for (fields, blamed) in [
        (json!({}), "prompt"),
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"prompt": [1, 2]}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": "a", "n": 0}), "n"),
        (json!({"prompt": "a", "best_of": 2}), "best_of"),
        (json!({"prompt": "a", "logprobs": true}), "logprobs"),
    ] {
        let body = fields.to_string();
        assert_eq!(
            read_chat(body.as_bytes()).unwrap_err().param,
            Some(blamed),
            "{fields}"
        );
    }
}

fn steps() -> Vec<Event<'static>> {
    vec![
        Event::Start {
            id: None,
            model: None,
        },
        Event::Thinking(text("hm")),
        Event::Text(text("hé")),
        Event::Logprobs(Json::trusted(
            r#"[{"token":"hé","logprob":-0.5,"bytes":[],"top_logprobs":[{"token":"a\"","logprob":-2}]}]"#,
        )),
        Event::Text(text("y")),
        Event::Logprobs(Json::trusted(r#"[{"token":"y","logprob":-1}]"#)),
        Event::Usage(Usage {
            prompt: Some(1),
            output: Some(2),
            ..Usage::default()
        }),
        Event::Finish {
            reason: Finish::Stop,
            stop: None,
        },
        Event::End,
    ]
}

fn streamed(reply: Reply, steps: &[Event<'_>]) -> Vec<Value> {
    let mut encoder = encoder(reply);
    let mut out = Vec::new();
    for step in steps {
        encoder.event(step, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    text.split_terminator("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
        .collect()
}

#[test]
fn streams_are_text_completions() {
    let chunk = |text: &str, logprobs: Value, finish: Value| {
        json!({"id": "cmpl-a1", "object": "text_completion", "created": 7, "model": "m",
            "choices": [{"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}]})
    };
    assert_eq!(
        streamed(reply(false), &steps()),
        [
            chunk("hé", Value::Null, Value::Null),
            chunk(
                "",
                json!({"tokens": ["hé"], "token_logprobs": [-0.5], "top_logprobs": [{"a\"": -2.0}],
                "text_offset": [0]}),
                Value::Null
            ),
            chunk("y", Value::Null, Value::Null),
            chunk(
                "",
                json!({"tokens": ["y"], "token_logprobs": [-1.0], "top_logprobs": [{}],
                "text_offset": [2]}),
                Value::Null
            ),
            chunk("", Value::Null, json!("stop")),
            json!("[DONE]"),
        ]
    );
    let with_usage = streamed(reply(true), &steps());
    assert_eq!(with_usage[5]["usage"]["total_tokens"], 3);
    assert_eq!(with_usage[6], "[DONE]");
}

#[test]
fn a_failure_is_the_last_event() {
    let fault = Fault::incomplete();
    let failed = Event::Failed(Cow::Borrowed(&fault));
    let events = streamed(reply(true), &[Event::Text(text("a")), failed, Event::End]);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["error"]["type"], "server_error");
}

#[test]
fn whole_answers_are_text_completions() {
    let mut assembler = Assembler::default();
    for step in &steps() {
        assembler.event(step);
    }
    let mut out = Vec::new();
    write_whole(&assembler.finish().unwrap(), &reply(false), &mut out);
    let body: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        body["choices"],
        json!([{"text": "héy", "index": 0, "finish_reason": "stop",
        "logprobs": {"tokens": ["hé", "y"], "token_logprobs": [-0.5, -1.0], "top_logprobs": [{"a\"": -2.0}, {}],
            "text_offset": [0, 2]}}])
    );
    assert_eq!(body["usage"]["completion_tokens"], 2);
}

fn raw(change: impl FnOnce(&mut ChatRequest<'static>)) -> ChatRequest<'static> {
    let mut request = ChatRequest {
        messages: vec![Message::new(Role::User, vec![Part::Text(text("p"))])],
        completion: Some(Completion {
            prompt: text("p"),
            raw: true,
            ..Completion::default()
        }),
        ..ChatRequest::default()
    };
    change(&mut request);
    request
}

fn ask(
    kind: ProviderKind,
    sampling: SamplingFields,
    facts: ModelFacts,
    request: ChatRequest<'_>,
) -> Result<Value, Option<&'static str>> {
    let mut provider = ProviderProfile::of_kind("p", kind);
    provider.sampling = sampling;
    let target = Target {
        model: "m",
        facts: &facts,
        provider,
        stream: true,
    };
    let outgoing = write_chat(request, &target).map_err(|refused| refused.param)?;
    assert_eq!(outgoing.path, "/completions");
    Ok(serde_json::from_slice(&outgoing.body).unwrap())
}

#[test]
fn raw_prompts_and_gaps_go_to_servers_that_take_them() {
    use ProviderKind::*;
    let filler = || ModelFacts {
        capabilities: Some(vec![Capability::Insert]),
        ..ModelFacts::default()
    };
    let unknown = ModelFacts::default;
    let full = || {
        raw(|request| {
            let completion = request.completion.as_mut().unwrap();
            completion.suffix = Some(text("s"));
            completion.system = Some(text("ignored"));
            request.max_tokens = Some(5);
            request.sampling.top_k = Some(4);
            request.stop = vec![text("x")];
            request.logprobs = Some(9);
        })
    };
    assert_eq!(
        ask(OpenAiCompatible, SamplingFields::Vllm, unknown(), full()),
        Ok(
            json!({"model": "m", "prompt": "p", "suffix": "s", "max_tokens": 5, "stream": true,
            "stream_options": {"include_usage": true}, "top_k": 4, "stop": ["x"], "logprobs": 5})
        )
    );
    let chats_only = || ModelFacts {
        capabilities: Some(vec![Capability::Completion]),
        ..ModelFacts::default()
    };
    for (kind, facts, served) in [
        (OpenAi, unknown(), false),
        (OpenAi, filler(), true),
        (OpenAiCompatible, unknown(), true),
        (OpenAiCompatible, chats_only(), false),
    ] {
        let asked = ask(kind, SamplingFields::Standard, facts.clone(), raw(|_| {}));
        assert_eq!(asked.is_ok(), served, "{kind:?}");
        let gap = raw(|request| request.completion.as_mut().unwrap().suffix = Some(text("s")));
        let asked = ask(kind, SamplingFields::Standard, facts, gap);
        assert_eq!(
            asked.err().flatten(),
            (!served).then_some("suffix"),
            "{kind:?}"
        );
    }
}

#[test]
fn what_a_completion_cannot_say_is_refused() {
    let vllm = |request| {
        ask(
            ProviderKind::OpenAiCompatible,
            SamplingFields::Vllm,
            ModelFacts::default(),
            request,
        )
    };
    let template = raw(|request| request.completion.as_mut().unwrap().template = Some(text("t")));
    assert_eq!(vllm(template), Err(Some("template")));
    let image = Image::from_url(text("https://x/y.png"), None).unwrap();
    let image = raw(|request| request.messages[0].parts.push(Part::Image(image)));
    assert_eq!(vllm(image), Err(Some("images")));
    let filler = ModelFacts {
        capabilities: Some(vec![Capability::Insert]),
        ..ModelFacts::default()
    };
    let json = raw(|request| request.format = Format::Json);
    assert_eq!(
        ask(
            ProviderKind::OpenAi,
            SamplingFields::Standard,
            filler,
            json.clone()
        ),
        Err(Some("format"))
    );
    assert_eq!(
        vllm(json).unwrap()["response_format"],
        json!({"type": "json_object"})
    );
}

#[test]
fn answers_of_completions_are_read() {
    let body = r#"{"id":"cmpl-1","object":"text_completion","model":"m","choices":[{"text":"hi","index":0,
        "logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let mut assembler = Assembler::default();
    read_whole(body.as_bytes(), &ToolNames::default(), &mut |event| {
        assembler.event(&event);
    });
    let response = assembler.finish().unwrap();
    assert_eq!(
        (response.text(), response.finish),
        (text("hi"), Finish::Length)
    );
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
        let _ = read_chat(&body);
    }
}
