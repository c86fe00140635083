//! In which order, and from when on, the steps of a plan are waited for.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use crate::admission::{Permit, Scope};
use crate::proxy::dispatch::places_in_queue::QueuePlace;
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::dispatch::prompt_needs::Claim;
use crate::proxy::dispatch::queue::{Availability, SlotQueue};

/// A step that may be taken.
#[derive(Clone, Debug)]
pub(crate) struct OpenStep {
    pub(crate) step: usize,
    pub(crate) scope: Scope,
    /// How long the steps before are waited for until this one is taken too; `None` if it is taken only once they have all
    /// failed.
    pub(crate) after: Option<Duration>,
    /// A healthy backend could take it.
    pub(crate) well: bool,
}

impl SlotQueue {
    /// Returns a place in the queue for a step whose turn it is. `elsewhere` says whether there is somewhere else to go.
    pub(super) fn place(
        &self,
        turn: OpenStep,
        claim: Claim,
        elsewhere: bool,
        from: Option<Permit>,
    ) -> QueuePlace<'_> {
        let scope = Scope {
            elsewhere,
            ..turn.scope
        };
        QueuePlace {
            step: turn.step,
            well: turn.well,
            elsewhere,
            slot: Box::pin(self.slot(claim, scope, from)),
        }
    }

    /// Returns the steps that may be taken by a request that has waited since `began`: first those with a healthy backend in
    /// their order, then those that wait for one. If the request is `new` to the queue, an overflow goes before steps for which
    /// it would wait too long.
    pub(super) fn open_steps(
        &self,
        progress: &mut PlanProgress,
        began: Instant,
        new: bool,
    ) -> Vec<OpenStep> {
        let open = |step, scope, after, well| OpenStep {
            step,
            scope,
            after,
            well,
        };
        let (mut turns, mut unwell): (Vec<OpenStep>, Vec<OpenStep>) = (Vec::new(), Vec::new());
        let mut due: Vec<OpenStep> = Vec::new();
        let mut waited = Duration::ZERO;
        // Where the steps begin in `turns` that are as good as the present one.
        let mut equals = 0;
        for step in 0..progress.plan.steps.len() {
            let scope = match self.availability(progress, step) {
                Availability::Now(scope) => scope,
                Availability::From(until, scope) => {
                    let after = until.saturating_duration_since(began);
                    unwell.push(open(step, scope, Some(after), false));
                    continue;
                }
                Availability::Never => continue,
            };
            let planned = &progress.plan.steps[step];
            if !planned.equal {
                self.soonest_first(progress, &mut turns[equals..]);
                equals = turns.len();
            }
            if !self.is_well(progress, step, &scope) {
                let after = (!planned.reserve).then_some(Duration::ZERO);
                unwell.push(open(step, scope, after, false));
                continue;
            }
            if new && planned.max_wait.is_some() && planned.is_due(self.expected(progress, &turns))
            {
                due.push(open(step, scope, Some(Duration::ZERO), true));
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
            turns.push(open(step, scope, after, true));
        }
        self.soonest_first(progress, &mut turns[equals..]);
        let mut turns = [due, turns, unwell].concat();
        // Without a time comes last; of those with the same time, what is well is asked first.
        turns.sort_by_key(|turn| (turn.after.is_none(), turn.after));
        turns
    }

    /// Sorts equal steps by how soon they could start, and those that could start at the same time by how little they are used.
    /// A step that would load its model at once, although another should be free before the load is done, has its turn once the
    /// other has been waited for as long as the load takes. So nobody waits for more than twice the time of the better choice.
    fn soonest_first(&self, progress: &PlanProgress, turns: &mut [OpenStep]) {
        if turns.len() < 2 {
            return;
        }
        let outlook = |turn: &OpenStep| {
            let want = progress.want(turn.step);
            let start = self.dispatcher.outlook(&want, turn.scope.clone());
            start.map(|start| (start, self.share_in_use(progress, turn)))
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

    /// Returns the share of slots in use at the least used of the step's healthy backends.
    fn share_in_use(&self, progress: &PlanProgress, turn: &OpenStep) -> f64 {
        let model = progress.plan.steps[turn.step].model.listed();
        let snapshot = self.fleet.snapshot();
        let able = snapshot.iter().filter(|backend| {
            backend.healthy()
                && turn.scope.providers.hold(backend.provider.id)
                && model.is_none_or(|model| backend.has(model))
        });
        let shares = able.map(|one| f64::from(one.in_flight()) / f64::from(one.slots.max(1)));
        shares.fold(f64::INFINITY, f64::min)
    }

    /// Returns how long a request would wait until any of these steps has a slot; `None` if that cannot be told of all of them.
    fn expected(&self, progress: &PlanProgress, turns: &[OpenStep]) -> Option<Duration> {
        let forecast = |turn: &OpenStep| {
            let want = progress.want(turn.step);
            self.dispatcher.forecast(&want, turn.scope.clone())
        };
        let all: Option<Vec<Duration>> = turns.iter().map(forecast).collect();
        all?.into_iter().min()
    }
}
