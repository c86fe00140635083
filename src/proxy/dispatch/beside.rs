//! Who is asked beside a candidate that keeps silent: the first of the plan that could begin now.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::admission::Scope;
use crate::fleet::Backend;
use crate::ids::ProviderId;
use crate::proxy::dispatch::candidate::{Dispatch, SlotCandidate};
use crate::proxy::prepared::ModelRequest;
use crate::settings::Fallback;

impl<'a> Dispatch<'a> {
    /// Returns the first of the plan's candidates besides `first` that could begin now, and nobody who would have to be waited
    /// for. A reserve is none of them, unless `first` is late and there is no other.
    pub(super) async fn another(
        &mut self,
        first: &mut SlotCandidate<'a>,
    ) -> Option<Box<SlotCandidate<'a>>> {
        let gateway = self.gateway;
        let steps = 0..self.progress.plan.steps.len();
        let is_reserve = |step: &usize| self.progress.plan.steps[*step].reserve;
        let (reserves, steps): (Vec<usize>, Vec<usize>) = steps.partition(is_reserve);
        let may = |step: &usize| self.beside(*step, &first.exchange.backend).is_some();
        let needs_reserve = first.silence.is_late() && !steps.iter().any(may);
        let steps = if needs_reserve { reserves } else { steps };
        for step in steps {
            // Who may not be asked after all is closed, so this comes to an end.
            while let Some(scope) = self.beside(step, &first.exchange.backend) {
                let want = self.progress.want(step);
                let slot = gateway.queue.dispatcher.acquire_within(want, scope);
                let Some(Ok(permit)) = at_once(slot).await else {
                    break;
                };
                let Some(backend) = gateway.fleet.backend(permit.backend()) else {
                    break;
                };
                let model = &self.progress.plan.steps[step].model;
                let request = Arc::new(ModelRequest {
                    context: permit.context(),
                    ..first.exchange.request.beside(model)
                });
                let Some(key) = self.key_for(step, &request, &backend) else {
                    continue;
                };
                let attempt = self.attempt_at(&request, &backend, &permit);
                let account = attempt.account.as_ref();
                let aside = self.ctx.inbound.afford_too(account)?;
                self.ctx.attempt.number += 1;
                let both = (&request, &backend);
                let other = self.candidate(step, both, permit, key, attempt);
                return Some(Box::new(SlotCandidate { aside, ..other }));
            }
        }
        None
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
        let scope = queue.without_shunned(progress, step, scope);
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
