//! Why a request goes where it goes: what the planner says about its decisions when it is asked to.

use crate::ids::ProviderId;
use serde::Serialize;

/// What the planner notes; nothing unless somebody asked.
#[derive(Debug, Default)]
pub(super) struct Trace(Option<Record>);

#[derive(Debug, Default)]
struct Record {
    decided: Vec<String>,
    out: Vec<(ProviderId, String)>,
}

impl Trace {
    pub(super) fn on() -> Trace {
        Trace(Some(Record::default()))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What has decided.
    pub(super) fn decided(&mut self, what: impl FnOnce() -> String) {
        if let Some(record) = &mut self.0 {
            record.decided.push(what());
        }
    }

    /// Why a provider does not serve the request, or not before others.
    pub(super) fn out(&mut self, provider: ProviderId, why: impl FnOnce() -> String) {
        if let Some(record) = &mut self.0 {
            let why = why();
            if !record.out.contains(&(provider, why.clone())) {
                record.out.push((provider, why));
            }
        }
    }

    /// All that has decided, in order, and what was said of each provider.
    pub(super) fn taken(self) -> (Vec<String>, Vec<(ProviderId, String)>) {
        let record = self.0.unwrap_or_default();
        (record.decided, record.out)
    }
}

/// A plan and its reasons, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The model that was asked for.
    pub model: String,
    /// What decided, in order.
    pub decided_by: Vec<String>,
    pub strategy: &'static str,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Names like one that means nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<String>,
    /// The plan: tried one after the other.
    pub steps: Vec<ExplainedStep>,
    /// Every provider, as configured.
    pub providers: Vec<Verdict>,
}

/// One step of the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExplainedStep {
    /// The name by which the step's providers are asked for it.
    pub model: String,
    pub providers: Vec<String>,
    pub reserve: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait_seconds: Option<f64>,
    /// How long a request that comes now would wait for a slot here, if there is a saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_wait_seconds: Option<f64>,
    /// An overflow that a request that comes now is sent to at once, as it would wait too long for the steps before.
    pub due: bool,
}

/// Whether one provider may serve the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub provider: String,
    pub kind: &'static str,
    /// Its first step, counted from 1; absent if it is out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    pub healthy: bool,
    /// Whether it takes requests now, as far as breaker and cool-down are concerned.
    pub available: bool,
    pub in_flight: u32,
    pub slots: u32,
    /// What was looked at, of one that has a step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    pub why: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_noted_unless_asked() {
        let mut off = Trace::default();
        off.decided(|| unreachable!("nobody asked"));
        off.out(ProviderId::at(0), || unreachable!("nobody asked"));
        assert_eq!(off.taken(), Default::default());

        let mut on = Trace::on();
        on.decided(|| "alias".to_owned());
        for _ in 0..2 {
            on.out(ProviderId::at(1), || "filter".to_owned());
        }
        let expected = (
            vec!["alias".to_owned()],
            vec![(ProviderId::at(1), "filter".to_owned())],
        );
        assert_eq!(on.taken(), expected);
    }
}
