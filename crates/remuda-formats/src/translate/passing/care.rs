//! What is put right of the events that pass.

use super::calls::Calls;
use super::named;
use crate::client::Operation;

/// What is put right of the events that pass.
pub(super) enum Care {
    Nothing,
    Names,
    Calls(Calls),
}

impl Care {
    pub(super) fn of(operation: Operation) -> Self {
        match operation {
            Operation::AnthropicMessages | Operation::OpenAiResponses => Care::Names,
            Operation::OpenAiChat => Care::Calls(Calls::default()),
            _ => Care::Nothing,
        }
    }

    /// Returns the event as its client's library wants it; `None` if it is.
    pub(super) fn mended(&mut self, event: &[u8]) -> Option<Vec<u8>> {
        match self {
            Care::Nothing => None,
            Care::Names => named::named(event),
            Care::Calls(calls) => calls.mended(event),
        }
    }
}
