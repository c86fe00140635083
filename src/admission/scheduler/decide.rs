//! What happens next: who starts on a backend that is ready for it, in the order of the lines.

use std::time::Duration;

use super::backend::{Backend, Job, Loading};
use super::lines::{Alarm, LineKey, Waiter};
use super::placement::ColdStart;
use super::types::{Decision, Refusal, Wanted};
use super::{Running, Scheduler};
use crate::ids::BackendId;

/// A model on at most this many disks is looked for on each of them, else along the free backends.
const FEW: usize = 64;

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
                    self.touch(line);
                    self.to_weigh.push(line);
                }
                Alarm::Expired(waiter) => {
                    let healthy = self.served_by_healthy(&waiter);
                    let refusal = Refusal::TimedOut {
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
        if let Some(decision) = self.rescue(now) {
            return Some(decision);
        }
        while let Some((place, line)) = self.touched.pop_first() {
            match self.lines.head(line) {
                Some(head) if head != place => {
                    self.touched.insert((head, line));
                }
                Some(_) => {
                    if let Some(decision) = self.start_from(now, line) {
                        self.touch(line);
                        return Some(decision);
                    }
                }
                None => {}
            }
        }
        self.next_load(now)
    }

    /// Starts the first of the line that a ready backend can take.
    fn start_from(&mut self, now: Duration, line: LineKey) -> Option<Decision> {
        let mut found = None;
        for (_, waiter) in self.lines.waiters(line) {
            found = self
                .ready_backend_of(waiter)
                .map(|backend| (waiter.ticket, backend));
            // What a waiter without exclusions cannot have, nobody behind it can.
            if found.is_some() || waiter.excluded.is_empty() {
                break;
            }
        }
        self.limited |= found.is_none();
        let (ticket, backend) = found?;
        let waiter = self
            .lines
            .remove(ticket)
            .expect("it was just seen in its line");
        Some(self.start(now, waiter, backend, None))
    }

    pub(super) fn ready_backend(&mut self, waiter: &Waiter) -> Option<BackendId> {
        let found = self.ready_backend_of(waiter);
        self.limited |= found.is_none();
        found
    }

    pub(super) fn at_limit(&self) -> bool {
        self.policy.max_in_flight > 0 && self.running.len() >= self.policy.max_in_flight
    }

    pub(super) fn provider_at_limit(&self, provider: u16) -> bool {
        self.providers.get(&provider).is_some_and(|provider| {
            provider
                .limit
                .is_some_and(|limit| provider.in_flight >= limit)
        })
    }

    /// The best backend that can take this request now without loading anything.
    fn ready_backend_of(&self, waiter: &Waiter) -> Option<BackendId> {
        if self.at_limit() {
            return None;
        }
        let usable = |id: &BackendId| !waiter.excluded.contains(id);
        let open = |provider: &u16| !self.provider_at_limit(*provider);
        match waiter.line() {
            LineKey::Unlisted => None,
            LineKey::Pinned(id) => {
                let backend = self.backends.get(&id)?;
                (backend.free() && open(&backend.spec.provider)).then_some(id)
            }
            LineKey::Any => self.lightest(
                self.free
                    .by_provider()
                    .filter(|(provider, _)| open(provider))
                    .filter_map(|(_, mut ids)| ids.find(usable)),
            ),
            LineKey::Model(model_id) => {
                let model = self.models.get(&model_id)?;
                let warm = model
                    .ready
                    .by_provider()
                    .filter(|(provider, _)| open(provider))
                    .filter_map(|(_, mut ids)| ids.find(usable));
                let unplaced = self
                    .free
                    .by_provider()
                    .filter(|(provider, _)| open(provider))
                    .filter(|(provider, _)| {
                        self.providers
                            .get(provider)
                            .is_some_and(|provider| !provider.placed)
                    })
                    .filter_map(|(provider, mut ids)| {
                        if model.on_disk.len() <= FEW {
                            let free =
                                model
                                    .on_disk
                                    .iter()
                                    .copied()
                                    .filter(usable)
                                    .filter_map(|id| {
                                        let backend = self.backends.get(&id)?;
                                        (backend.spec.provider == provider).then_some(backend.key?)
                                    });
                            free.min().map(|key| key.id)
                        } else {
                            ids.find(|id| usable(id) && model.on_disk.contains(id))
                        }
                    });
                self.lightest(warm.chain(unplaced))
            }
        }
    }

    /// Between providers, the one whose best backend has the least of its slots in use.
    fn lightest(&self, candidates: impl Iterator<Item = BackendId>) -> Option<BackendId> {
        let load = |id: &BackendId| {
            let backend = &self.backends[id];
            (
                backend.jobs.len() as f64 / f64::from(backend.spec.slots),
                backend.spec.provider,
            )
        };
        candidates
            .map(|id| (load(&id), id))
            .min_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
            .map(|(_, id)| id)
    }

    pub(super) fn start(
        &mut self,
        now: Duration,
        waiter: Waiter,
        id: BackendId,
        cold_start: Option<ColdStart>,
    ) -> Decision {
        let ticket = waiter.ticket;
        let model = match waiter.arrival.wanted {
            Wanted::Model(model) => Some(model),
            Wanted::Any | Wanted::Unlisted => None,
        };
        let backend = &self.backends[&id];
        let cold = model.is_some_and(|model| !backend.holds(model));
        let forced = || {
            model
                .filter(|_| cold && backend.spare())
                .map(|model| self.forced_load(backend, model))
        };
        let cold_start = cold_start.or_else(forced);
        let provider = backend.spec.provider;
        let pass = self
            .providers
            .get(&provider)
            .map_or(0, |provider| provider.pass);
        let turn = backend.turns.pass;
        let begin = |backend: &mut Backend| {
            backend.start(Job {
                ticket,
                model,
                started: now,
            });
            backend.take_turn(pass);
        };
        match cold_start {
            Some(ColdStart {
                model,
                takes,
                vram,
                victims,
            }) => {
                let until = now.saturating_add(Duration::from_secs_f64(takes));
                self.update(now, id, |backend| {
                    begin(backend);
                    backend.start_load(
                        Loading {
                            model,
                            ticket,
                            until,
                            vram,
                        },
                        &victims,
                    );
                });
            }
            None => {
                self.update_slots(now, id, begin);
            }
        }
        if let Some(provider) = self.providers.get_mut(&provider) {
            provider.in_flight += 1;
            provider.pass = provider.pass.max(turn);
        }
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
            },
        );
        Decision::Start {
            ticket,
            backend: id,
            cold,
            waited,
        }
    }
}
