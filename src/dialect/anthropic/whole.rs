//! A whole answer as a client reads it.

use std::io::Write;

use super::usage::{self, stop_reason};
use crate::dialect::exchange::Reply;
use crate::dialect::signature;
use crate::ir::{Call, Item, Response, Text, Thought};

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
            Item::Text(text) | Item::Refusal(text) => write_text(text, out),
            Item::Thought(thought) => write_thought(thought, out),
            Item::Call(call) => write_call(call, reply, &mut made, out),
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

/// What proves thoughts and says nothing goes before the text that an answer would else end before: clients take the last
/// block for what was said.
fn in_order(items: &[Item]) -> impl Iterator<Item = &Item> {
    let says_nothing =
        |item: &Item| matches!(item, Item::Thought(thought) if thought.text.is_empty());
    let end = items.iter().rposition(|item| !says_nothing(item));
    let text = end
        .filter(|end| matches!(items[*end], Item::Text(_)))
        .unwrap_or(items.len());
    let (before, rest) = items.split_at(text);
    let (text, proofs) = rest.split_at(rest.len().min(1));
    before.iter().chain(proofs).chain(text)
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
