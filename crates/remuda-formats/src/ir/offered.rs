//! Tools that a client knows by more than a name: OpenAI's namespaces, tools that take plain text, its search for tools.
//!
//! In [`super::ChatRequest::tools`] each stands as a function with a name of its own, as every provider takes it. What is
//! told here is how the client named it, and so how its calls are to be told.

use ahash::AHashMap;

use super::{Special, SpecialTool, Text, Tool};

/// How a client knows the function that a model calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTool {
    /// The namespace as it stands in JSON, as does the name.
    pub namespace: Option<String>,
    pub name: String,
    pub kind: Special<'static>,
}

/// The special tools of one request, by the names that models call them by.
#[derive(Clone, Debug, Default)]
pub struct ClientTools(AHashMap<String, ClientTool>);

impl ClientTools {
    /// Keeps the tools that are more than functions; `tools` are all that the request offers.
    pub fn of(special: &[SpecialTool<'_>], tools: &[Tool<'_>]) -> Self {
        let mut known = AHashMap::with_capacity(special.len());
        for tool in special {
            let client = ClientTool {
                namespace: tool
                    .namespace
                    .as_ref()
                    .map(|namespace| namespace.as_escaped().to_owned()),
                name: tool.name.as_escaped().to_owned(),
                kind: match tool.kind {
                    Special::Function => Special::Function,
                    Special::Search => Special::Search,
                    // What it takes is known to the model, and need not be kept.
                    Special::Custom { .. } => Special::Custom {
                        description: None,
                        grammar: None,
                    },
                },
            };
            known.insert(tool.function.as_escaped().to_owned(), client);
        }
        let mut all = ClientTools(known);
        all.add_short_names(special, tools);
        all
    }

    /// Models leave a namespace out where nothing else is called so, or put a point after it, as in the prompts that
    /// they were trained with.
    fn add_short_names(&mut self, special: &[SpecialTool<'_>], tools: &[Tool<'_>]) {
        let mut count = AHashMap::with_capacity(tools.len());
        for tool in tools {
            *count.entry(tool.name.as_escaped()).or_insert(0) += 1;
        }
        for tool in special {
            *count.entry(tool.name.as_escaped()).or_insert(0) += 1;
        }
        for tool in special {
            let Some(namespace) = &tool.namespace else {
                continue;
            };
            let Some(client) = self.0.get(tool.function.as_escaped()).cloned() else {
                continue;
            };
            let name = tool.name.as_escaped();
            let pointed = format!("{}.{name}", namespace.as_escaped());
            if !count.contains_key(pointed.as_str()) {
                self.0.entry(pointed).or_insert(client.clone());
            }
            if count.get(name) == Some(&1) {
                self.0.entry(name.to_owned()).or_insert(client);
            }
        }
    }

    /// Returns the tool that is called by this name; `None` where it is a plain function of the same name.
    pub fn find(&self, name: &Text<'_>) -> Option<&ClientTool> {
        self.0.get(name.as_escaped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(
        namespace: &'static str,
        name: &'static str,
    ) -> (SpecialTool<'static>, Tool<'static>) {
        let function = Text::escaped(format!("{namespace}__{name}"));
        let special = SpecialTool {
            function: function.clone(),
            namespace: Some(Text::escaped(namespace)),
            name: Text::escaped(name),
            kind: Special::Function,
        };
        let tool = Tool {
            name: function,
            description: None,
            parameters: None,
            strict: None,
            cache: None,
        };
        (special, tool)
    }

    #[test]
    fn calls_are_known_by_the_names_that_models_use() {
        let (special, mut tools): (Vec<_>, Vec<_>) = [
            special("a", "get"),
            special("b", "get"),
            special("b", "put"),
            special("b", "now"),
        ]
        .into_iter()
        .unzip();
        tools.push(Tool {
            name: Text::escaped("now"),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
        });
        let known = ClientTools::of(&special, &tools);
        let found = |name: &'static str| {
            known.find(&Text::escaped(name)).map(|tool| {
                (
                    tool.namespace.clone().unwrap_or_default(),
                    tool.name.clone(),
                )
            })
        };
        let pair = |namespace: &str, name: &str| Some((namespace.to_owned(), name.to_owned()));
        assert_eq!(found("a__get"), pair("a", "get"));
        assert_eq!(found("b.get"), pair("b", "get"));
        assert_eq!(found("put"), pair("b", "put"));
        // Whose it would be is not certain, or it is the plain function.
        assert_eq!(found("get"), None);
        assert_eq!(found("now"), None);
        assert_eq!(found("else"), None);
    }
}
