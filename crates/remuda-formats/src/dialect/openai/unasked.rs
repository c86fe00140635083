//! Token counts of a streamed chat whose client did not ask for them. They are asked for all the same, so that what a request
//! cost is known; the event that tells them is kept from the client, whose other bytes pass untouched.

use crate::wire::json::{Kind, Scanner, SyntaxError};
use crate::wire::sse::{EventSplitter, Item};

/// A field that asks for them, to be put first into the request's object.
pub const ASK: &[u8] = b"\"stream_options\":{\"include_usage\":true},";

/// Returns whether a whole event is OpenAI's last one before `[DONE]`: an object of token counts, and no choices.
pub fn tells_usage_alone(event: &[u8]) -> bool {
    let mut alone = false;
    // An event that is too long is none of token counts.
    let _ = EventSplitter::default().feed(event, |item| {
        if let Item::Event { data, .. } = item {
            alone = has_usage_alone(data).unwrap_or(false);
        }
    });
    alone
}

fn has_usage_alone(data: &[u8]) -> Result<bool, SyntaxError> {
    let mut scanner = Scanner::new(data);
    scanner.begin_object()?;
    let (mut usage, mut choices, mut first) = (false, false, true);
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let kind = scanner.kind()?;
        let value = scanner.skip_value()?.of(data);
        match key.inside(data) {
            b"usage" => usage = kind == Kind::Object,
            b"choices" => choices = kind != Kind::Null && !is_empty_array(value),
            _ => {}
        }
    }
    Ok(usage && !choices)
}

fn is_empty_array(value: &[u8]) -> bool {
    value
        .strip_prefix(b"[")
        .is_some_and(|rest| rest.trim_ascii_start() == b"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_15_only_the_event_with_the_counts_is_taken_for_it() {
        for (data, alone) in [
            (r#"{"choices": [ ], "usage": {"prompt_tokens":1}}"#, true),
            (r#"{"usage":{"prompt_tokens":1},"choices":[]}"#, true),
            (r#"{"usage":{"prompt_tokens":1}}"#, true),
            (r#"{"choices":[],"prompt_filter_results":[]}"#, false),
            (r#"{"choices":[],"usage":null}"#, false),
            (
                r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#,
                false,
            ),
            (
                r#"{"choices":[{"delta":{"content":"\"choices\":[] \"usage\":{"}}],"usage":null}"#,
                false,
            ),
            (r#"{"x":{"choices":[],"usage":{}},"choices":[{}]}"#, false),
            ("[DONE]", false),
        ] {
            let event = format!("data: {data}\n\n");
            assert_eq!(tells_usage_alone(event.as_bytes()), alone, "{data}");
        }
    }
}
