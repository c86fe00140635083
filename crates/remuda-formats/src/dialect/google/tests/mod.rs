//! Requests and answers against samples, streams cut at every byte, and arbitrary input.

use serde_json::Value;

use super::*;
use crate::facts::Facts;
use crate::ir::{ChatRequest, Event, Json, Message, Part, Role, Text, ToolCall, ToolResult};
use crate::provider::{ProviderKind, ProviderProfile};

mod embeds;
mod reads;
mod schemas;
mod writes;

/// Calls `test` with the target of a model.
fn at<R>(model: &str, stream: bool, test: impl FnOnce(&Target<'_>) -> R) -> R {
    let facts = Facts::bundled();
    let provider = ProviderProfile::of_kind("google", ProviderKind::Google);
    test(&Target {
        model,
        facts: facts.find(ProviderKind::Google, model),
        provider,
        stream,
    })
}

fn outgoing(model: &str, request: ChatRequest<'_>) -> ProviderRequest {
    at(model, false, |target| write_chat(request, target)).unwrap()
}

/// The body for `model`.
fn written(model: &str, request: ChatRequest<'_>) -> Value {
    serde_json::from_slice(&outgoing(model, request).body).unwrap()
}

fn text(text: &str) -> Part<'static> {
    Part::Text(Text::plain(text).into_owned())
}

fn message(role: Role, parts: Vec<Part<'static>>) -> Message<'static> {
    Message::new(role, parts)
}

fn user(says: &str) -> Message<'static> {
    message(Role::User, vec![text(says)])
}

fn call(id: &'static str, name: &'static str, signature: Option<&'static str>) -> Part<'static> {
    Part::ToolCall(ToolCall {
        id: (!id.is_empty()).then(|| Text::escaped(id)),
        name: Text::escaped(name),
        arguments: Json::trusted(r#"{"x":1}"#),
        signature: signature.map(Text::escaped),
    })
}

fn result(id: &'static str, parts: Vec<Part<'static>>) -> Part<'static> {
    Part::ToolResult(ToolResult {
        id: (!id.is_empty()).then(|| Text::escaped(id)),
        name: None,
        parts,
        is_error: false,
    })
}

fn asking(messages: Vec<Message<'static>>) -> ChatRequest<'static> {
    ChatRequest {
        messages,
        ..ChatRequest::default()
    }
}

/// An event with what it holds.
fn shown(event: &Event<'_>) -> String {
    let optional = |text: &Option<Text<'_>>| {
        text.as_ref()
            .map_or("-".to_owned(), |text| text.decoded().into_owned())
    };
    match event {
        Event::Start { id, model } => format!("start {} {}", optional(id), optional(model)),
        Event::Thinking(text) => format!("thinking {}", text.decoded()),
        Event::Text(text) => format!("text {}", text.decoded()),
        Event::Refusal(text) => format!("refusal {}", text.decoded()),
        Event::Signature { data, redacted, .. } => {
            format!("signature {} {redacted}", data.decoded())
        }
        Event::TextSignature(data) => format!("text signature {}", data.decoded()),
        Event::ToolCall {
            index,
            id,
            name,
            arguments,
            signature,
        } => format!(
            "call {index} {} {} {} {}",
            optional(id),
            name.decoded(),
            arguments.as_str(),
            optional(signature)
        ),
        Event::Logprobs(array) => format!("logprobs {}", array.as_str()),
        Event::Usage(usage) => format!(
            "usage {:?} {:?} {:?} {:?}",
            usage.prompt, usage.cache_read, usage.output, usage.reasoning
        )
        .replace("Some(", "")
        .replace(')', ""),
        Event::Finish { reason, .. } => format!("finish {reason:?}"),
        Event::End => "end".into(),
        Event::Failed(fault) => format!("failed {:?} {:?} {}", fault.class, fault.kind, fault),
        other => format!("{other:?}"),
    }
}

fn names() -> ToolNames {
    let mut names = ToolNames::default();
    names.sent_as_identifier(&Text::escaped("9lives"), 64);
    names.sent_as_identifier(&Text::escaped("weather now"), 64);
    names
}

fn read_stream(pieces: &[&[u8]]) -> Vec<String> {
    let mut events = Vec::new();
    let mut decoder = decoder(names());
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(shown(&event)));
    }
    decoder.finish(&mut |event| events.push(shown(&event)));
    events
}

fn read_body(body: &str) -> Vec<String> {
    let mut events = Vec::new();
    read_whole(body.as_bytes(), &names(), &mut |event| {
        events.push(shown(&event));
    });
    events
}
