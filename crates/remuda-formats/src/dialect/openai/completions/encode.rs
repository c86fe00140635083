//! Answers as `text_completion`s, streamed and whole. They have no place for thoughts and calls.

use super::super::frame::{self, Served};
use super::super::{chat, error, logprobs, usage};
use crate::dialect::exchange::Reply;
use crate::ir::{Encode, Event, Finish, Json, Response, Text, Usage};

/// Writes the stream of one answer.
pub fn encoder(reply: Reply) -> Box<dyn Encode> {
    let mut head = b"data: ".to_vec();
    head.extend(frame::open("cmpl-", "text_completion", &reply));
    Box::new(Encoder {
        include_usage: reply.include_usage,
        head,
        ended: false,
        length: 0,
        usage: Usage::default(),
        served: Served::default(),
    })
}

/// Appends the whole answer's body.
pub fn write_whole(response: &Response, reply: &Reply, out: &mut Vec<u8>) {
    out.extend(frame::open("cmpl-", "text_completion", reply));
    frame::write_served(&None, &response.fingerprint, out);
    out.extend_from_slice(b",\"choices\":[{\"text\":");
    response.text().write(out);
    out.extend_from_slice(b",\"index\":0,\"logprobs\":");
    match &response.logprobs {
        Some(array) => logprobs::write_parallel(array, &mut 0, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"finish_reason\":");
    out.extend_from_slice(finish_reason(response.finish).as_bytes());
    out.extend_from_slice(b"}],\"usage\":");
    usage::write(&response.usage, out);
    out.push(b'}');
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::ToolCalls => "\"stop\"",
        other => chat::finish_reason(other, false),
    }
}

struct Encoder {
    include_usage: bool,
    /// `data: {…` up to the choices: the same in every chunk.
    head: Vec<u8>,
    ended: bool,
    /// Characters of the tokens whose log probabilities were told.
    length: usize,
    usage: Usage,
    served: Served,
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match event {
            Event::Text(text) | Event::Refusal(text) if !text.is_empty() => {
                self.chunk(text, None, b"null", out);
            }
            Event::Logprobs(array) => self.chunk(&Text::default(), Some(array), b"null", out),
            Event::Usage(usage) => self.usage.update(usage),
            // This API has no tiers.
            Event::Served { fingerprint, .. } => {
                self.served.note(&None, fingerprint, &mut self.head);
            }
            Event::Finish { reason, .. } => {
                self.chunk(
                    &Text::default(),
                    None,
                    finish_reason(*reason).as_bytes(),
                    out,
                );
            }
            Event::End => self.end(out),
            Event::Failed(fault) => {
                self.ended = true;
                out.extend_from_slice(b"data: ");
                error::write_error(fault, out);
                out.extend_from_slice(b"\n\n");
            }
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            _ => {}
        }
    }
}

impl Encoder {
    fn chunk(&mut self, text: &Text<'_>, log: Option<&Json<'_>>, finish: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"choices\":[{\"text\":");
        text.write(out);
        out.extend_from_slice(b",\"index\":0,\"logprobs\":");
        match log {
            Some(array) => logprobs::write_parallel(array, &mut self.length, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"finish_reason\":");
        out.extend_from_slice(finish);
        out.extend_from_slice(b"}]");
        if self.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.ended = true;
        if self.include_usage {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b",\"choices\":[],\"usage\":");
            usage::write(&self.usage, out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
