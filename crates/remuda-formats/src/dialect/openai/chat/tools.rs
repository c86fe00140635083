//! The tools that a client offers, and which of them the model may or must call.

use ahash::AHashSet;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::caching;
use super::super::custom;
use super::super::field::{self, Field};
use super::body::Body;
use crate::ir::{CacheTtl, Grammar, Json, Refused, Special, SpecialTool, Text, Tool, ToolChoice};

#[derive(Deserialize)]
struct Offered<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    function: Option<Function<'a>>,
    cache_control: Field<'a>,
    custom: Option<Custom<'a>>,
}

/// A tool that takes plain text, by its description or by its name alone.
#[derive(Deserialize)]
struct Custom<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    description: Option<Text<'a>>,
    format: Option<Format<'a>>,
}

/// `{"type":"grammar","grammar":{…}}`; some clients leave `grammar` out, as in the Responses API.
#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow)]
    grammar: Option<Rules<'a>>,
    syntax: Option<Text<'a>>,
    definition: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Rules<'a> {
    #[serde(borrow)]
    syntax: Option<Text<'a>>,
    definition: Option<Text<'a>>,
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
    custom: Option<Custom<'a>>,
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

impl<'a> Format<'a> {
    fn into_grammar(self) -> Option<Grammar<'a>> {
        let (syntax, definition) = match self.grammar {
            Some(rules) => (rules.syntax, rules.definition),
            None => (self.syntax, self.definition),
        };
        Some(Grammar {
            syntax: syntax?,
            definition: definition?,
        })
    }
}

impl<'a> Choice<'a> {
    fn into_name(self) -> Option<Text<'a>> {
        let function = self.function.and_then(|function| function.name);
        let custom = self.custom.and_then(|custom| custom.name);
        function
            .or(custom)
            .or(self.name)
            .filter(|name| !name.is_empty())
    }
}

/// The tools of a request, and which of them take text.
#[derive(Default)]
pub(super) struct Offer<'a> {
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) special: Vec<SpecialTool<'a>>,
}

pub(super) fn read<'a>(body: &Body<'a>) -> Result<(Offer<'a>, ToolChoice<'a>), Refused> {
    let mut offer = offered(body.tools)?;
    let choice = match (body.tools, body.tool_choice) {
        // The fields of 2023 count where their successors are absent.
        (None, None) => {
            offer.tools = functions(body.functions)?;
            choice(body.function_call, "function_call", &mut offer.tools)?
        }
        (_, field) => choice(field, "tool_choice", &mut offer.tools)?,
    };
    Ok((offer, choice))
}

/// Returns whether the client speaks of functions as in 2023, and reads an answer's `function_call`.
pub(super) fn are_functions(body: &Body<'_>) -> bool {
    body.tools.is_none() && body.tool_choice.is_none() && body.functions.is_some()
}

fn offered(field: Field<'_>) -> Result<Offer<'_>, Refused> {
    let tools: Vec<Offered<'_>> =
        field::read(field, "tools", "an array of tools")?.unwrap_or_default();
    let mut offer = Offer::default();
    for tool in tools {
        let kind = tool.kind.clone();
        let cache = caching::read(tool.cache_control);
        match (kind.as_ref().map(Text::as_escaped), tool) {
            (
                None | Some("function"),
                Offered {
                    function: Some(function),
                    ..
                },
            ) => {
                let tool = described(function, "tools")?;
                let cache = cache.or(tool.cache);
                offer.tools.push(Tool { cache, ..tool });
            }
            (
                Some("custom"),
                Offered {
                    custom: Some(custom),
                    ..
                },
            ) => offer.custom(custom, cache)?,
            (None | Some("function" | "custom"), _) => {
                return Err(Refused::field(
                    "tools",
                    "each of `tools` must have a `function`, or `custom` where that is its type",
                ));
            }
            _ => {
                return Err(Refused::field(
                    "tools",
                    "this model's provider takes only tools of type function and custom",
                ));
            }
        }
    }
    Ok(offer)
}

impl<'a> Offer<'a> {
    fn custom(&mut self, tool: Custom<'a>, cache: Option<CacheTtl>) -> Result<(), Refused> {
        let name = tool.name.filter(|name| !name.is_empty()).ok_or_else(|| {
            Refused::field("tools", "each custom tool of `tools` must have a name")
        })?;
        let description = tool.description.filter(|text| !text.is_empty());
        let grammar = tool.format.and_then(Format::into_grammar);
        let function = custom::function(name.clone(), description.clone(), grammar.as_ref());
        self.tools.push(Tool { cache, ..function });
        self.special.push(SpecialTool {
            function: name.clone(),
            namespace: None,
            name,
            kind: Special::Custom {
                description,
                grammar,
            },
        });
        Ok(())
    }
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
            let names: AHashSet<_> = allowed
                .tools
                .into_iter()
                .filter_map(Choice::into_name)
                .map(Text::into_inner)
                .collect();
            tools.retain(|tool| names.contains(tool.name.as_escaped()));
            match allowed.mode {
                Some(mode) => mode_of(&mode).ok_or_else(refused),
                None => Ok(ToolChoice::Auto),
            }
        }
        (None | Some("function" | "custom"), _) => {
            let named = choice.into_name().ok_or_else(refused)?;
            if tools.iter().any(|tool| tool.name == named) {
                Ok(ToolChoice::Named(named))
            } else {
                Err(Refused::field(
                    name,
                    format!("`{name}` names a function that is not offered"),
                ))
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
