//! Reads a line of server-sent events, as the /v1 routes stream them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::line::{Object, Report};
use crate::wire::json::Scanner;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

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
            b"message_start"
            | b"ping"
            | b"content_block_start"
            | b"response.created"
            | b"response.queued"
            | b"response.in_progress"
            | b"response.output_item.added"
            | b"response.content_part.added" => self.event.opening = true,
            _ => {}
        }
    }

    fn data(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.event.last = true;
            return;
        }
        // Chunks of a chat end in the array of choices; usage, where there is any, comes after it.
        if !data.ends_with(b"}]}") {
            self.look_for_usage(data);
        }
        if self.event.failed || data.starts_with(b"{\"error\":") {
            let text = Object::read(data).ok().and_then(|object| object.error);
            self.fail(text.unwrap_or_else(|| "unknown error".to_owned()));
        } else if self.event.opening || (self.is_fresh() && opens_chat(data)) {
            // Servers send these before they know whether there will be an answer.
        } else if self.event.aside {
            self.content();
        } else {
            self.content_bytes += data.len() as u64;
            self.content_line();
        }
    }

    /// The object under the key `usage`, at whatever depth; quotes within texts are escaped, so the needle is a whole
    /// string. Most events have none, or `null`.
    fn look_for_usage(&mut self, data: &[u8]) {
        for at in USAGE.find_iter(data) {
            let rest = data[at + USAGE.needle().len()..].trim_ascii_start();
            let Some(value) = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
                continue;
            };
            let start = data.len() - value.len();
            if value.starts_with(b"{")
                && let Ok(span) = Scanner::starting_at(data, start).skip_value()
            {
                self.counts.object(span.of(data));
                return;
            }
        }
    }
}

/// Whether a chunk of a chat says nothing yet: the role alone, or Azure's verdict on the prompt without a choice. One
/// that is taken for such by mistake is only sent a moment later.
fn opens_chat(data: &[u8]) -> bool {
    let has = |needle: &str| memchr::memmem::find(data, needle.as_bytes()).is_some();
    if has("\"choices\":[]") {
        return !has("\"usage\":{");
    }
    let empty = [
        "\"content\":\"\"",
        "\"content\":null",
        "\"delta\":{}",
        "\"delta\":{\"role\":\"assistant\"}",
    ];
    has("\"finish_reason\":null")
        && empty.into_iter().any(has)
        && ![
            "\"tool_calls\":[",
            "\"reasoning",
            "\"function_call\":{",
            "\"refusal\":\"",
        ]
        .into_iter()
        .any(has)
}
