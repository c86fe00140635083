//! A request's way through the queue, on a channel of its own, and the slot that it holds as long as it runs; dropping
//! either gives back what was held.

use std::future::Future;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::dispatcher::{Dispatcher, Grant, Seat, State, Want};
use super::loads::LoadRecipe;
use super::scheduler::{ExpectedStart, NoSlot, RunOutcome, Scope, Ticket};
use crate::ids::BackendId;

impl Dispatcher {
    /// Waits for a slot on a backend that can serve the request. Dropping the future leaves the queue at once.
    /// Errors: see [`NoSlot`].
    pub async fn acquire(self: &Arc<Self>, want: Want) -> Result<Permit, NoSlot> {
        self.acquire_within(want, Scope::default()).await
    }

    /// Does what [`Self::acquire`] does, within `scope` only.
    pub async fn acquire_within(
        self: &Arc<Self>,
        want: Want,
        scope: Scope,
    ) -> Result<Permit, NoSlot> {
        self.ask_within(want, scope).slot().await
    }

    /// Asks for a slot within `scope`. What can be decided at once, as nearly everything can, needs no wait.
    pub fn ask_within(self: &Arc<Self>, want: Want, scope: Scope) -> QueueEntry {
        let now = self.now();
        let mut state = self.lock();
        match state.scheduler.arrive_within(now, want.arrival(), scope) {
            Ok(ticket) => self.enter(state, now, ticket, want.recipe),
            Err(refusal) => QueueEntry::Decided(Err(refusal)),
        }
    }

    /// Gives the slot of a failed attempt back and asks for one elsewhere.
    fn ask_again(
        self: &Arc<Self>,
        ticket: Ticket,
        recipe: Option<Arc<LoadRecipe>>,
        scope: Option<Scope>,
    ) -> QueueEntry {
        let now = self.now();
        let mut state = self.lock();
        self.recalls.remove(ticket);
        if let Err(refusal) = state.scheduler.retry(now, ticket, scope) {
            state.carry_out(now, None);
            self.release(state);
            return QueueEntry::Decided(Err(refusal));
        }
        self.enter(state, now, ticket, recipe)
    }

    /// Carries out what the arrival of `ticket` leads to. A slot that is free at once costs no channel.
    fn enter(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        now: Duration,
        ticket: Ticket,
        recipe: Option<Arc<LoadRecipe>>,
    ) -> QueueEntry {
        if let Some(answer) = state.carry_out(now, Some((ticket, &recipe))) {
            self.release(state);
            return QueueEntry::Decided(
                answer.map(|grant| Permit::new(Arc::clone(self), ticket, grant, recipe)),
            );
        }
        let (sender, receiver) = oneshot::channel();
        let seat = Seat {
            sender,
            recipe: recipe.clone(),
        };
        state.waiters.insert(ticket, seat);
        self.set_timer(&mut state);
        self.release(state);
        let place = Place {
            dispatcher: Some(Arc::clone(self)),
            ticket,
            recipe,
        };
        QueueEntry::Waits(QueueWait { place, receiver })
    }
}

/// A ticket's hold on the queue until it becomes a permit.
#[derive(Debug)]
struct Place {
    /// `None` once the ticket has been decided and the answer taken.
    dispatcher: Option<Arc<Dispatcher>>,
    ticket: Ticket,
    recipe: Option<Arc<LoadRecipe>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.lock().waiters.remove(&self.ticket);
            dispatcher.cancel(self.ticket);
        }
    }
}

/// What has become of asking for a slot.
#[derive(Debug)]
#[must_use = "dropping an entry leaves the queue"]
pub enum QueueEntry {
    Decided(Result<Permit, NoSlot>),
    /// The request stands in the queue.
    Waits(QueueWait),
}

impl QueueEntry {
    async fn slot(self) -> Result<Permit, NoSlot> {
        match self {
            Self::Decided(slot) => slot,
            Self::Waits(wait) => wait.slot().await,
        }
    }
}

/// A request's place in the queue; dropping it leaves the queue at once.
#[derive(Debug)]
pub struct QueueWait {
    place: Place,
    receiver: oneshot::Receiver<Result<Grant, NoSlot>>,
}

impl QueueWait {
    /// Waits until the request is given a slot. Errors: see [`NoSlot`].
    pub async fn slot(mut self) -> Result<Permit, NoSlot> {
        let answer = (&mut self.receiver)
            .await
            .expect("a waiter's sender is kept until its ticket is decided");
        let place = &mut self.place;
        let dispatcher = place.dispatcher.take().expect("a place is answered once");
        let recipe = place.recipe.take();
        answer.map(|grant| Permit::new(dispatcher, place.ticket, grant, recipe))
    }
}

/// The right to have one request in flight on one backend.
#[derive(Debug)]
#[must_use = "dropping a permit gives its slot back"]
pub struct Permit {
    dispatcher: Arc<Dispatcher>,
    ticket: Ticket,
    grant: Grant,
    /// For the wait after a failed attempt.
    recipe: Option<Arc<LoadRecipe>>,
    content_seen: bool,
    held: bool,
}

impl Permit {
    fn new(
        dispatcher: Arc<Dispatcher>,
        ticket: Ticket,
        grant: Grant,
        recipe: Option<Arc<LoadRecipe>>,
    ) -> Self {
        Self {
            dispatcher,
            ticket,
            grant,
            recipe,
            content_seen: false,
            held: true,
        }
    }

    pub fn backend(&self) -> BackendId {
        self.grant.backend
    }

    /// Whether the backend has to load the model first.
    pub fn cold(&self) -> bool {
        self.grant.cold
    }

    /// The context in tokens to state to the backend, which is that of its copy; `None`: none is to be stated.
    pub fn context(&self) -> Option<u32> {
        self.grant.context
    }

    /// How long the copy is expected to need until the first content.
    pub fn expected(&self) -> ExpectedStart {
        self.grant.expected
    }

    /// How long the request waited for this slot.
    pub fn waited(&self) -> Duration {
        self.grant.waited
    }

    /// The first content has come, so a cold load is over and others may share it. Calls after the first cost nothing.
    pub fn first_content(&mut self) {
        if !self.content_seen {
            self.content_seen = true;
            if self.grant.cold || self.dispatcher.recalls.is_wary() {
                self.dispatcher.loaded(self.ticket);
            }
        }
    }

    /// The request has had no content for longer than its copy was expected to need. After two such requests in a row the
    /// copy is taken to hang.
    pub fn late(&self) {
        self.dispatcher.late(self.ticket);
    }

    /// Resolves once the copy is taken to hang, so that the attempt there is to be given up. Never for a request that has
    /// shown its content.
    pub fn recalled(&self) -> impl Future<Output = ()> + Send + '_ {
        self.dispatcher.recalls.of(self.ticket)
    }

    /// The attempt fails by what is wrong with its model on this backend, as where that could not be loaded: the backend is
    /// passed over for the model for a while if another could serve. Called before the permit is given back.
    pub fn model_failed(&self) {
        let failed = |state: &mut State, now| state.scheduler.model_failed(now, self.ticket);
        self.dispatcher.event(failed);
    }

    /// The request has ended. A permit that is dropped instead counts as cancelled and teaches nothing.
    pub fn finish(mut self, outcome: RunOutcome) {
        self.held = false;
        self.dispatcher.complete(self.ticket, outcome);
    }

    /// The attempt has failed: gives the slot back, excludes this backend for this request, and waits for a slot
    /// elsewhere in the request's old place. Errors: [`NoSlot::Exhausted`] when every backend has been tried.
    pub async fn retry(self) -> Result<Self, NoSlot> {
        self.retry_within(None).await
    }

    /// Does what [`Self::retry`] does, from now on within `scope`, if one is given.
    pub async fn retry_within(self, scope: Option<Scope>) -> Result<Self, NoSlot> {
        self.ask_again(scope).slot().await
    }

    /// Gives the slot of the failed attempt back as [`Self::retry_within`] does, and asks for another.
    pub fn ask_again(mut self, scope: Option<Scope>) -> QueueEntry {
        self.held = false;
        let dispatcher = Arc::clone(&self.dispatcher);
        let recipe = self.recipe.take();
        dispatcher.ask_again(self.ticket, recipe, scope)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.held {
            self.dispatcher.cancel(self.ticket);
        }
    }
}
