//! Errors as OpenAI words them, to clients and from all who speak its API.

mod read;
mod shapes;
mod sort;

pub use read::{fault, fault_in_body};
pub(super) use read::{fault_in, fault_in_words, fault_of_text};

use crate::ir::{Fault, FaultKind};
use crate::wire::json::write_string;

/// Returns `{"error":{"message","type","param","code"}}`.
pub fn error_body(fault: &Fault) -> Vec<u8> {
    let mut body = Vec::with_capacity(fault.message.len() + 96);
    write_error(fault, &mut body);
    body
}

/// Appends [`error_body`].
pub(super) fn write_error(fault: &Fault, out: &mut Vec<u8>) {
    let (kind, code) = kind_and_code(fault.kind);
    let code = match fault.kind {
        // By which every client knows it, whatever the provider calls it.
        FaultKind::ContextLength => code,
        _ => fault.code.as_deref().or(code),
    };
    out.extend_from_slice(b"{\"error\":{\"message\":");
    write_string(&fault.message, out);
    out.extend_from_slice(b",\"type\":");
    write_string(kind, out);
    out.extend_from_slice(b",\"param\":");
    write_or_null(fault.param.as_deref(), out);
    out.extend_from_slice(b",\"code\":");
    write_or_null(code, out);
    out.extend_from_slice(b"}}");
}

fn write_or_null(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Returns OpenAI's `type` and `code`. The gateway's own trouble with a provider's credentials is the client's server
/// error.
fn kind_and_code(kind: FaultKind) -> (&'static str, Option<&'static str>) {
    match kind {
        FaultKind::InvalidRequest | FaultKind::TooLarge => ("invalid_request_error", None),
        FaultKind::Unsupported => ("invalid_request_error", Some("unsupported_value")),
        FaultKind::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
        FaultKind::ContentFilter => ("invalid_request_error", Some("content_filter")),
        FaultKind::ModelNotFound => ("invalid_request_error", Some("model_not_found")),
        FaultKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        FaultKind::Overloaded => ("server_error", Some("overloaded")),
        FaultKind::Timeout => ("server_error", Some("timeout")),
        FaultKind::Credentials
        | FaultKind::Billing
        | FaultKind::Server
        | FaultKind::Incomplete
        | FaultKind::Garbled => ("server_error", None),
    }
}

#[cfg(test)]
mod tests;
