//! Writes a chat for an Ollama server.

use std::borrow::Cow;

use super::turns::write_messages;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::ollama::fields::{Body, write_common};
use crate::ir::{ChatRequest, Dropped, Image, Message, Part, Refused, Tool, ToolChoice};

/// Writes a request for `/api/chat`.
///
/// # Errors
/// For what Ollama cannot be told and the client relies on: images by address, files, a tool that is not offered.
pub fn write_chat(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    // Ollama keeps prompts by itself.
    request.take_breakpoints();
    let mut dropped = Dropped::default();
    let (tools, hint) = choose(&request, &mut dropped)?;
    let mut body = Body::new(target.model, size(&request.messages));
    write_messages(&request.messages, hint.as_deref(), body.field("messages"))?;
    if !tools.is_empty() {
        write_tools(&tools, body.field("tools"));
    }
    dropped.add_if(
        request.parallel_tool_calls == Some(false) && !tools.is_empty(),
        "parallel_tool_calls",
    );
    let is_strict = |tool: &&Tool<'_>| tool.strict == Some(true);
    dropped.add_if(tools.iter().any(is_strict), "tools.strict");
    write_common(&request, target, &mut body, &mut dropped);
    Ok(ProviderRequest {
        path: "/api/chat".to_owned(),
        body: body.finish(),
        dropped,
        ..ProviderRequest::default()
    })
}

/// Returns about how many bytes the messages take.
fn size(messages: &[Message<'_>]) -> usize {
    fn of(part: &Part<'_>) -> usize {
        match part {
            Part::Text(text) => text.as_escaped().len(),
            Part::Image(Image::Base64 { data, .. }) => data.len(),
            Part::Image(_) => 0,
            Part::Document(document) => document.data.len(),
            Part::Thought(thought) => thought.text.as_escaped().len(),
            Part::Breakpoint(_) => 0,
            Part::ToolCall(call) => call.arguments.as_str().len() + 128,
            Part::ToolResult(result) => result.parts.iter().map(of).sum::<usize>() + 128,
        }
    }
    messages
        .iter()
        .map(|message| message.parts.iter().map(of).sum::<usize>() + 48)
        .sum()
}

/// Returns the tools to offer, and what the model is to be told about them, as the inside of a string literal: Ollama
/// cannot force a call.
fn choose<'r, 'a>(
    request: &'r ChatRequest<'a>,
    dropped: &mut Dropped,
) -> Result<(Vec<&'r Tool<'a>>, Option<Cow<'static, str>>), Refused> {
    let all = || request.tools.iter().collect();
    match &request.tool_choice {
        ToolChoice::Auto => Ok((all(), None)),
        ToolChoice::None => Ok((Vec::new(), None)),
        ToolChoice::Required if request.tools.is_empty() => Ok((Vec::new(), None)),
        ToolChoice::Required => {
            dropped.add("tool_choice");
            let hint =
                "You must call at least one of the tools now instead of answering with text.";
            Ok((all(), Some(hint.into())))
        }
        ToolChoice::Named(name) => {
            let named: Vec<_> = request
                .tools
                .iter()
                .filter(|tool| tool.name.decoded() == name.decoded())
                .collect();
            if named.is_empty() {
                return Err(Refused::field(
                    "tool_choice",
                    "tool_choice names a tool that is not among the tools",
                ));
            }
            dropped.add("tool_choice");
            let hint = format!(
                "You must call the tool {} now instead of answering with text.",
                name.as_escaped()
            );
            Ok((named, Some(hint.into())))
        }
    }
}

fn write_tools(tools: &[&Tool<'_>], out: &mut Vec<u8>) {
    for (place, tool) in tools.iter().enumerate() {
        out.push(if place == 0 { b'[' } else { b',' });
        out.extend_from_slice(b"{\"type\":\"function\",\"function\":{\"name\":");
        tool.name.write(out);
        if let Some(description) = &tool.description {
            out.extend_from_slice(b",\"description\":");
            description.write(out);
        }
        out.extend_from_slice(b",\"parameters\":");
        match &tool.parameters {
            Some(parameters) => parameters.write(out),
            None => out.extend_from_slice(br#"{"type":"object","properties":{}}"#),
        }
        out.extend_from_slice(b"}}");
    }
    out.push(b']');
}
