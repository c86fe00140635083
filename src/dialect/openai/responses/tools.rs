//! The tools that a client offers, and which of them the model may or must call. In this API they stand flat.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::field::{self, Field};
use super::read::Body;
use crate::ir::{Dropped, Json, Refused, Text, Tool, ToolChoice};

#[derive(Deserialize)]
struct Offered<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    name: Field<'a>,
    description: Field<'a>,
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
}

/// `tool_choice` as an object, and an entry of its `tools`.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    name: Option<Text<'a>>,
    mode: Option<Text<'a>>,
    #[serde(default)]
    tools: Vec<Choice<'a>>,
}

pub(super) fn read<'a>(
    body: &Body<'a>,
    dropped: &mut Dropped,
) -> Result<(Vec<Tool<'a>>, ToolChoice<'a>), Refused> {
    let offered: Vec<Offered<'a>> =
        field::read(body.tools, "tools", "an array of tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(offered.len());
    for tool in offered {
        match tool.kind.as_ref().map(Text::as_escaped) {
            None | Some("function") => tools.push(described(tool)?),
            // Those that run at OpenAI, and those that take text in place of JSON.
            Some(_) => dropped.add("tools"),
        }
    }
    let choice = choice(body.tool_choice, &mut tools)?;
    Ok((tools, choice))
}

fn described(tool: Offered<'_>) -> Result<Tool<'_>, Refused> {
    let name = tool
        .name
        .and_then(Text::of)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Refused::field("tools", "each function of `tools` must have a `name`"))?;
    Ok(Tool {
        name,
        description: tool
            .description
            .and_then(Text::of)
            .filter(|text| !text.is_empty()),
        parameters: tool.parameters.map(Json::of),
        strict: tool.strict,
        cache: None,
    })
}

/// Reads the choice, and takes from `tools` what it does not allow.
fn choice<'a>(field: Field<'a>, tools: &mut Vec<Tool<'a>>) -> Result<ToolChoice<'a>, Refused> {
    const EXPECTED: &str =
        "`tool_choice` must be none, auto, required, a function, or the tools that are allowed";
    let Some(field) = field else {
        return Ok(ToolChoice::Auto);
    };
    let refused = || Refused::field("tool_choice", EXPECTED);
    if let Some(mode) = Text::of(field) {
        return mode_of(&mode).ok_or_else(refused);
    }
    let choice: Choice<'a> = serde_json::from_str(field.get()).map_err(|_| refused())?;
    match choice.kind.as_ref().map(Text::as_escaped) {
        Some("allowed_tools") => {
            let names: Vec<_> = choice
                .tools
                .into_iter()
                .filter_map(|tool| tool.name)
                .collect();
            tools.retain(|tool| names.contains(&tool.name));
            match choice.mode {
                Some(mode) => mode_of(&mode).ok_or_else(refused),
                None => Ok(ToolChoice::Auto),
            }
        }
        None | Some("function") => {
            let named = choice.name.ok_or_else(refused)?;
            match tools.iter().any(|tool| tool.name == named) {
                true => Ok(ToolChoice::Named(named)),
                false => Err(Refused::field(
                    "tool_choice",
                    "`tool_choice` names a function that is not offered",
                )),
            }
        }
        Some(_) => Err(Refused::field(
            "tool_choice",
            "`tool_choice` demands a tool that this model's provider does not have",
        )),
    }
}

fn mode_of<'a>(mode: &Text<'a>) -> Option<ToolChoice<'a>> {
    match mode.as_escaped() {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        "required" => Some(ToolChoice::Required),
        _ => None,
    }
}
