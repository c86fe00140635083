//! Explains what is done for a request: by the same functions that decide, so that there is no second opinion.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::lines::{LineKey, Waiter};
use super::placement::Berth;
use super::types::{Arrival, BerthRule, Scope, Ticket, Wanted};
use super::why::{Bar, Barred, CopyState, StartCandidate, StartChoice, StartExplanation};
use crate::ids::{BackendId, ModelId};

/// Explanations that are kept until they are taken.
const TOLD: usize = 64;

impl Scheduler {
    /// Explains what would be done for a request that arrived now.
    pub fn explain(&self, now: Duration, arrival: Arrival, scope: Scope) -> StartExplanation {
        let waiter = self.newcomer(now, arrival, scope);
        let choice = self.choice(now, &waiter);
        self.explained(now, &waiter, choice, 1)
    }

    /// From now on each start and each load is explained as it is decided: see [`Self::take_told`].
    pub fn tell_starts(&mut self) {
        self.tells_starts = true;
    }

    /// Takes the explanations of what has been decided, the oldest first.
    pub fn take_told(&mut self) -> Vec<StartExplanation> {
        std::mem::take(&mut self.told)
    }

    /// Explains the start of a request that has just left its line.
    pub(super) fn tell_start(&mut self, now: Duration, waiter: &Waiter, backend: BackendId) {
        if self.tells_starts && self.told.len() < TOLD {
            let told = self.explained(now, waiter, StartChoice::Start(backend), 1);
            self.told.push(told);
        }
    }

    /// Explains a load that is about to begin for a request, which stays in its line.
    pub(super) fn tell_load(&mut self, now: Duration, rider: Ticket, backend: BackendId) {
        if self.tells_starts
            && self.told.len() < TOLD
            && let Some(waiter) = self.lines.get(rider)
        {
            let told = self.explained(now, waiter, StartChoice::Load(backend), 0);
            self.told.push(told);
        }
    }

    /// What is done for a newcomer, in the order in which it is tried.
    fn choice(&self, now: Duration, waiter: &Waiter) -> StartChoice {
        if let Some(refusal) = self.hopeless(now, waiter) {
            return StartChoice::Refuse(refusal);
        }
        if let Some(id) = self.ready_backend_of(waiter) {
            return StartChoice::Start(id);
        }
        let LineKey::Model(model, _) = waiter.line() else {
            return StartChoice::Wait;
        };
        let is_first = self.lines.count(waiter.line()) == 0;
        if !self.slow.is_empty()
            && is_first
            && let Some(id) = self.draining_copy(model, waiter, false, 1)
        {
            return StartChoice::Start(id);
        }
        if is_first
            && self.may_try_lanes(now, model)
            && let Some(id) = self.lane_to_try(now, model, waiter)
        {
            return StartChoice::Start(id);
        }
        self.berth_for(now, model, waiter)
            .map_or(StartChoice::Wait, |berth| StartChoice::Load(berth.backend))
    }

    /// Where the model is loaded for a newcomer, if that is worth its while.
    fn berth_for(&self, now: Duration, model: ModelId, waiter: &Waiter) -> Option<Berth> {
        if self.spare.is_empty() || self.at_limit() {
            return None;
        }
        let wait = self.wait_for_copy(now, model, waiter, 1);
        let best = self.best_berth(now, model, waiter, &mut 0)?;
        self.is_worthwhile(model, waiter, wait, &best)
            .then_some(best)
    }

    /// Explains a choice; `joining` is 1 for a request that is in no line, and 0 for one that is.
    fn explained(
        &self,
        now: Duration,
        waiter: &Waiter,
        choice: StartChoice,
        joining: usize,
    ) -> StartExplanation {
        let (candidates, barred) = self.sides(now, waiter, choice);
        let line = waiter.line();
        let wait = match line {
            LineKey::Model(model, _) => {
                let wait = self.wait_for_copy(now, model, waiter, joining);
                Duration::try_from_secs_f64(wait).ok()
            }
            _ => None,
        };
        let waiting = match line {
            LineKey::Model(model, _) => self.lines.count_for(model),
            _ => self.lines.count(line),
        };
        StartExplanation {
            wanted: waiter.arrival.wanted,
            need: waiter.arrival.need,
            choice,
            waiting: waiting.saturating_sub(1 - joining),
            wait,
            second: line
                .model()
                .is_some_and(|model| self.is_second(model, waiter)),
            candidates,
            barred,
        }
    }

    /// Those on which it can start and those on which it cannot, of all backends of its providers.
    fn sides(
        &self,
        now: Duration,
        waiter: &Waiter,
        choice: StartChoice,
    ) -> (Vec<StartCandidate>, Vec<Barred>) {
        let (mut candidates, mut barred) = (Vec::new(), Vec::new());
        let providers = &waiter.scope.providers;
        let mine = |backend: &&Backend| !backend.gone && providers.hold(backend.spec.provider);
        for backend in self.backends.values().filter(mine) {
            match self.candidate(now, backend, waiter) {
                Ok(candidate) => candidates.push(candidate),
                Err(bar) => barred.push(Barred {
                    backend: backend.id,
                    provider: backend.spec.provider,
                    bar,
                }),
            }
        }
        let chosen = choice.backend();
        // While it waits, it waits for a copy.
        let waits = chosen.is_none();
        candidates.sort_by_key(|one| {
            let loads = one.state == CopyState::OnDisk;
            let overflows = loads && one.rule == BerthRule::Overflow;
            let last = overflows || one.state == CopyState::Draining;
            let other = Some(one.backend) != chosen;
            (
                other,
                waits && loads,
                last,
                one.cost(),
                one.evicts.len(),
                one.backend,
            )
        });
        barred.sort_by_key(|one| (one.provider, one.backend));
        (candidates, barred)
    }

    fn candidate(
        &self,
        now: Duration,
        backend: &Backend,
        waiter: &Waiter,
    ) -> Result<StartCandidate, Bar> {
        if let Some(bar) = self.bar_of_backend(backend, waiter) {
            return Err(bar);
        }
        match (waiter.arrival.wanted, waiter.arrival.pinned) {
            (Wanted::Unlisted, _) => Err(Bar::NotOnDisk),
            (Wanted::Any, _) => Ok(self.on_copy(now, backend, None, waiter)),
            (Wanted::Model(model), None) if backend.placed() => {
                self.on_placed(now, backend, model, waiter)
            }
            (Wanted::Model(model), _) if backend.has(model) => {
                Ok(self.on_copy(now, backend, Some(model), waiter))
            }
            (Wanted::Model(_), _) => Err(Bar::NotOnDisk),
        }
    }

    /// What keeps the request from the backend whatever that has on disk and in memory.
    fn bar_of_backend(&self, backend: &Backend, waiter: &Waiter) -> Option<Bar> {
        let provider = backend.spec.provider;
        if !backend.known {
            Some(Bar::Unprobed)
        } else if !backend.healthy {
            Some(Bar::Unhealthy)
        } else if waiter
            .arrival
            .pinned
            .is_some_and(|pinned| pinned != backend.id)
        {
            Some(Bar::NotAsked)
        } else if !waiter.may_use(provider, backend.id) {
            Some(Bar::Excluded)
        } else if self.at_limit() {
            Some(Bar::Full)
        } else if self.provider_at_limit(provider) {
            Some(Bar::ProviderFull)
        } else if backend.slots() == 0 {
            Some(Bar::Closed)
        } else {
            let Wanted::Model(model) = waiter.arrival.wanted else {
                return None;
            };
            let sick = backend.sick(model);
            let heals = sick.is_none_or(|sick| sick.heals.is_some());
            let is_barred = backend.is_barred(model);
            is_barred.then_some(Bar::Suspect { heals })
        }
    }

    /// Looks at one that is chosen by what it has in memory.
    fn on_placed(
        &self,
        now: Duration,
        backend: &Backend,
        model: ModelId,
        waiter: &Waiter,
    ) -> Result<StartCandidate, Bar> {
        let mut copies = backend.copies();
        if copies.any(|(held, tokens)| held == model && tokens >= waiter.tokens()) {
            return Ok(self.on_copy(now, backend, Some(model), waiter));
        }
        if self.may_load_on(now, backend, model, waiter)
            && let Some(berth) = self.berth(now, backend, model, waiter.arrival.need)
        {
            return Ok(self.on_berth(now, backend, waiter, berth));
        }
        Err(self.bar_of_load(now, backend, model, waiter))
    }

    /// Why the model cannot be loaded there now.
    fn bar_of_load(
        &self,
        now: Duration,
        backend: &Backend,
        model: ModelId,
        waiter: &Waiter,
    ) -> Bar {
        let Some(stored) = backend.on_disk.get(&model) else {
            return Bar::NotOnDisk;
        };
        if stored.berth == BerthRule::Never {
            return Bar::Rule;
        }
        if let Some(until) = backend.pause(now, model) {
            let left = until.saturating_sub(now);
            return Bar::Paused { left };
        }
        if self.plan(backend, model, waiter.arrival.need).is_none() {
            let largest = self.largest(backend, model);
            return Bar::TooSmall { largest };
        }
        match backend.loading {
            Some(loading) => Bar::Loads {
                model: loading.model,
                left: loading.until.saturating_sub(now),
            },
            None if backend.healing.is_some() => Bar::Heals,
            None => Bar::NoRoom,
        }
    }

    /// A start without a load of its own, unless the request insists on this backend.
    fn on_copy(
        &self,
        now: Duration,
        backend: &Backend,
        model: Option<ModelId>,
        waiter: &Waiter,
    ) -> StartCandidate {
        let arrival = &waiter.arrival;
        let copy = model.and_then(|model| backend.resident(model));
        let forced = model
            .filter(|_| copy.is_none() && backend.spare())
            .filter(|model| !backend.loads(*model))
            .map(|model| self.forced_load(backend, model, arrival.need));
        let (context, mut expected) =
            self.expected_start(now, backend.id, arrival, forced.as_ref());
        let free_in = self.free_in(now, backend, model);
        let free_in = Duration::try_from_secs_f64(free_in).unwrap_or_default();
        let is_loading = copy.is_none() && model.is_some_and(|model| backend.loads(model));
        if is_loading {
            (expected.queue, expected.load) = (Duration::ZERO, free_in);
        } else if backend.open(model) == 0 {
            expected.queue = free_in;
        }
        let slower = copy.map_or(0.0, |copy| self.slower(copy));
        let penalty = self.service(model) * (slower - 1.0).max(0.0);
        let state = match copy {
            _ if is_loading => CopyState::Loading,
            _ if forced.is_some() => CopyState::OnDisk,
            Some(copy) if copy.is_draining() => CopyState::Draining,
            Some(copy) if copy.spilled() > 0.0 => CopyState::Spilled,
            Some(copy) if copy.is_slow() => CopyState::Slow,
            _ => CopyState::Loaded,
        };
        StartCandidate {
            context,
            expected,
            penalty: Duration::try_from_secs_f64(penalty).unwrap_or_default(),
            evicts: forced.map_or_else(Vec::new, |cold| cold.victims),
            ..self.bare(backend, model, state)
        }
    }

    /// A start behind a load.
    fn on_berth(
        &self,
        now: Duration,
        backend: &Backend,
        waiter: &Waiter,
        berth: Berth,
    ) -> StartCandidate {
        let (context, expected) =
            self.expected_start(now, backend.id, &waiter.arrival, Some(&berth.cold));
        let penalty = berth.cost - berth.cold.takes;
        StartCandidate {
            context,
            expected,
            penalty: Duration::try_from_secs_f64(penalty).unwrap_or_default(),
            evicts: berth.cold.victims,
            ..self.bare(backend, Some(berth.cold.model), CopyState::OnDisk)
        }
    }

    fn bare(&self, backend: &Backend, model: Option<ModelId>, state: CopyState) -> StartCandidate {
        let stored = model.and_then(|model| backend.on_disk.get(&model));
        let running = model.map_or(backend.jobs.len(), |model| backend.running(model));
        StartCandidate {
            backend: backend.id,
            provider: backend.spec.provider,
            state,
            context: None,
            expected: Default::default(),
            penalty: Duration::ZERO,
            running: u32::try_from(running).unwrap_or(u32::MAX),
            places: backend.places(model),
            evicts: Vec::new(),
            rule: stored.map_or(BerthRule::Allowed, |stored| stored.berth),
        }
    }
}
