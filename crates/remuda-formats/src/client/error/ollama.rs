//! Errors as clients of Ollama's API read them.

use super::ErrorBody;
use crate::wire::json::write_string;

/// Appends `{"error":"…"}`.
pub(crate) fn write_error(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":");
    write_string(text, out);
    out.push(b'}');
}

/// Appends the line that ends a stream; it begins on a line of its own.
pub(super) fn write_stream_end(told: &ErrorBody<'_>, mid_line: bool, out: &mut Vec<u8>) {
    if mid_line {
        out.push(b'\n');
    }
    write_error(told.text, out);
    out.push(b'\n');
}
