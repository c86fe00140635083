//! A backend's copies that hang: nothing is started on them until they have been healed.

use std::time::Duration;

use super::backend::Backend;
use super::resident::{ANY, Failure, Loading, Sick};
use super::types::Ticket;
use crate::ids::ModelId;

/// The longest pause between two attempts to heal a copy.
const LONGEST: Duration = Duration::from_secs(10 * 60);

impl Backend {
    pub(super) fn sick(&self, model: ModelId) -> Option<&Sick> {
        self.sick.iter().find(|sick| sick.model == model)
    }

    pub(super) fn is_sick(&self, model: ModelId) -> bool {
        self.sick(model).is_some()
    }

    /// Nothing is started on the copy for the moment.
    pub(super) fn is_barred(&self, model: ModelId) -> bool {
        self.is_sick(model) || self.healing.is_some_and(|(_, tried)| tried == model)
    }

    /// Nothing is started on the copy from now on.
    pub(super) fn fall_sick(&mut self, now: Duration, model: ModelId) {
        let loading = self.loading.take_if(|loading| loading.model == model);
        let copy = self.resident(model).copied();
        self.resident.retain(|copy| copy.model != model);
        let of_load = loading.map(|loading| (loading.context, loading.tokens, loading.vram));
        let of_copy = copy.map(|copy| (copy.context, copy.tokens, copy.vram));
        let (context, tokens, vram) = of_copy.or(of_load).unwrap_or((None, ANY, 0));
        self.sick.push(Sick {
            model,
            context,
            tokens,
            vram,
            seen: copy.is_some(),
            since: now,
            heals: None,
            failure: Failure::default(),
        });
    }

    /// Whether an attempt to heal the copy may begin: no request is left on it, and its server loads nothing else.
    pub(super) fn may_heal(&self, now: Duration, model: ModelId) -> bool {
        let due = |sick: &Sick| sick.heals.is_none() && now >= sick.failure.until;
        self.healthy
            && !self.gone
            && self.loading.is_none()
            && self.healing.is_none()
            && !self.runs(model)
            && self.sick(model).is_some_and(due)
    }

    pub(super) fn begin_heal(&mut self, model: ModelId, heal: Ticket) {
        self.healing = Some((heal, model));
        if let Some(sick) = self.sick.iter_mut().find(|sick| sick.model == model) {
            sick.heals = Some(heal);
        }
    }

    /// The copy is back in memory and works.
    pub(super) fn recover(&mut self, now: Duration, model: ModelId) {
        let Some(index) = self.sick.iter().position(|sick| sick.model == model) else {
            return;
        };
        let sick = self.sick.swap_remove(index);
        let loading = Loading {
            model,
            ticket: Ticket(0),
            own: true,
            until: now,
            vram: sick.vram,
            context: sick.context,
            tokens: sick.tokens,
            replaces: None,
        };
        self.hold(now, &loading);
    }

    /// The attempt has failed; another follows after a pause, which doubles each time. Returns when.
    pub(super) fn stay_sick(
        &mut self,
        now: Duration,
        model: ModelId,
        heal: Ticket,
    ) -> Option<Duration> {
        let sick = self.sick.iter_mut().find(|sick| sick.model == model)?;
        sick.heals.take_if(|under_way| *under_way == heal)?;
        sick.failure.add(now, LONGEST);
        Some(sick.failure.until)
    }

    /// Drops what is no longer in memory or on disk, since there is nothing to heal: whoever asks for it makes it load.
    pub(super) fn forget_sick(&mut self, in_memory: impl Fn(ModelId) -> bool) {
        let mut sick = std::mem::take(&mut self.sick);
        sick.retain(|one| {
            let there = !one.seen || self.runs(one.model) || in_memory(one.model);
            self.has(one.model) && (one.heals.is_some() || there)
        });
        self.sick = sick;
    }
}
