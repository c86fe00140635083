//! Lines and events that carry nothing, and that the libraries of their form would stumble over: they parse the data of each
//! event as JSON, be it empty, and look in each chunk for its choices. Comments, and the pings that a format has, carry
//! nothing either, but every library reads them over.

use super::members::members;
use super::shape;
use crate::client::{ErrorStyle, Operation};
use crate::wire::json::{Kind, Scanner};

/// What is to be said of a line or event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emptiness {
    /// It is none of these.
    Speaks,
    /// There is nothing in it.
    Blank,
    /// It is JSON without what its form has.
    Formless,
}

/// Judges a line or event of which its decoder told nothing.
pub(super) fn emptiness(operation: Operation, unit: &[u8]) -> Emptiness {
    if ErrorStyle::of(operation) == ErrorStyle::Ollama {
        return line(operation, unit);
    }
    let Some(data) = data(unit) else {
        return Emptiness::Speaks;
    };
    if data.is_empty() {
        return Emptiness::Blank;
    }
    let has_form = match operation {
        _ if !data.starts_with(b"{") => true,
        Operation::OpenAiChat | Operation::OpenAiCompletions => has_choices(data),
        Operation::OpenAiResponses => data.starts_with(b"{\"type\":\"") || has_type(data),
        _ => true,
    };
    if has_form {
        Emptiness::Speaks
    } else {
        Emptiness::Formless
    }
}

/// Judges a line of Ollama's, which has the place of the operation for what the model says, be it empty.
fn line(operation: Operation, line: &[u8]) -> Emptiness {
    if line.trim_ascii().is_empty() {
        return Emptiness::Blank;
    }
    let (place, of_kind): (&[u8], _) = match operation {
        Operation::Chat => (b"message", Kind::Object),
        Operation::Generate => (b"response", Kind::String),
        _ => return Emptiness::Speaks,
    };
    let mut has_form = false;
    let read = members(&mut Scanner::new(line), line, |key, kind, _| {
        // A prompt that is only rendered has no answer.
        has_form |= (key == place && kind == of_kind) || key == b"_debug_info";
    });
    if read.is_ok() && !has_form {
        Emptiness::Formless
    } else {
        Emptiness::Speaks
    }
}

/// Returns the data of an event: empty if it has fields and no data, `None` of comments alone, of several lines of
/// data, and of what is no event.
fn data(unit: &[u8]) -> Option<&[u8]> {
    let (mut found, mut has_fields) = (None, false);
    for line in unit.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() || line.starts_with(b":") {
            continue;
        }
        let end = memchr::memchr(b':', line).unwrap_or(line.len());
        match &line[..end] {
            b"data" => {
                let value = line[end..].strip_prefix(b":").unwrap_or_default();
                if found
                    .replace(value.trim_ascii())
                    .is_some_and(|before| !before.is_empty())
                {
                    return None;
                }
            }
            b"event" | b"id" | b"retry" => {}
            _ => return None,
        }
        has_fields = true;
    }
    has_fields.then(|| found.unwrap_or_default())
}

/// Returns whether a chunk has a list of choices: none, as the last of a stream has and the first of Azure's, or one
/// that says something of its own.
fn has_choices(chunk: &[u8]) -> bool {
    let Some(choices) = shape::list(chunk, b"choices") else {
        return false;
    };
    let (mut any, mut has_form) = (false, false);
    let read = shape::items(choices, |choice| {
        any = true;
        let _ = members(&mut Scanner::new(choice), choice, |key, kind, _| {
            has_form |= match key {
                b"delta" | b"message" => kind == Kind::Object,
                b"text" | b"finish_reason" => kind == Kind::String,
                _ => false,
            };
        });
    });
    read.is_err() || !any || has_form
}

fn has_type(event: &[u8]) -> bool {
    let mut has_type = false;
    let read = members(&mut Scanner::new(event), event, |key, kind, _| {
        has_type |= key == b"type" && kind == Kind::String;
    });
    read.is_err() || has_type
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is a table of cases")]
    fn what_carries_nothing_is_known() {
        use Emptiness::{Blank, Formless, Speaks};
        use Operation::*;
        for (operation, unit, expected) in [
            (OpenAiChat, "data: \n\n", Blank),
            (OpenAiChat, "data:\r\n\r\n", Blank),
            (OpenAiChat, "event: x\n\n", Blank),
            (OpenAiChat, "id: 5\nretry: 10\n\n", Blank),
            (OpenAiChat, ": ping\ndata\n\n", Blank),
            (OpenAiChat, ": ping\n\n", Speaks),
            (OpenAiChat, "\n", Speaks),
            (OpenAiChat, "data: {}\n\n", Formless),
            (OpenAiChat, "event: ping\ndata: {}\n\n", Formless),
            (OpenAiChat, "data: {\"foo\":1}\n\n", Formless),
            (OpenAiChat, "data: {\"choices\":null}\n\n", Formless),
            (OpenAiChat, "data: {\"choices\":[{}]}\n\n", Formless),
            (
                OpenAiChat,
                "data: {\"choices\":[{\"index\":0,\"delta\":null}]}\n\n",
                Formless,
            ),
            (OpenAiChat, "data: {\"choices\":[]}\n\n", Speaks),
            (
                OpenAiChat,
                "data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\n",
                Speaks,
            ),
            (
                OpenAiChat,
                "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
                Speaks,
            ),
            (
                OpenAiCompletions,
                "data: {\"choices\":[{\"text\":\"\"}]}\n\n",
                Speaks,
            ),
            (OpenAiChat, "data: {\ndata: }\n\n", Speaks),
            (OpenAiChat, "error: full\n\n", Speaks),
            (
                AnthropicMessages,
                "event: content_block_delta\ndata: \n\n",
                Blank,
            ),
            (
                AnthropicMessages,
                "event: ping\ndata: {\"type\":\"ping\"}\n\n",
                Speaks,
            ),
            (AnthropicMessages, "event: ping\ndata: {}\n\n", Speaks),
            (
                OpenAiResponses,
                "event: response.output_text.delta\ndata: {}\n\n",
                Formless,
            ),
            (
                OpenAiResponses,
                "data: {\"x\":1,\"type\":\"keepalive\"}\n\n",
                Speaks,
            ),
            (Chat, "\n", Blank),
            (Chat, " \r\n", Blank),
            (Chat, "{\"foo\":1}\n", Formless),
            (Chat, "{\"message\":null,\"done\":false}\n", Formless),
            (
                Chat,
                "{\"message\":{\"content\":\"\"},\"done\":false}\n",
                Speaks,
            ),
            (Chat, "{\"_debug_info\":{}}\n", Speaks),
            (Generate, "{\"message\":{},\"done\":false}\n", Formless),
            (Generate, "{\"response\":\"\",\"done\":false}\n", Speaks),
            (Pull, "\n", Blank),
            (Pull, "{\"status\":\"pulling\"}\n", Speaks),
        ] {
            assert_eq!(
                emptiness(operation, unit.as_bytes()),
                expected,
                "{operation:?} {unit}"
            );
        }
    }
}
