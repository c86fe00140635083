//! Bedrock's errors: an exception by name, which comes in a header, and a message.

use serde_json::json;

use super::super::exchange::Reply;

/// A request that is answered by an exception.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) exception: &'static str,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(status: u16, exception: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            exception,
            message: message.into(),
        }
    }

    /// 400 `ValidationException`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    /// Returns what a member of the request must satisfy and does not.
    pub(super) fn constraint(path: &str, value: &str, why: &str) -> Self {
        Self::invalid(format!(
            "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: Member must {why}"
        ))
    }

    /// Returns what the model's own API says, as Bedrock passes it on.
    pub(super) fn model(message: &str) -> Self {
        Self::invalid(format!(
            "The model returned the following errors: {message}"
        ))
    }

    /// 403, for credentials that do not do.
    pub(super) fn forbidden(exception: &'static str, message: impl Into<String>) -> Self {
        Self::new(403, exception, message)
    }

    pub(super) fn reply(&self) -> Reply {
        reply(self.status, self.exception, &self.message)
    }
}

/// Returns an exception's reply. Its name carries a namespace or an address, as it does from different parts of AWS.
pub(super) fn reply(status: u16, exception: &str, message: &str) -> Reply {
    let kind = match status {
        400 | 404 => format!("{exception}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
        500 | 503 => format!("com.amazon.bedrock#{exception}"),
        _ => exception.to_owned(),
    };
    // Where requests are refused for their credentials, the word is written in another case.
    let body = match status {
        403 => json!({ "Message": message }),
        _ => json!({ "message": message }),
    };
    Reply::json(status, &body).with("x-amzn-errortype", &kind)
}

/// Returns the exception that goes with a status, and what it says where nobody gave it words.
pub(super) fn usual(status: u16) -> (&'static str, &'static str) {
    match status {
        403 => (
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
        ),
        404 => (
            "ResourceNotFoundException",
            "The provided model identifier is not found.",
        ),
        408 => (
            "ModelTimeoutException",
            "Model has timed out in processing the request. Try your request again.",
        ),
        424 => (
            "ModelErrorException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
        429 => (
            "ThrottlingException",
            "Too many requests, please wait before trying again.",
        ),
        503 => (
            "ServiceUnavailableException",
            "Bedrock is unable to process your request.",
        ),
        400..=499 => ("ValidationException", "The request is not valid."),
        _ => (
            "InternalServerException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
    }
}
