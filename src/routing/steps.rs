//! From ordered groups of candidates to a plan's steps: equals that are asked by the same name share one.

use std::time::Duration;

use super::candidate::Candidate;
use super::plan::{Plan, PlanStep, StepModel};
use super::strategy::Groups;
use crate::ids::ModelId;

/// Collects steps, each provider once under each name.
#[derive(Default)]
pub(super) struct Steps {
    steps: Vec<PlanStep>,
}

impl Steps {
    /// Adds groups, best first.
    pub(super) fn add(&mut self, groups: &Groups<'_>, reserve: bool, max_wait: Option<Duration>) {
        for group in groups {
            let begin = self.steps.len();
            for one in group {
                self.place(one, begin, reserve, max_wait);
            }
        }
    }

    fn place(&mut self, one: &Candidate, begin: usize, reserve: bool, max_wait: Option<Duration>) {
        let known =
            |step: &PlanStep| step.model == one.model && step.providers.contains(&one.provider);
        if self.steps.iter().any(known) {
            return;
        }
        let mut equals = self.steps[begin..].iter_mut();
        match equals.find(|step| step.model == one.model) {
            Some(step) => step.providers.push(one.provider),
            None => self.steps.push(PlanStep {
                model: one.model.clone(),
                providers: vec![one.provider],
                equal: self.steps.len() > begin,
                // What comes first is no reserve of anything.
                reserve: reserve && !self.steps.is_empty(),
                max_wait: max_wait.filter(|_| !self.steps.is_empty()),
            }),
        }
    }

    /// Returns the plan; `None` without steps. `whole` is a model that so many providers have.
    pub(super) fn plan(mut self, whole: Option<(ModelId, usize)>) -> Option<Plan> {
        let first = self.steps.first_mut()?;
        let model = first.model.listed();
        let everyone = |(model, count): (ModelId, usize)| {
            first.model == StepModel::Listed(model) && first.providers.len() == count
        };
        if whole.is_some_and(everyone) {
            first.providers = Vec::new();
        }
        Some(Plan {
            steps: self.steps,
            model,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProviderId;
    use remuda_formats::facts::ModelFacts;

    fn candidate(provider: ProviderId, model: StepModel) -> Candidate {
        Candidate::new(provider, model, Vec::new(), &ModelFacts::default())
    }

    fn positions(step: &PlanStep) -> Vec<usize> {
        step.providers.iter().map(|one| one.position()).collect()
    }

    #[test]
    fn equals_by_one_name_share_a_step() {
        let listed = || StepModel::Listed(ModelId(7));
        let named = StepModel::Named("x".into());
        let [a, b, c] = [
            candidate(ProviderId::at(2), listed()),
            candidate(ProviderId::at(0), named),
            candidate(ProviderId::at(1), listed()),
        ];
        let mut steps = Steps::default();
        steps.add(&vec![vec![&a, &b, &c]], true, Some(Duration::ZERO));
        steps.add(&vec![vec![&a], vec![&b]], true, Some(Duration::ZERO));
        let plan = steps.plan(Some((ModelId(7), 3))).unwrap();
        assert_eq!(plan.model, Some(ModelId(7)));
        let shown: Vec<_> = plan
            .steps
            .iter()
            .map(|step| (positions(step), step.equal, step.reserve, step.max_wait))
            .collect();
        // Nothing stands before the first, so it waits for nothing.
        let expected = [
            (vec![2, 1], false, false, None),
            (vec![0], true, true, Some(Duration::ZERO)),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn all_that_have_it_need_not_be_named() {
        let listed = |provider| candidate(provider, StepModel::Listed(ModelId(7)));
        let [a, b] = [listed(ProviderId::at(0)), listed(ProviderId::at(1))];
        let plan = |groups: Groups<'_>| {
            let mut steps = Steps::default();
            steps.add(&groups, false, None);
            steps.plan(Some((ModelId(7), 2))).unwrap()
        };
        assert_eq!(positions(&plan(vec![vec![&a, &b]]).steps[0]), [0; 0]);
        assert_eq!(positions(&plan(vec![vec![&a], vec![&b]]).steps[0]), [0]);
        assert!(Steps::default().plan(None).is_none());
    }
}
