//! Makes plans: finds who is meant by a name, leaves out who cannot or may not, and orders the rest.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{NoPlan, PlanRequest};
use super::candidate::Candidate;
use super::changes::Changes;
use super::filter::Filter;
use super::lookup::Resolver;
use super::memory::Memory;
use super::order::{Order, Turns};
use super::plan::{Plan, PlanStep, StepModel};
use super::resolve::{By, Resolution};
use super::rule::Rule;
use super::rules;
use super::steps::Steps;
use super::tiers::Tiers;
use super::trace::Trace;
use super::view::View;
use crate::settings::{Settings, Strategy};
use remuda_formats::facts::Facts;

/// Why there is no router for a configuration.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error("routing.models_filter {}: {cause}", path.display())]
    Filter { path: PathBuf, cause: String },
    #[error("routing.rules: {0}")]
    Rule(#[from] regex::Error),
}

/// The planner.
pub struct Router {
    pub(super) settings: Arc<Settings>,
    facts: Arc<Facts>,
    pub(super) view: Arc<dyn View>,
    rules: Vec<Rule>,
    filter: Filter,
    changes: Arc<Changes>,
    memory: Memory,
    turns: Turns,
    /// One Ollama fleet and nothing to decide: a name that is listed is looked up as it is.
    plain: bool,
}

impl Router {
    /// Makes a planner. `changes` is told of the fleet's events.
    ///
    /// # Errors
    /// If the filter's file cannot be read, or a rule's expression makes no sense.
    pub fn new(
        settings: Arc<Settings>,
        facts: Arc<Facts>,
        view: Arc<dyn View>,
        changes: Arc<Changes>,
    ) -> Result<Router, RouterError> {
        let routing = &settings.routing;
        let filter = match &routing.models_filter {
            None => Filter::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| RouterError::Filter {
                    path: path.clone(),
                    cause: error.to_string(),
                })?;
                Filter::new(&text)
            }
        };
        let rules = rules::of(routing)?;
        let plain = matches!(&*settings.providers, [one] if one.kind.is_fleet() && one.model_map.is_empty())
            && routing.aliases.is_empty()
            && routing.rules.is_empty()
            && routing.models.is_empty()
            && filter.is_empty();
        Ok(Router {
            rules,
            filter,
            plain,
            memory: Memory::default(),
            turns: Turns::new(),
            settings,
            facts,
            view,
            changes,
        })
    }

    /// Returns the plan of a request.
    ///
    /// # Errors
    /// Why it can go nowhere.
    pub fn plan(&self, ask: &PlanRequest<'_>, now: Instant) -> Result<Plan, NoPlan> {
        if self.plain
            && ask.is_plain()
            && self.plainly_permitted(ask)
            && let Some(model) = self.view.lookup(ask.model)
        {
            return Ok(Plan {
                steps: vec![PlanStep {
                    model: StepModel::Listed(model),
                    providers: Vec::new(),
                    equal: false,
                    reserve: false,
                    max_wait: None,
                }],
                model: Some(model),
            });
        }
        self.made(ask, now, &mut Trace::default())
    }

    /// Returns whether the key may use the only provider, and the model as it is written. Where it may not, the model's
    /// other names are looked at.
    fn plainly_permitted(&self, ask: &PlanRequest<'_>) -> bool {
        ask.permission.is_none_or(|key| {
            key.may_ask(&self.settings.providers[0].name) && key.may_use(&[ask.model])
        })
    }

    /// Returns the filter of the models that clients are told of.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Returns whether a model's name is that of an approach of OptiLLM's before a model, as `bon&proxy-gpt-4`.
    pub fn names_approach(&self, name: &str) -> bool {
        self.resolver().names_approach(name)
    }

    /// Returns a name and those that it stands for, without a provider's name before them, however each provider
    /// resolves them.
    pub fn spellings(&self, name: &str) -> Vec<String> {
        self.resolver().spellings(name)
    }

    pub(super) fn chosen(&self, ask: &PlanRequest<'_>, found: Option<&Resolution>) -> Strategy {
        let of_model = found.and_then(|found| found.settings.as_ref()?.strategy);
        ask.strategy
            .or(of_model)
            .unwrap_or(self.settings.routing.strategy)
    }

    /// Makes a plan of what the name means.
    pub(super) fn made(
        &self,
        ask: &PlanRequest<'_>,
        now: Instant,
        trace: &mut Trace,
    ) -> Result<Plan, NoPlan> {
        let found = self.resolution(ask, trace)?;
        let strategy = self.chosen(ask, Some(&found));
        let providers = &self.settings.providers;
        let mut tiers = Tiers::of(&found, providers, strategy, ask, trace)?;
        if tiers.is_empty() {
            return Err(NoPlan::Unknown);
        }
        // A name that means nothing gives no right to what stands in for it.
        let default = self.settings.routing.default_model.as_deref();
        let called = default.filter(|_| found.by_default).unwrap_or(ask.model);
        tiers.permit(ask, called, trace)?;
        tiers.keep_able(ask, trace);
        let order = self.order(ask, &tiers, strategy, now);
        // Turns, draws and measures are among those of one rank: a reserve has no part in those of the others.
        let is_reserve = |one: &Candidate| {
            found.by != By::Prefix && self.settings.providers[one.provider].fallback_only
        };
        let rank =
            |reserve: bool, available: bool| {
                order.groups(tiers.those(|one| {
                    is_reserve(one) == reserve && order.is_available(one) == available
                }))
            };
        let mut steps = Steps::default();
        steps.add(&rank(false, true), false, None);
        steps.add(&rank(true, true), true, None);
        for (overflow, max_wait) in &self.overflow(&found, trace) {
            let mut tiers = Tiers::of_overflow(overflow, providers);
            if tiers.permit(ask, called, trace).is_ok() {
                let order = self.order(ask, &tiers, strategy, now);
                steps.add(&order.groups(tiers.those(|_| true)), true, *max_wait);
            }
        }
        steps.add(&rank(false, false), true, None);
        steps.add(&rank(true, false), true, None);
        // Whoever gets the model while the request waits is meant too, unless there are some that may not serve it.
        let open = ask.permission.is_none() && self.filter.is_empty();
        let whole = found.whole.filter(|_| open);
        let whole = whole.map(|model| (model, found.tiers[0].len()));
        steps.plan(whole).ok_or(NoPlan::Unknown)
    }

    fn order<'f>(
        &self,
        ask: &PlanRequest<'_>,
        tiers: &Tiers<'f>,
        strategy: Strategy,
        now: Instant,
    ) -> Order<'f> {
        Order::of(tiers, strategy, ask, &*self.view, &self.turns, now)
    }

    /// Returns what the name means, which is remembered unless it is to be explained.
    pub(super) fn resolution(
        &self,
        ask: &PlanRequest<'_>,
        trace: &mut Trace,
    ) -> Result<Arc<Resolution>, NoPlan> {
        let changes = self.changes.count();
        let header = ask.provider.unwrap_or_default();
        let remembers = ask.approach.is_none() && !trace.is_on();
        if remembers && let Some(found) = self.memory.get(changes, header, ask.model) {
            return Ok(found);
        }
        let resolver = self.resolver();
        let preferred = ask.provider.map(|name| resolver.called(name));
        if preferred.as_ref().is_some_and(Vec::is_empty) {
            let providers = self.settings.providers.iter();
            let may = |name: &Arc<str>| ask.permission.is_none_or(|key| key.may_ask(name));
            let names = providers.map(|one| Arc::clone(&one.name)).filter(may);
            return Err(NoPlan::NoSuchProvider {
                names: names.collect(),
            });
        }
        let preferred = preferred.as_deref();
        let found = match ask.approach {
            Some(approach) => {
                resolver.approached(ask.model, ask.model, approach, preferred, trace)?
            }
            None => resolver.resolve(ask.model, preferred, trace)?,
        };
        let found = Arc::new(found);
        if remembers {
            self.memory.keep(changes, header, ask.model, &found);
        }
        Ok(found)
    }

    pub(super) fn resolver(&self) -> Resolver<'_> {
        Resolver {
            settings: &self.settings,
            view: &*self.view,
            facts: &self.facts,
            rules: &self.rules,
            filter: &self.filter,
        }
    }

    /// Returns who has the same model elsewhere, and how long to wait for it here.
    fn overflow(
        &self,
        found: &Resolution,
        trace: &mut Trace,
    ) -> Vec<(Arc<Resolution>, Option<Duration>)> {
        let Some(settings) = &found.settings else {
            return Vec::new();
        };
        let mut found_there = Vec::new();
        for name in &settings.overflow {
            let there = PlanRequest {
                model: name,
                ..PlanRequest::default()
            };
            match self.resolution(&there, &mut Trace::default()) {
                Ok(resolution) => {
                    trace.decided(|| format!("overflow: {name}"));
                    found_there.push((resolution, settings.max_wait));
                }
                Err(_) => trace.decided(|| format!("overflow: nobody has {name}")),
            }
        }
        found_there
    }
}
