//! A client's request without the proofs of its thoughts, for when the provider does not believe them.

use std::borrow::Cow;

use serde::Deserialize;

use crate::wire::json::{Fate, PathStep, SyntaxError, prune};

/// What only the reasoning that it goes with allows: the id of a call that came after it.
const CALL: &str = "function_call";

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
}

/// Returns a Responses request without the `reasoning` items of its input, and without the ids that tie calls to them;
/// `None` if it has none.
pub fn without_reasoning(body: &[u8]) -> Option<Vec<u8>> {
    let mut found = false;
    // The way of a member says nothing of the item that it is in.
    let mut is_call = false;
    let pruned = prune(body, &mut |way, part| match way {
        [PathStep::Key(key)] if key == "input" => Fate::Enter,
        [PathStep::Key(_), PathStep::Item] => {
            let kind = serde_json::from_slice::<Kind<'_>>(part);
            let is = |name: &str| kind.as_ref().is_ok_and(|kind| kind.name == name);
            is_call = is(CALL);
            if is("reasoning") {
                found = true;
                return Fate::Drop;
            }
            if is_call { Fate::Enter } else { Fate::Keep }
        }
        [_, PathStep::Item, PathStep::Key(key)] if is_call && key == "id" => Fate::Drop,
        _ => Fate::Keep,
    });
    kept(pruned, found)
}

/// Returns a chat without `reasoning_details`, OpenRouter's; `None` if it has none.
pub fn without_details(body: &[u8]) -> Option<Vec<u8>> {
    let mut found = false;
    let pruned = prune(body, &mut |way, _| match way {
        [PathStep::Key(key)] if key == "messages" => Fate::Enter,
        [PathStep::Key(_), PathStep::Item] => Fate::Enter,
        [_, PathStep::Item, PathStep::Key(key)] if key == "reasoning_details" => {
            found = true;
            Fate::Drop
        }
        _ => Fate::Keep,
    });
    kept(pruned, found)
}

fn kept(pruned: Result<Vec<u8>, SyntaxError>, found: bool) -> Option<Vec<u8>> {
    pruned.ok().filter(|_| found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(pruned: Option<Vec<u8>>) -> Option<Value> {
        pruned.map(|pruned| serde_json::from_slice(&pruned).unwrap())
    }

    #[test]
    fn reasoning_items_go_with_the_ids_that_need_them() {
        let body = json!({"model": "m", "input": [
            {"role": "user", "content": "q"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "id": "o", "call_id": "c", "output": "42"}]});
        assert_eq!(
            read(without_reasoning(body.to_string().as_bytes())).unwrap()["input"],
            json!([
                {"role": "user", "content": "q"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "id": "o", "call_id": "c", "output": "42"}])
        );
        let plain = json!({"input": "reasoning", "reasoning": {"effort": "low"}}).to_string();
        assert_eq!(without_reasoning(plain.as_bytes()), None);
    }

    #[test]
    fn details_go_and_plain_reasoning_stays() {
        let body = json!({"messages": [{"role": "assistant", "content": "a", "reasoning": "r",
            "reasoning_details": [{"type": "reasoning.text", "signature": "s"}]}]});
        assert_eq!(
            read(without_details(body.to_string().as_bytes())).unwrap(),
            json!({"messages": [{"role": "assistant", "content": "a", "reasoning": "r"}]})
        );
        assert_eq!(without_details(br#"{"messages":[{"content":"x"}]}"#), None);
    }
}
