//! The tools that a client offers, and which of them the model may or must call.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::caching;
use super::super::field::{self, Field};
use super::read::Body;
use crate::ir::{Json, Refused, Text, Tool, ToolChoice};

#[derive(Deserialize)]
struct Offered<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    function: Option<Function<'a>>,
    cache_control: Field<'a>,
}

/// A function, by its description or by its name alone.
#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    description: Option<Text<'a>>,
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    cache_control: Field<'a>,
}

/// `tool_choice` as an object, and an entry of `allowed_tools`.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    function: Option<Function<'a>>,
    /// Where `function` is left out, as in the Responses API.
    name: Option<Text<'a>>,
    allowed_tools: Option<Allowed<'a>>,
}

#[derive(Deserialize)]
struct Allowed<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(default)]
    tools: Vec<Choice<'a>>,
}

impl<'a> Choice<'a> {
    fn into_name(self) -> Option<Text<'a>> {
        let named = self.function.and_then(|function| function.name);
        named.or(self.name).filter(|name| !name.is_empty())
    }
}

pub(super) fn read<'a>(body: &Body<'a>) -> Result<(Vec<Tool<'a>>, ToolChoice<'a>), Refused> {
    let mut tools = offered(body.tools)?;
    let choice = match (body.tools, body.tool_choice) {
        // The fields of 2023 count where their successors are absent.
        (None, None) => {
            tools = functions(body.functions)?;
            choice(body.function_call, "function_call", &mut tools)?
        }
        (_, field) => choice(field, "tool_choice", &mut tools)?,
    };
    Ok((tools, choice))
}

/// Whether the client speaks of functions as in 2023, and reads an answer's `function_call`.
pub(super) fn are_functions(body: &Body<'_>) -> bool {
    body.tools.is_none() && body.tool_choice.is_none() && body.functions.is_some()
}

fn offered(field: Field<'_>) -> Result<Vec<Tool<'_>>, Refused> {
    let tools: Vec<Offered<'_>> =
        field::read(field, "tools", "an array of tools")?.unwrap_or_default();
    tools
        .into_iter()
        .map(
            |tool| match (tool.kind.as_ref().map(Text::as_escaped), tool.function) {
                (None | Some("function"), Some(function)) => {
                    let cache = caching::read(tool.cache_control);
                    let tool = described(function, "tools")?;
                    let cache = cache.or(tool.cache);
                    Ok(Tool { cache, ..tool })
                }
                (None | Some("function"), None) => Err(Refused::field(
                    "tools",
                    "each of `tools` must have a `function`",
                )),
                _ => Err(Refused::field(
                    "tools",
                    "this model's provider takes only tools of type function",
                )),
            },
        )
        .collect()
}

fn functions(field: Field<'_>) -> Result<Vec<Tool<'_>>, Refused> {
    let functions: Vec<Function<'_>> =
        field::read(field, "functions", "an array of functions")?.unwrap_or_default();
    functions
        .into_iter()
        .map(|function| described(function, "functions"))
        .collect()
}

fn described<'a>(function: Function<'a>, field: &'static str) -> Result<Tool<'a>, Refused> {
    let name = function
        .name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            Refused::field(
                field,
                format!("each function of `{field}` must have a name"),
            )
        })?;
    Ok(Tool {
        name,
        description: function.description.filter(|text| !text.is_empty()),
        parameters: function.parameters.map(Json::of),
        strict: function.strict,
        cache: caching::read(function.cache_control),
    })
}

/// Reads the choice, and takes from `tools` what it does not allow.
fn choice<'a>(
    field: Field<'a>,
    name: &'static str,
    tools: &mut Vec<Tool<'a>>,
) -> Result<ToolChoice<'a>, Refused> {
    const EXPECTED: &str = "none, auto, required, or the name of a function in an object";
    let Some(field) = field else {
        return Ok(ToolChoice::Auto);
    };
    let refused = || Refused::field(name, format!("`{name}` must be {EXPECTED}"));
    if let Some(mode) = Text::of(field) {
        return mode_of(&mode).ok_or_else(refused);
    }
    let mut choice: Choice<'a> = field::read(Some(field), name, EXPECTED)?.ok_or_else(refused)?;
    match (
        choice.kind.as_ref().map(Text::as_escaped),
        choice.allowed_tools.take(),
    ) {
        (Some("allowed_tools"), Some(allowed)) => {
            let names: Vec<_> = allowed
                .tools
                .into_iter()
                .filter_map(Choice::into_name)
                .collect();
            tools.retain(|tool| names.contains(&tool.name));
            match allowed.mode {
                Some(mode) => mode_of(&mode).ok_or_else(refused),
                None => Ok(ToolChoice::Auto),
            }
        }
        (None | Some("function"), _) => {
            let named = choice.into_name().ok_or_else(refused)?;
            match tools.iter().any(|tool| tool.name == named) {
                true => Ok(ToolChoice::Named(named)),
                false => Err(Refused::field(
                    name,
                    format!("`{name}` names a function that is not offered"),
                )),
            }
        }
        _ => Err(refused()),
    }
}

fn mode_of<'a>(mode: &Text<'a>) -> Option<ToolChoice<'a>> {
    match mode.as_escaped() {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        // Mistral's word is `any`.
        "required" | "any" => Some(ToolChoice::Required),
        _ => None,
    }
}
