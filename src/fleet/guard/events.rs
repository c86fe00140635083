//! What goes into a guard and what comes out of it: attempts as they ended, what has changed because of them, and why a
//! provider is not asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{BreakerState, OpenCause};
use super::keys::{RestCause, Resting};
use super::model_key::ModelKey;
use super::models::ModelStatus;
use remuda_formats::dialect::rate_limits::RateLimits;

/// One attempt at a provider, as it ended or began to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The key that [`Guard::pick`](super::Guard::pick) gave.
    pub key: usize,
    pub model: ModelKey,
    /// What the provider calls the model; may be empty of an attempt that went well.
    pub name: &'a str,
    pub started: Instant,
    /// Whether the request had been tried before, at this provider or another.
    pub further: bool,
    pub result: AttemptResult,
    /// What the answer's head said.
    pub limits: Option<&'a RateLimits>,
}

/// How an attempt ended, by what it says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// Its answer began after so long.
    Served { latency: Duration, streamed: bool },
    /// The request was wrong, or this provider's model is not for it.
    NotItsFault,
    /// No connection, a broken one, an error of the server's.
    Failed,
    /// No answer in time.
    TimedOut,
    /// 429; the provider may have asked for a pause.
    RateLimited { pause: Option<Duration> },
    /// 503 or 529 for want of capacity; the provider may have asked for a pause.
    Overloaded { pause: Option<Duration> },
    /// The key was refused with 401.
    Refused,
    /// The quota or the account's balance is spent.
    Spent,
}

/// What has changed, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Change {
    Opened {
        cause: OpenCause,
        until: Instant,
        /// It is the fault of this model alone, so that the others are still asked.
        sole: Option<Arc<str>>,
    },
    HalfOpen,
    Closed,
    /// A model's breaker, while the provider's is not for that model alone.
    Model(ModelStatus),
    KeyRests {
        key: usize,
        pause: Duration,
        cause: RestCause,
    },
    KeySetAside {
        key: usize,
        cause: RestCause,
    },
}

/// Why a provider is not asked for now, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    Open {
        cause: OpenCause,
        until: Instant,
        /// The breaker is the wanted model's, and others of the provider are asked.
        of_model: bool,
    },
    Resting(Resting),
}

impl Unavailable {
    pub fn until(&self) -> Instant {
        match self {
            Self::Open { until, .. } => *until,
            Self::Resting(resting) => resting.until,
        }
    }
}

/// What pages and metrics say of a guard.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub breaker: BreakerState,
    /// While the breaker is open: why, and until when.
    pub open: Option<(Instant, OpenCause)>,
    /// Whether the breaker is not closed for one model alone, so that the others are still asked.
    pub sole: bool,
    /// Requests of the breaker's window, and how many of them failed.
    pub requests: u32,
    pub failures: u32,
    /// Requests at once at the moment, where that is less than the provider has slots.
    pub limit: Option<usize>,
    pub keys: usize,
    /// Keys that are set aside for all models.
    pub keys_set_aside: usize,
}
