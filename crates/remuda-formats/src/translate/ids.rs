//! Ids in a body that otherwise passes as it came. Those of calls that its provider refuses are made fit, in the call and
//! in its result; those of whole items are left out. All other bytes stay.

use std::borrow::Cow;

use crate::client::Operation;
use crate::dialect::call_ids::CallIds;
use crate::dialect::openai;
use crate::ir::Text;
use crate::provider::{ProviderKind, ProviderProfile};
use crate::wire::json::{Kind, Literal, Scanner, SyntaxError};

/// Where ids stand in a body.
enum Place {
    Id,
    Members(&'static [(&'static str, Place)]),
    Items(&'static Place),
}

const CHAT: Place = Place::Members(&[(
    "messages",
    Place::Items(&Place::Members(&[
        ("tool_call_id", Place::Id),
        (
            "tool_calls",
            Place::Items(&Place::Members(&[("id", Place::Id)])),
        ),
    ])),
)]);

const RESPONSES: Place = Place::Members(&[(
    "input",
    Place::Items(&Place::Members(&[("call_id", Place::Id)])),
)]);

const MESSAGES: Place = Place::Members(&[(
    "messages",
    Place::Items(&Place::Members(&[(
        "content",
        Place::Items(&Place::Members(&[
            ("id", Place::Id),
            ("tool_use_id", Place::Id),
        ])),
    )])),
)]);

/// Returns what is known of the ids that a provider takes in its own format, and where they stand. A server of which
/// nothing is known may be OpenAI's behind another address.
fn rule(
    operation: Operation,
    provider: ProviderProfile<'_>,
) -> Option<(CallIds, &'static Place, &'static str)> {
    let openai = matches!(
        provider.kind,
        ProviderKind::OpenAi
            | ProviderKind::Azure
            | ProviderKind::OpenRouter
            | ProviderKind::OpenAiCompatible
    );
    match operation {
        Operation::OpenAiChat if is_mistral(provider) => Some((CallIds::Nine, &CHAT, "tool_call")),
        Operation::OpenAiChat if openai => Some((CallIds::Short(40), &CHAT, "tool_call")),
        Operation::OpenAiResponses if openai => Some((CallIds::Short(64), &RESPONSES, "call_id")),
        Operation::AnthropicMessages | Operation::AnthropicCountTokens
            if provider.kind == ProviderKind::Anthropic =>
        {
            Some((CallIds::Plain(usize::MAX), &MESSAGES, "tool_use"))
        }
        _ => None,
    }
}

fn is_mistral(provider: ProviderProfile<'_>) -> bool {
    provider.kind == ProviderKind::OpenAiCompatible && provider.is_mistral
}

/// Returns the body with ids that its provider takes; `None` if it has no others.
pub fn refitted(
    operation: Operation,
    provider: ProviderProfile<'_>,
    body: &[u8],
) -> Option<Vec<u8>> {
    let calls = of_calls(operation, provider, body);
    let items = match operation {
        Operation::OpenAiResponses => {
            let body = calls.as_deref().unwrap_or(body);
            openai::responses::fitting(body, provider.kind)
        }
        _ => None,
    };
    items.or(calls)
}

fn of_calls(operation: Operation, provider: ProviderProfile<'_>, body: &[u8]) -> Option<Vec<u8>> {
    let (ids, place, sign) = rule(operation, provider)?;
    // Most conversations have no calls, and need not be walked through.
    memchr::memmem::find(body, sign.as_bytes())?;
    let mut found = Vec::new();
    let mut seek = Seek {
        body,
        ids,
        found: &mut found,
    };
    seek.value(&mut Scanner::new(body), place).ok()?;
    if found.is_empty() {
        return None;
    }
    let mut refitted = Vec::with_capacity(body.len());
    let mut from = 0;
    for (literal, id) in found {
        refitted.extend_from_slice(&body[from..literal.span.start]);
        id.write(&mut refitted);
        from = literal.span.end;
    }
    refitted.extend_from_slice(&body[from..]);
    Some(refitted)
}

struct Seek<'s> {
    body: &'s [u8],
    ids: CallIds,
    /// Those that do not fit, in their order, and what is sent for each.
    found: &'s mut Vec<(Literal, Text<'static>)>,
}

impl Seek<'_> {
    fn value(&mut self, scanner: &mut Scanner<'_>, place: &Place) -> Result<(), SyntaxError> {
        match (place, scanner.kind()?) {
            (Place::Id, Kind::String) => {
                let literal = scanner.string()?;
                self.id(literal);
                Ok(())
            }
            (Place::Members(members), Kind::Object) => self.members(scanner, members),
            (Place::Items(place), Kind::Array) => {
                scanner.begin_array()?;
                let mut first = true;
                while scanner.next_item(first)? {
                    first = false;
                    self.value(scanner, place)?;
                }
                Ok(())
            }
            _ => scanner.skip_value().map(|_| ()),
        }
    }

    fn members(
        &mut self,
        scanner: &mut Scanner<'_>,
        members: &[(&str, Place)],
    ) -> Result<(), SyntaxError> {
        scanner.begin_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let inside = key.inside(self.body);
            match members.iter().find(|(name, _)| name.as_bytes() == inside) {
                Some((_, place)) => self.value(scanner, place)?,
                None => {
                    scanner.skip_value()?;
                }
            }
        }
        Ok(())
    }

    fn id(&mut self, literal: Literal) {
        let Ok(inside) = std::str::from_utf8(literal.inside(self.body)) else {
            return;
        };
        if !self.ids.fits(inside) {
            let id = self.ids.sent(&Text::escaped(Cow::Borrowed(inside)));
            self.found.push((literal, id.into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(operation: Operation, kind: ProviderKind, body: &Value) -> Option<Value> {
        let provider = ProviderProfile::of_kind("p", kind);
        refitted(operation, provider, body.to_string().as_bytes())
            .map(|body| serde_json::from_slice(&body).unwrap())
    }

    fn chat(one: &str, two: &str) -> Value {
        json!({"model": "m", "tools": [{"id": "x".repeat(99)}], "messages": [
            {"role": "user", "content": "tool_calls"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": two, "type": "custom", "custom": {"name": "g", "input": ""}}]},
            {"role": "tool", "tool_call_id": two, "content": "2"},
            {"role": "tool", "tool_call_id": one, "content": "1"}]})
    }

    #[test]
    fn a_call_and_its_result_get_the_same_short_id() {
        let long = format!("call_1__thought__{}", "x".repeat(77));
        for kind in [
            ProviderKind::OpenAi,
            ProviderKind::OpenRouter,
            ProviderKind::OpenAiCompatible,
        ] {
            let sent = sent(Operation::OpenAiChat, kind, &chat(&long, "c2")).unwrap();
            let short = sent["messages"][1]["tool_calls"][0]["id"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(short.len() <= 40, "{short}");
            assert_eq!(sent, {
                let mut expected = chat(&short, "c2");
                expected["tools"][0]["id"] = "x".repeat(99).into();
                expected
            });
        }
    }

    #[test]
    fn what_fits_is_not_touched() {
        let long = "x".repeat(41);
        for (operation, kind, body) in [
            (
                Operation::OpenAiChat,
                ProviderKind::OpenAi,
                chat("c1", "c.2:3"),
            ),
            (
                Operation::OpenAiChat,
                ProviderKind::OpenAiCompatible,
                chat(&long[1..], "c.2:3"),
            ),
            (
                Operation::OpenAiResponses,
                ProviderKind::OpenAi,
                json!({"input": [{"type": "function_call", "call_id": long}]}),
            ),
            (
                Operation::AnthropicMessages,
                ProviderKind::Anthropic,
                json!({"messages": [{"content": [{"type": "tool_use", "id": long, "input": {"id": "a.b"}}]}]}),
            ),
            (
                Operation::OpenAiResponses,
                ProviderKind::OpenAi,
                json!({"input": "call_id"}),
            ),
        ] {
            assert_eq!(sent(operation, kind, &body), None, "{operation:?} {kind:?}");
        }
    }

    #[test]
    fn each_format_has_its_own_places_and_limits() {
        let long = "x".repeat(65);
        let responses = json!({"input": [
            {"type": "function_call", "call_id": long, "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": long, "output": "1"}]});
        let sent_there = sent(Operation::OpenAiResponses, ProviderKind::Azure, &responses).unwrap();
        assert_eq!(
            sent_there["input"][0]["call_id"],
            sent_there["input"][1]["call_id"]
        );
        assert!(sent_there["input"][0]["call_id"].as_str().unwrap().len() <= 64);
        let messages = json!({"messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {"id": "a:b"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions.f:0", "content": [{"type": "text", "text": "x"}]}]}]});
        let there = sent(
            Operation::AnthropicMessages,
            ProviderKind::Anthropic,
            &messages,
        )
        .unwrap();
        let id = there["messages"][0]["content"][0]["id"].as_str().unwrap();
        assert!(CallIds::Plain(64).fits(id));
        assert_eq!(there["messages"][1]["content"][0]["tool_use_id"], id);
        assert_eq!(there["messages"][0]["content"][0]["input"]["id"], "a:b");
    }

    #[test]
    fn what_is_no_json_passes() {
        let provider = ProviderProfile::of_kind("p", ProviderKind::OpenAi);
        let broken = format!(r#"{{"messages":[{{"tool_call_id":"{}"}}"#, "x".repeat(99));
        assert_eq!(
            refitted(Operation::OpenAiChat, provider, broken.as_bytes()),
            None
        );
    }
}
