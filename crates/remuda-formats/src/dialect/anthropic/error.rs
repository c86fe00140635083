//! Anthropic's errors, and what can be done about each.

use std::borrow::Cow;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::blame::is_about_key;
use crate::dialect::clean::clean;
use crate::dialect::{overflow, plain, retry_after, signature};
use crate::ir::{Class, Fault, FaultKind};
use crate::wire::json::write_string;

/// An error's body: Anthropic's, FastAPI's, or that of a server with plain words.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    fn said(self) -> Option<&'a RawValue> {
        self.error.or(self.detail).or(self.message)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Error {
    r#type: String,
    #[serde(alias = "msg")]
    message: String,
    /// An object here, and a list of them where Google stands behind.
    details: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    error_code: Option<String>,
}

/// Returns what an error answer means.
pub fn fault(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let in_words = || Error {
        message: plain::words(body).into_owned(),
        ..Error::default()
    };
    let error = match serde_json::from_slice::<Body<'_>>(body) {
        Ok(body) => body.said().map(error_of).unwrap_or_default(),
        Err(_) => in_words(),
    };
    let (class, kind) = meaning(status, &error);
    let mend = signature::blamed(&error.message).filter(|_| status == 400);
    let fault = Fault::new(class, kind, words(&error, status))
        .after(retry_after::from_headers(headers))
        .without(mend);
    overflow::counted(fault)
}

/// Returns what an error means that came under status 200.
pub fn fault_within(body: &[u8]) -> Fault {
    let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
    in_stream(body.and_then(Body::said))
}

/// Reads an error as an object, as plain words, or as the first of a list.
fn error_of(error: &RawValue) -> Error {
    let is_object = error.get().starts_with('{');
    let object = || is_object.then(|| serde_json::from_str(error.get()).ok())?;
    let plain = || {
        let message = serde_json::from_str(error.get()).ok()?;
        Some(Error {
            message,
            ..Error::default()
        })
    };
    let list = || {
        let list: Vec<&RawValue> = serde_json::from_str(error.get()).ok()?;
        list.into_iter().next().map(error_of)
    };
    object().or_else(plain).or_else(list).unwrap_or_default()
}

/// Reads an error event whose data is no JSON.
pub(super) fn in_words(data: &[u8]) -> Fault {
    let error = Error {
        message: String::from_utf8_lossy(data).into_owned(),
        ..Error::default()
    };
    let (class, kind) = meaning(500, &error);
    overflow::counted(Fault::new(class, kind, words(&error, 500)))
}

/// Reads an error that came in place of an event.
pub(super) fn in_stream(error: Option<&RawValue>) -> Fault {
    let error = error.map(error_of).unwrap_or_default();
    let status = match error.r#type.as_str() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    };
    let (class, kind) = meaning(status, &error);
    overflow::counted(Fault::new(class, kind, words(&error, status)))
}

fn meaning(status: u16, error: &Error) -> (Class, FaultKind) {
    let message = error.message.to_ascii_lowercase();
    let details = error.details.as_ref();
    let details = details.filter(|details| details.get().starts_with('{'));
    let details = details.and_then(|details| serde_json::from_str::<Details>(details.get()).ok());
    let code = details
        .and_then(|details| details.error_code)
        .unwrap_or_default();
    match status {
        400 if message.contains("credit balance") || message.contains("spend limit") => {
            (Class::Route, FaultKind::Billing)
        }
        400 | 422 | 500 if is_about_key(&message) => (Class::Route, FaultKind::Credentials),
        _ if overflow::may_be(Some(status)) && overflow::says(&message) => {
            (Class::Route, FaultKind::ContextLength)
        }
        400 | 422 => (Class::Permanent, FaultKind::InvalidRequest),
        405 | 501 => (Class::Route, FaultKind::Unsupported),
        409 => (Class::Transient, FaultKind::Server),
        401 | 403 => (Class::Route, FaultKind::Credentials),
        402 => (Class::Route, FaultKind::Billing),
        404 => (Class::Route, FaultKind::ModelNotFound),
        413 => (Class::Permanent, FaultKind::TooLarge),
        429 if code.ends_with("spend_limit_reached") => (Class::Route, FaultKind::Billing),
        429 => (Class::Capacity, FaultKind::RateLimit),
        503 | 529 => (Class::Capacity, FaultKind::Overloaded),
        408 | 504 => (Class::Transient, FaultKind::Timeout),
        400..500 => (Class::Permanent, FaultKind::InvalidRequest),
        500.. => (Class::Transient, FaultKind::Server),
        _ => (Class::Route, FaultKind::Garbled),
    }
}

/// Returns the provider's words, or the status where it has none (its edge may answer with a page).
fn words(error: &Error, status: u16) -> String {
    if error.message.is_empty() {
        return format!("the provider answered with status {status}");
    }
    clean(&error.message)
}

/// Returns the words by which clients know what they can do something about.
fn told(fault: &Fault) -> Cow<'_, str> {
    match &fault.overflow {
        Some(by) => overflow::in_words_of_anthropic(by, &fault.message).into(),
        None => Cow::Borrowed(&fault.message),
    }
}

/// Appends `{"type":"error","error":{…}}`, as a client reads it.
pub(super) fn write(fault: &Fault, out: &mut Vec<u8>) {
    let kind = match fault.kind {
        FaultKind::InvalidRequest
        | FaultKind::ContextLength
        | FaultKind::ContentFilter
        | FaultKind::Unsupported => "invalid_request_error",
        FaultKind::TooLarge => "request_too_large",
        FaultKind::ModelNotFound => "not_found_error",
        FaultKind::RateLimit => "rate_limit_error",
        FaultKind::Overloaded => "overloaded_error",
        FaultKind::Timeout => "timeout_error",
        FaultKind::Credentials
        | FaultKind::Billing
        | FaultKind::Server
        | FaultKind::Incomplete
        | FaultKind::Garbled => "api_error",
    };
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    write_string(&told(fault), out);
    out.extend_from_slice(b"}}");
}
