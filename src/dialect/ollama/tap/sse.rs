//! Reads a line of server-sent events, as the /v1 routes stream them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::line::{Object, Report};
use crate::wire::json::Scanner;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\":{"));

impl Report {
    pub(super) fn sse(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(data) = line.strip_prefix(b"data:") {
            self.data(data.strip_prefix(b" ").unwrap_or(data));
        } else if let Some(event) = line.strip_prefix(b"event:") {
            self.event(event.trim_ascii());
        } else if line.starts_with(b"{") {
            // No event at all: an error's body in place of a stream.
            self.ndjson(line);
        }
    }

    fn event(&mut self, event: &[u8]) {
        match event {
            b"message_stop"
            | b"response.completed"
            | b"response.incomplete"
            | b"transcript.text.done" => self.done = true,
            _ => {}
        }
    }

    fn data(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        // Chunks of a chat end in the array of choices; usage, where there is any, comes after it.
        if !data.ends_with(b"}]}")
            && let Some(at) = USAGE.find(data)
        {
            self.usage_at(data, at + USAGE.needle().len() - 1);
        }
        if data.starts_with(b"{\"error\":") || data.starts_with(b"{\"type\":\"error\"") {
            let mut object = Object::default();
            let _ = object.read(data);
            self.fail(object.error.unwrap_or_else(|| "unknown error".to_owned()));
            return;
        }
        self.content_line();
    }

    /// Anthropic's events state input and output tokens at different times: keep what is known.
    fn usage_at(&mut self, data: &[u8], start: usize) {
        let mut scanner = Scanner::starting_at(data, start);
        if let Ok(span) = scanner.skip_value() {
            let mut object = Object {
                usage: self.usage,
                ..Object::default()
            };
            object.openai_usage(span.of(data));
            self.usage = object.usage;
        }
    }
}
