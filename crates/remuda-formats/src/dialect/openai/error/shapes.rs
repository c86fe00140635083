//! The shapes that servers with OpenAI's API give an error, and what is found in them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::field::Field;
use crate::ir::{Overflow, Text};

/// An error's body; where it is an error object itself, as old versions of vLLM write it, the last three are there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Field<'a>,
    /// The words of a server that is made with FastAPI.
    detail: Field<'a>,
    /// The errors as Cloudflare tells them.
    errors: Field<'a>,
    message: Field<'a>,
    #[serde(rename = "type")]
    kind: Field<'a>,
    code: Field<'a>,
    param: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object<'a> {
    #[serde(borrow)]
    message: Field<'a>,
    /// The words of an entry in FastAPI's list.
    msg: Field<'a>,
    loc: Field<'a>,
    #[serde(rename = "type")]
    kind: Field<'a>,
    code: Field<'a>,
    param: Field<'a>,
    metadata: Field<'a>,
    innererror: Field<'a>,
    /// llama.cpp's.
    n_prompt_tokens: Field<'a>,
    n_ctx: Field<'a>,
}

/// What OpenRouter says besides.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    error_type: Field<'a>,
    reasons: Field<'a>,
    flagged_input: Field<'a>,
    /// The error of the provider that it asked, as a text or as an object.
    raw: Field<'a>,
}

/// What OpenRouter says of an error that stands in `raw`.
const OF_ANOTHER: &str = "Provider returned error";
/// Errors within the words of errors that are looked at: Ollama hands on its runner's, and a proxy in front of it
/// those.
const DEEPEST: u8 = 3;

#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) message: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    pub(super) code: Cow<'a, str>,
    pub(super) error_type: Cow<'a, str>,
    pub(super) param: Option<String>,
    /// What was asked, or answered, broke the provider's policy.
    pub(super) moderated: bool,
    pub(super) overflow: Option<Overflow>,
}

/// Reads the error of a body.
pub(super) fn read(body: &[u8]) -> Option<Found<'_>> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    Some(found_in(raw))
}

/// Returns the only element of a list, or the value itself.
fn first(raw: &RawValue) -> &RawValue {
    if raw.get().starts_with('[') {
        serde_json::from_str::<Vec<&RawValue>>(raw.get())
            .ok()
            .and_then(|list| list.into_iter().next())
            .unwrap_or(raw)
    } else {
        raw
    }
}

/// Reads the error of a body, an error object, or a text.
pub(super) fn found_in(raw: &RawValue) -> Found<'_> {
    found_at(raw, 0)
}

fn found_at(raw: &RawValue, depth: u8) -> Found<'_> {
    let raw = first(raw);
    let body: Body<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    // Some say only that there is one, and its words stand beside that.
    let error = body.error.filter(|error| error.get() != "true");
    match error.or(body.detail).or(body.errors) {
        // Ollama's and FastAPI's plain words may stand beside other fields.
        Some(inner) => {
            let found = found_in_object(first(inner), depth);
            Found {
                param: found.param.or_else(|| param(body.param)),
                ..found
            }
        }
        None => found_in_object(raw, depth),
    }
}

fn found_in_object(raw: &RawValue, depth: u8) -> Found<'_> {
    if let Some(text) = Text::of(raw) {
        return unwrapped(
            Found {
                message: text.into_decoded(),
                ..Found::default()
            },
            depth,
        );
    }
    let object: Object<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let metadata: Metadata<'_> = object
        .metadata
        .and_then(|metadata| serde_json::from_str(metadata.get()).ok())
        .unwrap_or_default();
    let filtered = object
        .innererror
        .is_some_and(|inner| inner.get().contains("ResponsibleAIPolicyViolation"));
    let message = word(object.message.or(object.msg));
    let told = match metadata.raw {
        Some(raw) if message.is_empty() || message == OF_ANOTHER => match Text::of(raw) {
            Some(text) => text.into_decoded(),
            None => Cow::Borrowed(raw.get()),
        },
        _ => message,
    };
    let number = |field: Field<'_>| field?.get().parse().ok();
    let overflow = Overflow {
        input: number(object.n_prompt_tokens),
        most: number(object.n_ctx),
        ..Overflow::default()
    };
    unwrapped(
        Found {
            message: told,
            kind: word(object.kind),
            code: word(object.code),
            error_type: word(metadata.error_type),
            param: param(object.param).or_else(|| place(object.loc)),
            moderated: filtered || metadata.reasons.or(metadata.flagged_input).is_some(),
            overflow: Some(overflow).filter(|overflow| *overflow != Overflow::default()),
        },
        depth,
    )
}

/// Returns what an error says whose words are another error's body.
fn unwrapped(found: Found<'_>, depth: u8) -> Found<'_> {
    if depth >= DEEPEST || !found.message.trim_start().starts_with(['{', '[']) {
        return found;
    }
    let Ok(raw) = serde_json::from_str::<&RawValue>(&found.message) else {
        return found;
    };
    let inner = found_at(raw, depth + 1);
    if inner.message.is_empty() {
        return found;
    }
    // The one within is nearer to what went wrong.
    let nearer = |inner: Cow<'_, str>, outer: Cow<'_, str>| match name(&inner) {
        Some(inner) => Cow::Owned(inner),
        None => Cow::Owned(outer.into_owned()),
    };
    Found {
        message: Cow::Owned(inner.message.into_owned()),
        kind: nearer(inner.kind, found.kind),
        code: nearer(inner.code, found.code),
        error_type: nearer(inner.error_type, found.error_type),
        param: found.param.or(inner.param),
        moderated: found.moderated || inner.moderated,
        overflow: found.overflow.or(inner.overflow),
    }
}

/// Reads a string, or a number as it is written; nothing for what is neither.
fn word(field: Field<'_>) -> Cow<'_, str> {
    match field {
        None => Cow::Borrowed(""),
        Some(raw) => match Text::of(raw) {
            Some(text) => text.into_decoded(),
            None if raw.get().starts_with(['{', '[']) => Cow::Borrowed(""),
            None => Cow::Borrowed(raw.get()),
        },
    }
}

/// Returns the name of a field, unless it holds what no such name does.
fn param(field: Field<'_>) -> Option<String> {
    named(&word(field), b"_.[]-")
}

/// Reads a field as FastAPI names it: by the way to it, which begins with where the request has it.
fn place(field: Field<'_>) -> Option<String> {
    let way: Vec<&RawValue> = serde_json::from_str(field?.get()).ok()?;
    let mut steps = way.into_iter().map(|step| word(Some(step))).peekable();
    steps.next_if(|step| step == "body");
    named(&steps.collect::<Vec<_>>().join("."), b"_.[]-")
}

/// Reads a word for an error; a number is a status, and says nothing more.
pub(super) fn name(code: &str) -> Option<String> {
    named(code, b"_.-").filter(|code| !code.bytes().all(|byte| byte.is_ascii_digit()))
}

fn named(text: &str, also: &[u8]) -> Option<String> {
    const LONGEST: usize = 100;
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
    let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_of_name);
    fits.then(|| text.to_owned())
}
