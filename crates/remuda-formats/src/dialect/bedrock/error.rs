//! What Bedrock's errors mean, whether they come as an HTTP answer or as a frame of a stream.

use crate::dialect::{overflow, retry_after, signature};
use crate::ir::{Class, Fault, FaultKind, Json};
use http::HeaderMap;
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// Bedrock itself gives no `retry-after`, though a proxy before it may; its guide says to back off from one second.
const BACK_OFF: Duration = Duration::from_secs(1);
/// A model that is being brought up takes tens of seconds.
const MODEL_START: Duration = Duration::from_secs(20);
/// Characters of a message that are kept.
const LONGEST_MESSAGE: usize = 1000;

/// What is meant by an exception's name alone, whatever status it comes with.
const EXCEPTIONS: &[(&str, Class, FaultKind)] = &[
    // With 400.
    (
        "ServiceQuotaExceededException",
        Class::Capacity,
        FaultKind::RateLimit,
    ),
    ("ThrottlingException", Class::Capacity, FaultKind::RateLimit),
    (
        "TooManyRequestsException",
        Class::Capacity,
        FaultKind::RateLimit,
    ),
    (
        "ModelNotReadyException",
        Class::Capacity,
        FaultKind::Overloaded,
    ),
    (
        "ModelTimeoutException",
        Class::Transient,
        FaultKind::Timeout,
    ),
    (
        "ServiceUnavailableException",
        Class::Capacity,
        FaultKind::Overloaded,
    ),
    ("ServiceUnavailable", Class::Capacity, FaultKind::Overloaded),
    ("Throttling", Class::Capacity, FaultKind::RateLimit),
    ("ThrottledException", Class::Capacity, FaultKind::RateLimit),
    (
        "RequestLimitExceeded",
        Class::Capacity,
        FaultKind::RateLimit,
    ),
    ("SlowDown", Class::Capacity, FaultKind::Overloaded),
    (
        "InternalServerException",
        Class::Transient,
        FaultKind::Server,
    ),
    ("InternalFailure", Class::Transient, FaultKind::Server),
    (
        "ResourceNotFoundException",
        Class::Route,
        FaultKind::ModelNotFound,
    ),
    // Of the signature's check, which some of AWS's front ends answer with 400.
    (
        "AccessDeniedException",
        Class::Route,
        FaultKind::Credentials,
    ),
    (
        "UnrecognizedClientException",
        Class::Route,
        FaultKind::Credentials,
    ),
    ("InvalidClientTokenId", Class::Route, FaultKind::Credentials),
    ("ExpiredToken", Class::Route, FaultKind::Credentials),
    (
        "ExpiredTokenException",
        Class::Route,
        FaultKind::Credentials,
    ),
    (
        "InvalidSignatureException",
        Class::Route,
        FaultKind::Credentials,
    ),
    ("IncompleteSignature", Class::Route, FaultKind::Credentials),
    (
        "IncompleteSignatureException",
        Class::Route,
        FaultKind::Credentials,
    ),
    (
        "MissingAuthenticationTokenException",
        Class::Route,
        FaultKind::Credentials,
    ),
];

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow, rename = "__type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    code: Option<Json<'a>>,
    #[serde(borrow, alias = "Message", default)]
    message: Option<Cow<'a, str>>,
    /// The status that the model's server gave, in `ModelErrorException` and `ModelStreamErrorException`.
    #[serde(rename = "originalStatusCode", default)]
    original_status: Option<u16>,
}

impl Body<'_> {
    /// Returns the exception's name, if the body has it.
    fn kind(&self) -> &str {
        let code = self
            .code
            .as_ref()
            .map(|code| code.as_str().trim_matches('"'));
        self.kind.as_deref().or(code).map_or("", bare)
    }
}

/// Returns what an answer with another status than 200 means.
pub(super) fn answered(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let body = read(body);
    let named = headers
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok());
    let fault = sort(status, named.map_or_else(|| body.kind(), bare), &body);
    let own = fault.retry_after;
    fault.after(retry_after::from_headers(headers).or(own))
}

/// Reads an error that came in a body with status 200.
pub(super) fn in_body(body: &[u8]) -> Option<Fault> {
    let body = read(body);
    let kind = body.kind();
    (!kind.is_empty() || body.message.is_some()).then(|| sort(0, kind, &body))
}

/// Reads an exception frame, of a type such as `throttlingException`.
pub(super) fn exception(kind: &str, payload: &[u8]) -> Fault {
    sort(0, kind, &read(payload))
}

/// Reads an error frame, whose code the service does not model.
pub(super) fn unmodelled(code: &str, message: &str) -> Fault {
    let message = (!message.is_empty()).then_some(Cow::Borrowed(message));
    let body = Body {
        message,
        ..Body::default()
    };
    sort(0, code, &body)
}

fn read(body: &[u8]) -> Body<'_> {
    serde_json::from_slice(body).unwrap_or_default()
}

/// Returns the bare name of an exception, such as `ValidationException` of
/// `com.amazon.coral.validate#ValidationException:http://internal…`.
fn bare(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or(kind);
    kind.rsplit('#').next().unwrap_or(kind).trim()
}

/// Returns what an error means; `status` is 0 for what came within an answer of 200.
fn sort(status: u16, kind: &str, body: &Body<'_>) -> Fault {
    use Class::{Capacity, Transient};
    let message = body.message.as_deref().unwrap_or("");
    let is = |name: &str| kind.eq_ignore_ascii_case(name);
    let (class, sort) = if is("ValidationException") {
        validation(message)
    } else if is("ModelErrorException") || is("ModelStreamErrorException") {
        match body.original_status {
            Some(429) => (Capacity, FaultKind::RateLimit),
            Some(400) => validation(message),
            _ => (Transient, FaultKind::Server),
        }
    } else {
        EXCEPTIONS
            .iter()
            .find(|(name, ..)| is(name))
            .map_or_else(|| by_status(status), |(_, class, sort)| (*class, *sort))
    };
    // Whoever stands before the model says it without an exception's name, and a model's own server within another.
    let of_answer = Some(status).filter(|status| !matches!(status, 0 | 424));
    let is_vague = matches!(
        sort,
        FaultKind::InvalidRequest | FaultKind::TooLarge | FaultKind::Server
    );
    let (class, sort) = if is_vague && overflow::may_be(of_answer) && overflow::says(message) {
        (Class::Route, FaultKind::ContextLength)
    } else {
        (class, sort)
    };
    let retry_after = match sort {
        _ if is("ModelNotReadyException") => Some(MODEL_START),
        FaultKind::RateLimit => Some(BACK_OFF),
        _ => None,
    };
    let mend = signature::blamed(message).filter(|_| sort == FaultKind::InvalidRequest);
    let fault = Fault::new(class, sort, said(kind, message))
        .after(retry_after)
        .without(mend);
    overflow::counted(fault)
}

fn by_status(status: u16) -> (Class, FaultKind) {
    use Class::{Capacity, Permanent, Route, Transient};
    match status {
        400 | 422 => (Permanent, FaultKind::InvalidRequest),
        401 | 403 => (Route, FaultKind::Credentials),
        402 => (Route, FaultKind::Billing),
        404 => (Route, FaultKind::ModelNotFound),
        405 | 501 => (Route, FaultKind::Unsupported),
        413 => (Permanent, FaultKind::TooLarge),
        408 | 504 => (Transient, FaultKind::Timeout),
        429 => (Capacity, FaultKind::RateLimit),
        503 | 529 => (Capacity, FaultKind::Overloaded),
        300..=399 => (Route, FaultKind::Server),
        _ => (Transient, FaultKind::Server),
    }
}

/// Returns what a `ValidationException` means, which says only in its text what is wrong.
fn validation(message: &str) -> (Class, FaultKind) {
    let says = |words: &[&str]| {
        words.iter().any(|words| {
            message
                .as_bytes()
                .windows(words.len())
                .any(|part| part.eq_ignore_ascii_case(words.as_bytes()))
        })
    };
    if says(&["on-demand throughput", "model identifier is invalid"]) {
        (Class::Route, FaultKind::ModelNotFound)
    } else if says(&["doesn't support", "does not support", "not supported"]) {
        (Class::Route, FaultKind::Unsupported)
    } else {
        (Class::Permanent, FaultKind::InvalidRequest)
    }
}

/// Returns the message without what belongs to the operator alone.
fn said(kind: &str, message: &str) -> Cow<'static, str> {
    if message.trim().is_empty() {
        return match kind {
            "" => Cow::Borrowed("the provider gave no reason"),
            kind => Cow::Owned(kind.chars().take(100).collect()),
        };
    }
    let mut clean = String::with_capacity(message.len().min(LONGEST_MESSAGE));
    let words = message.split_inclusive(|character: char| {
        character.is_whitespace() || matches!(character, '"' | '\'' | ',' | ';' | '(' | ')')
    });
    for word in words {
        clean.push_str(&without_names(word));
        if clean.len() >= LONGEST_MESSAGE {
            break;
        }
    }
    Cow::Owned(clean.trim().chars().take(LONGEST_MESSAGE).collect())
}

/// Returns a word, unless it names an account, a resource, a key or an address.
fn without_names(word: &str) -> Cow<'_, str> {
    let hidden = if word.contains("arn:aws") {
        "(an ARN)"
    } else if word.contains("://") {
        "(an address)"
    } else if is_key(word) {
        "(a key)"
    } else if word.trim_matches(|c: char| !c.is_ascii_digit()).len() == 12
        && word.bytes().filter(u8::is_ascii_digit).count() == 12
    {
        "(an account)"
    } else {
        return Cow::Borrowed(word);
    };
    let last = word
        .chars()
        .next_back()
        .filter(|last| !last.is_alphanumeric());
    Cow::Owned(hidden.chars().chain(last).collect())
}

/// Returns whether a word is an id of an access key of AWS's: `AKIA…` or `ASIA…`.
fn is_key(word: &str) -> bool {
    ["AKIA", "ASIA"].iter().any(|prefix| {
        word.find(prefix).is_some_and(|at| {
            word[at..]
                .bytes()
                .take_while(u8::is_ascii_alphanumeric)
                .count()
                >= 16
        })
    })
}
