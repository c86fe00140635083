//! Lets tasks use the scheduler: a lock that is held for microseconds, and one timer for all who wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::sync::{Notify, oneshot};

use super::scheduler::{
    Arrival, BackendSpec, Decision, NoSlot, Outlook, Policy, QueueSnapshot, Residency, RunOutcome,
    Scheduler, Scope, Ticket, Wanted,
};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::routing::StepModel;

/// What a request asks a slot for.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    pub wanted: Wanted,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// Only this backend will do.
    pub pinned: Option<BackendId>,
}

impl From<&StepModel> for Wanted {
    fn from(model: &StepModel) -> Self {
        model.listed().map_or(Wanted::Any, Wanted::Model)
    }
}

impl Want {
    pub(super) fn arrival(self) -> Arrival {
        Arrival {
            wanted: self.wanted,
            priority: self.priority,
            pinned: self.pinned,
        }
    }
}

/// Hands out slots on backends to tasks that wait for them.
#[derive(Debug)]
pub struct Dispatcher {
    epoch: Instant,
    state: Mutex<State>,
    /// How often a provider has been closed, as the scheduler counts it.
    closings: AtomicU64,
    /// The timer has to look at the time again.
    earlier: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) scheduler: Scheduler,
    pub(super) waiters: AHashMap<Ticket, oneshot::Sender<Result<Grant, NoSlot>>>,
    /// When the timer wakes; `None` while no timer runs.
    timer: Option<Duration>,
}

/// A slot that has been taken for a ticket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) backend: BackendId,
    pub(super) cold: bool,
    pub(super) waited: Duration,
}

impl Dispatcher {
    pub fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            state: Mutex::new(State {
                scheduler: Scheduler::new(policy),
                waiters: AHashMap::new(),
                timer: None,
            }),
            closings: AtomicU64::new(0),
            earlier: Notify::new(),
        })
    }

    /// How often a provider has been closed; see [`Scope::as_of`].
    pub fn closings(&self) -> u64 {
        self.closings.load(Ordering::Acquire)
    }

    /// How long a request that arrives now would wait for its slot, as far as that can be told: see
    /// [`Scheduler::forecast`].
    pub fn forecast(&self, want: Want, scope: Scope) -> Option<Duration> {
        let now = self.now();
        self.lock().scheduler.forecast(now, want.arrival(), scope)
    }

    /// When a request that arrived now could be at work: see [`Scheduler::outlook`].
    pub fn outlook(&self, want: Want, scope: Scope) -> Option<Outlook> {
        let now = self.now();
        self.lock().scheduler.outlook(now, want.arrival(), scope)
    }

    /// How long a request for the model usually holds its slot, once that has been seen; loads do not count.
    pub fn usual(&self, model: ModelId) -> Option<Duration> {
        self.lock().scheduler.usual(model)
    }

    /// How long loading the model on that backend is expected to take.
    pub fn load_time(&self, backend: BackendId, model: ModelId) -> Duration {
        self.lock().scheduler.expected_load(backend, model)
    }

    /// A backend has been found; nothing starts there until [`Self::observe`].
    pub fn join(self: &Arc<Self>, id: BackendId, spec: BackendSpec) {
        self.event(|scheduler, now| scheduler.join(now, id, spec));
    }

    /// A backend has vanished.
    pub fn leave(self: &Arc<Self>, id: BackendId) {
        self.event(|scheduler, now| scheduler.leave(now, id));
    }

    /// A probe was answered well.
    pub fn observe(self: &Arc<Self>, id: BackendId, residency: Residency<'_>) {
        self.event(|scheduler, now| scheduler.observe(now, id, residency));
    }

    /// A request or enough probes have failed.
    pub fn unhealthy(self: &Arc<Self>, id: BackendId) {
        self.event(|scheduler, now| scheduler.unhealthy(now, id));
    }

    /// These models are nowhere any more, and their numbers never come back.
    pub fn forget_models(&self, models: &[ModelId]) {
        self.event(|scheduler, _| scheduler.forget_models(models));
    }

    /// From now on at most so many requests run on the provider at once, besides the configured limit.
    pub fn limit_provider(&self, provider: ProviderId, limit: Option<usize>) {
        self.event(|scheduler, now| {
            scheduler.limit_provider(now, provider, limit);
            self.closings.store(scheduler.closings(), Ordering::Release);
        });
    }

    /// From now on at most so many requests run on the backend at once, besides its slots.
    pub fn limit_backend(&self, id: BackendId, limit: Option<u32>) {
        self.event(|scheduler, now| scheduler.limit_backend(now, id, limit));
    }

    /// The queue and the slots right now.
    pub fn snapshot(&self) -> QueueSnapshot {
        self.lock().scheduler.snapshot()
    }

    pub(super) fn loaded(&self, ticket: Ticket) {
        self.event(|scheduler, now| scheduler.loaded(now, ticket));
    }

    pub(super) fn complete(&self, ticket: Ticket, outcome: RunOutcome) {
        self.event(|scheduler, now| scheduler.complete(now, ticket, outcome));
    }

    pub(super) fn cancel(&self, ticket: Ticket) {
        self.event(|scheduler, now| scheduler.cancel(now, ticket));
    }

    fn event(&self, apply: impl FnOnce(&mut Scheduler, Duration)) {
        let now = self.now();
        let mut state = self.lock();
        apply(&mut state.scheduler, now);
        state.carry_out(now, None);
        if let (Some(timer), Some(next)) = (state.timer, state.scheduler.next_timeout())
            && next < timer
        {
            self.earlier.notify_one();
        }
    }

    /// Starts the timer, or wakes it if it would wake too late. Called from tasks, since the timer is one.
    pub(super) fn set_timer(self: &Arc<Self>, state: &mut State) {
        let Some(next) = state.scheduler.next_timeout() else {
            return;
        };
        match state.timer {
            None => {
                state.timer = Some(next);
                let timer = Timer {
                    dispatcher: Arc::clone(self),
                    running: true,
                };
                tokio::spawn(run_timer(timer));
            }
            Some(timer) if next < timer => self.earlier.notify_one(),
            Some(_) => {}
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells everyone what has been decided; what was decided about `own` is returned instead.
    pub(super) fn carry_out(
        &mut self,
        now: Duration,
        own: Option<Ticket>,
    ) -> Option<Result<Grant, NoSlot>> {
        let mut answer = None;
        while let Some(decision) = self.scheduler.next_decision(now) {
            let (ticket, decided) = match decision {
                Decision::Start {
                    ticket,
                    backend,
                    cold,
                    waited,
                } => (
                    ticket,
                    Ok(Grant {
                        backend,
                        cold,
                        waited,
                    }),
                ),
                Decision::Refuse { ticket, refusal } => (ticket, Err(refusal)),
            };
            if own == Some(ticket) {
                answer = Some(decided);
            } else if let Some(sender) = self.waiters.remove(&ticket) {
                // A receiver that is gone has a `Place` that cancels the ticket as soon as it gets the lock.
                let _ = sender.send(decided);
            }
        }
        answer
    }
}

/// Marks the timer as stopped if its task is cut off, so that the next waiter starts another.
struct Timer {
    dispatcher: Arc<Dispatcher>,
    running: bool,
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.running {
            self.dispatcher.lock().timer = None;
        }
    }
}

/// Asks the scheduler again whenever it wanted to be asked; ends when nobody waits.
async fn run_timer(mut timer: Timer) {
    loop {
        let dispatcher = Arc::clone(&timer.dispatcher);
        let next = {
            let now = dispatcher.now();
            let mut state = dispatcher.lock();
            state.carry_out(now, None);
            state.timer = state.scheduler.next_timeout();
            state.timer
        };
        let Some(next) = next else {
            timer.running = false;
            return;
        };
        // A time that no clock can show never comes.
        let wake = dispatcher.epoch.checked_add(next);
        let sleep = async {
            match wake {
                Some(wake) => tokio::time::sleep_until(wake.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = dispatcher.earlier.notified() => {}
        }
    }
}
