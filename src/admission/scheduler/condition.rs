//! How a copy of a model is, for pages and metrics.

use std::time::Duration;

use crate::ids::{BackendId, ModelId};

/// How a copy is, and with that whether requests are started on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It is as fast as the others of its model.
    #[default]
    Well,
    /// It is slow, and used where no other copy has a free slot.
    Slow(SlowCause),
    /// It is slow, and left alone while the others of its model can do its work.
    Draining(SlowCause),
    /// It has kept requests without content for longer than it was expected to need. Nothing is started on it.
    Suspect,
    /// The gateway tries it with a request of its own. Nothing else is started on it.
    Healing,
}

/// By what a copy is known to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowCause {
    /// A part of it is not in the GPU's memory, and runs on the CPU.
    Spilled,
    /// It writes more slowly than the others of its model.
    Decode,
    /// It reads prompts more slowly than the others of its model.
    Prefill,
    /// It is slower than it has been itself, beside the others.
    Drift,
}

/// A copy of a model as the scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CopyView {
    pub backend: BackendId,
    pub model: ModelId,
    /// The context in tokens that each of its requests has, where that is known.
    pub context: Option<u32>,
    /// Requests that it serves at once, as is stated or has been learned; `u32::MAX` where only its server is bounded.
    pub parallel: u32,
    /// Requests that run on it.
    pub running: u32,
    pub condition: Condition,
    /// Tokens per second that it reads of prompts, once that has been seen.
    pub prefill: Option<f64>,
    /// Tokens per second that it writes, once that has been seen.
    pub decode: Option<f64>,
    /// How long its condition has been what it is.
    pub since: Duration,
}
