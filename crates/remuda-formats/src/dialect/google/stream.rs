//! Reads `streamGenerateContent?alt=sse`: each event is a piece of the answer, there is no terminator, and an error may
//! break in as bare JSON over several lines.

use super::answer::Answer;
use crate::dialect::events::{Reads, Unreadable};
use crate::ir::{Event, Fault};

impl Reads for Answer {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_fresh(&self) -> bool {
        !self.started && !self.over
    }

    fn lacks_nothing(&self) -> bool {
        self.lacks_nothing()
    }

    fn event(
        &mut self,
        _: &[u8],
        data: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        // Others that speak Gemini's format end like OpenAI.
        if data.starts_with(b"[DONE]") {
            self.end(emit);
            return Ok(());
        }
        self.piece(data, emit)
    }

    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        if self.piece(body, emit).is_err() {
            let fault = Fault::garbled("the provider's answer cannot be read");
            return self.fail(fault, emit);
        }
        self.end(emit);
    }

    /// The body has come to its end, which is proper if the answer's own end has come.
    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.end(emit);
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        self.fail(fault, emit);
    }
}
