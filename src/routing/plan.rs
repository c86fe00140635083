//! What a request may be tried on, in order.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{ModelId, ProviderId};

/// The candidates of one request: steps that are tried one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Never empty. Most plans have one.
    pub steps: Vec<PlanStep>,
    /// For metrics and accounting: the model as the first step's provider lists it, if it does.
    pub model: Option<ModelId>,
}

/// Providers that are as good as each other for a request: the scheduler takes whichever has a slot first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    pub model: StepModel,
    /// Positions of the providers in the configuration, without repetition; empty: any provider that has the model.
    pub providers: Vec<ProviderId>,
    /// Whether it is as good as the step before it: whichever of them can start soonest serves the request.
    pub equal: bool,
    /// Not to be taken while an earlier step may serve: `fallback_only` providers and overflow.
    pub reserve: bool,
    /// How long the steps before may be waited for until this one is taken too. `None`: `routing.slot_wait`; for a
    /// reserve, until they are unhealthy, unavailable or exhausted.
    pub max_wait: Option<Duration>,
}

impl PlanStep {
    /// Returns whether the step is taken at once although a step before it is well: `expected` is how long those would
    /// be waited for, if that is known.
    pub fn is_due(&self, expected: Option<Duration>) -> bool {
        let exceeds = |(expected, most)| expected > most;
        self.reserve && expected.zip(self.max_wait).is_some_and(exceeds)
    }
}

/// Under which name a step's providers serve the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepModel {
    /// A model that backends list: each knows its own name for it.
    Listed(ModelId),
    /// A model that no backend lists, by the provider's own name for it: the provider knows better.
    Named(Arc<str>),
    /// A listed model, asked for by a name of the provider's own that is not the listed one.
    ListedAs(ModelId, Arc<str>),
}

impl StepModel {
    /// Returns the listed model, if it is one.
    pub fn listed(&self) -> Option<ModelId> {
        match self {
            StepModel::Listed(id) | StepModel::ListedAs(id, _) => Some(*id),
            StepModel::Named(_) => None,
        }
    }

    /// Returns whether both are the same model, by whichever names.
    pub fn is_same(&self, other: &StepModel) -> bool {
        match (self.listed(), other.listed()) {
            (None, None) => self.own() == other.own(),
            (one, other) => one == other,
        }
    }

    /// Returns the name by which the model is asked for, where that is not what each provider lists.
    pub fn own(&self) -> Option<&Arc<str>> {
        match self {
            StepModel::Named(own) | StepModel::ListedAs(_, own) => Some(own),
            StepModel::Listed(_) => None,
        }
    }
}
