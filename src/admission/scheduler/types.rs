//! What goes into the scheduler and what comes out: plain values, no behaviour.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{BackendId, ModelId, ProviderId};
use crate::settings::{Placement, Queue, SelectorKind, WhenUnhealthy};

/// A request that waits or runs. Tickets count up, so their order is the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The bounds that hold over all backends.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Requests in flight over all backends; 0 is no limit.
    pub max_in_flight: usize,
    /// Requests that may wait.
    pub queue_size: usize,
    /// How long a request may wait.
    pub timeout: Duration,
    /// After this a waiter may go before all others, whatever the backends have loaded and whoever has priority.
    pub ageing: Duration,
    /// The share of all starts, 0 to 1, that goes to such waiters while others have priority over them.
    pub aged_share: f64,
    pub when_unhealthy: WhenUnhealthy,
    /// Whether priorities count, or arrival alone.
    pub priorities: bool,
}

impl From<&Queue> for Policy {
    fn from(queue: &Queue) -> Self {
        Self {
            max_in_flight: queue.max_concurrent,
            queue_size: queue.size,
            timeout: queue.timeout,
            ageing: queue.ageing,
            aged_share: queue.aged_share,
            when_unhealthy: queue.when_unhealthy,
            priorities: queue.priorities,
        }
    }
}

/// What the configuration says about one backend.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// Index of its provider in the configuration.
    pub provider: ProviderId,
    /// Breaks ties, lowest first: the port, or the place in the file.
    pub order: u32,
    pub weight: u32,
    /// Relative price of a request.
    pub cost: f64,
    /// Requests in flight at most, over all of its models; `None` is no bound.
    pub slots: Option<u32>,
    /// Requests in flight at most for each model that it has in memory; `None`: it is learned. Without placement only
    /// `slots` counts.
    pub parallel: Option<u32>,
    /// Bytes of GPU memory where the operator stated them; otherwise they are learned.
    pub vram: Option<u64>,
    pub selector: SelectorKind,
    pub placement: Placement,
    /// Requests in flight over the whole provider; the same for all backends of one provider.
    pub provider_limit: Option<usize>,
}

/// What a good probe found on a backend.
#[derive(Clone, Copy, Debug)]
pub struct Residency<'a> {
    /// Models on disk (`/api/tags`).
    pub on_disk: &'a [StoredModel],
    /// Models in memory (`/api/ps`).
    pub loaded: &'a [LoadedModel],
}

/// One model on a backend's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredModel {
    pub model: ModelId,
    /// Bytes on disk.
    pub size: u64,
    /// The context in tokens for which it was trained, where the backend tells that: no copy has a larger one.
    pub trained: Option<u32>,
    /// The contexts in tokens with which it is loaded, in ascending order; empty: they are learned.
    pub contexts: Arc<[u32]>,
    pub berth: BerthRule,
}

impl StoredModel {
    /// Returns a model of which nothing but its size is known, and which may be loaded.
    pub fn new(model: ModelId, size: u64) -> Self {
        Self {
            model,
            size,
            trained: None,
            contexts: Arc::default(),
            berth: BerthRule::default(),
        }
    }
}

/// Whether a model may be loaded on a backend that has it on disk. A copy that is there is used whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BerthRule {
    /// It may (default).
    #[default]
    Allowed,
    /// Others are preferred, unless loading it takes them more than twice as long.
    Second,
    /// Only while it can be loaded on none of those where it may be anyway.
    Overflow,
    Never,
}

/// One model in a backend's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedModel {
    pub model: ModelId,
    /// The context in tokens that each of its requests has; `None` where the backend does not tell.
    pub context: Option<u32>,
    /// Bytes of all memory that it takes.
    pub size: u64,
    /// Bytes of GPU memory that it takes; fewer than `size`: a part of it runs on the CPU.
    pub vram: u64,
    /// The time until the backend unloads it if nobody asks for it again.
    pub expires_in: Duration,
}

/// What a request wants to be served by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Any backend will do.
    Any,
    /// A backend that has this model on disk.
    Model(ModelId),
    /// A model that no backend has listed so far. Refused with [`NoSlot::UnknownModel`] as soon as any backend has
    /// answered a probe; then look the name up once more, since that very backend may have brought it.
    Unlisted,
}

/// Where a request may run, besides what it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub providers: Providers,
    /// Backends that it must not run on.
    pub excluded: Vec<BackendId>,
    /// As [`super::Scheduler::closings`] was when the providers were chosen: if none of them may be sent anything since,
    /// it is refused with [`NoSlot::Closed`]. `None`: it waits until one may.
    pub as_of: Option<u64>,
    /// There is somewhere else to go, so it does not wait for a backend to become healthy.
    pub elsewhere: bool,
}

/// The providers that a request may run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Providers {
    #[default]
    All,
    One(ProviderId),
    These(Arc<[ProviderId]>),
}

impl Providers {
    /// None named is all of them.
    pub fn of(providers: &[ProviderId]) -> Self {
        match providers {
            [] => Self::All,
            [one] => Self::One(*one),
            these => Self::These(these.into()),
        }
    }

    pub fn hold(&self, provider: ProviderId) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => *one == provider,
            Self::These(these) => these.contains(&provider),
        }
    }
}

/// A request that asks for a slot.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub wanted: Wanted,
    /// Higher goes first.
    pub priority: i32,
    /// Only this backend will do.
    pub pinned: Option<BackendId>,
    pub need: Need,
}

impl Arrival {
    /// The model that it asks for, if it asks for one.
    pub(super) fn model(&self) -> Option<ModelId> {
        match self.wanted {
            Wanted::Model(model) => Some(model),
            Wanted::Any | Wanted::Unlisted => None,
        }
    }
}

/// What a request needs of the copy of its model that serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Tokens that its context has to hold: the prompt, and what may be generated. 0: not known, any copy will do.
    pub tokens: u32,
    /// The context in tokens that the client has stated. It decides the size of a load where none is planned or learned,
    /// and nothing else.
    pub stated: Option<u32>,
    /// It computes embeddings.
    pub embeds: bool,
}

/// How long a copy is expected to need until the first content of a request that starts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedStart {
    /// The time until the backend turns to it.
    pub queue: Duration,
    /// The time until the model is loaded.
    pub load: Duration,
    /// The time that its prompt takes.
    pub prefill: Duration,
}

impl ExpectedStart {
    /// Returns the time until the first content.
    pub fn total(&self) -> Duration {
        let before = self.queue.saturating_add(self.load);
        before.saturating_add(self.prefill)
    }
}

/// A load of the gateway's own that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadView {
    pub backend: BackendId,
    pub model: ModelId,
    /// How long it has been under way.
    pub elapsed: Duration,
    /// How long it is expected to take in all.
    pub expected: Duration,
    /// The context in tokens that is asked for; `None` leaves it to the backend.
    pub context: Option<u32>,
}

/// What a running request showed when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// It was answered to its end.
    pub ok: bool,
    /// `load_duration` of the answer.
    pub load: Option<Duration>,
    /// The time from the start of the attempt to its first content.
    pub ttft: Option<Duration>,
    /// How long the backend has let it wait for a slot of the copy: `total_duration` less what loading, the prompt and the
    /// answer took.
    pub inside: Option<Duration>,
    /// Tokens of the prompt that were computed, as opposed to remembered, and the time that took.
    pub prompt: Option<(u32, Duration)>,
    /// The server has told how much of the prompt it remembered. Otherwise the time may be that of a few tokens.
    pub told_cached: bool,
    /// Tokens of the answer, and the time that they took.
    pub output: Option<(u32, Duration)>,
}

/// Why a request gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// No backend has the model on disk.
    #[error("no backend has the model")]
    UnknownModel,
    /// The pinned backend does not exist (any more).
    #[error("no such backend")]
    UnknownBackend,
    /// As many requests wait as the queue holds.
    #[error("the queue is full")]
    QueueFull { retry_after: Duration },
    /// The wait was longer than the queue's timeout.
    #[error("timed out waiting for a backend")]
    TimedOut {
        /// Whether any backend that could have served it was healthy at the end: busy, not broken.
        healthy: bool,
        retry_after: Duration,
    },
    /// No backend that could serve it is healthy, and the queue is set to refuse then.
    #[error("no healthy backend")]
    NoHealthyBackend { retry_after: Duration },
    /// No provider that could serve it may be sent anything for now.
    #[error("every provider is left alone")]
    Closed,
    /// Every backend that could serve it has been tried.
    #[error("every backend has been tried")]
    Exhausted,
    /// No copy that it may run on has a context that holds it, and none can be loaded.
    #[error("it is longer than the context of the model")]
    TooLong {
        /// The largest context in tokens that there is or could be loaded.
        largest: u32,
    },
    /// The model is in no memory, and loading it has failed of late on every backend that could.
    #[error("the model cannot be loaded")]
    CannotLoad {
        /// The time until loading it is tried again.
        retry_after: Duration,
    },
}

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send the request to the backend; its slot is taken.
    Start {
        ticket: Ticket,
        backend: BackendId,
        /// The model has to be loaded first.
        cold: bool,
        /// How long it has waited since its arrival, or since its last attempt was given up.
        waited: Duration,
        /// The context in tokens of the copy, to be stated to the backend so that it need not load the model anew; `None`
        /// where it is not known, and nothing is to be stated.
        context: Option<u32>,
        expected: ExpectedStart,
    },
    /// Load the model on the backend, for nobody in particular, and say how that ended by
    /// [`super::Scheduler::load_done`] or [`super::Scheduler::load_failed`].
    Load {
        load: Ticket,
        /// The waiting request for which it was begun, and which it outlives.
        rider: Ticket,
        backend: BackendId,
        model: ModelId,
        /// The context in tokens to ask for; `None` leaves it to the backend.
        context: Option<u32>,
    },
    /// The running request has shown no content, and its copy is suspect: cancel it there, and try it elsewhere.
    Recall { ticket: Ticket },
    /// Try the copy with a tiny generation, and say how that ended by [`super::Scheduler::healed`] or
    /// [`super::Scheduler::heal_failed`].
    Heal {
        heal: Ticket,
        backend: BackendId,
        model: ModelId,
        /// The context in tokens to state; `None` leaves it to the backend.
        context: Option<u32>,
        /// Unload it first, so that the generation loads it again.
        unload: bool,
    },
    /// The request has left the queue without a slot.
    Refuse { ticket: Ticket, refusal: NoSlot },
}

/// The scheduler at one moment, for metrics and the admin pages.
#[derive(Clone, Debug, Default)]
pub struct QueueSnapshot {
    pub waiting: usize,
    pub in_flight: usize,
    /// Starts since the process began, on a backend that had the model loaded.
    pub warm_starts: u64,
    /// Starts since the process began that made a backend load the model.
    pub cold_starts: u64,
    /// Sorted by provider and order.
    pub backends: Vec<BackendSnapshot>,
}

/// One backend's slots at one moment.
#[derive(Clone, Copy, Debug)]
pub struct BackendSnapshot {
    pub id: BackendId,
    pub healthy: bool,
    pub in_flight: u32,
    /// Requests that it may serve at once: its bound, or else what its models in memory take together.
    pub slots: u32,
    /// The model that it loads right now.
    pub loading: Option<ModelId>,
}
