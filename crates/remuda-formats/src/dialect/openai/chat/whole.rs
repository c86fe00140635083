//! A whole answer as a `chat.completion`.

use super::super::input::Input;
use super::super::place::Told;
use super::super::{details, frame, sources, usage};
use super::encode::{is_custom, write_call, write_reasoning};
use super::finish_reason;
use crate::dialect::exchange::Reply;
use crate::ir::{Call, Response, ResponseItem, Text};

/// Appends the answer's body.
pub fn write_whole(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    out.extend(frame::open("chatcmpl-", "chat.completion", reply));
    frame::write_served(&response.tier, &response.fingerprint, out);
    out.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
    write_message(response, reply, out);
    out.extend_from_slice(b"},\"logprobs\":");
    match &response.logprobs {
        Some(array) => {
            out.extend_from_slice(b"{\"content\":");
            array.write(out);
            out.extend_from_slice(b",\"refusal\":null}");
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"finish_reason\":");
    out.extend_from_slice(finish_reason(response.finish, reply.functions).as_bytes());
    out.extend_from_slice(b"}],\"usage\":");
    usage::write(&response.usage, out);
    if let Some(array) = &response.sources {
        sources::write(array, out);
    }
    out.push(b'}');
}

fn write_message(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    let (mut text, mut refusal) = (Text::default(), Text::default());
    for item in &response.items {
        match item {
            ResponseItem::Text(more) => text.push(more),
            ResponseItem::Refusal(more) => refusal.push(more),
            ResponseItem::Thought(_) | ResponseItem::Call(_) => {}
        }
    }
    let has_calls = response.calls().next().is_some();
    out.extend_from_slice(b",\"content\":");
    if text.is_empty() && (has_calls || !refusal.is_empty()) {
        out.extend_from_slice(b"null");
    } else {
        text.write(out);
    }
    out.extend_from_slice(b",\"refusal\":");
    if refusal.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        refusal.write(out);
    }
    write_thoughts(response, reply, out);
    match response.calls().next() {
        Some(call) if reply.functions => write_function_call(call, out),
        Some(_) => write_calls(response, reply, out),
        None => {}
    }
}

fn write_thoughts(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    let thinking = response.thinking();
    if !thinking.is_empty() {
        out.push(b',');
        write_reasoning(reply.reasoning_field, &thinking, out);
    }
    let is_signed = |item: &ResponseItem| matches!(item, ResponseItem::Thought(thought) if thought.signature.is_some());
    // Without a signature they would say the same once more.
    if response.items.iter().any(is_signed) {
        out.extend_from_slice(b",\"reasoning_details\":[");
        write_details(&response.items, out);
        out.push(b']');
    }
}

fn write_details(items: &[ResponseItem], out: &mut Vec<u8>) {
    let mut told = Told::default();
    let mut index = 0;
    for item in items {
        match item {
            ResponseItem::Thought(thought) => {
                if index > 0 {
                    out.push(b',');
                }
                details::write_placed(thought, told.thought(), index, true, out);
                index += 1;
            }
            ResponseItem::Text(text) => told.text(text),
            ResponseItem::Call(_) => told.call(),
            ResponseItem::Refusal(_) => {}
        }
    }
}

/// Writes the first call, as there is room for one.
fn write_function_call(call: &Call, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"function_call\":{\"name\":");
    call.name.write(out);
    out.extend_from_slice(b",\"arguments\":\"");
    out.extend_from_slice(call.argument_text().as_bytes());
    out.extend_from_slice(b"\"}");
}

fn write_calls(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"tool_calls\":[");
    for (index, call) in response.calls().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'{');
        write_call(reply, call.head(index), out);
        let arguments = Text::escaped(call.argument_text());
        if is_custom(reply, &call.name) {
            Input::of(&arguments).write(out);
        } else {
            arguments.write(out);
        }
        out.extend_from_slice(b"}}");
    }
    out.push(b']');
}
