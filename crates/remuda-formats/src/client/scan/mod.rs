//! One pass over a request body that finds what routing needs, and leaves the rest unread.
//!
//! It reads as Go's `encoding/json` does behind Ollama: field names in any case, the last of several
//! wins, `null` leaves a field as it was, unknown fields and everything after the first value are
//! ignored, bytes that are not UTF-8 pass.

mod facts;
mod field;
mod reader;

use std::borrow::Cow;

use super::Operation;
use super::multipart::{self, Part};
use crate::wire::json::{Kind, Scanner};
use reader::Scan;

pub use facts::{BadRequest, RequestFacts};

/// Reads the body of a request to `operation`.
///
/// Operations without a body that names a model give empty facts; of a form the model is found where that is possible.
pub fn scan_request(operation: Operation, body: &[u8]) -> Result<RequestFacts<'_>, BadRequest> {
    if is_form(operation, body) {
        return Ok(scan_form(body));
    }
    if !operation.has_json_body() {
        return Ok(RequestFacts::default());
    }
    let mut scanner = Scanner::new(body);
    if scanner.peek().is_none() {
        return Err(BadRequest::MissingBody);
    }
    match scanner.kind()? {
        Kind::Object => Scan::new(operation, body).read(scanner),
        found => {
            scanner.skip_value()?;
            if found == Kind::Null {
                return Ok(RequestFacts {
                    empty_input: true,
                    ..RequestFacts::default()
                });
            }
            Err(BadRequest::BodyType { operation, found })
        }
    }
}

/// Returns the model that the beginning of a JSON body names; what follows need not be there.
pub fn named_early(beginning: &[u8]) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(beginning);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        if key.text(beginning).eq_ignore_ascii_case("model") {
            let name = scanner.string().ok()?.text(beginning);
            return Some(name).filter(|name| !name.is_empty());
        }
        scanner.skip_value().ok()?;
        first = false;
    }
    None
}

/// Returns whether the body is a form rather than JSON: a transcription's always is, and OpenAI's clients send one to
/// edit a picture. No JSON begins as a form does.
pub fn is_form(operation: Operation, body: &[u8]) -> bool {
    match operation {
        Operation::AudioTranscriptions => true,
        Operation::OpenAiImageEdits => body.starts_with(b"--"),
        _ => false,
    }
}

/// Reads a form: as much as can be told.
fn scan_form(body: &[u8]) -> RequestFacts<'_> {
    let mut facts = RequestFacts::default();
    multipart::parts(body, |part| match part {
        Part::Text("model", value) => {
            if facts.model_span.is_some() {
                facts.ambiguous = Some("model");
            }
            facts.model = String::from_utf8_lossy(value.of(body));
            facts.model_span = Some(value);
        }
        Part::Text("stream", value) => facts.stream = Some(value.of(body) == b"true"),
        Part::Unclear => facts.ambiguous = Some("model"),
        Part::Text(..) | Part::Other => {}
    });
    facts
}

#[cfg(test)]
mod tests;
