//! Why a request goes where it goes: a plan with its reasons, and a verdict on every provider.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::ask::{NoPlan, PlanRequest};
use super::plan::{PlanStep, StepModel};
use super::router::Router;
use super::trace::Trace;
use super::view::ProviderStanding;
use crate::ids::{ModelId, ProviderId};
use crate::settings::Strategy;

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
    /// How long a request that comes now would wait for a slot here, if that is known.
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

/// A plan, and what its providers are like while it is explained.
struct Situation<'a> {
    steps: &'a [PlanStep],
    /// Those that have the plan's model.
    having: Vec<ProviderId>,
    /// How every provider is doing, over its backends that have the plan's model.
    standings: Vec<ProviderStanding>,
    /// How every provider is doing, over all of its backends.
    all: Vec<ProviderStanding>,
    now: Instant,
}

impl Situation<'_> {
    fn serves(&self, step: &PlanStep, provider: ProviderId) -> bool {
        if step.providers.is_empty() {
            self.having.contains(&provider)
        } else {
            step.providers.contains(&provider)
        }
    }
}

impl Router {
    /// Explains the plan of a request that comes now. `expected` tells how long it would wait for a slot of a step, if
    /// that is known.
    pub fn explain(
        &self,
        ask: &PlanRequest<'_>,
        now: Instant,
        expected: impl Fn(&PlanStep) -> Option<Duration>,
    ) -> Explanation {
        let mut trace = Trace::on();
        let ask = &PlanRequest {
            looks_only: true,
            ..*ask
        };
        let plan = self.made(ask, now, &mut trace);
        let (decided_by, out) = trace.taken();
        let steps = plan.as_ref().map_or(&[][..], |plan| &plan.steps);
        let model = plan.as_ref().ok().and_then(|plan| plan.model);
        let having = model.map_or_else(Vec::new, |model| self.view.having(model));
        let having = having.into_iter().map(|one| one.provider).collect();
        let situation = Situation {
            steps,
            having,
            standings: self.view.standings(model, now),
            all: self.view.standings(None, now),
            now,
        };
        let verdicts = ProviderId::first(self.settings.providers.len()).map(|id| {
            let said = out.iter().filter(|(about, _)| *about == id);
            let why = said.map(|(_, why)| why.clone()).collect();
            self.verdict(id, why, &situation)
        });
        Explanation {
            model: ask.model.to_owned(),
            providers: verdicts.collect(),
            steps: self.explained(&situation, expected),
            error: plan.as_ref().err().map(NoPlan::to_string),
            similar: Vec::new(),
            decided_by,
            strategy: self.strategy_of(ask).name(),
        }
    }

    /// Returns the verdict on one provider, of which `why` was noted while the plan was made.
    fn verdict(&self, id: ProviderId, mut why: Vec<String>, at: &Situation<'_>) -> Verdict {
        let provider = &self.settings.providers[id];
        let step = at.steps.iter().position(|step| at.serves(step, id));
        let standing = match step {
            Some(_) if at.having.contains(&id) => at.standings[id],
            _ => at.all[id],
        };
        let available = self.view.available(id, at.now);
        if step.is_none() && why.is_empty() {
            why.push("it does not have the model".to_owned());
        }
        if self.view.is_settling(id) {
            why.push("it has not answered its first probe".to_owned());
        } else if !standing.healthy {
            why.push("no healthy backend".to_owned());
        }
        if !available {
            why.push("it is out for a while: its breaker is open, or it cools down".to_owned());
        }
        Verdict {
            provider: provider.name.to_string(),
            kind: provider.kind.name(),
            step: step.map(|step| step + 1),
            healthy: standing.healthy,
            available,
            in_flight: standing.in_flight,
            slots: standing.slots,
            facts: Vec::new(),
            why,
        }
    }

    fn explained(
        &self,
        at: &Situation<'_>,
        expected: impl Fn(&PlanStep) -> Option<Duration>,
    ) -> Vec<ExplainedStep> {
        // Of the steps before, those that a slot can be waited for.
        let mut before: Option<Duration> = None;
        let explained = at.steps.iter().map(|step| {
            let wait = expected(step);
            let due = step.is_due(before);
            if !due {
                before = before.into_iter().chain(wait).min();
            }
            let seconds = |wait: Duration| wait.as_secs_f64();
            ExplainedStep {
                reserve: step.reserve,
                max_wait_seconds: step.max_wait.map(seconds),
                expected_wait_seconds: wait.map(seconds),
                due,
                ..self.named(step, at)
            }
        });
        explained.collect()
    }

    /// Names the providers that serve a step, and the model as they are asked for it.
    fn named(&self, step: &PlanStep, at: &Situation<'_>) -> ExplainedStep {
        let name = |index: ProviderId| self.settings.providers[index].name.to_string();
        let providers = if step.providers.is_empty() {
            ProviderId::first(self.settings.providers.len())
                .filter(|index| at.serves(step, *index))
                .map(name)
                .collect()
        } else {
            step.providers.iter().map(|index| name(*index)).collect()
        };
        let having = |id: ModelId| self.view.having(id).into_iter();
        let model = match &step.model {
            StepModel::Named(own) | StepModel::ListedAs(_, own) => own.to_string(),
            StepModel::Listed(id) => having(*id)
                .filter(|one| step.providers.is_empty() || step.providers.contains(&one.provider))
                .find_map(|one| one.own)
                .map_or_else(String::new, |own| own.to_string()),
        };
        ExplainedStep {
            model,
            providers,
            ..ExplainedStep::default()
        }
    }

    fn strategy_of(&self, ask: &PlanRequest<'_>) -> Strategy {
        let found = self.resolution(ask, &mut Trace::default());
        self.chosen(ask, found.ok().as_deref())
    }
}
