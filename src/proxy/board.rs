//! How a request comes by a slot: the steps of its plan in their order, each after the wait that it is worth.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora::protocols::http::ServerSession;
use tokio::time::sleep_until;

use super::Gateway;
use super::failure::{Failure, Stop};
use super::opening::Opening;
use super::trip::{Trip, Turn};
use crate::admission::{Permit, Refusal, Scope, Want};
use crate::routing::StepModel;

impl Gateway {
    /// Waits until the fleet's models are known well enough to say that none has the wanted name, unless the client
    /// leaves or the process ends first.
    pub(super) async fn await_models(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        want: Want,
    ) -> Result<Refusal, Stop> {
        let waiting = async { self.dispatcher.acquire(want).await.err() };
        let refusal = self.unless_ended(client, opening, waiting).await?;
        Ok(refusal.unwrap_or(Refusal::UnknownModel))
    }

    /// A slot for the next attempt, unless the client leaves or the process ends first. `from` is the slot of the
    /// attempt that has just failed: the request keeps its place in the queue if its step goes on.
    pub(super) async fn board(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        trip: &mut Trip<'_>,
        from: Option<Permit>,
    ) -> Result<Result<Permit, Refusal>, Stop> {
        if trip.plan.steps.len() > 1 {
            // Boxed: most plans have one step, and should not carry the state of a race.
            return Box::pin(self.board_any(client, opening, trip, from)).await;
        }
        match self.scope(trip, 0) {
            Some(scope) => {
                let slot = self.slot(trip.want(0), scope, from);
                self.unless_ended(client, opening, slot).await
            }
            None => Ok(Err(Refusal::Exhausted)),
        }
    }

    /// A slot of any step: each is waited for from its turn on, and the first that comes is taken.
    async fn board_any(
        &self,
        client: &mut ServerSession,
        opening: &mut Opening,
        trip: &mut Trip<'_>,
        mut from: Option<Permit>,
    ) -> Result<Result<Permit, Refusal>, Stop> {
        let mut turns = self.turns(trip).into_iter().peekable();
        // A slot that is of no more use is not held meanwhile.
        from.take_if(|_| turns.peek().is_none_or(|first| first.step != trip.step));
        let began = Instant::now();
        let mut race = Race::default();
        let mut refusal = None;
        loop {
            while let Some(turn) = turns.next_if(|turn| {
                race.is_empty()
                    || turn
                        .after
                        .is_some_and(|after| began + after <= Instant::now())
            }) {
                let from = from.take_if(|_| turn.step == trip.step);
                race.enter(
                    turn.step,
                    Box::pin(self.slot(trip.want(turn.step), turn.scope, from)),
                );
                // It may have a slot at once, before the next has its turn.
                if let Poll::Ready((step, Ok(permit))) = race.look(&mut refusal).await {
                    trip.step = step;
                    return Ok(Ok(permit));
                }
            }
            if race.is_empty() && turns.peek().is_none() {
                return Ok(Err(refusal.unwrap_or(Refusal::Exhausted)));
            }
            let next = turns.peek().and_then(|turn| Some(began + turn.after?));
            let alarm = async {
                match next {
                    Some(next) => sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            let event = async {
                tokio::select! {
                    biased;
                    first = race.first() => Some(first),
                    () = alarm => None,
                }
            };
            match self.unless_ended(client, opening, event).await? {
                Some((step, Ok(permit))) => {
                    trip.step = step;
                    return Ok(Ok(permit));
                }
                Some((_, Err(refused))) => keep_better(&mut refusal, refused),
                None => {}
            }
        }
    }

    async fn slot(
        &self,
        want: Want,
        scope: Scope,
        from: Option<Permit>,
    ) -> Result<Permit, Refusal> {
        match from {
            Some(permit) => permit.retry_within(Some(scope)).await,
            None => self.dispatcher.acquire_within(want, scope).await,
        }
    }

    /// What `wait` comes to, unless the client leaves or the process ends first.
    pub(super) async fn unless_ended<T>(
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

    fn scope(&self, trip: &Trip<'_>, step: usize) -> Option<Scope> {
        let pinned = trip.pinned.map(|pinned| self.fleet.backend(pinned));
        let pinned = pinned.flatten().map(|backend| backend.provider.index);
        trip.scope(step, self.upstreams.len(), |provider| {
            pinned.is_none_or(|pinned| pinned == provider)
        })
    }

    /// The steps that may be taken: those that are well in their order, then those that wait for a backend to be.
    fn turns(&self, trip: &Trip) -> Vec<Turn> {
        let (mut turns, mut unwell): (Vec<Turn>, Vec<Turn>) = (Vec::new(), Vec::new());
        let mut waited = Duration::ZERO;
        for (step, planned) in trip.plan.steps.iter().enumerate() {
            let Some(scope) = self.scope(trip, step) else {
                continue;
            };
            if !self.is_well(trip, step, &scope) {
                let after = (!planned.reserve).then_some(Duration::ZERO);
                unwell.push(Turn { step, scope, after });
                continue;
            }
            let after = match (turns.is_empty(), planned.reserve, planned.max_wait) {
                (true, ..) => Some(Duration::ZERO),
                (false, true, max_wait) => max_wait,
                (false, false, max_wait) => {
                    waited += max_wait.unwrap_or(self.settings.routing.slot_wait);
                    Some(waited)
                }
            };
            turns.push(Turn { step, scope, after });
        }
        turns.append(&mut unwell);
        // Without a time comes last; of those with the same time, what is well is asked first.
        turns.sort_by_key(|turn| (turn.after.is_none(), turn.after));
        turns
    }

    /// Whether a healthy backend could take the step.
    fn is_well(&self, trip: &Trip<'_>, step: usize, scope: &Scope) -> bool {
        self.fleet.snapshot().iter().any(|backend| {
            let provider = u16::try_from(backend.provider.index).unwrap_or(u16::MAX);
            backend.healthy()
                && scope.providers.hold(provider)
                && !scope.excluded.contains(&backend.id)
                && match &trip.plan.steps[step].model {
                    StepModel::Listed(model) | StepModel::ListedAs(model, _) => backend.has(*model),
                    StepModel::Named(_) => true,
                }
        })
    }
}

type Slot<'a> = Pin<Box<dyn Future<Output = Result<Permit, Refusal>> + Send + 'a>>;

/// Places in the queue for one request, of which the first slot counts. What is dropped leaves its place.
#[derive(Default)]
struct Race<'a> {
    running: Vec<(usize, Slot<'a>)>,
}

impl<'a> Race<'a> {
    fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn enter(&mut self, step: usize, slot: Slot<'a>) {
        self.running.push((step, slot));
    }

    /// The first that is decided.
    async fn first(&mut self) -> (usize, Result<Permit, Refusal>) {
        std::future::poll_fn(|context| {
            for index in 0..self.running.len() {
                if let Poll::Ready(result) = self.running[index].1.as_mut().poll(context) {
                    let (step, _) = self.running.remove(index);
                    return Poll::Ready((step, result));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// A slot, if one is there already; refusals are kept.
    async fn look(
        &mut self,
        refusal: &mut Option<Refusal>,
    ) -> Poll<(usize, Result<Permit, Refusal>)> {
        loop {
            let looked = {
                let mut first = std::pin::pin!(self.first());
                std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await
            };
            match looked {
                Poll::Ready((_, Err(refused))) => keep_better(refusal, refused),
                looked => return looked,
            }
        }
    }
}

/// Of two refusals the one that says more: that there is something to wait for.
fn keep_better(kept: &mut Option<Refusal>, refused: Refusal) {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::UnknownModel | Refusal::UnknownBackend => 0,
        Refusal::Exhausted => 1,
        Refusal::NoHealthyBackend { .. } => 2,
        Refusal::QueueFull { .. } => 3,
        Refusal::TimedOut { healthy, .. } => 4 + u8::from(*healthy),
    };
    if kept.as_ref().is_none_or(|kept| rank(kept) < rank(&refused)) {
        *kept = Some(refused);
    }
}
