//! How an answer that passes ends: with its body, without the end of it, or broken off.

use super::super::answer::Ending;
use super::super::pending::completion;
use super::reading::{Fate, Reading};
use super::{Passing, Shape, Stream, forms, plain, shape, told};
use crate::client::{ErrorStyle, Operation};
use crate::dialect::ollama::STREAM_BROKEN;
use crate::ir::{Class, Event, Fault, FaultKind, ToolNames, Usage};
use crate::wire::ndjson::BYTE_ORDER_MARK;
use crate::wire::units::StreamUnit;

impl Passing {
    /// Ends the answer when its body has come to its end. Returns the last bytes for the client.
    pub fn finish(&mut self) -> (Ending, &[u8]) {
        self.out.clear();
        match &mut self.shape {
            Shape::Unread => {
                self.seen.begun = true;
                self.seen.ended = true;
            }
            Shape::Large(skim) => {
                self.seen.ended = true;
                if let Some(members) = std::mem::take(&mut **skim).finish() {
                    self.seen.usage.update(&plain::usage_of(&members));
                }
            }
            Shape::Whole(held) => {
                self.out = std::mem::take(held);
                self.finish_whole();
            }
            Shape::Stream(_) if !self.seen.over() => self.finish_stream(),
            Shape::Stream(_) => {}
        }
        let ending = match self.seen.fault {
            Some(_) => Ending::Failed,
            None => Ending::Complete,
        };
        (ending, &self.out)
    }

    /// Returns whether the answer lacks nothing but the end of its last line or event, or of its body's framing.
    pub fn nearly_over(&mut self) -> bool {
        let over = self.seen.over();
        match &mut self.shape {
            Shape::Stream(stream) if !over => {
                let Stream {
                    cutter,
                    decoder,
                    pending,
                    ..
                } = &mut **stream;
                pending.is_last(cutter) || (cutter.is_between() && decoder.lacks_nothing())
            }
            Shape::Whole(held) if !over => self.pending.is_whole(held),
            _ => false,
        }
    }

    /// Settles an answer of which nothing comes any more although the body is open. Returns the last bytes for the
    /// client if the answer is over for all that.
    pub fn settle(&mut self) -> Option<&[u8]> {
        self.out.clear();
        if self.nearly_over() {
            match std::mem::replace(&mut self.shape, Shape::Unread) {
                Shape::Whole(held) => {
                    self.out = held;
                    self.finish_whole();
                }
                shape => {
                    self.shape = shape;
                    self.finish_stream();
                }
            }
            return Some(&self.out);
        }
        let over = self.seen.over();
        match &mut self.shape {
            Shape::Stream(stream) if !over && stream.cutter.is_between() => {
                let seen = &mut self.seen;
                stream.decoder.finish(&mut |event| match event {
                    // Why it is none is known better.
                    Event::Failed(_) => {}
                    event => seen.event(&event),
                });
                seen.end_unit();
            }
            _ => return None,
        }
        if !self.seen.ended {
            return None;
        }
        self.out.extend_from_slice(terminator(self.operation));
        Some(&self.out)
    }

    fn finish_whole(&mut self) {
        let (seen, body) = (&mut self.seen, &mut self.out);
        if body.starts_with(BYTE_ORDER_MARK) {
            // Few libraries read it over.
            body.drain(..BYTE_ORDER_MARK.len());
        }
        let body = &*body;
        if forms::chat_of(self.operation).is_some() && std::str::from_utf8(body).is_err() {
            let what = "the provider's answer is not valid UTF-8";
            seen.fault = Some(Fault::garbled(what));
            return;
        }
        let mut emit = |event: Event<'_>| seen.event(&event);
        match forms::chat_of(self.operation) {
            Some(_)
                if matches!(self.operation, Operation::Chat | Operation::Generate)
                    && plain::is_rendered(body) =>
            {
                emit(Event::Foreign);
                emit(Event::End);
            }
            // Its client asks for the answer later.
            Some(_)
                if self.operation == Operation::OpenAiResponses
                    && plain::is_in_background(body) =>
            {
                emit(Event::Foreign);
                emit(Event::End);
            }
            Some(chat) => forms::read_whole(chat, body, &ToolNames::default(), &mut emit),
            None => plain::read_whole(self.operation, body, self.plain, self.vectors, &mut emit),
        }
        seen.end_unit();
        seen.conclude();
        if seen.is_garbled() && shape::is_of_clients(self.operation, body) {
            seen.accept(&plain::usage_of(body));
        }
        if self.seen.failed_by_its_own_words() {
            let told = told::is_told_whole(self.operation, &self.out);
            self.failing = self.seen.words(self.operation, told, &self.out);
        }
    }

    fn finish_stream(&mut self) {
        let Shape::Stream(stream) = &mut self.shape else {
            return;
        };
        let Stream {
            cutter,
            decoder,
            begun,
            ..
        } = &mut **stream;
        let inside = cutter.inside();
        let unit = cutter.unit();
        let mut rest = cutter.finish();
        if !std::mem::replace(begun, true) && rest.starts_with(BYTE_ORDER_MARK) {
            rest.drain(..BYTE_ORDER_MARK.len());
        }
        if unit == StreamUnit::Line && plain::is_rendered(&rest) {
            self.seen.accept(&Usage::default());
            self.out = rest;
            return;
        }
        let mut reading = Reading {
            operation: self.operation,
            uncounted: self.uncounted,
            decoder: &mut **decoder,
            care: &mut self.care,
            seen: &mut self.seen,
            failing: &mut self.failing,
            mended: Vec::new(),
            sent: self.sent.as_deref_mut(),
            untold: &mut self.untold,
        };
        let torn = !rest.is_empty() && read_last(&mut reading, unit, rest, &mut self.out);
        if reading.seen.over() {
            return;
        }
        if torn {
            reading.seen.conclude();
        } else {
            reading.end();
        }
        if reading.seen.fault.is_some() {
            let end = if inside {
                ErrorStyle::of(self.operation).stream_end(502, STREAM_BROKEN, true)
            } else {
                reading.complaint().into()
            };
            if reading.is_interrupted() {
                // What goes on begins with a line of its own.
                if unit == StreamUnit::Line && self.out.last().is_some_and(|last| *last != b'\n') {
                    self.out.push(b'\n');
                }
                reading.untold.extend_from_slice(&end);
            } else {
                self.out.extend_from_slice(&end);
            }
        } else {
            // The provider left it out, and has said all the same that it was done.
            self.out.extend_from_slice(terminator(self.operation));
        }
    }

    /// Ends the client's stream with an error in place of what the provider did not send, and returns its last bytes.
    pub fn break_off(&mut self, text: &'static str) -> &[u8] {
        let inside = match &self.shape {
            Shape::Stream(stream) => stream.cutter.inside(),
            _ => false,
        };
        let fault = Fault::new(Class::Transient, FaultKind::Incomplete, text);
        self.seen.fault.get_or_insert(fault);
        let end = ErrorStyle::of(self.operation).stream_end(502, text, inside);
        self.out = end.into();
        &self.out
    }
}

/// Reads the last line or event, whose end is missing, and appends what of it passes. Returns whether it was torn.
fn read_last(
    reading: &mut Reading<'_>,
    unit: StreamUnit,
    mut rest: Vec<u8>,
    out: &mut Vec<u8>,
) -> bool {
    let bare = rest.len();
    // An event without its blank line is none to most libraries; a line without its newline is one.
    rest.extend_from_slice(completion(unit, &rest));
    let before = reading.seen.malformed;
    let fate = reading.unit(&rest);
    // The beginning of one whose end was lost is nothing that the provider got wrong, but where it broke off.
    let torn = reading.seen.malformed > before;
    reading.seen.malformed = before;
    match fate {
        Fate::Passes if unit == StreamUnit::Line => out.extend_from_slice(&rest[..bare]),
        Fate::Passes => out.extend_from_slice(&rest),
        Fate::Mended => out.extend_from_slice(&reading.mended),
        Fate::LeftOut => {}
        Fate::Untold => out.extend_from_slice(&reading.complaint()),
    }
    torn
}

/// Returns what ends a stream, where it says nothing that has not been said before.
fn terminator(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::OpenAiChat | Operation::OpenAiCompletions => b"data: [DONE]\n\n",
        Operation::AnthropicMessages => {
            b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        }
        _ => b"",
    }
}
