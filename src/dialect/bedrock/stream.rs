//! Reads ConverseStream: binary frames, whose payloads are JSON, become neutral events.

use super::answer::{ModelFields, Reasoning, TokenUsage, finish};
use super::error;
use crate::ir::{Decode, Event, Fault, Text, ToolNames};
use crate::wire::eventstream::{Frame, FrameError, FrameSplitter};
use crate::wire::json;
use serde::Deserialize;
use std::borrow::Cow;

/// Reads one answer.
pub(super) struct Stream {
    splitter: FrameSplitter,
    answer: Answer,
}

/// Where an answer stands.
struct Answer {
    names: ToolNames,
    /// `contentBlockIndex` of each call, in the order in which they began.
    calls: Vec<u64>,
    /// `messageStop` has come.
    finished: bool,
    /// After its end or its failure: nothing more is said.
    over: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    content_block_index: u64,
    #[serde(borrow)]
    start: Start<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow, default)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    content_block_index: u64,
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<Arguments<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Reasoning<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    input: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop<'a> {
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow, default)]
    additional_model_response_fields: Option<ModelFields<'a>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    usage: Option<TokenUsage>,
}

impl Stream {
    pub(super) fn new(names: ToolNames) -> Self {
        Stream {
            splitter: FrameSplitter::default(),
            answer: Answer {
                names,
                calls: Vec::new(),
                finished: false,
                over: false,
            },
        }
    }
}

impl Decode for Stream {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let Stream { splitter, answer } = self;
        if let Err(error) = splitter.feed(piece, |frame| answer.frame(&frame, emit)) {
            answer.fail(broken(error), emit);
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        // `metadata` comes last, but the answer is whole without it.
        match self.splitter.finish() {
            _ if self.answer.over => {}
            Ok(()) if self.answer.finished => self.answer.say(Event::End, emit),
            _ => self.answer.fail(Fault::incomplete(), emit),
        }
    }
}

fn broken(error: FrameError) -> Fault {
    Fault::garbled(match error {
        FrameError::TooLong => "a frame of the provider's stream is too long",
        _ => "the provider's stream is not one of event frames, or damaged",
    })
}

impl Answer {
    fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        match frame {
            Frame::Event { kind, payload } => {
                if self.event(kind, payload, emit).is_err() {
                    let fault = Fault::garbled("an event of the provider's stream cannot be read");
                    self.fail(fault, emit);
                }
            }
            Frame::Exception { kind, payload } => self.fail(error::exception(kind, payload), emit),
            Frame::Error { code, message } => self.fail(error::unmodelled(code, message), emit),
        }
    }

    fn event(
        &mut self,
        kind: &str,
        payload: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> serde_json::Result<()> {
        match kind {
            "contentBlockDelta" => self.delta(json::parse(payload)?, emit),
            "contentBlockStart" => self.start(json::parse(payload)?, emit),
            "contentBlockStop" => {
                let stop: BlockStop = json::parse(payload)?;
                if let Some(index) = self.call(stop.content_block_index) {
                    self.say(Event::ToolEnd { index }, emit);
                }
            }
            "messageStart" => {
                let (id, model) = (None, None);
                self.say(Event::Start { id, model }, emit);
            }
            "messageStop" => {
                let stop: MessageStop<'_> = json::parse(payload)?;
                let fields = stop.additional_model_response_fields;
                let called = !self.calls.is_empty();
                self.say(finish(&stop.stop_reason, fields, called), emit);
            }
            "metadata" => {
                let metadata: Metadata = json::parse(payload)?;
                if let Some(usage) = metadata.usage {
                    self.say(Event::Usage(usage.usage()), emit);
                }
                if self.finished {
                    self.say(Event::End, emit);
                }
            }
            // What is new concerns nothing that was asked for.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, block: BlockStart<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let Some(tool) = block.start.tool_use else {
            return;
        };
        let index = self.calls.len();
        self.calls.push(block.content_block_index);
        emit(Event::ToolStart {
            index,
            id: Some(tool.tool_use_id),
            name: self.names.original(tool.name),
            signature: None,
        });
    }

    fn delta(&mut self, block: BlockDelta<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let delta = block.delta;
        if let Some(text) = delta.text {
            self.say(Event::Text(text), emit);
        }
        if let Some(Arguments { input: fragment }) = delta.tool_use
            && let Some(index) = self.call(block.content_block_index)
        {
            self.say(Event::ToolArguments { index, fragment }, emit);
        }
        if let Some(reasoning) = delta.reasoning_content {
            reasoning.say(&mut |event| self.say(event, emit));
        }
    }

    /// The number of the call that a content block is, if it is one.
    fn call(&self, block: u64) -> Option<usize> {
        self.calls.iter().rposition(|index| *index == block)
    }

    fn say(&mut self, event: Event<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        match &event {
            Event::Finish { .. } => self.finished = true,
            Event::End | Event::Failed(_) => self.over = true,
            _ => {}
        }
        emit(event);
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.over {
            self.say(Event::Failed(Cow::Owned(fault)), emit);
        }
    }
}
