//! Gets a request a slot: by the steps of its plan in their order, each after the wait that the ones before are worth.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::admission::{Dispatcher, NoSlot, Permit, QueueEntry, Scope, Want, Wanted};
use crate::fleet::{Fleet, ModelKey, Unavailable};
use crate::ids::{ModelId, ProviderId};
use crate::proxy::dispatch::failover::{FleetMember, FleetView};
use crate::proxy::dispatch::places_in_queue::{QueuePlaces, is_outdated, keep_better, until_due};
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::dispatch::prompt_needs::Claim;
use crate::proxy::failure::{Failure, Stop, refused};
use crate::proxy::response_body::downstream::Downstream;
use crate::routing::StepModel;
use crate::settings::{Fallback, Settings};

/// The queue for slots: the scheduler, the fleet that it knows of, and how requests are routed.
pub(crate) struct SlotQueue {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) settings: Arc<Settings>,
    /// How many providers there are.
    count: usize,
}

impl SlotQueue {
    pub(crate) fn new(
        dispatcher: Arc<Dispatcher>,
        fleet: Arc<Fleet>,
        settings: Arc<Settings>,
    ) -> Self {
        SlotQueue {
            count: fleet.providers().count(),
            dispatcher,
            fleet,
            settings,
        }
    }

    /// Waits until the fleet's models are known well enough to say that none has the wanted name, unless the client
    /// leaves or the process ends first.
    pub(crate) async fn await_models(
        &self,
        client: &mut Downstream<'_>,
        want: Want,
    ) -> Result<NoSlot, Stop> {
        let waiting = self.hoping(async { self.dispatcher.acquire(want).await.err() });
        let refusal = client.unless_ended(waiting).await?;
        Ok(refusal.unwrap_or(NoSlot::UnknownModel))
    }

    /// Waits for a slot for the next attempt, unless the client leaves or the process ends first. `from` is the slot of the
    /// attempt that has just failed: the request keeps its place in the queue if its step goes on.
    pub(crate) async fn wait_for_slot(
        &self,
        client: &mut Downstream<'_>,
        progress: &mut PlanProgress,
        mut from: Option<Permit>,
    ) -> Result<Result<Permit, NoSlot>, Stop> {
        if progress.plan.steps.len() > 1 {
            // Boxed: most plans have one step, and should not carry the state of several waits.
            return Box::pin(self.wait_for_any(client, progress, from)).await;
        }
        loop {
            let scope = match self.availability(progress, 0) {
                Availability::Now(scope) => scope,
                Availability::From(until, scope) => {
                    let sleep = sleep_until(until.into());
                    client.unless_ended(sleep).await?;
                    scope
                }
                Availability::Never => return Ok(Err(NoSlot::Exhausted)),
            };
            let scope = Scope {
                elsewhere: self.may_leave(progress),
                ..scope
            };
            let slot = self.slot(progress.claim(0), scope, from.take());
            match client.unless_ended(slot).await? {
                // Another provider of the step may be open; if none is, it is noted why.
                Err(NoSlot::Closed) => {}
                slot => return Ok(slot),
            }
        }
    }

    /// Waits for a slot of any step. A prompt that seems too long for a step's contexts goes to the others first; if they come to
    /// nothing, it settles for the largest context there is, if it may.
    async fn wait_for_any(
        &self,
        client: &mut Downstream<'_>,
        progress: &mut PlanProgress,
        from: Option<Permit>,
    ) -> Result<Result<Permit, NoSlot>, Stop> {
        progress.overflow = None;
        let slot = self.wait_in_steps(client, progress, from, false).await?;
        if slot.is_err() && progress.overflow.is_some() {
            return self.wait_in_steps(client, progress, None, true).await;
        }
        Ok(slot)
    }

    /// Waits for a slot of any step: each is waited for from its turn on, and the first slot that comes is taken. A request
    /// that is refused at one step because its providers were closed or became unhealthy keeps its other places. What `settles`
    /// says: see [`Claim`].
    async fn wait_in_steps(
        &self,
        client: &mut Downstream<'_>,
        progress: &mut PlanProgress,
        mut from: Option<Permit>,
        settles: bool,
    ) -> Result<Result<Permit, NoSlot>, Stop> {
        let began = Instant::now();
        let mut turns = VecDeque::from(self.open_steps(progress, began, from.is_none()));
        // A slot that is of no more use is not held meanwhile.
        from.take_if(|_| {
            turns
                .front()
                .is_none_or(|first| first.step != progress.step)
        });
        let leaves = self.may_leave(progress);
        let mut places = QueuePlaces::default();
        let mut refusal = None;
        loop {
            let next = turns.front().and_then(|turn| Some(began + turn.after?));
            let due = next.is_some_and(|next| next <= Instant::now());
            if (due || places.is_empty())
                && let Some(turn) = turns.pop_front()
            {
                let from = from.take_if(|_| turn.step == progress.step);
                let others = places.is_well() || turns.iter().any(|turn| turn.well);
                let elsewhere = leaves || (turn.well && others);
                let claim = Claim {
                    settles,
                    ..progress.claim(turn.step)
                };
                places.enter(self.place(turn, claim, elsewhere, from));
            }
            if places.is_empty() {
                return Ok(Err(refusal.unwrap_or(NoSlot::Exhausted)));
            }
            // Whoever has entered may have a slot at once, before the next has its turn.
            let next = turns.front().and_then(|turn| Some(began + turn.after?));
            let event = self.hoping(async {
                tokio::select! {
                    biased;
                    first = places.first() => Some(first),
                    () = until_due(next) => None,
                }
            });
            match client.unless_ended(event).await? {
                Some((step, _, Ok(permit))) => {
                    progress.step = step;
                    return Ok(Ok(permit));
                }
                Some((_, elsewhere, Err(refused)))
                    if is_outdated(&refused, elsewhere && !leaves) =>
                {
                    let others = self.open_steps(progress, began, false).into_iter();
                    turns = others.filter(|turn| !places.holds(turn.step)).collect();
                }
                Some((_, _, Err(refused))) => {
                    progress.note_overflow(&refused);
                    keep_better(&mut refusal, refused);
                }
                None => {}
            }
        }
    }

    /// Returns whether a request that is kept to one provider is let go to another when it has no backend left.
    fn may_leave(&self, progress: &PlanProgress) -> bool {
        progress.confined_to().is_some() && self.settings.routing.fallback != Fallback::None
    }

    /// Returns what the client is told when it gets no slot.
    pub(crate) fn turned_away(
        &self,
        progress: &PlanProgress,
        refusal: &NoSlot,
        not_found: impl Fn() -> Failure,
    ) -> Failure {
        let failure = match *refusal {
            NoSlot::TooLong { largest } => {
                let tokens = progress.needs.tokens(progress.plan.model);
                Failure::too_long(tokens, largest)
            }
            NoSlot::CannotLoad { retry_after } => self.cannot_load(progress, retry_after),
            _ => refused(refusal, not_found),
        };
        let steps = progress.plan.steps.iter();
        let asked = if steps.clone().any(|step| step.providers.is_empty()) {
            Vec::new()
        } else {
            steps.flat_map(|step| step.providers.clone()).collect()
        };
        self.in_words_for(failure, &asked)
    }

    /// Returns what the client is told of a model that no server can load for now.
    fn cannot_load(&self, progress: &PlanProgress, retry_after: Duration) -> Failure {
        let steps = progress.plan.steps.iter();
        let mut models = steps.filter_map(|step| step.model.listed());
        let fault = models.find_map(|model| self.dispatcher.load_fault(model));
        Failure::cannot_load(fault.as_ref().map_or("", |fault| &fault.text), retry_after)
    }

    /// Returns a failure in words that fit the providers that might have served the request, which are all if none is `asked`:
    /// where there is no Ollama server among them, the failure speaks of none.
    pub(crate) fn in_words_for(&self, failure: Failure, asked: &[ProviderId]) -> Failure {
        let is_fleet = |provider: &ProviderId| self.settings.providers[*provider].kind.is_fleet();
        let all: Vec<ProviderId> = ProviderId::first(self.count).collect();
        let asked = if asked.is_empty() { &all } else { asked };
        if asked.iter().any(is_fleet) {
            return failure;
        }
        let mut names: Vec<&str> = Vec::new();
        for provider in asked {
            let name = &*self.settings.providers[*provider].name;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        failure.in_words_of_services(&names, self.settings.queue.timeout)
    }

    /// Waits for a slot. A prompt that is not expected to fit has one of the largest context, if it may.
    pub(super) async fn slot(
        &self,
        claim: Claim,
        scope: Scope,
        from: Option<Permit>,
    ) -> Result<Permit, NoSlot> {
        let entry = match from {
            Some(permit) => permit.ask_again(Some(scope.clone())),
            None => self
                .dispatcher
                .ask_within(claim.want.clone(), scope.clone()),
        };
        let slot = match self.decided(entry).await {
            Err(NoSlot::TooLong { largest }) if claim.settles => {
                let copy = || self.largest_copy(&claim.want, &scope);
                match claim.to_largest(largest, copy) {
                    Some(want) => self.decided(self.dispatcher.ask_within(want, scope)).await,
                    None => Err(NoSlot::TooLong { largest }),
                }
            }
            slot => slot,
        };
        if matches!(slot, Err(NoSlot::NoHealthyBackend { .. })) {
            self.fleet.missed_by_a_request();
        }
        slot
    }

    /// Returns the largest context in tokens that a copy of the model has in the scope, as far as that is known; 0 if there is none.
    fn largest_copy(&self, want: &Want, scope: &Scope) -> u32 {
        let copies = self.dispatcher.copies().into_iter();
        let usable = copies.filter(|copy| {
            let provider = self.fleet.backend(copy.backend);
            let provider = provider.map(|backend| backend.provider.id);
            Wanted::Model(copy.model) == want.wanted
                && want.pinned.is_none_or(|pinned| pinned == copy.backend)
                && provider.is_some_and(|provider| scope.providers.hold(provider))
                && !scope.excluded.contains(&copy.backend)
        });
        usable.filter_map(|copy| copy.context).max().unwrap_or(0)
    }

    /// Returns what is decided about a request that has asked for a slot.
    async fn decided(&self, entry: QueueEntry) -> Result<Permit, NoSlot> {
        match entry {
            QueueEntry::Decided(slot) => slot,
            // Boxed, so that a request which need not wait carries no state of waiting.
            QueueEntry::Waits(wait) => Box::pin(self.hoping(wait.slot())).await,
        }
    }

    /// Returns the output of `wait`. While it lasts, backends that are down are probed every second.
    async fn hoping<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        let at_once = poll_fn(|context| match wait.as_mut().poll(context) {
            Poll::Ready(come) => Poll::Ready(Some(come)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(come) = at_once.await {
            return come;
        }
        let _hope = self.fleet.hope();
        wait.await
    }

    /// Returns where a step may be taken now, or from when on. Providers that rest for too long are passed over, which is
    /// noted.
    pub(super) fn availability(&self, progress: &mut PlanProgress, step: usize) -> Availability {
        // Before it is looked at who is open: what is closed after that is told by the scheduler.
        let as_of = Some(self.dispatcher.closings());
        match self.availability_now(progress, step) {
            Availability::Now(scope) => Availability::Now(Scope { as_of, ..scope }),
            Availability::From(until, scope) => Availability::From(until, Scope { as_of, ..scope }),
            Availability::Never => Availability::Never,
        }
    }

    fn availability_now(&self, progress: &mut PlanProgress, step: usize) -> Availability {
        let count = self.count;
        let pinned = progress
            .pinned
            .and_then(|pinned| self.fleet.backend(pinned));
        let pinned = pinned.map(|backend| backend.provider.id);
        let meant = |provider| pinned.is_none_or(|pinned| pinned == provider);
        if !self.fleet.troubled() {
            return match progress.scope(step, count, meant) {
                Some(scope) => Availability::Now(scope),
                None => Availability::Never,
            };
        }
        let now = Instant::now();
        let resting: Vec<Option<Unavailable>> = ProviderId::first(count)
            .map(|provider| self.unavailable(&progress.plan.steps[step].model, provider, now))
            .collect();
        let open = |provider: ProviderId| {
            meant(provider)
                && resting[provider].is_none()
                && self.could_serve(progress, step, provider)
        };
        if let Some(scope) = progress.scope(step, count, open) {
            return Availability::Now(scope);
        }
        let routing = &self.settings.routing;
        let patience = match routing.fallback {
            Fallback::RetrySame => routing.retry.max_wait,
            _ => routing.slot_wait,
        };
        let latest = now + patience;
        let soon = |provider: ProviderId| {
            meant(provider)
                && resting[provider].is_some_and(|why| why.until() <= latest)
                && self.could_serve(progress, step, provider)
        };
        let planned = &progress.plan.steps[step];
        let first = ProviderId::first(count)
            .filter(|provider| progress.may_ask(planned, *provider) && soon(*provider))
            .filter_map(|provider| Some((resting[provider]?.until(), provider)))
            .min();
        if let Some((until, provider)) = first
            && let Some(scope) = progress.scope(step, count, |other| other == provider)
        {
            return Availability::From(until, scope);
        }
        let asked: Vec<ProviderId> = ProviderId::first(count)
            .filter(|provider| progress.may_ask(planned, *provider) && meant(*provider))
            .filter(|provider| self.could_serve(progress, step, *provider))
            .collect();
        for provider in asked {
            if let Some(why) = &resting[provider] {
                progress.pass_over(step, self.fleet.provider_at(provider), why, now);
            }
        }
        Availability::Never
    }

    /// Returns why a provider is not to be asked now for what a step wants, if so.
    pub(crate) fn unavailable(
        &self,
        wanted: &StepModel,
        provider: ProviderId,
        now: Instant,
    ) -> Option<Unavailable> {
        let provider = self.fleet.provider_at(provider);
        if !provider.guard().troubled() {
            return None;
        }
        let listed = || {
            let model = wanted.listed()?;
            let snapshot = self.fleet.snapshot();
            let mut mine = snapshot
                .iter()
                .filter(|backend| backend.provider.id == provider.id);
            mine.find_map(|backend| backend.own_name(model))
        };
        let own = wanted.own().map(Arc::clone).or_else(listed);
        let model = own.map(|own| ModelKey::of(&own));
        provider.guard().unavailable(model, now)
    }

    /// Returns whether a provider has what a step wants, healthy or not.
    pub(crate) fn could_serve(
        &self,
        progress: &PlanProgress,
        step: usize,
        provider: ProviderId,
    ) -> bool {
        let Some(model) = progress.plan.steps[step].model.listed() else {
            return true;
        };
        self.fleet
            .snapshot()
            .iter()
            .any(|backend| backend.provider.id == provider && backend.has(model))
    }

    /// Returns whether a healthy backend could take the step.
    pub(crate) fn is_well(&self, progress: &PlanProgress, step: usize, scope: &Scope) -> bool {
        let model = progress.plan.steps[step].model.listed();
        self.fleet.snapshot().iter().any(|backend| {
            backend.healthy()
                && scope.providers.hold(backend.provider.id)
                && !scope.excluded.contains(&backend.id)
                && model.is_none_or(|model| backend.has(model))
        })
    }
}

/// The fleet as it is when an attempt has failed.
impl FleetView for SlotQueue {
    fn members(&self, model: Option<ModelId>) -> Vec<FleetMember> {
        let snapshot = self.fleet.snapshot();
        let having = snapshot
            .iter()
            .filter(|backend| model.is_none_or(|model| backend.has(model)));
        having.map(|backend| FleetMember::of(backend)).collect()
    }

    fn is_open(&self, provider: ProviderId, wanted: &StepModel) -> bool {
        self.unavailable(wanted, provider, Instant::now()).is_none()
    }
}

/// Where a step may be taken.
pub(super) enum Availability {
    /// The step may be taken there now.
    Now(Scope),
    /// The step may be taken there from then on.
    From(Instant, Scope),
    /// No provider can be asked for what the step wants, soon enough.
    Never,
}

#[cfg(test)]
mod tests;
