//! What has been seen of an answer that passes, of all of it and of the line or event that is being read.

use crate::client::{ErrorStyle, Operation};
use crate::ir::{Event, Fault, FaultKind, Usage};

#[derive(Default)]
pub(super) struct Seen {
    /// Anything of the answer itself has come.
    pub(super) begun: bool,
    pub(super) ended: bool,
    pub(super) fault: Option<Fault>,
    pub(super) usage: Usage,
    /// Lines and events that carried content.
    pub(super) units: u64,
    /// Bytes of text, reasoning and arguments.
    pub(super) said: u64,
    /// Lines and events that could not be read.
    pub(super) malformed: u64,
    /// It comes in another framing than the client waits for.
    reframed: bool,
    unit: Here,
}

/// What the line or event has said that is being read.
#[derive(Clone, Copy, Default)]
struct Here {
    content: bool,
    usage: bool,
    malformed: bool,
    /// Anything was told of it but a sign of life.
    told: bool,
}

impl Seen {
    pub(super) fn event(&mut self, event: &Event<'_>) {
        if self.over() {
            return;
        }
        self.unit.told |= !matches!(event, Event::Start { .. } | Event::Ping | Event::Malformed);
        match event {
            Event::Text(text)
            | Event::Thinking(text)
            | Event::Refusal(text)
            | Event::ToolArguments { fragment: text, .. } => {
                self.said += text.as_escaped().len() as u64;
                self.unit.content |= !text.is_empty();
            }
            Event::Usage(usage) => {
                self.usage.update(usage);
                self.unit.usage = true;
            }
            Event::Malformed => self.unit.malformed = true,
            Event::Reframed => self.reframed = true,
            Event::End => self.ended = true,
            Event::Failed(fault) => self.fault = Some(fault.clone().into_owned()),
            Event::Finish { .. } | Event::Start { .. } | Event::Ping => {}
            other => self.unit.content |= other.is_content(),
        }
        if event.is_content() {
            if self.reframed {
                self.misframed();
            } else {
                self.begun = true;
            }
        }
    }

    /// Returns whether there is nothing more to be read.
    pub(super) fn over(&self) -> bool {
        self.ended || self.fault.is_some()
    }

    /// Returns whether the line or event that is being read could not be.
    pub(super) fn unreadable(&self) -> bool {
        self.unit.malformed && !self.unit.content
    }

    /// Returns whether nothing was told of the line or event that is being read.
    pub(super) fn told_nothing(&self) -> bool {
        !self.unit.told && !self.unit.malformed
    }

    /// Returns whether it tells the usage and says nothing.
    pub(super) fn told_usage(&self) -> bool {
        self.unit.usage && !self.unit.content
    }

    /// It is read once more.
    pub(super) fn again(&mut self) {
        self.unit = Here::default();
    }

    pub(super) fn end_unit(&mut self) {
        self.malformed += u64::from(self.unreadable());
        self.units += u64::from(self.unit.content);
        self.unit = Here::default();
    }

    /// The body has ended.
    pub(super) fn conclude(&mut self) {
        if self.fault.is_none() && self.reframed {
            self.misframed();
        }
        if self.fault.is_none() && !self.ended {
            self.fault = Some(Fault::incomplete());
        }
    }

    pub(super) fn is_garbled(&self) -> bool {
        let kind = self.fault.as_ref().map(|fault| fault.kind);
        kind == Some(FaultKind::Garbled)
    }

    /// It is an answer for all that.
    pub(super) fn accept(&mut self, usage: &Usage) {
        self.fault = None;
        (self.begun, self.ended) = (true, true);
        self.usage.update(usage);
    }

    pub(super) fn misframed(&mut self) {
        self.ended = false;
        self.fault = Some(Fault::misframed());
    }

    /// Returns the failure as it was said, if it is `told` as clients read it, and else as the body of an error.
    pub(super) fn words(&self, operation: Operation, told: bool, said: &[u8]) -> Vec<u8> {
        match &self.fault {
            Some(fault) if !told => ErrorStyle::of(operation)
                .body(fault.client_status(), &fault.message)
                .into(),
            _ => said.to_vec(),
        }
    }

    /// Returns whether the provider has said that it failed, rather than something that makes no sense.
    pub(super) fn failed_by_its_own_words(&self) -> bool {
        self.fault
            .as_ref()
            .is_some_and(|fault| !matches!(fault.kind, FaultKind::Incomplete | FaultKind::Garbled))
    }
}
