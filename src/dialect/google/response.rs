//! Reads `generateContent`'s answer.

use std::borrow::Cow;

use super::answer::Answer;
use crate::ir::{Event, ToolNames};

/// Emits what `body`, which came with status 200, says.
pub(super) fn read(body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    let mut answer = Answer::new(Cow::Borrowed(names));
    answer.piece(body, emit);
    answer.end(emit);
}
