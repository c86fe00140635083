//! When what was found out about a name is out of date: as soon as any backend has other models than before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::{AHashMap, RandomState};

use crate::fleet::{Backend, Inventory, Observer};
use crate::ids::BackendId;

/// Counts the changes; an observer of the fleet.
#[derive(Debug, Default)]
pub struct Changes {
    count: AtomicU64,
    /// A hash of the models of each backend.
    models: Mutex<AHashMap<BackendId, u64>>,
    hashes: RandomState,
}

impl Changes {
    /// Returns the changes so far. What is read from the fleet after this call is no older than it says.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn note(&self, backend: BackendId, models: Option<u64>) {
        let mut known = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match models {
            Some(models) => known.insert(backend, models),
            None => known.remove(&backend),
        };
        if before != models {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Observer for Changes {
    fn joined(&self, _: &Arc<Backend>) {}

    fn left(&self, backend: BackendId) {
        self.note(backend, None);
    }

    fn probed(&self, backend: &Backend, inventory: &Arc<Inventory>) {
        let ids: Vec<_> = inventory.sizes().map(|(model, _)| model).collect();
        let own: Vec<_> = inventory.offers().iter().map(|offer| &offer.own).collect();
        self.note(backend.id, Some(self.hashes.hash_one((ids, own))));
    }

    fn unhealthy(&self, _: BackendId) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_models_are_a_change() {
        let changes = Changes::default();
        let (one, other) = (BackendId(1), BackendId(2));
        for (backend, models, count) in [
            (one, Some(7), 1),
            (one, Some(7), 1),
            (other, Some(7), 2),
            (one, Some(8), 3),
            (other, None, 4),
            (other, None, 4),
        ] {
            changes.note(backend, models);
            assert_eq!(changes.count(), count);
        }
    }
}
