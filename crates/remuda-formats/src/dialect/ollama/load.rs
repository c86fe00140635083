//! Requests that only load or unload a model. A hosted provider has nothing to load: the gateway answers as Ollama does.

use super::answer::{Api, write_end};
use crate::client::RequestFacts;
use crate::dialect::exchange::Reply;
use crate::ir::Finish;

/// What a request without input asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOrUnload {
    Load,
    Unload,
}

impl LoadOrUnload {
    /// Returns what a request that was scanned asks for; `None` if it has input.
    pub fn of(facts: &RequestFacts<'_>) -> Option<Self> {
        match (facts.empty_input, facts.is_unload()) {
            (false, _) => None,
            (true, true) => Some(LoadOrUnload::Unload),
            (true, false) => Some(LoadOrUnload::Load),
        }
    }

    /// Appends the answer of `/api/generate` or `/api/chat`: one object, also where a stream was asked for.
    pub(super) fn write(self, form: Api, reply: &Reply, out: &mut Vec<u8>) {
        let reason = match self {
            LoadOrUnload::Load => Finish::Load,
            LoadOrUnload::Unload => Finish::Unload,
        };
        write_end(form, reply, reason, out);
    }
}
