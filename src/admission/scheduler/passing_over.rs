//! Backends that have failed requests for one model alone: they are passed over for it while another could serve.

use std::time::Duration;

use super::Scheduler;
use super::backend::Backend;
use super::types::{Arrival, Scope, Ticket, Wanted};
use crate::ids::{BackendId, ModelId};

/// The pause after the first request that has failed; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause: the model may have been mended meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Scheduler {
    /// The running request has failed by what is wrong with its model on its backend, as where that could not be loaded, which
    /// says nothing of the backend's other models. Tickets that are not known are ignored.
    pub fn model_failed(&mut self, now: Duration, ticket: Ticket) {
        let Some(running) = self.running.get(&ticket) else {
            return;
        };
        let Wanted::Model(model_id) = running.waiter.arrival.wanted else {
            return;
        };
        let id = running.backend;
        let backend = self.backends.get_mut(&id);
        let (Some(backend), Some(model)) = (backend, self.models.get_mut(&model_id)) else {
            return;
        };
        // What is no more on disk is not asked for there, and is not remembered for ever.
        if backend.has(model_id) {
            let failed = backend.failed.entry(model_id).or_default();
            failed.request.add_from(now, FIRST_PAUSE, LONGEST_PAUSE);
            model.failed.insert(id);
        }
    }

    /// A request for the model has been answered to its end there.
    pub(super) fn model_served(&mut self, id: BackendId, model: Option<ModelId>) {
        let Some(model_id) = model else {
            return;
        };
        if let Some(model) = self.models.get_mut(&model_id)
            && !model.failed.is_empty()
            && model.failed.remove(&id)
            && let Some(backend) = self.backends.get_mut(&id)
        {
            backend.failed.remove(&model_id);
        }
    }

    /// Returns the scope without the backends that have failed at the model of late, if another of it is healthy and could
    /// hold the request.
    pub(super) fn passing_over(&self, now: Duration, arrival: &Arrival, scope: Scope) -> Scope {
        let Wanted::Model(model_id) = arrival.wanted else {
            return scope;
        };
        let model = self.models.get(&model_id);
        let Some(model) = model.filter(|model| !model.failed.is_empty()) else {
            return scope;
        };
        if arrival.pinned.is_some() {
            return scope;
        }
        let failing = model.failed.iter().filter(|id| {
            let backend = self.backends.get(id);
            backend.is_some_and(|backend| backend.fails(now, model_id))
                && !scope.excluded.contains(id)
        });
        let mut failing = failing.copied().peekable();
        if failing.peek().is_none() {
            return scope;
        }
        let narrower = Scope {
            excluded: scope.excluded.iter().copied().chain(failing).collect(),
            ..scope.clone()
        };
        let serves = |backend: &Backend| {
            backend.healthy
                && !backend.gone
                && narrower.providers.hold(backend.spec.provider)
                && !narrower.excluded.contains(&backend.id)
                && self.largest(backend, model_id) >= arrival.need.tokens
        };
        let there = model.on_disk.iter().filter_map(|id| self.backends.get(id));
        if { there }.any(serves) {
            narrower
        } else {
            scope
        }
    }
}

impl Backend {
    /// Whether requests for the model have failed here of late, so that others are preferred.
    fn fails(&self, now: Duration, model: ModelId) -> bool {
        let failed = self.failed.get(&model);
        failed.is_some_and(|failed| now < failed.request.until)
    }
}
