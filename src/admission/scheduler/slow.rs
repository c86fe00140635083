//! Copies that are slow: they stand behind the others, are left alone while those can do the work, and are tried before they
//! return. The last copy of a model is never left alone.

use std::time::Duration;

use super::Scheduler;
use super::backend::{Backend, Job};
use super::decide::MIXED;
use super::estimate::SAMPLE;
use super::lines::{LineKey, Waiter};
use super::pace::{Answer, Pace};
use super::resident::{Failure, Grade, Resident};
use super::types::{Decision, RunOutcome, Ticket};
use crate::ids::{BackendId, ModelId};

/// The pause before a slow copy is tried, which doubles each time that it is found slow, and the longest.
const LONGEST: Duration = Duration::from_secs(10 * 60);

impl Backend {
    /// Whether the gateway may try the slow copy now: nobody uses it, and its server loads nothing.
    fn may_try(&self, now: Duration, model: ModelId) -> bool {
        let due = |pace: &Pace| pace.grade != Grade::Well && now >= pace.probes.until;
        self.healthy
            && !self.gone
            && self.loading.is_none()
            && self.healing.is_none()
            && !self.runs(model)
            && self.holds(model)
            && self.paces.get(&model).is_some_and(due)
    }
}

impl Scheduler {
    /// Learns from an answer how fast the copy is, and whether it is worth as much as the others.
    pub(super) fn learn_speed(
        &mut self,
        now: Duration,
        id: BackendId,
        model_id: ModelId,
        (job, outcome): (Option<Job>, RunOutcome),
    ) {
        let backend = self.backends.get_mut(&id);
        let (Some(backend), Some(model)) = (backend, self.models.get_mut(&model_id)) else {
            return;
        };
        if outcome.prompt.is_none() && outcome.output.is_none() {
            return;
        }
        model.rates.add(outcome.prompt, outcome.output);
        let there = u32::try_from(backend.running(model_id)).unwrap_or(u32::MAX);
        let beside = job.map_or(0, |job| job.beside.max(there));
        let answer = Answer::new(outcome, beside);
        let pace = backend.paces.entry(model_id).or_default();
        pace.learn(&answer, &model.reference);
        let verdict = pace.verdict();
        let before = pace.grade;
        let copies = model.copies.iter().take(SAMPLE);
        let backends = copies.filter_map(|(_, id)| self.backends.get(id));
        let paces = backends.filter_map(|backend| backend.paces.get(&model_id));
        model.reference.follow(&answer, paces);
        if verdict != before {
            self.grade(now, id, model_id, verdict);
        }
    }

    /// The next request of the gateway's own that is to try a slow copy.
    pub(super) fn next_probe(
        &mut self,
        now: Duration,
        id: BackendId,
        model: ModelId,
    ) -> Option<Decision> {
        let backend = self.backends.get(&id)?;
        let copy = backend.resident(model)?;
        if !self.own_loads || !backend.may_try(now, model) || !self.has_other(backend, copy) {
            return None;
        }
        let context = copy.context;
        Some(self.begin_heal(now, (id, model, context), false))
    }

    /// The gateway's own request has ended; `None`: without an answer.
    pub(super) fn tried_out(
        &mut self,
        now: Duration,
        id: BackendId,
        model_id: ModelId,
        sample: Option<RunOutcome>,
    ) {
        let backend = self.backends.get_mut(&id);
        let (Some(backend), Some(model)) = (backend, self.models.get(&model_id)) else {
            return;
        };
        let Some(pace) = backend.paces.get_mut(&model_id) else {
            return;
        };
        let recovered = sample.is_some_and(|sample| pace.try_out(&sample, &model.reference));
        let grade = match pace.grade {
            _ if recovered => Grade::Well,
            Grade::Slow(cause) if sample.is_some() => Grade::Draining(cause),
            grade => grade,
        };
        if !recovered {
            pace.probes.add(now, LONGEST);
        }
        self.grade(now, id, model_id, grade);
    }

    /// Something has ended on the backend that a try of its slow copies may have waited for.
    pub(super) fn note_slow(&mut self, id: BackendId) {
        if self.slow.is_empty() {
            return;
        }
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        let slow = backend
            .resident
            .iter()
            .filter(|copy| copy.grade != Grade::Well);
        for copy in slow {
            let pace = backend.paces.get(&copy.model);
            let until = pace.map_or(Duration::ZERO, |pace| pace.probes.until);
            self.heals_due.insert((until, id, copy.model));
            if copy.is_draining() {
                self.to_spill.extend(self.lines.of_model(copy.model));
            }
        }
    }

    /// Starts the first of a line on a copy that is otherwise left alone, where the others have more than a round of work, or
    /// it may not use them or has aged.
    pub(super) fn start_on_draining(&mut self, now: Duration) -> Option<Decision> {
        while let Some(line) = self.to_spill.pop() {
            let LineKey::Model(model, _) = line else {
                continue;
            };
            let Some((ticket, id)) = self.spills(model, line) else {
                continue;
            };
            let waiter = self
                .lines
                .remove(ticket)
                .expect("it was just seen in its line");
            self.to_spill.push(line);
            return Some(self.start(now, waiter, id, None));
        }
        None
    }

    /// The first of a line that is to start on a copy that is otherwise left alone, and which one.
    fn spills(&self, model: ModelId, line: LineKey) -> Option<(Ticket, BackendId)> {
        let mut waiters = self.lines.waiters(line).take(MIXED);
        waiters.find_map(|(place, waiter)| {
            let copy = self.draining_copy(model, waiter, place.aged(), 0)?;
            Some((waiter.ticket, copy))
        })
    }

    /// The copies of a model have changed: those that are left alone take part again unless others are left to do the work.
    pub(super) fn keep_last_copies(&mut self, now: Duration) {
        while let Some(model) = self.to_keep.pop() {
            let drained = self.models.get(&model).map(|model| model.drained.clone());
            for id in drained.unwrap_or_default() {
                let Some(backend) = self.backends.get(&id) else {
                    continue;
                };
                let copy = backend.resident(model);
                let Some(Grade::Draining(cause)) = copy.map(|copy| copy.grade) else {
                    continue;
                };
                if !copy.is_some_and(|copy| self.has_other(backend, copy)) {
                    self.grade(now, id, model, Grade::Slow(cause));
                }
            }
        }
    }

    /// Sets what a copy is worth. The last one of its kind is never left alone.
    fn grade(&mut self, now: Duration, id: BackendId, model: ModelId, wished: Grade) {
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        let copy = backend.resident(model);
        let others = self.own_loads && copy.is_some_and(|copy| self.has_other(backend, copy));
        let grade = match wished {
            Grade::Draining(cause) if !others => Grade::Slow(cause),
            grade => grade,
        };
        let changed = self.update(now, id, |backend| {
            let pace = backend.paces.entry(model).or_default();
            let was_well = pace.grade == Grade::Well;
            if pace.grade != grade {
                pace.since = now;
            }
            pace.grade = grade;
            if grade == Grade::Well {
                pace.probes = Failure::default();
            } else if was_well {
                pace.probes.add(now, LONGEST);
            }
            backend.refresh_copies();
        });
        if changed.is_some() && grade != Grade::Well {
            self.slow.insert((id, model));
        } else {
            self.slow.remove(&(id, model));
        }
        // Whoever waits for it may use it now, or in its place.
        self.note_freed(id);
        self.note_slow(id);
    }

    /// Whether another copy of the model does all that this one does, and is not slow.
    fn has_other(&self, backend: &Backend, copy: &Resident) -> bool {
        let Some(model) = self.models.get(&copy.model) else {
            return false;
        };
        let mut others = model.copies_for(copy.tokens).filter(|id| *id != backend.id);
        others.any(|id| {
            let other = self.backends.get(&id);
            other.is_some_and(|other| {
                let does = |other: &Resident| other.tokens >= copy.tokens && !other.is_slow();
                other.spec.provider == backend.spec.provider
                    && other.resident(copy.model).is_some_and(does)
            })
        })
    }

    /// A copy that is left alone and that this request is to use nevertheless; `joining` is 1 for one that is in no line yet.
    pub(super) fn draining_copy(
        &self,
        model_id: ModelId,
        waiter: &Waiter,
        aged: bool,
        joining: usize,
    ) -> Option<BackendId> {
        let model = self.models.get(&model_id)?;
        if self.at_limit() || model.drained.is_empty() {
            return None;
        }
        let fits = |id: &BackendId| {
            let backend = self.backends.get(id)?;
            let copy = backend.resident(model_id)?;
            let may = waiter.may_use(backend.spec.provider, *id);
            (may && copy.tokens >= waiter.tokens()).then_some((backend, copy))
        };
        let others = model.copies_for(waiter.tokens()).take(SAMPLE);
        let places = others
            .filter_map(|id| fits(&id))
            .filter(|(_, copy)| !copy.is_draining())
            .fold(0, |sum: u32, (backend, _)| {
                sum.saturating_add(backend.places(Some(model_id)))
            });
        if !aged && self.lines.count_for(model_id) + joining <= places as usize {
            return None;
        }
        let usable = |id: &&BackendId| {
            fits(id).is_some_and(|(backend, _)| {
                backend.free_for(model_id) && !self.provider_at_limit(backend.spec.provider)
            })
        };
        model.drained.iter().find(usable).copied()
    }
}
