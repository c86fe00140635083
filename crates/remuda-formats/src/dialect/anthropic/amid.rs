//! Words of the system amid a conversation that passes as it came, for a model that takes turns of the user's and the
//! assistant's alone: the user says them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::json::Object;

const ROLE: &str = "role";

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
}

impl Turn<'_> {
    fn is(&self, role: &str) -> bool {
        self.role.as_deref() == Some(role)
    }

    fn calls(&self) -> bool {
        let content = self.content.map_or("", RawValue::get);
        let blocks = if content.starts_with('[') {
            serde_json::from_str::<Vec<Block<'_>>>(content).unwrap_or_default()
        } else {
            Vec::new()
        };
        self.is("assistant") && blocks.iter().any(|block| block.kind == "tool_use")
    }
}

/// Returns `messages` with the user as the speaker, in the same places; between calls and their results, which nothing
/// may part, after the results. `None` if the system says nothing there.
pub(super) fn as_user(messages: &[u8]) -> Option<Vec<u8>> {
    let raw: Vec<&RawValue> = serde_json::from_slice(messages).ok()?;
    let mut written = Vec::with_capacity(raw.len());
    let mut waiting: Vec<Cow<'_, str>> = Vec::new();
    let (mut after_calls, mut found) = (false, false);
    for text in raw.iter().map(|raw| raw.get()) {
        let turn: Turn<'_> = serde_json::from_str(text).ok()?;
        if turn.is("system") {
            found = true;
            let said = Cow::Owned(said_by_user(text)?);
            if after_calls {
                waiting.push(said);
            } else {
                written.push(said);
            }
        } else if after_calls && turn.is("user") {
            written.push(Cow::Borrowed(text));
            written.append(&mut waiting);
            after_calls = false;
        } else {
            written.append(&mut waiting);
            after_calls = turn.calls();
            written.push(Cow::Borrowed(text));
        }
    }
    written.append(&mut waiting);
    found.then(|| format!("[{}]", written.join(",")).into_bytes())
}

fn said_by_user(turn: &str) -> Option<String> {
    let mut turn = Object::read(turn.as_bytes())?;
    turn.set(ROLE, r#""user""#);
    String::from_utf8(turn.written()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(messages: &str) -> Option<String> {
        as_user(messages.as_bytes()).map(|told| String::from_utf8(told).unwrap())
    }

    #[test]
    fn the_user_says_it_in_its_place() {
        assert_eq!(
            told(
                r#"[{"role":"user","content":"q"}, {"content":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"role":"sys\u0074em"},{"role":"assistant","content":"a"}]"#
            )
            .unwrap(),
            r#"[{"role":"user","content":"q"},{"content":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"role":"user"},{"role":"assistant","content":"a"}]"#
        );
    }

    #[test]
    fn results_stay_with_their_calls() {
        let call = r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}"#;
        let result =
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"1"}]}"#;
        let system = r#"{"role":"system","content":"s"}"#;
        let user = r#"{"role":"user","content":"s"}"#;
        assert_eq!(
            told(&format!("[{call},{system},{result},{system}]")).unwrap(),
            format!("[{call},{result},{user},{user}]")
        );
        assert_eq!(
            told(&format!("[{call},{system}]")).unwrap(),
            format!("[{call},{user}]")
        );
    }

    #[test]
    fn without_such_words_all_stays() {
        for messages in [
            r#"[{"role":"user","content":"system"}]"#,
            "[]",
            "7",
            "[7]",
            "[",
        ] {
            assert_eq!(told(messages), None, "{messages}");
        }
    }
}
