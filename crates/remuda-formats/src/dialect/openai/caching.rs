//! `cache_control` in chats: the form that OpenRouter has given to Anthropic's breakpoints, on texts, tools and requests.

use serde::Deserialize;

use super::field::Field;
use super::object::Object;
use crate::ir::{CacheTtl, Message, Part, Text};

/// Reads the breakpoint that a field sets; what is no object sets none.
pub(super) fn read(field: Field<'_>) -> Option<CacheTtl> {
    #[derive(Deserialize)]
    struct Control<'a> {
        #[serde(borrow)]
        ttl: Option<Text<'a>>,
    }
    let control: Control<'_> = serde_json::from_str(field?.get()).ok()?;
    Some(CacheTtl::named(control.ttl.as_ref().map(Text::as_escaped)))
}

/// Writes the member, if there is a breakpoint.
pub(super) fn write(cache: Option<CacheTtl>, object: &mut Object<'_>) {
    match cache {
        None => {}
        Some(CacheTtl::Short) => object.raw("cache_control", r#"{"type":"ephemeral"}"#),
        Some(CacheTtl::Hour) => object.raw("cache_control", r#"{"type":"ephemeral","ttl":"1h"}"#),
    }
}

/// Puts breakpoints where chats can say them: after texts and results. One after something else goes back to the last
/// text of its turn; true if there was none.
pub(super) fn settle(messages: &mut [Message<'_>]) -> bool {
    let mut lost = false;
    for message in messages {
        if !message.parts.iter().any(Part::is_breakpoint) {
            continue;
        }
        let mut last_text = None;
        for part in std::mem::take(&mut message.parts) {
            let parts = &mut message.parts;
            if !part.is_breakpoint() {
                if matches!(part, Part::Text(_)) {
                    last_text = Some(parts.len());
                }
                parts.push(part);
                continue;
            }
            match (parts.last(), last_text) {
                (Some(Part::Text(_) | Part::ToolResult(_)), _) => parts.push(part),
                (_, Some(at)) if !parts.get(at + 1).is_some_and(Part::is_breakpoint) => {
                    parts.insert(at + 1, part);
                }
                (_, Some(_)) => {}
                (_, None) => lost = true,
            }
        }
    }
    lost
}
