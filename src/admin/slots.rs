//! How many requests servers take at once, as the scheduler has it: by their bounds, or by what has been learned of the models
//! that they have in memory.

use ahash::AHashMap;

use crate::admission::{Dispatcher, QueueSnapshot};
use crate::fleet::Backend;
use crate::ids::BackendId;

/// The slots of all backends at one moment.
pub(super) struct Slots(AHashMap<BackendId, u32>);

impl Slots {
    pub(super) fn now(dispatcher: &Dispatcher) -> Self {
        Self::of(&dispatcher.snapshot())
    }

    pub(super) fn of(queue: &QueueSnapshot) -> Self {
        let backends = queue.backends.iter();
        Slots(backends.map(|one| (one.id, one.slots)).collect())
    }

    /// Returns how many requests the backend takes at once.
    pub(super) fn at(&self, backend: &Backend) -> u32 {
        self.0.get(&backend.id).copied().unwrap_or(backend.slots)
    }
}
