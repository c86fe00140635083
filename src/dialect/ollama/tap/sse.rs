//! Reads a line of server-sent events, as the /v1 routes stream them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::line::{Object, Report};
use crate::wire::json::Scanner;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\":{"));

impl Report {
    pub(super) fn sse(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.done |= std::mem::take(&mut self.event).last;
            return;
        }
        self.event.open = true;
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
        // content_block_delta, response.output_text.delta and their like; message_delta has no text.
        self.event.aside = !event.ends_with(b"delta") || event == b"message_delta";
        match event {
            b"message_stop"
            | b"response.completed"
            | b"response.incomplete"
            | b"transcript.text.done" => self.event.last = true,
            b"error" | b"response.failed" => self.event.failed = true,
            _ => {}
        }
    }

    fn data(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.event.last = true;
            return;
        }
        // Chunks of a chat end in the array of choices; usage, where there is any, comes after it.
        if !data.ends_with(b"}]}")
            && let Some(at) = USAGE.find(data)
        {
            self.usage_at(data, at + USAGE.needle().len() - 1);
        }
        if self.event.failed || data.starts_with(b"{\"error\":") {
            let text = Object::read(data).ok().and_then(|object| object.error);
            self.fail(text.unwrap_or_else(|| "unknown error".to_owned()));
        } else if self.event.aside {
            self.content();
        } else {
            self.content_line();
        }
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
