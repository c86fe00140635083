//! Which of a provider's keys the next request goes with: in turn, without those that rest.
//!
//! A key rests for one model after a 429, and before it when the provider says that nothing is left; for all models
//! when it is refused or its quota is spent. Limits belong to a key and a model, not to the provider.

use std::fmt;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::allowance::Meter;
use super::backoff::backoff;
use super::model_key::ModelKey;
use crate::settings::Retry;
use remuda_formats::dialect::rate_limits::RateLimits;

/// Models that are remembered for each key; of more nothing is learned until others are forgotten.
const MOST_MODELS: usize = 256;
/// How long a key is left alone that was refused, or whose quota is spent, while there are others.
const SET_ASIDE: Duration = Duration::from_secs(300);

/// Why a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestCause {
    /// The provider refused it with 429.
    RateLimited,
    /// The provider says that nothing is left of a limit.
    UsedUp,
    /// The provider is overloaded.
    Overloaded,
    /// It was refused with 401.
    Refused,
    /// Its quota or its account's balance is spent.
    Spent,
}

impl fmt::Display for RestCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimited => "its rate limit was met",
            Self::UsedUp => "its rate limit is used up",
            Self::Overloaded => "the provider is overloaded",
            Self::Refused => "the provider refuses it",
            Self::Spent => "its quota is spent",
        })
    }
}

/// No key may be used before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    pub until: Instant,
    pub cause: RestCause,
}

#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Key>,
    next: usize,
    base: Duration,
    longest: Duration,
}

#[derive(Debug, Default)]
struct Key {
    rest: Option<Resting>,
    models: AHashMap<ModelKey, Model>,
}

#[derive(Debug, Default)]
struct Model {
    rest: Option<Resting>,
    /// 429s since it was last served.
    in_a_row: u32,
    requests: Meter,
    tokens: Meter,
}

/// A rest that a key is to take.
pub(super) struct Rest {
    pub(super) cause: RestCause,
    /// How long the provider has asked for; longer each time where it has not.
    pub(super) asked: Option<Duration>,
    /// Spreads the rests that the provider has not asked for: from 0 to 1.
    pub(super) random: f64,
}

impl Keys {
    /// Returns the keys of a provider. One without a key has one as well: it has limits all the same.
    pub(super) fn new(count: usize, retry: &Retry) -> Self {
        Self {
            keys: (0..count.max(1)).map(|_| Key::default()).collect(),
            next: 0,
            base: retry.base,
            longest: retry.max,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Returns the first key that is not set aside, if any.
    pub(super) fn accepted(&self, now: Instant) -> usize {
        let accepted = |key: &Key| key.resting(None, 0, now).is_none();
        self.keys.iter().position(accepted).unwrap_or_default()
    }

    /// Returns the number of keys that rest for every model.
    pub(super) fn set_aside(&self, now: Instant) -> usize {
        let aside = |key: &&Key| key.resting(None, 0, now).is_some();
        self.keys.iter().filter(aside).count()
    }

    /// Returns whether any rest or meter could keep a request waiting.
    pub(super) fn at_rest(&self, now: Instant) -> bool {
        self.keys.iter().any(|key| {
            key.resting(None, 0, now).is_some()
                || key
                    .models
                    .values()
                    .any(|model| model.resting(1, now).is_some())
        })
    }

    /// Returns the key for a request to `model` of about `tokens`, which is counted against its limits.
    ///
    /// # Errors
    /// When the first of them may be used again.
    pub(super) fn pick(
        &mut self,
        model: ModelKey,
        tokens: u64,
        now: Instant,
    ) -> Result<usize, Resting> {
        let count = self.keys.len();
        let mut soonest: Option<Resting> = None;
        for index in (0..count).map(|offset| (self.next + offset) % count) {
            match self.keys[index].resting(Some(model), tokens, now) {
                None => {
                    self.next = (index + 1) % count;
                    if let Some(model) = self.keys[index].models.get_mut(&model) {
                        model.requests.take(1, now);
                        model.tokens.take(tokens, now);
                    }
                    return Ok(index);
                }
                Some(resting) => soonest = sooner(soonest, resting),
            }
        }
        Err(soonest.expect("there is at least one key"))
    }

    /// Returns when a key may be used for `model`, or for any if that is `None`; `None` if at once.
    pub(super) fn resting(&self, model: Option<ModelKey>, now: Instant) -> Option<Resting> {
        let mut soonest = None;
        for key in &self.keys {
            soonest = sooner(soonest, key.resting(model, 1, now)?);
        }
        soonest
    }

    /// Lets a key rest for a model after a 429 or an overload, for as long as the provider asks or longer each time.
    /// Returns how long that is.
    pub(super) fn tire(
        &mut self,
        index: usize,
        model: ModelKey,
        rest: Rest,
        now: Instant,
    ) -> Option<Duration> {
        let (base, longest) = (self.base, self.longest);
        let model = self.keys.get_mut(index)?.model(model, now)?;
        let by_itself = || backoff(base, longest, model.in_a_row, rest.random);
        let pause = rest.asked.unwrap_or_else(by_itself);
        model.in_a_row = model.in_a_row.saturating_add(1);
        let until = now + pause;
        if model.rest.is_none_or(|rest| rest.until < until) {
            let cause = rest.cause;
            model.rest = Some(Resting { until, cause });
        }
        Some(pause)
    }

    /// Sets aside a key that cannot be used at all for now, but not the last one that can be used: without it nothing
    /// works, and whether it works again shows in no other way. Returns whether this is news.
    pub(super) fn put_aside(&mut self, index: usize, cause: RestCause, now: Instant) -> bool {
        let others = self.keys.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != index);
        let another = others.any(|(_, key)| key.resting(None, 0, now).is_none());
        let Some(key) = self.keys.get_mut(index).filter(|_| another) else {
            return false;
        };
        let news = key.resting(None, 0, now).is_none();
        key.rest = Some(Resting {
            until: now + SET_ASIDE,
            cause,
        });
        news
    }

    /// Notes that the key has served a request to `model`.
    pub(super) fn served(&mut self, index: usize, model: ModelKey) {
        if let Some(key) = self.keys.get_mut(index) {
            key.rest = None;
            if let Some(model) = key.models.get_mut(&model) {
                model.in_a_row = 0;
            }
        }
    }

    /// Notes what the provider has said of the key's limits.
    pub(super) fn told(
        &mut self,
        index: usize,
        model: ModelKey,
        limits: &RateLimits,
        now: Instant,
    ) {
        let key = self.keys.get_mut(index);
        if let Some(model) = key.and_then(|key| key.model(model, now)) {
            model.requests = Meter::of(&limits.requests, now);
            model.tokens = Meter::of(&limits.scarcest_tokens(), now);
        }
    }
}

impl Key {
    /// Returns why it may not be used for a request of about `tokens`, if so.
    fn resting(&self, model: Option<ModelKey>, tokens: u64, now: Instant) -> Option<Resting> {
        let of_model = model
            .and_then(|model| self.models.get(&model))
            .and_then(|model| model.resting(tokens, now));
        later(self.rest.filter(|rest| now < rest.until), of_model)
    }

    fn model(&mut self, model: ModelKey, now: Instant) -> Option<&mut Model> {
        if self.models.len() >= MOST_MODELS && !self.models.contains_key(&model) {
            self.models
                .retain(|_, model| model.resting(1, now).is_some());
            if self.models.len() >= MOST_MODELS {
                return None;
            }
        }
        Some(self.models.entry(model).or_default())
    }
}

impl Model {
    fn resting(&self, tokens: u64, now: Instant) -> Option<Resting> {
        let wait = self
            .requests
            .wait(1, now)
            .max(self.tokens.wait(tokens, now));
        let used_up = (!wait.is_zero()).then(|| Resting {
            until: now + wait,
            cause: RestCause::UsedUp,
        });
        later(self.rest.filter(|rest| now < rest.until), used_up)
    }
}

fn sooner(before: Option<Resting>, now: Resting) -> Option<Resting> {
    match before {
        Some(before) if before.until <= now.until => Some(before),
        _ => Some(now),
    }
}

fn later(one: Option<Resting>, other: Option<Resting>) -> Option<Resting> {
    match (one, other) {
        (Some(one), Some(other)) if one.until >= other.until => Some(one),
        (Some(one), None) => Some(one),
        (_, other) => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use remuda_formats::dialect::rate_limits::Allowance;

    const A: ModelKey = ModelKey(1);
    const B: ModelKey = ModelKey(2);

    fn keys(count: usize) -> (Keys, Instant) {
        (Keys::new(count, &Retry::default()), Instant::now())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn rate_limited(asked: Option<Duration>, random: f64) -> Rest {
        Rest {
            cause: RestCause::RateLimited,
            asked,
            random,
        }
    }

    fn tire(keys: &mut Keys, index: usize, asked: Option<u64>, now: Instant) -> Duration {
        let asked = asked.map(seconds);
        keys.tire(index, A, rate_limited(asked, 1.0), now).unwrap()
    }

    #[test]
    fn keys_take_turns_and_those_that_rest_are_passed_over() {
        let (mut keys, now) = keys(3);
        let turns: Vec<_> = (0..6).map(|_| keys.pick(A, 1, now)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2].map(Ok));
        tire(&mut keys, 1, Some(7), now);
        let turns: Vec<_> = (0..4).map(|_| keys.pick(A, 1, now)).collect();
        assert_eq!(turns, [0, 2, 0, 2].map(Ok));
        // For another model it does not rest.
        let turns: Vec<_> = (0..3).map(|_| keys.pick(B, 1, now)).collect();
        assert_eq!(turns, [0, 1, 2].map(Ok));
        assert_eq!(keys.pick(A, 1, now + seconds(7)), Ok(0));
        assert_eq!(keys.pick(A, 1, now + seconds(7)), Ok(1));
    }

    #[test]
    fn when_all_rest_the_first_to_be_back_is_told() {
        let (mut keys, now) = keys(2);
        tire(&mut keys, 0, Some(9), now);
        tire(&mut keys, 1, Some(4), now);
        let resting = Resting {
            until: now + seconds(4),
            cause: RestCause::RateLimited,
        };
        assert_eq!(keys.pick(A, 1, now), Err(resting));
        assert_eq!(keys.resting(Some(A), now), Some(resting));
        assert_eq!(
            (keys.resting(Some(B), now), keys.resting(None, now)),
            (None, None)
        );
        assert!(keys.at_rest(now) && !keys.at_rest(now + seconds(9)));
        assert_eq!(keys.pick(A, 1, now + seconds(4)), Ok(1));
    }

    #[test]
    fn without_a_hint_it_rests_longer_each_time_until_it_serves() {
        let (mut keys, now) = keys(1);
        let pauses: Vec<_> = (0..4)
            .map(|_| tire(&mut keys, 0, None, now).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8]);
        keys.served(0, A);
        assert_eq!(tire(&mut keys, 0, None, now).as_secs(), 1);
    }

    #[test]
    fn a_refused_key_is_set_aside_but_not_the_last() {
        let (mut keys, now) = keys(2);
        assert!(keys.put_aside(0, RestCause::Refused, now));
        assert!(!keys.put_aside(0, RestCause::Refused, now));
        assert_eq!((keys.set_aside(now), keys.pick(B, 1, now)), (1, Ok(1)));
        assert!(!keys.put_aside(1, RestCause::Refused, now));
        assert_eq!(keys.pick(B, 1, now), Ok(1));
        let later = now + SET_ASIDE;
        assert_eq!(keys.set_aside(later), 0);
        assert!(keys.put_aside(1, RestCause::Spent, later));
        assert_eq!(keys.pick(B, 1, later), Ok(0));
    }

    #[test]
    fn what_is_left_is_used_up_and_no_more() {
        let (mut keys, now) = keys(1);
        let limits = RateLimits {
            requests: Allowance {
                limit: Some(60),
                remaining: Some(2),
                reset: Some(seconds(58)),
            },
            ..RateLimits::default()
        };
        keys.told(0, A, &limits, now);
        assert_eq!(keys.pick(A, 1, now), Ok(0));
        assert_eq!(keys.pick(A, 1, now), Ok(0));
        let resting = keys.pick(A, 1, now).unwrap_err();
        assert_eq!(resting.cause, RestCause::UsedUp);
        // Sixty a minute: one is back after a second.
        assert_eq!(resting.until, now + seconds(1));
        assert_eq!(keys.pick(A, 1, now + seconds(1)), Ok(0));
        assert!(keys.pick(A, 1, now + seconds(1)).is_err());
    }

    proptest! {
        /// No key is picked that rests, and one is picked if any does not.
        #[test]
        fn a_key_that_rests_is_not_picked(
            events in proptest::collection::vec((0usize..4, 0u64..8, 0u64..3), 1..100),
        ) {
            let (mut keys, mut now) = keys(3);
            let mut until = [now; 3];
            for (key, rest, pass) in events {
                now += seconds(pass);
                if key < 3 {
                    tire(&mut keys, key, Some(rest), now);
                    until[key] = until[key].max(now + seconds(rest));
                }
                match keys.pick(A, 1, now) {
                    Ok(picked) => prop_assert!(until[picked] <= now),
                    Err(resting) => prop_assert_eq!(Some(&resting.until), until.iter().min()),
                }
            }
        }

        #[test]
        fn what_is_remembered_is_bounded(models in proptest::collection::vec(any::<u64>(), 0..600)) {
            let (mut keys, now) = keys(1);
            for model in models {
                keys.tire(0, ModelKey(model), rate_limited(None, 0.5), now);
            }
            prop_assert!(keys.keys[0].models.len() <= MOST_MODELS);
        }
    }
}
