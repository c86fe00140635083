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
    /// Requests in flight at most.
    pub slots: u32,
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
    /// Models on disk with their size in bytes (`/api/tags`).
    pub on_disk: &'a [(ModelId, u64)],
    /// Models in memory (`/api/ps`).
    pub loaded: &'a [LoadedModel],
}

/// One model in a backend's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedModel {
    pub model: ModelId,
    /// Bytes of GPU memory that it takes.
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
    pub slots: u32,
    /// The model that it loads right now.
    pub loading: Option<ModelId>,
}
