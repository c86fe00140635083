//! Whether an answer holds something that can be read only once it is tidied.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::field::Field;
use super::super::item::{Happened, Item, Piece, Responded};
use crate::wire::json::tidied;

/// Returns whether an event holds something of which nothing could be read, although the libraries of clients can.
pub(super) fn is_untidy(happened: &Happened<'_>) -> bool {
    let response = |raw: &RawValue| match serde_json::from_str::<Responded<'_>>(raw.get()) {
        Ok(response) => response.output.iter().flatten().any(is_untidy_item),
        Err(_) => tidied(raw.get().as_bytes()).is_some(),
    };
    happened.item.as_ref().is_some_and(is_untidy_item)
        || has_repeats::<Piece<'_>>(happened.part)
        || happened.response.is_some_and(response)
}

pub(super) fn is_untidy_item(raw: &&RawValue) -> bool {
    match serde_json::from_str::<Item<'_>>(raw.get()) {
        Ok(item) => [item.content, item.summary]
            .into_iter()
            .any(has_repeats::<Vec<Piece<'_>>>),
        Err(_) => tidied(raw.get().as_bytes()).is_some(),
    }
}

/// Returns whether a field cannot be read for nothing but what is tidied of it.
fn has_repeats<'a, T: Deserialize<'a>>(field: Field<'a>) -> bool {
    field.is_some_and(|raw| {
        serde_json::from_str::<T>(raw.get()).is_err() && tidied(raw.get().as_bytes()).is_some()
    })
}
