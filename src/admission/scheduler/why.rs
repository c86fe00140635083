//! Why a request starts where it does: plain values for people, which `explain` makes.

use std::time::Duration;

use super::types::{BerthRule, ExpectedStart, Need, NoSlot, Wanted};
use crate::ids::{BackendId, ModelId, ProviderId};

/// What is done for a request, and what each backend has to do with that.
#[derive(Clone, Debug, PartialEq)]
pub struct StartExplanation {
    pub wanted: Wanted,
    pub need: Need,
    pub choice: StartChoice,
    /// How many others wait for the model.
    pub waiting: usize,
    /// The time until a copy gets to the request if nothing is loaded for it; `None` where no copy ever does. A load has to
    /// cost less than this.
    pub wait: Option<Duration>,
    /// A load of the model is under way, so another one has to be worth twice what it costs.
    pub second: bool,
    /// The backend that is chosen, then the others by their cost.
    pub candidates: Vec<StartCandidate>,
    /// The backends of the request's providers on which it cannot start for now.
    pub barred: Vec<Barred>,
}

/// What is done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartChoice {
    /// It starts there.
    Start(BackendId),
    /// The model is loaded there for it.
    Load(BackendId),
    /// It waits until a candidate is free.
    Wait,
    Refuse(NoSlot),
}

impl StartChoice {
    /// Returns the backend that is chosen.
    pub fn backend(self) -> Option<BackendId> {
        match self {
            Self::Start(id) | Self::Load(id) => Some(id),
            Self::Wait | Self::Refuse(_) => None,
        }
    }
}

/// A backend on which the request can start, now or as soon as it is free.
#[derive(Clone, Debug, PartialEq)]
pub struct StartCandidate {
    pub backend: BackendId,
    pub provider: ProviderId,
    pub state: CopyState,
    /// The context in tokens that its copy has or will have, where that is known.
    pub context: Option<u32>,
    pub expected: ExpectedStart,
    /// What choosing it costs others or later requests: evictions, a copy that runs on the CPU in part, a placement rule.
    pub penalty: Duration,
    /// Requests for the model that it runs now.
    pub running: u32,
    /// Requests for the model that it may run at once.
    pub places: u32,
    /// What the load pushes out of its memory.
    pub evicts: Vec<ModelId>,
    pub rule: BerthRule,
}

impl StartCandidate {
    /// Returns the expected start with its penalty, by which candidates are compared.
    pub fn cost(&self) -> Duration {
        self.expected.total().saturating_add(self.penalty)
    }
}

/// What a candidate has of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// A copy in memory. Of a backend without placement this is what is assumed.
    Loaded,
    /// A copy of which a part runs on the CPU.
    Spilled,
    /// A copy that is slower than the others of its model.
    Slow,
    /// A slow copy that is left alone while the others can do its work.
    Draining,
    /// A copy that is being loaded.
    Loading,
    /// Files on disk, so it has to be loaded first.
    OnDisk,
}

/// A backend on which the request cannot start for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barred {
    pub backend: BackendId,
    pub provider: ProviderId,
    pub bar: Bar,
}

/// Why a backend is no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// It has not answered a probe yet.
    Unprobed,
    Unhealthy,
    /// The request has asked for another backend.
    NotAsked,
    /// The request must not run on it, as after an attempt that failed.
    Excluded,
    /// As many requests run as `queue.max_concurrent` allows.
    Full,
    /// As many requests run on its provider as that allows.
    ProviderFull,
    /// It may be sent nothing for now.
    Closed,
    NotOnDisk,
    /// Its copy has kept requests without content for longer than it was expected to need, or is being tried.
    Suspect {
        /// The gateway tries it now.
        heals: bool,
    },
    /// The gateway tries another of its copies, in the place of a load.
    Heals,
    /// A placement rule keeps the model from being loaded on it.
    Rule,
    /// Loading the model on it has failed of late.
    Paused {
        /// The time until it is tried again.
        left: Duration,
    },
    /// No copy that it has or could load holds the request.
    TooSmall {
        /// The most tokens that one could hold.
        largest: u32,
    },
    /// It loads a model, and loads one after the other.
    Loads {
        model: ModelId,
        /// The time until that is expected to end.
        left: Duration,
    },
    /// What would have to leave its memory is in use, or is waited for and came only of late.
    NoRoom,
}
