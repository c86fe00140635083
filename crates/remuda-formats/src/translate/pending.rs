//! The last of an answer whose own end has not come: some servers leave out the newline or the blank line after their
//! terminator, or the end of a whole body's framing, and the body open. What has come of it says all the same that the
//! answer is over.

use memchr::memmem;

use crate::wire::json::{Kind, Scanner, SyntaxError};
use crate::wire::ndjson::{BYTE_ORDER_MARK, unmarked};
use crate::wire::units::{Cutter, StreamUnit};

/// How often the bytes that are held may be looked at, on average: the work stays linear in them.
const LOOKS: usize = 64;

/// The blank line after a line that ends with a carriage return, too.
const BLANK: &str = "\n\r\n";

/// Looks at what is held of a line, an event or a body, again and again as it grows.
#[derive(Default)]
pub(super) struct Pending {
    looked: usize,
    /// Where the first word of a body begins, and how far it was searched for the end of an event.
    begins: usize,
    searched: usize,
}

impl Pending {
    /// Returns whether what is held ends the stream and lacks nothing but its own end.
    pub(super) fn is_last(&mut self, cutter: &Cutter) -> bool {
        let held = cutter.held();
        if held.is_empty() {
            self.looked = 0;
            return false;
        }
        let Some(said) = said(cutter.unit(), held) else {
            // A body that is no stream after all, or an error between events.
            return cutter.unit() == StreamUnit::Event && self.is_whole(held);
        };
        if cutter.unit() == StreamUnit::Event && said == b"[DONE]" {
            return true;
        }
        if !said.ends_with(b"}") || self.looked / LOOKS > held.len() {
            return false;
        }
        self.looked += said.len();
        ends(cutter.unit(), said).unwrap_or(false)
    }

    /// Returns whether a body that should be one value is a stream of events, of which the first has come.
    pub(super) fn is_events(&mut self, body: &[u8]) -> bool {
        if self.begins == 0 && body.starts_with(BYTE_ORDER_MARK) {
            self.begins = BYTE_ORDER_MARK.len();
        }
        let rest = &body[self.begins.min(body.len())..];
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        self.begins += blank.count();
        let said = &body[self.begins.min(body.len())..];
        if !["data:", "event:", "id:", ":"]
            .iter()
            .any(|field| said.starts_with(field.as_bytes()))
        {
            return false;
        }
        let fresh = &body[self.searched.max(self.begins).min(body.len())..];
        self.searched = body.len().saturating_sub(BLANK.len());
        ["\n\n", BLANK, "\r\r"]
            .iter()
            .any(|end| memmem::find(fresh, end.as_bytes()).is_some())
    }

    /// Returns whether a body is whole, whatever its framing says.
    pub(super) fn is_whole(&mut self, body: &[u8]) -> bool {
        if self.looked / LOOKS > body.len() || !may_be_whole(body) {
            return false;
        }
        self.looked += body.len();
        is_whole(body)
    }
}

/// Returns whether a body is one whole object or list, to which nothing can be added.
pub fn is_whole(body: &[u8]) -> bool {
    let mut scanner = Scanner::new(unmarked(body));
    may_be_whole(body) && scanner.skip_value().is_ok() && scanner.peek().is_none()
}

/// Returns whether a value may be whole; a number or a word could go on.
fn may_be_whole(body: &[u8]) -> bool {
    body.trim_ascii_end().ends_with(b"}") || body.trim_ascii_end().ends_with(b"]")
}

/// Returns what completes it.
pub(super) fn completion(unit: StreamUnit, held: &[u8]) -> &'static [u8] {
    match unit {
        StreamUnit::Event if !held.ends_with(b"\n") => b"\n\n",
        StreamUnit::Event | StreamUnit::Line => b"\n",
    }
}

/// Returns the line, or the data of the event's last line.
fn said(unit: StreamUnit, held: &[u8]) -> Option<&[u8]> {
    let held = unmarked(held).trim_ascii();
    if unit == StreamUnit::Line {
        return Some(held);
    }
    let line = memchr::memrchr(b'\n', held).map_or(held, |at| &held[at + 1..]);
    line.strip_prefix(b"data:").map(<[u8]>::trim_ascii)
}

/// Returns whether it is one whole object that says that nothing follows it.
fn ends(unit: StreamUnit, object: &[u8]) -> Result<bool, SyntaxError> {
    let mut scanner = Scanner::new(object);
    scanner.begin_object()?;
    let (mut ends, mut first) = (false, true);
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let kind = scanner.kind()?;
        let value = scanner.skip_value()?.of(object);
        ends |= match (unit, key.inside(object)) {
            (_, b"error") => match kind {
                Kind::Object => true,
                Kind::String => value != b"\"\"",
                _ => false,
            },
            (StreamUnit::Line, b"done") => value == b"true",
            (StreamUnit::Line, b"status") => value == b"\"success\"",
            (StreamUnit::Event, b"type") => is_last_type(value),
            _ => false,
        };
    }
    Ok(ends && scanner.peek().is_none())
}

fn is_last_type(literal: &[u8]) -> bool {
    matches!(
        literal,
        b"\"message_stop\""
            | b"\"error\""
            | b"\"response.completed\""
            | b"\"response.incomplete\""
            | b"\"response.failed\""
            | b"\"transcript.text.done\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_last(unit: StreamUnit, held: &str) -> bool {
        let mut cutter = Cutter::new(unit);
        cutter.feed(held.as_bytes(), |_| {});
        Pending::default().is_last(&cutter)
    }

    #[test]
    fn what_ends_a_stream_is_known_without_its_own_end() {
        for (unit, held) in [
            (StreamUnit::Event, "data: [DONE]"),
            (StreamUnit::Event, "data: x\n\ndata:[DONE]\n"),
            (StreamUnit::Event, "data: [DONE]\r\n"),
            (
                StreamUnit::Event,
                "event: message_stop\ndata: {\"type\":\"message_stop\"}",
            ),
            (
                StreamUnit::Event,
                "data: {\"response\":{},\"type\": \"response.completed\"}\n",
            ),
            (
                StreamUnit::Event,
                "data: {\"error\":{\"message\":\"no\"}}\n",
            ),
            (StreamUnit::Event, "{\"choices\":[]}"),
            (StreamUnit::Event, "{\n \"choices\": []\n}\n"),
            (StreamUnit::Line, "{\"done\":true}"),
            (StreamUnit::Line, "\u{feff}{\"done\":true}"),
            (StreamUnit::Line, "{}\n{\"message\":{},\"done\" : true }\r"),
            (StreamUnit::Line, "{\"error\":\"no\"}"),
            (StreamUnit::Line, "{\"status\":\"success\"}"),
        ] {
            assert!(is_last(unit, held), "{held}");
        }
        for (unit, held) in [
            (StreamUnit::Event, ""),
            (StreamUnit::Event, "data: [DON"),
            (StreamUnit::Event, "data: {\"type\":\"message_stop\""),
            (StreamUnit::Event, "data: {\"type\":\"message_delta\"}\n"),
            (StreamUnit::Event, "data: [DONE]\n\n"),
            (
                StreamUnit::Event,
                "data: {\"x\":{\"type\":\"message_stop\"}}",
            ),
            (StreamUnit::Event, ": [DONE]"),
            (StreamUnit::Event, "{\"choices\":[]"),
            (StreamUnit::Line, "{\"done\":false}"),
            (StreamUnit::Line, "{\"done\":true}}"),
            (StreamUnit::Line, "{\"message\":{\"done\":true}"),
        ] {
            assert!(!is_last(unit, held), "{held}");
        }
    }

    #[test]
    fn a_body_is_whole_with_the_end_of_its_value() {
        for body in ["{}", " {\"a\":[1,\"}\"]} \n", "[]", "\u{feff}{}"] {
            assert!(is_whole(body.as_bytes()), "{body}");
            assert!(Pending::default().is_whole(body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "7",
            "\"a\"",
            "true",
            "{\"a\":\"}",
            "{\"a\":{}",
            "{}}",
            "{}{}",
            "<a>{}",
        ] {
            assert!(!is_whole(body.as_bytes()), "{body}");
        }
        // However often it is looked at, the work stays linear.
        let body = "{\"a\":{}".as_bytes();
        let mut pending = Pending::default();
        for _ in 0..1000 {
            assert!(!pending.is_whole(body));
        }
        assert!(pending.looked <= (LOOKS + 1) * (body.len() + 1));
    }
}
