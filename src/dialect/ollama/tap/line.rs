//! Reads one JSON object of an answer: a line of a stream, or a whole body.

use super::counts::Counts;
use super::{DoneReason, Ending, First};
use crate::wire::json::{Kind, Scanner, Span, SyntaxError};

/// What has been seen of an answer.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The answer began with an error (true) or with content (false).
    began_with_error: Option<bool>,
    pub(super) content: bool,
    pub(super) content_lines: u64,
    /// Bytes of the events that carried content.
    pub(super) content_bytes: u64,
    pub(super) done: bool,
    pub(super) done_reason: Option<DoneReason>,
    pub(super) counts: Counts,
    pub(super) error: Option<String>,
    /// What is known of the server-sent event whose lines are coming.
    pub(super) event: Event,
}

/// The state of a server-sent event.
#[derive(Debug, Default)]
pub(super) struct Event {
    /// A line of it has come, and the empty line that ends it has not.
    pub(super) open: bool,
    /// It is named, and not as a piece of the answer's text.
    pub(super) aside: bool,
    /// It is named as one of those that open a stream before anything is said.
    pub(super) opening: bool,
    /// It is named as a failure.
    pub(super) failed: bool,
    /// It ends the stream, once it has come whole.
    pub(super) last: bool,
}

/// How every line of generate and chat but the last ends, as Go orders the fields.
const MORE_TO_COME: &[u8] = b"\"done\":false}";

impl Report {
    pub(super) fn first(&self) -> Option<First<'_>> {
        match (self.began_with_error?, &self.error) {
            (true, Some(text)) => Some(First::Error { text }),
            _ => Some(First::Content),
        }
    }

    pub(super) fn ending(&self) -> Ending {
        match (&self.error, self.done) {
            (Some(_), _) => Ending::Error,
            (None, true) => Ending::Complete,
            (None, false) => Ending::Incomplete,
        }
    }

    pub(super) fn content_line(&mut self) {
        self.content_lines += 1;
        self.content();
    }

    /// Something that was asked for, but no piece of text.
    pub(super) fn content(&mut self) {
        self.content = true;
        self.began_with_error.get_or_insert(false);
    }

    /// Whether neither content nor an error has come.
    pub(super) fn is_fresh(&self) -> bool {
        self.began_with_error.is_none()
    }

    pub(super) fn fail(&mut self, text: String) {
        self.began_with_error.get_or_insert(true);
        self.error.get_or_insert(text);
    }

    /// A line of a stream of JSON objects.
    pub(super) fn ndjson(&mut self, line: &[u8]) {
        if line.ends_with(MORE_TO_COME) {
            self.content_line();
            return;
        }
        if line.trim_ascii().is_empty() {
            return;
        }
        // A line that is no JSON object is none of Ollama's; it passes, and ends nothing.
        match Object::read(line) {
            Ok(object) => self.object(object),
            Err(_) => self.content_line(),
        }
    }

    /// What came after the last newline: an answer that is one object (a load, an error), or the
    /// beginning of a line whose end was lost, which says nothing.
    pub(super) fn rest(&mut self, rest: &[u8]) {
        if let Ok(object) = Object::read(rest) {
            self.object(object);
        }
    }

    /// What one object said.
    pub(super) fn object(&mut self, object: Object) {
        if let Some(text) = object.error {
            self.fail(text);
            return;
        }
        self.counts.update(&object.counts);
        if object.done {
            self.done = true;
            self.done_reason = object.done_reason;
            self.content();
        } else {
            self.content_line();
        }
    }

    /// Decides on the beginning of the first line, if it is already plain that it holds no error.
    pub(super) fn peek(&mut self, head: &[u8]) {
        if self.began_with_error.is_none() && !may_be_error(head) {
            self.content();
        }
    }
}

/// Whether bytes can still become `{"error":…`; errors hold that key first.
fn may_be_error(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let Some(after_brace) = head.strip_prefix(b"{") else {
        return head.is_empty();
    };
    let key = after_brace.trim_ascii_start();
    let common = key.len().min(b"\"error\"".len());
    key[..common] == b"\"error\""[..common]
}

/// The members of an object that matter here.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) error: Option<String>,
    pub(super) done: bool,
    pub(super) done_reason: Option<DoneReason>,
    pub(super) counts: Counts,
}

impl Object {
    pub(super) fn read(text: &[u8]) -> Result<Object, SyntaxError> {
        let mut object = Object::default();
        let mut scanner = Scanner::new(text);
        scanner.begin_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let kind = scanner.kind()?;
            let value = scanner.skip_value()?;
            object.member(key.inside(text), kind, value, text);
        }
        Ok(object)
    }

    fn member(&mut self, key: &[u8], kind: Kind, value: Span, text: &[u8]) {
        match (key, kind) {
            (b"error", Kind::String | Kind::Object) => self.error = error_text(kind, value, text),
            (b"done", Kind::Bool) => self.done = value.of(text) == b"true",
            (b"done_reason", Kind::String) => self.done_reason = reason(value.of(text)),
            (b"status", Kind::String) => self.done |= value.of(text) == b"\"success\"",
            (b"usage", Kind::Object) => self.counts.object(value.of(text)),
            (_, Kind::Number) => self.counts.number(key, value.of(text)),
            _ => {}
        }
    }
}

/// The text of an error: Ollama's string, or the `message` of the /v1 routes' object.
fn error_text(kind: Kind, value: Span, text: &[u8]) -> Option<String> {
    if kind == Kind::String {
        let literal = Scanner::starting_at(text, value.start).string().ok()?;
        return Some(literal.text(text).into_owned()).filter(|text| !text.is_empty());
    }
    let mut scanner = Scanner::starting_at(text, value.start);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        first = false;
        if key.inside(text) == b"message" && scanner.kind() == Ok(Kind::String) {
            return Some(scanner.string().ok()?.text(text).into_owned());
        }
        scanner.skip_value().ok()?;
    }
    Some("unknown error".to_owned())
}

fn reason(literal: &[u8]) -> Option<DoneReason> {
    Some(match literal {
        b"\"stop\"" => DoneReason::Stop,
        b"\"length\"" => DoneReason::Length,
        b"\"load\"" => DoneReason::Load,
        b"\"unload\"" => DoneReason::Unload,
        b"\"\"" => return None,
        _ => DoneReason::Other,
    })
}
