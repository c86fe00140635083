//! Errors as clients of Anthropic's API read them.

use super::ErrorBody;
use crate::wire::json::{escape_into, write_string};

/// Appends `{"type":"error","error":{"type","message"}}`.
pub(super) fn write_error(told: &ErrorBody<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":\"");
    out.extend_from_slice(error_type(told.status).as_bytes());
    out.extend_from_slice(b"\",\"message\":\"");
    escape_into(told.text, out);
    out.extend_from_slice(b"\"}");
    if let Some(id) = told.request_id {
        out.extend_from_slice(b",\"request_id\":");
        write_string(id, out);
    }
    out.push(b'}');
}

/// Returns the type that Anthropic documents for a status.
fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}
