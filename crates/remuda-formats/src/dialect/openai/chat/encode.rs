//! A streamed answer as `chat.completion.chunk` events.

use std::io::Write as _;

use super::super::frame::{self, Served};
use super::super::input::Input;
use super::super::place::{Place, Told};
use super::super::{details, error, sources, usage};
use super::finish_reason;
use crate::dialect::exchange::Reply;
use crate::dialect::signature;
use crate::ir::{CallHead, Encode, Event, Finish, Json, Special, Text, Thought, Usage};
use crate::preferences::ReasoningField;

/// Writes the stream of one answer.
pub fn encoder(reply: Reply) -> Box<dyn Encode> {
    Box::new(Encoder::new(reply))
}

struct Encoder {
    reply: Reply,
    /// `data: {…` up to the choices: the same in every chunk.
    head: Vec<u8>,
    begun: bool,
    ended: bool,
    /// The calls by their indexes.
    calls: Vec<Begun>,
    served: Served,
    /// Thoughts whose signature was told.
    signed: usize,
    told: Told,
    usage: Usage,
}

/// A call of which something was told.
enum Begun {
    /// Whether it has arguments yet.
    Function(bool),
    /// A call of a tool that takes plain text.
    Custom(Input),
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Start { .. } => self.begin(out),
            Event::Served { tier, fingerprint } => {
                self.served.note(tier, fingerprint, &mut self.head);
            }
            Event::Thinking(text) => self.thinking(text, out),
            Event::Signature { data, redacted, id } => {
                let place = self.told.thought();
                self.signature(data, *redacted, id, place, out);
            }
            Event::TextSignature(data) => {
                let place = self.told.signed_words();
                self.signature(data, false, &None, place, out);
            }
            Event::Text(text) => {
                self.told.text(text);
                self.text(b"{\"content\":", text, out);
            }
            Event::Refusal(text) => self.text(b"{\"refusal\":", text, out),
            Event::ToolStart { .. } => self.call(event.call_head(), None, out),
            Event::ToolCall { arguments, .. } => {
                self.call(event.call_head(), Some(arguments.to_text()), out);
            }
            Event::ToolArguments { index, fragment } => self.arguments(*index, fragment, out),
            Event::ToolEnd { index } => self.close(*index, out),
            Event::Logprobs(array) => self.logprobs(array, out),
            Event::Sources(array) => self.sources(array, out),
            Event::Usage(usage) => self.usage.update(usage),
            Event::Finish { reason, .. } => self.finish(*reason, out),
            Event::End => self.end(out),
            Event::Failed(fault) => {
                self.ended = true;
                out.extend_from_slice(b"data: ");
                error::write_error(fault, out);
                out.extend_from_slice(b"\n\n");
            }
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Foreign | Event::Malformed | Event::Reframed => {}
        }
    }
}

impl Encoder {
    fn new(reply: Reply) -> Self {
        let mut head = b"data: ".to_vec();
        head.extend(frame::open("chatcmpl-", "chat.completion.chunk", &reply));
        Encoder {
            head,
            begun: false,
            ended: false,
            calls: Vec::new(),
            served: Served::default(),
            signed: 0,
            told: Told::default(),
            usage: Usage::default(),
            reply,
        }
    }

    /// Writes the chunk that tells the role, once.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            self.open(out);
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}");
            self.shut(b"null", out);
        }
    }

    /// Writes a chunk up to its delta.
    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":");
    }

    /// Writes the rest of a chunk after its delta; `finish` is JSON.
    fn shut(&self, finish: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        out.extend_from_slice(finish);
        out.extend_from_slice(b"}]");
        self.close_chunk(out);
    }

    fn close_chunk(&self, out: &mut Vec<u8>) {
        if self.reply.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn text(&mut self, key: &[u8], text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.begin(out);
        self.open(out);
        out.extend_from_slice(key);
        text.write(out);
        out.push(b'}');
        self.shut(b"null", out);
    }

    fn thinking(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.told.thinking(text);
        self.begin(out);
        self.open(out);
        out.push(b'{');
        write_reasoning(self.reply.reasoning_field, text, out);
        out.push(b'}');
        self.shut(b"null", out);
    }

    /// The text has been told; what a client must send back with it is its proof.
    fn signature(
        &mut self,
        data: &Text<'_>,
        redacted: bool,
        id: &Option<Text<'_>>,
        place: Place,
        out: &mut Vec<u8>,
    ) {
        self.begin(out);
        self.open(out);
        out.extend_from_slice(b"{\"reasoning_details\":[");
        let thought = Thought {
            text: Text::default(),
            signature: Some(data.borrow()),
            redacted,
            id: id.as_ref().map(Text::borrow),
        };
        details::write_placed(&thought, place, self.signed, false, out);
        self.signed += 1;
        out.extend_from_slice(b"]}");
        self.shut(b"null", out);
    }

    fn call(&mut self, head: Option<CallHead<'_>>, whole: Option<Text<'_>>, out: &mut Vec<u8>) {
        let Some(head) = head else { return };
        let CallHead { index, name, .. } = head;
        if self.reply.functions && index > 0 {
            // There is room for one.
            return;
        }
        self.told.call();
        self.begin(out);
        let mut begun = if is_custom(&self.reply, name) {
            Begun::Custom(Input::default())
        } else {
            Begun::Function(whole.as_ref().is_some_and(|text| !text.is_empty()))
        };
        let mut said = whole.unwrap_or_default();
        if let Begun::Custom(input) = &mut begun {
            said = input.feed(&said);
        }
        if self.calls.len() <= index {
            self.calls.resize_with(index + 1, || Begun::Function(true));
        }
        self.calls[index] = begun;
        self.open(out);
        if self.reply.functions {
            out.extend_from_slice(b"{\"function_call\":{\"name\":");
            name.write(out);
            out.extend_from_slice(b",\"arguments\":");
            said.write(out);
            out.extend_from_slice(b"}}");
        } else {
            write!(out, "{{\"tool_calls\":[{{\"index\":{index},").expect(CANNOT_FAIL);
            write_call(&self.reply, head, out);
            said.write(out);
            out.extend_from_slice(b"}}]}");
        }
        self.shut(b"null", out);
    }

    fn arguments(&mut self, index: usize, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if self.reply.functions && index > 0 {
            return;
        }
        match self.calls.get_mut(index) {
            Some(Begun::Custom(input)) => {
                let text = input.feed(fragment);
                self.add(index, CUSTOM, &text, out);
            }
            Some(Begun::Function(has)) => {
                *has |= !fragment.is_empty();
                self.add(index, FUNCTION, fragment, out);
            }
            None => self.add(index, FUNCTION, fragment, out),
        }
    }

    /// Writes a piece of what a call says.
    fn add(&mut self, index: usize, keys: &str, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.open(out);
        if self.reply.functions {
            out.extend_from_slice(b"{\"function_call\":{\"arguments\":");
            text.write(out);
            out.extend_from_slice(b"}}");
        } else {
            write!(out, "{{\"tool_calls\":[{{\"index\":{index},\"{keys}\":").expect(CANNOT_FAIL);
            text.write(out);
            out.extend_from_slice(b"}}]}");
        }
        self.shut(b"null", out);
    }

    /// A call without arguments has the text `{}`: clients parse it.
    fn close(&mut self, index: usize, out: &mut Vec<u8>) {
        match self.calls.get_mut(index) {
            Some(Begun::Function(false)) => self.arguments(index, &Text::escaped("{}"), out),
            Some(Begun::Custom(input)) => {
                let rest = input.finish();
                self.add(index, CUSTOM, &rest, out);
            }
            Some(Begun::Function(true)) | None => {}
        }
    }

    fn logprobs(&mut self, array: &Json<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        self.open(out);
        out.extend_from_slice(b"{},\"logprobs\":{\"content\":");
        array.write(out);
        out.extend_from_slice(b",\"refusal\":null},\"finish_reason\":null}]");
        self.close_chunk(out);
    }

    fn sources(&mut self, array: &Json<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        self.open(out);
        out.extend_from_slice(b"{},\"logprobs\":null,\"finish_reason\":null}]");
        sources::write(array, out);
        self.close_chunk(out);
    }

    fn finish(&mut self, reason: Finish, out: &mut Vec<u8>) {
        self.begin(out);
        for index in 0..self.calls.len() {
            self.close(index, out);
        }
        self.open(out);
        out.extend_from_slice(b"{}");
        let reason = finish_reason(reason, self.reply.functions);
        self.shut(reason.as_bytes(), out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.ended = true;
        if self.reply.include_usage {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b",\"choices\":[],\"usage\":");
            usage::write(&self.usage, out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// Where the pieces of a call stand.
const FUNCTION: &str = "function\":{\"arguments";
const CUSTOM: &str = "custom\":{\"input";

const CANNOT_FAIL: &str = "writing to a vector cannot fail";

/// Writes `"reasoning":…`, `"reasoning_content":…` or both.
pub(super) fn write_reasoning(field: ReasoningField, text: &Text<'_>, out: &mut Vec<u8>) {
    if field != ReasoningField::ReasoningContent {
        out.extend_from_slice(b"\"reasoning\":");
        text.write(out);
    }
    if field == ReasoningField::Both {
        out.push(b',');
    }
    if field != ReasoningField::Reasoning {
        out.extend_from_slice(b"\"reasoning_content\":");
        text.write(out);
    }
}

/// Returns whether the client offered the tool as one that takes plain text.
pub(super) fn is_custom(reply: &Reply, name: &Text<'_>) -> bool {
    let tool = reply.tools.find(name);
    tool.is_some_and(|tool| matches!(tool.kind, Special::Custom { .. }))
}

/// Writes `"id":…,"type":"function","function":{"name":…,"arguments":`, with an id of the gateway's own where there is
/// none, or the same of a custom tool and its `input`.
pub(super) fn write_call(reply: &Reply, head: CallHead<'_>, out: &mut Vec<u8>) {
    let CallHead {
        index,
        id,
        name,
        signature,
    } = head;
    let id = match id.filter(|id| !id.is_empty()) {
        Some(id) => id.borrow(),
        None => Text::escaped(format!("call_{}_{index}", reply.id)),
    };
    out.extend_from_slice(b"\"id\":");
    signature::pack(id, signature).write(out);
    let (kind, said) = if is_custom(reply, name) {
        ("custom", "input")
    } else {
        ("function", "arguments")
    };
    write!(out, ",\"type\":\"{kind}\",\"{kind}\":{{\"name\":").expect(CANNOT_FAIL);
    name.write(out);
    write!(out, ",\"{said}\":").expect(CANNOT_FAIL);
}
