//! Reads the answers of Ollama's servers, streamed or whole.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Api;
use super::unread::has_unknown_text;
use crate::dialect::events::reframed;
use crate::dialect::ollama::error_text::error_text;
use crate::dialect::ollama::refusal::stream_fault;
use crate::ir::{Decode, Event, Fault, Finish, Json, Text, ToolNames, Usage};
use crate::wire::json;
use crate::wire::ndjson::LineSplitter;

/// One object of an answer; generate's and chat's fields together. Servers that speak like Ollama have other names
/// for thinking.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    /// The error of a server that is made with FastAPI.
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    logprobs: Option<Json<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    done: Option<bool>,
    #[serde(borrow)]
    done_reason: Option<Text<'a>>,
    prompt_eval_count: Option<f64>,
    /// Those of them that a cache had.
    prompt_eval_cached_count: Option<f64>,
    eval_count: Option<f64>,
    total_duration: Option<f64>,
    load_duration: Option<f64>,
    prompt_eval_duration: Option<f64>,
    eval_duration: Option<f64>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

impl Line<'_> {
    /// Returns whether there is a place for what the model says as generate has it.
    fn has_place(&self) -> bool {
        self.response.is_some() || self.thinking.is_some() || self.tool_calls.is_some()
    }

    /// Returns whether generate's fields say anything.
    fn speaks(&self) -> bool {
        let calls = self.tool_calls.as_ref();
        first_full([&self.response, &self.thinking]).is_some()
            || calls.is_some_and(|calls| !calls.is_empty())
    }
}

impl<'a> Message<'a> {
    fn texts(&self) -> [&Option<Text<'a>>; 4] {
        [
            &self.content,
            &self.thinking,
            &self.reasoning,
            &self.reasoning_content,
        ]
    }

    fn has_place(&self) -> bool {
        self.texts().into_iter().any(Option::is_some) || self.tool_calls.is_some()
    }

    fn speaks(&self) -> bool {
        let calls = self.tool_calls.as_ref();
        first_full(self.texts()).is_some() || calls.is_some_and(|calls| !calls.is_empty())
    }
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Reads a streamed answer.
pub(in crate::dialect::ollama) fn decoder(form: Api, names: ToolNames) -> Box<dyn Decode> {
    Box::new(Decoder {
        lines: LineSplitter::default(),
        state: State::new(form),
        names,
    })
}

/// Reads a whole answer.
pub(in crate::dialect::ollama) fn read_whole(
    form: Api,
    body: &[u8],
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) {
    let mut state = State::new(form);
    if let Some(line) = read(body) {
        state.line(&line, body, names, emit);
        return state.finish(emit);
    }
    let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if read(first).is_none() {
        state.last(body, names, emit);
        return state.finish(emit);
    }
    // A server that streams although it was asked not to.
    let mut emit = reframed(emit);
    for line in body.split(|byte| *byte == b'\n') {
        state.bytes(line, names, &mut emit);
    }
    state.finish(&mut emit);
}

struct Decoder {
    lines: LineSplitter,
    state: State,
    names: ToolNames,
}

impl Decode for Decoder {
    fn feed(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let (state, names) = (&mut self.state, &self.names);
        if state.over {
            return;
        }
        let fed = self
            .lines
            .feed(piece, |line| state.bytes(line, names, emit));
        if fed.is_err() {
            state.fail(
                Fault::garbled("a line of the provider's answer is too long"),
                emit,
            );
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        // An answer to a load, or an error, may come without a newline.
        let rest = self.lines.finish();
        if !rest.is_empty() {
            self.state.last(&rest, &self.names, emit);
        }
        self.state.finish(emit);
    }
}

/// What has been read of an answer.
struct State {
    form: Api,
    started: bool,
    /// Anything of the model's own has come.
    spoken: bool,
    /// Text has come where none is expected.
    unread: bool,
    /// A line has had a place for what the model says.
    placed: bool,
    /// A call has come that has no name.
    nameless: bool,
    /// Calls so far.
    calls: usize,
    /// The last line could not be read.
    torn: bool,
    over: bool,
}

impl State {
    fn new(form: Api) -> Self {
        State {
            form,
            started: false,
            spoken: false,
            unread: false,
            placed: false,
            nameless: false,
            calls: 0,
            torn: false,
            over: false,
        }
    }

    fn bytes(&mut self, line: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over || line.trim_ascii().is_empty() {
            return;
        }
        let tidied;
        let (mut line, mut parsed) = (line, read(line));
        if parsed.is_none()
            && let Some(text) = json::tidied(line)
        {
            tidied = text;
            line = &tidied;
            parsed = read(line);
        }
        self.torn = parsed.is_none();
        match parsed {
            Some(parsed) => self.line(&parsed, line, names, emit),
            None => match foreign_words(line) {
                Some(words) => self.fail(stream_fault(&words), emit),
                None => emit(Event::Malformed),
            },
        }
    }

    /// Reads what came after the last newline: an object, or the beginning of one whose end was lost.
    fn last(&mut self, rest: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        let tidied = match read(rest) {
            Some(_) => None,
            None => json::tidied(rest),
        };
        let rest = tidied.as_deref().unwrap_or(rest);
        match (read(rest), foreign_words(rest)) {
            (Some(line), _) => self.line(&line, rest, names, emit),
            (None, Some(words)) => self.fail(stream_fault(&words), emit),
            // Half an object is one that was cut off.
            (None, None) => {
                let rest = rest.trim_ascii();
                self.torn = !rest.is_empty() && !rest.starts_with(b"{");
            }
        }
    }

    fn line(
        &mut self,
        line: &Line<'_>,
        bytes: &[u8],
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let detail = line.detail.filter(|_| line.done.is_none());
        if let Some(text) = line.error.or(detail).and_then(error_text) {
            return self.fail(stream_fault(&text), emit);
        }
        if !std::mem::replace(&mut self.started, true) {
            let model = line.model.as_ref().map(Text::borrow);
            emit(Event::Start { id: None, model });
        }
        if !self.content(line, names, emit) && !self.spoken {
            self.unread |= has_unknown_text(bytes);
        }
        if self.nameless {
            return self.fail(Fault::nameless_call(), emit);
        }
        if line.done == Some(true) && !self.over {
            self.done(line, emit);
        }
    }

    /// Returns whether the line said anything.
    fn content(
        &mut self,
        line: &Line<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        let message = line.message.as_ref();
        let (own, elsewhere) = match self.form {
            Api::Chat => (message.is_some_and(Message::has_place), line.speaks()),
            Api::Generate => (line.has_place(), message.is_some_and(Message::speaks)),
        };
        self.placed |= own;
        if elsewhere && !own {
            // Clients of the operation that was asked for find no text. It is no answer, be it that its bytes would pass or
            // that it would be translated: the same server is judged alike both ways.
            self.fail(Fault::misframed(), emit);
            return true;
        }
        let thinking = message
            .and_then(|message| {
                let Message {
                    thinking,
                    reasoning,
                    reasoning_content,
                    ..
                } = message;
                first_full([thinking, reasoning, reasoning_content])
            })
            .or_else(|| first_full([&line.thinking]));
        let content = message
            .and_then(|message| first_full([&message.content]))
            .or_else(|| first_full([&line.response]));
        let mut said = false;
        if let Some(text) = thinking {
            emit(Event::Thinking(text.borrow()));
            said = true;
        }
        if let Some(text) = content {
            emit(Event::Text(text.borrow()));
            said = true;
        }
        let calls = message.and_then(|message| message.tool_calls.as_ref());
        for call in calls.or(line.tool_calls.as_ref()).into_iter().flatten() {
            said |= self.call(call, names, emit);
        }
        if let Some(logprobs) = &line.logprobs
            && logprobs.as_str().starts_with('[')
        {
            emit(Event::Logprobs(logprobs.borrow()));
        }
        self.spoken |= said;
        said
    }

    fn call(
        &mut self,
        call: &Call<'_>,
        names: &ToolNames,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        // An empty object says that there is none.
        let Some(function) = &call.function else {
            return false;
        };
        let Some(name) = first_full([&function.name]) else {
            self.nameless = true;
            return false;
        };
        emit(Event::ToolCall {
            index: self.calls,
            id: first_full([&call.id]).map(Text::borrow),
            name: names.original(name.borrow()),
            arguments: arguments(function.arguments),
            signature: None,
        });
        self.calls += 1;
        true
    }

    fn done(&mut self, line: &Line<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if self.unread && !self.spoken {
            let what = "the provider's answer has its text where Ollama has none";
            return self.fail(Fault::garbled(what), emit);
        }
        let reason = match line.done_reason.as_ref().map(Text::as_escaped) {
            Some("length") => Finish::Length,
            Some("load") => Finish::Load,
            Some("unload") => Finish::Unload,
            // Models at ollama.com have others.
            _ => Finish::Stop,
        };
        let is_load = matches!(reason, Finish::Load | Finish::Unload);
        if !self.spoken && !self.placed && !is_load {
            let what = "the provider's answer has neither a message nor a response";
            return self.fail(Fault::garbled(what), emit);
        }
        // The casts saturate.
        let count = |number: Option<f64>| number.map(|number| number as u64);
        emit(Event::Usage(Usage {
            prompt: count(line.prompt_eval_count),
            cache_read: count(line.prompt_eval_cached_count),
            output: count(line.eval_count),
            total_duration: count(line.total_duration),
            load_duration: count(line.load_duration),
            prompt_duration: count(line.prompt_eval_duration),
            output_duration: count(line.eval_duration),
            ..Usage::default()
        }));
        emit(Event::Finish { reason, stop: None });
        self.over = true;
        emit(Event::End);
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.fail(
            if self.torn && !self.started {
                Fault::garbled("no line of the provider's answer is in Ollama's format")
            } else {
                Fault::incomplete()
            },
            emit,
        );
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.over {
            self.over = true;
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

/// Reads a line, or a whole answer.
fn read(json: &[u8]) -> Option<Line<'_>> {
    // An array would be taken for the struct's fields in their order.
    if json.trim_ascii_start().starts_with(b"{") {
        json::parse(json).ok()
    } else {
        None
    }
}

/// Returns what a program in front of a server says, which is no line of Ollama's.
fn foreign_words(json: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Words<'a> {
        #[serde(borrow)]
        message: Text<'a>,
    }
    let words: Words<'_> = json::parse(json).ok()?;
    Some(words.message.into_decoded()).filter(|words| !words.trim().is_empty())
}

fn first_full<'t, 'a, const N: usize>(texts: [&'t Option<Text<'a>>; N]) -> Option<&'t Text<'a>> {
    texts.into_iter().flatten().find(|text| !text.is_empty())
}

/// Reads an object; some servers write it as a string, as OpenAI does.
fn arguments<'a>(written: Option<&'a RawValue>) -> Json<'a> {
    match written {
        None => Json::empty_object(),
        Some(value) => match Text::of(value) {
            Some(text) => Json::arguments(text.into_decoded()).0,
            None if value.get() == "null" => Json::empty_object(),
            None => Json::arguments(Cow::Borrowed(value.get())).0,
        },
    }
}
