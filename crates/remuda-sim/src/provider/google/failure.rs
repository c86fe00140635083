//! Errors on their way out: their shape by the kind of request, and those that were asked for as faults.

use serde_json::json;

use super::super::exchange::{Failed, Reply, Request};
use super::refused::{self, Refused, pretty};

/// Returns whether a stream is one of events.
pub(super) fn is_sse(request: &Request) -> bool {
    request.parameter("alt").as_deref() == Some("sse")
}

fn streams(request: &Request) -> bool {
    request.path.ends_with(":streamGenerateContent")
}

/// Returns the error of a stream that is no series of events: the one element of its array.
pub(super) fn error(request: &Request, refused: &Refused) -> Reply {
    let value = if streams(request) && !is_sse(request) {
        json!([refused.value()])
    } else {
        refused.value()
    };
    Reply::whole(
        refused.code,
        "application/json; charset=UTF-8",
        pretty(&value),
    )
}

/// Returns a failure that was asked for; its code may be a status in capitals, a reason, or the id of a quota.
pub(super) fn failure(failed: &Failed) -> Refused {
    let message = failed
        .message
        .as_deref()
        .unwrap_or(refused::words(failed.status));
    let mut refused = Refused::new(failed.status, message);
    let code = failed.code.as_deref().unwrap_or_default();
    if refused.code == 429 {
        let quota = if code.contains("Per") {
            code
        } else {
            "GenerateRequestsPerMinutePerProjectPerModel"
        };
        let delay = failed.retry_after.as_deref().unwrap_or("22");
        refused.details = vec![
            json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{
                    "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                    "quotaId": quota,
                    "quotaValue": "10",
                }],
            }),
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{delay}s")}),
        ];
    } else if let Some(status) = STATUSES.iter().find(|status| **status == code) {
        refused.status = status;
    } else if !code.is_empty() {
        refused = refused.because(code);
    }
    refused
}

/// Statuses that a failure may ask for by name.
const STATUSES: [&str; 11] = [
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
    "INTERNAL",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
];
