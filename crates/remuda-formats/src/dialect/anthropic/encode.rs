//! A streamed answer as a client reads it: one block at a time, each begun and ended, every event with its name.

use std::collections::VecDeque;
use std::io::Write;

use ahash::AHashMap;

use super::error;
use super::usage::{self, stop_reason};
use crate::dialect::exchange::Reply;
use crate::dialect::signature;
use crate::ir::{CallHead, Encode, Event, Finish, Text, Usage};

/// Writes a streamed answer.
pub fn encoder(reply: Reply) -> Box<dyn Encode> {
    Box::new(Encoder {
        reply,
        begun: false,
        blocks: 0,
        open: Open::Nothing,
        waiting: VecDeque::new(),
        waiting_calls: AHashMap::new(),
        released: 0,
        held: Vec::new(),
        calls: 0,
        usage: Usage::default(),
        finish: None,
    })
}

struct Encoder {
    reply: Reply,
    begun: bool,
    /// Blocks begun so far.
    blocks: usize,
    open: Open,
    /// What came while a call was open: blocks do not overlap.
    waiting: VecDeque<Waiting>,
    /// Which of all that ever waited each call is, by its index.
    waiting_calls: AHashMap<usize, usize>,
    /// How many that waited have been told.
    released: usize,
    /// Proofs that came beside a text. They go before the next block, and never end the answer: clients take the last
    /// block for what was said.
    held: Vec<Proof>,
    /// Ids made so far.
    calls: usize,
    usage: Usage,
    finish: Option<(Finish, Option<String>)>,
}

/// The block that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Thinking,
    Text,
    /// The call with this index.
    Call(usize),
}

enum Waiting {
    Call {
        index: usize,
        id: String,
        name: String,
        arguments: String,
        ended: bool,
    },
    Text(String),
    Thinking(String),
    Proof(Proof),
}

/// What the provider needs to believe a thought: its signature, or a thought that is not shown.
struct Proof {
    data: String,
    redacted: bool,
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Text(text) | Event::Refusal(text) => self.text(text, out),
            Event::Thinking(text) => self.thinking(text, out),
            Event::Signature { data, redacted, .. } => {
                let data = data.as_escaped().to_owned();
                let redacted = *redacted;
                self.prove(Proof { data, redacted }, out);
            }
            Event::TextSignature(data) => {
                let data = data.as_escaped().to_owned();
                self.prove_text(data);
            }
            Event::ToolArguments { index, fragment } => self.arguments(*index, fragment, out),
            Event::ToolStart { .. } => self.call(event.call_head(), None, out),
            Event::ToolCall { arguments, .. } => {
                self.call(event.call_head(), Some(&arguments.to_text()), out);
            }
            Event::ToolEnd { index } => self.call_end(*index, out),
            Event::Usage(usage) => self.usage.update(usage),
            Event::Finish { reason, stop } => {
                let stop = stop.as_ref().map(|stop| stop.as_escaped().to_owned());
                self.finish = Some((*reason, stop));
            }
            Event::Ping if self.begun => {
                out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
            Event::End => self.end(out),
            Event::Failed(fault) => {
                out.extend_from_slice(b"event: error\ndata: ");
                error::write(fault, out);
                out.extend_from_slice(b"\n\n");
            }
            Event::Start { .. }
            | Event::Logprobs(_)
            | Event::Sources(_)
            | Event::Ping
            | Event::Served { .. }
            | Event::Foreign
            | Event::Malformed
            | Event::Reframed => {}
        }
    }
}

impl Encoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let _ = write!(
            out,
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_{}\",\"type\":\"message\",\
             \"role\":\"assistant\",\"model\":\"{}\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":",
            self.reply.id,
            self.reply.model.as_escaped()
        );
        usage::write(&self.known_usage(), out);
        out.extend_from_slice(b"}}\n\n");
    }

    /// Many providers tell what the prompt cost at the end alone, and some never.
    fn known_usage(&self) -> Usage {
        let estimate = Some(self.reply.prompt_estimate);
        Usage {
            prompt: self.usage.prompt.or(estimate),
            ..self.usage
        }
    }

    /// Begins a block of this kind unless it is open. False if a call is open, after which it has to wait.
    fn block(&mut self, kind: Open, start: &[u8], out: &mut Vec<u8>) -> bool {
        if self.open == kind {
            return true;
        }
        if matches!(self.open, Open::Call(_)) {
            return false;
        }
        self.close(out);
        self.tell_held(out);
        self.start_block(kind, start, out);
        true
    }

    fn start_block(&mut self, kind: Open, start: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        let _ = write!(
            out,
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{},\"content_block\":",
            self.blocks
        );
        out.extend_from_slice(start);
        out.extend_from_slice(b"}\n\n");
        self.blocks += 1;
        self.open = kind;
    }

    /// Writes a delta of the open block; `name` is its type and the name of its field.
    fn delta(&self, name: (&str, &str), text: &str, out: &mut Vec<u8>) {
        let _ = write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":\"{}\",\"{}\":\"",
            self.blocks - 1,
            name.0,
            name.1
        );
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\"}}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.open, Open::Nothing) != Open::Nothing {
            let _ = write!(
                out,
                "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{}}}\n\n",
                self.blocks - 1
            );
        }
    }

    fn text(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.block(Open::Text, b"{\"type\":\"text\",\"text\":\"\"}", out) {
            self.delta(("text_delta", "text"), text.as_escaped(), out);
            return;
        }
        match self.waiting.back_mut() {
            Some(Waiting::Text(before)) => before.push_str(text.as_escaped()),
            _ => self
                .waiting
                .push_back(Waiting::Text(text.as_escaped().to_owned())),
        }
    }

    fn thinking(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.thinking_block(out) {
            self.delta(("thinking_delta", "thinking"), text.as_escaped(), out);
            return;
        }
        match self.waiting.back_mut() {
            Some(Waiting::Thinking(before)) => before.push_str(text.as_escaped()),
            _ => self
                .waiting
                .push_back(Waiting::Thinking(text.as_escaped().to_owned())),
        }
    }

    fn thinking_block(&mut self, out: &mut Vec<u8>) -> bool {
        let start = b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}";
        self.block(Open::Thinking, start, out)
    }

    /// Ends a thought, or is one that is not shown.
    fn prove(&mut self, proof: Proof, out: &mut Vec<u8>) {
        match self.open {
            Open::Call(_) => self.waiting.push_back(Waiting::Proof(proof)),
            Open::Text => self.held.push(proof),
            Open::Thinking | Open::Nothing => self.write_proof(&proof, out),
        }
    }

    /// Belongs to the text that is open, or to the next one, and to no thought.
    fn prove_text(&mut self, data: String) {
        let redacted = false;
        let proof = Proof { data, redacted };
        match self.open {
            Open::Call(_) => self.waiting.push_back(Waiting::Proof(proof)),
            _ => self.held.push(proof),
        }
    }

    fn tell_held(&mut self, out: &mut Vec<u8>) {
        for proof in std::mem::take(&mut self.held) {
            self.close(out);
            self.write_proof(&proof, out);
        }
    }

    fn write_proof(&mut self, proof: &Proof, out: &mut Vec<u8>) {
        let Proof { data, redacted } = proof;
        if *redacted {
            self.close(out);
            let start = format!(r#"{{"type":"redacted_thinking","data":"{data}"}}"#);
            self.start_block(Open::Thinking, start.as_bytes(), out);
        } else if self.thinking_block(out) {
            self.delta(("signature_delta", "signature"), data, out);
        }
        // What is signed is whole.
        self.close(out);
    }

    fn call(&mut self, head: Option<CallHead<'_>>, whole: Option<&Text<'_>>, out: &mut Vec<u8>) {
        let Some(CallHead {
            index,
            id,
            name,
            signature,
        }) = head
        else {
            return;
        };
        let id = match id {
            Some(id) => id.clone(),
            None => {
                self.calls += 1;
                Text::escaped(format!("toolu_{}{:02}", self.reply.id, self.calls))
            }
        };
        let id = signature::pack(id, signature);
        if matches!(self.open, Open::Call(_)) {
            let place = self.released + self.waiting.len();
            self.waiting_calls.insert(index, place);
            self.waiting.push_back(Waiting::Call {
                index,
                id: id.as_escaped().to_owned(),
                name: name.as_escaped().to_owned(),
                arguments: whole.map_or_else(String::new, |text| text.as_escaped().to_owned()),
                ended: whole.is_some(),
            });
            return;
        }
        self.start_call(index, id.as_escaped(), name.as_escaped(), out);
        if let Some(whole) = whole {
            self.delta(
                ("input_json_delta", "partial_json"),
                whole.as_escaped(),
                out,
            );
            self.close(out);
        }
    }

    fn start_call(&mut self, index: usize, id: &str, name: &str, out: &mut Vec<u8>) {
        self.close(out);
        self.tell_held(out);
        let start = format!(r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{{}}}}"#);
        self.start_block(Open::Call(index), start.as_bytes(), out);
    }

    fn arguments(&mut self, index: usize, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if fragment.is_empty() {
            return;
        }
        if self.open == Open::Call(index) {
            self.delta(
                ("input_json_delta", "partial_json"),
                fragment.as_escaped(),
                out,
            );
            return;
        }
        if let Some(Waiting::Call { arguments, .. }) = self.waiting_call(index) {
            arguments.push_str(fragment.as_escaped());
        }
    }

    fn waiting_call(&mut self, wanted: usize) -> Option<&mut Waiting> {
        let place = self.waiting_calls.get(&wanted)?;
        self.waiting.get_mut(place.checked_sub(self.released)?)
    }

    fn call_end(&mut self, index: usize, out: &mut Vec<u8>) {
        if self.open == Open::Call(index) {
            self.close(out);
            self.release(false, out);
        } else if let Some(Waiting::Call { ended, .. }) = self.waiting_call(index) {
            *ended = true;
        }
    }

    /// Writes what has waited, up to the next call that is not whole; all of it at the end.
    fn release(&mut self, all: bool, out: &mut Vec<u8>) {
        while let Some(item) = self.waiting.pop_front() {
            self.released += 1;
            match item {
                Waiting::Text(text) => self.text(&Text::escaped(text), out),
                Waiting::Thinking(text) => self.thinking(&Text::escaped(text), out),
                Waiting::Proof(proof) if self.open == Open::Thinking => self.prove(proof, out),
                Waiting::Proof(proof) => self.held.push(proof),
                Waiting::Call {
                    index,
                    id,
                    name,
                    arguments,
                    ended,
                } => {
                    self.start_call(index, &id, &name, out);
                    if !arguments.is_empty() {
                        self.delta(("input_json_delta", "partial_json"), &arguments, out);
                    }
                    if !ended && !all {
                        break;
                    }
                    self.close(out);
                }
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        self.release(true, out);
        self.close(out);
        let (reason, stop) = self.finish.take().unwrap_or((Finish::Stop, None));
        let _ = write!(
            out,
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{}\",\"stop_sequence\":",
            stop_reason(reason, stop.is_some())
        );
        match stop {
            Some(stop) => Text::escaped(stop).write(out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"},\"usage\":");
        usage::write(&self.known_usage(), out);
        out.extend_from_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}
