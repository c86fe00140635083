//! What keeps a provider from being asked in vain: its breaker, the rests of its keys, how much it takes at once, and
//! how many further attempts it may be sent. The parts know neither clock nor task: events and the time go in.

mod adaptive;
mod allowance;
mod backoff;
mod blame;
mod breaker;
mod budget;
mod keys;
mod model_key;
mod models;
mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::adaptive::Adaptive;
use self::blame::Blame;
use self::breaker::{Breaker, Went};
use self::budget::Budget;
use self::keys::{Keys, Rest};
use self::models::ModelBreakers;
use crate::settings::{self, Routing};
use remuda_formats::dialect::rate_limits::RateLimits;

pub use self::backoff::backoff;
pub use self::breaker::{BreakerState, OpenCause};
pub use self::keys::{RestCause, Resting};
pub use self::model_key::ModelKey;
pub use self::models::ModelStatus;

/// One attempt at a provider, as it ended or began to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The key that [`Guard::pick`] gave.
    pub key: usize,
    pub model: ModelKey,
    /// What the provider calls the model; may be empty of an attempt that went well.
    pub name: &'a str,
    pub started: Instant,
    /// Whether the request had been tried before, at this provider or another.
    pub further: bool,
    pub result: AttemptResult,
    /// What the answer's head said.
    pub limits: Option<&'a RateLimits>,
}

/// How an attempt ended, by what it says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// Its answer began after so long.
    Served { latency: Duration, streamed: bool },
    /// The request was wrong, or this provider's model is not for it.
    NotItsFault,
    /// No connection, a broken one, an error of the server's.
    Failed,
    /// No answer in time.
    TimedOut,
    /// 429; the provider may have asked for a pause.
    RateLimited { pause: Option<Duration> },
    /// 503 or 529 for want of capacity; the provider may have asked for a pause.
    Overloaded { pause: Option<Duration> },
    /// The key was refused with 401.
    Refused,
    /// The quota or the account's balance is spent.
    Spent,
}

/// What has changed, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened {
        cause: OpenCause,
        until: Instant,
        /// It is the fault of this model alone, so that the others are still asked.
        sole: Option<Arc<str>>,
    },
    HalfOpen,
    Closed,
    /// A model's breaker, while the provider's is not for that model alone.
    Model(ModelStatus),
    KeyRests {
        key: usize,
        pause: Duration,
        cause: RestCause,
    },
    KeySetAside {
        key: usize,
        cause: RestCause,
    },
}

/// Why a provider is not asked for now, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    Open {
        cause: OpenCause,
        until: Instant,
        /// The breaker is the wanted model's, and others of the provider are asked.
        of_model: bool,
    },
    Resting(Resting),
}

impl Unavailable {
    pub fn until(&self) -> Instant {
        match self {
            Self::Open { until, .. } => *until,
            Self::Resting(resting) => resting.until,
        }
    }
}

/// What pages and metrics say of a guard.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub breaker: BreakerState,
    /// While the breaker is open: why, and until when.
    pub open: Option<(Instant, OpenCause)>,
    /// Whether the breaker is not closed for one model alone, so that the others are still asked.
    pub sole: bool,
    /// Requests of the breaker's window, and how many of them failed.
    pub requests: u32,
    pub failures: u32,
    /// Requests at once at the moment, where that is less than the provider has slots.
    pub limit: Option<usize>,
    pub keys: usize,
    /// Keys that are set aside for all models.
    pub keys_set_aside: usize,
}

/// The guard of one provider.
#[derive(Debug)]
pub struct Guard {
    /// Slots of the provider.
    full: usize,
    /// Whether anything may keep a request from it: otherwise nobody needs to look.
    troubled: AtomicBool,
    /// Whether its keys have to be asked for, one by one.
    chooses: bool,
    slow_call: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    blame: Blame,
    /// The breaker is not closed, and that is the fault of this model alone.
    sole: Option<ModelKey>,
    models: ModelBreakers,
    keys: Keys,
    adaptive: Adaptive,
    budget: Budget,
}

impl Guard {
    pub(super) fn new(provider: &settings::Provider, routing: &Routing, now: Instant) -> Self {
        let keys = usize::from(provider.api_key.is_some()) + provider.api_keys.len();
        let backends = provider.backends.len().max(1);
        let slots = provider.max_concurrent_per_backend as usize * backends;
        let full = provider
            .max_concurrent
            .map_or(slots, |limit| limit.min(slots));
        Self {
            full,
            troubled: AtomicBool::new(false),
            chooses: keys > 1 || !provider.kind.is_fleet(),
            slow_call: routing.breaker.slow_call,
            state: Mutex::new(State {
                breaker: Breaker::new(&routing.breaker, now),
                blame: Blame::new(&routing.breaker),
                sole: None,
                models: ModelBreakers::new(&routing.breaker),
                keys: Keys::new(keys, &routing.retry),
                adaptive: Adaptive::new(&routing.adaptive, full),
                budget: Budget::new(&routing.retry, now),
            }),
        }
    }

    /// Returns the key for a request of about `tokens` to `model`; see [`super::Provider::key`].
    ///
    /// # Errors
    /// When the first key may be used again, or the model may be tried again: its breaker may have opened while the
    /// request waited for a slot.
    pub fn pick(&self, model: ModelKey, tokens: u64, now: Instant) -> Result<usize, Unavailable> {
        if self.chooses {
            let mut state = self.lock();
            if let Some(open) = state.open_for(model, now) {
                return Err(open);
            }
            let key = state.keys.pick(model, tokens, now);
            let key = key.map_err(Unavailable::Resting)?;
            state.models.begin(model, now);
            Ok(key)
        } else {
            Ok(0)
        }
    }

    /// Returns a key that is not set aside, or the first.
    pub(super) fn accepted_key(&self, now: Instant) -> usize {
        if self.chooses {
            self.lock().keys.accepted(now)
        } else {
            0
        }
    }

    /// Returns whether [`Self::unavailable`] may have anything to say; costs nothing.
    pub fn troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    /// Returns why it makes no sense now to ask the provider for `model`, or for anything if `None`.
    pub fn unavailable(&self, model: Option<ModelKey>, now: Instant) -> Option<Unavailable> {
        if !self.troubled() {
            return None;
        }
        let state = self.lock();
        if let Some((until, cause)) = state.breaker.open(now).filter(|_| state.sole.is_none()) {
            let of_model = false;
            return Some(Unavailable::Open {
                cause,
                until,
                of_model,
            });
        }
        if let Some(open) = model.and_then(|model| state.open_for(model, now)) {
            return Some(open);
        }
        state.keys.resting(model, now).map(Unavailable::Resting)
    }

    /// Returns whether a further attempt at the provider may be made; see [`settings::Retry::budget`].
    pub fn may_retry(&self, now: Instant) -> bool {
        self.lock().budget.allows(now)
    }

    pub fn status(&self, now: Instant) -> Status {
        let mut state = self.lock();
        let counts = state.breaker.counts(now);
        Status {
            breaker: state.breaker.state(now),
            open: state.breaker.open(now),
            sole: state.sole.is_some(),
            requests: counts.all,
            failures: counts.failed,
            limit: self.limit_of(&state, now),
            keys: state.keys.count(),
            keys_set_aside: state.keys.set_aside(now),
        }
    }

    /// Returns the models whose breakers are not closed, by name.
    pub fn models(&self, now: Instant) -> Vec<ModelStatus> {
        if !self.troubled() {
            return Vec::new();
        }
        self.lock().models.not_closed(now)
    }

    /// Takes note of an attempt, while `in_flight` requests were on their way; `random` is from 0 to 1. What
    /// [`Self::limit`] is now.
    pub(super) fn note(
        &self,
        attempted: &Attempted<'_>,
        in_flight: usize,
        random: f64,
        now: Instant,
        mut told: impl FnMut(Change),
    ) -> Option<usize> {
        let mut state = self.lock();
        if let Some(limits) = attempted.limits {
            state.keys.told(attempted.key, attempted.model, limits, now);
        }
        let failed = !matches!(
            attempted.result,
            AttemptResult::Served { .. } | AttemptResult::NotItsFault
        );
        state.budget.spend(attempted.further, failed, now);
        if let Some(change) = state.tire(attempted, random, now) {
            told(change);
        }
        state.adapt(attempted.result, in_flight, now);
        let Attempted { model, started, .. } = *attempted;
        match self.went(attempted.result) {
            Some(went) => {
                // A key is refused whatever it is used for.
                let of_key = matches!(
                    attempted.result,
                    AttemptResult::Refused | AttemptResult::Spent
                );
                let of_model = !of_key && model != ModelKey::default();
                let model = of_model.then_some((model, attempted.name));
                state.judge(went, model, started, now, told);
            }
            None => state.models.end(model, started),
        }
        self.publish(&state, now);
        self.limit_of(&state, now)
    }

    /// Takes in that an answer of the model that the provider calls `name`, if it is known which, broke off after it
    /// had begun. Returns what [`Self::note`] does.
    pub(super) fn broke(
        &self,
        name: Option<&str>,
        started: Instant,
        now: Instant,
        told: impl FnMut(Change),
    ) -> Option<usize> {
        let mut state = self.lock();
        let model = name.map(|name| (ModelKey::of(name), name));
        state.judge(Went::Wrong, model, started, now, told);
        self.publish(&state, now);
        self.limit_of(&state, now)
    }

    /// Takes note of the time; when it has to again although nothing happens.
    pub(super) fn tick(&self, now: Instant, mut told: impl FnMut(Change)) -> Option<Instant> {
        let mut state = self.lock();
        if state.breaker.tick(now) {
            told(state.breaker_change(now));
        }
        self.publish(&state, now);
        state.breaker.next_change(now)
    }

    /// Requests that may be in flight at once; `None` is as many as there are slots.
    pub(super) fn limit(&self, now: Instant) -> Option<usize> {
        self.limit_of(&self.lock(), now)
    }

    fn limit_of(&self, state: &State, now: Instant) -> Option<usize> {
        let breaker = match state.sole {
            // Its own breaker keeps requests from that model, and the others have all slots.
            Some(_) => None,
            None => state.breaker.limit(self.full, now),
        };
        let adaptive = state.adaptive.limit(self.full);
        breaker.into_iter().chain(adaptive).min()
    }

    fn went(&self, result: AttemptResult) -> Option<Went> {
        match result {
            AttemptResult::Served { latency, .. } => {
                let slow = self.slow_call.is_some_and(|most| latency > most);
                Some(if slow { Went::Slowly } else { Went::Well })
            }
            AttemptResult::NotItsFault => Some(Went::Well),
            // Its limits are no fault of its own, and have rests of their own.
            AttemptResult::RateLimited { .. } => None,
            AttemptResult::Failed
            | AttemptResult::TimedOut
            | AttemptResult::Overloaded { .. }
            | AttemptResult::Refused
            | AttemptResult::Spent => Some(Went::Wrong),
        }
    }

    fn publish(&self, state: &State, now: Instant) {
        let troubled = state.breaker.open(now).is_some()
            || state.models.troubled(now)
            || state.keys.at_rest(now);
        // Looked at for nothing until the next event, if a rest ends meanwhile.
        self.troubled.store(troubled, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells the attempt's key what the attempt means for it. Returns the key's change, if there is one.
    fn tire(&mut self, attempted: &Attempted<'_>, random: f64, now: Instant) -> Option<Change> {
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

    fn adapt(&mut self, result: AttemptResult, in_flight: usize, now: Instant) {
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
    fn open_for(&self, model: ModelKey, now: Instant) -> Option<Unavailable> {
        let (until, cause) = self.models.open(model, now)?;
        let of_model = true;
        Some(Unavailable::Open {
            cause,
            until,
            of_model,
        })
    }

    /// How a request for `model` went means something for the model, and for the provider: its breaker opens for all
    /// models only if not one of them alone is to blame. `None` if it says nothing about a model.
    fn judge(
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

    fn breaker_change(&self, now: Instant) -> Change {
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

#[cfg(test)]
mod tests;
