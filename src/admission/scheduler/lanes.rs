//! Sends one request too many to a copy now and then, where requests wait anyway, and learns from what it waited there.

use std::time::Duration;

use super::Scheduler;
use super::backend::{Backend, Job};
use super::estimate::SAMPLE;
use super::lane::End;
use super::lines::{LineKey, Waiter};
use super::types::{Decision, RunOutcome, Ticket};
use crate::ids::{BackendId, ModelId};

/// How soon the copies of a model are looked at again of which none was to be tried.
const PAUSE: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Starts the first of a line that has just grown on a copy that seems full, if that is due.
    pub(super) fn try_lanes(&mut self, now: Duration) -> Option<Decision> {
        while let Some(line) = self.to_try.pop() {
            let LineKey::Model(model, _) = line else {
                continue;
            };
            if !self.may_try_lanes(now, model) {
                continue;
            }
            let first = self.lines.waiters(line).next().map(|(_, waiter)| waiter);
            let found = first.and_then(|waiter| {
                let copy = self.lane_to_try(now, model, waiter)?;
                Some((waiter.ticket, copy))
            });
            let Some((ticket, id)) = found else {
                if let Some(model) = self.models.get_mut(&model) {
                    model.next_try = now.saturating_add(PAUSE);
                }
                continue;
            };
            let waiter = self
                .lines
                .remove(ticket)
                .expect("it was just seen in its line");
            if let Some(backend) = self.backends.get_mut(&id) {
                backend.lanes.entry(model).or_default().begin(now, ticket);
            }
            return Some(self.start(now, waiter, id, None));
        }
        None
    }

    /// Whether it is time to try a copy of the model.
    pub(super) fn may_try_lanes(&self, now: Duration, model: ModelId) -> bool {
        let known = self.models.get(&model);
        known.is_some_and(|model| now >= model.next_try)
    }

    pub(super) fn lane_to_try(
        &self,
        now: Duration,
        model: ModelId,
        waiter: &Waiter,
    ) -> Option<BackendId> {
        if self.at_limit() {
            return None;
        }
        let copies = self.models.get(&model)?.copies_for(waiter.tokens());
        let may_try = |backend: &&Backend| {
            let lane = backend.lanes.get(&model).copied().unwrap_or_default();
            backend.spec.parallel.is_none()
                && backend.free()
                && backend.holds(model)
                && backend.running(model) == lane.width as usize
                && lane.may_try(now)
                && waiter.may_use(backend.spec.provider, backend.id)
                && !self.provider_at_limit(backend.spec.provider)
        };
        let backends = copies.take(SAMPLE).filter_map(|id| self.backends.get(&id));
        backends.filter(may_try).map(|backend| backend.id).next()
    }

    /// Learns how many requests the copy serves at once from one that has ended.
    pub(super) fn learn_lane(
        &mut self,
        now: Duration,
        id: BackendId,
        ended: (Ticket, Job),
        outcome: Option<RunOutcome>,
    ) {
        let (ticket, job) = ended;
        let Some(model) = job.model else {
            return;
        };
        let end = End {
            inside: outcome
                .filter(|outcome| outcome.ok)
                .and_then(|outcome| outcome.inside),
            beside: job.beside,
            held: now.saturating_sub(job.started),
        };
        let learns = self.backends.get(&id).is_some_and(|backend| {
            backend.spec.parallel.is_none() && backend.placed() && backend.has(model)
        });
        let Some(backend) = self.backends.get_mut(&id).filter(|_| learns) else {
            return;
        };
        let lane = backend.lanes.entry(model).or_default();
        let mut learned = *lane;
        learned.end(now, ticket, end);
        let before = lane.width;
        if learned.width == before {
            // What most ends come to needs no change of the indices.
            *lane = learned;
            return;
        }
        self.update_slots(now, id, |backend| {
            backend.lanes.insert(model, learned);
            backend.refresh_copies();
        });
        if learned.width > before {
            self.note_freed(id);
        }
    }
}
