//! What a message or a piece of one says: texts, thoughts and their proofs, as a string or as parts.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::details::Detail;
use super::super::field::full;
use super::chunk::Piece;
use crate::ir::{Event, Text};

/// Tells a text, or a list of parts. Returns whether it said anything.
pub(super) fn say(content: &RawValue, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    if let Some(text) = Text::of(content) {
        if text.is_empty() {
            return false;
        }
        emit(Event::Text(text));
        return true;
    }
    let pieces: Vec<Piece<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    let mut spoke = false;
    for piece in pieces {
        if let Some(text) = full(piece.text) {
            spoke = true;
            emit(Event::Text(text));
        }
        if let Some(thinking) = piece.thinking {
            spoke |= think(thinking, emit);
        }
    }
    spoke
}

fn think(thinking: &RawValue, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    if let Some(text) = full(Some(thinking)) {
        emit(Event::Thinking(text));
        return true;
    }
    let pieces: Vec<Piece<'_>> = serde_json::from_str(thinking.get()).unwrap_or_default();
    let mut spoke = false;
    for text in pieces.into_iter().filter_map(|piece| full(piece.text)) {
        spoke = true;
        emit(Event::Thinking(text));
    }
    spoke
}

/// Tells OpenRouter's details: their texts unless they were `told` already, and their proofs. Returns whether they said
/// anything.
pub(super) fn thoughts(array: &RawValue, told: bool, emit: &mut dyn FnMut(Event<'_>)) -> bool {
    #[derive(Deserialize)]
    struct Details<'a>(#[serde(borrow)] Vec<Detail<'a>>);

    let Ok(Details(details)) = serde_json::from_str(array.get()) else {
        return false;
    };
    let mut spoke = false;
    for mut detail in details {
        let (id, _) = detail.own_id();
        let is_full = |text: &Text<'_>| !text.is_empty();
        let text = detail
            .text
            .filter(is_full)
            .or(detail.summary.filter(is_full));
        if let Some(text) = text.filter(|_| !told) {
            spoke = true;
            emit(Event::Thinking(text));
        }
        let (data, redacted) = match detail.data.filter(is_full) {
            Some(data) => (Some(data), id.is_none()),
            None => (detail.signature.filter(is_full), false),
        };
        if let Some(data) = data {
            spoke = true;
            emit(Event::Signature { data, redacted, id });
        }
    }
    spoke
}
