//! What a tool is to the client that offers it, where that is more than a function with a name.

use super::Text;

/// What is special about one of a request's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTool<'a> {
    /// The name of the function.
    pub function: Text<'a>,
    pub namespace: Option<Text<'a>>,
    /// The client's own name, within the namespace.
    pub name: Text<'a>,
    pub kind: Special<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Special<'a> {
    /// A function of a namespace.
    Function,
    /// Takes plain text, which as a function is its one argument.
    Custom {
        description: Option<Text<'a>>,
        grammar: Option<Grammar<'a>>,
    },
    /// Finds further tools; the client runs it.
    Search,
}

/// What the text of a custom tool has to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar<'a> {
    /// `lark` or `regex`.
    pub syntax: Text<'a>,
    pub definition: Text<'a>,
}
