//! Who is asked beside a candidate that keeps silent, and when: the first of the plan that could begin now, or, beside one that is late, the
//! first that gives a slot.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::admission::{NoSlot, Permit, Scope};
use crate::fleet::Backend;
use crate::ids::ProviderId;
use crate::proxy::attempt::exchange::UpstreamExchange;
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::dispatch::hedge::{HedgeInput, hedge_after};
use crate::proxy::prepared::ModelRequest;
use crate::settings::Fallback;

/// A place in the queue, which gives the step that it is for and what came of it.
pub(super) type SlotBeside<'a> =
    Pin<Box<dyn Future<Output = (usize, Result<Permit, NoSlot>)> + Send + 'a>>;

/// Why a slot makes no candidate.
pub(super) enum NotMade {
    /// Its provider is not to be asked, which is noted.
    Closed,
    /// Its backend has left.
    Gone,
    /// The key's budget has no room for both.
    Unaffordable,
}

impl<'a> Dispatch<'a> {
    /// Returns when another candidate is asked too, if `first` is silent until then.
    pub(super) fn hedge_at(&self, first: &SlotCandidate<'_>) -> Option<Instant> {
        let gateway = self.gateway;
        let UpstreamExchange {
            backend,
            request,
            visible,
            ..
        } = &first.exchange;
        // The usual case is a fleet or a service by itself.
        if self.progress.hedged || !self.has_others() {
            return None;
        }
        let load = || match request.model() {
            Some(model) if first.permit.cold() => {
                gateway.queue.dispatcher.load_time(backend.id, model)
            }
            _ => Duration::ZERO,
        };
        let after = hedge_after(&HedgeInput {
            setting: gateway.settings.routing.retry.hedge_after,
            visible: *visible && request.operation.is_inference(),
            usual: backend.response_time(first.started),
            load: load(),
        });
        after.map(|after| first.started + after)
    }

    /// Returns when another is asked besides `first`, whatever has been asked before: at once, if that is late.
    pub(super) fn for_late(&self, first: &SlotCandidate<'_>) -> Option<Instant> {
        let asks = first.silence.is_late() && self.has_others();
        asks.then(Instant::now)
    }

    /// Returns whether there may be anybody else to ask: the client names no server, and there are several.
    fn has_others(&self) -> bool {
        self.progress.pinned.is_none() && self.gateway.fleet.snapshot().len() > 1
    }

    /// Returns the first of the plan's candidates besides `first` that could begin now, and nobody who would have to be waited
    /// for.
    pub(super) async fn another(
        &mut self,
        first: &mut SlotCandidate<'a>,
    ) -> Option<Box<SlotCandidate<'a>>> {
        let gateway = self.gateway;
        for step in self.steps_beside(first) {
            // Who may not be asked after all is closed, so this comes to an end.
            while let Some(scope) = self.beside(step, &first.exchange.backend) {
                let want = self.progress.want(step);
                let slot = gateway.queue.dispatcher.acquire_within(want, scope);
                let Some(Ok(permit)) = at_once(slot).await else {
                    break;
                };
                match self.made(step, permit, first) {
                    Ok(other) => return Some(other),
                    Err(NotMade::Closed) => {}
                    Err(NotMade::Gone) => break,
                    Err(NotMade::Unaffordable) => return None,
                }
            }
        }
        None
    }

    /// Enters the queue for a slot of the first step that may be taken besides `first`; `None` if none may be.
    pub(super) fn place_beside(&self, first: &SlotCandidate<'a>) -> Option<SlotBeside<'a>> {
        let gateway = self.gateway;
        let mut steps = self.steps_beside(first).into_iter();
        steps.find_map(|step| {
            let scope = self.beside(step, &first.exchange.backend)?;
            let slot = gateway
                .queue
                .dispatcher
                .acquire_within(self.progress.want(step), scope);
            let slot: SlotBeside<'a> = Box::pin(async move { (step, slot.await) });
            Some(slot)
        })
    }

    /// Makes a candidate of a slot that was had besides `first`.
    ///
    /// # Errors
    /// Why that is no candidate.
    pub(super) fn made(
        &mut self,
        step: usize,
        permit: Permit,
        first: &SlotCandidate<'a>,
    ) -> Result<Box<SlotCandidate<'a>>, NotMade> {
        let backend = self.gateway.fleet.backend(permit.backend());
        let backend = backend.ok_or(NotMade::Gone)?;
        let model = &self.progress.plan.steps[step].model;
        let request = Arc::new(ModelRequest {
            context: permit.context(),
            ..first.exchange.request.beside(model)
        });
        let key = self.key_for(step, &request, &backend);
        let key = key.ok_or(NotMade::Closed)?;
        let attempt = self.attempt_at(&request, &backend, &permit);
        let account = attempt.account.as_ref();
        let aside = self.ctx.inbound.afford_too(account);
        let aside = aside.ok_or(NotMade::Unaffordable)?;
        self.ctx.attempt.number += 1;
        let other = self.candidate(step, (&request, &backend), permit, key, attempt);
        Ok(Box::new(SlotCandidate { aside, ..other }))
    }

    /// Returns the steps of the plan that may be taken besides `first`, in their order. A reserve is none of them, unless `first`
    /// is late and there is no other.
    fn steps_beside(&self, first: &SlotCandidate<'_>) -> Vec<usize> {
        let steps = 0..self.progress.plan.steps.len();
        let is_reserve = |step: &usize| self.progress.plan.steps[*step].reserve;
        let (reserves, steps): (Vec<usize>, Vec<usize>) = steps.partition(is_reserve);
        let may = |step: &usize| self.beside(*step, &first.exchange.backend).is_some();
        if first.silence.is_late() && !steps.iter().any(may) {
            reserves
        } else {
            steps
        }
    }

    /// Returns where a step may be taken besides `present`; `None`: nowhere.
    fn beside(&self, step: usize, present: &Backend) -> Option<Scope> {
        let (queue, progress) = (&self.gateway.queue, &self.progress);
        let routing = &queue.settings.routing;
        let now = Instant::now();
        let as_of = Some(queue.dispatcher.closings());
        let wanted = &progress.plan.steps[step].model;
        let open = |provider: ProviderId| {
            let may = if provider == present.provider.id {
                progress.again < routing.max_retries
            } else {
                routing.fallback != Fallback::None
            };
            may && queue.unavailable(wanted, provider, now).is_none()
                && queue.could_serve(progress, step, provider)
        };
        let count = self.gateway.upstreams.count_providers();
        let scope = progress.scope_beside(step, count, present.id, open)?;
        queue.is_well(progress, step, &scope).then_some(Scope {
            as_of,
            elsewhere: true,
            ..scope
        })
    }
}

/// Returns what `slot` gives without a wait.
async fn at_once<T>(slot: impl Future<Output = T>) -> Option<T> {
    let mut slot = pin!(slot);
    poll_fn(|context| {
        Poll::Ready(match slot.as_mut().poll(context) {
            Poll::Ready(come) => Some(come),
            Poll::Pending => None,
        })
    })
    .await
}
