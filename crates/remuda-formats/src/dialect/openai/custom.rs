//! OpenAI's custom tools, which take plain text: as functions of one string, for models and providers that know only those.

use ahash::AHashMap;

use super::input::{INPUT, Input};
use super::object::Object;
use super::tool_shape::ToolShape;
use crate::ir::{Grammar, Json, Special, SpecialTool, Text, Tool, ToolCall};

/// Returns the function that stands for a custom tool.
pub(super) fn function<'a>(
    name: Text<'a>,
    description: Option<Text<'a>>,
    grammar: Option<&Grammar<'a>>,
) -> Tool<'a> {
    Tool {
        name,
        description,
        parameters: Some(parameters(grammar)),
        strict: None,
        cache: None,
    }
}

fn parameters(grammar: Option<&Grammar<'_>>) -> Json<'static> {
    let mut says = Text::escaped("The whole input of the tool as plain text.");
    if let Some(grammar) = grammar {
        says.push(&Text::escaped(" It must follow this grammar ("));
        says.push(&grammar.syntax);
        says.push(&Text::escaped(r"):\n"));
        says.push(&grammar.definition);
    }
    let mut schema = Vec::with_capacity(256);
    let mut object = Object::new(&mut schema);
    object.word("type", "object");
    let mut properties = Object::new(object.key("properties"));
    let mut input = Object::new(properties.key(INPUT));
    input.word("type", "string");
    input.text("description", &says);
    input.end();
    properties.end();
    object.raw("required", "[\"input\"]");
    object.flag("additionalProperties", false);
    object.end();
    Json::trusted(String::from_utf8(schema).expect("made of strings"))
}

/// Returns the arguments of the function where the tool was given this text.
pub(super) fn arguments(input: &Text<'_>) -> Json<'static> {
    let mut arguments = b"{\"input\":".to_vec();
    input.write(&mut arguments);
    arguments.push(b'}');
    Json::trusted(String::from_utf8(arguments).expect("made of strings"))
}

/// The custom tools of a request, by the names of their functions, for a target that has such tools as well.
#[derive(Default)]
pub(super) struct Customs<'t>(AHashMap<&'t str, Custom<'t>>);

/// A custom tool as it was offered.
#[derive(Clone, Copy)]
pub(super) struct Custom<'t> {
    pub(super) description: Option<&'t Text<'t>>,
    pub(super) grammar: Option<&'t Grammar<'t>>,
}

impl<'t> Customs<'t> {
    /// Returns the custom tools of a request, or none for a target that has no such tools.
    pub(super) fn of_those_taken(special: &'t [SpecialTool<'_>], taken: bool) -> Self {
        if taken {
            Customs::of(special)
        } else {
            Customs::default()
        }
    }

    fn of(special: &'t [SpecialTool<'_>]) -> Self {
        let customs = special.iter().filter_map(|tool| match &tool.kind {
            Special::Custom {
                description,
                grammar,
            } => {
                let custom = Custom {
                    description: description.as_ref(),
                    grammar: grammar.as_ref(),
                };
                Some((tool.function.as_escaped(), custom))
            }
            Special::Function | Special::Search => None,
        });
        Customs(customs.collect())
    }

    pub(super) fn find(&self, name: &Text<'_>) -> Option<Custom<'t>> {
        self.0.get(name.as_escaped()).copied()
    }

    /// Returns the text of a call of one of them.
    pub(super) fn input(&self, call: &ToolCall<'_>) -> Option<Text<'static>> {
        self.find(&call.name)
            .map(|_| Input::of(&call.arguments.to_text()))
    }
}

impl Custom<'_> {
    /// Writes what the tool is, besides its name.
    pub(super) fn write(self, shape: ToolShape, tool: &mut Object<'_>) {
        if let Some(description) = self.description {
            tool.text("description", description);
        }
        let Some(grammar) = self.grammar else { return };
        let mut format = Object::new(tool.key("format"));
        format.word("type", "grammar");
        if shape == ToolShape::Flat {
            grammar_into(grammar, &mut format);
        } else {
            let mut rules = Object::new(format.key("grammar"));
            grammar_into(grammar, &mut rules);
            rules.end();
        }
        format.end();
    }
}

fn grammar_into(grammar: &Grammar<'_>, object: &mut Object<'_>) {
    object.text("syntax", &grammar.syntax);
    object.text("definition", &grammar.definition);
}
