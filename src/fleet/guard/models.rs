//! A breaker for each model of a provider, beside the provider's own: one that fails takes no other with it, and is left
//! alone although the others are well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::breaker::{Breaker, BreakerState, OpenCause, Went};
use super::model_key::ModelKey;
use crate::settings;

/// Models that are remembered; of more nothing is learned until others are forgotten.
const MOST_MODELS: usize = 256;
/// Characters of a model's name that are kept: where a provider lists nothing, clients may write what they like.
const MOST_OF_A_NAME: usize = 128;
/// A trial that nothing is heard of for so long keeps no other request from trying.
const LONGEST_TRIAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct ModelBreakers {
    policy: settings::Breaker,
    models: AHashMap<ModelKey, Model>,
}

#[derive(Debug)]
struct Model {
    /// The provider's own, for pages and the log.
    name: Arc<str>,
    breaker: Breaker,
    /// When the request began that tries it out.
    trial: Option<Instant>,
}

/// A model whose breaker is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    pub name: Arc<str>,
    pub breaker: BreakerState,
    /// While it is open: until when, and why.
    pub open: Option<(Instant, OpenCause)>,
}

impl ModelBreakers {
    pub(super) fn new(policy: &settings::Breaker) -> Self {
        Self {
            policy: policy.clone(),
            models: AHashMap::new(),
        }
    }

    /// Takes in a request for the model, which the provider calls `name`, that began at `started` and has ended.
    /// Returns the model's state, if that has changed.
    pub(super) fn record(
        &mut self,
        (model, name): (ModelKey, &str),
        went: Went,
        started: Instant,
        now: Instant,
    ) -> Option<ModelStatus> {
        if !self.policy.enabled || model == ModelKey::default() {
            return None;
        }
        if !self.models.contains_key(&model) {
            // Nothing is known of one that does well.
            if went == Went::Well || !self.has_room(now) {
                return None;
            }
        }
        let model = self.models.entry(model).or_insert_with(|| Model {
            name: name.chars().take(MOST_OF_A_NAME).collect::<String>().into(),
            breaker: Breaker::new(&self.policy, now),
            trial: None,
        });
        model.trial.take_if(|trial| *trial <= started);
        let changed = model.breaker.record(went, started, now);
        changed.then(|| model.status(now))
    }

    /// Takes in that a request for the model, which began at `started`, has ended and says nothing about it: if it was the
    /// breaker's trial, there may be another.
    pub(super) fn end(&mut self, model: ModelKey, started: Instant) {
        if let Some(model) = self.models.get_mut(&model) {
            model.trial.take_if(|trial| *trial <= started);
        }
    }

    /// Returns the provider's name for the model, where that is remembered.
    pub(super) fn name(&self, model: ModelKey) -> Option<Arc<str>> {
        self.models.get(&model).map(|model| Arc::clone(&model.name))
    }

    /// Returns the models whose breakers are not closed, by name.
    pub(super) fn not_closed(&self, now: Instant) -> Vec<ModelStatus> {
        let all = self.models.values().map(|model| model.status(now));
        let mut all: Vec<_> = all
            .filter(|model| model.breaker != BreakerState::Closed)
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.models.len() >= MOST_MODELS {
            self.models.retain(|_, model| !model.breaker.is_idle(now));
        }
        self.models.len() < MOST_MODELS
    }

    /// Notes that a request for the model begins, which is the trial of a breaker that is half open.
    pub(super) fn begin(&mut self, model: ModelKey, now: Instant) {
        if let Some(model) = self.models.get_mut(&model)
            && model.breaker.state(now) == BreakerState::HalfOpen
        {
            model.trial = Some(now);
        }
    }

    /// Returns why the model is not asked for now, and until when.
    pub(super) fn open(&self, model: ModelKey, now: Instant) -> Option<(Instant, OpenCause)> {
        let model = self.models.get(&model)?;
        if let Some(open) = model.breaker.open(now) {
            return Some(open);
        }
        let on_trial = |trial: Instant| {
            let until = trial + LONGEST_TRIAL;
            (now < until).then_some((until, OpenCause::OnTrial))
        };
        model.trial.and_then(on_trial)
    }

    /// Returns whether [`Self::open`] may have anything to say.
    pub(super) fn troubled(&self, now: Instant) -> bool {
        let mut models = self.models.values();
        models.any(|model| model.breaker.state(now) != BreakerState::Closed)
    }
}

impl Model {
    fn status(&self, now: Instant) -> ModelStatus {
        ModelStatus {
            name: Arc::clone(&self.name),
            breaker: self.breaker.state(now),
            open: self.breaker.open(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: ModelKey = ModelKey(1);
    const GOOD: ModelKey = ModelKey(2);

    #[test]
    fn a_model_that_fails_is_left_alone_and_tried_by_one_request_at_a_time() {
        let mut now = Instant::now();
        let mut models = ModelBreakers::new(&settings::Breaker::default());
        for _ in 0..5 {
            assert_eq!(models.open(BAD, now), None);
            models.record((BAD, "bad"), Went::Wrong, now, now);
            models.record((GOOD, "good"), Went::Well, now, now);
        }
        let (until, _) = models.open(BAD, now).unwrap();
        assert!(models.troubled(now));
        assert_eq!(models.open(GOOD, now), None);
        now = until;
        for _ in 0..3 {
            assert_eq!(models.open(BAD, now), None);
            models.begin(BAD, now);
            let (later, cause) = models.open(BAD, now).unwrap();
            assert_eq!((later, cause), (now + LONGEST_TRIAL, OpenCause::OnTrial));
            models.record((BAD, "bad"), Went::Well, now, now);
        }
        assert!(!models.troubled(now));
        assert_eq!(models.open(BAD, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut models = ModelBreakers::new(&settings::Breaker::default());
        for model in 1..1_000 {
            models.record((ModelKey(model), "m"), Went::Wrong, now, now);
        }
        assert_eq!(models.models.len(), MOST_MODELS);
        let later = now + Duration::from_secs(120);
        models.record((ModelKey(5_000), "m"), Went::Wrong, later, later);
        assert_eq!(models.models.len(), 1);
    }
}
