//! Events that lack the line with their name. Libraries of these formats pass over an event whose name they do not know,
//! although its data says the same in `type`; servers exist that write the data alone.

use crate::wire::json::Scanner;
use crate::wire::sse::{EventSplitter, Item};

/// Returns the event with the line that names it as its data does; `None` if it has that line, or its data has no name.
pub(super) fn named(unit: &[u8]) -> Option<Vec<u8>> {
    if is_plainly_named(unit) {
        return None;
    }
    let mut name_wanted = None;
    // An event that is too long is none.
    let _ = EventSplitter::default().feed(unit, |item| {
        if let Item::Event { name, data } = item {
            name_wanted = type_of(data)
                .filter(|kind| *kind != name)
                .map(<[u8]>::to_vec);
        }
    });
    Some(written(unit, &name_wanted?))
}

/// Returns whether an event is named as providers write it, so that nothing else has to be read.
fn is_plainly_named(unit: &[u8]) -> bool {
    let Some(rest) = unit.strip_prefix(b"event: ") else {
        return false;
    };
    let Some(end) = memchr::memchr(b'\n', rest) else {
        return false;
    };
    let (name, data) = (rest[..end].trim_ascii_end(), &rest[end + 1..]);
    data.strip_prefix(b"data: {\"type\":\"")
        .and_then(|data| data.strip_prefix(name))
        .is_some_and(|data| data.starts_with(b"\""))
}

/// Returns the `type` of an object, if it can stand in a line as it is.
fn type_of(object: &[u8]) -> Option<&[u8]> {
    let mut scanner = Scanner::new(object);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        first = false;
        let value = scanner.skip_value().ok()?.of(object);
        if key.inside(object) == b"type" {
            let name = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
            return Some(name).filter(|name| !name.is_empty() && name.iter().all(is_word));
        }
    }
    None
}

/// Returns the event under that name, and no other.
fn written(unit: &[u8], name: &[u8]) -> Vec<u8> {
    let unit = unit.strip_prefix("\u{feff}".as_bytes()).unwrap_or(unit);
    let mut out = Vec::with_capacity(unit.len() + name.len() + 9);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name);
    out.extend_from_slice(if unit.ends_with(b"\r\n") {
        b"\r\n"
    } else {
        b"\n"
    });
    for line in unit.split_inclusive(|byte| *byte == b'\n') {
        if field(line) != b"event" {
            out.extend_from_slice(line);
        }
    }
    out
}

fn field(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| b":\r\n".contains(byte));
    &line[..end.unwrap_or(line.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_gets_the_name_that_its_data_has() {
        for (unit, expected) in [
            (
                "data: {\"type\":\"message_stop\"}\n\n",
                Some("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            ),
            (
                "event: message\r\nid: 1\r\ndata: {\"delta\":{\"type\":\"x\"},\"type\":\"response.done\"}\r\n\r\n",
                Some(
                    "event: response.done\r\nid: 1\r\ndata: {\"delta\":{\"type\":\"x\"},\"type\":\"response.done\"}\r\n\r\n",
                ),
            ),
            ("event: ping\ndata: {\"type\":\"ping\"}\n\n", None),
            ("event:ping\ndata: { \"type\": \"ping\" }\n\n", None),
            ("data: {\"x\":1}\n\n", None),
            ("data: {\"type\":\"a\\nb\"}\n\n", None),
            ("data: [DONE]\n\n", None),
            (": ping\n\n", None),
            ("\n", None),
        ] {
            let given = named(unit.as_bytes()).map(|unit| String::from_utf8(unit).unwrap());
            assert_eq!(given.as_deref(), expected, "{unit}");
        }
    }
}
