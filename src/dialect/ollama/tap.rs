//! Watches an answer whose bytes pass untouched: did it begin with an error, did it come to its
//! proper end, what did it cost.

mod counts;
mod line;
mod sse;
mod whole;

use super::{Framing, Operation};
use crate::ir::Usage;
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
        self.report.counts.usage()
    }

    /// About how many tokens of output have come, for an answer that did not live to tell: one an event, as most
    /// servers send them. Anthropic's events hold several: four bytes of text are one.
    pub fn output_so_far(&self) -> u64 {
        /// Of an event without its text: `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`.
        const FRAME: u64 = 79;
        let report = &self.report;
        match self.operation {
            Operation::AnthropicMessages => {
                let text = report
                    .content_bytes
                    .saturating_sub(report.content_lines * FRAME);
                report.content_lines.max(text / 4)
            }
            _ => report.content_lines,
        }
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
