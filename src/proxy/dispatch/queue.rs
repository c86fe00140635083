//! How a request comes by a slot: the steps of its plan in their order, each after the wait that it is worth.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora::protocols::http::ServerSession;
use tokio::time::sleep_until;

use crate::admission::{Permit, Refusal, Scope, Want};
use crate::fleet::{ModelKey, Unavailable};
use crate::ids::ProviderId;
use crate::proxy::Gateway;
use crate::proxy::dispatch::places_in_queue::{Race, Running, keep_better, moves_on, turn_of};
use crate::proxy::dispatch::progress::{Trip, Turn};
use crate::proxy::failure::told::{Failure, Stop, refused};
use crate::proxy::response_body::opening::Opening;
use crate::settings::Fallback;

impl Gateway {
    /// Waits until the fleet's models are known well enough to say that none has the wanted name, unless the client
    /// leaves or the process ends first.
    pub(crate) async fn await_models(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        want: Want,
    ) -> Result<Refusal, Stop> {
        let waiting = self.hoping(async { self.dispatcher.acquire(want).await.err() });
        let refusal = self.unless_ended(client, opening, waiting).await?;
        Ok(refusal.unwrap_or(Refusal::UnknownModel))
    }

    /// A slot for the next attempt, unless the client leaves or the process ends first. `from` is the slot of the
    /// attempt that has just failed: the request keeps its place in the queue if its step goes on.
    pub(crate) async fn board(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        trip: &mut Trip<'_>,
        mut from: Option<Permit>,
    ) -> Result<Result<Permit, Refusal>, Stop> {
        if trip.plan.steps.len() > 1 {
            // Boxed: most plans have one step, and should not carry the state of a race.
            return Box::pin(self.board_any(client, opening, trip, from)).await;
        }
        loop {
            let scope = match self.way(trip, 0) {
                Way::Open(scope) => scope,
                Way::Later(until, scope) => {
                    let sleep = sleep_until(until.into());
                    self.unless_ended(client, opening, sleep).await?;
                    scope
                }
                Way::Shut => return Ok(Err(Refusal::Exhausted)),
            };
            let scope = Scope {
                elsewhere: self.may_leave(trip),
                ..scope
            };
            let slot = self.slot(trip.want(0), scope, from.take());
            match self.unless_ended(client, opening, slot).await? {
                // Another provider of the step may be open; if none is, it is noted why.
                Err(Refusal::Closed) => {}
                slot => return Ok(slot),
            }
        }
    }

    /// A slot of any step: each is waited for from its turn on, and the first that comes is taken. Who is refused
    /// because a provider has been closed or has become unhealthy keeps its other places.
    async fn board_any(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        trip: &mut Trip<'_>,
        mut from: Option<Permit>,
    ) -> Result<Result<Permit, Refusal>, Stop> {
        let began = Instant::now();
        let mut turns = VecDeque::from(self.turns(trip, began, from.is_none()));
        // A slot that is of no more use is not held meanwhile.
        from.take_if(|_| turns.front().is_none_or(|first| first.step != trip.step));
        let leaves = self.may_leave(trip);
        let mut race = Race::default();
        let mut refusal = None;
        loop {
            let next = turns.front().and_then(|turn| Some(began + turn.after?));
            let due = next.is_some_and(|next| next <= Instant::now());
            if (due || race.is_empty())
                && let Some(turn) = turns.pop_front()
            {
                let from = from.take_if(|_| turn.step == trip.step);
                let others = race.is_well() || turns.iter().any(|turn| turn.well);
                let elsewhere = leaves || (turn.well && others);
                let scope = Scope {
                    elsewhere,
                    ..turn.scope
                };
                race.enter(Running {
                    step: turn.step,
                    well: turn.well,
                    elsewhere,
                    slot: Box::pin(self.slot(trip.want(turn.step), scope, from)),
                });
            }
            if race.is_empty() {
                return Ok(Err(refusal.unwrap_or(Refusal::Exhausted)));
            }
            // Whoever has entered may have a slot at once, before the next has its turn.
            let next = turns.front().and_then(|turn| Some(began + turn.after?));
            let event = self.hoping(async {
                tokio::select! {
                    biased;
                    first = race.first() => Some(first),
                    () = turn_of(next) => None,
                }
            });
            match self.unless_ended(client, opening, event).await? {
                Some((step, _, Ok(permit))) => {
                    trip.step = step;
                    return Ok(Ok(permit));
                }
                Some((_, elsewhere, Err(refused))) if moves_on(&refused, elsewhere && !leaves) => {
                    let others = self.turns(trip, began, false).into_iter();
                    turns = others.filter(|turn| !race.holds(turn.step)).collect();
                }
                Some((_, _, Err(refused))) => keep_better(&mut refusal, refused),
                None => {}
            }
        }
    }

    /// Whether a request that is kept to one provider is let go to another when it has no backend left.
    fn may_leave(&self, trip: &Trip<'_>) -> bool {
        trip.kept_to().is_some() && self.settings.routing.fallback != Fallback::None
    }

    /// What the client is told when it gets no slot.
    pub(crate) fn turned_away(
        &self,
        trip: &Trip<'_>,
        refusal: &Refusal,
        not_found: impl Fn() -> Failure,
    ) -> Failure {
        let failure = refused(refusal, not_found);
        let steps = trip.plan.steps.iter();
        let asked = match steps.clone().any(|step| step.providers.is_empty()) {
            true => Vec::new(),
            false => steps.flat_map(|step| step.providers.clone()).collect(),
        };
        self.in_words_for(failure, &asked)
    }

    /// The failure of a request that these providers might have served, or any if there are none, in words that fit
    /// them: where no Ollama server is concerned, none is spoken of.
    pub(crate) fn in_words_for(&self, failure: Failure, asked: &[ProviderId]) -> Failure {
        let is_fleet = |provider: &ProviderId| self.settings.providers[*provider].kind.is_fleet();
        let all: Vec<ProviderId> = ProviderId::first(self.upstreams.len()).collect();
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

    async fn slot(
        &self,
        want: Want,
        scope: Scope,
        from: Option<Permit>,
    ) -> Result<Permit, Refusal> {
        let slot = match from {
            Some(permit) => self.hoping(permit.retry_within(Some(scope))).await,
            None => {
                self.hoping(self.dispatcher.acquire_within(want, scope))
                    .await
            }
        };
        if matches!(slot, Err(Refusal::NoHealthyBackend { .. })) {
            self.fleet.missed_by_a_request();
        }
        slot
    }

    /// What `wait` comes to. While it lasts, backends that are down are looked at again and again.
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

    /// What `wait` comes to, unless the client leaves or the process ends first.
    pub(crate) async fn unless_ended<T>(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        wait: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        tokio::select! {
            biased;
            result = wait => Ok(result),
            () = opening.attend(client) => Err(Stop::ClientGone),
            () = self.drain.cut() => Err(Failure::shutting_down().into()),
        }
    }

    /// Where a step may be taken now, or when. What is not to be asked for too long is passed over.
    fn way(&self, trip: &mut Trip<'_>, step: usize) -> Way {
        // Before it is looked at who is open: what is closed after that is told by the scheduler.
        let as_of = Some(self.dispatcher.closings());
        match self.open_way(trip, step) {
            Way::Open(scope) => {
                let scope = self.without_shunned(trip, step, scope);
                Way::Open(Scope { as_of, ..scope })
            }
            Way::Later(until, scope) => Way::Later(until, Scope { as_of, ..scope }),
            Way::Shut => Way::Shut,
        }
    }

    /// Without the servers that could not load the model of late, if another has it.
    pub(crate) fn without_shunned(&self, trip: &Trip<'_>, step: usize, scope: Scope) -> Scope {
        let model = trip.plan.steps[step].model.listed();
        let mut shunned = model.map_or_else(Vec::new, |model| self.fleet.shunned(model));
        // Each counts once.
        shunned.retain(|id| !scope.excluded.contains(id));
        if shunned.is_empty() || trip.pinned.is_some() {
            return scope;
        }
        let narrower = Scope {
            excluded: [&*scope.excluded, &shunned].concat(),
            ..scope.clone()
        };
        match self.is_well(trip, step, &narrower) {
            true => narrower,
            false => scope,
        }
    }

    fn open_way(&self, trip: &mut Trip<'_>, step: usize) -> Way {
        let count = self.upstreams.len();
        let pinned = trip.pinned.and_then(|pinned| self.fleet.backend(pinned));
        let pinned = pinned.map(|backend| backend.provider.id);
        let meant = |provider| pinned.is_none_or(|pinned| pinned == provider);
        if !self.fleet.troubled() {
            return match trip.scope(step, count, meant) {
                Some(scope) => Way::Open(scope),
                None => Way::Shut,
            };
        }
        let now = Instant::now();
        let resting: Vec<Option<Unavailable>> = ProviderId::first(count)
            .map(|provider| self.unavailable(trip, step, provider, now))
            .collect();
        let open = |provider: ProviderId| {
            meant(provider) && resting[provider].is_none() && self.could_serve(trip, step, provider)
        };
        if let Some(scope) = trip.scope(step, count, open) {
            return Way::Open(scope);
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
                && self.could_serve(trip, step, provider)
        };
        let planned = &trip.plan.steps[step];
        let first = ProviderId::first(count)
            .filter(|provider| trip.may_ask(planned, *provider) && soon(*provider))
            .filter_map(|provider| Some((resting[provider]?.until(), provider)))
            .min();
        if let Some((until, provider)) = first
            && let Some(scope) = trip.scope(step, count, |other| other == provider)
        {
            return Way::Later(until, scope);
        }
        let asked: Vec<ProviderId> = ProviderId::first(count)
            .filter(|provider| trip.may_ask(planned, *provider) && meant(*provider))
            .filter(|provider| self.could_serve(trip, step, *provider))
            .collect();
        for provider in asked {
            if let Some(why) = &resting[provider] {
                trip.pass_over(self.fleet.provider_at(provider), why, now);
            }
        }
        Way::Shut
    }

    /// Why a provider is not to be asked now for what a step wants, if so.
    pub(crate) fn unavailable(
        &self,
        trip: &Trip<'_>,
        step: usize,
        provider: ProviderId,
        now: Instant,
    ) -> Option<Unavailable> {
        let provider = self.fleet.provider_at(provider);
        if !provider.guard().troubled() {
            return None;
        }
        let asked = &trip.plan.steps[step].model;
        let listed = || {
            let model = asked.listed()?;
            let snapshot = self.fleet.snapshot();
            let mut mine = snapshot
                .iter()
                .filter(|backend| backend.provider.id == provider.id);
            mine.find_map(|backend| backend.own_name(model))
        };
        let own = asked.own().map(Arc::clone).or_else(listed);
        let model = own.map(|own| ModelKey::of(&own));
        provider.guard().unavailable(model, now)
    }

    /// Whether a provider has what a step wants, healthy or not.
    pub(crate) fn could_serve(&self, trip: &Trip<'_>, step: usize, provider: ProviderId) -> bool {
        let Some(model) = trip.plan.steps[step].model.listed() else {
            return true;
        };
        self.fleet
            .snapshot()
            .iter()
            .any(|backend| backend.provider.id == provider && backend.has(model))
    }

    /// The steps that may be taken by a request that `began` to wait then: those that are well in their order, then those
    /// that wait for a backend to be. If it is new to the queue, an overflow goes before steps that it would wait for too
    /// long.
    fn turns(&self, trip: &mut Trip<'_>, began: Instant, new: bool) -> Vec<Turn> {
        let (mut turns, mut unwell): (Vec<Turn>, Vec<Turn>) = (Vec::new(), Vec::new());
        let mut due: Vec<Turn> = Vec::new();
        let mut waited = Duration::ZERO;
        // Where the steps begin in `turns` that are as good as the present one.
        let mut equals = 0;
        for step in 0..trip.plan.steps.len() {
            let scope = match self.way(trip, step) {
                Way::Open(scope) => scope,
                Way::Later(until, scope) => {
                    let after = until.saturating_duration_since(began);
                    unwell.push(Turn {
                        step,
                        scope,
                        after: Some(after),
                        well: false,
                    });
                    continue;
                }
                Way::Shut => continue,
            };
            let planned = &trip.plan.steps[step];
            if !planned.equal {
                self.soonest_first(trip, &mut turns[equals..]);
                equals = turns.len();
            }
            if !self.is_well(trip, step, &scope) {
                let after = (!planned.reserve).then_some(Duration::ZERO);
                unwell.push(Turn {
                    step,
                    scope,
                    after,
                    well: false,
                });
                continue;
            }
            let well = true;
            if new && planned.max_wait.is_some() && planned.is_due(self.expected(trip, &turns)) {
                let after = Some(Duration::ZERO);
                due.push(Turn {
                    step,
                    scope,
                    after,
                    well,
                });
                continue;
            }
            let after = match (turns.is_empty(), planned.reserve, planned.max_wait) {
                (true, ..) => Some(Duration::ZERO),
                _ if equals < turns.len() => turns[equals].after,
                (false, true, max_wait) => max_wait,
                (false, false, max_wait) => {
                    waited += max_wait.unwrap_or(self.settings.routing.slot_wait);
                    Some(waited)
                }
            };
            turns.push(Turn {
                step,
                scope,
                after,
                well,
            });
        }
        self.soonest_first(trip, &mut turns[equals..]);
        let mut turns = [due, turns, unwell].concat();
        // Without a time comes last; of those with the same time, what is well is asked first.
        turns.sort_by_key(|turn| (turn.after.is_none(), turn.after));
        turns
    }

    /// Of steps of which any will do, those first that could start soonest, and of these the least used. One that would
    /// load its model at once, although another should be free before the load is done, has its turn when that has been
    /// waited for as long as the load takes: so nobody waits for more than twice the time of the better choice.
    fn soonest_first(&self, trip: &Trip<'_>, turns: &mut [Turn]) {
        if turns.len() < 2 {
            return;
        }
        let outlook = |turn: &Turn| {
            let want = trip.want(turn.step);
            let start = self.dispatcher.outlook(want, turn.scope.clone());
            start.map(|start| (start, self.share_in_use(trip, turn)))
        };
        let mut all: Vec<_> = turns
            .iter()
            .map(|turn| (outlook(turn), turn.clone()))
            .collect();
        all.sort_by(|(one, _), (other, _)| {
            let known = one.is_none().cmp(&other.is_none());
            known.then_with(|| one.partial_cmp(other).unwrap_or(Ordering::Equal))
        });
        for (place, (turn, (outlook, mut next))) in turns.iter_mut().zip(all).enumerate() {
            if let Some((outlook, _)) = outlook.filter(|(outlook, _)| place > 0 && outlook.loads) {
                next.after = next.after.map(|after| after + outlook.start);
            }
            *turn = next;
        }
    }

    /// Of the slots of the step's healthy backends, the share that is in use where it is least.
    fn share_in_use(&self, trip: &Trip<'_>, turn: &Turn) -> f64 {
        let model = trip.plan.steps[turn.step].model.listed();
        let snapshot = self.fleet.snapshot();
        let able = snapshot.iter().filter(|backend| {
            backend.healthy()
                && turn.scope.providers.hold(backend.provider.id)
                && model.is_none_or(|model| backend.has(model))
        });
        let shares = able.map(|one| f64::from(one.in_flight()) / f64::from(one.slots.max(1)));
        shares.fold(f64::INFINITY, f64::min)
    }

    /// How long a request would wait for a slot of the first of these steps to have one, as far as that can be told.
    fn expected(&self, trip: &Trip<'_>, turns: &[Turn]) -> Option<Duration> {
        let forecast = |turn: &Turn| {
            let want = trip.want(turn.step);
            self.dispatcher.forecast(want, turn.scope.clone())
        };
        let all: Option<Vec<Duration>> = turns.iter().map(forecast).collect();
        all?.into_iter().min()
    }

    /// Whether a healthy backend could take the step.
    pub(crate) fn is_well(&self, trip: &Trip<'_>, step: usize, scope: &Scope) -> bool {
        let model = trip.plan.steps[step].model.listed();
        self.fleet.snapshot().iter().any(|backend| {
            backend.healthy()
                && scope.providers.hold(backend.provider.id)
                && !scope.excluded.contains(&backend.id)
                && model.is_none_or(|model| backend.has(model))
        })
    }
}

/// Where a step may be taken.
enum Way {
    Open(Scope),
    /// There from then on.
    Later(Instant, Scope),
    Shut,
}
