//! What one backend has, as its last probe found: the models on an Ollama server's disk and in its memory, or those
//! that a service offers.

use std::sync::Arc;
use std::time::Instant;

use crate::ids::ModelId;

use super::Models;
use super::churn::Churn;
use super::offers::{Offer, Offers};
use remuda_formats::dialect::ollama::{LoadedEntry, ModelEntry};

/// The answer of one good probe.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// The models of `/api/tags`, by id.
    pub models: Vec<(ModelId, ModelEntry)>,
    /// The models of `/api/ps`, by id.
    pub loaded: Vec<Loaded>,
    /// The version of `/api/version`; empty if the server does not tell.
    pub version: String,
    pub probed_at: Instant,
    offers: Arc<Offers>,
    /// Whether the backend has answered anything, as opposed to a connection that could be made.
    heard: bool,
    /// Whether a service was asked for its models and has never told them.
    untold: bool,
    /// How steady the list of its models has been.
    churn: Churn,
}

/// A model in a backend's memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub model: ModelId,
    pub entry: LoadedEntry,
}

impl Inventory {
    /// Makes the inventory of a backend before its first good probe, which has nothing.
    pub fn empty(now: Instant) -> Self {
        Self {
            models: Vec::new(),
            loaded: Vec::new(),
            version: String::new(),
            probed_at: now,
            offers: Arc::default(),
            heard: false,
            untold: false,
            churn: Churn::default(),
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
            ..Self::empty(probed_at)
        }
    }

    /// Returns the inventory of a service.
    pub(super) fn of(offers: Arc<Offers>, probed_at: Instant) -> Self {
        Self {
            offers,
            ..Self::empty(probed_at)
        }
    }

    /// Notes whether the probe was answered.
    pub(super) fn heard(self, heard: bool) -> Self {
        Self { heard, ..self }
    }

    /// Takes note of what the probe before has found, and returns how steady the list has been of late.
    pub(super) fn follow(&mut self, before: &Inventory) -> Churn {
        let lacks = |one: &Inventory, other: &Inventory| {
            let missing = one.sizes().filter(|(model, _)| !other.has(*model));
            missing.count()
        };
        let (came, gone) = (lacks(self, before), lacks(before, self));
        self.churn = before.churn.after(came, gone, self.sizes().count());
        self.churn
    }

    /// Notes that the service would not list its models.
    pub(super) fn untold(self) -> Self {
        Self {
            untold: true,
            ..self
        }
    }

    /// Returns whether a service was asked for its models and has never told them, so that it may have others.
    pub fn is_untold(&self) -> bool {
        self.untold
    }

    /// Returns whether the probe was answered.
    pub(super) fn was_heard(&self) -> bool {
        self.heard
    }

    /// Returns whether the backend has the model: on its disk, or as a service.
    pub fn has(&self, model: ModelId) -> bool {
        self.model(model).is_some() || self.offers.own_name(model).is_some()
    }

    /// Returns the entry of `/api/tags` for the model.
    pub fn model(&self, model: ModelId) -> Option<&ModelEntry> {
        let index = self
            .models
            .binary_search_by_key(&model, |(id, _)| *id)
            .ok()?;
        Some(&self.models[index].1)
    }

    /// Returns every model that the backend has, with its bytes on disk; of a service, under each of its names and
    /// without size.
    pub fn sizes(&self) -> impl Iterator<Item = (ModelId, u64)> {
        let on_disk = self
            .models
            .iter()
            .map(|(model, entry)| (*model, entry.size));
        on_disk.chain(self.offers.ids().map(|model| (model, 0)))
    }

    /// Returns what a service offers, in its own order; nothing for an Ollama server.
    pub fn offers(&self) -> &[Offer] {
        self.offers.all()
    }

    /// Returns the service's name for the model.
    pub(super) fn own_name(&self, model: ModelId) -> Option<Arc<str>> {
        self.offers.own_name(model).map(Arc::clone)
    }

    /// Returns the tokens that the model holds there, where the server has told.
    pub fn context(&self, model: ModelId) -> Option<u64> {
        self.offers.context(model)
    }

    /// Returns the same inventory, found again.
    pub(super) fn again(&self, now: Instant) -> Self {
        Self {
            probed_at: now,
            ..self.clone()
        }
    }

    /// Returns the bytes of GPU memory that the loaded models take.
    pub fn vram_used(&self) -> u64 {
        self.loaded
            .iter()
            .fold(0, |sum, loaded| sum.saturating_add(loaded.entry.size_vram))
    }

    /// Returns the context in tokens of the copy in this backend's memory, where the backend tells it.
    pub fn context_loaded(&self, model: ModelId) -> Option<u32> {
        let index = self
            .loaded
            .binary_search_by_key(&model, |loaded| loaded.model)
            .ok()?;
        self.loaded[index].entry.context
    }

    /// Returns whether the model is in this backend's memory.
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
