//! What a guard remembers of its provider, and what an attempt that has ended changes in it.

use std::time::Instant;

use super::adaptive::Adaptive;
use super::blame::Blame;
use super::breaker::{Breaker, BreakerState, Went};
use super::budget::Budget;
use super::events::{AttemptResult, Attempted, Change, Unavailable};
use super::keys::{Keys, Rest, RestCause};
use super::model_key::ModelKey;
use super::models::ModelBreakers;

#[derive(Debug)]
pub(super) struct State {
    pub(super) breaker: Breaker,
    pub(super) blame: Blame,
    /// The breaker is not closed, and that is the fault of this model alone.
    pub(super) sole: Option<ModelKey>,
    pub(super) models: ModelBreakers,
    pub(super) keys: Keys,
    pub(super) adaptive: Adaptive,
    pub(super) budget: Budget,
}

impl State {
    /// Tells the attempt's key what the attempt means for it. Returns the key's change, if there is one.
    pub(super) fn tire(
        &mut self,
        attempted: &Attempted<'_>,
        random: f64,
        now: Instant,
    ) -> Option<Change> {
        let Attempted { key, model, .. } = *attempted;
        let (pause, cause) = match attempted.result {
            AttemptResult::Served { .. } => {
                self.keys.served(key, model);
                return None;
            }
            AttemptResult::RateLimited { pause } => (pause, RestCause::RateLimited),
            // Only the provider knows how long that lasts; without a word the next request may do better.
            AttemptResult::Overloaded { pause: Some(pause) } => {
                (Some(pause), RestCause::Overloaded)
            }
            AttemptResult::Refused => return self.set_aside(key, RestCause::Refused, now),
            AttemptResult::Spent => return self.set_aside(key, RestCause::Spent, now),
            _ => return None,
        };
        let rest = Rest {
            cause,
            asked: pause,
            random,
        };
        let pause = self.keys.tire(key, model, rest, now)?;
        Some(Change::KeyRests { key, pause, cause })
    }

    fn set_aside(&mut self, key: usize, cause: RestCause, now: Instant) -> Option<Change> {
        let news = self.keys.put_aside(key, cause, now);
        news.then_some(Change::KeySetAside { key, cause })
    }

    pub(super) fn adapt(&mut self, result: AttemptResult, in_flight: usize, now: Instant) {
        match result {
            AttemptResult::Served { latency, streamed } => {
                self.adaptive.answered(latency, streamed, in_flight, now);
            }
            AttemptResult::Overloaded { .. } | AttemptResult::TimedOut => {
                self.adaptive.overloaded(in_flight, now);
            }
            _ => {}
        }
    }

    /// Returns why the model is not asked for now, by its own breaker.
    pub(super) fn open_for(&self, model: ModelKey, now: Instant) -> Option<Unavailable> {
        let (until, cause) = self.models.open(model, now)?;
        let of_model = true;
        Some(Unavailable::Open {
            cause,
            until,
            of_model,
        })
    }

    /// Judges by how a request for `model` went (`None` if that says nothing about a model) the model's breaker and the
    /// provider's, which opens for all models only if no single one of them is to blame.
    pub(super) fn judge(
        &mut self,
        went: Went,
        model: Option<(ModelKey, &str)>,
        started: Instant,
        now: Instant,
        mut told: impl FnMut(Change),
    ) {
        let of_model = model.and_then(|model| self.models.record(model, went, started, now));
        let model = model.map(|(model, _)| model);
        self.blame.note(went, model, now);
        let change = match self.sole.filter(|sole| model != Some(*sole)) {
            Some(_) => self.judge_beside(went, now),
            None => self.judge_provider(went, started, now),
        };
        let told_with = self.sole.is_some() && self.sole == model && change.is_some();
        if let Some(of_model) = of_model.filter(|_| !told_with) {
            told(Change::Model(of_model));
        }
        if let Some(change) = change {
            told(change);
        }
    }

    fn judge_provider(&mut self, went: Went, started: Instant, now: Instant) -> Option<Change> {
        let (blame, models) = (&self.blame, &self.models);
        let mut opened = None;
        let changed = self.breaker.record_if(went, started, now, |cause| {
            let sole = blame.sole(cause, now);
            opened = Some(sole);
            // A model is left alone by its own breaker first.
            sole.is_none_or(|sole| models.open(sole, now).is_some())
        });
        if !changed {
            return None;
        }
        match self.breaker.state(now) {
            BreakerState::Closed => self.sole = None,
            // One that failed its trial is open for whom it was.
            _ => self.sole = opened.unwrap_or(self.sole),
        }
        Some(self.breaker_change(now))
    }

    /// Takes in the end of a request for another model than the one for which alone the breaker is not closed.
    fn judge_beside(&mut self, went: Went, now: Instant) -> Option<Change> {
        match went {
            Went::Wrong if !self.blame.is_spread() => return None,
            Went::Wrong => self.breaker.open_again(now),
            Went::Well | Went::Slowly => self.breaker.acquit(),
        }
        self.sole = None;
        Some(self.breaker_change(now))
    }

    pub(super) fn breaker_change(&self, now: Instant) -> Change {
        match self.breaker.open(now) {
            Some((until, cause)) => Change::Opened {
                cause,
                until,
                sole: self.sole.and_then(|sole| self.models.name(sole)),
            },
            None if self.breaker.state(now) == BreakerState::HalfOpen => Change::HalfOpen,
            None => Change::Closed,
        }
    }
}
