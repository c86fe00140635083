//! `toolConfig`: the tools, and which of them is to be called.

use super::blocks::LONGEST_NAME;
use super::caching;
use super::json::{key, put, separate};
use crate::ir::{ChatRequest, Dropped, Json, Part, Tool, ToolChoice, ToolNames};
use crate::wire::json::Scanner;

/// A conversation that holds calls is refused without tools, even where none is to be called now.
const STAND_IN: &str = r#"{"toolSpec":{"name":"none","description":"There is no tool now. Do not call this.","inputSchema":{"json":{"type":"object","properties":{}}}}}"#;

/// Returns whether `request` offers tools that may be called.
pub(super) fn offered(request: &ChatRequest<'_>) -> bool {
    !request.tools.is_empty() && request.tool_choice != ToolChoice::None
}

/// Appends the member, if the request needs it. `forced`: whether the model takes a choice of
/// `required` or of one tool.
pub(super) fn write(
    request: &ChatRequest<'_>,
    forced: bool,
    names: &mut ToolNames,
    dropped: &mut Dropped,
    out: &mut Vec<u8>,
) {
    let in_history = || {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        parts
            .into_iter()
            .any(|part| matches!(part, Part::ToolCall(_) | Part::ToolResult(_)))
    };
    if !offered(request) {
        if in_history() {
            key("toolConfig", out);
            put(r#"{"tools":["#, out);
            put(STAND_IN, out);
            put("]}", out);
        }
        return;
    }
    key("toolConfig", out);
    put(r#"{"tools":["#, out);
    names.reserve(request.tools.iter().map(|tool| &tool.name), LONGEST_NAME);
    for tool in &request.tools {
        specify(tool, names, out);
        if let Some(ttl) = tool.cache {
            caching::write(ttl, out);
        }
    }
    out.push(b']');
    match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => {}
        ToolChoice::Required | ToolChoice::Named(_) if !forced => dropped.add("tool_choice"),
        ToolChoice::Required => put(r#","toolChoice":{"any":{}}"#, out),
        ToolChoice::Named(name) => {
            put(r#","toolChoice":{"tool":{"name":"#, out);
            names.sent(name, LONGEST_NAME).write(out);
            put("}}", out);
        }
    }
    out.push(b'}');
    dropped.add_if(
        request.parallel_tool_calls == Some(false),
        "parallel_tool_calls",
    );
}

fn specify(tool: &Tool<'_>, names: &mut ToolNames, out: &mut Vec<u8>) {
    separate(out);
    put(r#"{"toolSpec":{"name":"#, out);
    names.sent(&tool.name, LONGEST_NAME).write(out);
    if let Some(description) = tool.description.as_ref().filter(|text| !text.is_blank()) {
        key("description", out);
        description.write(out);
    }
    put(r#","inputSchema":{"json":"#, out);
    write_schema(tool.parameters.as_ref(), out);
    out.push(b'}');
    if tool.strict == Some(true) {
        put(r#","strict":true"#, out);
    }
    put("}}", out);
}

/// A schema whose root says that it is an object, as the service asks for.
fn write_schema(schema: Option<&Json<'_>>, out: &mut Vec<u8>) {
    let Some(schema) = schema.filter(|schema| schema.is_object()) else {
        return put(r#"{"type":"object","properties":{}}"#, out);
    };
    if has_type(schema) {
        schema.write(out);
    } else {
        put(r#"{"type":"object""#, out);
        let rest = schema.as_str()[1..].trim_ascii_start();
        if !rest.starts_with('}') {
            out.push(b',');
        }
        put(rest, out);
    }
}

fn has_type(schema: &Json<'_>) -> bool {
    let bytes = schema.as_str().as_bytes();
    let mut scanner = Scanner::new(bytes);
    let mut found = || {
        scanner.begin_object().ok()?;
        let mut first = true;
        while let Some(name) = scanner.next_key(first).ok()? {
            first = false;
            if name.inside(bytes) == b"type" {
                return Some(());
            }
            scanner.skip_value().ok()?;
        }
        None
    };
    found().is_some()
}
