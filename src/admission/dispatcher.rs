//! Lets tasks use the scheduler: a lock that is held for microseconds, and one timer for all who wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::sync::{Notify, oneshot};

use super::loads::{Faults, HealOrder, HealTicket, LoadOrder, LoadRecipe, LoadTicket, Loader};
use super::recalls::Recalls;
use super::scheduler::{
    Arrival, BackendSpec, Decision, ExpectedStart, Need, NoSlot, Outlook, Policy, QueueSnapshot,
    Residency, RunOutcome, Scheduler, Scope, StartExplanation, Ticket, Wanted,
};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::routing::StepModel;

/// Is told why each request starts where it does, and for whom each model is loaded.
pub type StartListener = Arc<dyn Fn(&StartExplanation) + Send + Sync>;

/// What a request asks a slot for.
#[derive(Clone, Debug)]
pub struct Want {
    pub wanted: Wanted,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// Only this backend will do.
    pub pinned: Option<BackendId>,
    pub need: Need,
    /// How its model is to be loaded, where loads are the gateway's own; without it, such a load fails.
    pub recipe: Option<Arc<LoadRecipe>>,
}

impl From<&StepModel> for Wanted {
    fn from(model: &StepModel) -> Self {
        model.listed().map_or(Wanted::Any, Wanted::Model)
    }
}

impl Want {
    pub(super) fn arrival(&self) -> Arrival {
        Arrival {
            wanted: self.wanted,
            priority: self.priority,
            pinned: self.pinned,
            need: self.need,
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
    pub(super) recalls: Recalls,
    /// Told whenever a load has ended or a probe has told what a backend has in memory.
    pub(super) memory: Notify,
}

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    pub(super) waiters: AHashMap<Ticket, Seat>,
    pub(super) loader: Option<Arc<dyn Loader>>,
    /// What is to be ordered as soon as the lock is released.
    orders: Vec<Ordered>,
    /// Requests that are to be called back.
    recalled: Vec<Ticket>,
    listener: Option<StartListener>,
    /// What the listener is to be told as soon as the lock is released.
    told: Vec<StartExplanation>,
    pub(super) faults: Faults,
    /// When the timer wakes; `None` while no timer runs.
    timer: Option<Duration>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("scheduler", &self.scheduler)
            .field("waiters", &self.waiters.len())
            .finish_non_exhaustive()
    }
}

/// A task that waits for its ticket to be decided.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) sender: oneshot::Sender<Result<Grant, NoSlot>>,
    pub(super) recipe: Option<Arc<LoadRecipe>>,
}

/// A load, or an attempt to heal a copy, that the scheduler has begun.
#[derive(Debug)]
struct Ordered {
    ticket: Ticket,
    backend: BackendId,
    model: ModelId,
    context: Option<u32>,
    what: Order,
}

impl Ordered {
    /// Returns what is to be ordered for a decision, if anything; `recipe` says how a load is to be done.
    fn new(decision: Decision, recipe: Option<Arc<LoadRecipe>>) -> Option<Self> {
        let (ticket, backend, model, context, what) = match decision {
            Decision::Load {
                load,
                backend,
                model,
                context,
                ..
            } => (load, backend, model, context, Order::Load(recipe)),
            Decision::Heal {
                heal,
                backend,
                model,
                context,
                unload,
            } => (heal, backend, model, context, Order::Heal { unload }),
            Decision::Start { .. } | Decision::Refuse { .. } | Decision::Recall { .. } => {
                return None;
            }
        };
        Some(Self {
            ticket,
            backend,
            model,
            context,
            what,
        })
    }
}

#[derive(Debug)]
enum Order {
    Load(Option<Arc<LoadRecipe>>),
    Heal { unload: bool },
}

/// A slot that has been taken for a ticket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) backend: BackendId,
    pub(super) cold: bool,
    pub(super) waited: Duration,
    pub(super) context: Option<u32>,
    pub(super) expected: ExpectedStart,
}

impl Dispatcher {
    pub fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            state: Mutex::new(State {
                scheduler: Scheduler::new(policy),
                waiters: AHashMap::new(),
                loader: None,
                orders: Vec::new(),
                recalled: Vec::new(),
                listener: None,
                told: Vec::new(),
                faults: Faults::default(),
                timer: None,
            }),
            closings: AtomicU64::new(0),
            earlier: Notify::new(),
            recalls: Recalls::default(),
            memory: Notify::new(),
        })
    }

    /// How often a provider has been closed; see [`Scope::as_of`].
    pub fn closings(&self) -> u64 {
        self.closings.load(Ordering::Acquire)
    }

    /// How long a request that arrives now would wait for its slot, as far as that can be told: see
    /// [`Scheduler::forecast`].
    pub fn forecast(&self, want: &Want, scope: Scope) -> Option<Duration> {
        let now = self.now();
        self.lock().scheduler.forecast(now, want.arrival(), scope)
    }

    /// When a request that arrived now could be at work: see [`Scheduler::outlook`].
    pub fn outlook(&self, want: &Want, scope: Scope) -> Option<Outlook> {
        let now = self.now();
        self.lock().scheduler.outlook(now, want.arrival(), scope)
    }

    /// Explains what would be done for a request that arrived now: see [`Scheduler::explain`].
    pub fn explain(&self, want: &Want, scope: Scope) -> StartExplanation {
        let now = self.now();
        self.lock().scheduler.explain(now, want.arrival(), scope)
    }

    /// From now on `listener` is told why each request starts where it does. That costs every decision a look at all
    /// backends: for a log of which somebody wants every detail.
    pub fn tell_starts(&self, listener: StartListener) {
        let mut state = self.lock();
        state.scheduler.tell_starts();
        state.listener = Some(listener);
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
        self.event(|state, now| state.scheduler.join(now, id, spec));
    }

    /// A backend has vanished.
    pub fn leave(self: &Arc<Self>, id: BackendId) {
        self.event(|state, now| state.scheduler.leave(now, id));
    }

    /// A probe was answered well.
    pub fn observe(self: &Arc<Self>, id: BackendId, residency: Residency<'_>) {
        self.event(|state, now| state.scheduler.observe(now, id, residency));
        self.memory.notify_waiters();
    }

    /// A request or enough probes have failed.
    pub fn unhealthy(self: &Arc<Self>, id: BackendId) {
        self.event(|state, now| state.scheduler.unhealthy(now, id));
    }

    /// These models are nowhere any more, and their numbers never come back.
    pub fn forget_models(self: &Arc<Self>, models: &[ModelId]) {
        self.event(|state, _| {
            state.faults.clear(models);
            state.scheduler.forget_models(models);
        });
    }

    /// From now on at most so many requests run on the provider at once, besides the configured limit.
    pub fn limit_provider(self: &Arc<Self>, provider: ProviderId, limit: Option<usize>) {
        self.event(|state, now| {
            state.scheduler.limit_provider(now, provider, limit);
            let closings = state.scheduler.closings();
            self.closings.store(closings, Ordering::Release);
        });
    }

    /// From now on at most so many requests run on the backend at once, besides its slots.
    pub fn limit_backend(self: &Arc<Self>, id: BackendId, limit: Option<u32>) {
        self.event(|state, now| state.scheduler.limit_backend(now, id, limit));
    }

    /// The queue and the slots right now.
    pub fn snapshot(&self) -> QueueSnapshot {
        self.lock().scheduler.snapshot()
    }

    pub(super) fn loaded(self: &Arc<Self>, ticket: Ticket) {
        self.event(|state, now| state.scheduler.loaded(now, ticket));
    }

    pub(super) fn late(self: &Arc<Self>, ticket: Ticket) {
        self.event(|state, now| state.scheduler.late(now, ticket));
    }

    pub(super) fn complete(self: &Arc<Self>, ticket: Ticket, outcome: RunOutcome) {
        self.event(|state, now| {
            state.scheduler.complete(now, ticket, outcome);
            self.recalls.remove(ticket);
        });
    }

    pub(super) fn cancel(self: &Arc<Self>, ticket: Ticket) {
        self.event(|state, now| {
            state.scheduler.cancel(now, ticket);
            self.recalls.remove(ticket);
        });
    }

    pub(super) fn event(self: &Arc<Self>, apply: impl FnOnce(&mut State, Duration)) {
        let now = self.now();
        let mut state = self.lock();
        apply(&mut state, now);
        state.carry_out(now, None);
        self.recalls.set_wary(state.scheduler.is_wary());
        if let (Some(timer), Some(next)) = (state.timer, state.scheduler.next_timeout())
            && next < timer
        {
            self.earlier.notify_one();
        }
        self.release(state);
    }

    /// Gives the lock back, calls back who hangs, orders what has to be loaded or healed, and tells what has been decided.
    pub(super) fn release(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        for ticket in state.recalled.drain(..) {
            self.recalls.add(ticket);
        }
        if state.orders.is_empty() && state.told.is_empty() {
            return;
        }
        let orders = std::mem::take(&mut state.orders);
        let loader = state.loader.clone();
        let told = std::mem::take(&mut state.told);
        let listener = state.listener.clone();
        drop(state);
        if let Some(listener) = listener {
            told.iter().for_each(|one| listener(one));
        }
        for ordered in orders {
            self.order(loader.as_deref(), ordered);
        }
    }

    /// Asks the loader; where there is none, or nobody has said how to load the model, that counts as a failure.
    fn order(self: &Arc<Self>, loader: Option<&dyn Loader>, ordered: Ordered) {
        let Ordered {
            ticket,
            backend,
            model,
            context,
            what,
        } = ordered;
        match what {
            Order::Load(recipe) => {
                let ticket = LoadTicket::new(self.clone(), ticket, model);
                if let (Some(loader), Some(recipe)) = (loader, recipe) {
                    loader.load(LoadOrder {
                        backend,
                        model,
                        context,
                        recipe,
                        ticket,
                    });
                }
            }
            Order::Heal { unload } => {
                let ticket = HealTicket::new(self.clone(), ticket);
                if let Some(loader) = loader {
                    loader.heal(HealOrder {
                        backend,
                        model,
                        context,
                        unload,
                        ticket,
                    });
                }
            }
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
        own: Option<(Ticket, &Option<Arc<LoadRecipe>>)>,
    ) -> Option<Result<Grant, NoSlot>> {
        let mut answer = None;
        while let Some(decision) = self.scheduler.next_decision(now) {
            let (ticket, decided) = match decision {
                Decision::Start {
                    ticket,
                    backend,
                    cold,
                    waited,
                    context,
                    expected,
                } => (
                    ticket,
                    Ok(Grant {
                        backend,
                        cold,
                        waited,
                        context,
                        expected,
                    }),
                ),
                Decision::Refuse { ticket, refusal } => (ticket, Err(refusal)),
                Decision::Recall { ticket } => {
                    self.recalled.push(ticket);
                    continue;
                }
                Decision::Load { rider, .. } => {
                    let of_own = own.filter(|(ticket, _)| *ticket == rider);
                    let of_seat = || self.waiters.get(&rider)?.recipe.clone();
                    let recipe = of_own.map_or_else(of_seat, |(_, recipe)| recipe.clone());
                    self.orders.extend(Ordered::new(decision, recipe));
                    continue;
                }
                Decision::Heal { .. } => {
                    self.orders.extend(Ordered::new(decision, None));
                    continue;
                }
            };
            if own.is_some_and(|(own, _)| own == ticket) {
                answer = Some(decided);
            } else if let Some(seat) = self.waiters.remove(&ticket) {
                // A receiver that is gone has a `Place` that cancels the ticket as soon as it gets the lock.
                let _ = seat.sender.send(decided);
            }
        }
        if self.listener.is_some() {
            self.told.append(&mut self.scheduler.take_told());
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
            let next = state.timer;
            dispatcher.release(state);
            next
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
