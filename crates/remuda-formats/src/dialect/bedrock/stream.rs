//! Reads ConverseStream: binary frames, whose payloads are JSON, become neutral events.

use super::answer::{ModelFields, Reasoning, TokenUsage, finish};
use super::error;
use crate::ir::{Decode, Event, Fault, HeldFinish, Text, ToolNames};
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
    /// The calls in the order in which they began.
    calls: Vec<Call>,
    started: bool,
    /// What `messageStop` has said.
    finish: HeldFinish,
    /// The last event could not be read.
    torn: bool,
    /// Whether the answer has ended or failed, after which nothing more is said.
    over: bool,
}

struct Call {
    /// Its `contentBlockIndex`.
    block: u64,
    ended: bool,
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
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
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
                started: false,
                finish: HeldFinish::default(),
                torn: false,
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
        let answer = &mut self.answer;
        // `metadata` comes last, but the answer is whole without it.
        match self.splitter.finish() {
            _ if answer.over => {}
            _ if answer.torn && !answer.started => answer.fail(unreadable(), emit),
            Ok(()) if answer.finish.is_stated() && !answer.torn => answer.complete(emit),
            _ => answer.fail(Fault::incomplete(), emit),
        }
    }
}

fn unreadable() -> Fault {
    Fault::garbled("nothing in the provider's stream can be read")
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
                self.torn = match self.event(kind, payload, emit) {
                    Ok(()) => false,
                    Err(_) => json::tidied(payload)
                        .is_none_or(|tidied| self.event(kind, &tidied, emit).is_err()),
                };
                if self.torn {
                    emit(Event::Malformed);
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
                if let Some(call) = self.call(stop.content_block_index)
                    && !std::mem::replace(&mut self.calls[call].ended, true)
                {
                    emit(Event::ToolEnd { index: call });
                }
            }
            "messageStart" => {
                let (id, model) = (None, None);
                self.started = true;
                emit(Event::Start { id, model });
            }
            "messageStop" => {
                let stop: MessageStop<'_> = json::parse(payload)?;
                let fields = stop.additional_model_response_fields;
                let called = !self.calls.is_empty();
                match finish(&stop.stop_reason, fields, called) {
                    Ok((reason, stop)) => self.finish.state(reason, stop),
                    Err(fault) => self.fail(fault, emit),
                }
            }
            "metadata" => {
                let metadata: Metadata = json::parse(payload)?;
                if let Some(usage) = metadata.usage {
                    emit(Event::Usage(usage.usage()));
                }
                if self.finish.is_stated() {
                    self.complete(emit);
                }
            }
            // What is new concerns nothing that was asked for.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, block: BlockStart<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let Some(tool) = block.start.tool_use else {
            // An image, or what is to come.
            return emit(Event::Foreign);
        };
        let Some(name) = tool.name.filter(|name| !name.is_blank()) else {
            emit(Event::Malformed);
            return self.fail(Fault::nameless_call(), emit);
        };
        self.finish.go_on();
        let index = self.calls.len();
        self.calls.push(Call {
            block: block.content_block_index,
            ended: false,
        });
        emit(Event::ToolStart {
            index,
            id: Some(tool.tool_use_id),
            name: self.names.original(name),
            signature: None,
        });
    }

    fn delta(&mut self, block: BlockDelta<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let delta = block.delta;
        self.finish.go_on();
        if let Some(text) = delta.text {
            emit(Event::Text(text));
        }
        if let Some(Arguments { input: fragment }) = delta.tool_use
            && let Some(index) = self.call(block.content_block_index)
        {
            emit(Event::ToolArguments { index, fragment });
        }
        if let Some(reasoning) = delta.reasoning_content {
            reasoning.say(emit);
        }
    }

    /// Returns the number of the call that a content block is, if it is one.
    fn call(&self, block: u64) -> Option<usize> {
        // Of those that may still be open, however many there were.
        const LAST: usize = 256;
        let mut last = self.calls.iter().enumerate().rev().take(LAST);
        last.find(|(_, call)| call.block == block)
            .map(|(index, _)| index)
    }

    /// Ends the answer, of which nothing more can come.
    fn complete(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.over = true;
        for (index, call) in self.calls.iter().enumerate() {
            if !call.ended {
                emit(Event::ToolEnd { index });
            }
        }
        emit(self.finish.take());
        emit(Event::End);
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.over, true) {
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}
