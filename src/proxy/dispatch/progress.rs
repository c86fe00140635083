//! What is still open of a request's plan: which step may be taken on which providers, and what was said so far.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::admission::{Providers, Scope, Want, Wanted};
use crate::fleet::{Provider, Unavailable};
use crate::ids::{BackendId, ProviderId};
use crate::metrics::AttemptOutcome;
use crate::proxy::failure::attempt::Word;
use crate::proxy::failure::reasons::Reasons;
use crate::proxy::failure::told::Failure;
use crate::routing::{Plan, Step};

/// A request on its way through its plan.
pub(crate) struct Trip<'a> {
    pub(crate) plan: Plan,
    planner: Planner<'a>,
    /// Higher goes first; 0 is normal.
    pub(crate) priority: i32,
    /// Only this backend will do.
    pub(crate) pinned: Option<BackendId>,
    /// The step that the present slot belongs to.
    pub(crate) step: usize,
    /// Backends that have failed.
    tried: Vec<BackendId>,
    /// Providers that are not asked any more.
    shut: Vec<ProviderId>,
    /// Only this provider may be asked.
    only: Option<ProviderId>,
    /// The prompt is too long for a model with so many tokens of context.
    pub(crate) too_long_for: Option<u64>,
    /// A provider has no counter of tokens, so that an estimate is the answer.
    pub(crate) uncounted: bool,
    /// Further attempts in a row at the present provider.
    pub(crate) again: u32,
    /// A server has found fault with the request itself.
    doubtful: bool,
    /// A server that has failed the request with an error of its own, until it is acquitted, and that error's digest.
    said: Option<(Option<BackendId>, u64)>,
    /// Further keys of the present provider that were tried.
    keys: usize,
    /// What went wrong so far, for the client's eyes.
    pub(crate) reasons: Reasons,
    /// When the first attempt began.
    pub(crate) began: Option<Instant>,
    /// A second candidate has been asked beside the first, which is done once.
    pub(crate) hedged: bool,
}

/// Makes a plan without some providers; `None` if there is none.
pub(crate) type Planner<'a> = &'a (dyn Fn(&[ProviderId]) -> Option<Plan> + Send + Sync);

/// A step that may be taken.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) step: usize,
    pub(crate) scope: Scope,
    /// After how long a wait for those before; `None`: only when they come to nothing.
    pub(crate) after: Option<Duration>,
    /// A healthy backend could take it.
    pub(crate) well: bool,
}

impl<'a> Trip<'a> {
    pub(crate) fn new(
        plan: Plan,
        planner: Planner<'a>,
        priority: i32,
        pinned: Option<BackendId>,
    ) -> Self {
        Self {
            planner,
            plan,
            priority,
            pinned,
            step: 0,
            tried: Vec::new(),
            shut: Vec::new(),
            only: None,
            too_long_for: None,
            uncounted: false,
            again: 0,
            doubtful: false,
            said: None,
            keys: 0,
            reasons: Reasons::default(),
            began: None,
            hedged: false,
        }
    }

    /// What is asked of the scheduler for a step.
    pub(crate) fn want(&self, step: usize) -> Want {
        Want {
            wanted: Wanted::from(&self.plan.steps[step].model),
            priority: self.priority,
            pinned: self.pinned,
        }
    }

    /// Another plan in place of this one, without the providers that are not asked any more, if there is one.
    pub(crate) fn replan(&mut self) {
        if let Some(plan) = (self.planner)(&self.shut) {
            self.plan = plan;
            self.step = 0;
        }
    }

    pub(crate) fn exclude(&mut self, backend: BackendId) {
        self.tried.push(backend);
    }

    pub(crate) fn has_tried(&self, backend: BackendId) -> bool {
        self.tried.contains(&backend)
    }

    pub(crate) fn shut(&mut self, provider: ProviderId) {
        self.keys = 0;
        if !self.shut.contains(&provider) {
            self.shut.push(provider);
        }
    }

    pub(crate) fn kept_to(&self) -> Option<ProviderId> {
        self.only
    }

    /// Notes an error of a server's own. `None` if it is the first of its text; else the server that is to be acquitted
    /// of it, if it has not been.
    pub(crate) fn said_before(
        &mut self,
        backend: BackendId,
        word: &Word,
    ) -> Option<Option<BackendId>> {
        let mut hasher = DefaultHasher::new();
        match word {
            Word::Answer(answer) => answer.body.hash(&mut hasher),
            Word::Failure(failure) => failure.said().hash(&mut hasher),
        }
        let digest = hasher.finish();
        match &mut self.said {
            Some((first, said)) if *said == digest => Some(first.take()),
            said => {
                *said = Some((Some(backend), digest));
                None
            }
        }
    }

    /// A server has found fault with the request itself: one more is asked, whose model may do better.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether that has been done.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubtful
    }

    /// Whether another of its provider's `more` further keys may be tried.
    pub(crate) fn has_key(&self, more: usize) -> bool {
        self.keys < more
    }

    /// Another key of its provider is tried.
    pub(crate) fn take_key(&mut self) {
        self.keys += 1;
    }

    /// The provider is not asked, for that reason.
    pub(crate) fn pass_over(&mut self, provider: &Provider, why: &Unavailable, now: Instant) {
        let failure = Failure::unavailable(&provider.name, why, now);
        let word = Some(Word::Failure(Box::new(failure)));
        self.reasons
            .add(provider, None, AttemptOutcome::Refused, word);
        self.shut(provider.id);
    }

    /// From now on only this provider is asked, or any of the plan's.
    pub(crate) fn keep_to(&mut self, provider: Option<ProviderId>) {
        self.only = provider;
    }

    /// Whether a step of the plan may be taken on that provider.
    pub(crate) fn may_ask(&self, step: &Step, provider: ProviderId) -> bool {
        (step.providers.is_empty() || step.providers.contains(&provider))
            && !self.shut.contains(&provider)
            && self.only.is_none_or(|only| only == provider)
    }

    /// As [`Self::may_ask`], once the present provider is left.
    pub(crate) fn could_ask(&self, step: &Step, provider: ProviderId) -> bool {
        (step.providers.is_empty() || step.providers.contains(&provider))
            && !self.shut.contains(&provider)
            && self.pinned.is_none()
    }

    /// Where a step may be taken besides the backend that is being asked, of `count` providers of which `open` says which
    /// may be; `None`: nowhere.
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
        let mut excluded = self.tried.clone();
        excluded.push(present);
        Some(Scope {
            providers: Providers::of(&asked),
            excluded,
            ..Scope::default()
        })
    }

    /// Where a step may be taken, of `count` providers of which `open` says which may be asked; `None`: nowhere.
    pub(crate) fn scope(
        &self,
        step: usize,
        count: usize,
        open: impl Fn(ProviderId) -> bool,
    ) -> Option<Scope> {
        let step = &self.plan.steps[step];
        let free = self.shut.is_empty() && self.only.is_none();
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
            excluded: self.tried.clone(),
            ..Scope::default()
        })
    }
}
