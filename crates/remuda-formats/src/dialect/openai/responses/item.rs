//! What a response, an event of one, and an item look like. Fields that servers shape differently are kept as they were
//! written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::field::{Field, full};
use super::usage::Counts;

/// An event's data.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Happened<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Field<'a>,
    pub(super) response: Field<'a>,
    pub(super) item: Field<'a>,
    pub(super) item_id: Field<'a>,
    pub(super) output_index: Field<'a>,
    pub(super) summary_index: Field<'a>,
    pub(super) content_index: Field<'a>,
    pub(super) delta: Field<'a>,
    /// What is whole of something that is done: the text of a part, the part, the arguments of a call, the input of one
    /// of a custom tool.
    pub(super) text: Field<'a>,
    pub(super) refusal: Field<'a>,
    pub(super) part: Field<'a>,
    pub(super) arguments: Field<'a>,
    pub(super) input: Field<'a>,
    pub(super) logprobs: Field<'a>,
    /// The words in which Perplexity says what it does.
    pub(super) thought: Field<'a>,
    pub(super) error: Field<'a>,
    /// The words of an error that another program on the way has written.
    pub(super) detail: Field<'a>,
    pub(super) message: Field<'a>,
    pub(super) object: Field<'a>,
}

impl Happened<'_> {
    /// Returns whether it is an error without a type.
    pub(super) fn is_error(&self) -> bool {
        is_error([self.error, self.detail], self.message, self.object)
    }
}

impl Responded<'_> {
    pub(super) fn is_response(&self) -> bool {
        self.status.is_some() || self.output.is_some()
    }

    /// Returns whether it is an error and no response.
    pub(super) fn is_error(&self) -> bool {
        is_error([self.error, self.detail], self.message, self.object)
    }
}

fn is_error(errors: [Field<'_>; 2], message: Field<'_>, object: Field<'_>) -> bool {
    let errors = errors.into_iter().flatten();
    let is_named = full(object).is_some_and(|object| object.as_escaped() == "error");
    is_named || full(message).is_some() || errors.count() > 0
}

/// A response.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Responded<'a> {
    #[serde(borrow)]
    pub(super) id: Field<'a>,
    pub(super) model: Field<'a>,
    pub(super) service_tier: Field<'a>,
    pub(super) status: Field<'a>,
    pub(super) error: Field<'a>,
    pub(super) incomplete_details: Option<Incomplete<'a>>,
    pub(super) output: Option<Vec<&'a RawValue>>,
    pub(super) usage: Option<Counts<'a>>,
    pub(super) detail: Field<'a>,
    pub(super) message: Field<'a>,
    pub(super) object: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Incomplete<'a> {
    #[serde(borrow)]
    pub(super) reason: Field<'a>,
}

/// An item of any type.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Field<'a>,
    pub(super) id: Field<'a>,
    pub(super) content: Field<'a>,
    pub(super) call_id: Field<'a>,
    pub(super) name: Field<'a>,
    pub(super) arguments: Field<'a>,
    /// The input of a call of a custom tool.
    pub(super) input: Field<'a>,
    pub(super) thought_signature: Field<'a>,
    pub(super) summary: Field<'a>,
    pub(super) encrypted_content: Field<'a>,
    /// What a search found.
    pub(super) results: Field<'a>,
}

/// A part of a message, or of reasoning.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Field<'a>,
    pub(super) text: Field<'a>,
    pub(super) refusal: Field<'a>,
    pub(super) logprobs: Field<'a>,
}

/// Returns what a field that is a list holds; nothing where it is none.
pub(super) fn pieces(field: Field<'_>) -> Vec<Piece<'_>> {
    field
        .and_then(|list| serde_json::from_str(list.get()).ok())
        .unwrap_or_default()
}

/// Returns what is wrong with the items of a whole response: each is an object of some type, and a message has a list
/// of parts.
pub(super) fn misshapen(output: &[&RawValue]) -> Option<&'static str> {
    let is_object = |raw: &&RawValue| raw.get().starts_with('{');
    let is_list = |content: &RawValue| {
        serde_json::from_str::<Vec<&RawValue>>(content.get())
            .is_ok_and(|parts| parts.iter().all(is_object))
    };
    for raw in output {
        let read: Option<Item<'_>> = serde_json::from_str(raw.get()).ok();
        let Some(item) = read.filter(|item| is_object(raw) && full(item.kind).is_some()) else {
            return Some("an item of the provider's answer is not an object with a type");
        };
        let is_message = full(item.kind).is_some_and(|kind| kind.as_escaped() == "message");
        if is_message && !item.content.is_some_and(is_list) {
            return Some("a message of the provider's answer has no content");
        }
    }
    None
}

/// Returns a list that holds something.
pub(super) fn filled(field: Field<'_>) -> Option<&RawValue> {
    field.filter(|list| {
        list.get()
            .strip_prefix('[')
            .is_some_and(|rest| rest.trim_ascii_start() != "]")
    })
}
