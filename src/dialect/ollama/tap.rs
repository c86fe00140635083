//! Watches an answer whose bytes pass untouched: did it begin with an error, did it come to its
//! proper end, what did it cost.

mod line;
mod sse;
mod whole;

use super::{Framing, Operation};
use crate::wire::ndjson::{LineSplitter, MAX_LINE};
use line::Report;
use whole::Tail;

/// How an answer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<'a> {
    /// With what was asked for.
    Content,
    /// With `{"error":…}`: nothing of the answer is worth keeping.
    Error { text: &'a str },
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its terminator (`done:true`, `success`, `[DONE]`, `message_stop`, …), or as a whole body.
    Complete,
    /// Without any: it broke off.
    Incomplete,
    /// With an error.
    Error,
}

/// Why generation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneReason {
    Stop,
    Length,
    Load,
    Unload,
    Other,
}

/// What an answer cost, in Ollama's words: tokens and nanoseconds, 0 where not stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_eval_count: u64,
    pub eval_count: u64,
    pub prompt_eval_duration: u64,
    pub eval_duration: u64,
    pub load_duration: u64,
    pub total_duration: u64,
}

/// The watcher of one answer.
#[derive(Debug)]
pub struct Tap {
    operation: Operation,
    form: Form,
    report: Report,
    /// How [`Tap::mid_line`] stood when the answer ended.
    ended_mid_line: Option<bool>,
}

#[derive(Debug)]
enum Form {
    Ndjson(LineSplitter),
    Sse(LineSplitter),
    Whole(Tail),
}

impl Tap {
    /// `streaming`: what the request asked for, with the operation's default applied.
    pub fn new(operation: Operation, streaming: bool) -> Self {
        let form = match operation.framing() {
            Framing::Ndjson if streaming => Form::Ndjson(LineSplitter::new(MAX_LINE)),
            Framing::Sse if streaming => Form::Sse(LineSplitter::new(MAX_LINE)),
            _ => Form::Whole(Tail::default()),
        };
        Tap {
            operation,
            form,
            report: Report::default(),
            ended_mid_line: None,
        }
    }

    /// Whether the answer is lines or events rather than one body.
    pub fn streams(&self) -> bool {
        !matches!(self.form, Form::Whole(_))
    }

    /// Looks at the next bytes of the answer.
    pub fn feed(&mut self, piece: &[u8]) {
        let report = &mut self.report;
        match &mut self.form {
            Form::Ndjson(lines) => {
                // A line beyond the bound is one that no client reads either: it stays unread.
                let _ = lines.feed(piece, |line| report.ndjson(line));
                report.peek(lines.partial());
            }
            Form::Sse(lines) => {
                let _ = lines.feed(piece, |line| report.sse(line));
            }
            Form::Whole(tail) => {
                tail.push(piece);
                report.peek(tail.head());
            }
        }
    }

    /// The answer has ended, or will not go on.
    pub fn finish(&mut self) -> Ending {
        self.ended_mid_line = Some(self.mid_line());
        let report = &mut self.report;
        match &mut self.form {
            Form::Ndjson(lines) | Form::Sse(lines) => report.rest(&lines.finish()),
            Form::Whole(tail) => return tail.finish(self.operation, report),
        }
        report.ending()
    }

    /// How the answer began, as soon as that can be told.
    pub fn first(&self) -> Option<First<'_>> {
        self.report.first()
    }

    /// Whether anything that was asked for has come.
    pub fn content_seen(&self) -> bool {
        self.report.content
    }

    /// Lines or events that carried content: for generate and chat, about as many as tokens.
    pub fn content_lines(&self) -> u64 {
        self.report.content_lines
    }

    /// Whether the answer's terminator has come.
    pub fn done(&self) -> bool {
        self.report.done
    }

    pub fn done_reason(&self) -> Option<DoneReason> {
        self.report.done_reason
    }

    /// What the answer said it cost, once it has.
    pub fn usage(&self) -> Option<Usage> {
        self.report.usage
    }

    /// The text of the error that began, broke off or was the answer.
    pub fn error(&self) -> Option<&str> {
        self.report.error.as_deref()
    }

    /// Whether the bytes so far stop inside a line or an event, which must be ended before an error
    /// can be told.
    pub fn mid_line(&self) -> bool {
        self.ended_mid_line.unwrap_or_else(|| match &self.form {
            Form::Ndjson(lines) => lines.mid_line(),
            Form::Sse(lines) => lines.mid_line() || self.report.event.open,
            Form::Whole(_) => false,
        })
    }
}

#[cfg(test)]
mod tests;
