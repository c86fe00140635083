//! The Messages API's errors: a status, a type, and a sentence.

use serde_json::{Value, json};

/// A request that is answered by an error.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// 400 `invalid_request_error`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 401 `authentication_error`.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, message)
    }

    /// 404 `not_found_error`.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// Returns the error's body.
    pub(super) fn body(&self, request_id: &str) -> Value {
        json!({
            "type": "error",
            "error": {"type": kind(self.status), "message": self.message},
            "request_id": request_id,
        })
    }
}

/// Returns the error type that goes with a status.
pub(super) fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Returns what an error says where nobody gave it words.
pub(super) fn words(status: u16) -> &'static str {
    match kind(status) {
        "authentication_error" => "invalid x-api-key",
        "billing_error" => "Your account has a billing problem.",
        "permission_error" => "Your API key does not have permission to use this resource.",
        "not_found_error" => "Not found",
        "conflict_error" => "The request conflicts with another one.",
        "request_too_large" => "Request exceeds the maximum size",
        "rate_limit_error" => "This request would exceed your organization's rate limit.",
        "overloaded_error" => "Overloaded",
        "timeout_error" => "Request timed out",
        "api_error" => "Internal server error",
        _ => "Bad request",
    }
}
