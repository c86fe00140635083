//! Copies that hang: two requests in a row that are late by their copy's own measure make it suspect. Those that hang there
//! are recalled, nothing more is started on it, and it is unloaded and tried before it returns.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::condition::{Condition, CopyView};
use super::resident::{Heal, Loading};
use super::types::{Decision, RunOutcome, Ticket};
use crate::ids::{BackendId, ModelId};

impl Scheduler {
    /// The running request has had no content for longer than its copy was expected to need. The second in a row makes the
    /// copy suspect. Only copies of placed backends are judged, and only where somebody can heal them: see
    /// [`Self::own_loads`]. Tickets that do not run are ignored.
    pub fn late(&mut self, now: Duration, ticket: Ticket) {
        let Some((id, model)) = self.copy_of(ticket) else {
            return;
        };
        let judged = self.backends.get(&id).is_some_and(|backend| {
            let own = |loading: Loading| loading.own && loading.model == model;
            backend.placed()
                && !backend.gone
                && backend.has(model)
                && !backend.is_sick(model)
                && !backend.loading.is_some_and(own)
        });
        if !judged || !self.own_loads {
            return;
        }
        let before = self.late.insert((id, model), ticket);
        if before.is_some_and(|before| before != ticket) {
            self.suspect(now, id, model);
        }
    }

    /// The load has not come to an end within its time: as [`Self::load_failed`], and what it has left behind is unloaded
    /// and tried before anything is started on it.
    pub fn load_stuck(&mut self, now: Duration, load: Ticket) {
        let own = self.loads.get(&load).copied();
        self.load_failed(now, load);
        if let Some(own) = own {
            let there = self.backends.get(&own.backend);
            let judged = there.is_some_and(|backend| {
                backend.has(own.model) && !backend.gone && !backend.is_sick(own.model)
            });
            if judged {
                self.suspect(now, own.backend, own.model);
            }
        }
    }

    /// The attempt to heal has succeeded: the copy is in memory and has answered. Tickets that are not known are ignored.
    pub fn healed(&mut self, now: Duration, heal: Ticket, sample: RunOutcome) {
        let Some(Heal {
            backend: id,
            model,
            unload,
        }) = self.heals.remove(&heal)
        else {
            return;
        };
        let cured = self.update(now, id, |backend| {
            backend.healing.take_if(|(under_way, _)| *under_way == heal);
            let sick = backend.sick(model);
            let cured = sick.is_some_and(|sick| sick.heals == Some(heal));
            if cured {
                backend.recover(now, model);
                backend.failed.remove(&model);
            }
            cured
        });
        if cured == Some(true) {
            self.sick.remove(&(id, model));
            if let Some(known) = self.models.get_mut(&model) {
                known.failed.remove(&id);
            }
        }
        if unload {
            self.learn_speed(now, id, model, (None, sample));
        } else {
            self.tried_out(now, id, model, Some(sample));
        }
        self.note_freed(id);
        self.reweigh();
    }

    /// The attempt to heal has failed. The next one follows after a pause, which doubles each time; the server's other models
    /// are served meanwhile. Tickets that are not known are ignored.
    pub fn heal_failed(&mut self, now: Duration, heal: Ticket) {
        let Some(Heal {
            backend: id,
            model,
            unload,
        }) = self.heals.remove(&heal)
        else {
            return;
        };
        let again = self.update(now, id, |backend| {
            backend.healing.take_if(|(under_way, _)| *under_way == heal);
            backend.stay_sick(now, model, heal)
        });
        if let Some(until) = again.flatten() {
            self.heals_due.insert((until, id, model));
            if let Some(known) = self.models.get_mut(&model) {
                known.failed.insert(id);
            }
            let lines: Vec<_> = self.lines.of_model(model).collect();
            self.refuse_hopeless(now, lines);
        }
        if !unload {
            self.tried_out(now, id, model, None);
        }
        self.note_freed(id);
        self.reweigh();
    }

    /// Whether the first content of a request may clear a copy of a suspicion, so that [`Self::loaded`] has to be told of
    /// each.
    pub fn is_wary(&self) -> bool {
        let runs = |(id, model): &(BackendId, ModelId)| {
            let backend = self.backends.get(id);
            backend.is_some_and(|backend| backend.runs(*model))
        };
        !self.late.is_empty() || self.sick.iter().any(runs)
    }

    /// The copies of all placed backends that are healthy, in no particular order.
    pub fn copies(&self, now: Duration) -> impl Iterator<Item = CopyView> {
        let there = self.backends.values();
        let there = there.filter(|backend| backend.healthy && !backend.gone && backend.placed());
        there.flat_map(move |backend| {
            let held = backend.resident.iter().map(|copy| {
                let tried = backend.is_barred(copy.model).then_some(Condition::Healing);
                let condition = tried.unwrap_or(copy.condition());
                let graded = backend.paces.get(&copy.model).map(|pace| pace.since);
                (
                    copy.model,
                    copy.context,
                    condition,
                    graded.max(Some(copy.since)),
                )
            });
            let sick = backend.sick.iter().map(|sick| {
                let tried = sick.heals.map(|_| Condition::Healing);
                let condition = tried.unwrap_or(Condition::Suspect);
                (sick.model, sick.context, condition, Some(sick.since))
            });
            let view = move |(model, context, condition, since): (_, _, _, Option<Duration>)| {
                let rates = backend.paces.get(&model).map(|pace| pace.rates);
                CopyView {
                    backend: backend.id,
                    model,
                    context,
                    parallel: backend.lane(model),
                    running: u32::try_from(backend.running(model)).unwrap_or(u32::MAX),
                    condition,
                    prefill: rates.and_then(|rates| rates.prefill.get()),
                    decode: rates.and_then(|rates| rates.decode.get()),
                    since: now.saturating_sub(since.unwrap_or_default()),
                }
            };
            held.chain(sick).map(view)
        })
    }

    /// A copy has shown content, so it does not hang. One that was suspect and whose healing has not begun is back.
    pub(super) fn note_alive(&mut self, now: Duration, ticket: Ticket) {
        let Some((id, model)) = self.copy_of(ticket) else {
            return;
        };
        self.late.remove(&(id, model));
        if let Some(running) = self.running.get_mut(&ticket) {
            running.content = true;
        }
        let waits = |backend: &Backend| {
            let sick = backend.sick(model);
            sick.is_some_and(|sick| sick.heals.is_none() && !backend.loads(model))
        };
        if self.backends.get(&id).is_some_and(waits) {
            self.sick.remove(&(id, model));
            self.update(now, id, |backend| backend.recover(now, model));
            self.note_freed(id);
            self.reweigh();
        }
    }

    /// The next attempt to heal a copy, if one is due.
    pub(super) fn next_heal(&mut self, now: Duration) -> Option<Decision> {
        while let Some((at, id, model)) = self.heals_due.first().copied() {
            if at > now {
                return None;
            }
            self.heals_due.pop_first();
            // What stands in the way now ends with an event of the backend, which puts it here again.
            let Some(backend) = self.backends.get(&id) else {
                continue;
            };
            if backend.may_heal(now, model) {
                let context = backend.sick(model).and_then(|sick| sick.context);
                return Some(self.begin_heal(now, (id, model, context), true));
            }
            if let Some(decision) = self.next_probe(now, id, model) {
                return Some(decision);
            }
        }
        None
    }

    /// Begins to try a copy, which is unloaded before that if it hangs.
    pub(super) fn begin_heal(
        &mut self,
        now: Duration,
        (backend, model, context): (BackendId, ModelId, Option<u32>),
        unload: bool,
    ) -> Decision {
        let heal = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let under_way = Heal {
            backend,
            model,
            unload,
        };
        self.heals.insert(heal, under_way);
        self.update(now, backend, |backend| backend.begin_heal(model, heal));
        Decision::Heal {
            heal,
            backend,
            model,
            context,
            unload,
        }
    }

    /// Something has ended on the backend that its sick copies may have waited for.
    pub(super) fn note_heals(&mut self, id: BackendId) {
        if self.sick.is_empty() {
            return;
        }
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        let waiting = backend.sick.iter().filter(|sick| sick.heals.is_none());
        let due = waiting.map(|sick| (sick.failure.until, id, sick.model));
        self.heals_due.extend(due);
    }

    /// A probe was answered: what is no longer there is not sick any more.
    pub(super) fn forget_cured(&mut self, id: BackendId) {
        if self.late.is_empty() && self.sick.is_empty() {
            return;
        }
        let Some(backend) = self.backends.get(&id) else {
            return;
        };
        let absent = |of: BackendId, model| of == id && !backend.is_sick(model);
        self.sick.retain(|(of, model)| !absent(*of, *model));
        let there = |model| backend.holds(model) || backend.runs(model);
        self.late
            .retain(|(of, model), _| *of != id || there(*model));
    }

    fn suspect(&mut self, now: Duration, id: BackendId, model: ModelId) {
        self.late.remove(&(id, model));
        self.update(now, id, |backend| backend.fall_sick(now, model));
        self.sick.insert((id, model));
        self.heals_due.insert((now, id, model));
        let jobs = self.backends.get(&id).map(|backend| backend.jobs.iter());
        let there = jobs
            .into_iter()
            .flatten()
            .filter(|job| job.model == Some(model));
        let running = &self.running;
        let silent = there.filter(|job| running.get(&job.ticket).is_some_and(|one| !one.content));
        let recalls = silent.map(|job| Decision::Recall { ticket: job.ticket });
        self.decided.extend(recalls);
        self.reweigh();
    }

    /// The copy on which the request runs.
    fn copy_of(&self, ticket: Ticket) -> Option<(BackendId, ModelId)> {
        let running = self.running.get(&ticket)?;
        let model = running.waiter.arrival.model()?;
        Some((running.backend, model))
    }
}
