//! The dispatcher's side of the gateway's own loads: who is asked for them, which are under way, and how they end.

use std::pin::pin;
use std::sync::Arc;

use super::dispatcher::Dispatcher;
use super::loads::{LoadEnds, LoadFailure, LoadFault, Loader};
use super::scheduler::{CopyView, LoadView, RunOutcome, Ticket};
use crate::ids::ModelId;

impl Dispatcher {
    /// From now on loads are the gateway's own: `loader` is asked for them, and they outlive the requests that wait for
    /// them. Without one, the request that finds its model nowhere in memory makes its backend load it.
    pub fn set_loader(self: &Arc<Self>, loader: Arc<dyn Loader>) {
        self.event(|state, now| {
            state.loader = Some(loader);
            state.scheduler.own_loads(now);
        });
    }

    /// The load of the model that will end first, if one is under way.
    pub fn load_of(&self, model: ModelId) -> Option<LoadView> {
        let now = self.now();
        self.lock().scheduler.load_of(now, model)
    }

    /// All loads of the gateway's own that are under way, by model and backend.
    pub fn loads(&self) -> Vec<LoadView> {
        let now = self.now();
        let mut loads: Vec<_> = self.lock().scheduler.loads(now).collect();
        loads.sort_by_key(|load| (load.model, load.backend));
        loads
    }

    /// The copies in the memory of all placed backends that are healthy, by model and backend.
    pub fn copies(&self) -> Vec<CopyView> {
        let now = self.now();
        let mut copies: Vec<_> = self.lock().scheduler.copies(now).collect();
        copies.sort_by_key(|copy| (copy.model, copy.backend));
        copies
    }

    /// Resolves to what `look` finds, which is asked now, and again whenever a load has ended or a probe has told what a
    /// backend has in memory.
    pub async fn until_in_memory<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.memory.notified());
            // What changes after the look is not missed.
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }

    /// Why the model could not be loaded when that was tried last, if it has not been loaded since.
    pub fn load_fault(&self, model: ModelId) -> Option<LoadFault> {
        self.lock().faults.of(model).cloned()
    }
}

impl LoadEnds for Dispatcher {
    fn ended(self: Arc<Self>, load: Ticket, model: ModelId, end: Result<(), LoadFailure>) {
        self.event(|state, now| match end {
            Ok(()) => {
                state.scheduler.load_done(now, load);
            }
            Err(LoadFailure::Told(fault)) => {
                state.faults.note(model, fault);
                state.scheduler.load_failed(now, load);
            }
            Err(LoadFailure::Stuck(fault)) => {
                state.faults.note(model, fault);
                state.scheduler.load_stuck(now, load);
            }
        });
        self.memory.notify_waiters();
    }

    fn without_stated(self: Arc<Self>, load: Ticket) -> Option<Option<u32>> {
        let mut instead = None;
        self.event(|state, now| instead = state.scheduler.load_without_stated(now, load));
        instead
    }

    fn healed(self: Arc<Self>, heal: Ticket, sample: Option<RunOutcome>) {
        self.event(|state, now| match sample {
            Some(sample) => state.scheduler.healed(now, heal, sample),
            None => state.scheduler.heal_failed(now, heal),
        });
        self.memory.notify_waiters();
    }
}
