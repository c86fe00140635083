//! A model in a backend's memory, and one on its way there.

use std::time::Duration;

use super::condition::{Condition, SlowCause};
use super::types::Ticket;
use crate::ids::{BackendId, ModelId};

/// A cold load in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loading {
    pub(super) model: ModelId,
    /// The request that has caused it, or the load's own ticket.
    pub(super) ticket: Ticket,
    /// It is the gateway's own, and holds no request.
    pub(super) own: bool,
    /// When it should be over.
    pub(super) until: Duration,
    /// Bytes of memory that it should take.
    pub(super) vram: u64,
    /// The context that is asked for.
    pub(super) context: Option<u32>,
    /// The tokens that it should hold.
    pub(super) tokens: u32,
    /// The context of the copy in whose place it comes, if there is one.
    pub(super) replaces: Option<Option<u32>>,
}

/// A model in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    pub(super) model: ModelId,
    /// The context of each of its requests, where that is known.
    pub(super) context: Option<u32>,
    /// The tokens that surely fit; [`ANY`] where nothing is known.
    pub(super) tokens: u32,
    /// A load of this gateway's brought it, and no probe has shown it yet: what was asked for.
    pub(super) asked: Option<Option<u32>>,
    /// Bytes of all memory.
    pub(super) size: u64,
    /// Bytes of GPU memory.
    pub(super) vram: u64,
    /// The time since when it is known to be there.
    pub(super) since: Duration,
    pub(super) expires_at: Duration,
    /// When it was last used, as far as is known.
    pub(super) used: Option<Duration>,
    /// How long it stays after its last use.
    pub(super) keep_alive: Duration,
    /// Requests that it serves at once, as is stated or has been learned.
    pub(super) lane: u32,
    /// What it is worth by its speed.
    pub(super) grade: Grade,
    /// How many times as long as at the others a request takes, where it is slow.
    pub(super) slowness: f64,
}

/// What a copy is worth beside others, by its speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Grade {
    #[default]
    Well,
    /// It stands behind the others.
    Slow(SlowCause),
    /// It is left alone while the others can do its work.
    Draining(SlowCause),
}

impl From<Grade> for Condition {
    fn from(grade: Grade) -> Self {
        match grade {
            Grade::Well => Self::Well,
            Grade::Slow(cause) => Self::Slow(cause),
            Grade::Draining(cause) => Self::Draining(cause),
        }
    }
}

/// A context to load with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is asked for; `None` leaves it to the backend.
    pub(super) context: Option<u32>,
    /// The tokens that it is sure to hold.
    pub(super) tokens: u32,
}

/// A load that has been ordered and of which no end has been told.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnLoad {
    pub(super) backend: BackendId,
    pub(super) model: ModelId,
    pub(super) since: Duration,
    pub(super) expected: Duration,
    pub(super) context: Option<u32>,
    /// The tokens that it should hold.
    pub(super) tokens: u32,
    /// What is asked for instead if that fails which a client has stated.
    pub(super) unstated: Option<Plan>,
}

/// A copy that counts as absent until it has been healed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sick {
    pub(super) model: ModelId,
    /// The context to load it with again.
    pub(super) context: Option<u32>,
    /// The tokens that it is to hold.
    pub(super) tokens: u32,
    /// Bytes of memory that it takes.
    pub(super) vram: u64,
    /// It was in memory when it was suspected.
    pub(super) seen: bool,
    pub(super) since: Duration,
    /// The attempt to heal it that is under way.
    pub(super) heals: Option<Ticket>,
    /// The attempts that have failed.
    pub(super) failure: Failure,
}

/// An attempt to heal a copy, of which no end has been told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heal {
    pub(super) backend: BackendId,
    pub(super) model: ModelId,
    /// It begins with unloading the copy, since that hangs; otherwise the copy is slow.
    pub(super) unload: bool,
}

impl Resident {
    /// Another one is used where there is one with a free slot.
    pub(super) fn is_slow(&self) -> bool {
        self.grade != Grade::Well || self.spilled() > 0.0
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.grade, Grade::Draining(_))
    }

    /// How it is, as far as it serves requests.
    pub(super) fn condition(&self) -> Condition {
        match self.grade {
            Grade::Well if self.spilled() > 0.0 => Condition::Slow(SlowCause::Spilled),
            grade => grade.into(),
        }
    }

    /// The share of it that runs on the CPU, 0 to 1.
    pub(super) fn spilled(&self) -> f64 {
        let outside = self.size.saturating_sub(self.vram);
        outside as f64 / self.size.max(1) as f64
    }
}

/// What a copy holds of which nothing is known: everything.
pub(super) const ANY: u32 = u32::MAX;

/// What a backend has failed at of late with one of its models.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ModelFailures {
    /// Loads of the gateway's own: until the pause is over, none is begun.
    pub(super) load: Failure,
    /// Requests, which had the model loaded where loads are not the gateway's own: until the pause is over, others are
    /// preferred to the backend.
    pub(super) request: Failure,
}

/// What has failed, as often in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failure {
    count: u32,
    /// Until then it is not tried again.
    pub(super) until: Duration,
}

impl Failure {
    /// The pause after the first failure; each further one doubles it.
    const FIRST: Duration = Duration::from_secs(30);

    /// Begins a pause that is no longer than `longest`.
    pub(super) fn add(&mut self, now: Duration, longest: Duration) {
        self.add_from(now, Self::FIRST, longest);
    }

    /// Does what [`Self::add`] does, with another first pause.
    pub(super) fn add_from(&mut self, now: Duration, first: Duration, longest: Duration) {
        let times = 1_u32 << self.count.min(10);
        self.count = self.count.saturating_add(1);
        let pause = first.saturating_mul(times).min(longest);
        self.until = now.saturating_add(pause);
    }
}
