//! What keeps a provider from being asked in vain: its breaker, the rests of its keys, how much it takes at once, and
//! how many further attempts it may be sent. The parts know neither clock nor task: events and the time go in.

mod adaptive;
mod allowance;
mod backoff;
mod breaker;
mod budget;
mod keys;
mod models;
mod ramp;
mod window;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::adaptive::Adaptive;
use self::breaker::{Breaker, Went};
use self::budget::Budget;
use self::keys::Keys;
use self::models::ModelBreakers;
use crate::dialect::rate_limits::RateLimits;
use crate::settings::{self, Routing};

pub use self::backoff::backoff;
pub(super) use self::breaker::TRIALS;
pub use self::breaker::{BreakerState, Cause};
pub use self::keys::{RestCause, Resting};
pub(super) use self::ramp::Ramp;

/// A model of a provider's, by the provider's own name: limits are kept for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelKey(u64);

impl ModelKey {
    pub fn of(own_name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        own_name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// One attempt at a provider, as it ended or began to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// As [`Guard::pick`] gave it.
    pub key: usize,
    pub model: ModelKey,
    pub started: Instant,
    /// Whether the request had been tried before, at this provider or another.
    pub further: bool,
    pub result: Attempt,
    /// What the answer's head said.
    pub limits: Option<&'a RateLimits>,
}

/// How an attempt ended, by what it says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened {
        cause: Cause,
        until: Instant,
    },
    HalfOpen,
    Closed,
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
    Open { cause: Cause, until: Instant },
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

/// For pages and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub breaker: BreakerState,
    /// While the breaker is open: why, and until when.
    pub open: Option<(Instant, Cause)>,
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
                models: ModelBreakers::new(&routing.breaker),
                keys: Keys::new(keys, &routing.retry),
                adaptive: Adaptive::new(&routing.adaptive, full),
                budget: Budget::new(&routing.retry, now),
            }),
        }
    }

    /// The key for a request of about `tokens` to `model`; see [`super::Provider::key`].
    ///
    /// # Errors
    /// When the first key may be used again.
    pub fn pick(&self, model: ModelKey, tokens: u64, now: Instant) -> Result<usize, Resting> {
        match self.chooses {
            true => {
                let mut state = self.lock();
                let key = state.keys.pick(model, tokens, now)?;
                state.models.begin(model, now);
                Ok(key)
            }
            false => Ok(0),
        }
    }

    /// A key that is not set aside, or the first.
    pub(super) fn accepted_key(&self, now: Instant) -> usize {
        match self.chooses {
            true => self.lock().keys.accepted(now),
            false => 0,
        }
    }

    /// Whether [`Self::unavailable`] may have anything to say; costs nothing.
    pub fn troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    /// Why it makes no sense now to ask the provider for `model`, or for anything if `None`.
    pub fn unavailable(&self, model: Option<ModelKey>, now: Instant) -> Option<Unavailable> {
        if !self.troubled() {
            return None;
        }
        let state = self.lock();
        if let Some((until, cause)) = state.breaker.open(now) {
            return Some(Unavailable::Open { cause, until });
        }
        if let Some((until, cause)) = model.and_then(|model| state.models.open(model, now)) {
            return Some(Unavailable::Open { cause, until });
        }
        state.keys.resting(model, now).map(Unavailable::Resting)
    }

    /// Whether a further attempt at the provider may be made; see [`settings::Retry::budget`].
    pub fn may_retry(&self, now: Instant) -> bool {
        self.lock().budget.allows(now)
    }

    pub fn status(&self, now: Instant) -> Status {
        let mut state = self.lock();
        let counts = state.breaker.counts(now);
        Status {
            breaker: state.breaker.state(now),
            open: state.breaker.open(now),
            requests: counts.all,
            failures: counts.failed,
            limit: self.limit_of(&state, now),
            keys: state.keys.count(),
            keys_set_aside: state.keys.set_aside(now),
        }
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
            Attempt::Served { .. } | Attempt::NotItsFault
        );
        state.budget.spend(attempted.further, failed, now);
        if let Some(change) = state.tire(attempted, random, now) {
            told(change);
        }
        state.adapt(attempted.result, in_flight, now);
        if let Some(went) = self.went(attempted.result)
            && !matches!(attempted.result, Attempt::Refused | Attempt::Spent)
        {
            let Attempted { model, started, .. } = *attempted;
            state.models.record(model, went, started, now);
        }
        if let Some(went) = self.went(attempted.result)
            && state.breaker.record(went, attempted.started, now)
        {
            told(state.breaker_change(now));
        }
        self.publish(&state, now);
        self.limit_of(&state, now)
    }

    /// An answer broke off after it had begun. As [`Self::note`].
    pub(super) fn broke(
        &self,
        started: Instant,
        now: Instant,
        mut told: impl FnMut(Change),
    ) -> Option<usize> {
        let mut state = self.lock();
        if state.breaker.record(Went::Wrong, started, now) {
            told(state.breaker_change(now));
        }
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
        let breaker = state.breaker.limit(self.full, now);
        let adaptive = state.adaptive.limit(self.full);
        breaker.into_iter().chain(adaptive).min()
    }

    fn went(&self, result: Attempt) -> Option<Went> {
        match result {
            Attempt::Served { latency, .. } => {
                let slow = self.slow_call.is_some_and(|most| latency > most);
                Some(if slow { Went::Slowly } else { Went::Well })
            }
            Attempt::NotItsFault => Some(Went::Well),
            // Its limits are no fault of its own, and have rests of their own.
            Attempt::RateLimited { .. } => None,
            Attempt::Failed
            | Attempt::TimedOut
            | Attempt::Overloaded { .. }
            | Attempt::Refused
            | Attempt::Spent => Some(Went::Wrong),
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
    /// What the attempt means for its key.
    fn tire(&mut self, attempted: &Attempted<'_>, random: f64, now: Instant) -> Option<Change> {
        let Attempted { key, model, .. } = *attempted;
        let (pause, cause) = match attempted.result {
            Attempt::Served { .. } => {
                self.keys.served(key, model);
                return None;
            }
            Attempt::RateLimited { pause } => (pause, RestCause::RateLimited),
            // Only the provider knows how long that lasts; without a word the next request may do better.
            Attempt::Overloaded { pause: Some(pause) } => (Some(pause), RestCause::Overloaded),
            Attempt::Refused => return self.set_aside(key, RestCause::Refused, now),
            Attempt::Spent => return self.set_aside(key, RestCause::Spent, now),
            _ => return None,
        };
        let pause = self.keys.tire(key, model, cause, pause, random, now)?;
        Some(Change::KeyRests { key, pause, cause })
    }

    fn set_aside(&mut self, key: usize, cause: RestCause, now: Instant) -> Option<Change> {
        let news = self.keys.put_aside(key, cause, now);
        news.then_some(Change::KeySetAside { key, cause })
    }

    fn adapt(&mut self, result: Attempt, in_flight: usize, now: Instant) {
        match result {
            Attempt::Served { latency, streamed } => {
                self.adaptive.answered(latency, streamed, in_flight, now);
            }
            Attempt::Overloaded { .. } | Attempt::TimedOut => {
                self.adaptive.overloaded(in_flight, now);
            }
            _ => {}
        }
    }

    fn breaker_change(&self, now: Instant) -> Change {
        match self.breaker.open(now) {
            Some((until, cause)) => Change::Opened { cause, until },
            None if self.breaker.state(now) == BreakerState::HalfOpen => Change::HalfOpen,
            None => Change::Closed,
        }
    }
}

#[cfg(test)]
mod tests;
