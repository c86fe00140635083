//! `tools` and `toolConfig`: what may be called, and what must be.

use super::contents::LONGEST_NAME;
use super::generation::too_large;
use super::json::{key, put, separate};
use super::schema;
use crate::facts::{ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{ChatRequest, Dropped, Refused, Tool, ToolChoice, ToolNames};

/// Appends the members, if the request has tools.
///
/// # Errors
/// If a schema is too large once its references are written out.
pub(super) fn write(
    request: &ChatRequest<'_>,
    facts: &ModelFacts,
    names: &mut ToolNames,
    dropped: &mut Dropped,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if request.tools.is_empty() {
        return Ok(());
    }
    names.reserve_identifiers(request.tools.iter().map(|tool| &tool.name), LONGEST_NAME);
    let subset = facts.refuses(Parameter::FullJsonSchema, ReasoningSetting::Nothing);
    key("tools", out);
    put(r#"[{"functionDeclarations":["#, out);
    for tool in &request.tools {
        declare(tool, subset, names, out)?;
    }
    put("]}]", out);
    let forced = !facts.refuses(Parameter::ForcedToolChoice, ReasoningSetting::Nothing);
    let mode = match &request.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(r#"{"mode":"NONE""#),
        ToolChoice::Required | ToolChoice::Named(_) if !forced => {
            dropped.add("tool_choice");
            None
        }
        ToolChoice::Required | ToolChoice::Named(_) => Some(r#"{"mode":"ANY""#),
    };
    if let Some(mode) = mode {
        key("toolConfig", out);
        put(r#"{"functionCallingConfig":"#, out);
        put(mode, out);
        if let ToolChoice::Named(name) = &request.tool_choice {
            key("allowedFunctionNames", out);
            out.push(b'[');
            names.sent_as_identifier(name, LONGEST_NAME).write(out);
            out.push(b']');
        }
        put("}}", out);
    }
    let is_strict = |tool: &Tool<'_>| tool.strict == Some(true);
    dropped.add_if(request.tools.iter().any(is_strict), "tools.strict");
    dropped.add_if(
        request.parallel_tool_calls == Some(false),
        "parallel_tool_calls",
    );
    Ok(())
}

fn declare(
    tool: &Tool<'_>,
    subset: bool,
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    separate(out);
    put(r#"{"name":"#, out);
    names
        .sent_as_identifier(&tool.name, LONGEST_NAME)
        .write(out);
    if let Some(description) = tool.description.as_ref().filter(|text| !text.is_blank()) {
        key("description", out);
        description.write(out);
    }
    match &tool.parameters {
        Some(parameters) if subset => schema::write_parameters(parameters, out),
        Some(parameters) => {
            key("parametersJsonSchema", out);
            schema::write_object(parameters, out).map_err(|_| too_large("tools"))?;
        }
        None => {}
    }
    out.push(b'}');
    Ok(())
}
