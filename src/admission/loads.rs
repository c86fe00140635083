//! What the gateway sends for itself, loads and attempts to heal copies: who is asked, what is told, and how its end is told.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use ahash::AHashMap;

use super::scheduler::{RunOutcome, Ticket};
use crate::ids::{BackendId, ModelId};

/// Models of which it is kept why they could not be loaded.
const CAUSES: usize = 1000;

/// Sends loads to backends.
pub trait Loader: Send + Sync {
    /// Begins the load and returns at once; its end is told by the order's ticket. Called without any lock held.
    fn load(&self, order: LoadOrder);

    /// Begins to heal a copy and returns at once; the end is told by the order's ticket. Called without any lock held. A
    /// loader that cannot heal drops the order, which tells that it has failed.
    fn heal(&self, order: HealOrder) {
        drop(order);
    }
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

/// A copy that is to be tried now with a tiny generation, of at least 16 tokens so that its speed can be told.
#[derive(Debug)]
pub struct HealOrder {
    pub backend: BackendId,
    pub model: ModelId,
    /// The context in tokens to state; `None` leaves it to the backend.
    pub context: Option<u32>,
    /// Unload it first, so that the generation loads it again. No request of this gateway's is left on it.
    pub unload: bool,
    pub ticket: HealTicket,
}

/// How a load has ended that has come to nothing.
#[derive(Debug)]
pub(super) enum LoadFailure {
    /// The backend has said so.
    Told(LoadFault),
    /// It went on for longer than it may.
    Stuck(LoadFault),
}

/// Is told how loads, and attempts to heal copies, have ended.
pub(super) trait LoadEnds: std::fmt::Debug + Send + Sync {
    fn ended(self: Arc<Self>, load: Ticket, model: ModelId, end: Result<(), LoadFailure>);

    /// See [`LoadTicket::without_stated`].
    fn without_stated(self: Arc<Self>, load: Ticket) -> Option<Option<u32>>;

    /// `sample`: what the tiny generation has shown; `None` if there was no answer.
    fn healed(self: Arc<Self>, heal: Ticket, sample: Option<RunOutcome>);
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

    /// The model cannot be loaded with the context of the order. Returns the one in tokens to try instead, of which `None`
    /// leaves it to the backend, if it was a client that has stated the first; otherwise, and when asked again, `None`.
    pub fn without_stated(&self) -> Option<Option<u32>> {
        Arc::clone(&self.teller).without_stated(self.load)
    }

    /// The load has come to nothing. It is not tried again there for a while.
    pub fn failed(mut self, fault: LoadFault) {
        self.tell(Err(LoadFailure::Told(fault)));
    }

    /// The load went on for longer than it may, and has been given up: what it has left behind is unloaded and tried before
    /// anything is started on it.
    pub fn stuck(mut self, fault: LoadFault) {
        self.tell(Err(LoadFailure::Stuck(fault)));
    }

    fn tell(&mut self, end: Result<(), LoadFailure>) {
        if !std::mem::replace(&mut self.told, true) {
            Arc::clone(&self.teller).ended(self.load, self.model, end);
        }
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        self.tell(Err(LoadFailure::Told(LoadFault {
            status: None,
            text: "the load was given up".into(),
        })));
    }
}

/// The right to tell how an attempt to heal a copy has ended; one that is dropped untold counts as failed.
#[derive(Debug)]
#[must_use = "dropping the ticket of an attempt to heal counts as its failure"]
pub struct HealTicket {
    teller: Arc<dyn LoadEnds>,
    heal: Ticket,
    told: bool,
}

impl HealTicket {
    pub(super) fn new(teller: Arc<dyn LoadEnds>, heal: Ticket) -> Self {
        Self {
            teller,
            heal,
            told: false,
        }
    }

    /// The copy has answered, as `sample` says.
    pub fn done(mut self, sample: RunOutcome) {
        self.tell(Some(sample));
    }

    /// The copy has not answered. Another attempt follows after a pause, which doubles each time.
    pub fn failed(mut self) {
        self.tell(None);
    }

    fn tell(&mut self, sample: Option<RunOutcome>) {
        if !std::mem::replace(&mut self.told, true) {
            Arc::clone(&self.teller).healed(self.heal, sample);
        }
    }
}

impl Drop for HealTicket {
    fn drop(&mut self) {
        self.tell(None);
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
