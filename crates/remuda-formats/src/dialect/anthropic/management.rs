//! `context_management` of a request whose model is told not to think after all: the provider refuses to clear thoughts then.

use std::borrow::Cow;

use serde::Deserialize;

use crate::wire::json::{Fate, Object, PathStep, prune};

/// The field, also as it is named among what was left out.
pub(super) const FIELD: &str = "context_management";
const EDITS: &str = "edits";
const CLEAR_THINKING: &str = "clear_thinking_20251015";

#[derive(Deserialize)]
struct HistoryEdit<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
}

impl HistoryEdit<'_> {
    fn clears_thoughts(&self) -> bool {
        self.kind == CLEAR_THINKING
    }
}

/// Takes the edits that clear thoughts out of the body, and the field with them if nothing else is edited. Returns
/// whether there were any.
pub(super) fn leave_thoughts(body: &mut Object<'_>) -> bool {
    #[derive(Deserialize)]
    struct Management<'a> {
        #[serde(borrow)]
        edits: Vec<HistoryEdit<'a>>,
    }
    let Some(field) = body.get(FIELD) else {
        return false;
    };
    let Ok(Management { edits }) = serde_json::from_slice(field) else {
        return false;
    };
    let clearing = edits.iter().filter(|edit| edit.clears_thoughts()).count();
    if clearing == 0 {
        return false;
    }
    if clearing == edits.len() {
        return body.remove(FIELD);
    }
    let others = prune(field, &mut |way, part| match way {
        [PathStep::Key(key)] if key == EDITS => Fate::Enter,
        [_, PathStep::Item] => match serde_json::from_slice::<HistoryEdit<'_>>(part) {
            Ok(edit) if edit.clears_thoughts() => Fate::Drop,
            _ => Fate::Keep,
        },
        _ => Fate::Keep,
    });
    match others {
        Ok(others) => {
            body.set(FIELD, others);
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(body: &str) -> Option<String> {
        let mut read = Object::read(body.as_bytes()).unwrap();
        let changed = leave_thoughts(&mut read);
        let written = read.written();
        assert_eq!(changed, written.is_some(), "{body}");
        written.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn edits_of_thoughts_go_and_others_stay() {
        for (body, expected) in [
            (
                r#"{"model":"m","context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}}"#,
                Some(r#"{"model":"m"}"#),
            ),
            (
                r#"{"context_management":{"edits":[{"keep":{"type":"thinking_turns","value":2},"type":"clear_\u0074hinking_20251015"}, {"type":"clear_tool_uses_20250919"}],"x": 1}}"#,
                Some(
                    r#"{"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}],"x":1}}"#,
                ),
            ),
            (
                r#"{"context_management":{"edits":[{"type":"compact_20260112"},{}]}}"#,
                None,
            ),
            (r#"{"context_management":{"edits":[]}}"#, None),
            (r#"{"context_management":{"edits":"none"}}"#, None),
            (r#"{"context_management":null}"#, None),
            (r#"{"edits":[{"type":"clear_thinking_20251015"}]}"#, None),
        ] {
            assert_eq!(left(body).as_deref(), expected, "{body}");
        }
    }
}
