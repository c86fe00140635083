//! Keeps the indices of free backends and of model copies in step with what the backends are.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::lines::LineKey;
use super::ready::Key;
use super::resident::{ANY, Resident};
use crate::ids::BackendId;

impl Scheduler {
    /// Changes what runs on a backend, but nothing that it has in memory.
    pub(super) fn update_slots<T>(
        &mut self,
        now: Duration,
        id: BackendId,
        change: impl FnOnce(&mut Backend) -> T,
    ) -> Option<T> {
        self.take_from_free(id);
        let result = self.backends.get_mut(&id).map(change);
        self.put_into_free(now, id);
        result
    }

    /// Changes anything about a backend.
    pub(super) fn update<T>(
        &mut self,
        now: Duration,
        id: BackendId,
        change: impl FnOnce(&mut Backend) -> T,
    ) -> Option<T> {
        self.take_from_free(id);
        self.take_from_copies(id);
        let result = self.backends.get_mut(&id).map(change);
        self.put_into_copies(id);
        self.put_into_free(now, id);
        result
    }

    fn take_from_free(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get_mut(&id) else {
            return;
        };
        self.spare.remove(&(backend.resident.len(), id));
        let Some(key) = backend.key.take() else {
            return;
        };
        self.free.remove(backend.spec.provider, ANY, &key);
        if backend.placed() {
            for resident in &backend.resident {
                if let Some(model) = self.models.get_mut(&resident.model) {
                    model.ready.remove(
                        backend.spec.provider,
                        resident.tokens,
                        &of_copy(key, resident),
                    );
                }
            }
        }
    }

    fn put_into_free(&mut self, now: Duration, id: BackendId) {
        let Some(backend) = self.backends.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut backend.counted, 0);
        backend.counted = if backend.healthy {
            backend.capacity() as usize
        } else {
            0
        };
        self.slots = self.slots + backend.counted - before;
        if backend.spare() {
            self.spare.insert((backend.resident.len(), id));
        }
        if !backend.free() {
            return;
        }
        let key = backend.key(now);
        backend.key = Some(key);
        self.free.insert(backend.spec.provider, ANY, key);
        if backend.placed() {
            let backend = &*backend;
            let ready = |copy: &&Resident| backend.free_for(copy.model) && !copy.is_draining();
            for resident in backend.resident.iter().filter(ready) {
                if let Some(model) = self.models.get_mut(&resident.model) {
                    model.ready.insert(
                        backend.spec.provider,
                        resident.tokens,
                        of_copy(key, resident),
                    );
                }
            }
        }
    }

    fn take_from_copies(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        for (model_id, tokens) in backend.copies() {
            if let Some(model) = self.models.get_mut(&model_id)
                && model.copies.remove(&(tokens, id))
            {
                model.drained.remove(&id);
                if !model.drained.is_empty() {
                    self.to_keep.push(model_id);
                }
                let lines = self.lines.of_model(model_id);
                let stranded = lines.filter(|line| match line {
                    LineKey::Model(_, class) => !model.has_copy_for(class.most()),
                    _ => false,
                });
                self.stranded.extend(stranded);
            }
        }
    }

    fn put_into_copies(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        if backend.healthy && !backend.gone && backend.placed() {
            for (model_id, tokens) in backend.copies() {
                if let Some(model) = self.models.get_mut(&model_id) {
                    model.copies.insert((tokens, id));
                    let copy = backend.resident(model_id);
                    if copy.is_some_and(Resident::is_draining) {
                        model.drained.insert(id);
                        self.to_keep.push(model_id);
                    }
                }
            }
        }
    }

    /// A slot of this backend is free: whoever waits for what it has may be able to start.
    pub(super) fn note_freed(&mut self, id: BackendId) {
        self.note_heals(id);
        self.note_slow(id);
        if self.backends.get(&id).is_some_and(Backend::free) {
            self.freed.push(id);
        }
    }
}

/// The key of a backend among those with a copy of one model.
fn of_copy(key: Key, copy: &Resident) -> Key {
    Key {
        slow: copy.is_slow(),
        ..key
    }
}
