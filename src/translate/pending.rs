//! The last line or event of a stream whose end has not come: some servers leave out the newline or the blank line after
//! their terminator, and the body open. What has come of it says all the same that the answer is over.

use crate::wire::json::{Kind, Scanner, SyntaxError};
use crate::wire::units::{Cutter, Unit};

/// How often the bytes that are held may be looked at, on average: the work stays linear in them.
const LOOKS: usize = 64;

/// Looks at what a stream holds of a line or an event, again and again as it grows.
#[derive(Default)]
pub(super) struct Pending {
    looked: usize,
}

impl Pending {
    /// Whether what is held ends the stream and lacks nothing but its own end.
    pub(super) fn is_last(&mut self, cutter: &Cutter) -> bool {
        let held = cutter.held();
        if held.is_empty() {
            self.looked = 0;
            return false;
        }
        let Some(said) = said(cutter.unit(), held) else {
            return false;
        };
        if cutter.unit() == Unit::Event && said == b"[DONE]" {
            return true;
        }
        if !said.ends_with(b"}") || self.looked / LOOKS > held.len() {
            return false;
        }
        self.looked += said.len();
        ends(cutter.unit(), said).unwrap_or(false)
    }
}

/// What completes it.
pub(super) fn completion(unit: Unit, held: &[u8]) -> &'static [u8] {
    match unit {
        Unit::Event if !held.ends_with(b"\n") => b"\n\n",
        Unit::Event | Unit::Line => b"\n",
    }
}

/// The line, or the data of the event's last line.
fn said(unit: Unit, held: &[u8]) -> Option<&[u8]> {
    let held = held.trim_ascii();
    if unit == Unit::Line {
        return Some(held);
    }
    let line = memchr::memrchr(b'\n', held).map_or(held, |at| &held[at + 1..]);
    line.strip_prefix(b"data:").map(<[u8]>::trim_ascii)
}

/// Whether it is one whole object that says that nothing follows it.
fn ends(unit: Unit, object: &[u8]) -> Result<bool, SyntaxError> {
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
            (Unit::Line, b"done") => value == b"true",
            (Unit::Line, b"status") => value == b"\"success\"",
            (Unit::Event, b"type") => is_last_type(value),
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

    fn is_last(unit: Unit, held: &str) -> bool {
        let mut cutter = Cutter::new(unit);
        cutter.feed(held.as_bytes(), |_| {});
        Pending::default().is_last(&cutter)
    }

    #[test]
    fn what_ends_a_stream_is_known_without_its_own_end() {
        for (unit, held) in [
            (Unit::Event, "data: [DONE]"),
            (Unit::Event, "data: x\n\ndata:[DONE]\n"),
            (Unit::Event, "data: [DONE]\r\n"),
            (
                Unit::Event,
                "event: message_stop\ndata: {\"type\":\"message_stop\"}",
            ),
            (
                Unit::Event,
                "data: {\"response\":{},\"type\": \"response.completed\"}\n",
            ),
            (Unit::Event, "data: {\"error\":{\"message\":\"no\"}}\n"),
            (Unit::Line, "{\"done\":true}"),
            (Unit::Line, "{}\n{\"message\":{},\"done\" : true }\r"),
            (Unit::Line, "{\"error\":\"no\"}"),
            (Unit::Line, "{\"status\":\"success\"}"),
        ] {
            assert!(is_last(unit, held), "{held}");
        }
        for (unit, held) in [
            (Unit::Event, ""),
            (Unit::Event, "data: [DON"),
            (Unit::Event, "data: {\"type\":\"message_stop\""),
            (Unit::Event, "data: {\"type\":\"message_delta\"}\n"),
            (Unit::Event, "data: [DONE]\n\n"),
            (Unit::Event, "data: {\"x\":{\"type\":\"message_stop\"}}"),
            (Unit::Event, ": [DONE]"),
            (Unit::Line, "{\"done\":false}"),
            (Unit::Line, "{\"done\":true}}"),
            (Unit::Line, "{\"message\":{\"done\":true}"),
        ] {
            assert!(!is_last(unit, held), "{held}");
        }
    }
}
