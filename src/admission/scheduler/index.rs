//! Keeps the indices of free backends and of model copies in step with what the backends are.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::lines::LineKey;
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
        let Some(key) = backend.key.take() else {
            return;
        };
        self.free.remove(backend.spec.provider, &key);
        self.spare.remove(&(backend.resident.len(), id));
        if backend.placed() {
            for resident in &backend.resident {
                if let Some(model) = self.models.get_mut(&resident.model) {
                    model.ready.remove(backend.spec.provider, &key);
                }
            }
        }
    }

    fn put_into_free(&mut self, now: Duration, id: BackendId) {
        let Some(backend) = self.backends.get_mut(&id) else {
            return;
        };
        if !backend.free() {
            return;
        }
        let key = backend.key(now);
        backend.key = Some(key);
        self.free.insert(backend.spec.provider, key);
        if backend.spare() {
            self.spare.insert((backend.resident.len(), id));
        }
        if backend.placed() {
            for resident in &backend.resident {
                if let Some(model) = self.models.get_mut(&resident.model) {
                    model.ready.insert(backend.spec.provider, key);
                }
            }
        }
    }

    fn take_from_copies(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        for model_id in backend.held() {
            if let Some(model) = self.models.get_mut(&model_id)
                && model.copies.remove(&id)
                && model.copies.is_empty()
                && self.lines.head(LineKey::Model(model_id)).is_some()
            {
                self.stranded.insert(LineKey::Model(model_id));
            }
        }
    }

    fn put_into_copies(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        if backend.healthy && !backend.gone && backend.placed() {
            for model_id in backend.held() {
                if let Some(model) = self.models.get_mut(&model_id) {
                    model.copies.insert(id);
                }
            }
        }
    }

    /// Somebody in this line may be able to start.
    pub(super) fn touch(&mut self, line: LineKey) {
        if let Some(head) = self.lines.head(line) {
            self.touched.insert((head, line));
        }
    }

    /// Somebody in any line may be able to start.
    pub(super) fn touch_all(&mut self) {
        let Self { lines, touched, .. } = self;
        touched.extend(
            lines
                .keys()
                .filter_map(|line| Some((lines.head(line)?, line))),
        );
    }

    /// A slot of this backend is free: whoever waits for what it has may be able to start.
    pub(super) fn touch_backend(&mut self, id: BackendId) {
        let Self {
            lines,
            touched,
            backends,
            ..
        } = self;
        let Some(backend) = backends.get(&id).filter(|backend| backend.free()) else {
            return;
        };
        let mut touch = |line| {
            if let Some(head) = lines.head(line) {
                touched.insert((head, line));
            }
        };
        touch(LineKey::Pinned(id));
        touch(LineKey::Any);
        if backend.placed() {
            backend
                .resident
                .iter()
                .for_each(|resident| touch(LineKey::Model(resident.model)));
        } else if backend.on_disk.len() < lines.line_count() {
            backend
                .on_disk
                .keys()
                .for_each(|model| touch(LineKey::Model(*model)));
        } else {
            lines
                .keys()
                .filter(|line| matches!(line, LineKey::Model(model) if backend.has(*model)))
                .for_each(touch);
        }
    }
}
