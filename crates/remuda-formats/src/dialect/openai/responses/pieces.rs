//! The events of one item, from its announcement to its end.

use std::borrow::Cow;
use std::io::Write as _;

use super::super::input::Input;
use super::called::{Called, Sort};
use super::output::{self, Said};
use crate::ir::{Json, Text};

const CANNOT_FAIL: &str = "writing to a vector cannot fail";

/// Numbers the events of a stream.
#[derive(Default)]
pub(super) struct Events {
    next: u64,
}

impl Events {
    /// Begins an event; its other fields follow, each after a comma, and [`close`].
    pub(super) fn open(&mut self, kind: &str, out: &mut Vec<u8>) {
        for part in ["event: ", kind, "\ndata: {\"type\":\"", kind] {
            out.extend_from_slice(part.as_bytes());
        }
        write!(out, "\",\"sequence_number\":{}", self.next).expect(CANNOT_FAIL);
        self.next += 1;
    }

    /// Writes the same, of an item.
    fn of(&mut self, kind: &str, id: &str, index: usize, out: &mut Vec<u8>) {
        self.open(kind, out);
        write!(out, ",\"item_id\":\"{id}\",\"output_index\":{index}").expect(CANNOT_FAIL);
    }

    /// Writes an event that holds an item.
    fn item(
        &mut self,
        kind: &str,
        index: usize,
        write: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        self.open(kind, out);
        write!(out, ",\"output_index\":{index},\"item\":").expect(CANNOT_FAIL);
        write(out);
        close(out);
    }

    fn added(&mut self, index: usize, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        self.item("response.output_item.added", index, write, out);
    }

    /// Returns what the item has become.
    fn done(
        &mut self,
        index: usize,
        write: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Vec<u8> {
        let mut item = Vec::new();
        write(&mut item);
        self.item(
            "response.output_item.done",
            index,
            |out| out.extend_from_slice(&item),
            out,
        );
        item
    }
}

pub(super) fn close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n\n");
}

fn field(name: &str, text: &str, out: &mut Vec<u8>) {
    for part in [",\"", name, "\":\"", text, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A message that is being told.
pub(super) struct Message {
    pub(super) index: usize,
    id: String,
    /// The last one is open.
    parts: Vec<Said<'static>>,
}

impl Message {
    pub(super) fn begin(index: usize, id: String, events: &mut Events, out: &mut Vec<u8>) -> Self {
        let write = |out: &mut Vec<u8>| output::write_message(&id, "in_progress", &[], out);
        events.added(index, write, out);
        Message {
            index,
            id,
            parts: Vec::new(),
        }
    }

    /// Returns whether the part that is open is of this sort.
    pub(super) fn is_at(&self, refusal: bool) -> bool {
        self.parts
            .last()
            .is_some_and(|part| part.refusal == refusal)
    }

    pub(super) fn open_part(&mut self, refusal: bool, events: &mut Events, out: &mut Vec<u8>) {
        self.parts.push(Said {
            refusal,
            ..Said::default()
        });
        self.part_event("response.content_part.added", events, out);
    }

    fn part_event(&self, kind: &str, events: &mut Events, out: &mut Vec<u8>) {
        let Some(part) = self.parts.last() else {
            return;
        };
        self.of_part(kind, events, out);
        out.extend_from_slice(b",\"part\":");
        part.write(out);
        close(out);
    }

    fn of_part(&self, kind: &str, events: &mut Events, out: &mut Vec<u8>) {
        events.of(kind, &self.id, self.index, out);
        let place = self.parts.len().saturating_sub(1);
        write!(out, ",\"content_index\":{place}").expect(CANNOT_FAIL);
    }

    pub(super) fn say(&mut self, text: &Text<'_>, events: &mut Events, out: &mut Vec<u8>) {
        let Some(part) = self.parts.last_mut() else {
            return;
        };
        part.text.to_mut().push_str(text.as_escaped());
        let refusal = part.refusal;
        self.of_part(
            if refusal {
                "response.refusal.delta"
            } else {
                "response.output_text.delta"
            },
            events,
            out,
        );
        field("delta", text.as_escaped(), out);
        if !refusal {
            out.extend_from_slice(b",\"logprobs\":[]");
        }
        close(out);
    }

    /// Tells log probabilities by a delta without text: they come apart from the text that they belong to.
    pub(super) fn log(&mut self, array: &Json<'_>, events: &mut Events, out: &mut Vec<u8>) {
        let Some(part) = self.parts.last_mut() else {
            return;
        };
        output::add_logprobs(array, part.logprobs.to_mut());
        self.of_part("response.output_text.delta", events, out);
        out.extend_from_slice(b",\"delta\":\"\",\"logprobs\":");
        array.write(out);
        close(out);
    }

    pub(super) fn close_part(
        &mut self,
        sources: &mut Option<Json<'static>>,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) {
        let Some(part) = self.parts.last_mut() else {
            return;
        };
        if let Some(sources) = sources.take_if(|_| !part.refusal) {
            part.annotations = output::annotations(&sources);
        }
        let Some(part) = self.parts.last() else {
            return;
        };
        for (place, citation) in part.annotations.iter().enumerate() {
            self.of_part("response.output_text.annotation.added", events, out);
            write!(out, ",\"annotation_index\":{place},\"annotation\":").expect(CANNOT_FAIL);
            out.extend_from_slice(citation);
            close(out);
        }
        let (kind, name) = if part.refusal {
            ("response.refusal.done", "refusal")
        } else {
            ("response.output_text.done", "text")
        };
        self.of_part(kind, events, out);
        field(name, &part.text, out);
        if !part.refusal {
            out.extend_from_slice(b",\"logprobs\":");
            part.write_logprobs(out);
        }
        close(out);
        self.part_event("response.content_part.done", events, out);
    }

    /// Ends the item, whose last part must be closed.
    pub(super) fn end(self, status: &str, events: &mut Events, out: &mut Vec<u8>) -> Vec<u8> {
        let write = |out: &mut Vec<u8>| output::write_message(&self.id, status, &self.parts, out);
        events.done(self.index, write, out)
    }
}

/// A reasoning item that is being told.
pub(super) struct Thinking {
    pub(super) index: usize,
    id: String,
    text: String,
}

impl Thinking {
    pub(super) fn begin(index: usize, id: String, events: &mut Events, out: &mut Vec<u8>) -> Self {
        let write = |out: &mut Vec<u8>| output::write_thought(&id, "", None, out);
        events.added(index, write, out);
        Thinking {
            index,
            id,
            text: String::new(),
        }
    }

    fn of_summary(&self, kind: &str, events: &mut Events, out: &mut Vec<u8>) {
        events.of(kind, &self.id, self.index, out);
        out.extend_from_slice(b",\"summary_index\":0");
    }

    fn part_event(&self, kind: &str, events: &mut Events, out: &mut Vec<u8>) {
        self.of_summary(kind, events, out);
        out.extend_from_slice(b",\"part\":");
        output::write_summary(&self.text, out);
        close(out);
    }

    pub(super) fn say(&mut self, text: &Text<'_>, events: &mut Events, out: &mut Vec<u8>) {
        if self.text.is_empty() {
            self.part_event("response.reasoning_summary_part.added", events, out);
        }
        self.text.push_str(text.as_escaped());
        self.of_summary("response.reasoning_summary_text.delta", events, out);
        field("delta", text.as_escaped(), out);
        close(out);
    }

    pub(super) fn end(
        self,
        signature: Option<&str>,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) -> Vec<u8> {
        if !self.text.is_empty() {
            self.of_summary("response.reasoning_summary_text.done", events, out);
            field("text", &self.text, out);
            close(out);
            self.part_event("response.reasoning_summary_part.done", events, out);
        }
        let write = |out: &mut Vec<u8>| output::write_thought(&self.id, &self.text, signature, out);
        events.done(self.index, write, out)
    }
}

/// A call that is being told.
pub(super) struct Call {
    pub(super) index: usize,
    called: Called,
    /// What was said to the tool so far.
    said: String,
    /// The input of a custom tool.
    input: Input,
}

impl Call {
    pub(super) fn begin(
        index: usize,
        called: Called,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) -> Self {
        let write = |out: &mut Vec<u8>| called.write("in_progress", "", out);
        events.added(index, write, out);
        Call {
            index,
            called,
            said: String::new(),
            input: Input::default(),
        }
    }

    /// Writes a piece of the function's arguments.
    pub(super) fn say(&mut self, fragment: &Text<'_>, events: &mut Events, out: &mut Vec<u8>) {
        match self.called.sort {
            Sort::Custom => {
                let text = self.input.feed(fragment);
                self.tell(&text, events, out);
            }
            Sort::Function | Sort::Search => self.tell(fragment, events, out),
        }
    }

    fn tell(&mut self, text: &Text<'_>, events: &mut Events, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.said.push_str(text.as_escaped());
        let kind = match self.called.sort {
            Sort::Function => "response.function_call_arguments.delta",
            Sort::Custom => "response.custom_tool_call_input.delta",
            // It is told when it is whole.
            Sort::Search => return,
        };
        events.of(kind, &self.called.id, self.index, out);
        field("delta", text.as_escaped(), out);
        close(out);
    }

    pub(super) fn end(mut self, status: &str, events: &mut Events, out: &mut Vec<u8>) -> Vec<u8> {
        match self.called.sort {
            Sort::Function => {
                // A call without arguments has the text `{}`: clients parse it.
                if self.said.is_empty() {
                    self.tell(&Text::escaped(Cow::Borrowed("{}")), events, out);
                }
                let kind = "response.function_call_arguments.done";
                events.of(kind, &self.called.id, self.index, out);
                field("name", &self.called.name, out);
                field("arguments", &self.said, out);
                close(out);
            }
            Sort::Custom => {
                let rest = self.input.finish();
                self.tell(&rest, events, out);
                let kind = "response.custom_tool_call_input.done";
                events.of(kind, &self.called.id, self.index, out);
                field("input", &self.said, out);
                close(out);
            }
            Sort::Search => {}
        }
        let write = |out: &mut Vec<u8>| self.called.write(status, &self.said, out);
        events.done(self.index, write, out)
    }
}
