//! What has been seen of an answer, and the events on their way to the client.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::halves::Halves;
use super::super::resume::proof::Told;
use super::super::resume::sent::Sent;
use super::super::stops::{Passed, Stops};
use super::second::Second;
use crate::dialect::form::{ClientChat, ClientEmbeddings};
use crate::ir::{Assembler, Embeddings, Encode, Event, Fault, Finish, Text, Usage};

pub(super) enum Sink {
    Stream(Box<dyn Encode>),
    Whole(&'static ClientChat, Box<Assembler>),
    /// What earlier calls gave.
    Vectors(&'static ClientEmbeddings, Embeddings),
}

/// What has been seen of the answer.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) halves: Halves,
    pub(super) stops: Option<Stops>,
    pub(super) usage: Usage,
    pub(super) content_events: u64,
    /// Bytes of text, reasoning and arguments.
    pub(super) said: u64,
    pub(super) calls: bool,
    /// The ids of the calls so far, as they stand in JSON.
    pub(super) ids: HashSet<Box<str>>,
    pub(super) finished: bool,
    pub(super) ended: bool,
    pub(super) fault: Option<Fault>,
    /// Events of the provider's that could not be read and were passed over.
    pub(super) malformed: u64,
    /// The gateway has ended the answer itself; nothing more of the provider's is wanted.
    pub(super) cut: bool,
    /// What its client has been told, where the answer may go on elsewhere.
    pub(super) sent: Option<Box<Sent>>,
    /// The fault has not been told, as the answer may go on elsewhere.
    pub(super) untold: bool,
    /// What its client has of the answer already, where it was begun elsewhere.
    pub(super) second: Option<Box<Second>>,
}

impl Progress {
    /// Passes an event on, in whole characters.
    pub(super) fn pass(&mut self, event: Event<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        let mut halves = std::mem::take(&mut self.halves);
        halves.pass(event, &mut |event| self.pass_whole(event, sink, out));
        self.halves = halves;
    }

    /// Passes an event on, put right where providers differ in what they mean.
    fn pass_whole(&mut self, event: Event<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        if self.ended || self.fault.is_some() {
            return;
        }
        if let Event::Text(text)
        | Event::Thinking(text)
        | Event::Refusal(text)
        | Event::ToolArguments { fragment: text, .. } = &event
        {
            self.said += text.as_escaped().len() as u64;
        }
        let event = self.identified(event);
        match event {
            // Nothing reaches the client of it, so its answer has not begun.
            Event::Foreign | Event::Reframed => {}
            Event::Malformed => self.malformed += 1,
            Event::Text(text) if self.stops.is_some() => self.pass_text(&text, sink, out),
            Event::Finish { reason, stop } => {
                self.release_held(sink, out);
                let reason = match reason {
                    // Ollama and Gemini say `stop` after a call as well.
                    Finish::Stop if self.calls => Finish::ToolCalls,
                    other => other,
                };
                self.finished = true;
                self.tell(Event::Finish { reason, stop }, sink, out);
            }
            event => {
                match &event {
                    Event::ToolStart { .. } | Event::ToolCall { .. } => {
                        self.release_held(sink, out);
                        self.calls = true;
                    }
                    Event::Usage(usage) => self.usage.update(usage),
                    Event::End => self.ended = true,
                    Event::Failed(fault) => {
                        self.fault = Some(fault.clone().into_owned());
                        self.untold = self.may_go_on();
                        if self.untold {
                            return;
                        }
                    }
                    _ => {}
                }
                self.content_events += u64::from(event.is_content() && !self.ended);
                self.tell(event, sink, out);
            }
        }
    }

    /// Takes away the id of a call that another has had; whoever writes the call makes a new one.
    fn identified<'e>(&mut self, mut event: Event<'e>) -> Event<'e> {
        if let Event::ToolStart { id, .. } | Event::ToolCall { id, .. } = &mut event
            && let Some(given) = id
            && !self.ids.insert(given.as_escaped().into())
        {
            *id = None;
        }
        event
    }

    fn pass_text(&mut self, text: &Text<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        let Some(stops) = &mut self.stops else {
            return;
        };
        let (passed, met) = match stops.feed(text) {
            Passed::Text(passed) => (passed, None),
            Passed::Stopped(passed, index) => (passed, Some(index)),
        };
        let met = met.map(|index| Text::plain(stops.string(index)).into_owned());
        if !passed.is_empty() {
            self.content_events += 1;
            self.tell(Event::Text(Text::plain(&passed)), sink, out);
        }
        if let Some(stop) = met {
            self.finished = true;
            self.ended = true;
            self.cut = true;
            let reason = Finish::Stop;
            let stop = Some(stop);
            self.tell(Event::Finish { reason, stop }, sink, out);
            self.tell(Event::Usage(self.usage), sink, out);
            self.tell(Event::End, sink, out);
        }
    }

    fn release_held(&mut self, sink: &mut Sink, out: &mut Vec<u8>) {
        let held = self.stops.as_mut().map(Stops::finish).unwrap_or_default();
        if !held.is_empty() {
            self.tell(Event::Text(Text::plain(&held)), sink, out);
        }
    }

    /// Returns whether the answer may go on elsewhere.
    pub(super) fn may_go_on(&self) -> bool {
        let sent = self.sent.as_ref();
        sent.is_some_and(|sent| sent.obstacle().is_none())
    }

    /// Has an event written, unless its client has what it says.
    fn tell(&mut self, event: Event<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        let event = match &mut self.second {
            None => event,
            Some(second) => match second.take(event, out) {
                Told::Known => return,
                Told::News(event) => event,
                Told::Differs => {
                    let fault = second.differ();
                    self.sent = None;
                    self.fault = Some(fault.clone());
                    Event::Failed(Cow::Owned(fault))
                }
            },
        };
        if let Some(sent) = &mut self.sent {
            sent.note(&event);
        }
        sink.event(&event, out);
    }
}

impl Sink {
    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Sink::Stream(encoder) => encoder.event(event, out),
            Sink::Whole(_, assembler) => assembler.event(event),
            Sink::Vectors(..) => {}
        }
    }
}
