//! Writes a chat as a Converse request.

use super::blocks::{self, Blocks, LONGEST_NAME};
use super::json::{key, put, separate};
use super::limits::Limits;
use super::path::RuntimeOperation;
use super::{caching, tools, turns};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::turns::only_chats;
use crate::facts::{Capability, ModelFacts, Parameter};
use crate::ir::{ChatRequest, Dropped, Format, Image, Part, Refused, Text, ToolNames};

/// Returns the request for `target`.
pub(super) fn write(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let facts = target.facts;
    let mut dropped = Dropped::default();
    only_chats(request.completion.as_ref(), "Bedrock", &mut dropped)?;
    dropped.add_if(request.user.is_some(), "user");
    caching::fit(&mut request, facts, &mut dropped);
    let system = turns::arrange(&mut request, facts, &mut dropped);
    caching::end(&mut request);
    let without_thought = turns::goes_on_without_thought(&request.messages);
    let limits = Limits::of(&request, facts, without_thought, &mut dropped);
    turns::end(&mut request, facts, limits.thinks(), &mut dropped);

    let mut body = Vec::with_capacity(512 + length(&request));
    let mut names = ToolNames::default();
    body.push(b'{');
    if !system.is_empty() {
        key("system", &mut body);
        body.push(b'[');
        blocks::write_prompt(&system, &mut body);
        body.push(b']');
    }
    // Tools first, so that their own names are not taken by those of the history.
    let forced = !facts.refuses(Parameter::ForcedToolChoice, limits.said);
    tools::write(&request, forced, &mut names, &mut dropped, &mut body);
    write_messages(&request, facts, &mut names, &mut body)?;
    limits.write(facts, &mut body);
    write_output(&request.format, &limits, facts, &mut body);
    if let Some(tier) = &request.serving.tier {
        key("serviceTier", &mut body);
        put(r#"{"type":"#, &mut body);
        tier.write(&mut body);
        body.push(b'}');
    }
    body.push(b'}');

    let call = if target.stream {
        RuntimeOperation::ConverseStream
    } else {
        RuntimeOperation::Converse
    };
    Ok(ProviderRequest {
        path: call.path(target.model),
        body,
        dropped,
        names,
        stop: limits.unsent_stop,
        ..ProviderRequest::default()
    })
}

/// Returns about how many bytes all texts and files have.
fn length(request: &ChatRequest<'_>) -> usize {
    fn of(parts: &[Part<'_>]) -> usize {
        parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_escaped().len() + 16,
                Part::Image(Image::Base64 { data, .. }) => data.len() + 80,
                Part::Document(document) => document.data.len() + 300,
                Part::ToolCall(call) => call.arguments.as_str().len() + 200,
                Part::ToolResult(result) => of(&result.parts) + 100,
                Part::Thought(thought) => thought.text.as_escaped().len() + 500,
                Part::Breakpoint(_) => 40,
                Part::Image(Image::Url { .. }) => 0,
            })
            .sum()
    }
    let messages = request
        .messages
        .iter()
        .map(|message| of(&message.parts) + 40);
    let tools = request.tools.iter().map(|tool| {
        200 + tool
            .description
            .as_ref()
            .map_or(0, |text| text.as_escaped().len())
            + tool
                .parameters
                .as_ref()
                .map_or(0, |schema| schema.as_str().len())
    });
    messages.chain(tools).sum()
}

fn write_messages(
    request: &ChatRequest<'_>,
    facts: &ModelFacts,
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    key("messages", out);
    out.push(b'[');
    let mut blocks = Blocks {
        out,
        names,
        has_status: matches!(&*facts.family, "claude" | "nova"),
        documents: 0,
    };
    for message in &request.messages {
        blocks.turn(message)?;
    }
    out.push(b']');
    Ok(())
}

/// Appends `outputConfig`: the schema of the answer, and how hard the model is to think.
fn write_output(format: &Format<'_>, limits: &Limits<'_>, facts: &ModelFacts, out: &mut Vec<u8>) {
    let schema = match format {
        Format::Schema {
            name,
            description,
            schema,
            ..
        } if facts.can(Capability::JsonSchema) => Some((name, description, schema)),
        _ => None,
    };
    if schema.is_none() && limits.effort.is_none() {
        return;
    }
    key("outputConfig", out);
    out.push(b'{');
    if let Some((name, description, schema)) = schema {
        put(
            r#""textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"#,
            out,
        );
        // A text that holds JSON.
        schema.to_text().write(out);
        key("name", out);
        let name = name.clone().unwrap_or_else(|| Text::escaped("answer"));
        ToolNames::default().sent(&name, LONGEST_NAME).write(out);
        if let Some(description) = description.as_ref().filter(|text| !text.is_blank()) {
            key("description", out);
            description.write(out);
        }
        put("}}}", out);
    }
    if let Some(effort) = limits.effort {
        separate(out);
        put(r#""effort":""#, out);
        put(effort.name(), out);
        out.push(b'"');
    }
    out.push(b'}');
}
