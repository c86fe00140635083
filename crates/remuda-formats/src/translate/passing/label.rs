//! What an answer's head says of its bytes, where they are known to be something else: clients' libraries choose by it how
//! they read them.

use crate::wire::units::StreamUnit;

pub(super) const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// Returns the type that a stream of such units has, unless that is what was given.
pub(super) fn of_stream(unit: StreamUnit, given: Option<&[u8]>) -> Option<&'static str> {
    let essence = essence(given);
    let (wanted, is_right) = match unit {
        StreamUnit::Event => (EVENTS, essence.eq_ignore_ascii_case(EVENTS.as_bytes())),
        // They go by several names, and their libraries by none.
        StreamUnit::Line => (LINES, has_json(essence)),
    };
    (!is_right).then_some(wanted)
}

/// Returns the same of one JSON value.
pub(super) fn of_value(given: Option<&[u8]>) -> Option<&'static str> {
    let essence = essence(given);
    let is_lines = |name: &[u8]| name.eq_ignore_ascii_case(LINES.as_bytes());
    (!has_json(essence) || is_lines(essence)).then_some(JSON)
}

/// Returns a type without its parameters.
fn essence(given: Option<&[u8]>) -> &[u8] {
    let given = given.unwrap_or_default();
    let end = memchr::memchr(b';', given).unwrap_or(given.len());
    given[..end].trim_ascii()
}

fn has_json(essence: &[u8]) -> bool {
    essence
        .windows(4)
        .any(|part| part.eq_ignore_ascii_case(b"json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_put_right_where_it_is_wrong() {
        for (given, of_events, of_lines, of_one) in [
            (
                "text/event-stream; charset=utf-8",
                None,
                Some(LINES),
                Some(JSON),
            ),
            ("Application/JSON; charset=utf-8", Some(EVENTS), None, None),
            ("application/problem+json", Some(EVENTS), None, None),
            ("application/x-ndjson", Some(EVENTS), None, Some(JSON)),
            ("text/plain", Some(EVENTS), Some(LINES), Some(JSON)),
            ("", Some(EVENTS), Some(LINES), Some(JSON)),
        ] {
            let given = Some(given.as_bytes());
            assert_eq!(of_stream(StreamUnit::Event, given), of_events);
            assert_eq!(of_stream(StreamUnit::Line, given), of_lines);
            assert_eq!(of_value(given), of_one);
        }
        assert_eq!(of_value(None), Some(JSON));
    }
}
