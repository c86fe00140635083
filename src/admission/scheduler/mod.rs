//! The slot scheduler as a state machine: arrivals, completions, probes and the time go in, decisions come out.
//!
//! No clock, lock or task lives here. Times are durations since an epoch of the caller's choice and must not go back.

mod backend;
mod candidates;
mod condition;
mod contexts;
mod decide;
mod estimate;
mod explain;
mod footprint;
mod forecast;
mod index;
mod lane;
mod lanes;
mod learned;
mod lines;
mod loads;
mod members;
mod memory;
mod model;
mod need;
mod pace;
mod passing_over;
mod placement;
mod ready;
mod requests;
mod resident;
mod sick;
mod slow;
mod suspects;
#[cfg(test)]
mod tests;
mod types;
mod why;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use ahash::AHashMap;

use self::backend::Backend;
use self::learned::Mean;
use self::lines::{LineKey, Lines, Place, Waiter};
use self::model::Model;
use self::ready::Ready;
use self::resident::{Heal, OwnLoad};
use crate::ids::{BackendId, ModelId, ProviderId};

pub use self::condition::{Condition, CopyView, SlowCause};
pub use self::forecast::Outlook;
pub use self::types::{
    Arrival, BackendSnapshot, BackendSpec, BerthRule, Decision, ExpectedStart, LoadView,
    LoadedModel, Need, NoSlot, Policy, Providers, QueueSnapshot, Residency, RunOutcome, Scope,
    StoredModel, Ticket, Wanted,
};
pub use self::why::{Bar, Barred, CopyState, StartCandidate, StartChoice, StartExplanation};

/// Copies and backends that may be looked at in one go to weigh loads.
const BURST: f64 = 1024.0;

/// Decides which waiting request starts on which backend.
///
/// After every event, and at [`Self::next_timeout`], call [`Self::next_decision`] until it returns `None`.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    backends: AHashMap<BackendId, Backend>,
    models: AHashMap<ModelId, Model>,
    providers: AHashMap<ProviderId, Provider>,
    lines: Lines,
    running: AHashMap<Ticket, Running>,
    /// Loads are begun for nobody in particular, see [`Decision::Load`].
    own_loads: bool,
    /// Those that are under way.
    loads: AHashMap<Ticket, OwnLoad>,
    /// The last late request of each copy that has shown no first content since.
    late: AHashMap<(BackendId, ModelId), Ticket>,
    /// Copies that nothing is started on.
    sick: BTreeSet<(BackendId, ModelId)>,
    /// Copies that are slow.
    slow: BTreeSet<(BackendId, ModelId)>,
    /// When either are to be tried; some of them, and others that no longer need it.
    heals_due: BTreeSet<(Duration, BackendId, ModelId)>,
    /// Attempts at that which are under way.
    heals: AHashMap<Ticket, Heal>,
    /// Models of which copies are left alone and others have changed.
    to_keep: Vec<ModelId>,
    /// Lines in which somebody may start on a copy that is left alone.
    to_spill: Vec<LineKey>,
    /// Every backend with a free slot.
    free: Ready,
    /// Backends that could begin a cold load, by how many models they have in memory.
    spare: BTreeSet<(usize, BackendId)>,
    decided: VecDeque<Decision>,
    /// Backends on which somebody may be able to start now.
    freed: Vec<BackendId>,
    /// Lines in which somebody may be able to start now.
    touched: Vec<LineKey>,
    /// A limit has been released: the lines behind this head are still to be looked through.
    recheck: Option<Option<(Place, LineKey)>>,
    /// Lines that may have aged waiters and no copy of their model.
    stranded: BTreeSet<LineKey>,
    /// Lines in which somebody waits since a moment ago, for whom a copy may be tried that seems full.
    to_try: Vec<LineKey>,
    /// Lines that have just changed so that a cold load may be worth its while.
    to_weigh: Vec<LineKey>,
    /// How many lines are still to be weighed, going round from `weighed`.
    unweighed: usize,
    weighed: LineKey,
    /// How many copies and backends may be looked at for that for now, and since when that is counted.
    looks: f64,
    looked_at: Duration,
    /// When to weigh cold loads again although nothing has happened.
    reconsider_at: Option<Duration>,
    /// Somebody could not start for a limit on the whole or on a provider.
    limited: bool,
    /// Limits on providers that hold for the moment, besides the configured ones.
    caps: AHashMap<ProviderId, usize>,
    /// How often a provider was closed by such a limit.
    closings: u64,
    /// Backends, not gone, that have ever answered a probe.
    known: usize,
    healthy: usize,
    /// Slots of the healthy backends.
    slots: usize,
    /// Seconds that a warm request holds its slot, over all models.
    service: Mean,
    next_ticket: u64,
    warm_starts: u64,
    cold_starts: u64,
    /// Each start and each load is explained.
    tells_starts: bool,
    told: Vec<StartExplanation>,
}

/// What the backends of one provider share.
#[derive(Debug)]
struct Provider {
    /// The limit that is configured.
    limit: Option<usize>,
    in_flight: usize,
    backends: usize,
    /// Whether its backends are chosen by what they have in memory.
    placed: bool,
    /// The pass of the last that took its turn: who was away or is new starts there.
    pass: i64,
}

#[derive(Debug)]
struct Running {
    waiter: Waiter,
    backend: BackendId,
    cold: bool,
    /// It is known to have shown content.
    content: bool,
}

impl Scheduler {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            backends: AHashMap::new(),
            models: AHashMap::new(),
            providers: AHashMap::new(),
            lines: Lines::new(policy.ageing, policy.aged_share),
            running: AHashMap::new(),
            own_loads: false,
            loads: AHashMap::new(),
            late: AHashMap::new(),
            sick: BTreeSet::new(),
            slow: BTreeSet::new(),
            heals_due: BTreeSet::new(),
            heals: AHashMap::new(),
            to_keep: Vec::new(),
            to_spill: Vec::new(),
            free: Ready::default(),
            spare: BTreeSet::new(),
            decided: VecDeque::new(),
            freed: Vec::new(),
            touched: Vec::new(),
            recheck: None,
            stranded: BTreeSet::new(),
            to_try: Vec::new(),
            to_weigh: Vec::new(),
            unweighed: 0,
            weighed: LineKey::Any,
            looks: BURST,
            looked_at: Duration::ZERO,
            reconsider_at: None,
            limited: false,
            caps: AHashMap::new(),
            closings: 0,
            known: 0,
            healthy: 0,
            slots: 0,
            service: Mean::default(),
            next_ticket: 0,
            warm_starts: 0,
            cold_starts: 0,
            tells_starts: false,
            told: Vec::new(),
        }
    }

    /// When [`Self::next_decision`] has to be asked again even if nothing happens.
    pub fn next_timeout(&self) -> Option<Duration> {
        let heal = self.heals_due.first().map(|(at, ..)| *at);
        [self.lines.next_alarm(), self.reconsider_at, heal]
            .into_iter()
            .flatten()
            .min()
    }

    /// How often a limit of none has closed a provider, see [`Self::limit_provider`].
    pub fn closings(&self) -> u64 {
        self.closings
    }

    /// The queue and the slots right now. Costs a sort of the backends: for metrics, not for requests.
    pub fn snapshot(&self) -> QueueSnapshot {
        let mut backends: Vec<_> = self.backends.values().collect();
        backends.sort_by_key(|backend| (backend.spec.provider, backend.spec.order, backend.id));
        QueueSnapshot {
            waiting: self.lines.len(),
            in_flight: self.running.len(),
            warm_starts: self.warm_starts,
            cold_starts: self.cold_starts,
            backends: backends
                .into_iter()
                .map(|backend| BackendSnapshot {
                    id: backend.id,
                    healthy: backend.healthy,
                    in_flight: backend.jobs.len() as u32,
                    slots: backend.capacity(),
                    loading: backend.loading.map(|loading| loading.model),
                })
                .collect(),
        }
    }
}
