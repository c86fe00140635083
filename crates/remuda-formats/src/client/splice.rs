//! Changes one field of a request body and leaves every other byte as it came.

use bytes::Bytes;

use super::{Operation, RequestFacts, is_form, scan_request};
use crate::wire::json::{ByteSpan, write_string};

/// Returns the body with another model name in the place that [`RequestFacts::model_span`] names.
pub fn replace_model(operation: Operation, body: &[u8], model_span: ByteSpan, name: &str) -> Bytes {
    if is_form(operation, body) {
        return replace(body, model_span, name.as_bytes());
    }
    let mut literal = Vec::with_capacity(name.len() + 2);
    write_string(name, &mut literal);
    replace(body, model_span, &literal)
}

/// Returns the body with `stream` set, in place where the client stated it, else as a new first field.
///
/// `facts` are those of this very body. A body that is no object comes back as it is.
pub fn set_stream(body: &[u8], facts: &RequestFacts<'_>, stream: bool) -> Bytes {
    let value: &[u8] = if stream { b"true" } else { b"false" };
    match (facts.stream_span, facts.object_start) {
        (Some(span), _) => replace(body, span, value),
        (None, Some(start)) => {
            let comma: &[u8] = if facts.has_fields { b"," } else { b"" };
            let field = [b"\"stream\":", value, comma].concat();
            replace(body, ByteSpan { start, end: start }, &field)
        }
        (None, None) => Bytes::copy_from_slice(body),
    }
}

/// Returns the body of a request for a whole answer, which asks for a stream instead; `None` if it cannot be read.
pub fn streamed(operation: Operation, body: &[u8]) -> Option<Bytes> {
    let facts = scan_request(operation, body).ok()?;
    Some(set_stream(body, &facts, true))
}

fn replace(body: &[u8], span: ByteSpan, with: &[u8]) -> Bytes {
    let mut spliced = Vec::with_capacity(body.len() - (span.end - span.start) + with.len());
    spliced.extend_from_slice(&body[..span.start]);
    spliced.extend_from_slice(with);
    spliced.extend_from_slice(&body[span.end..]);
    spliced.into()
}
