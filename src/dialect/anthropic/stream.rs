//! A provider's answer, streamed or whole, as events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error;
use super::usage::{self, Counts};
use crate::ir::{Decode, Event, Fault, Finish, Json, Text, ToolNames};
use crate::wire::json;
use crate::wire::sse::{EventSplitter, Item};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    index: Option<usize>,
    message: Option<Message<'a>>,
    content_block: Option<Block<'a>>,
    delta: Option<Delta<'a>>,
    usage: Option<Counts>,
    error: Option<&'a RawValue>,
}

/// A whole answer, or its beginning in a stream.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    content: Option<Vec<Block<'a>>>,
    stop_reason: Option<Cow<'a, str>>,
    stop_sequence: Option<Text<'a>>,
    stop_details: Option<Details<'a>>,
    usage: Option<Counts>,
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    text: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    signature: Option<Text<'a>>,
    data: Option<Text<'a>>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    input: Option<Json<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    text: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    signature: Option<Text<'a>>,
    partial_json: Option<Text<'a>>,
    stop_reason: Option<Cow<'a, str>>,
    stop_sequence: Option<Text<'a>>,
    stop_details: Option<Details<'a>>,
}

/// Why the model has refused.
#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    explanation: Option<Text<'a>>,
}

impl<'a> Details<'a> {
    fn words(details: Option<Self>) -> Option<Text<'a>> {
        let explanation = details?.explanation?;
        (!explanation.is_blank()).then_some(explanation)
    }
}

/// Reads a streamed answer.
pub fn decoder(names: ToolNames) -> Box<dyn Decode> {
    Box::new(Decoder {
        splitter: EventSplitter::default(),
        state: State {
            names,
            counts: Counts::default(),
            calls: 0,
            open: None,
            said: false,
            finished: false,
            over: false,
        },
    })
}

struct Decoder {
    splitter: EventSplitter,
    state: State,
}

struct State {
    names: ToolNames,
    counts: Counts,
    /// Calls so far.
    calls: usize,
    /// The block that is a call, and the call's number.
    open: Option<(usize, usize)>,
    /// Text has come.
    said: bool,
    finished: bool,
    over: bool,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl Decode for Decoder {
    fn feed(&mut self, piece: &[u8], emit: Emit<'_>) {
        let state = &mut self.state;
        let fed = self.splitter.feed(piece, |item| state.item(item, emit));
        if fed.is_err() {
            self.state
                .fail(Fault::garbled("an event of the stream is too long"), emit);
        }
    }

    fn finish(&mut self, emit: Emit<'_>) {
        let state = &mut self.state;
        let _ = self.splitter.finish(|item| state.item(item, emit));
        self.state.fail(Fault::incomplete(), emit);
    }
}

impl State {
    fn item(&mut self, item: Item<'_>, emit: Emit<'_>) {
        if self.over {
            return;
        }
        // What is no event is an error of something in between.
        let data = match item {
            Item::Event { data, .. } => data,
            Item::Raw(line) => line,
        };
        match json::parse::<Frame<'_>>(data) {
            Ok(frame) => self.frame(frame, emit),
            Err(_) => self.fail(
                Fault::garbled("the stream holds what is no event of Anthropic's"),
                emit,
            ),
        }
    }

    fn frame(&mut self, frame: Frame<'_>, emit: Emit<'_>) {
        match &*frame.r#type {
            "content_block_delta" => {
                if let Some(delta) = frame.delta {
                    self.delta(delta, emit);
                }
            }
            "content_block_start" => {
                if let (Some(index), Some(block)) = (frame.index, frame.content_block) {
                    self.block_start(index, block, emit);
                }
            }
            "content_block_stop" => {
                if let Some((block, call)) = self.open
                    && frame.index == Some(block)
                {
                    self.open = None;
                    emit(Event::ToolEnd { index: call });
                }
            }
            "message_start" => {
                let Some(message) = frame.message else { return };
                emit(Event::Start {
                    id: message.id,
                    model: message.model,
                });
                self.count(message.usage, emit);
            }
            "message_delta" => {
                self.count(frame.usage, emit);
                if let Some(delta) = frame.delta
                    && let Some(reason) = delta.stop_reason
                {
                    // The only words that there are.
                    if let Some(words) = Details::words(delta.stop_details)
                        && !self.said
                    {
                        emit(Event::Refusal(words));
                    }
                    self.stop(&reason, delta.stop_sequence, emit);
                }
            }
            "message_stop" => {
                if !self.finished {
                    // A server that leaves the reason out has still ended properly.
                    self.stop("end_turn", None, emit);
                }
                self.over = true;
                emit(Event::End);
            }
            "ping" => emit(Event::Ping),
            "error" => self.fail(error::in_stream(frame.error), emit),
            // New kinds of events are to be passed over, says the provider.
            _ => {}
        }
    }

    fn block_start(&mut self, index: usize, block: Block<'_>, emit: Emit<'_>) {
        match &*block.r#type {
            "text" => {
                if let Some(text) = block.text.filter(|text| !text.is_empty()) {
                    self.said = true;
                    emit(Event::Text(text));
                }
            }
            "thinking" => {
                if let Some(text) = block.thinking.filter(|text| !text.is_empty()) {
                    emit(Event::Thinking(text));
                }
                if let Some(data) = block.signature.filter(|data| !data.is_empty()) {
                    emit(Event::Signature {
                        data,
                        redacted: false,
                        id: None,
                    });
                }
            }
            "redacted_thinking" => emit(Event::Signature {
                data: block.data.unwrap_or_default(),
                redacted: true,
                id: None,
            }),
            "tool_use" => {
                let call = self.calls;
                self.calls += 1;
                self.open = Some((index, call));
                let name = self.names.original(block.name.unwrap_or_default());
                emit(Event::ToolStart {
                    index: call,
                    id: block.id,
                    name,
                    signature: None,
                });
                // The whole input at once, where a server does not stream it.
                if let Some(input) = block.input.filter(|input| !is_empty_object(input)) {
                    emit(Event::ToolArguments {
                        index: call,
                        fragment: input.to_text(),
                    });
                }
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: Delta<'_>, emit: Emit<'_>) {
        match delta.r#type.as_deref() {
            Some("text_delta") => {
                let text = delta.text.unwrap_or_default();
                self.said |= !text.is_empty();
                emit(Event::Text(text));
            }
            Some("thinking_delta") => emit(Event::Thinking(delta.thinking.unwrap_or_default())),
            Some("signature_delta") => emit(Event::Signature {
                data: delta.signature.unwrap_or_default(),
                redacted: false,
                id: None,
            }),
            Some("input_json_delta") => {
                if let (Some((_, index)), Some(fragment)) = (self.open, delta.partial_json)
                    && !fragment.is_empty()
                {
                    emit(Event::ToolArguments { index, fragment });
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, counts: Option<Counts>, emit: Emit<'_>) {
        if let Some(counts) = counts {
            self.counts.update(counts);
            emit(Event::Usage(self.counts.usage()));
        }
    }

    fn stop(&mut self, reason: &str, stop: Option<Text<'_>>, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.finished, true) {
            emit(Event::Finish {
                reason: usage::finish(reason),
                stop,
            });
        }
    }

    fn fail(&mut self, fault: Fault, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.over, true) {
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

fn is_empty_object(json: &Json<'_>) -> bool {
    json.as_str()
        .strip_prefix('{')
        .is_some_and(|rest| rest.trim_ascii_start() == "}")
}

/// Reads a whole answer.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    let fail = |fault: Fault, emit: Emit<'_>| emit(Event::Failed(Cow::Owned(fault)));
    let Ok(message) = json::parse::<Message<'_>>(body) else {
        return fail(
            Fault::garbled("the answer is no message of Anthropic's"),
            emit,
        );
    };
    if message.error.is_some() {
        return fail(error::in_stream(message.error), emit);
    }
    let Some(content) = message.content else {
        return fail(Fault::garbled("the answer has no content"), emit);
    };
    emit(Event::Start {
        id: message.id,
        model: message.model,
    });
    let mut index = 0;
    let says = |block: &Block<'_>| block.text.as_ref().is_some_and(|text| !text.is_empty());
    let said = content.iter().any(says);
    for block in content {
        whole_block(block, names, &mut index, emit);
    }
    if let Some(words) = Details::words(message.stop_details)
        && !said
    {
        emit(Event::Refusal(words));
    }
    if let Some(counts) = message.usage {
        emit(Event::Usage(counts.usage()));
    }
    emit(Event::Finish {
        reason: message
            .stop_reason
            .as_deref()
            .map_or(Finish::Stop, usage::finish),
        stop: message.stop_sequence,
    });
    emit(Event::End);
}

fn whole_block(block: Block<'_>, names: &ToolNames, index: &mut usize, emit: Emit<'_>) {
    match &*block.r#type {
        "text" => emit(Event::Text(block.text.unwrap_or_default())),
        "thinking" => {
            emit(Event::Thinking(block.thinking.unwrap_or_default()));
            if let Some(data) = block.signature {
                emit(Event::Signature {
                    data,
                    redacted: false,
                    id: None,
                });
            }
        }
        "redacted_thinking" => emit(Event::Signature {
            data: block.data.unwrap_or_default(),
            redacted: true,
            id: None,
        }),
        "tool_use" => {
            let name = names.original(block.name.unwrap_or_default());
            emit(Event::ToolCall {
                index: *index,
                id: block.id,
                name,
                arguments: block
                    .input
                    .filter(Json::is_object)
                    .unwrap_or_else(Json::empty_object),
                signature: None,
            });
            *index += 1;
        }
        _ => {}
    }
}
