//! What keeps a provider from being asked in vain: its breaker, the rests of its keys, how much it takes at once, and
//! how many further attempts it may be sent. The parts know neither clock nor task: events and the time go in.

mod adaptive;
mod allowance;
mod backoff;
mod blame;
mod breaker;
mod budget;
mod events;
mod keys;
mod model_key;
mod models;
mod state;
mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::adaptive::Adaptive;
use self::blame::Blame;
use self::breaker::{Breaker, Went};
use self::budget::Budget;
use self::keys::Keys;
use self::models::ModelBreakers;
use self::state::State;
use crate::settings::{self, Routing};

pub use self::backoff::backoff;
pub use self::breaker::{BreakerState, OpenCause};
pub(super) use self::events::Change;
pub use self::events::{AttemptResult, Attempted, Status, Unavailable};
pub use self::keys::{RestCause, Resting};
pub use self::model_key::ModelKey;
pub use self::models::ModelStatus;

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

    /// Returns what pages and metrics say of the guard.
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

    /// Takes note of an attempt, while `in_flight` requests were on their way; `random` is from 0 to 1. Returns what
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

    /// Takes note of the time. Returns when it has to be told the time again although nothing happens.
    pub(super) fn tick(&self, now: Instant, mut told: impl FnMut(Change)) -> Option<Instant> {
        let mut state = self.lock();
        if state.breaker.tick(now) {
            told(state.breaker_change(now));
        }
        self.publish(&state, now);
        state.breaker.next_change(now)
    }

    /// Returns how many requests may be in flight at once; `None` stands for as many as there are slots.
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

#[cfg(test)]
mod tests;
