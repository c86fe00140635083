//! Whether a whole answer has the shape that the libraries of its form read: lists that hold what they are lists of.

use super::members::members;
use crate::client::Operation;
use crate::wire::json::{Scanner, SyntaxError};

/// Members of a message that the decoder of chats reads, or of which nothing is to be read.
const OF_MESSAGE: [&[u8]; 13] = [
    b"role",
    b"content",
    b"refusal",
    b"reasoning",
    b"reasoning_content",
    b"reasoning_text",
    b"reasoning_details",
    b"tool_calls",
    b"function_call",
    b"annotations",
    b"audio",
    b"images",
    b"name",
];

/// Returns whether an answer of which the decoder of its form can read nothing is one that its own client may read all
/// the same.
pub(super) fn is_of_clients(operation: Operation, body: &[u8]) -> bool {
    match operation {
        Operation::OpenAiChat => {
            list(body, b"choices").is_some_and(|choices| first(choices, has_novelty))
        }
        // Empty, as its provider says itself, or of items that are not known here.
        Operation::OpenAiResponses => {
            let is_ended = member(body, b"status")
                .is_some_and(|status| matches!(status, b"\"completed\"" | b"\"incomplete\""));
            is_ended && list(body, b"output").is_some_and(|items| all(items, is_unknown_item))
        }
        _ => false,
    }
}

/// Returns whether there are as many vectors as were asked for, at least one if that is not known, each with a number.
pub(in crate::translate) fn has_vectors(
    operation: Operation,
    body: &[u8],
    wanted: Option<usize>,
) -> bool {
    match operation {
        Operation::Embed => has_as_many(list(body, b"embeddings"), wanted, is_vector),
        Operation::OpenAiEmbeddings => has_as_many(list(body, b"data"), wanted, |entry| {
            member(entry, b"embedding").is_some_and(|vector| {
                is_vector(vector) || (vector.starts_with(b"\"") && vector.len() > 2)
            })
        }),
        Operation::Embeddings => {
            list(body, b"embedding").is_some_and(|vector| wanted == Some(0) || is_vector(vector))
        }
        _ => true,
    }
}

fn has_as_many(
    vectors: Option<&[u8]>,
    wanted: Option<usize>,
    mut is_vector: impl FnMut(&[u8]) -> bool,
) -> bool {
    let mut count = 0;
    let are_vectors = |vectors| {
        all(vectors, |vector| {
            count += 1;
            is_vector(vector)
        })
    };
    vectors.is_some_and(are_vectors) && wanted.map_or(count > 0, |wanted| count == wanted)
}

/// Returns whether a list has an object, and nothing else.
pub(super) fn has_objects(list: &[u8]) -> bool {
    let mut any = false;
    all(list, |item| {
        any = true;
        item.starts_with(b"{")
    }) && any
}

/// Returns whether a value is a list of at least one number, and of nothing else.
fn is_vector(value: &[u8]) -> bool {
    let inside = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| matches!(inside.first(), Some(b'-' | b'0'..=b'9')))
}

/// Returns whether the message of a choice has something that is known to its client alone.
fn has_novelty(choice: &[u8]) -> bool {
    let mut novel = false;
    let message = member(choice, b"message").filter(|message| message.starts_with(b"{"));
    message.is_some_and(|message| {
        members(&mut Scanner::new(message), message, |key, _, value| {
            let says = !matches!(
                value.of(message),
                b"null" | b"false" | b"0" | b"\"\"" | b"[]" | b"{}"
            );
            novel |= says && !OF_MESSAGE.contains(&key);
        })
        .is_ok()
    }) && novel
}

/// Returns whether an item of Responses is no message and no call, but says what it is.
fn is_unknown_item(item: &[u8]) -> bool {
    const KNOWN: [&[u8]; 3] = [
        b"\"message\"",
        b"\"function_call\"",
        b"\"custom_tool_call\"",
    ];
    item.starts_with(b"{")
        && member(item, b"type")
            .is_some_and(|kind| kind.starts_with(b"\"") && kind.len() > 2 && !KNOWN.contains(&kind))
}

/// Returns the last member of that name.
fn member<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    members(&mut Scanner::new(object), object, |key, _, value| {
        if key == name {
            found = Some(value.of(object));
        }
    })
    .ok()?;
    found
}

pub(super) fn list<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    member(object, name).filter(|value| value.starts_with(b"["))
}

fn first(list: &[u8], mut is: impl FnMut(&[u8]) -> bool) -> bool {
    let mut found = None;
    let read = items(list, |item| {
        found.get_or_insert_with(|| is(item));
    });
    read.is_ok() && found == Some(true)
}

fn all(list: &[u8], mut is: impl FnMut(&[u8]) -> bool) -> bool {
    let mut all = true;
    let read = items(list, |item| all = all && is(item));
    read.is_ok() && all
}

pub(super) fn items(list: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(list);
    scanner.begin_array()?;
    let mut is_first = true;
    while scanner.next_item(is_first)? {
        is_first = false;
        each(scanner.skip_value()?.of(list));
    }
    Ok(())
}
