//! What chats and Responses have in common when they pass as they came: the parameters that a model is known to refuse are
//! left out, and schemas get what they lack.

use serde_json::value::RawValue;

use super::schema::{Hop, complete};
use crate::dialect::exchange::Target;
use crate::facts::{EffortLevel, Parameter, ReasoningControl, ReasoningSetting};
use crate::ir::{Dropped, Text};
use crate::wire::json::Object;

/// A request that is being put right.
pub(super) struct Fit<'a, 't> {
    pub(super) body: Object<'a>,
    pub(super) target: &'t Target<'t>,
    pub(super) ask: ReasoningSetting,
    pub(super) dropped: Dropped,
}

/// A member that a model may refuse, and what it may say without saying anything.
pub(super) type Refinement = (&'static str, Parameter, &'static [&'static str]);

impl<'a> Fit<'a, '_> {
    /// Returns what is left, and what it is without; `None` if it may pass as it is.
    pub(super) fn finish(self) -> Option<(Vec<u8>, Dropped)> {
        let dropped = self.dropped;
        self.body.written().map(|body| (body, dropped))
    }

    pub(super) fn leave_out(&mut self, refinements: &[Refinement]) {
        for (name, parameter, unsaid) in refinements {
            if self.target.facts.refuses(*parameter, self.ask)
                && let Some(value) = self.body.get(name)
            {
                let says = !unsaid.iter().any(|word| word.as_bytes() == value);
                self.dropped.add_if(says, name);
                self.body.remove(name);
            }
        }
    }

    /// Leaves out a temperature that the model refuses, which is any but 1, which the model has by itself; and some
    /// take no `top_p` beside it.
    pub(super) fn temperature(&mut self) {
        const NAME: &str = "temperature";
        if self.target.facts.refuses(Parameter::Temperature, self.ask)
            && let Some(value) = self.body.get(NAME)
            && number(value) != Some(1.0)
        {
            self.body.remove(NAME);
            self.dropped.add(NAME);
        }
        let alone =
            self.target.facts.sampling == crate::facts::SamplingRule::OneOfTemperatureAndTopP;
        if alone && self.body.get(NAME).is_some() && self.body.get("top_p").is_some() {
            self.body.remove("top_p");
            self.dropped.add("top_p");
        }
    }

    /// Asks for no more tokens than the model can write.
    pub(super) fn limit(&mut self, name: &'static str) {
        let most = self.target.facts.max_output;
        let wanted = self.body.get(name).and_then(number);
        if let (Some(most), Some(wanted)) = (most, wanted)
            && wanted > most as f64
        {
            self.body.set(name, most.to_string());
            self.dropped.add(name);
        }
    }

    /// Asks for no fewer tokens than the provider takes for a limit.
    pub(super) fn least(&mut self, name: &'static str, least: u64) {
        let wanted = self.body.get(name).and_then(number);
        if wanted.is_some_and(|wanted| (0.0..least as f64).contains(&wanted)) {
            self.body.set(name, least.to_string());
            self.dropped.add(name);
        }
    }

    pub(super) fn forced_choice(&mut self) {
        const NAME: &str = "tool_choice";
        let refused = self
            .target
            .facts
            .refuses(Parameter::ForcedToolChoice, self.ask);
        let forces = |value: &[u8]| match value {
            b"\"required\"" => true,
            // Of those that are allowed none need be called.
            object => {
                object.starts_with(b"{")
                    && memchr::memmem::find(object, b"\"allowed_tools\"").is_none()
            }
        };
        if refused && self.body.get(NAME).is_some_and(forces) {
            self.body.remove(NAME);
            self.dropped.add(NAME);
        }
    }

    /// Returns what becomes of an effort as it is written.
    pub(super) fn effort(&self, value: Option<&[u8]>) -> Fate {
        let Some(wanted) = value.and_then(effort) else {
            return Fate::Kept;
        };
        let reasoning = &self.target.facts.reasoning;
        match reasoning.form {
            ReasoningControl::Never => Fate::Refused(wanted),
            ReasoningControl::Effort => match reasoning.effort_for(wanted) {
                Some(nearest) if nearest != wanted => Fate::Nearest(nearest),
                _ => Fate::Kept,
            },
            _ => Fate::Kept,
        }
    }

    /// Completes the schemas of a member to which one of the ways leads.
    pub(super) fn schemas(&mut self, name: &'static str, ways: &[&[Hop]]) {
        let whole = self.body.get(name).and_then(|value| complete(value, ways));
        if let Some(whole) = whole {
            self.body.set(name, whole);
        }
    }
}

/// What becomes of an effort.
pub(super) enum Fate {
    Kept,
    /// The model knows another one.
    Nearest(EffortLevel),
    /// The model does not reason.
    Refused(EffortLevel),
}

pub(super) fn number(value: &[u8]) -> Option<f64> {
    serde_json::from_slice(value).ok()
}

pub(super) fn raw(value: Option<&[u8]>) -> Option<&RawValue> {
    serde_json::from_slice(value?).ok()
}

fn effort(value: &[u8]) -> Option<EffortLevel> {
    EffortLevel::named(raw(Some(value)).and_then(Text::of)?.as_escaped())
}
