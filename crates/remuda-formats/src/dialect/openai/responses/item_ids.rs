//! Ids of items in a request that passes as it came. OpenAI refuses those that another provider has made ("Expected an ID
//! that begins with 'fc'", `string_above_max_length`), and needs none: an item that comes whole is no reference.

use memchr::memmem;
use serde_json::value::RawValue;

use crate::ir::Text;
use crate::provider::ProviderKind;
use crate::wire::json::{ByteSpan, Object, Scanner};

/// Bytes of an id at most.
const LONGEST: usize = 64;

/// How the ids of items begin that may come without one.
const BEGINNINGS: [(&str, &str); 4] = [
    ("message", "msg"),
    ("reasoning", "rs"),
    ("function_call", "fc"),
    ("custom_tool_call", "ctc"),
];

/// Those that other servers with this API take without an id as well.
const CALLS: [&str; 2] = ["function_call", "custom_tool_call"];

/// Returns the body without the ids that its provider refuses; `None` if it has none of them.
pub fn fitting(body: &[u8], kind: ProviderKind) -> Option<Vec<u8>> {
    let calls_only = match kind {
        ProviderKind::OpenAi | ProviderKind::Azure => false,
        // It may be OpenAI's behind another address.
        ProviderKind::OpenAiCompatible => true,
        _ => return None,
    };
    memmem::find(body, b"\"id\"")?;
    let mut object = Object::read(body)?;
    let items = object.get("input")?;
    let without = without_ids(items, calls_only)?;
    object.set("input", without);
    object.written()
}

fn without_ids(items: &[u8], calls_only: bool) -> Option<Vec<u8>> {
    let mut written = Vec::new();
    let mut from = 0;
    for span in spans(items)? {
        if let Some(item) = without_id(span.of(items), calls_only) {
            written.extend_from_slice(&items[from..span.start]);
            written.extend_from_slice(&item);
            from = span.end;
        }
    }
    if from == 0 {
        return None;
    }
    written.extend_from_slice(&items[from..]);
    Some(written)
}

fn spans(items: &[u8]) -> Option<Vec<ByteSpan>> {
    let mut scanner = Scanner::new(items);
    let mut spans = Vec::new();
    scanner.begin_array().ok()?;
    while scanner.next_item(spans.is_empty()).ok()? {
        scanner.kind().ok()?;
        spans.push(scanner.skip_value().ok()?);
    }
    Some(spans)
}

/// Returns the item, if its id does not do.
fn without_id(item: &[u8], calls_only: bool) -> Option<Vec<u8>> {
    memmem::find(item, b"\"id\"")?;
    let mut item = Object::read(item)?;
    let id = text(item.get("id")?)?;
    let kind = match item.get("type") {
        Some(kind) => text(kind)?,
        // A message may leave it out.
        None => Text::escaped("message"),
    };
    let kind = kind.decoded();
    let (_, beginning) = BEGINNINGS.iter().find(|(name, _)| *name == kind)?;
    if (calls_only && !CALLS.contains(&&*kind)) || fits(&id.decoded(), beginning) {
        return None;
    }
    item.remove("id");
    item.written()
}

fn fits(id: &str, beginning: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    id.len() <= LONGEST && id.starts_with(beginning) && id.bytes().all(is_of_id)
}

fn text(value: &[u8]) -> Option<Text<'_>> {
    Text::of(serde_json::from_slice::<&RawValue>(value).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(kind: ProviderKind, items: &Value) -> Option<Value> {
        let body = json!({"id": "x", "input": items, "model": "m"}).to_string();
        let body = fitting(body.as_bytes(), kind)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["id"], &body["model"]), (&"x".into(), &"m".into()));
        Some(body["input"].clone())
    }

    #[test]
    fn ids_of_others_go_and_their_items_stay() {
        let long = format!("fc_{}", "x".repeat(80));
        let items = json!([
            {"role": "assistant", "id": "chatcmpl-1", "content": [{"type": "output_text", "id": "y", "text": "\"id\""}]},
            {"type": "message", "role": "user", "id": "msg_1", "content": "q"},
            {"type": "reasoning", "id": "thought", "summary": [], "encrypted_content": "e"},
            {"type": "function_call", "id": "toolu_1", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call", "id": long, "call_id": "d", "name": "f", "arguments": "{\"id\":1}"},
            {"type": "custom_tool_call", "id": "ctc_a.b", "call_id": "e", "name": "g", "input": ""},
            {"type": "item_reference", "id": "toolu_1"},
            {"type": "web_search_call", "id": "z", "status": "completed"},
            "text"]);
        let without = |places: &[usize]| {
            let mut items = items.clone();
            for place in places {
                items[*place].as_object_mut().unwrap().remove("id");
            }
            Some(items)
        };
        for kind in [ProviderKind::OpenAi, ProviderKind::Azure] {
            assert_eq!(sent(kind, &items), without(&[0, 2, 3, 4, 5]));
        }
        // Some of them demand the other ids.
        let compatible = ProviderKind::OpenAiCompatible;
        assert_eq!(sent(compatible, &items), without(&[3, 4, 5]));
        assert_eq!(sent(ProviderKind::Perplexity, &items), None);
    }

    #[test]
    fn what_fits_is_not_touched() {
        for items in [
            json!([{"type": "function_call", "id": "fc_1", "call_id": "toolu_1"}]),
            json!([{"type": "reasoning", "id": format!("rs_{}", "x".repeat(61))}]),
            json!([{"type": "function_call", "id": null, "call_id": "c"}]),
            json!([{"role": "user", "content": "q"}]),
            json!("id"),
        ] {
            assert_eq!(sent(ProviderKind::OpenAi, &items), None, "{items}");
        }
        assert_eq!(
            fitting(br#"{"input":[{"id":"x"}"#, ProviderKind::OpenAi),
            None
        );
    }
}
