//! Loads that the gateway sends for itself: who is asked for them, what they are told, and how they tell their end.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use ahash::AHashMap;

use super::scheduler::Ticket;
use crate::ids::{BackendId, ModelId};

/// Models of which it is kept why they could not be loaded.
const CAUSES: usize = 1000;

/// Sends loads to backends.
pub trait Loader: Send + Sync {
    /// Begins the load and returns at once; its end is told by the order's ticket. Called without any lock held.
    fn load(&self, order: LoadOrder);
}

/// A load that is to be sent now.
#[derive(Debug)]
pub struct LoadOrder {
    pub backend: BackendId,
    pub model: ModelId,
    /// The context in tokens to ask for; `None` leaves it to the backend.
    pub context: Option<u32>,
    pub recipe: Arc<LoadRecipe>,
    pub ticket: LoadTicket,
}

/// What a request says of how its model is to be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadRecipe {
    /// It computes embeddings.
    pub embeds: bool,
    /// The client's options that tune the runner, a JSON object.
    pub options: Option<Box<str>>,
}

/// Why a load has failed, in words for the clients that wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFault {
    /// The status that the backend has answered with, if it has answered.
    pub status: Option<u16>,
    pub text: Arc<str>,
}

/// Is told how loads have ended.
pub(super) trait LoadEnds: std::fmt::Debug + Send + Sync {
    fn ended(self: Arc<Self>, load: Ticket, model: ModelId, end: Result<(), LoadFault>);
}

/// The right to tell how a load has ended; one that is dropped untold counts as failed.
#[derive(Debug)]
#[must_use = "dropping the ticket of a load counts as its failure"]
pub struct LoadTicket {
    teller: Arc<dyn LoadEnds>,
    load: Ticket,
    model: ModelId,
    told: bool,
}

impl LoadTicket {
    pub(super) fn new(teller: Arc<dyn LoadEnds>, load: Ticket, model: ModelId) -> Self {
        Self {
            teller,
            load,
            model,
            told: false,
        }
    }

    /// The model is in memory: those who wait for it start.
    pub fn done(mut self) {
        self.tell(Ok(()));
    }

    /// The load has come to nothing. It is not tried again there for a while.
    pub fn failed(mut self, fault: LoadFault) {
        self.tell(Err(fault));
    }

    fn tell(&mut self, end: Result<(), LoadFault>) {
        if !std::mem::replace(&mut self.told, true) {
            Arc::clone(&self.teller).ended(self.load, self.model, end);
        }
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        self.tell(Err(LoadFault {
            status: None,
            text: "the load was given up".into(),
        }));
    }
}

/// Why models could not be loaded, as was told last.
#[derive(Debug, Default)]
pub(super) struct Faults(AHashMap<ModelId, LoadFault>);

impl Faults {
    pub(super) fn note(&mut self, model: ModelId, fault: LoadFault) {
        let full = self.0.len() >= CAUSES;
        match self.0.entry(model) {
            Entry::Occupied(mut entry) => {
                entry.insert(fault);
            }
            Entry::Vacant(entry) if !full => {
                entry.insert(fault);
            }
            Entry::Vacant(_) => {}
        }
    }

    pub(super) fn of(&self, model: ModelId) -> Option<&LoadFault> {
        self.0.get(&model)
    }

    pub(super) fn clear(&mut self, models: &[ModelId]) {
        for model in models {
            self.0.remove(model);
        }
    }
}
