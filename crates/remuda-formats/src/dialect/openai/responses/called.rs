//! A call as an item of the answer: of a function, of a custom tool with its text, or of the client's search for tools.

use std::borrow::Cow;

use super::super::input::Input;
use super::super::object::Object;
use crate::dialect::exchange::Reply;
use crate::dialect::signature;
use crate::ir::{Json, Special, Text};

/// What sort of tool is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Function,
    Custom,
    Search,
}

/// The ids and the name of a call, as they stand in JSON.
pub(super) struct Called {
    pub(super) sort: Sort,
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Called {
    /// Creates the call with this index among the calls, and this one among the items.
    pub(super) fn new(
        reply: &Reply,
        (index, item): (usize, usize),
        id: Option<&Text<'_>>,
        signature: Option<&Text<'_>>,
        name: &Text<'_>,
    ) -> Self {
        let call_id = match id.filter(|id| !id.is_empty()) {
            Some(id) => id.borrow(),
            None => Text::escaped(format!("call_{}_{index}", reply.id)),
        };
        let known = reply.tools.find(name);
        let sort = match known.map(|tool| &tool.kind) {
            None | Some(Special::Function) => Sort::Function,
            Some(Special::Custom { .. }) => Sort::Custom,
            Some(Special::Search) => Sort::Search,
        };
        let prefix = match sort {
            Sort::Function => "fc",
            Sort::Custom => "ctc",
            Sort::Search => "tsc",
        };
        Called {
            sort,
            id: format!("{prefix}_{}_{item}", reply.id),
            call_id: signature::pack(call_id, signature)
                .into_inner()
                .into_owned(),
            namespace: known.and_then(|tool| tool.namespace.clone()),
            name: known.map_or_else(|| name.as_escaped().to_owned(), |tool| tool.name.clone()),
        }
    }

    /// Returns what the arguments of the function say to the tool, as it stands in JSON.
    pub(super) fn said<'a>(&self, arguments: &'a str) -> Cow<'a, str> {
        match self.sort {
            Sort::Function | Sort::Search => Cow::Borrowed(arguments),
            Sort::Custom => Input::of(&Text::escaped(arguments)).into_inner(),
        }
    }

    /// Appends the item; `said` is what was said to the tool so far.
    pub(super) fn write(&self, status: &str, said: &str, out: &mut Vec<u8>) {
        let mut item = Object::new(out);
        item.word("id", &self.id);
        match self.sort {
            Sort::Function => {
                item.word("type", "function_call");
                item.word("status", status);
                item.word("arguments", said);
            }
            Sort::Custom => {
                item.word("type", "custom_tool_call");
                item.word("status", status);
                item.word("input", said);
            }
            Sort::Search => {
                item.word("type", "tool_search_call");
                item.word("execution", "client");
                item.word("status", status);
                let arguments = Text::escaped(said).into_decoded();
                item.json("arguments", &Json::arguments(arguments).0);
            }
        }
        item.word("call_id", &self.call_id);
        if self.sort != Sort::Search {
            item.word("name", &self.name);
            if let Some(namespace) = &self.namespace {
                item.word("namespace", namespace);
            }
        }
        item.end();
    }
}
