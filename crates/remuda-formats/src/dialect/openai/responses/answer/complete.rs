//! The end of a response, and what it may lack.

use serde_json::value::RawValue;

use super::super::super::error::{fault_in, fault_of_text};
use super::super::super::field::{Field, full};
use super::super::calls::{Calls, Contradicted};
use super::super::item::{Responded, misshapen};
use super::Reader;
use crate::dialect::events::Reads as _;
use crate::ir::{Event, Fault, Finish, Text, Usage};

/// So many tokens without anything that can be read are no empty answer, but one in an unknown form.
const TOO_MANY_EMPTY: u64 = 16;

impl Reader {
    /// Ends the answer, as the response has come to its end.
    pub(super) fn complete(
        &mut self,
        response: Responded<'_>,
        is_short: bool,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        self.start(&response, emit);
        let status = full(response.status).unwrap_or_else(|| {
            if is_short {
                Text::escaped("incomplete")
            } else {
                Text::default()
            }
        });
        let error = response.error.filter(|error| error.get() != "{}");
        match (error, status.as_escaped()) {
            (Some(error), _) => return self.fail(fault_in(error), emit),
            (None, "failed" | "cancelled") => return self.fail(fault_of_text(""), emit),
            (None, "queued" | "in_progress") => return self.fail(Fault::incomplete(), emit),
            _ => {}
        }
        // What it was asked for has become what it was.
        if let Some(tier) = full(response.service_tier) {
            let fingerprint = None;
            emit(Event::Served {
                tier: Some(tier),
                fingerprint,
            });
        }
        let usage = response.usage.map(|counts| counts.usage());
        let output = response.output.as_deref().unwrap_or_default();
        if let Some(what) = misshapen(output).filter(|_| !self.said) {
            return self.fail(Fault::garbled(what), emit);
        }
        self.repeated(output, emit);
        if !self.nameless.is_empty() {
            emit(Event::Malformed);
            return self.fail(Fault::nameless_call(), emit);
        }
        if self.told.too_many {
            let fault = Fault::garbled("the provider's answer has too many items");
            return self.fail(fault, emit);
        }
        let finish = finish(
            &status,
            response.incomplete_details.and_then(|why| why.reason),
        );
        if finish == Finish::Stop
            && let Some(what) = self.lacks(response.output.as_deref(), &status, usage)
        {
            return self.fail(Fault::garbled(what), emit);
        }
        if let Err(Contradicted) = Calls::end_all(&mut self.told, emit) {
            emit(Event::Malformed);
            let what = "the provider's answer tells the arguments of a call in two ways";
            return self.fail(Fault::garbled(what), emit);
        }
        if let Some(usage) = usage {
            emit(Event::Usage(usage));
        }
        emit(Event::Finish {
            reason: finish,
            stop: None,
        });
        self.over = true;
        emit(Event::End);
    }

    /// Returns what an answer that ended by itself lacks: any output, or a text that could be read.
    ///
    /// A body that calls itself completed, with an empty list, is an empty answer, as a chat may have one: nobody else
    /// would serve the request better, and a client of this API is shown it too. A stream may have said something in
    /// events that are not known here.
    fn lacks(
        &self,
        output: Option<&[&RawValue]>,
        status: &Text<'_>,
        usage: Option<Usage>,
    ) -> Option<&'static str> {
        if self.said {
            return None;
        }
        let has_output = output.is_some_and(|output| !output.is_empty());
        let is_stated = self.whole && output.is_some() && status.as_escaped() == "completed";
        if !has_output && self.sources.is_empty() && !is_stated {
            return Some("the provider's answer has no output");
        }
        let words = usage.and_then(|usage| {
            let output = usage.output?;
            Some(output - usage.reasoning.unwrap_or(0).min(output))
        });
        words
            .is_some_and(|words| words > TOO_MANY_EMPTY)
            .then_some("the provider's answer has no text that could be read")
    }
}

/// Returns why a response ended. There is no word for calls: items show them.
fn finish(status: &Text<'_>, reason: Field<'_>) -> Finish {
    if status.as_escaped() != "incomplete" {
        return Finish::Stop;
    }
    match full(reason).unwrap_or_default().as_escaped() {
        "content_filter" => Finish::Filtered,
        _ => Finish::Length,
    }
}
