//! What an error of an Ollama server means: for the request, for this server and for the others.

use std::borrow::Cow;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error_text::error_text;
use super::fault::is_request_fault;
use crate::dialect::blame::is_about_request;
use crate::dialect::clean::clean;
use crate::dialect::{overflow, plain, retry_after};
use crate::ir::{Class, Fault, FaultKind, Mend, Overflow};

/// How Ollama ends what it says to `think` for a model that cannot.
const CANNOT_THINK: &str = "does not support thinking";

/// Returns what an answer with an error status means.
pub fn fault(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    use {Class::*, FaultKind::*};
    let whole = text_of(body);
    let text = inner(&whole);
    let told = |class, kind| Fault::new(class, kind, shown(status, &text));
    let fault = match status {
        300..400 => told(Route, Server),
        _ if overflow::may_be(Some(status)) && overflow::says(&whole) => {
            overflowing(told(Route, ContextLength), &whole)
        }
        400 if text.ends_with(CANNOT_THINK) => {
            told(Route, Unsupported).without(Some(Mend::Thinking))
        }
        400..=501 if cannot(&text) => told(Route, Unsupported),
        401 | 403 => told(Route, Credentials),
        402 => told(Route, Billing),
        404 if text.starts_with("404 page") => told(Route, Unsupported),
        404 => told(Route, ModelNotFound),
        405 | 501 => told(Route, Unsupported),
        // 499: it saw the gateway leave.
        408 | 499 | 504 => told(Transient, Timeout),
        409 => told(Transient, Server),
        413 => told(Permanent, TooLarge),
        429 => told(Capacity, RateLimit),
        400..500 => told(Permanent, InvalidRequest),
        500 if is_request_fault(body) => told(Permanent, InvalidRequest),
        500 if is_about_request(&text) => told(Route, InvalidRequest),
        503 | 529 => told(Capacity, Overloaded),
        _ => told(Transient, Server),
    };
    match fault.class {
        Capacity | Transient => fault.after(retry_after::from_headers(headers)),
        Permanent | Route => fault,
    }
}

/// Returns what an error means that came as a body of status 200: its text decides, as in a stream, unless that says
/// nothing.
pub fn fault_within(body: &[u8]) -> Fault {
    let told = stream_fault(&text_of(body));
    if told.class == Class::Transient || is_request_fault(body) {
        fault(500, &HeaderMap::new(), body)
    } else {
        told
    }
}

/// Returns what an error within a stream means: there is no status, so its text decides.
pub(super) fn stream_fault(whole: &str) -> Fault {
    use {Class::*, FaultKind::*};
    let text = inner(whole);
    if overflow::says(whole) {
        return overflowing(Fault::new(Route, ContextLength, clean(&text)), whole);
    }
    let (class, kind) = if cannot(&text) {
        (Route, Unsupported)
    } else if text.starts_with("model '") && text.contains("not found")
        || text.starts_with("model \"") && text.contains("not found")
    {
        (Route, ModelNotFound)
    } else if text == "unauthorized" {
        (Route, Credentials)
    } else if text.starts_with("server busy") {
        (Capacity, Overloaded)
    } else if is_about_request(&text) {
        (Route, InvalidRequest)
    } else {
        (Transient, Server)
    };
    Fault::new(class, kind, clean(&text))
}

/// Gives a fault the numbers that the runner's own error has, or else its words.
fn overflowing(fault: Fault, whole: &str) -> Fault {
    #[derive(Deserialize)]
    struct Body {
        error: Runner,
    }
    #[derive(Deserialize)]
    struct Runner {
        n_prompt_tokens: Option<u64>,
        n_ctx: Option<u64>,
    }
    let runner = serde_json::from_str::<Body>(whole).map(|body| body.error);
    let stated = runner.ok().map(|runner| Overflow {
        input: runner.n_prompt_tokens,
        most: runner.n_ctx,
        ..Overflow::default()
    });
    overflow::counted(Fault {
        overflow: stated.map(Box::new),
        ..fault
    })
}

/// Returns whether the text says that the model lacks a capability.
fn cannot(text: &str) -> bool {
    text.contains("does not support")
}

/// Returns the text of an error body; of one that is none of Ollama's, as much as may help.
fn text_of(body: &[u8]) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    if let Ok(Body { error: Some(error) }) = serde_json::from_slice::<Body<'_>>(body) {
        return match error_text(error) {
            Some(text) => Cow::Owned(text.into_owned()),
            None => Cow::Borrowed(""),
        };
    }
    plain::words(body)
}

/// Returns the innermost text. A runner's error is itself an error body, as the text of Ollama's.
fn inner(text: &str) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    let read = text
        .starts_with('{')
        .then(|| serde_json::from_str::<Body<'_>>(text).ok())
        .flatten()
        .and_then(|body| error_text(body.error));
    read.unwrap_or(Cow::Borrowed(text))
}

fn shown(status: u16, text: &str) -> String {
    if text.trim().is_empty() {
        format!("the provider answered with status {status}")
    } else {
        clean(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn told(status: u16, text: &str) -> Fault {
        let body = serde_json::json!({ "error": text }).to_string();
        fault(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is a table of cases")]
    fn every_error_has_its_class() {
        use {Class::*, FaultKind::*};
        for (status, text, class, kind) in [
            (400, "invalid character 'x'", Permanent, InvalidRequest),
            (
                400,
                "registry.ollama.ai/library/x:latest does not support tools",
                Route,
                Unsupported,
            ),
            (400, "\"x\" does not support thinking", Route, Unsupported),
            (
                400,
                "the input length exceeds the context length",
                Route,
                ContextLength,
            ),
            (401, "unauthorized", Route, Credentials),
            (403, "", Route, Credentials),
            (404, "model 'x' not found", Route, ModelNotFound),
            (405, "405 method not allowed", Route, Unsupported),
            (413, "too large", Permanent, TooLarge),
            (429, "too many", Capacity, RateLimit),
            (499, "request canceled", Transient, Timeout),
            (
                500,
                "model runner has unexpectedly stopped",
                Transient,
                Server,
            ),
            (
                500,
                "option \"num_ctx\" must be of type integer",
                Permanent,
                InvalidRequest,
            ),
            (500, "invalid format: \"xml\"", Permanent, InvalidRequest),
            (
                500,
                "error parsing tool call: raw='{', err=unexpected end of JSON input",
                Route,
                InvalidRequest,
            ),
            (
                501,
                "This server does not support embeddings.",
                Route,
                Unsupported,
            ),
            (502, "bad gateway", Transient, Server),
            (503, super::super::SERVER_BUSY, Capacity, Overloaded),
            (504, "", Transient, Timeout),
            (302, "moved", Route, Server),
        ] {
            let fault = told(status, text);
            assert_eq!((fault.class, fault.kind), (class, kind), "{status} {text}");
            match text {
                "" => assert_eq!(
                    fault.message,
                    format!("the provider answered with status {status}")
                ),
                text => assert_eq!(fault.message, clean(text)),
            }
        }
    }

    /// If there is a status, it decides, and not a phrase in the message (BerriAI/litellm#11455).
    #[test]
    fn a_phrase_about_rate_limits_is_no_rate_limit() {
        assert_eq!(told(400, "429 rate limit").kind, FaultKind::InvalidRequest);
    }

    #[test]
    fn errors_within_a_stream_are_told_by_their_text() {
        use {Class::*, FaultKind::*};
        for (text, class, kind) in [
            (
                "server busy, please try again.  maximum pending requests exceeded",
                Capacity,
                Overloaded,
            ),
            ("model 'x' not found", Route, ModelNotFound),
            (
                "model \"x\" not found, try pulling it first",
                Route,
                ModelNotFound,
            ),
            ("\"x\" does not support thinking", Route, Unsupported),
            ("unauthorized", Route, Credentials),
            (
                "an error was encountered while running the model",
                Transient,
                Server,
            ),
        ] {
            let fault = stream_fault(text);
            assert_eq!((fault.class, fault.kind), (class, kind), "{text}");
            assert_eq!(fault.message, clean(text));
        }
    }

    /// A server that is not signed in says so with status 200.
    #[test]
    fn errors_of_status_200_are_told_by_their_text() {
        use {Class::*, FaultKind::*};
        for (body, class, kind) in [
            (
                r#"{"error":"unauthorized","signin_url":"https://ollama.com/connect"}"#,
                Route,
                Credentials,
            ),
            (
                r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
                Capacity,
                Overloaded,
            ),
            (r#"{"error":"model 'x' not found"}"#, Route, ModelNotFound),
            (
                r#"{"error":"invalid format: \"xml\""}"#,
                Permanent,
                InvalidRequest,
            ),
            (r#"{"error":"EOF"}"#, Transient, Server),
            (r#"{"error":""}"#, Transient, Server),
        ] {
            let fault = fault_within(body.as_bytes());
            assert_eq!((fault.class, fault.kind), (class, kind), "{body}");
            assert!(!fault.message.is_empty(), "{body}");
        }
    }

    #[test]
    fn a_runners_error_is_unwrapped() {
        let inner = r#"{"error":{"code":400,"message":"request (9 tokens) exceeds the available context size","type":"exceed_context_size_error"}}"#;
        let fault = told(400, inner);
        assert_eq!(fault.kind, FaultKind::ContextLength);
        assert_eq!(
            fault.message,
            "request (9 tokens) exceeds the available context size"
        );
        assert_eq!(stream_fault(inner), fault);
    }

    #[test]
    fn what_is_not_ollamas_is_not_shown_and_addresses_neither() {
        let headers = HeaderMap::new();
        let html = fault(502, &headers, b"<html>secret</html>");
        assert_eq!(html.message, "the provider answered with status 502");
        let page = fault(404, &headers, b"404 page not found");
        assert_eq!(
            (page.kind, &*page.message),
            (FaultKind::Unsupported, "404 page not found")
        );
        let post = told(500, "Post \"http://10.0.0.7:43211/completion\": EOF");
        assert_eq!(post.message, r#"Post "[hidden]": EOF"#);
        assert!(told(500, &"é".repeat(5_000)).message.chars().count() <= 1_000);
    }

    #[test]
    fn a_busy_server_may_say_for_how_long() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "2".parse().unwrap());
        let after = |status| fault(status, &headers, b"").retry_after;
        assert_eq!(after(503), Some(Duration::from_secs(2)));
        assert_eq!(after(429), Some(Duration::from_secs(2)));
        assert_eq!(after(500), Some(Duration::from_secs(2)));
        assert_eq!(after(400), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_a_fault(status in 300..600_u16, body in any::<Vec<u8>>()) {
            let fault = fault(status, &HeaderMap::new(), &body);
            prop_assert!(!fault.message.is_empty() && fault.message.chars().count() <= 1_000);
        }
    }
}
