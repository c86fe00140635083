//! Which servers could not load which models: they are passed over for those alone, as long as another has them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::ids::{BackendId, ModelId};

/// After the first failure, doubled at each further one.
const FIRST: Duration = Duration::from_secs(5);
/// The model may have been mended meanwhile.
const LONGEST: Duration = Duration::from_secs(60);
/// Pairs that are remembered; of more nothing is learned until others are forgotten.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Shunned {
    /// Whether there is any: otherwise nobody needs to look.
    any: AtomicBool,
    pairs: Mutex<AHashMap<(ModelId, BackendId), Pair>>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    failures: u32,
    until: Instant,
}

impl Shunned {
    /// Notes that the server could not load the model.
    pub(super) fn note(&self, backend: BackendId, model: ModelId, now: Instant) {
        let mut pairs = self.lock();
        if pairs.len() >= MOST {
            pairs.retain(|_, pair| now < pair.until);
        }
        let known = pairs.get(&(model, backend)).copied();
        if known.is_none() && pairs.len() >= MOST {
            return;
        }
        let failures = known.map_or(0, |pair| pair.failures);
        let pause = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
        let pair = Pair {
            failures: failures.saturating_add(1),
            until: now + pause,
        };
        pairs.insert((model, backend), pair);
        self.any.store(true, Ordering::Release);
    }

    /// Notes that the server has served the model.
    pub(super) fn served(&self, backend: BackendId, model: ModelId) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut pairs = self.lock();
        pairs.remove(&(model, backend));
        self.any.store(!pairs.is_empty(), Ordering::Release);
    }

    /// Returns the servers that are passed over for the model.
    pub(super) fn of(&self, model: ModelId, now: Instant) -> Vec<BackendId> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let pairs = self.lock();
        let shunned = pairs
            .iter()
            .filter(|((of, _), pair)| *of == model && now < pair.until);
        shunned.map(|((_, backend), _)| *backend).collect()
    }

    fn lock(&self) -> MutexGuard<'_, AHashMap<(ModelId, BackendId), Pair>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_passed_over_for_one_model_and_longer_each_time() {
        let mut now = Instant::now();
        let shunned = Shunned::default();
        let (one, other) = (BackendId(1), BackendId(2));
        assert!(shunned.of(ModelId(7), now).is_empty());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            shunned.note(one, ModelId(7), now);
            assert_eq!(shunned.of(ModelId(7), now), [one]);
            assert!(shunned.of(ModelId(8), now).is_empty());
            let began = now;
            while !shunned.of(ModelId(7), now).is_empty() {
                now += Duration::from_secs(1);
            }
            pauses.push((now - began).as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        shunned.note(one, ModelId(7), now);
        shunned.note(other, ModelId(7), now);
        shunned.served(one, ModelId(7));
        assert_eq!(shunned.of(ModelId(7), now), [other]);
        shunned.served(other, ModelId(7));
        assert!(!shunned.any.load(Ordering::Acquire));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let shunned = Shunned::default();
        for model in 0..2_000 {
            shunned.note(BackendId(1), ModelId(model), now);
        }
        assert_eq!(shunned.lock().len(), MOST);
        shunned.note(BackendId(1), ModelId(5_000), now + LONGEST);
        assert_eq!(shunned.lock().len(), 1);
    }
}
