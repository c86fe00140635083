//! A streamed answer as the events of the Responses API. The last one holds the whole answer, which is therefore kept.

use super::called::Called;
use super::frame::{Frame, State, error_code, status};
use super::output::{message_id, thought_id};
use super::pieces::{Call, Events, Message, Thinking, close};
use crate::dialect::exchange::Reply;
use crate::ir::{Encode, Event, Fault, Finish, Json, Text, Usage};
use crate::wire::json::write_string;

/// Writes the stream of one answer.
pub fn encoder(reply: Reply) -> Box<dyn Encode> {
    Box::new(Encoder {
        frame: Frame::new(&reply),
        events: Events::default(),
        begun: false,
        ended: false,
        items: Vec::new(),
        open: Open::Nothing,
        calls: Vec::new(),
        has_message: false,
        held: None,
        sources: None,
        usage: Usage::default(),
        finish: Finish::Stop,
        reply,
    })
}

struct Encoder {
    reply: Reply,
    frame: Frame,
    events: Events,
    begun: bool,
    ended: bool,
    /// The items in their order; those that are not whole yet are empty.
    items: Vec<Vec<u8>>,
    open: Open,
    /// The calls by their indexes; `None` stands for one that is whole.
    calls: Vec<Option<Call>>,
    has_message: bool,
    /// The signature of the text of the message that is open.
    held: Option<String>,
    /// They wait for the text that they belong to.
    sources: Option<Json<'static>>,
    usage: Usage,
    finish: Finish,
}

/// The item that is open besides calls.
enum Open {
    Nothing,
    Thinking(Thinking),
    Message(Message),
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Thinking(text) => self.thinking(text, out),
            Event::Signature { data, redacted, id } => {
                self.signature(data, *redacted, id.as_ref(), out);
            }
            Event::TextSignature(data) => self.text_signature(data, out),
            Event::Text(text) => self.say(text, false, out),
            Event::Refusal(text) => self.say(text, true, out),
            Event::Logprobs(array) => self.logprobs(array, out),
            Event::ToolStart {
                index,
                id,
                name,
                signature,
            } => self.call(*index, id.as_ref(), signature.as_ref(), name, out),
            Event::ToolArguments { index, fragment } => {
                if let Some(Some(call)) = self.calls.get_mut(*index) {
                    call.say(fragment, &mut self.events, out);
                }
            }
            Event::ToolEnd { index } => self.close_call(*index, "completed", out),
            Event::ToolCall {
                index,
                id,
                name,
                arguments,
                signature,
            } => {
                self.call(*index, id.as_ref(), signature.as_ref(), name, out);
                if let Some(Some(call)) = self.calls.get_mut(*index) {
                    call.say(&arguments.to_text(), &mut self.events, out);
                }
                self.close_call(*index, "completed", out);
            }
            Event::Sources(array) => self.sources = Some(array.clone().into_owned()),
            Event::Usage(usage) => self.usage.update(usage),
            Event::Finish { reason, .. } => self.finish = *reason,
            Event::End => self.end(out),
            Event::Failed(fault) => self.fail(fault, out),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Served { tier, .. } => self.frame.serve(tier.as_ref()),
            Event::Start { .. } | Event::Foreign | Event::Malformed | Event::Reframed => {}
        }
    }
}

impl Encoder {
    /// Writes the two events that a stream begins with, once.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            self.whole(kind, State::Begun, out);
        }
    }

    /// Writes an event that holds the response.
    fn whole(&mut self, kind: &str, state: State<'_>, out: &mut Vec<u8>) {
        self.events.open(kind, out);
        out.extend_from_slice(b",\"response\":");
        let items = self.items.iter().filter(|item| !item.is_empty());
        let write = |out: &mut Vec<u8>| {
            for (place, item) in items.enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(item);
            }
        };
        self.frame.write(state, write, out);
        close(out);
    }

    /// Returns the place of a new item.
    fn place(&mut self, out: &mut Vec<u8>) -> usize {
        self.begin(out);
        self.items.push(Vec::new());
        self.items.len() - 1
    }

    /// Ends the item that is open besides calls.
    fn close(&mut self, status: &str, out: &mut Vec<u8>) {
        let events = &mut self.events;
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Thinking(thinking) => {
                let place = thinking.index;
                self.items[place] = thinking.end(None, events, out);
            }
            Open::Message(mut message) => {
                message.close_part(&mut self.sources, events, out);
                let place = message.index;
                self.items[place] = message.end(status, events, out);
                if let Some(data) = self.held.take() {
                    self.prove_text(&data, out);
                }
            }
        }
    }

    fn thinking(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Open::Thinking(_)) {
            self.open_thinking(None, false, out);
        }
        if let Open::Thinking(thinking) = &mut self.open {
            thinking.say(text, &mut self.events, out);
        }
    }

    fn open_thinking(&mut self, id: Option<&Text<'_>>, redacted: bool, out: &mut Vec<u8>) {
        self.close("completed", out);
        let place = self.place(out);
        let id = thought_id(&self.reply, place, id, redacted);
        self.open = Open::Thinking(Thinking::begin(place, id, &mut self.events, out));
    }

    fn signature(
        &mut self,
        data: &Text<'_>,
        redacted: bool,
        id: Option<&Text<'_>>,
        out: &mut Vec<u8>,
    ) {
        if redacted || !matches!(self.open, Open::Thinking(_)) {
            self.open_thinking(id, redacted, out);
        }
        if let Open::Thinking(thinking) = std::mem::replace(&mut self.open, Open::Nothing) {
            let place = thinking.index;
            self.items[place] = thinking.end(Some(data.as_escaped()), &mut self.events, out);
        }
    }

    /// Writes an item of its own, which does not part the text that it signs.
    fn text_signature(&mut self, data: &Text<'_>, out: &mut Vec<u8>) {
        match self.open {
            Open::Message(_) => self.held = Some(data.as_escaped().to_owned()),
            _ => self.prove_text(data.as_escaped(), out),
        }
    }

    fn prove_text(&mut self, data: &str, out: &mut Vec<u8>) {
        self.open_thinking(None, false, out);
        if let Open::Thinking(thinking) = std::mem::replace(&mut self.open, Open::Nothing) {
            let place = thinking.index;
            self.items[place] = thinking.end(Some(data), &mut self.events, out);
        }
    }

    fn say(&mut self, text: &Text<'_>, refusal: bool, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.open_part(refusal, out);
        if let Open::Message(message) = &mut self.open {
            message.say(text, &mut self.events, out);
        }
    }

    /// Makes a part of this sort the one that is open.
    fn open_part(&mut self, refusal: bool, out: &mut Vec<u8>) {
        if matches!(&self.open, Open::Message(message) if message.is_at(refusal)) {
            return;
        }
        if !matches!(self.open, Open::Message(_)) {
            self.close("completed", out);
            let place = self.place(out);
            let id = message_id(&self.reply, place);
            self.has_message = true;
            self.open = Open::Message(Message::begin(place, id, &mut self.events, out));
        }
        if let Open::Message(message) = &mut self.open {
            // There is no part yet where the message has just begun.
            message.close_part(&mut self.sources, &mut self.events, out);
            message.open_part(refusal, &mut self.events, out);
        }
    }

    fn logprobs(&mut self, array: &Json<'_>, out: &mut Vec<u8>) {
        self.open_part(false, out);
        if let Open::Message(message) = &mut self.open {
            message.log(array, &mut self.events, out);
        }
    }

    fn call(
        &mut self,
        index: usize,
        id: Option<&Text<'_>>,
        signature: Option<&Text<'_>>,
        name: &Text<'_>,
        out: &mut Vec<u8>,
    ) {
        self.close("completed", out);
        let place = self.place(out);
        let called = Called::new(&self.reply, (index, place), id, signature, name);
        let call = Call::begin(place, called, &mut self.events, out);
        if self.calls.len() <= index {
            self.calls.resize_with(index + 1, || None);
        }
        self.calls[index] = Some(call);
    }

    fn close_call(&mut self, index: usize, status: &str, out: &mut Vec<u8>) {
        if let Some(call) = self.calls.get_mut(index).and_then(Option::take) {
            let place = call.index;
            self.items[place] = call.end(status, &mut self.events, out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.ended = true;
        self.begin(out);
        if needs_message(self.finish, self.has_message, !self.calls.is_empty()) {
            self.open_part(false, out);
        }
        let status = status(self.finish);
        self.close(status, out);
        for index in 0..self.calls.len() {
            self.close_call(index, status, out);
        }
        let kind = match status {
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        let usage = self.usage;
        self.whole(kind, State::Ended(self.finish, &usage), out);
    }

    /// Tells a failure. Within an answer it is the response that fails; before one there is none.
    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        self.ended = true;
        if self.begun {
            return self.whole("response.failed", State::Failed(fault), out);
        }
        self.events.open("error", out);
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(error_code(fault).as_bytes());
        out.extend_from_slice(b"\",\"message\":");
        write_string(&fault.message, out);
        out.extend_from_slice(b",\"param\":");
        match &fault.param {
            Some(param) => write_string(param, out),
            None => out.extend_from_slice(b"null"),
        }
        close(out);
    }
}

/// Returns whether an answer without words has a message all the same: clients look for its text.
pub(super) fn needs_message(finish: Finish, has_message: bool, has_calls: bool) -> bool {
    finish == Finish::Stop && !has_message && !has_calls
}
