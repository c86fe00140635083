//! Reads Converse's whole answer as the events that a stream of it would be.

use super::answer::{ModelFields, Reasoning, TokenUsage, finish};
use super::error;
use crate::ir::{Event, Fault, Json, Text, ToolNames};
use crate::wire::json;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(default)]
    usage: Option<TokenUsage>,
    #[serde(borrow, default)]
    additional_model_response_fields: Option<ModelFields<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Thought<'a>>,
    #[serde(borrow, default)]
    image: Option<Json<'a>>,
    /// Text with its sources.
    #[serde(borrow, default)]
    citations_content: Option<Cited<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    input: Option<Json<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought<'a> {
    #[serde(borrow, default)]
    reasoning_text: Option<Reasoning<'a>>,
    #[serde(borrow, default)]
    redacted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(borrow, default)]
    content: Vec<CitedText<'a>>,
}

#[derive(Deserialize)]
struct CitedText<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

/// Emits what `body`, which came with status 200, says.
pub(super) fn read(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    // An array would be taken for the struct's fields in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    match json::parse::<Answer<'_>>(body) {
        Ok(answer) if is_object => say(answer, names, emit),
        _ => {
            let fault = error::in_body(body)
                .unwrap_or_else(|| Fault::garbled("the provider's answer cannot be read"));
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

fn say(answer: Answer<'_>, names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    let (id, model) = (None, None);
    emit(Event::Start { id, model });
    let mut calls = 0;
    for block in answer.output.message.content {
        if let Some(thought) = block.reasoning_content {
            let mut said = thought.reasoning_text.unwrap_or_default();
            said.redacted_content = thought.redacted_content;
            said.say(emit);
        }
        if block.image.is_some() {
            emit(Event::Foreign);
        }
        if let Some(text) = block.text {
            emit(Event::Text(text));
        }
        for text in block
            .citations_content
            .into_iter()
            .flat_map(|cited| cited.content)
        {
            text.text
                .into_iter()
                .for_each(|text| emit(Event::Text(text)));
        }
        if let Some(call) = block.tool_use {
            let Some(name) = call.name.filter(|name| !name.is_blank()) else {
                emit(Event::Malformed);
                return emit(Event::Failed(Cow::Owned(Fault::nameless_call())));
            };
            emit(Event::ToolCall {
                index: calls,
                id: Some(call.tool_use_id),
                name: names.original(name),
                arguments: call
                    .input
                    .filter(Json::is_object)
                    .unwrap_or_else(Json::empty_object),
                signature: None,
            });
            calls += 1;
        }
    }
    if let Some(usage) = answer.usage {
        emit(Event::Usage(usage.usage()));
    }
    let end = finish(
        &answer.stop_reason,
        answer.additional_model_response_fields,
        calls > 0,
    );
    match end {
        Ok((reason, stop)) => {
            emit(Event::Finish { reason, stop });
            emit(Event::End);
        }
        Err(fault) => emit(Event::Failed(Cow::Owned(fault))),
    }
}
