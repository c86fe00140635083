//! A whole answer as a client reads it.

use std::io::Write;

use super::usage::{self, stop_reason};
use crate::dialect::exchange::Reply;
use crate::dialect::signature;
use crate::ir::{Call, Response, ResponseItem, Text, Thought};

/// Appends `{"id":"msg_…","type":"message",…}`.
pub fn write_whole(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        r#"{{"id":"msg_{}","type":"message","role":"assistant","model":"{}","content":["#,
        reply.id,
        reply.model.as_escaped()
    );
    let start = out.len();
    let mut made = 0;
    for item in in_order(&response.items) {
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        let written = match item {
            ResponseItem::Text(text) | ResponseItem::Refusal(text) => write_text(text, out),
            ResponseItem::Thought(thought) => write_thought(thought, out),
            ResponseItem::Call(call) => write_call(call, reply, &mut made, out),
        };
        if !written {
            out.truncate(before);
        }
    }
    let reason = stop_reason(response.finish, response.stop.is_some());
    let _ = write!(out, r#"],"stop_reason":"{reason}","stop_sequence":"#);
    match &response.stop {
        Some(stop) => stop.write(out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"usage\":");
    usage::write(&response.usage, out);
    out.push(b'}');
}

/// Returns the items with what proves thoughts and says nothing before the text, or the calls, that an answer would
/// else end before: clients take the last block for what was said. The proof of a text goes where nothing is said at
/// all.
fn in_order(items: &[ResponseItem]) -> impl Iterator<Item = &ResponseItem> {
    let says_nothing = |item: &ResponseItem| matches!(item, ResponseItem::Thought(thought) if thought.text.is_empty());
    let (told, proofs) = match items.iter().rposition(|item| !says_nothing(item)) {
        Some(last) => items.split_at(last + 1),
        None => items.split_at(0),
    };
    let is_call = |item: &ResponseItem| matches!(item, ResponseItem::Call(_));
    let (last, ends_in_thought) = match told.last() {
        Some(ResponseItem::Call(_)) => {
            let before = told.iter().rposition(|item| !is_call(item));
            (before.map_or(0, |place| place + 1), false)
        }
        Some(ResponseItem::Text(_) | ResponseItem::Refusal(_)) => (told.len() - 1, false),
        Some(ResponseItem::Thought(_)) | None => (told.len(), true),
    };
    let (before, said) = told.split_at(last);
    let proofs = proofs
        .iter()
        .filter(move |item| !(ends_in_thought && signs_text(item)));
    before.iter().chain(proofs).chain(said)
}

fn signs_text(item: &ResponseItem) -> bool {
    matches!(item, ResponseItem::Thought(thought) if thought.signature.as_ref().is_some_and(signature::is_of_text))
}

fn write_text(text: &Text<'_>, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    text.write(out);
    out.push(b'}');
    !text.is_empty()
}

fn write_thought(thought: &Thought<'_>, out: &mut Vec<u8>) -> bool {
    let signature = thought.signature.as_ref().map_or("", Text::as_escaped);
    if thought.redacted {
        let _ = write!(
            out,
            r#"{{"type":"redacted_thinking","data":"{signature}"}}"#
        );
        return true;
    }
    let _ = write!(
        out,
        r#"{{"type":"thinking","thinking":"{}","signature":"{signature}"}}"#,
        thought.text.as_escaped()
    );
    true
}

fn write_call(call: &Call, reply: &Reply, made: &mut usize, out: &mut Vec<u8>) -> bool {
    let id = match &call.id {
        Some(id) => id.clone(),
        None => {
            *made += 1;
            Text::escaped(format!("toolu_{}{made:02}", reply.id))
        }
    };
    let id = signature::pack(id, call.signature.as_ref());
    let _ = write!(
        out,
        r#"{{"type":"tool_use","id":"{}","name":"{}","input":"#,
        id.as_escaped(),
        call.name.as_escaped()
    );
    call.arguments().write(out);
    out.push(b'}');
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(signature: &'static str) -> ResponseItem {
        ResponseItem::Thought(Thought {
            signature: Some(Text::escaped(signature)),
            ..Thought::default()
        })
    }

    fn call() -> ResponseItem {
        ResponseItem::Call(Call {
            id: None,
            name: Text::escaped("f"),
            text: Text::default(),
            signature: None,
        })
    }

    #[test]
    fn an_answer_never_ends_with_the_proof_of_a_text() {
        let (own, text) = (
            || proof("gemini-text:s"),
            || ResponseItem::Text(Text::escaped("hi")),
        );
        let thought = || {
            ResponseItem::Thought(Thought {
                text: Text::escaped("t"),
                ..Thought::default()
            })
        };
        for (items, expected) in [
            (vec![call(), call(), own()], vec![own(), call(), call()]),
            (vec![text(), call(), own()], vec![text(), own(), call()]),
            (vec![text(), own()], vec![own(), text()]),
            (vec![own()], vec![]),
            (vec![thought(), own()], vec![thought()]),
            // A thought that is not shown is still one.
            (vec![proof("s")], vec![proof("s")]),
        ] {
            let told: Vec<ResponseItem> = in_order(&items).cloned().collect();
            assert_eq!(told, expected);
        }
    }
}
