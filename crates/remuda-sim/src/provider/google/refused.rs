//! Google's errors: a code, a status in capitals, and typed details, printed over several lines.

use serde_json::{Value, json};

/// A request that is answered by an error.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) status: &'static str,
    pub(super) message: String,
    pub(super) details: Vec<Value>,
}

impl Refused {
    pub(super) fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            status: status(code),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// 400 `INVALID_ARGUMENT`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// Returns a rule that a field of the request breaks: `* GenerateContentRequest.{path}: {why}`.
    pub(super) fn rule(path: &str, why: &str) -> Self {
        Self::invalid(format!("* GenerateContentRequest.{path}: {why}\n"))
    }

    /// JSON that is not that of the request's type, with the field that says so.
    pub(super) fn payload(path: &str, message: String) -> Self {
        Self {
            details: vec![json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": path, "description": message}],
            })],
            ..Self::invalid(message)
        }
    }

    /// Returns an `ErrorInfo` with a reason in capitals.
    pub(super) fn because(mut self, reason: &str) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }));
        self
    }

    pub(super) fn value(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_empty() {
            error["details"] = self.details.clone().into();
        }
        json!({ "error": error })
    }
}

/// JSON over several lines, as Google prints it.
pub(super) fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("values have string keys and finite numbers") + "\n"
}

/// Returns the status that goes with an HTTP code.
pub(super) fn status(code: u16) -> &'static str {
    match code {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=498 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// Returns what an error says where nobody gave it words.
pub(super) fn words(code: u16) -> &'static str {
    match status(code) {
        "UNAUTHENTICATED" => "Request had invalid authentication credentials.",
        "PERMISSION_DENIED" => "The caller does not have permission",
        "NOT_FOUND" => "Requested entity was not found.",
        "RESOURCE_EXHAUSTED" => {
            "You exceeded your current quota, please check your plan and billing details."
        }
        "CANCELLED" => "The operation was cancelled.",
        "UNAVAILABLE" => "The model is overloaded. Please try again later.",
        "DEADLINE_EXCEEDED" => "Deadline expired before operation could complete.",
        "INVALID_ARGUMENT" => "Request contains an invalid argument.",
        _ => {
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
        }
    }
}
