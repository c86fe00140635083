//! What one backend has: the models on its disk and those in its memory, as its last probe found.

use std::time::Instant;

use crate::ids::ModelId;

use super::Models;
use crate::dialect::ollama::{LoadedEntry, ModelEntry};

/// The answer of one good probe.
#[derive(Debug)]
pub struct Inventory {
    /// From `/api/tags`, by id.
    pub models: Vec<(ModelId, ModelEntry)>,
    /// From `/api/ps`, by id.
    pub loaded: Vec<Loaded>,
    /// From `/api/version`; empty if the server does not tell.
    pub version: String,
    pub probed_at: Instant,
}

/// A model in a backend's memory.
#[derive(Debug)]
pub struct Loaded {
    pub model: ModelId,
    pub entry: LoadedEntry,
}

impl Inventory {
    /// Nothing, before the first good probe.
    pub fn empty(now: Instant) -> Self {
        Self {
            models: Vec::new(),
            loaded: Vec::new(),
            version: String::new(),
            probed_at: now,
        }
    }

    /// Gives ids to the names in both lists.
    pub(super) fn new(
        models: &Models,
        tags: Vec<ModelEntry>,
        loaded: Vec<LoadedEntry>,
        version: String,
        probed_at: Instant,
    ) -> Self {
        let names = tags.iter().map(|entry| &*entry.canonical);
        let ids = models.intern(names.chain(loaded.iter().map(|entry| &*entry.canonical)));
        let (tag_ids, loaded_ids) = ids.split_at(tags.len());
        let mut models: Vec<_> = pair(tag_ids, tags).collect();
        models.sort_by_key(|(id, _)| *id);
        models.dedup_by_key(|(id, _)| *id);
        let mut loaded: Vec<_> = pair(loaded_ids, loaded)
            .map(|(model, entry)| Loaded { model, entry })
            .collect();
        loaded.sort_by_key(|loaded| loaded.model);
        loaded.dedup_by_key(|loaded| loaded.model);
        Self {
            models,
            loaded,
            version,
            probed_at,
        }
    }

    /// Whether the model is on this backend's disk.
    pub fn has(&self, model: ModelId) -> bool {
        self.model(model).is_some()
    }

    /// The entry of `/api/tags` for the model.
    pub fn model(&self, model: ModelId) -> Option<&ModelEntry> {
        let index = self
            .models
            .binary_search_by_key(&model, |(id, _)| *id)
            .ok()?;
        Some(&self.models[index].1)
    }

    /// Bytes of GPU memory that the loaded models take.
    pub fn vram_used(&self) -> u64 {
        self.loaded
            .iter()
            .fold(0, |sum, loaded| sum.saturating_add(loaded.entry.size_vram))
    }

    /// Whether the model is in this backend's memory.
    pub fn has_loaded(&self, model: ModelId) -> bool {
        self.loaded
            .binary_search_by_key(&model, |loaded| loaded.model)
            .is_ok()
    }
}

fn pair<T>(ids: &[Option<ModelId>], entries: Vec<T>) -> impl Iterator<Item = (ModelId, T)> {
    ids.iter()
        .copied()
        .zip(entries)
        .filter_map(|(id, entry)| id.map(|id| (id, entry)))
}
