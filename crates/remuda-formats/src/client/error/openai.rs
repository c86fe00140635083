//! Errors as clients of OpenAI's API read them.

use super::ErrorBody;
use crate::wire::json::{escape_into, write_string};

/// Appends `{"error":{"message","type","param","code"}}`.
pub(super) fn write_error(told: &ErrorBody<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":{\"message\":\"");
    escape_into(told.text, out);
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(error_type(told.status, told.code).as_bytes());
    out.extend_from_slice(b"\",\"param\":");
    write_optional(told.param, out);
    out.extend_from_slice(b",\"code\":");
    write_optional(told.code, out);
    out.extend_from_slice(b"}}");
}

/// Appends the data of the event `error` of Responses.
pub(super) fn write_responses_event(told: &ErrorBody<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"code\":");
    write_optional(told.code, out);
    out.extend_from_slice(b",\"message\":");
    write_string(told.text, out);
    out.extend_from_slice(b",\"param\":");
    write_optional(told.param, out);
    out.push(b'}');
}

fn write_optional(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Returns the type that Ollama's OpenAI routes use, and OpenAI's own where Ollama has no such error.
fn error_type(status: u16, code: Option<&str>) -> &'static str {
    match status {
        429 if code == Some("insufficient_quota") => "insufficient_quota",
        404 => "not_found_error",
        429 => "api_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
