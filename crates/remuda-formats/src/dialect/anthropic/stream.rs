//! A provider's answer, streamed or whole, as events.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::Calls;
use super::error;
use super::usage::{self, Counts};
use crate::dialect::events::{self, Reads, Unreadable};
use crate::ir::{Decode, Event, Fault, HeldFinish, Json, Text, ToolNames};
use crate::wire::json;

#[derive(Deserialize)]
struct Frame<'a> {
    /// Where it is missing the event's name says it.
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    index: Option<usize>,
    message: Option<&'a RawValue>,
    content_block: Option<Block<'a>>,
    delta: Option<Delta<'a>>,
    usage: Option<Counts>,
    error: Option<&'a RawValue>,
    detail: Option<&'a RawValue>,
}

/// A whole answer, or its beginning in a stream.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    content: Option<Vec<Block<'a>>>,
    stop_reason: Option<Cow<'a, str>>,
    stop_sequence: Option<Text<'a>>,
    stop_details: Option<Details<'a>>,
    usage: Option<Counts>,
    error: Option<&'a RawValue>,
    /// The words of an error that another program on the way has written.
    detail: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
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

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Reads a streamed answer.
pub fn decoder(names: ToolNames) -> Box<dyn Decode> {
    events::stream(State::new(names))
}

/// Reads a whole answer.
pub fn read_whole(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    State::new(names.clone()).whole(body, emit);
}

struct State {
    names: ToolNames,
    counts: Counts,
    calls: Calls,
    started: bool,
    /// Text has come.
    said: bool,
    /// Anything of the answer has come.
    spoke: bool,
    finish: HeldFinish,
    /// The provider's words for a refusal, for the case that there are no others.
    explanation: Option<Text<'static>>,
    /// A block has ended.
    closed: bool,
    over: bool,
}

impl State {
    fn new(names: ToolNames) -> Self {
        State {
            names,
            counts: Counts::default(),
            calls: Calls::default(),
            started: false,
            said: false,
            spoke: false,
            finish: HeldFinish::default(),
            explanation: None,
            closed: false,
            over: false,
        }
    }

    /// # Errors
    /// If the frame does not say what it is, or lacks what it is about.
    fn frame(&mut self, kind: &str, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), Unreadable> {
        match kind {
            "content_block_delta" => self.delta(frame.index, frame.delta.ok_or(Unreadable)?, emit),
            "content_block_start" => {
                let block = frame.content_block.ok_or(Unreadable)?;
                self.block(frame.index, block, emit);
            }
            "content_block_stop" => {
                self.closed = true;
                self.calls.stop(frame.index, emit);
            }
            "message_start" => {
                let message: Message<'_> = frame
                    .message
                    .and_then(|message| serde_json::from_str(message.get()).ok())
                    .ok_or(Unreadable)?;
                self.start(message.id, message.model, emit);
                self.count(message.usage, emit);
                let content = message.content.into_iter().flatten();
                // There is none yet, says the provider; a server that knows better is believed.
                for block in content {
                    if !self.over {
                        self.whole_block(block, emit);
                    }
                }
            }
            "message_delta" => {
                self.count(frame.usage, emit);
                if let Some(delta) = frame.delta {
                    self.stop(
                        delta.stop_reason,
                        delta.stop_sequence,
                        delta.stop_details,
                        emit,
                    );
                }
            }
            // Alone it is the end of nothing.
            "message_stop" if !self.spoke && !self.finish.is_stated() => {
                self.fail(Fault::incomplete(), emit);
            }
            "message_stop" => self.complete(emit),
            // New kinds of events are to be passed over, says the provider.
            _ => emit(Event::Ping),
        }
        Ok(())
    }

    fn start(&mut self, id: Option<Text<'_>>, model: Option<Text<'_>>, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.started, true) {
            emit(Event::Start { id, model });
        }
    }

    /// Notes that something of the answer has come.
    fn go_on(&mut self) {
        self.spoke = true;
        self.finish.go_on();
    }

    /// A call has no name, so that nobody can be called.
    fn nameless(&mut self, emit: Emit<'_>) {
        emit(Event::Malformed);
        self.fail(Fault::nameless_call(), emit);
    }

    /// A block begins, with what a server may say of it at once.
    fn block(&mut self, index: Option<usize>, block: Block<'_>, emit: Emit<'_>) {
        if &*block.r#type != "tool_use" {
            return self.told_block(block, emit);
        }
        let Some(name) = block.name.filter(|name| !name.is_blank()) else {
            return self.nameless(emit);
        };
        self.go_on();
        let name = self.names.original(name);
        self.calls.start(index, block.id, name, block.input, emit);
    }

    /// Tells a block of a whole answer.
    fn whole_block(&mut self, block: Block<'_>, emit: Emit<'_>) {
        if &*block.r#type != "tool_use" {
            return self.told_block(block, emit);
        }
        let Some(name) = block.name.filter(|name| !name.is_blank()) else {
            return self.nameless(emit);
        };
        self.go_on();
        let name = self.names.original(name);
        self.calls.whole(block.id, name, block.input, emit);
    }

    /// A block that is no call.
    fn told_block(&mut self, block: Block<'_>, emit: Emit<'_>) {
        match &*block.r#type {
            "text" => self.text(block.text, emit),
            "thinking" => {
                self.think(block.thinking, emit);
                self.sign(block.signature, false, emit);
            }
            "redacted_thinking" => self.sign(block.data.or(Some(Text::default())), true, emit),
            // What a tool of the provider's does, and what it finds.
            _ => {
                self.go_on();
                emit(Event::Foreign);
            }
        }
    }

    fn delta(&mut self, index: Option<usize>, delta: Delta<'_>, emit: Emit<'_>) {
        match delta.r#type.as_deref() {
            Some("text_delta") => self.text(delta.text, emit),
            Some("thinking_delta") => self.think(delta.thinking, emit),
            Some("signature_delta") => self.sign(delta.signature, false, emit),
            Some("input_json_delta") => {
                if let Some(fragment) = delta.partial_json.filter(|text| !text.is_empty()) {
                    self.go_on();
                    self.calls.arguments(index, fragment, emit);
                }
            }
            _ => emit(Event::Ping),
        }
    }

    fn text(&mut self, text: Option<Text<'_>>, emit: Emit<'_>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.said = true;
            self.go_on();
            emit(Event::Text(text));
        }
    }

    /// A thought may have no text, where the provider keeps it to itself.
    fn think(&mut self, text: Option<Text<'_>>, emit: Emit<'_>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.go_on();
            emit(Event::Thinking(text));
        }
    }

    fn sign(&mut self, data: Option<Text<'_>>, redacted: bool, emit: Emit<'_>) {
        if let Some(data) = data.filter(|data| redacted || !data.is_empty()) {
            self.go_on();
            let id = None;
            emit(Event::Signature { data, redacted, id });
        }
    }

    fn count(&mut self, counts: Option<Counts>, emit: Emit<'_>) {
        if let Some(counts) = counts {
            self.counts.update(counts);
            emit(Event::Usage(self.counts.usage()));
        }
    }

    fn stop(
        &mut self,
        reason: Option<Cow<'_, str>>,
        stop: Option<Text<'_>>,
        details: Option<Details<'_>>,
        emit: Emit<'_>,
    ) {
        let Some(reason) = reason.filter(|reason| !reason.is_empty()) else {
            return;
        };
        if reason == "error" {
            return self.fail(error::in_stream(None), emit);
        }
        self.finish.state(usage::finish(&reason), stop);
        self.explanation = Details::words(details).map(Text::into_owned);
    }

    /// The answer has come to its end. A server that leaves the reason out has still ended properly.
    fn complete(&mut self, emit: Emit<'_>) {
        self.calls.end(emit);
        if let Some(words) = self.explanation.take().filter(|_| !self.said) {
            emit(Event::Refusal(words));
        }
        self.over = true;
        emit(self.finish.take());
        emit(Event::End);
    }
}

impl Reads for State {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_fresh(&self) -> bool {
        !self.started && !self.over
    }

    fn is_amid_words(&self) -> bool {
        !self.closed && !self.finish.is_stated()
    }

    fn event(&mut self, name: &[u8], data: &[u8], emit: Emit<'_>) -> Result<(), Unreadable> {
        if data.starts_with(b"[DONE]") {
            // Gateways that speak OpenAI's format as well may end so.
            return Ok(());
        }
        let mut frame = match json::parse::<Frame<'_>>(data) {
            Ok(frame) if data.starts_with(b"{") => frame,
            _ if name == b"error" => {
                self.fail(error::in_words(data), emit);
                return Ok(());
            }
            _ => return Err(Unreadable),
        };
        let told = frame.r#type.take();
        let named = std::str::from_utf8(name).unwrap_or_default();
        let kind = told.as_deref().unwrap_or(named);
        let is_error = kind == "error" || name == b"error" || frame.error.is_some();
        if is_error || (kind.is_empty() && frame.detail.or(frame.message).is_some()) {
            self.fail(error::fault_within(data), emit);
            return Ok(());
        }
        if kind.is_empty() {
            return Err(Unreadable);
        }
        self.frame(kind, frame, emit)
    }

    fn whole(&mut self, body: &[u8], emit: Emit<'_>) {
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let message = match json::parse::<Message<'_>>(body) {
            Ok(message) if is_object => message,
            _ => {
                let what = "the answer is no message of Anthropic's";
                return self.fail(Fault::garbled(what), emit);
            }
        };
        let is_error = message.r#type.as_deref() == Some("error") || message.error.is_some();
        let speaks = message.content.is_none() && message.detail.or(message.message).is_some();
        if is_error || speaks {
            return self.fail(error::fault_within(body), emit);
        }
        let is_message = message.r#type.is_some() || message.stop_reason.is_some();
        let content = match message.content {
            Some(content) if is_message || !content.is_empty() => content,
            _ => return self.fail(Fault::garbled("the answer has no content"), emit),
        };
        if content
            .iter()
            .any(|block| &*block.r#type == "text" && block.text.is_none())
        {
            let what = "a text block of the provider's answer has no text";
            return self.fail(Fault::garbled(what), emit);
        }
        self.start(message.id, message.model, emit);
        for block in content {
            self.whole_block(block, emit);
            if self.over {
                return;
            }
        }
        self.count(message.usage, emit);
        self.stop(
            message.stop_reason,
            message.stop_sequence,
            message.stop_details,
            emit,
        );
        if !self.over {
            self.complete(emit);
        }
    }

    fn end(&mut self, emit: Emit<'_>) {
        self.fail(Fault::incomplete(), emit);
    }

    fn fail(&mut self, fault: Fault, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.over, true) {
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}
