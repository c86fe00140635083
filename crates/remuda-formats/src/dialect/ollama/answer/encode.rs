//! Writes answers to clients of Ollama.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Api;
use super::line::{Lines, Said, one_line, write_call};
use crate::dialect::exchange::Reply;
use crate::dialect::ollama::error_line;
use crate::ir::{CallHead, Encode, Event, Finish, Json, Response, Text, Usage};

/// Log probabilities wait for the next line, unless they have become this long.
const LOGPROBS_HELD: usize = 16 << 10;

/// Creates a writer of a streamed answer.
pub(in crate::dialect::ollama) fn encoder(form: Api, reply: Reply) -> Box<dyn Encode> {
    Box::new(Encoder {
        lines: Lines::new(form, &reply.model),
        reply,
        open: BTreeMap::new(),
        call: Vec::new(),
        logprobs: Vec::new(),
        spoken: None,
        finish: Finish::Stop,
        usage: Usage::default(),
        over: false,
    })
}

struct Encoder {
    lines: Lines,
    reply: Reply,
    /// Calls whose arguments are still coming, by their index.
    open: BTreeMap<usize, Call>,
    /// Scratch for the call that is being written.
    call: Vec<u8>,
    /// The inside of an array.
    logprobs: Vec<u8>,
    /// When the first and the last piece came.
    spoken: Option<(Instant, Instant)>,
    finish: Finish,
    usage: Usage,
    over: bool,
}

/// A call as far as it is known.
struct Call {
    index: usize,
    id: Option<Text<'static>>,
    name: Text<'static>,
    signature: Option<Text<'static>>,
    /// The inside of a string literal.
    arguments: Text<'static>,
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Thinking(text) if !text.is_empty() => {
                self.say("", text.as_escaped(), out);
            }
            Event::Text(text) | Event::Refusal(text) if !text.is_empty() => {
                self.say(text.as_escaped(), "", out);
            }
            Event::ToolStart { .. } => self.begin(event.call_head(), out),
            Event::ToolArguments { index, fragment } => {
                self.spoken();
                if let Some(call) = self.open.get_mut(index) {
                    call.arguments.push(fragment);
                }
            }
            Event::ToolEnd { index } => {
                if let Some(call) = self.open.remove(index) {
                    self.close(&call, out);
                }
            }
            Event::ToolCall { arguments, .. } => {
                if let Some(head) = event.call_head() {
                    self.call(head, arguments, out);
                }
            }
            Event::Logprobs(array) => {
                push_logprobs(array, &mut self.logprobs);
                if self.logprobs.len() > LOGPROBS_HELD {
                    self.say("", "", out);
                }
            }
            Event::Usage(usage) => self.usage.update(usage),
            Event::Finish { reason, .. } => {
                self.close_all(out);
                self.finish = *reason;
            }
            Event::End => self.end(out),
            Event::Failed(fault) => {
                self.over = true;
                out.extend_from_slice(&error_line(&fault.message));
            }
            Event::Thinking(_)
            | Event::Text(_)
            | Event::Refusal(_)
            | Event::Start { .. }
            | Event::Signature { .. }
            | Event::TextSignature(_)
            | Event::Sources(_)
            | Event::Ping
            | Event::Served { .. }
            | Event::Foreign
            | Event::Malformed
            | Event::Reframed => {}
        }
    }
}

impl Encoder {
    /// Notes that a piece has come now.
    fn spoken(&mut self) -> Instant {
        let now = Instant::now();
        self.spoken.get_or_insert((now, now)).1 = now;
        now
    }

    /// Writes a line with what is held for it.
    fn say(&mut self, content: &str, thinking: &str, out: &mut Vec<u8>) {
        let now = self.spoken();
        let said = Said {
            content,
            thinking,
            calls: &[],
            logprobs: &self.logprobs,
        };
        self.lines.more(now, said, out);
        self.logprobs.clear();
    }

    fn begin(&mut self, head: Option<CallHead<'_>>, out: &mut Vec<u8>) {
        let Some(head) = head else { return };
        self.spoken();
        let call = Call {
            index: head.index,
            id: head.id.cloned().map(Text::into_owned),
            name: head.name.clone().into_owned(),
            signature: head.signature.cloned().map(Text::into_owned),
            arguments: Text::default(),
        };
        // A number that comes twice is another call's.
        if let Some(before) = self.open.insert(head.index, call) {
            self.close(&before, out);
        }
    }

    fn call(&mut self, head: CallHead<'_>, arguments: &Json<'_>, out: &mut Vec<u8>) {
        let now = self.spoken();
        let id = id_or_made(head.id, head.index, &self.reply);
        self.call.clear();
        write_call(id, head, arguments, &mut self.call);
        let said = Said {
            calls: &self.call,
            logprobs: &self.logprobs,
            ..Said::default()
        };
        self.lines.more(now, said, out);
        self.logprobs.clear();
    }

    fn close(&mut self, call: &Call, out: &mut Vec<u8>) {
        let (arguments, _) = Json::arguments(call.arguments.decoded());
        let head = CallHead {
            index: call.index,
            id: call.id.as_ref(),
            name: &call.name,
            signature: call.signature.as_ref(),
        };
        self.call(head, &arguments, out);
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        for call in std::mem::take(&mut self.open).into_values() {
            self.close(&call, out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close_all(out);
        self.over = true;
        let now = Instant::now();
        let metrics = metrics(&self.usage, self.reply.started, self.spoken, now);
        let said = Said {
            logprobs: &self.logprobs,
            ..Said::default()
        };
        self.lines.last(now, said, self.finish, &metrics, out);
        out.push(b'\n');
    }
}

/// Appends a whole answer, one object.
pub(in crate::dialect::ollama) fn write_whole(
    form: Api,
    response: &Response,
    reply: &Reply,
    out: &mut Vec<u8>,
) {
    let mut calls = Vec::new();
    for (index, call) in response.calls().enumerate() {
        if index > 0 {
            calls.push(b',');
        }
        let head = call.head(index);
        let id = id_or_made(head.id, index, reply);
        write_call(id, head, &call.arguments(), &mut calls);
    }
    let mut logprobs = Vec::new();
    if let Some(array) = &response.logprobs {
        push_logprobs(array, &mut logprobs);
    }
    let (content, thinking) = (response.text(), response.thinking());
    let said = Said {
        content: content.as_escaped(),
        thinking: thinking.as_escaped(),
        calls: &calls,
        logprobs: &logprobs,
    };
    let now = Instant::now();
    // When the first piece came is not known of a whole answer: all of it counts as the answer's time.
    let spoken = Some((reply.started, now));
    let metrics = metrics(&response.usage, reply.started, spoken, now);
    Lines::new(form, &reply.model).last(now, said, response.finish, &metrics, out);
}

/// Appends an answer that is only an end, as those to loading and unloading.
pub(in crate::dialect::ollama) fn write_end(
    form: Api,
    reply: &Reply,
    reason: Finish,
    out: &mut Vec<u8>,
) {
    let (now, usage) = (Instant::now(), Usage::default());
    Lines::new(form, &reply.model).last(now, Said::default(), reason, &usage, out);
}

/// Appends a line that says nothing of the answer, for a client that waits for the first; `status` says for what it waits.
pub(in crate::dialect::ollama) fn write_quiet(
    form: Api,
    model: &Text<'_>,
    status: Option<&Text<'_>>,
    out: &mut Vec<u8>,
) {
    Lines::new(form, model).quiet(Instant::now(), status, out);
}

/// Returns the id of a call, or one that is made. Ids are what the client's answers to calls are matched by, so every
/// call has one.
fn id_or_made<'a>(id: Option<&'a Text<'_>>, index: usize, reply: &Reply) -> Text<'a> {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => id.borrow(),
        None => Text::escaped(format!("call_{}_{index}", reply.id)),
    }
}

/// Appends the items of an array to those that are held.
fn push_logprobs(array: &Json<'_>, held: &mut Vec<u8>) {
    let inside = array.as_str().trim_ascii();
    let inside = inside
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .map_or("", str::trim_ascii);
    if inside.is_empty() {
        return;
    }
    if !held.is_empty() {
        held.push(b',');
    }
    one_line(inside, held);
}

/// Returns the counters of the last line. Times that the provider does not tell are those that the gateway saw: until
/// the first piece, and from the first to the last, which is never 0 beside tokens since clients divide by it.
fn metrics(
    usage: &Usage,
    started: Instant,
    spoken: Option<(Instant, Instant)>,
    now: Instant,
) -> Usage {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let between = |from: Instant, to: Instant| nanoseconds(to.saturating_duration_since(from));
    let (first, last) = spoken.unwrap_or((now, now));
    let least = u64::from(usage.output.is_some_and(|tokens| tokens > 0));
    Usage {
        total_duration: usage.total_duration.or(Some(between(started, now))),
        prompt_duration: usage.prompt_duration.or(Some(between(started, first))),
        output_duration: Some(
            usage
                .output_duration
                .unwrap_or_else(|| between(first, last))
                .max(least),
        ),
        ..*usage
    }
}
