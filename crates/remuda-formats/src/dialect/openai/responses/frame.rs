//! The response object, which the first two events hold, the last one, and an answer that is not streamed.

use std::io::Write as _;
use std::time::UNIX_EPOCH;

use super::super::frame::write_served;
use super::super::object::Object;
use super::usage;
use crate::dialect::exchange::Reply;
use crate::ir::{Fault, FaultKind, Finish, Text, Usage};
use crate::wire::json::write_string;

/// How far a response has come.
#[derive(Clone, Copy)]
pub(super) enum State<'s> {
    Begun,
    Ended(Finish, &'s Usage),
    Failed(&'s Fault),
}

/// What is the same in every response object of one answer. Of the client's request it repeats nothing: those fields
/// have the values that say so, where clients cannot do without.
pub(super) struct Frame {
    head: Vec<u8>,
    tier: Option<Text<'static>>,
}

impl Frame {
    pub(super) fn new(reply: &Reply) -> Self {
        let created = reply
            .created
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut head = Vec::with_capacity(512);
        write!(
            head,
            "{{\"id\":\"resp_{}\",\"object\":\"response\",\"created_at\":{created},\"model\":\"{}\",\
             \"background\":false,\"instructions\":null,\"max_output_tokens\":null,\"metadata\":{{}},\
             \"parallel_tool_calls\":true,\"previous_response_id\":null,\"store\":false,\"temperature\":null,\
             \"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null",
            reply.id,
            reply.model.as_escaped()
        )
        .expect("writing to a vector cannot fail");
        Frame { head, tier: None }
    }

    /// Takes over how the provider serves the answer, where it says so.
    pub(super) fn serve(&mut self, tier: Option<&Text<'_>>) {
        if let Some(tier) = tier {
            self.tier = Some(tier.clone().into_owned());
        }
    }

    /// Appends the object; `output` writes the items, with commas between them.
    pub(super) fn write(
        &self,
        state: State<'_>,
        output: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&self.head);
        write_served(&self.tier, &None, out);
        let (status, reason) = match state {
            State::Begun => ("in_progress", None),
            State::Failed(_) => ("failed", None),
            State::Ended(finish, _) => (status(finish), incomplete(finish)),
        };
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(status.as_bytes());
        out.extend_from_slice(b"\",\"error\":");
        match state {
            State::Failed(fault) => {
                let mut error = Object::new(out);
                error.word("code", error_code(fault));
                write_string(&fault.message, error.key("message"));
                error.end();
            }
            _ => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"incomplete_details\":");
        match reason {
            Some(reason) => {
                let mut details = Object::new(out);
                details.word("reason", reason);
                details.end();
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"output\":[");
        output(out);
        out.extend_from_slice(b"],\"usage\":");
        match state {
            State::Ended(_, usage) => usage::write(usage, out),
            _ => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
}

/// Returns the status of a response that has ended.
pub(super) fn status(finish: Finish) -> &'static str {
    match incomplete(finish) {
        Some(_) => "incomplete",
        None => "completed",
    }
}

/// Returns why a response is incomplete; `None` if it is not. A full context has no word of its own.
fn incomplete(finish: Finish) -> Option<&'static str> {
    match finish {
        Finish::Length | Finish::ContextFull => Some("max_output_tokens"),
        Finish::Filtered => Some("content_filter"),
        Finish::Stop | Finish::ToolCalls | Finish::Load | Finish::Unload => None,
    }
}

/// Returns OpenAI's `code`: the provider's own, if it has one.
pub(super) fn error_code(fault: &Fault) -> &str {
    match fault.kind {
        FaultKind::ContextLength => "context_length_exceeded",
        kind => fault.code.as_deref().unwrap_or(code_of(kind)),
    }
}

fn code_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::RateLimit => "rate_limit_exceeded",
        FaultKind::ContextLength => "context_length_exceeded",
        FaultKind::InvalidRequest
        | FaultKind::TooLarge
        | FaultKind::ContentFilter
        | FaultKind::Unsupported => "invalid_prompt",
        FaultKind::ModelNotFound
        | FaultKind::Credentials
        | FaultKind::Billing
        | FaultKind::Overloaded
        | FaultKind::Timeout
        | FaultKind::Server
        | FaultKind::Incomplete
        | FaultKind::Garbled => "server_error",
    }
}
