//! A client's request without its thoughts, for when the provider does not believe their signatures: those of another
//! provider, of another model, or changed on the way.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::management::leave_thoughts;
use crate::wire::json::{self, Fate, Object, PathStep, prune};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Vec<Turn<'a>>,
    thinking: Option<Kind<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
}

impl Kind<'_> {
    fn is_thought(&self) -> bool {
        matches!(&*self.name, "thinking" | "redacted_thinking")
    }
}

/// Returns the body without thoughts; `None` if it has none. Where the provider would ask for them, because the model
/// is to think by a budget and goes on from its calls, it is told nothing of thinking either, nor to clear what it has
/// thought.
pub fn without_thoughts(body: &[u8]) -> Option<Vec<u8>> {
    let read: Body<'_> = json::parse(body).ok()?;
    let has = |turn: &Turn<'_>, wanted: fn(&Kind<'_>) -> bool| blocks(turn).iter().any(wanted);
    if !read
        .messages
        .iter()
        .any(|turn| has(turn, |kind| kind.is_thought()))
    {
        return None;
    }
    let budget = read.thinking.is_some_and(|kind| kind.name == "enabled");
    let last = read.messages.last()?;
    let unthinking = budget && has(last, |kind| kind.name == "tool_result");
    let pruned = prune(body, &mut |way, part| match way {
        [PathStep::Key(key)] if key == "thinking" && unthinking => Fate::Drop,
        [PathStep::Key(key)] if key == "messages" => Fate::Enter,
        [_, PathStep::Item] => match serde_json::from_slice::<Turn<'_>>(part) {
            Ok(turn) if is_thought_alone(&turn) => Fate::Drop,
            _ => Fate::Enter,
        },
        [_, PathStep::Item, PathStep::Key(key)] if key == "content" => Fate::Enter,
        [_, PathStep::Item, PathStep::Key(_), PathStep::Item] => match serde_json::from_slice(part)
        {
            Ok(kind) if Kind::is_thought(&kind) => Fate::Drop,
            _ => Fate::Keep,
        },
        _ => Fate::Keep,
    });
    let pruned = pruned.ok()?;
    if !unthinking {
        return Some(pruned);
    }
    let mut body = Object::read(&pruned)?;
    leave_thoughts(&mut body);
    let written = body.written();
    Some(written.unwrap_or(pruned))
}

/// Returns what the content consists of; nothing for a text.
fn blocks<'a>(turn: &Turn<'a>) -> Vec<Kind<'a>> {
    turn.content
        .filter(|content| content.get().starts_with('['))
        .and_then(|content| serde_json::from_str(content.get()).ok())
        .unwrap_or_default()
}

/// Returns whether nothing would be left of a turn without its thoughts; the provider takes no empty one.
fn is_thought_alone(turn: &Turn<'_>) -> bool {
    let blocks = blocks(turn);
    !blocks.is_empty() && blocks.iter().all(Kind::is_thought)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pruned(body: &Value) -> Option<Value> {
        let pruned = without_thoughts(body.to_string().as_bytes())?;
        Some(serde_json::from_slice(&pruned).unwrap())
    }

    fn conversation(thinking: &Value) -> Value {
        json!({"model": "m", "max_tokens": 9, "thinking": thinking, "messages": [
            {"role": "user", "content": "thinking"},
            {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "d"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"type": "thinking"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "42"}]}]})
    }

    #[test]
    fn thoughts_go_and_all_else_stays() {
        let adaptive = json!({"type": "adaptive"});
        let left = pruned(&conversation(&adaptive)).unwrap();
        assert_eq!(left["thinking"], adaptive);
        assert_eq!(
            left["messages"],
            json!([
                {"role": "user", "content": "thinking"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"type": "thinking"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "42"}]}])
        );
    }

    #[test]
    fn a_model_that_lost_the_thought_of_its_calls_goes_on_without() {
        let budget = json!({"type": "enabled", "budget_tokens": 1024});
        let left = pruned(&conversation(&budget)).unwrap();
        assert_eq!(left.get("thinking"), None);
        assert_eq!(left["messages"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn thoughts_are_cleared_only_where_the_model_thinks() {
        let clear = json!({"type": "clear_thinking_20251015", "keep": "all"});
        let tools = json!({"type": "clear_tool_uses_20250919"});
        let edited = |thinking: &Value, edits: Value| {
            let mut body = conversation(thinking);
            body["context_management"] = json!({ "edits": edits });
            pruned(&body).unwrap().get("context_management").cloned()
        };
        let budget = json!({"type": "enabled", "budget_tokens": 1024});
        assert_eq!(edited(&budget, json!([clear])), None);
        let others = Some(json!({"edits": [tools]}));
        assert_eq!(edited(&budget, json!([clear, tools])), others);
        assert_eq!(edited(&budget, json!([tools])), others);
        // It goes on thinking.
        let adaptive = json!({"type": "adaptive"});
        let both = json!([clear, tools]);
        assert_eq!(
            edited(&adaptive, both.clone()),
            Some(json!({ "edits": both }))
        );
    }

    #[test]
    fn without_thoughts_there_is_nothing_to_leave_out() {
        for body in [
            json!({"messages": [{"role": "user", "content": "hi"}], "thinking": {"type": "adaptive"}}),
            json!({"messages": 5}),
            json!([]),
        ] {
            assert_eq!(pruned(&body), None);
        }
    }
}
