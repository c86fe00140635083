//! `tools` and `tool_choice`.

use serde_json::Value;

use super::super::ledger::Ledger;
use super::content::{breakpoint, is_name};
use super::fields::Fields;
use super::refused::Refused;

/// A tool that the caller runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool<'a> {
    pub(super) name: &'a str,
    pub(super) schema: &'a Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Choice<'a> {
    Auto,
    None,
    Any,
    Tool(&'a str),
}

impl Choice<'_> {
    /// Returns whether the model has to call a tool.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self, Self::Any | Self::Tool(_))
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Any => "any",
            Self::Tool(_) => "tool",
        }
    }
}

const CUSTOM: [&str; 10] = [
    "type",
    "name",
    "description",
    "input_schema",
    "strict",
    "cache_control",
    "allowed_callers",
    "defer_loading",
    "eager_input_streaming",
    "input_examples",
];

/// Checks `tools`; those that Anthropic runs itself are not offered here.
pub(super) fn tools<'a>(
    fields: &Fields<'a>,
    ledger: &mut Ledger,
) -> Result<Vec<Tool<'a>>, Refused> {
    let mut tools: Vec<Tool> = Vec::new();
    for (index, value) in fields.list("tools")?.into_iter().flatten().enumerate() {
        let path = format!("tools.{index}");
        let tool = Fields::of(value, path.clone())?;
        if let Some(kind) = tool.nullable("type")
            && kind != "custom"
        {
            return Err(Refused::invalid(format!(
                "{path}: Input tag '{}' found using 'type' does not match any of the expected tags: 'custom'",
                kind.as_str().unwrap_or_default()
            )));
        }
        let tool = custom(&Fields::of(value, format!("{path}.custom"))?, ledger)?;
        if tools.iter().any(|other| other.name == tool.name) {
            return Err(Refused::invalid("tools: Tool names must be unique."));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn custom<'a>(tool: &Fields<'a>, ledger: &mut Ledger) -> Result<Tool<'a>, Refused> {
    tool.only(&CUSTOM)?;
    let name = tool.required_string("name")?;
    if !is_name(name, 128) {
        return Err(tool.wrong(
            "name",
            "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ));
    }
    tool.string("description")?;
    tool.boolean("strict")?;
    let schema = tool.required("input_schema")?;
    let fields = Fields::of(schema, tool.path("input_schema"))?;
    fields.required("type")?;
    fields.word("type", &["object"])?;
    if ["oneOf", "allOf", "anyOf"]
        .iter()
        .any(|key| fields.get(key).is_some())
    {
        let why = "input_schema does not support oneOf, allOf, or anyOf at the top level";
        return Err(tool.wrong("input_schema", why));
    }
    ledger.add(name);
    ledger.add(tool.string("description")?.unwrap_or_default());
    ledger.add(&schema.to_string());
    breakpoint(tool, ledger)?;
    Ok(Tool { name, schema })
}

/// Checks `tool_choice`; also returns whether several calls in one turn are wanted.
pub(super) fn choice<'a>(
    fields: &Fields<'a>,
    tools: &[Tool],
) -> Result<(Choice<'a>, bool), Refused> {
    let Some(choice) = fields.object("tool_choice")? else {
        return Ok((Choice::Auto, true));
    };
    let kind = choice.required("type").and(choice.string("type"))?;
    let wanted = match kind.unwrap_or_default() {
        "auto" => Choice::Auto,
        "none" => Choice::None,
        "any" => Choice::Any,
        "tool" => Choice::Tool(choice.required_string("name")?),
        other => {
            return Err(Refused::invalid(format!(
                "tool_choice: Input tag '{other}' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"
            )));
        }
    };
    let path = choice.path(wanted.word());
    let choice = Fields::of(fields.required("tool_choice")?, path)?;
    match wanted {
        Choice::None => choice.only(&["type"])?,
        Choice::Tool(_) => choice.only(&["type", "name", "disable_parallel_tool_use"])?,
        _ => choice.only(&["type", "disable_parallel_tool_use"])?,
    }
    if tools.is_empty() && wanted != Choice::None {
        return Err(Refused::invalid(
            "tool_choice: may only be specified while providing tools",
        ));
    }
    if let Choice::Tool(name) = wanted
        && !tools.iter().any(|tool| tool.name == name)
    {
        return Err(Refused::invalid(format!(
            "Tool '{name}' not found in provided tools"
        )));
    }
    let single = choice.boolean("disable_parallel_tool_use")?;
    Ok((wanted, !single.unwrap_or_default()))
}
