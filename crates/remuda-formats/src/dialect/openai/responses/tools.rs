//! The tools that a client offers: functions, which in this API stand flat, alone or in namespaces; tools that take plain
//! text; and the client's own search for tools. Those that run at OpenAI are left out and named.

use ahash::AHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::custom;
use super::super::field::{self, Field};
use crate::ir::{Dropped, Grammar, Json, Refused, Special, SpecialTool, Text, Tool};

/// Between a namespace and a name, in the name that a model sees.
const JOINT: &str = "__";

/// Bytes of a namespace's name: it is a part of each of its functions' names.
const LONGEST_NAMESPACE: usize = 256;

/// The function that stands for a client's search for tools.
const SEARCH: &str = "tool_search";

/// A tool of any type.
#[derive(Deserialize)]
struct Offered<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    name: Field<'a>,
    description: Field<'a>,
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    /// The format of a custom tool's input.
    format: Field<'a>,
    /// The tools of a namespace.
    tools: Field<'a>,
    /// Who runs a search for tools: `client` or `server`.
    execution: Field<'a>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow)]
    syntax: Option<Text<'a>>,
    definition: Option<Text<'a>>,
}

/// All tools of a request, from its `tools` and from what its input says of further ones.
#[derive(Default)]
pub(super) struct Offer<'a> {
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) special: Vec<SpecialTool<'a>>,
    /// The function of each tool that has been offered, by the client's own names.
    functions: AHashMap<(Option<String>, String), Text<'a>>,
    /// The functions' names.
    taken: AHashMap<String, usize>,
}

impl<'a> Offer<'a> {
    /// Takes over a list of tools.
    pub(super) fn add(
        &mut self,
        field: Field<'a>,
        param: &'static str,
        dropped: &mut Dropped,
    ) -> Result<(), Refused> {
        self.list(field, None, param, dropped)
    }

    /// Reads a list of tools; `within` is the name and the description of their namespace.
    fn list(
        &mut self,
        field: Field<'a>,
        within: Option<(&Text<'a>, Option<Text<'a>>)>,
        param: &'static str,
        dropped: &mut Dropped,
    ) -> Result<(), Refused> {
        let tools: Vec<Offered<'a>> =
            field::read(field, param, "an array of tools")?.unwrap_or_default();
        let (namespace, mut about) = match within {
            Some((name, about)) => (Some(name), about),
            None => (None, None),
        };
        for mut tool in tools {
            let kind = tool.kind.take();
            match kind.as_ref().map(Text::as_escaped) {
                None | Some("function") => self.function(tool, namespace, about.take(), param)?,
                Some("custom") => self.custom(tool, namespace, about.take(), param)?,
                Some("namespace") if namespace.is_none() => {
                    let name = named(tool.name, param)?;
                    if name.as_escaped().len() > LONGEST_NAMESPACE {
                        return Err(Refused::field(
                            param,
                            format!(
                                "the name of a namespace may have {LONGEST_NAMESPACE} bytes at most"
                            ),
                        ));
                    }
                    let about = described(tool.description);
                    self.list(tool.tools, Some((&name, about)), param, dropped)?;
                }
                Some("tool_search") if is(tool.execution, "client") => self.search(tool),
                // They run at OpenAI.
                Some(kind) => dropped.add(hosted(kind)),
            }
        }
        Ok(())
    }

    fn function(
        &mut self,
        tool: Offered<'a>,
        namespace: Option<&Text<'a>>,
        about: Option<Text<'a>>,
        param: &'static str,
    ) -> Result<(), Refused> {
        let name = named(tool.name, param)?;
        let offered = Tool {
            name: name.clone(),
            description: after(about, described(tool.description)),
            parameters: tool.parameters.map(Json::of),
            strict: tool.strict,
            cache: None,
        };
        self.put(offered, namespace, name, Special::Function);
        Ok(())
    }

    fn custom(
        &mut self,
        tool: Offered<'a>,
        namespace: Option<&Text<'a>>,
        about: Option<Text<'a>>,
        param: &'static str,
    ) -> Result<(), Refused> {
        let name = named(tool.name, param)?;
        let description = after(about, described(tool.description));
        let format: Option<Format<'a>> = tool
            .format
            .and_then(|format| serde_json::from_str(format.get()).ok());
        let grammar = format.and_then(|format| {
            Some(Grammar {
                syntax: format.syntax?,
                definition: format.definition?,
            })
        });
        let offered = custom::function(name.clone(), description.clone(), grammar.as_ref());
        let kind = Special::Custom {
            description,
            grammar,
        };
        self.put(offered, namespace, name, kind);
        Ok(())
    }

    fn search(&mut self, tool: Offered<'a>) {
        let offered = Tool {
            name: Text::escaped(SEARCH),
            description: described(tool.description),
            parameters: tool.parameters.map(Json::of),
            strict: None,
            cache: None,
        };
        self.put(offered, None, Text::escaped(SEARCH), Special::Search);
    }

    /// Offers a tool, once; its function gets a name that no other has.
    fn put(
        &mut self,
        mut tool: Tool<'a>,
        namespace: Option<&Text<'a>>,
        name: Text<'a>,
        kind: Special<'a>,
    ) {
        let key = key(namespace, &name);
        if self.functions.contains_key(&key) {
            return;
        }
        tool.name = self.unlike_others(joined(namespace, &name));
        self.functions.insert(key, tool.name.clone());
        if namespace.is_some() || kind != Special::Function || tool.name != name {
            self.special.push(SpecialTool {
                function: tool.name.clone(),
                namespace: namespace.cloned(),
                name,
                kind,
            });
        }
        self.tools.push(tool);
    }

    fn unlike_others(&mut self, name: Text<'a>) -> Text<'a> {
        let mut unlike = name.clone();
        while self.taken.contains_key(unlike.as_escaped()) {
            let number = self.taken.entry(name.as_escaped().to_owned()).or_insert(1);
            *number += 1;
            unlike = Text::escaped(format!("{}_{number}", name.as_escaped()));
        }
        self.taken.insert(unlike.as_escaped().to_owned(), 1);
        unlike
    }

    /// Returns the name of the function that a call of the history is one of, whether it is still offered or not.
    pub(super) fn called(&self, namespace: Option<&Text<'a>>, name: &Text<'a>) -> Text<'a> {
        match self.functions.get(&key(namespace, name)) {
            Some(function) => function.clone(),
            None => joined(namespace, name),
        }
    }

    /// Returns the tools with what is special about each.
    pub(super) fn known(&self) -> impl Iterator<Item = (&Tool<'a>, Option<&SpecialTool<'a>>)> {
        let special: AHashMap<&str, &SpecialTool<'a>> = self
            .special
            .iter()
            .map(|special| (special.function.as_escaped(), special))
            .collect();
        self.tools
            .iter()
            .map(move |tool| (tool, special.get(tool.name.as_escaped()).copied()))
    }
}

fn key(namespace: Option<&Text<'_>>, name: &Text<'_>) -> (Option<String>, String) {
    let owned = |text: &Text<'_>| text.as_escaped().to_owned();
    (namespace.map(owned), owned(name))
}

fn joined<'a>(namespace: Option<&Text<'a>>, name: &Text<'a>) -> Text<'a> {
    let Some(namespace) = namespace else {
        return name.clone();
    };
    let mut joined = namespace.clone();
    if !namespace.as_escaped().ends_with(JOINT) {
        joined.push(&Text::escaped(JOINT));
    }
    joined.push(name);
    joined
}

fn named<'a>(field: Field<'a>, param: &'static str) -> Result<Text<'a>, Refused> {
    field
        .and_then(Text::of)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            Refused::field(
                param,
                format!("each function, custom tool and namespace of `{param}` must have a `name`"),
            )
        })
}

fn described(field: Field<'_>) -> Option<Text<'_>> {
    field.and_then(Text::of).filter(|text| !text.is_empty())
}

/// Joins the descriptions of a namespace and of its first tool, that of the namespace first.
fn after<'a>(about: Option<Text<'a>>, description: Option<Text<'a>>) -> Option<Text<'a>> {
    match (about, description) {
        (Some(mut about), Some(description)) => {
            about.push(&Text::escaped(r"\n\n"));
            about.push(&description);
            Some(about)
        }
        (about, description) => description.or(about),
    }
}

fn is(field: Field<'_>, word: &str) -> bool {
    field
        .and_then(Text::of)
        .is_some_and(|is| is.as_escaped() == word)
}

/// Returns the name under which a tool that runs at OpenAI is said to be left out.
fn hosted(kind: &str) -> &'static str {
    match kind {
        "web_search" | "web_search_2025_08_26" => "tools.web_search",
        "web_search_preview" | "web_search_preview_2025_03_11" => "tools.web_search_preview",
        "file_search" => "tools.file_search",
        "code_interpreter" => "tools.code_interpreter",
        "computer" | "computer_use" | "computer_use_preview" => "tools.computer",
        "image_generation" => "tools.image_generation",
        "local_shell" => "tools.local_shell",
        "shell" => "tools.shell",
        "apply_patch" => "tools.apply_patch",
        "mcp" => "tools.mcp",
        "tool_search" => "tools.tool_search",
        _ => "tools",
    }
}
