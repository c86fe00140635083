//! Reads the answers that no other format has a like of: vectors, pictures, transcriptions, counts of tokens, and the
//! progress of changes to models. They only pass, so that what matters of them is whether they are what was asked for, what
//! they cost, and how they end.

use std::borrow::Cow;

use super::members::members;
use super::shape;
use crate::client::{ErrorStyle, Operation};
use crate::dialect::ollama;
use crate::dialect::{anthropic, openai};
use crate::ir::{Decode, Event, Fault, Usage};
use crate::wire::json::{Kind, Scanner, SyntaxError};
use crate::wire::ndjson::LineSplitter;
use crate::wire::sse::{EventSplitter, Item};

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Reads a pull's, a push's or a create's progress: an object a line, up to `success`.
pub(super) fn progress() -> Box<dyn Decode> {
    Box::new(Progress {
        lines: LineSplitter::default(),
        over: false,
    })
}

/// Reads the events of a transcription or of pictures.
pub(super) fn events() -> Box<dyn Decode> {
    Box::new(Events {
        splitter: EventSplitter::default(),
        finished: false,
        over: false,
    })
}

/// Reads a whole answer. `plain`: it may be a text that is no JSON; `vectors`: how many were asked for, if that is
/// known.
pub(super) fn read_whole(
    operation: Operation,
    body: &[u8],
    plain: bool,
    vectors: Option<usize>,
    emit: Emit<'_>,
) {
    let object = match Object::read(body) {
        Ok(object) => object,
        Err(SyntaxError::Eof) => return fail(Fault::incomplete(), emit),
        Err(_) if plain && !is_object(body) => {
            emit(Event::Foreign);
            return emit(Event::End);
        }
        Err(_) => {
            return fail(
                Fault::garbled("the provider's answer is no JSON object"),
                emit,
            );
        }
    };
    if object.fails {
        return fail(fault_within(operation, body), emit);
    }
    if !object.is_answer_to(operation) || !shape::has_vectors(operation, body, vectors) {
        let what = "the provider's answer has nothing of what was asked for";
        return fail(Fault::garbled(what), emit);
    }
    emit(Event::Foreign);
    if object.usage != Usage::default() {
        emit(Event::Usage(object.usage));
    }
    emit(Event::End);
}

/// Returns whether Ollama has only rendered the prompt, as its client has asked (`_debug_render_only`): one object,
/// whatever was to stream, that says of no end.
pub(super) fn is_rendered(body: &[u8]) -> bool {
    let mut rendered = false;
    let read = members(&mut Scanner::new(body), body, |key, kind, _| {
        rendered |= key == b"_debug_info" && kind == Kind::Object;
    });
    read.is_ok() && rendered
}

/// Returns whether a response is being made in the background, as its client has asked (`background`).
pub(super) fn is_in_background(body: &[u8]) -> bool {
    let (mut background, mut under_way) = (false, false);
    let read = members(&mut Scanner::new(body), body, |key, _, value| {
        let value = value.of(body);
        match key {
            b"background" => background = value == b"true",
            b"status" => under_way = matches!(value, b"\"queued\"" | b"\"in_progress\""),
            _ => {}
        }
    });
    read.is_ok() && background && under_way
}

/// Returns what an object says of its usage, whatever else it is.
pub(super) fn usage_of(object: &[u8]) -> Usage {
    Object::read(object).map_or_else(|_| Usage::default(), |object| object.usage)
}

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn fail(fault: Fault, emit: Emit<'_>) {
    emit(Event::Failed(Cow::Owned(fault)));
}

/// Returns what an error means that came under status 200.
fn fault_within(operation: Operation, body: &[u8]) -> Fault {
    match ErrorStyle::of(operation) {
        ErrorStyle::Ollama => ollama::fault_within(body),
        ErrorStyle::Anthropic => anthropic::fault_within(body),
        ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => openai::fault_within(body),
    }
}

struct Progress {
    lines: LineSplitter,
    over: bool,
}

impl Decode for Progress {
    fn feed(&mut self, piece: &[u8], emit: Emit<'_>) {
        let over = &mut self.over;
        let fed = self.lines.feed(piece, |line| {
            if *over || line.trim_ascii().is_empty() {
                return;
            }
            match Object::read(line) {
                Err(_) => emit(Event::Malformed),
                Ok(object) if object.fails => {
                    *over = true;
                    fail(ollama::fault_within(line), emit);
                }
                Ok(object) => {
                    emit(Event::Foreign);
                    if object.succeeded {
                        *over = true;
                        emit(Event::End);
                    }
                }
            }
        });
        if fed.is_err() && !self.over {
            emit(Event::Malformed);
        }
    }

    fn finish(&mut self, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.over, true) {
            fail(Fault::incomplete(), emit);
        }
    }
}

struct Events {
    splitter: EventSplitter,
    /// One has come that says that something is whole; of pictures there may be more.
    finished: bool,
    over: bool,
}

impl Decode for Events {
    fn feed(&mut self, piece: &[u8], emit: Emit<'_>) {
        let (over, finished) = (&mut self.over, &mut self.finished);
        let fed = self.splitter.feed(piece, |item| match item {
            _ if *over => {}
            Item::Event { name, data } => event(name, data, over, finished, emit),
            Item::Raw(_) => {}
        });
        if fed.is_err() && !self.over {
            emit(Event::Malformed);
        }
    }

    fn finish(&mut self, emit: Emit<'_>) {
        match (std::mem::replace(&mut self.over, true), self.finished) {
            (true, _) => {}
            (false, true) => emit(Event::End),
            (false, false) => fail(Fault::incomplete(), emit),
        }
    }
}

fn event(name: &[u8], data: &[u8], over: &mut bool, finished: &mut bool, emit: Emit<'_>) {
    let data = data.trim_ascii();
    if data.is_empty() {
        return;
    }
    if data.starts_with(b"[DONE]") {
        *over = true;
        return emit(Event::End);
    }
    let Ok(object) = Object::read(data) else {
        return emit(Event::Malformed);
    };
    if object.fails || name == b"error" {
        *over = true;
        return fail(openai::fault_within(data), emit);
    }
    emit(Event::Foreign);
    if object.usage != Usage::default() {
        emit(Event::Usage(object.usage));
    }
    *finished |= object.completes;
    if object.transcribed {
        *over = true;
        emit(Event::End);
    }
}

/// The members of an answer that matter here.
#[derive(Default)]
struct Object {
    fails: bool,
    /// `status` is `success`.
    succeeded: bool,
    /// Whether its `type` says that something is whole.
    completes: bool,
    transcribed: bool,
    status: bool,
    text: bool,
    /// It has pictures.
    pictures: bool,
    input_tokens: bool,
    usage: Usage,
}

impl Object {
    fn read(text: &[u8]) -> Result<Object, SyntaxError> {
        let mut object = Object::default();
        let mut scanner = Scanner::new(text);
        members(&mut scanner, text, |key, kind, value| {
            object.member(key, kind, value.of(text));
        })?;
        match scanner.peek() {
            None => Ok(object),
            Some(byte) => Err(SyntaxError::Invalid {
                byte,
                context: "after top-level value",
                at: scanner.position(),
            }),
        }
    }

    fn member(&mut self, key: &[u8], kind: Kind, value: &[u8]) {
        match (key, kind) {
            (b"error", Kind::String) => self.fails |= value != b"\"\"",
            (b"error", Kind::Object | Kind::Array) => self.fails = true,
            (b"object", Kind::String) => self.fails |= value == b"\"error\"",
            (b"type", Kind::String) => {
                self.fails |= value == b"\"error\"";
                self.completes = value.ends_with(b".completed\"") || value.ends_with(b".done\"");
                self.transcribed = value == b"\"transcript.text.done\"";
            }
            (b"status", Kind::String) => {
                self.status = true;
                self.succeeded = value == b"\"success\"";
            }
            (b"text", Kind::String) => self.text = true,
            (b"data", Kind::Array) => self.pictures = shape::has_objects(value),
            (b"input_tokens", Kind::Number) => self.input_tokens = true,
            (b"usage", Kind::Object) => self.usage.update(&usage(value)),
            (b"prompt_eval_count", Kind::Number) => self.usage.prompt = Some(number(value)),
            (b"prompt_eval_cached_count", Kind::Number) => {
                self.usage.cache_read = Some(number(value));
            }
            (b"load_duration", Kind::Number) => self.usage.load_duration = Some(number(value)),
            (b"total_duration", Kind::Number) => self.usage.total_duration = Some(number(value)),
            _ => {}
        }
    }

    fn is_answer_to(&self, operation: Operation) -> bool {
        use Operation::*;
        match operation {
            OpenAiImages | OpenAiImageEdits => self.pictures,
            AudioTranscriptions => self.text,
            AnthropicCountTokens => self.input_tokens,
            Pull | Push | Create => self.status,
            _ => true,
        }
    }
}

/// Reads a `usage` object, as far as its members are numbers.
fn usage(object: &[u8]) -> Usage {
    let mut usage = Usage::default();
    let read = members(&mut Scanner::new(object), object, |key, kind, value| {
        let value = value.of(object);
        match (key, kind) {
            (b"prompt_tokens" | b"input_tokens", Kind::Number) => {
                usage.prompt = Some(number(value));
            }
            (b"completion_tokens" | b"output_tokens", Kind::Number) => {
                usage.output = Some(number(value));
            }
            // OpenRouter's, in US dollars.
            (b"cost", Kind::Number) => usage.cost = dollars(value),
            _ => {}
        }
    });
    // What was read before a mistake is not believed.
    read.map_or_else(|_| Usage::default(), |()| usage)
}

/// Reads a count: digits alone, or a float that is cut; anything else is 0.
fn number(digits: &[u8]) -> u64 {
    let Ok(text) = str::from_utf8(digits) else {
        return 0;
    };
    // The cast saturates.
    text.parse::<u64>()
        .unwrap_or_else(|_| text.parse::<f64>().map_or(0, |float| float as u64))
}

fn dollars(digits: &[u8]) -> Option<f64> {
    let text = str::from_utf8(digits).ok()?;
    text.parse()
        .ok()
        .filter(|dollars: &f64| dollars.is_finite() && *dollars > 0.0)
}
