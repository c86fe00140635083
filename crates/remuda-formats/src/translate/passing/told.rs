//! Whether a provider's error within a stream is one to the libraries that clients read the stream with. One that is not
//! would pass for the end of an answer, or for nothing.

use crate::client::{ErrorStyle, Operation};
use crate::wire::json::{Kind, Scanner};
use crate::wire::sse::{EventSplitter, Item};

/// Returns whether a whole line or event tells a failure as its clients read one.
pub(super) fn is_told(operation: Operation, unit: &[u8]) -> bool {
    let style = ErrorStyle::of(operation);
    if style == ErrorStyle::Ollama {
        return has_error(unit, Kind::String);
    }
    let mut told = false;
    // An event that is too long is none.
    let _ = EventSplitter::default().feed(unit, |item| {
        let Item::Event { name, data } = item else {
            return;
        };
        told |= match style {
            // Anthropic's libraries pass over events without a name.
            ErrorStyle::Anthropic => name == b"error" && has_error(data, Kind::Object),
            ErrorStyle::OpenAiResponses => has_failed(data),
            ErrorStyle::OpenAi | ErrorStyle::Ollama => has_error(data, Kind::Object),
        };
    });
    told
}

/// Returns whether a whole body tells a failure as its clients read one.
pub(super) fn is_told_whole(operation: Operation, body: &[u8]) -> bool {
    let kind = match ErrorStyle::of(operation) {
        ErrorStyle::Ollama => Kind::String,
        _ => Kind::Object,
    };
    has_error(body, kind)
}

/// Returns whether an object has an `error` of the kind that its format has.
fn has_error(object: &[u8], of_kind: Kind) -> bool {
    member(object, b"error").is_some_and(|(kind, value)| kind == of_kind && value != b"\"\"")
}

/// Returns whether an event of Responses is by its type an error.
fn has_failed(object: &[u8]) -> bool {
    const TYPES: [&[u8]; 2] = [b"\"error\"", b"\"response.failed\""];
    member(object, b"type").is_some_and(|(_, value)| TYPES.contains(&value))
}

/// Returns the last member of that name.
fn member<'a>(object: &'a [u8], name: &[u8]) -> Option<(Kind, &'a [u8])> {
    let mut scanner = Scanner::new(object);
    scanner.begin_object().ok()?;
    let mut found = None;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        first = false;
        let kind = scanner.kind().ok()?;
        let value = scanner.skip_value().ok()?;
        if key.inside(object) == name {
            found = Some((kind, value.of(object)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_where_the_clients_library_looks_for_it() {
        use Operation::*;
        for (operation, unit, told) in [
            (Chat, "{\"model\":\"m\",\"error\":\"no\"}\n", true),
            (Chat, "{\"error\":\"\"}\n", false),
            (Chat, "{\"error\":{\"message\":\"no\"}}\n", false),
            (OpenAiChat, "data: {\"error\":\"no\"}\n\n", false),
            (
                OpenAiResponses,
                "data: {\"error\":{\"message\":\"no\"}}\n\n",
                false,
            ),
            (
                OpenAiChat,
                "data: {\"id\":\"x\",\"choices\":[],\"error\":{\"message\":\"no\"}}\n\n",
                true,
            ),
            (
                OpenAiChat,
                "data: {\"object\":\"error\",\"message\":\"no\"}\n\n",
                false,
            ),
            (
                OpenAiChat,
                "data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n",
                false,
            ),
            (OpenAiChat, "{\"error\":{\"message\":\"no\"}}\n\n", false),
            (
                OpenAiResponses,
                "data: {\"message\":\"no\",\"type\":\"error\"}\n\n",
                true,
            ),
            (
                OpenAiResponses,
                "data: {\"type\":\"response.failed\",\"response\":{}}\n\n",
                true,
            ),
            (
                OpenAiResponses,
                "data: {\"type\":\"response.cancelled\"}\n\n",
                false,
            ),
            (
                AnthropicMessages,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n",
                true,
            ),
            (
                AnthropicMessages,
                "data: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n",
                false,
            ),
        ] {
            assert_eq!(is_told(operation, unit.as_bytes()), told, "{unit}");
        }
    }
}
