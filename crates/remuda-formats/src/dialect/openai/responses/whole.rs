//! A whole answer as a response.

use std::borrow::Cow;

use super::called::Called;
use super::encode::needs_message;
use super::frame::{Frame, State, status};
use super::output::{self, Said, message_id, thought_id};
use crate::dialect::exchange::Reply;
use crate::ir::{Json, Response, ResponseItem, Text};

/// Appends the answer's body.
pub fn write_whole(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    let pieces = pieces(response);
    let state = State::Ended(response.finish, &response.usage);
    let write = |out: &mut Vec<u8>| write_items(&pieces, response, reply, out);
    let mut frame = Frame::new(reply);
    frame.serve(response.tier.as_ref());
    frame.write(state, write, out);
}

/// An item of the response.
enum Piece<'a> {
    Item(&'a ResponseItem),
    /// Text and refusals beside each other.
    Message(Vec<Said<'a>>),
}

fn pieces(response: &Response) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for item in &response.items {
        match item {
            ResponseItem::Text(text) => say(text, false, &mut pieces),
            ResponseItem::Refusal(text) => say(text, true, &mut pieces),
            ResponseItem::Thought(thought)
                if thought.text.is_empty() && thought.signature.is_none() => {}
            ResponseItem::Thought(_) | ResponseItem::Call(_) => pieces.push(Piece::Item(item)),
        }
    }
    let is_message = |piece: &Piece<'_>| matches!(piece, Piece::Message(_));
    let has_calls = response.calls().next().is_some();
    if needs_message(response.finish, pieces.iter().any(is_message), has_calls) {
        pieces.push(Piece::Message(vec![Said::default()]));
    }
    let mut parts = pieces.iter_mut().filter_map(|piece| match piece {
        Piece::Message(parts) => parts.iter_mut().find(|part| !part.refusal),
        Piece::Item(_) => None,
    });
    // What the whole answer is said to have is told with its first text.
    if let Some(part) = parts.next() {
        part.annotations = response
            .sources
            .as_ref()
            .map(output::annotations)
            .unwrap_or_default();
        part.logprobs = response.logprobs.as_ref().map(inside).unwrap_or_default();
    }
    pieces
}

fn inside<'a>(array: &'a Json<'_>) -> Cow<'a, [u8]> {
    let mut inside = Vec::new();
    output::add_logprobs(array, &mut inside);
    Cow::Owned(inside)
}

fn say<'a>(text: &'a Text<'_>, refusal: bool, pieces: &mut Vec<Piece<'a>>) {
    if text.is_empty() {
        return;
    }
    let part = Said {
        refusal,
        text: Cow::Borrowed(text.as_escaped()),
        ..Said::default()
    };
    match pieces.last_mut() {
        Some(Piece::Message(parts)) => parts.push(part),
        _ => pieces.push(Piece::Message(vec![part])),
    }
}

fn write_items(pieces: &[Piece<'_>], response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    let mut calls = 0;
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        // What an answer that was cut short breaks off in is its last item.
        let status = if place + 1 == pieces.len() {
            status(response.finish)
        } else {
            "completed"
        };
        match piece {
            Piece::Message(parts) => {
                output::write_message(&message_id(reply, place), status, parts, out);
            }
            Piece::Item(ResponseItem::Call(call)) => {
                let (id, signature) = (call.id.as_ref(), call.signature.as_ref());
                let called = Called::new(reply, (calls, place), id, signature, &call.name);
                called.write(status, &called.said(call.argument_text()), out);
                calls += 1;
            }
            Piece::Item(ResponseItem::Thought(thought)) => {
                let id = thought_id(reply, place, thought.id.as_ref(), thought.redacted);
                let signature = thought.signature.as_ref().map(Text::as_escaped);
                output::write_thought(&id, thought.text.as_escaped(), signature, out);
            }
            Piece::Item(ResponseItem::Text(_) | ResponseItem::Refusal(_)) => {}
        }
    }
}
