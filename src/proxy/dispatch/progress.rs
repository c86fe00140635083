//! How far a request has come in its plan: which steps and providers may still be asked, what has been tried, and why that
//! failed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use crate::admission::{NoSlot, Providers, Scope, Want, Wanted};
use crate::fleet::{Provider, Unavailable};
use crate::ids::{BackendId, ProviderId};
use crate::metrics::AttemptOutcome;
use crate::proxy::dispatch::prompt_needs::{Claim, PromptNeeds};
use crate::proxy::failure::Failure;
use crate::proxy::failure::attempt::ClientError;
use crate::proxy::failure::deadline::{TimeLimit, WITHIN};
use crate::proxy::failure::reasons::Reasons;
use crate::routing::{Plan, PlanStep, StepModel};
use crate::settings::Routing;

/// The progress of one request through its plan.
pub(crate) struct PlanProgress {
    pub(crate) plan: Plan,
    /// Higher goes first; 0 is normal.
    pub(crate) priority: i32,
    /// Only this backend will do.
    pub(crate) pinned: Option<BackendId>,
    /// The step that the present slot belongs to.
    pub(crate) step: usize,
    /// Backends that have failed; with the model, if it was that model's failure alone.
    tried: Vec<(BackendId, Option<StepModel>)>,
    /// Providers that are not asked any more.
    closed: Vec<ProviderId>,
    /// Models that a provider is not asked for any more, while it may be asked for others.
    closed_for: Vec<(StepModel, ProviderId)>,
    /// Only this provider may be asked.
    confined: Option<ProviderId>,
    /// The prompt is too long for a model with so many tokens of context.
    pub(crate) too_long_for: Option<u64>,
    /// The largest context in tokens that a fleet's step has or could load, while others are asked as the prompt seems too long
    /// for it.
    pub(crate) overflow: Option<u32>,
    /// A provider has no counter of tokens, so that an estimate is the answer.
    pub(crate) uncounted: bool,
    /// Further attempts in a row at the present provider.
    pub(super) again: u32,
    /// How often it was recalled from a copy that answers nobody.
    pub(super) recalls: u32,
    /// A server has found fault with the request itself, or could not load its model.
    pub(super) doubted: bool,
    /// A server that has failed the request with an error of its own, until it is acquitted, and that error's digest.
    last_error: Option<(Option<BackendId>, u64)>,
    /// Further keys of the present provider that were tried.
    pub(super) keys: usize,
    /// What went wrong so far, for the client's eyes.
    pub(crate) reasons: Reasons,
    /// When the first attempt began.
    pub(super) began: Option<Instant>,
    /// A second candidate has been asked beside the first, which is done once.
    pub(crate) hedged: bool,
    /// What the request needs of a copy of its model.
    pub(crate) needs: PromptNeeds,
    /// Only this model may go on with an answer that broke off.
    only: Option<StepModel>,
}

impl PlanProgress {
    pub(crate) fn new(plan: Plan, priority: i32, pinned: Option<BackendId>) -> Self {
        Self {
            plan,
            priority,
            pinned,
            step: 0,
            tried: Vec::new(),
            closed: Vec::new(),
            closed_for: Vec::new(),
            confined: None,
            too_long_for: None,
            overflow: None,
            uncounted: false,
            again: 0,
            recalls: 0,
            doubted: false,
            last_error: None,
            keys: 0,
            reasons: Reasons::default(),
            began: None,
            hedged: false,
            needs: PromptNeeds::default(),
            only: None,
        }
    }

    /// Notes what the request needs of a copy of its model.
    pub(crate) fn needing(self, needs: PromptNeeds) -> Self {
        Self { needs, ..self }
    }

    /// Returns what is asked of the scheduler for a step.
    pub(crate) fn want(&self, step: usize) -> Want {
        let model = &self.plan.steps[step].model;
        Want {
            wanted: Wanted::from(model),
            priority: self.priority,
            pinned: self.pinned,
            need: self.needs.need(model.listed()),
            recipe: self.needs.recipe(),
        }
    }

    /// Returns what is asked of the scheduler for a step, with what the request may settle for where its prompt is not expected
    /// to fit.
    pub(crate) fn claim(&self, step: usize) -> Claim {
        let model = self.plan.steps[step].model.listed();
        Claim {
            want: self.want(step),
            least: self.needs.least(model),
            may_be_cut: self.needs.may_be_cut(),
            settles: true,
        }
    }

    /// Returns the providers that are not asked any more, without which another plan is made.
    pub(crate) fn closed(&self) -> &[ProviderId] {
        &self.closed
    }

    /// Takes another plan in place of this one, if there is one.
    pub(crate) fn replan(&mut self, plan: Option<Plan>) {
        if let Some(plan) = plan.and_then(|plan| self.of_the_model(plan)) {
            self.plan = plan;
            self.step = 0;
        }
    }

    /// Begins anew with whoever may go on with an answer that broke off, `by_any` with another model too: who has failed
    /// is not asked again, but the time and the number of attempts are counted from now on.
    pub(crate) fn goes_on(&mut self, by_any: bool) {
        if !by_any {
            self.only = Some(self.plan.steps[self.step].model.clone());
            let plan = Plan {
                steps: self.plan.steps.clone(),
                model: self.plan.model,
            };
            self.replan(Some(plan));
        }
        self.began = None;
        self.again = 0;
        self.confined = None;
        self.last_error = None;
    }

    /// Returns what of a plan is for the only model that may be asked for; `None` if there is nothing.
    fn of_the_model(&self, mut plan: Plan) -> Option<Plan> {
        if let Some(only) = &self.only {
            plan.steps.retain(|step| step.model.is_same(only));
        }
        (!plan.steps.is_empty()).then_some(plan)
    }

    /// Notes when an attempt began; the first one starts the time that all attempts have together.
    pub(crate) fn begins(&mut self, at: Instant) {
        self.began.get_or_insert(at);
    }

    /// Returns until when further attempts may last, once there was one.
    pub(crate) fn within(&self, routing: &Routing) -> Option<TimeLimit> {
        TimeLimit::after(self.began?, WITHIN, Some(routing.retry.within))
    }

    /// Notes that the backend is not asked any more, whichever model is wanted.
    pub(crate) fn exclude(&mut self, backend: BackendId) {
        self.tried.push((backend, None));
    }

    /// Notes that the backend has failed at that step, and is not asked any more: for the step's model if the failure is that
    /// model's alone, else for any.
    pub(super) fn exclude_after(&mut self, step: usize, backend: BackendId, of_model: bool) {
        let model = of_model.then(|| self.plan.steps[step].model.clone());
        self.tried.push((backend, model));
    }

    /// Returns whether the backend is not asked any more for what the step wants.
    pub(crate) fn has_tried(&self, step: &PlanStep, backend: BackendId) -> bool {
        self.excluded(step).any(|tried| tried == backend)
    }

    /// Returns the backends that are not asked any more for what the step wants.
    pub(crate) fn tried(&self, step: &PlanStep) -> Vec<BackendId> {
        self.excluded(step).collect()
    }

    fn excluded(&self, step: &PlanStep) -> impl Iterator<Item = BackendId> {
        let tried = self.tried.iter();
        let excluded = tried.filter(|(_, model)| {
            let mut model = model.iter();
            model.all(|model| model.is_same(&step.model))
        });
        excluded.map(|(backend, _)| *backend)
    }

    /// Notes that the provider is not asked any more.
    pub(crate) fn close(&mut self, provider: ProviderId) {
        self.keys = 0;
        if !self.closed.contains(&provider) {
            self.closed.push(provider);
        }
    }

    /// Notes that the provider has failed at that step. If the failure is that of the step's model alone, and the plan has
    /// another model for the provider, only the one model is not asked for any more; else the provider is not asked at all.
    pub(super) fn leave(&mut self, step: usize, provider: ProviderId, of_model: bool) {
        let model = &self.plan.steps[step].model;
        let mut steps = self.plan.steps.iter();
        let has_other =
            steps.any(|step| !step.model.is_same(model) && self.could_ask(step, provider));
        if of_model && has_other {
            self.keys = 0;
            self.closed_for.push((model.clone(), provider));
        } else {
            self.close(provider);
        }
    }

    /// Notes that the provider is not asked, for that reason: for what that step wants if it can be asked for other models,
    /// else not at all.
    pub(crate) fn pass_over(
        &mut self,
        step: usize,
        provider: &Provider,
        why: &Unavailable,
        now: Instant,
    ) {
        let failure = Failure::unavailable(&provider.name, why, now);
        let error = Some(ClientError::Failure(Box::new(failure)));
        self.reasons
            .add(provider, None, AttemptOutcome::Refused, error);
        let Some(step) = self.plan.steps.get(step) else {
            return self.close(provider.id);
        };
        match provider.guard().unavailable(None, now) {
            Some(_) => self.close(provider.id),
            None => {
                self.keys = 0;
                self.closed_for.push((step.model.clone(), provider.id));
            }
        }
    }

    /// Returns whether the provider is not asked any more for what the step wants.
    fn is_closed(&self, step: &PlanStep, provider: ProviderId) -> bool {
        let for_it =
            |(model, of): &(StepModel, ProviderId)| *of == provider && model.is_same(&step.model);
        self.closed.contains(&provider) || self.closed_for.iter().any(for_it)
    }

    /// Returns whether a model with that context may hold a prompt of about `estimate` tokens that was too long for another: it
    /// is known to hold more, or nothing is known of it.
    pub(crate) fn has_room(&self, estimate: u64, context: impl FnOnce() -> Option<u64>) -> bool {
        let Some(too_few) = self.too_long_for else {
            return true;
        };
        let needed = if too_few == 0 { estimate } else { too_few };
        // One whose size nobody knows may be tried.
        context().is_none_or(|context| context > needed)
    }

    /// Notes that a step was refused since its contexts seem too small for the prompt.
    pub(crate) fn note_overflow(&mut self, refusal: &NoSlot) {
        if let NoSlot::TooLong { largest } = refusal {
            self.overflow = self.overflow.max(Some(*largest));
        }
    }

    /// Returns whether a service's model with that context may take over a prompt that is too long for a fleet: it is known to
    /// hold more than the fleet and than the prompt has for certain, or nothing is known of it.
    pub(crate) fn takes_over(&self, step: usize, context: impl FnOnce() -> Option<u64>) -> bool {
        let Some(largest) = self.overflow else {
            return true;
        };
        let model = self.plan.steps[step].model.listed();
        let least = self.needs.least(model).max(largest);
        context().is_none_or(|context| context > u64::from(least))
    }

    /// Confines the request to this provider or any of the plan's.
    pub(crate) fn confine_to(&mut self, provider: Option<ProviderId>) {
        self.confined = provider;
    }

    /// Returns the only provider that may be asked, if there is one.
    pub(crate) fn confined_to(&self) -> Option<ProviderId> {
        self.confined
    }

    /// Returns whether a step of the plan may be taken on that provider.
    pub(crate) fn may_ask(&self, step: &PlanStep, provider: ProviderId) -> bool {
        (step.providers.is_empty() || step.providers.contains(&provider))
            && !self.is_closed(step, provider)
            && self.confined.is_none_or(|only| only == provider)
    }

    /// Returns whether a step may be taken on that provider once the present one is left.
    pub(crate) fn could_ask(&self, step: &PlanStep, provider: ProviderId) -> bool {
        (step.providers.is_empty() || step.providers.contains(&provider))
            && !self.is_closed(step, provider)
            && self.pinned.is_none()
    }

    /// Notes an error of a server's own. Returns `None` if no server has failed the request with that text before; else the
    /// server that is to be acquitted of it, unless that has been done.
    pub(super) fn is_repeated(
        &mut self,
        backend: BackendId,
        error: &ClientError,
    ) -> Option<Option<BackendId>> {
        let mut hasher = DefaultHasher::new();
        match error {
            ClientError::Answer(answer) => answer.body.hash(&mut hasher),
            ClientError::Failure(failure) => failure.said().hash(&mut hasher),
        }
        let digest = hasher.finish();
        match &mut self.last_error {
            Some((first, last)) if *last == digest => Some(first.take()),
            last => {
                *last = Some((Some(backend), digest));
                None
            }
        }
    }

    /// Returns where a step may be taken besides the backend that is being asked, of `count` providers of which `open` says
    /// which may be; `None`: nowhere.
    pub(crate) fn scope_beside(
        &self,
        step: usize,
        count: usize,
        present: BackendId,
        open: impl Fn(ProviderId) -> bool,
    ) -> Option<Scope> {
        let step = &self.plan.steps[step];
        let asked = ProviderId::first(count).filter(|one| self.could_ask(step, *one) && open(*one));
        let asked: Vec<ProviderId> = asked.collect();
        if asked.is_empty() {
            return None;
        }
        let mut excluded = self.tried(step);
        excluded.push(present);
        Some(Scope {
            providers: Providers::of(&asked),
            excluded,
            ..Scope::default()
        })
    }

    /// Returns where a step may be taken, of `count` providers of which `open` says which may be asked; `None`: nowhere.
    pub(crate) fn scope(
        &self,
        step: usize,
        count: usize,
        open: impl Fn(ProviderId) -> bool,
    ) -> Option<Scope> {
        let step = &self.plan.steps[step];
        let free = self.closed.is_empty() && self.closed_for.is_empty() && self.confined.is_none();
        let providers = match step.providers[..] {
            // The usual case, without a list.
            [] if free && ProviderId::first(count).all(&open) => Providers::All,
            [one] => {
                if !(self.may_ask(step, one) && open(one)) {
                    return None;
                }
                Providers::of(&[one])
            }
            _ => {
                let asked =
                    ProviderId::first(count).filter(|one| self.may_ask(step, *one) && open(*one));
                let asked: Vec<ProviderId> = asked.collect();
                if asked.is_empty() {
                    return None;
                }
                Providers::of(&asked)
            }
        };
        Some(Scope {
            providers,
            excluded: self.tried(step),
            ..Scope::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ModelId;

    /// Makes a plan of one step for each of these lists of providers; none in a list: any provider.
    fn over(steps: &[&[usize]]) -> PlanProgress {
        let step = |(place, providers): (usize, &&[usize])| PlanStep {
            model: StepModel::Listed(ModelId(place as u32)),
            providers: providers.iter().copied().map(ProviderId::at).collect(),
            equal: false,
            reserve: false,
            max_wait: None,
        };
        let plan = Plan {
            steps: steps.iter().enumerate().map(step).collect(),
            model: None,
        };
        PlanProgress::new(plan, 0, None)
    }

    /// Returns the providers of three that a step may be taken on, if `open` may be asked; empty: nowhere.
    fn asked(progress: &PlanProgress, step: usize, open: &[usize]) -> Vec<usize> {
        let may = |provider: ProviderId| open.contains(&provider.position());
        let Some(scope) = progress.scope(step, 3, may) else {
            return Vec::new();
        };
        let all = ProviderId::first(3);
        let held = all.filter(|provider| scope.providers.hold(*provider));
        held.map(ProviderId::position).collect()
    }

    #[test]
    fn a_step_may_be_taken_on_its_open_providers_that_were_not_closed() {
        let mut progress = over(&[&[], &[1], &[0, 2]]);
        let all = [0, 1, 2];
        assert!(matches!(
            progress.scope(0, 3, |_| true).map(|scope| scope.providers),
            Some(Providers::All)
        ));
        assert_eq!(asked(&progress, 0, &[0, 2]), [0, 2]);
        assert_eq!(asked(&progress, 1, &all), [1]);
        assert_eq!(asked(&progress, 1, &[0, 2]), [0; 0]);
        progress.close(ProviderId::at(2));
        assert_eq!(asked(&progress, 0, &all), [0, 1]);
        assert_eq!(asked(&progress, 2, &all), [0]);
        progress.confine_to(Some(ProviderId::at(1)));
        assert_eq!(asked(&progress, 0, &all), [1]);
        assert_eq!(asked(&progress, 2, &all), [0; 0]);
        progress.confine_to(None);
        assert_eq!(asked(&progress, 2, &all), [0]);
    }

    #[test]
    fn a_second_is_asked_beside_the_first_but_not_where_one_backend_is_named() {
        let mut progress = over(&[&[0, 1]]);
        progress.exclude(BackendId(7));
        progress.confine_to(Some(ProviderId::at(0)));
        let beside = progress.scope_beside(0, 3, BackendId(3), |_| true);
        let beside = beside.expect("both providers may be asked");
        assert_eq!(beside.excluded, [BackendId(7), BackendId(3)]);
        assert!(beside.providers.hold(ProviderId::at(1)));
        let nobody = progress.scope_beside(0, 3, BackendId(3), |_| false);
        assert!(nobody.is_none());
        progress.pinned = Some(BackendId(3));
        let pinned = progress.scope_beside(0, 3, BackendId(3), |_| true);
        assert!(pinned.is_none());
    }

    #[test]
    fn an_answer_that_broke_off_goes_on_with_its_own_model_unless_any_will_do() {
        for (by_any, steps, others) in [(true, 3, true), (false, 1, false)] {
            let mut progress = over(&[&[0], &[1], &[2]]);
            progress.step = 1;
            progress.again = 2;
            progress.began = Some(Instant::now());
            progress.exclude(BackendId(7));
            progress.goes_on(by_any);
            assert_eq!((progress.plan.steps.len(), progress.again), (steps, 0));
            assert!(progress.began.is_none());
            let step = &progress.plan.steps[progress.step];
            assert!(step.model.is_same(&StepModel::Listed(ModelId(1))));
            assert_eq!(progress.tried(step), [BackendId(7)]);
            // Nor does another plan bring other models in.
            progress.replan(Some(over(&[&[0]]).plan));
            let models = progress.plan.steps.iter().map(|step| step.model.listed());
            assert_eq!(models.eq([Some(ModelId(0))]), others, "{by_any}");
        }
    }

    #[test]
    fn another_plan_begins_at_its_first_step() {
        let mut progress = over(&[&[0], &[1]]);
        progress.step = 1;
        progress.replan(None);
        assert_eq!((progress.plan.steps.len(), progress.step), (2, 1));
        progress.replan(Some(over(&[&[2]]).plan));
        assert_eq!((progress.plan.steps.len(), progress.step), (1, 0));
    }
}
