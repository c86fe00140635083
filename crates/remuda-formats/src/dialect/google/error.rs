//! What Gemini's errors mean, whether they come as an HTTP answer or within one.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::blame::is_about_key;
use crate::dialect::clean::clean;
use crate::dialect::{overflow, retry_after, signature};
use crate::ir::{Class, Fault, FaultKind};

/// Google's days of quota begin at midnight of the Pacific coast; in summer an hour earlier than this says.
const PACIFIC: i64 = -8 * 3600;

#[derive(Default, Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(default)]
    code: Option<u16>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    details: Option<Vec<&'a RawValue>>,
}

/// One of `details`, whatever its `@type`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    retry_delay: Option<Cow<'a, str>>,
    #[serde(borrow)]
    violations: Vec<Violation<'a>>,
    #[serde(borrow)]
    field_violations: Vec<Violation<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Violation<'a> {
    #[serde(borrow)]
    quota_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    field: Option<Cow<'a, str>>,
}

/// Returns what an answer with another status than 200 means.
pub(super) fn answered(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error = error_of(body);
    let read = error.map(read).unwrap_or_default();
    let fault = sort(status, &read, Utc::now());
    // A quota says more exactly when it is there again.
    let own = fault.retry_after;
    fault.after(own.or_else(|| retry_after::from_headers(headers)))
}

/// Reads an error in a body or an event that came with status 200.
pub(super) fn within(body: &[u8]) -> Option<Fault> {
    error_of(body).map(of)
}

/// Returns the `error` of a body.
pub(super) fn of(error: &RawValue) -> Fault {
    let read = read(error);
    sort(read.code.unwrap_or(0), &read, Utc::now())
}

/// Reads `{"error":…}`, or an array of one. They are told apart by hand: serde takes an array for a struct, too.
fn error_of(body: &[u8]) -> Option<&RawValue> {
    if body.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice::<Body<'_>>(body).ok()?.error;
    }
    let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let mut objects = items.into_iter().filter(|item| item.get().starts_with('{'));
    objects.find_map(|object| error_of(object.get().as_bytes()))
}

fn read(error: &RawValue) -> Status<'_> {
    serde_json::from_str(error.get()).unwrap_or_else(|_| Status {
        message: serde_json::from_str(error.get()).ok(),
        ..Status::default()
    })
}

fn sort(status: u16, error: &Status<'_>, now: DateTime<Utc>) -> Fault {
    let details: Vec<Detail<'_>> = error
        .details
        .iter()
        .flatten()
        .filter_map(|detail| serde_json::from_str(detail.get()).ok())
        .collect();
    let message = error.message.as_deref().unwrap_or("");
    let reason = |wanted: &str| {
        details
            .iter()
            .any(|detail| detail.reason.as_deref() == Some(wanted))
    };
    let (class, kind) = match (error.status.as_deref().unwrap_or(""), status) {
        ("INVALID_ARGUMENT", _) | ("", 400) if reason("API_KEY_INVALID") => {
            (Class::Route, FaultKind::Credentials)
        }
        ("INVALID_ARGUMENT" | "OUT_OF_RANGE", _) | ("", 400 | 422) => argument(message),
        // The operator's region, or the project without billing.
        ("FAILED_PRECONDITION", _) => (Class::Route, FaultKind::Billing),
        ("UNAUTHENTICATED" | "PERMISSION_DENIED", _) | ("", 401 | 403) => {
            (Class::Route, FaultKind::Credentials)
        }
        ("NOT_FOUND", _) | ("", 404) => (Class::Route, FaultKind::ModelNotFound),
        ("UNIMPLEMENTED", _) | ("", 405 | 501) => (Class::Route, FaultKind::Unsupported),
        ("RESOURCE_EXHAUSTED", _) | ("", 429) => (Class::Capacity, FaultKind::RateLimit),
        ("UNAVAILABLE", _) | ("", 503 | 529) => (Class::Capacity, FaultKind::Overloaded),
        ("DEADLINE_EXCEEDED", _) | ("", 408 | 504) => (Class::Transient, FaultKind::Timeout),
        (_, 402) => (Class::Route, FaultKind::Billing),
        (_, 413) => (Class::Permanent, FaultKind::TooLarge),
        // Another server than the one that was meant.
        (_, 300..=399) => (Class::Route, FaultKind::Server),
        (_, 400) => argument(message),
        (_, 0) if is_about_key(message) => (Class::Route, FaultKind::Credentials),
        _ => (Class::Transient, FaultKind::Server),
    };
    let is_vague = matches!(
        kind,
        FaultKind::InvalidRequest | FaultKind::TooLarge | FaultKind::Server
    );
    let of_answer = Some(status).filter(|status| *status != 0);
    let (class, kind) = if is_vague && overflow::may_be(of_answer) && overflow::says(message) {
        (Class::Route, FaultKind::ContextLength)
    } else {
        (class, kind)
    };
    let retry_after = match kind {
        FaultKind::RateLimit | FaultKind::Overloaded => come_back(&details, now),
        _ => None,
    };
    let param = details
        .iter()
        .flat_map(|detail| &detail.field_violations)
        .find_map(|violation| violation.field.as_deref())
        .filter(|field| field.len() <= 100)
        .map(str::to_owned);
    overflow::counted(Fault {
        param: param.filter(|_| class == Class::Permanent),
        mend: signature::blamed(message).filter(|_| kind == FaultKind::InvalidRequest),
        ..Fault::new(class, kind, said(message)).after(retry_after)
    })
}

/// Returns what an `INVALID_ARGUMENT` means, which says only in its text what is wrong.
fn argument(message: &str) -> (Class, FaultKind) {
    let says = |words: &str| {
        let mut places = message.as_bytes().windows(words.len());
        places.any(|place| place.eq_ignore_ascii_case(words.as_bytes()))
    };
    if is_about_key(message) {
        (Class::Route, FaultKind::Credentials)
    } else if says("is not supported for this model")
        || says("is not enabled for")
        || says("is not supported by this model")
    {
        (Class::Route, FaultKind::Unsupported)
    } else {
        (Class::Permanent, FaultKind::InvalidRequest)
    }
}

/// Returns when it may be better. A quota of a day is used up until the next day, whatever the delay says.
fn come_back(details: &[Detail<'_>], now: DateTime<Utc>) -> Option<Duration> {
    let of_a_day = details
        .iter()
        .flat_map(|detail| &detail.violations)
        .any(|violation| {
            violation
                .quota_id
                .as_deref()
                .is_some_and(|id| id.contains("PerDay"))
        });
    if of_a_day {
        const DAY: i64 = 24 * 3600;
        let passed = (now.timestamp() + PACIFIC).rem_euclid(DAY);
        return u64::try_from(DAY - passed).ok().map(Duration::from_secs);
    }
    let mut delays = details.iter();
    delays.find_map(|detail| retry_after::duration(detail.retry_delay.as_deref()?))
}

/// Returns the message without what belongs to the operator alone.
fn said(message: &str) -> Cow<'static, str> {
    let words = message.split_whitespace().map(|word| {
        if is_project(word) {
            "(a project)"
        } else {
            word
        }
    });
    let message = clean(&words.collect::<Vec<_>>().join(" "));
    if message.is_empty() {
        Cow::Borrowed("the provider gave no reason")
    } else {
        Cow::Owned(message)
    }
}

/// Returns whether a word names a project: `projects/…`, `project_number:123456789012`, or the number alone.
fn is_project(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let bare = word.trim_matches(|character: char| !character.is_alphanumeric());
    word.contains("projects/")
        || (word.contains("project") && digits >= 6)
        || (digits >= 10 && bare.len() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, body: &str) -> Fault {
        answered(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is a table of cases")]
    fn every_signal_has_its_class() {
        use Class::{Capacity, Permanent, Route, Transient};
        for (code, name, message, class, kind) in [
            (
                400,
                "INVALID_ARGUMENT",
                "Request contains an invalid argument.",
                Permanent,
                FaultKind::InvalidRequest,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                Route,
                FaultKind::Credentials,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                Route,
                FaultKind::ContextLength,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "Thinking level is not supported for this model.",
                Route,
                FaultKind::Unsupported,
            ),
            (
                400,
                "FAILED_PRECONDITION",
                "User location is not supported for the API use.",
                Route,
                FaultKind::Billing,
            ),
            (401, "UNAUTHENTICATED", "", Route, FaultKind::Credentials),
            (403, "PERMISSION_DENIED", "", Route, FaultKind::Credentials),
            (
                404,
                "NOT_FOUND",
                "models/x is not found",
                Route,
                FaultKind::ModelNotFound,
            ),
            (
                429,
                "RESOURCE_EXHAUSTED",
                "",
                Capacity,
                FaultKind::RateLimit,
            ),
            (499, "CANCELLED", "", Transient, FaultKind::Server),
            (500, "INTERNAL", "", Transient, FaultKind::Server),
            (
                503,
                "UNAVAILABLE",
                "The model is overloaded.",
                Capacity,
                FaultKind::Overloaded,
            ),
            (504, "DEADLINE_EXCEEDED", "", Transient, FaultKind::Timeout),
        ] {
            let body =
                format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"{name}"}}}}"#);
            let array = format!("[{body}\n]");
            for body in [body, array] {
                let fault = fault(code, &body);
                assert_eq!((fault.class, fault.kind), (class, kind), "{body}");
            }
        }
        for (status, class, kind) in [
            (302, Route, FaultKind::Server),
            (400, Permanent, FaultKind::InvalidRequest),
            (404, Route, FaultKind::ModelNotFound),
            (413, Permanent, FaultKind::TooLarge),
            (502, Transient, FaultKind::Server),
        ] {
            for body in ["", "<html>", "{}", "[]", "null", r#"{"error":null}"#] {
                let fault = fault(status, body);
                assert_eq!((fault.class, fault.kind), (class, kind), "{status} {body}");
            }
        }
    }

    #[test]
    fn an_invalid_key_is_told_by_its_reason() {
        let body = r#"{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"s"}}]}}"#;
        assert_eq!(fault(400, body).kind, FaultKind::Credentials);
    }

    #[test]
    fn a_quota_says_when_to_come_back() {
        let body = |id: &str| {
            format!(
                r#"[{{"error":{{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
                {{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaMetric":"x","quotaId":"{id}"}}]}},
                {{"@type":"type.googleapis.com/google.rpc.Help","links":[{{"url":"https://x"}}]}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"22.5s"}}]}}}}]"#
            )
        };
        let per_minute = fault(429, &body("GenerateRequestsPerMinutePerProject"));
        assert_eq!(per_minute.retry_after, Some(Duration::from_millis(22_500)));
        let now = "2026-11-21T07:59:00Z".parse().unwrap();
        let per_day = body("GenerateRequestsPerDayPerProject");
        let error = read(error_of(per_day.as_bytes()).unwrap());
        assert_eq!(
            sort(429, &error, now).retry_after,
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    fn a_header_field_says_it_where_the_quota_does_not() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        let after = |status: u16, details: &str| {
            let body = format!(r#"{{"error":{{"code":{status},"details":[{details}]}}}}"#);
            let after = answered(status, &headers, body.as_bytes()).retry_after;
            after.map(|after| after.as_secs())
        };
        let info = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"22s"}"#;
        assert_eq!(after(429, info), Some(22));
        for status in [429, 500, 503, 504] {
            assert_eq!(after(status, ""), Some(7), "{status}");
        }
    }

    #[test]
    fn the_field_to_blame_is_named() {
        let body = r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"generation_config.top_k","description":"d"}]}]}}"#;
        assert_eq!(
            fault(400, body).param.as_deref(),
            Some("generation_config.top_k")
        );
    }

    #[test]
    fn messages_keep_what_is_the_operators() {
        let body = r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"Consumer 'api_key:AIzaSyD4ub' of project_number:123456789012 in projects/acme-prod has no access, see https://console.cloud.google.com/x?y=123456789012."}}"#;
        let said = fault(403, body).message;
        for part in ["AIza", "1234567", "acme", "console"] {
            assert!(!said.contains(part), "{said}");
        }
        assert!(said.contains("has no access"), "{said}");
    }
}
