//! Which of its tools a client says that the model may or must call.

use ahash::AHashSet;
use serde::Deserialize;

use super::super::field::Field;
use super::tools::Offer;
use crate::ir::{Refused, SpecialTool, Text, Tool, ToolChoice};

/// `tool_choice` as an object, and an entry of its `tools`.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    name: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    mode: Option<Text<'a>>,
    #[serde(default)]
    tools: Vec<Choice<'a>>,
}

/// Reads the choice, and takes from the offer what it does not allow.
pub(super) fn read<'a>(field: Field<'a>, offer: &mut Offer<'a>) -> Result<ToolChoice<'a>, Refused> {
    const EXPECTED: &str =
        "`tool_choice` must be none, auto, required, a tool, or the tools that are allowed";
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
            let allowed = Allowed::of(&choice.tools);
            let tools = offer
                .known()
                .filter(|(tool, special)| allowed.has(tool, *special));
            offer.tools = tools.map(|(tool, _)| tool.clone()).collect();
            match choice.mode {
                Some(mode) => mode_of(&mode).ok_or_else(refused),
                None => Ok(ToolChoice::Auto),
            }
        }
        None | Some("function" | "custom") => {
            if choice.name.is_none() {
                return Err(refused());
            }
            let named = Allowed::of(std::slice::from_ref(&choice));
            match offer
                .known()
                .find(|(tool, special)| named.has(tool, *special))
            {
                Some((tool, _)) => Ok(ToolChoice::Named(tool.name.clone())),
                None => Err(Refused::field(
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

/// The tools that are meant: by a name of their own, by one in a namespace, or by the namespace as a whole.
#[derive(Default)]
struct Allowed<'c> {
    names: AHashSet<&'c str>,
    within: AHashSet<(&'c str, &'c str)>,
    namespaces: AHashSet<&'c str>,
}

impl<'c> Allowed<'c> {
    fn of(choices: &'c [Choice<'_>]) -> Self {
        let mut allowed = Allowed::default();
        for choice in choices {
            let Some(name) = choice.name.as_ref().map(Text::as_escaped) else {
                continue;
            };
            let kind = choice.kind.as_ref().map(Text::as_escaped);
            match (kind, &choice.namespace) {
                (Some("namespace"), _) => allowed.namespaces.insert(name),
                (_, Some(namespace)) => allowed.within.insert((namespace.as_escaped(), name)),
                (_, None) => allowed.names.insert(name),
            };
        }
        allowed
    }

    fn has(&self, tool: &Tool<'_>, special: Option<&SpecialTool<'_>>) -> bool {
        let Some(special) = special else {
            return self.names.contains(tool.name.as_escaped());
        };
        let name = special.name.as_escaped();
        self.names.contains(name)
            || special.namespace.as_ref().is_some_and(|namespace| {
                let namespace = namespace.as_escaped();
                self.namespaces.contains(namespace) || self.within.contains(&(namespace, name))
            })
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
