//! Whether a line that seems to say nothing holds text in a field that Ollama does not have: an answer must not come out
//! empty and yet successful.

use crate::wire::json::{Kind, Scanner, SyntaxError};

/// The texts of a message that are not what the model says.
const OF_MESSAGE: &[&str] = &["role", "content", "thinking", "tool_name", "tool_call_id"];
/// And those beside it.
const OF_LINE: &[&str] = &[
    "model",
    "created_at",
    "response",
    "thinking",
    "done_reason",
    "remote_model",
    "remote_host",
];

/// Returns whether `line`, an object, has a text that is none of Ollama's: in its `message`, or beside it where there
/// is none.
pub(super) fn has_unknown_text(line: &[u8]) -> bool {
    let mut has_place = false;
    let mut unknown = false;
    let walked = members(line, |key, kind, value| match (key, kind) {
        ("message", Kind::Object) => {
            has_place = true;
            let _ = members(value, |key, kind, value| {
                unknown |= is_unknown(OF_MESSAGE, key, kind, value);
            });
        }
        ("response", Kind::String) => has_place = true,
        _ => {}
    });
    if !has_place && walked.is_ok() {
        let _ = members(line, |key, kind, value| {
            unknown |= is_unknown(OF_LINE, key, kind, value);
        });
    }
    unknown
}

fn is_unknown(known: &[&str], key: &str, kind: Kind, value: &[u8]) -> bool {
    kind == Kind::String && value.len() > 2 && !known.contains(&key)
}

fn members(object: &[u8], mut member: impl FnMut(&str, Kind, &[u8])) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(object);
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let kind = scanner.kind()?;
        let value = scanner.skip_value()?.of(object);
        member(&key.text(object), kind, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::has_unknown_text;

    #[test]
    fn known_fields_and_empty_ones_are_no_lost_text() {
        for line in [
            r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done":false,"id":"x"}"#,
            r#"{"model":"m","response":"","id":"x","done":false}"#,
            r#"{"model":"m","done_reason":"stop","done":true}"#,
            r#"{"message":{"text":""}}"#,
            "[]",
            "{",
        ] {
            assert!(!has_unknown_text(line.as_bytes()), "{line}");
        }
        for line in [
            r#"{"message":{"role":"assistant","content":"","output":"hi"}}"#,
            r#"{"message":{"text":"hi"}}"#,
            r#"{"model":"m","content":"hi"}"#,
        ] {
            assert!(has_unknown_text(line.as_bytes()), "{line}");
        }
    }
}
