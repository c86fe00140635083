//! One line of an answer, in the order in which Go writes its fields.

use std::io::Write as _;
use std::time::Instant;

use super::Api;
use super::clock::Clock;
use crate::dialect::signature;
use crate::ir::{CallHead, Finish, Json, Text, Usage};

/// Writes the lines of one answer.
#[derive(Debug)]
pub(super) struct Lines {
    form: Api,
    /// `{"model":"…","created_at":"`
    head: Vec<u8>,
    clock: Clock,
}

/// What one line says; all of it is JSON already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'s> {
    /// The insides of string literals.
    pub(super) content: &'s str,
    pub(super) thinking: &'s str,
    /// The insides of arrays, on one line.
    pub(super) calls: &'s [u8],
    pub(super) logprobs: &'s [u8],
}

impl Lines {
    pub(super) fn new(form: Api, model: &Text<'_>) -> Self {
        let mut head = b"{\"model\":".to_vec();
        model.write(&mut head);
        head.extend_from_slice(b",\"created_at\":\"");
        Lines {
            form,
            head,
            clock: Clock::new(),
        }
    }

    /// Appends a line after which more will come, with its newline.
    pub(super) fn more(&mut self, now: Instant, said: Said<'_>, out: &mut Vec<u8>) {
        self.begin(now, said, out);
        out.extend_from_slice(b",\"done\":false");
        self.finish(said, out);
        out.push(b'\n');
    }

    /// Appends a line that says nothing of the answer, with its newline. A `status` says what the client waits for, in the
    /// field in which Ollama tells the progress of its other streams; without one there is no such field.
    pub(super) fn quiet(&mut self, now: Instant, status: Option<&Text<'_>>, out: &mut Vec<u8>) {
        self.begin(now, Said::default(), out);
        out.extend_from_slice(b",\"done\":false");
        if let Some(status) = status {
            out.extend_from_slice(b",\"status\":");
            status.write(out);
        }
        out.extend_from_slice(b"}\n");
    }

    /// Appends the last object, without a newline.
    pub(super) fn last(
        &mut self,
        now: Instant,
        said: Said<'_>,
        reason: Finish,
        metrics: &Usage,
        out: &mut Vec<u8>,
    ) {
        self.begin(now, said, out);
        out.extend_from_slice(b",\"done\":true,\"done_reason\":\"");
        out.extend_from_slice(done_reason(reason).as_bytes());
        out.push(b'"');
        for (name, value) in [
            ("total_duration", metrics.total_duration),
            ("load_duration", metrics.load_duration),
            ("prompt_eval_count", metrics.prompt),
            ("prompt_eval_cached_count", metrics.cache_read),
            ("prompt_eval_duration", metrics.prompt_duration),
            ("eval_count", metrics.output),
            ("eval_duration", metrics.output_duration),
        ] {
            // Go leaves zeros out.
            if let Some(value) = value.filter(|value| *value > 0) {
                write!(out, ",\"{name}\":{value}").expect("writing to a vector cannot fail");
            }
        }
        self.finish(said, out);
    }

    /// Writes a line up to what the model said.
    fn begin(&mut self, now: Instant, said: Said<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        self.clock.write(now, out);
        out.extend_from_slice(match self.form {
            Api::Chat => b"\",\"message\":{\"role\":\"assistant\",\"content\":\"".as_slice(),
            Api::Generate => b"\",\"response\":\"",
        });
        out.extend_from_slice(said.content.as_bytes());
        out.push(b'"');
        if !said.thinking.is_empty() {
            out.extend_from_slice(b",\"thinking\":\"");
            out.extend_from_slice(said.thinking.as_bytes());
            out.push(b'"');
        }
        if self.form == Api::Chat {
            array("tool_calls", said.calls, out);
            out.push(b'}');
        }
    }

    /// Writes what stands after the counters.
    fn finish(&self, said: Said<'_>, out: &mut Vec<u8>) {
        if self.form == Api::Generate {
            array("tool_calls", said.calls, out);
        }
        array("logprobs", said.logprobs, out);
        out.push(b'}');
    }
}

fn array(name: &str, inside: &[u8], out: &mut Vec<u8>) {
    if inside.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":[");
    out.extend_from_slice(inside);
    out.push(b']');
}

/// Returns Ollama's `done_reason`. Tool calls are no reason of their own.
fn done_reason(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop | Finish::ToolCalls | Finish::Filtered => "stop",
        Finish::Length | Finish::ContextFull => "length",
        Finish::Load => "load",
        Finish::Unload => "unload",
    }
}

/// Appends a call: `{"id","function":{"index","name","arguments"}}`.
pub(super) fn write_call(
    id: Text<'_>,
    head: CallHead<'_>,
    arguments: &Json<'_>,
    out: &mut Vec<u8>,
) {
    let CallHead {
        index,
        name,
        signature,
        ..
    } = head;
    out.extend_from_slice(b"{\"id\":");
    signature::pack(id, signature).write(out);
    write!(out, ",\"function\":{{\"index\":{index},\"name\":")
        .expect("writing to a vector cannot fail");
    name.write(out);
    out.extend_from_slice(b",\"arguments\":");
    if arguments.is_object() {
        one_line(arguments.as_str(), out);
    } else {
        one_line(Json::arguments(arguments.as_str().into()).0.as_str(), out);
    }
    out.extend_from_slice(b"}}");
}

/// Appends JSON without the newlines between its tokens, which would end the line.
pub(super) fn one_line(json: &str, out: &mut Vec<u8>) {
    let mut rest = json.as_bytes();
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
