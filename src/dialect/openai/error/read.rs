//! A provider's error, in any of the shapes that servers with OpenAI's API give it.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::field::Field;
use super::sort::{Said, sort};
use crate::dialect::clean::clean;
use crate::dialect::{retry_after, signature};
use crate::ir::{Class, Fault, FaultKind, Mend, Text};

/// llama.cpp says so while it loads; a load takes a few seconds.
const LOADING: &str = "Loading model";
const LOAD: Duration = Duration::from_secs(2);

/// An error's body; where it is an error object itself, as old versions of vLLM write it, the last three are there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Field<'a>,
    /// FastAPI's.
    detail: Field<'a>,
    /// Cloudflare's.
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
    /// Of an entry in FastAPI's list.
    msg: Field<'a>,
    #[serde(rename = "type")]
    kind: Field<'a>,
    code: Field<'a>,
    param: Field<'a>,
    metadata: Field<'a>,
    innererror: Field<'a>,
}

/// OpenRouter's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    error_type: Field<'a>,
    reasons: Field<'a>,
    flagged_input: Field<'a>,
}

/// What an answer with a status other than 200 means.
pub fn fault(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let fault = read(body).unwrap_or_default().into_fault(Some(status));
    let hint = retry_after::from_headers(headers);
    let own = fault.retry_after;
    fault.after(hint.or(own))
}

/// The error that an answer of status 200, or an event of a stream, is or has.
pub fn fault_in_body(body: &[u8]) -> Fault {
    read(body).unwrap_or_default().into_fault(None)
}

/// What stands under `error`.
pub(in super::super) fn fault_in(error: &RawValue) -> Fault {
    found_in(error).into_fault(None)
}

/// An error that a provider has told in plain words, within an answer of status 200.
pub(in super::super) fn fault_of_text(message: &str) -> Fault {
    let found = Found {
        message: Cow::Borrowed(message),
        ..Found::default()
    };
    found.into_fault(None)
}

#[derive(Default)]
struct Found<'a> {
    message: Cow<'a, str>,
    kind: Cow<'a, str>,
    code: Cow<'a, str>,
    error_type: Cow<'a, str>,
    param: Option<String>,
    /// What was asked, or answered, broke the provider's policy.
    moderated: bool,
}

impl Found<'_> {
    /// `status` is `None` within an answer of status 200; the error may have one as its code.
    fn into_fault(self, status: Option<u16>) -> Fault {
        let of_code = || {
            self.code
                .parse()
                .ok()
                .filter(|code| (300..600).contains(code))
        };
        let status = status.or_else(of_code);
        let (class, kind) = sort(&Said {
            status,
            words: [&self.error_type, &self.code, &self.kind],
            message: &self.message,
            moderated: self.moderated,
        });
        let message = match clean(&self.message) {
            empty if empty.is_empty() => match status {
                Some(status) => format!("the provider answered with status {status}"),
                None => "the provider reported an error".to_owned(),
            },
            message => message,
        };
        let loading = class == Class::Capacity && message.contains(LOADING);
        let mend = self.mend(kind);
        let mut fault = Fault::new(class, kind, message)
            .after(loading.then_some(LOAD))
            .without(mend);
        fault.param = match kind {
            FaultKind::InvalidRequest | FaultKind::Unsupported => self.param,
            _ => None,
        };
        fault
    }
}

/// Parameters that refine an answer, by the names that errors have for them.
const REFINING: [(&str, &str); 13] = [
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("seed", "seed"),
    ("logit_bias", "logit_bias"),
    ("logprobs", "logprobs"),
    ("top_logprobs", "logprobs"),
    ("parallel_tool_calls", "parallel_tool_calls"),
    ("user", "user"),
    ("stop", "stop"),
    ("reasoning_effort", "reasoning_effort"),
    ("reasoning.effort", "reasoning_effort"),
];

impl Found<'_> {
    /// What it would not have come without.
    fn mend(&self, kind: FaultKind) -> Option<Mend> {
        match kind {
            FaultKind::InvalidRequest if self.code == "invalid_encrypted_content" => {
                Some(Mend::Signatures)
            }
            FaultKind::InvalidRequest => signature::blamed(&self.message),
            FaultKind::Unsupported
                if matches!(&*self.code, "unsupported_parameter" | "unsupported_value") =>
            {
                let blamed = self.param.as_deref()?;
                let known = REFINING.iter().find(|(name, _)| *name == blamed)?;
                Some(Mend::Parameter(known.1))
            }
            _ => None,
        }
    }
}

fn read(body: &[u8]) -> Option<Found<'_>> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    Some(found_in(first(raw)))
}

/// The only element of a list, or the value itself.
fn first(raw: &RawValue) -> &RawValue {
    match raw.get().starts_with('[') {
        true => serde_json::from_str::<Vec<&RawValue>>(raw.get())
            .ok()
            .and_then(|list| list.into_iter().next())
            .unwrap_or(raw),
        false => raw,
    }
}

/// From a body, an error object, or a text.
fn found_in(raw: &RawValue) -> Found<'_> {
    let raw = first(raw);
    if let Some(text) = Text::of(raw) {
        return Found {
            message: text.into_decoded(),
            ..Found::default()
        };
    }
    let body: Body<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    // Some say only that there is one, and its words stand beside that.
    let error = body.error.filter(|error| error.get() != "true");
    match error.or(body.detail).or(body.errors) {
        // Ollama's and FastAPI's plain words may stand beside other fields.
        Some(inner) => {
            let found = found_in_object(first(inner));
            Found {
                param: found.param.or_else(|| param(body.param)),
                ..found
            }
        }
        None => found_in_object(raw),
    }
}

fn found_in_object(raw: &RawValue) -> Found<'_> {
    if let Some(text) = Text::of(raw) {
        return Found {
            message: text.into_decoded(),
            ..Found::default()
        };
    }
    let object: Object<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let metadata: Metadata<'_> = object
        .metadata
        .and_then(|metadata| serde_json::from_str(metadata.get()).ok())
        .unwrap_or_default();
    let filtered = object
        .innererror
        .is_some_and(|inner| inner.get().contains("ResponsibleAIPolicyViolation"));
    Found {
        message: word(object.message.or(object.msg)),
        kind: word(object.kind),
        code: word(object.code),
        error_type: word(metadata.error_type),
        param: param(object.param),
        moderated: filtered || metadata.reasons.or(metadata.flagged_input).is_some(),
    }
}

/// A string, or a number as it is written; nothing for what is neither.
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

/// The name of a field, unless it holds what no such name does.
fn param(field: Field<'_>) -> Option<String> {
    const LONGEST: usize = 100;
    let name = word(field);
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]-".contains(&byte);
    let fits = (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_path);
    fits.then(|| name.into_owned())
}
