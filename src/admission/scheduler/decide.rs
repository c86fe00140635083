//! What happens next: who starts on a backend that is ready for it, in the order of the lines.

use std::time::Duration;

use super::backend::{Backend, Job};
use super::lines::{Alarm, LineKey, Place, Waiter};
use super::placement::ColdStart;
use super::resident::{Loading, Resident};
use super::types::{Decision, NoSlot, Ticket, Wanted};
use super::{Running, Scheduler};
use crate::ids::BackendId;

/// So many are looked at in a line of which some need less than others.
pub(super) const MIXED: usize = 64;
/// How long somebody who waits for a load goes on waiting before it is looked whether that still runs.
const RIDE: Duration = Duration::from_secs(5);

impl Scheduler {
    /// The next thing to do, until there is none.
    pub fn next_decision(&mut self, now: Duration) -> Option<Decision> {
        self.decided.pop_front().or_else(|| self.decide(now))
    }

    pub(super) fn decide(&mut self, now: Duration) -> Option<Decision> {
        while let Some(alarm) = self.lines.ring(now) {
            match alarm {
                Alarm::Aged(line) => {
                    self.stranded.insert(line);
                    self.to_weigh.push(line);
                    if !self.slow.is_empty() {
                        self.to_spill.push(line);
                    }
                }
                Alarm::Expired(mut waiter) if self.rides(&waiter) => {
                    // Its load has a budget of its own.
                    waiter.deadline = now.saturating_add(RIDE);
                    self.lines.insert(now, waiter);
                }
                Alarm::Expired(waiter) => {
                    let healthy = self.served_by_healthy(&waiter);
                    let refusal = NoSlot::TimedOut {
                        healthy,
                        retry_after: self.retry_after(),
                    };
                    return Some(Decision::Refuse {
                        ticket: waiter.ticket,
                        refusal,
                    });
                }
            }
        }
        self.keep_last_copies(now);
        self.next_heal(now)
            .or_else(|| self.start_after_limit(now))
            .or_else(|| self.start_on_freed(now))
            .or_else(|| self.start_touched(now))
            .or_else(|| self.start_on_draining(now))
            .or_else(|| self.try_lanes(now))
            .or_else(|| self.next_load(now))
    }

    /// A freed backend takes the oldest waiter that it can serve with what it has.
    fn start_on_freed(&mut self, now: Duration) -> Option<Decision> {
        while let Some(id) = self.freed.last().copied() {
            let first = self.first_for(id);
            if let Some(decision) = self.rescue(now, first.map(|(place, _)| place)) {
                return Some(decision);
            }
            let Some((_, ticket)) = first else {
                self.freed.pop();
                continue;
            };
            let waiter = self
                .lines
                .remove(ticket)
                .expect("it was just seen in its line");
            return Some(self.start(now, waiter, id, None));
        }
        None
    }

    /// The first of those who could start on this backend without loading anything.
    fn first_for(&mut self, id: BackendId) -> Option<(Place, Ticket)> {
        let backend = self.backends.get(&id).filter(|backend| backend.free())?;
        if self.at_limit() || self.provider_at_limit(backend.spec.provider) {
            self.limited = true;
            return None;
        }
        let provider = backend.spec.provider;
        let first = |line| {
            let split = match line {
                LineKey::Model(model, class) if backend.placed() => {
                    let copy = backend.resident(model);
                    copy.is_some_and(|copy| class.is_split_by(copy.tokens))
                }
                _ => false,
            };
            let mut waiters = self
                .lines
                .waiters(line)
                .take(if split { MIXED } else { usize::MAX });
            let fits =
                |waiter: &Waiter| waiter.may_use(provider, id) && backend.takes(&waiter.arrival);
            let (place, waiter) = waiters.find(|(_, waiter)| fits(waiter))?;
            Some((*place, waiter.ticket))
        };
        let fitting = |copy: &Resident| {
            let tokens = copy.tokens;
            let lines = self.lines.of_model(copy.model);
            lines.filter(move |line| match line {
                LineKey::Model(_, class) => class.has_any_within(tokens),
                _ => false,
            })
        };
        let unbound = if backend.placed() {
            let held = backend
                .resident
                .iter()
                .filter(|copy| backend.free_for(copy.model) && !copy.is_draining())
                .flat_map(fitting)
                .filter_map(first);
            held.chain(first(LineKey::Any)).min()
        } else {
            let serves = |line: &LineKey| match line {
                LineKey::Any => true,
                LineKey::Model(model, _) => backend.has(*model),
                LineKey::Pinned(_) | LineKey::Unlisted => false,
            };
            let lines = self.lines.heads(None).map(|(_, line)| line);
            lines.filter(serves).find_map(first)
        };
        [unbound, first(LineKey::Pinned(id))]
            .into_iter()
            .flatten()
            .min()
    }

    fn start_touched(&mut self, now: Duration) -> Option<Decision> {
        while let Some(line) = self.touched.pop() {
            if let Some(decision) = self.start_from(now, line) {
                self.touched.push(line);
                return Some(decision);
            }
        }
        None
    }

    /// Goes through all lines, since any of them may have waited for a limit and not for a backend.
    fn start_after_limit(&mut self, now: Duration) -> Option<Decision> {
        while let Some(cursor) = self.recheck {
            if self.at_limit() {
                self.limited = true;
                self.recheck = None;
                return None;
            }
            let Some((place, line)) = self.lines.heads(cursor).next() else {
                self.recheck = None;
                return None;
            };
            if let Some(decision) = self
                .rescue(now, Some(place))
                .or_else(|| self.start_from(now, line))
            {
                return Some(decision);
            }
            self.recheck = Some(Some((place, line)));
        }
        None
    }

    /// Starts the first of the line that a ready backend can take.
    fn start_from(&mut self, now: Duration, line: LineKey) -> Option<Decision> {
        let mut found = None;
        // Some of them may need less than those before them.
        let split = match line {
            LineKey::Model(model, class) => self.models.get(&model).is_some_and(|model| {
                let above = class.above().saturating_add(u32::from(class.above() > 0));
                model.ready.has_between(above, class.most())
            }),
            _ => false,
        };
        for (index, (_, waiter)) in self.lines.waiters(line).enumerate() {
            found = self
                .ready_backend_of(waiter)
                .map(|backend| (waiter.ticket, backend));
            // What a waiter that goes anywhere cannot have, nobody behind it can.
            if found.is_some() || (waiter.goes_anywhere() && !split) || index > MIXED {
                break;
            }
        }
        let Some((ticket, backend)) = found else {
            self.note_limit();
            return None;
        };
        let waiter = self
            .lines
            .remove(ticket)
            .expect("it was just seen in its line");
        Some(self.start(now, waiter, backend, None))
    }

    /// Whether there is something to be decided before a newcomer may pass by.
    pub(super) fn pending(&self) -> bool {
        !self.freed.is_empty() || !self.touched.is_empty() || self.recheck.is_some()
    }

    /// Somebody could not start. If a limit may be why, its release has to be watched.
    pub(super) fn note_limit(&mut self) {
        self.limited |= self.at_limit()
            || self
                .providers
                .keys()
                .any(|provider| self.provider_at_limit(*provider));
    }

    #[allow(
        clippy::too_many_lines,
        reason = "one start: what is checked, counted and told belongs together"
    )]
    pub(super) fn start(
        &mut self,
        now: Duration,
        waiter: Waiter,
        id: BackendId,
        cold_start: Option<ColdStart>,
    ) -> Decision {
        self.tell_start(now, &waiter, id);
        let ticket = waiter.ticket;
        let model = match waiter.arrival.wanted {
            Wanted::Model(model) => Some(model),
            Wanted::Any | Wanted::Unlisted => None,
        };
        let backend = &self.backends[&id];
        let need = waiter.arrival.need;
        let holds = |copy: &Resident| !backend.placed() || copy.tokens >= need.tokens;
        let cold = model.is_some_and(|model| !backend.resident(model).is_some_and(holds));
        let forced = || {
            model
                .filter(|_| cold && backend.spare())
                .map(|model| self.forced_load(backend, model, need))
        };
        let running = model.map_or(0, |model| backend.running(model));
        let cold_start = cold_start.or_else(forced);
        let (context, expected) =
            self.expected_start(now, id, &waiter.arrival, cold_start.as_ref());
        let job = Job {
            ticket,
            model,
            started: now,
            beside: u32::try_from(running).unwrap_or(u32::MAX),
        };
        self.occupy(now, id, job, cold_start);
        self.lines.count_start();
        if cold {
            self.cold_starts += 1;
        } else {
            self.warm_starts += 1;
        }
        let waited = now.saturating_sub(waiter.since);
        self.running.insert(
            ticket,
            Running {
                waiter,
                backend: id,
                cold,
                content: false,
            },
        );
        Decision::Start {
            ticket,
            backend: id,
            cold,
            waited,
            context,
            expected,
        }
    }

    /// Takes a slot of the backend, and its turn; a load that this needs begins.
    fn occupy(&mut self, now: Duration, id: BackendId, job: Job, cold: Option<ColdStart>) {
        let backend = &self.backends[&id];
        let provider = backend.spec.provider;
        let turn = backend.turns.pass;
        let known = self.providers.get_mut(&provider);
        let pass = known.map_or(0, |provider| {
            let pass = provider.pass;
            provider.in_flight += 1;
            provider.pass = pass.max(turn);
            pass
        });
        let begin = |backend: &mut Backend| {
            backend.start(job);
            backend.take_turn(pass);
        };
        let Some(cold) = cold else {
            self.update_slots(now, id, begin);
            return;
        };
        let loading = Loading {
            model: cold.model,
            ticket: job.ticket,
            own: false,
            until: now.saturating_add(Duration::from_secs_f64(cold.takes)),
            vram: cold.vram,
            context: cold.plan.context,
            tokens: cold.plan.tokens,
            replaces: None,
        };
        self.update(now, id, |backend| {
            begin(backend);
            backend.start_load(loading, &cold.victims);
        });
    }
}
