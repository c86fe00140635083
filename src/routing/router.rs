//! Makes plans: finds who is meant by a name, leaves out who cannot or may not, and orders the rest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ask::{NoPlan, Permission, PlanRequest};
use super::candidate::Candidate;
use super::changes::Changes;
use super::explain::{ExplainedStep, Explanation, Trace, Verdict};
use super::filter::Filter;
use super::lookup::Resolver;
use super::memory::Memory;
use super::plan::{Plan, PlanStep, StepModel};
use super::resolve::{By, Resolution};
use super::rule::Rule;
use super::rules;
use super::steps::Steps;
use super::strategy::{self, Groups, Situation};
use super::view::View;
use crate::ids::{ModelId, ProviderId};
use crate::settings::{Provider, Settings, Strategy};
use remuda_formats::facts::Facts;

/// Counters for turns; models share one if their numbers meet.
const COUNTERS: usize = 64;

/// Why there is no router for a configuration.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error("routing.models_filter {}: {cause}", path.display())]
    Filter { path: PathBuf, cause: String },
    #[error("routing.rules: {0}")]
    Rule(#[from] regex::Error),
}

/// A service that serves a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Position in the configuration.
    pub provider: ProviderId,
    /// Its own name for the model.
    pub own: Arc<str>,
}

/// Who would serve a name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// Position in the configuration.
    pub provider: ProviderId,
    /// The model, if it is a listed one.
    pub model: Option<ModelId>,
    /// What a service calls it.
    pub own: Option<Arc<str>>,
}

/// What candidates are ordered by, for one request.
struct Order<'a> {
    strategy: Strategy,
    /// Positions of providers that take no requests now.
    unavailable: Vec<ProviderId>,
    providers: &'a [Provider],
    standings: Vec<super::ProviderStanding>,
    turn: u64,
    tokens: u64,
}

impl Order<'_> {
    fn is_available(&self, one: &Candidate) -> bool {
        !self.unavailable.contains(&one.provider)
    }

    /// Candidates of one rank, those first that are meant first.
    fn of<'f>(&self, tiers: impl Iterator<Item = Vec<&'f Candidate>>) -> Groups<'f> {
        let situation = Situation {
            providers: self.providers,
            standings: &self.standings,
            turn: self.turn,
            tokens: self.tokens,
        };
        tiers
            .filter(|tier| !tier.is_empty())
            .flat_map(|tier| {
                if self.standings.is_empty() && strategy::looks(self.strategy) {
                    vec![tier]
                } else {
                    strategy::arrange(self.strategy, tier, &situation)
                }
            })
            .collect()
    }
}

/// The planner.
pub struct Router {
    settings: Arc<Settings>,
    facts: Arc<Facts>,
    view: Arc<dyn View>,
    rules: Vec<Rule>,
    filter: Filter,
    changes: Arc<Changes>,
    memory: Memory,
    turns: Vec<AtomicU64>,
    /// One Ollama fleet and nothing to decide: a name that is listed is looked up as it is.
    plain: bool,
}

impl Router {
    /// `changes` is told of the fleet's events.
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
        // Not all gateways are to begin with the same provider.
        let turn = |_| AtomicU64::new(rand::random());
        Ok(Router {
            rules,
            filter,
            plain,
            memory: Memory::default(),
            turns: (0..COUNTERS).map(turn).collect(),
            settings,
            facts,
            view,
            changes,
        })
    }

    /// Where the request may go.
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

    /// Whether the key may use the only provider, and the model as it is written. Its other names are looked at where that
    /// is not so.
    fn plainly_permitted(&self, ask: &PlanRequest<'_>) -> bool {
        ask.permission.is_none_or(|key| {
            key.may_ask(&self.settings.providers[0].name) && key.may_use(&[ask.model])
        })
    }

    /// Which models clients are told of.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether a model's name is that of an approach of OptiLLM's before a model, as `bon&proxy-gpt-4`.
    pub fn names_approach(&self, name: &str) -> bool {
        self.resolver().names_approach(name)
    }

    /// The service that serves a plan's first step; `None` if Ollama servers do.
    pub fn service(&self, plan: &Plan) -> Option<Service> {
        let step = plan.steps.first()?;
        let is_fleet = |provider: ProviderId| self.settings.providers[provider].kind.is_fleet();
        if step.providers.iter().any(|provider| is_fleet(*provider)) {
            return None;
        }
        let Some(id) = step.model.listed() else {
            return Some(Service {
                provider: *step.providers.first()?,
                own: Arc::clone(step.model.own()?),
            });
        };
        let having = self.view.having(id);
        if step.providers.is_empty() && having.iter().any(|one| is_fleet(one.provider)) {
            return None;
        }
        let meant = |provider: ProviderId| match step.providers.first() {
            Some(first) => *first == provider,
            None => true,
        };
        let found = having.into_iter().find(|one| meant(one.provider))?;
        Some(Service {
            provider: found.provider,
            own: found.own?,
        })
    }

    /// Who would serve a name first, for lists; `None` if nobody does, or another model that stands in for it.
    pub fn front(&self, name: &str, permission: Option<&dyn Permission>) -> Option<Front> {
        let ask = PlanRequest {
            permission,
            looks_only: true,
            ..PlanRequest::of(name)
        };
        let found = self.resolution(&ask, &mut Trace::default()).ok()?;
        if found.by_default {
            return None;
        }
        let plan = self
            .made(&ask, Instant::now(), &mut Trace::default())
            .ok()?;
        let model = plan.steps.first()?.model.listed();
        let having = || model.and_then(|model| self.view.having(model).into_iter().next());
        let provider = match plan.steps.first()?.providers.first() {
            Some(first) => *first,
            None => having()?.provider,
        };
        Some(Front {
            provider,
            model,
            own: self.service(&plan).map(|service| service.own),
        })
    }

    /// A name and what it stands for, without a provider's name before it, however each provider resolves it.
    pub fn spellings(&self, name: &str) -> Vec<String> {
        self.resolver().spellings(name)
    }

    /// Whether a name that this provider lists may be asked for: not if the operator's words give it another meaning that
    /// comes to nothing.
    pub fn leads_somewhere(
        &self,
        name: &str,
        provider: &str,
        permission: Option<&dyn Permission>,
    ) -> bool {
        if !self.resolver().means_another(name, provider) {
            return true;
        }
        let ask = PlanRequest {
            permission,
            looks_only: true,
            ..PlanRequest::of(name)
        };
        match self.made(&ask, Instant::now(), &mut Trace::default()) {
            // Another provider's name stands before it, who does not list it.
            Ok(plan) => plan.model.is_some(),
            Err(why) => matches!(why, NoPlan::Ambiguous { .. }),
        }
    }

    /// The plan with its reasons. `expected` tells how long a request that comes now would wait for a slot of a step, if
    /// there is a saying.
    pub fn explain(
        &self,
        ask: &PlanRequest<'_>,
        now: Instant,
        expected: impl Fn(&PlanStep) -> Option<Duration>,
    ) -> Explanation {
        let mut trace = Trace::on();
        let ask = &PlanRequest {
            looks_only: true,
            ..*ask
        };
        let plan = self.made(ask, now, &mut trace);
        let strategy = self.strategy_of(ask);
        let (decided_by, out) = trace.taken();
        let steps = plan.as_ref().map_or(&[][..], |plan| &plan.steps);
        let model = plan.as_ref().ok().and_then(|plan| plan.model);
        let standings = self.view.standings(model, now);
        let all = self.view.standings(None, now);
        let having = model.map_or_else(Vec::new, |model| self.view.having(model));
        let serves = |step: &PlanStep, provider: ProviderId| {
            if step.providers.is_empty() {
                having.iter().any(|one| one.provider == provider)
            } else {
                step.providers.contains(&provider)
            }
        };
        let providers = self.settings.providers.iter().enumerate();
        let verdicts = providers.map(|(position, provider)| {
            let id = ProviderId::at(position);
            let step = steps.iter().position(|step| serves(step, id));
            let standing = match step {
                Some(_) if having.iter().any(|one| one.provider == id) => standings[id],
                _ => all[id],
            };
            let available = self.view.available(id, now);
            let said = out.iter().filter(|(about, _)| *about == id);
            let mut why: Vec<String> = said.map(|(_, why)| why.clone()).collect();
            if step.is_none() && why.is_empty() {
                why.push("it does not have the model".to_owned());
            }
            if self.view.is_settling(id) {
                why.push("it has not answered its first probe".to_owned());
            } else if !standing.healthy {
                why.push("no healthy backend".to_owned());
            }
            if !available {
                why.push("it is out for a while: its breaker is open, or it cools down".to_owned());
            }
            Verdict {
                provider: provider.name.to_string(),
                kind: provider.kind.name(),
                step: step.map(|step| step + 1),
                healthy: standing.healthy,
                available,
                in_flight: standing.in_flight,
                slots: standing.slots,
                facts: Vec::new(),
                why,
            }
        });
        Explanation {
            model: ask.model.to_owned(),
            providers: verdicts.collect(),
            steps: self.explained(steps, expected, serves),
            error: plan.as_ref().err().map(NoPlan::to_string),
            similar: Vec::new(),
            decided_by,
            strategy: strategy.name(),
        }
    }

    fn explained(
        &self,
        steps: &[PlanStep],
        expected: impl Fn(&PlanStep) -> Option<Duration>,
        serves: impl Fn(&PlanStep, ProviderId) -> bool,
    ) -> Vec<ExplainedStep> {
        // Of the steps before, those that a slot can be waited for.
        let mut before: Option<Duration> = None;
        let explained = steps.iter().map(|step| {
            let wait = expected(step);
            let due = step.is_due(before);
            if !due {
                before = before.into_iter().chain(wait).min();
            }
            let seconds = |wait: Duration| wait.as_secs_f64();
            ExplainedStep {
                reserve: step.reserve,
                max_wait_seconds: step.max_wait.map(seconds),
                expected_wait_seconds: wait.map(seconds),
                due,
                ..self.named(step, &serves)
            }
        });
        explained.collect()
    }

    /// Who serves a step, and by which name.
    fn named(
        &self,
        step: &PlanStep,
        serves: &dyn Fn(&PlanStep, ProviderId) -> bool,
    ) -> ExplainedStep {
        let name = |index: ProviderId| self.settings.providers[index].name.to_string();
        let providers = if step.providers.is_empty() {
            ProviderId::first(self.settings.providers.len())
                .filter(|index| serves(step, *index))
                .map(name)
                .collect()
        } else {
            step.providers.iter().map(|index| name(*index)).collect()
        };
        let having = |id: ModelId| self.view.having(id).into_iter();
        let model = match &step.model {
            StepModel::Named(own) | StepModel::ListedAs(_, own) => own.to_string(),
            StepModel::Listed(id) => having(*id)
                .filter(|one| step.providers.is_empty() || step.providers.contains(&one.provider))
                .find_map(|one| one.own)
                .map_or_else(String::new, |own| own.to_string()),
        };
        ExplainedStep {
            model,
            providers,
            ..ExplainedStep::default()
        }
    }

    fn strategy_of(&self, ask: &PlanRequest<'_>) -> Strategy {
        let found = self.resolution(ask, &mut Trace::default());
        self.chosen(ask, found.ok().as_deref())
    }

    fn chosen(&self, ask: &PlanRequest<'_>, found: Option<&Resolution>) -> Strategy {
        let of_model = found.and_then(|found| found.settings.as_ref()?.strategy);
        ask.strategy
            .or(of_model)
            .unwrap_or(self.settings.routing.strategy)
    }

    fn made(&self, ask: &PlanRequest<'_>, now: Instant, trace: &mut Trace) -> Result<Plan, NoPlan> {
        let found = self.resolution(ask, trace)?;
        let strategy = self.chosen(ask, Some(&found));
        let mut tiers = self.tiers(ask, &found, strategy, trace)?;
        if tiers.iter().all(Vec::is_empty) {
            return Err(NoPlan::Unknown);
        }
        // A name that means nothing gives no right to what stands in for it.
        let default = self.settings.routing.default_model.as_deref();
        let called = match default.filter(|_| found.by_default) {
            Some(default) => default,
            None => ask.model,
        };
        self.permitted(ask, called, &mut tiers, trace)?;
        self.able(ask, &mut tiers, trace);
        let order = self.order(ask, &tiers, strategy, now);
        // Turns, draws and measures are among those of one rank: a reserve has no part in those of the others.
        let is_reserve = |one: &Candidate| {
            found.by != By::Prefix && self.settings.providers[one.provider].fallback_only
        };
        let rank = |reserve: bool, available: bool| {
            let tiers = tiers.iter().map(|tier| {
                let mine = tier.iter().copied();
                mine.filter(|one| {
                    is_reserve(one) == reserve && order.is_available(one) == available
                })
                .collect()
            });
            order.of(tiers)
        };
        let mut steps = Steps::default();
        steps.add(&rank(false, true), false, None);
        steps.add(&rank(true, true), true, None);
        let overflows = self.overflow(&found, trace);
        for (overflow, max_wait) in &overflows {
            let mut tiers = [overflow.tiers[0].iter().collect(), Vec::new()];
            if self.permitted(ask, called, &mut tiers, trace).is_ok() {
                let order = self.order(ask, &tiers, strategy, now);
                steps.add(&order.of(tiers.into_iter()), true, *max_wait);
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

    /// What the name means; remembered unless it is to be explained.
    fn resolution(
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

    /// Who takes part under the strategy, those that are meant first.
    fn tiers<'f>(
        &self,
        ask: &PlanRequest<'_>,
        found: &'f Resolution,
        strategy: Strategy,
        trace: &mut Trace,
    ) -> Result<[Vec<&'f Candidate>; 2], NoPlan> {
        let [first, others] = &found.tiers;
        let mut first: Vec<_> = first.iter().collect();
        let mut others: Vec<_> = others.iter().collect();
        if found.by == By::BundledRule && strategy::spreads(strategy) {
            trace.decided(|| format!("the strategy {}, among all that list it", strategy.name()));
            first.append(&mut others);
            first.sort_by_key(|one| one.provider);
        }
        let listed = matches!(found.by, By::BundledRule | By::List);
        if listed && strategy::asks_the_silent(strategy) {
            let known: Vec<_> = first.iter().map(|one| one.provider).collect();
            let silent = found.silent.iter();
            first.extend(silent.filter(|one| !known.contains(&one.provider)));
            first.sort_by_key(|one| one.provider);
        }
        if strategy == Strategy::Manual {
            let may = |one: &&Candidate| {
                let name = &self.settings.providers[one.provider].name;
                ask.permission.is_none_or(|key| key.may_ask(name))
            };
            if found.by == By::List && first.iter().filter(|one| may(one)).count() > 1 {
                let name = |one: &&Candidate| self.settings.providers[one.provider].name.clone();
                return Err(NoPlan::Ambiguous {
                    names: first.iter().filter(|one| may(one)).map(name).collect(),
                });
            }
            for one in others.drain(..) {
                trace.out(one.provider, || {
                    "the strategy is manual, and another is named".to_owned()
                });
            }
        }
        Ok([first, others])
    }

    /// Leaves out what the client's key may not use, whose model is `called` that, and what has failed already.
    fn permitted(
        &self,
        ask: &PlanRequest<'_>,
        called: &str,
        tiers: &mut [Vec<&Candidate>; 2],
        trace: &mut Trace,
    ) -> Result<(), NoPlan> {
        if ask.permission.is_none() && ask.without.is_empty() {
            return Ok(());
        }
        let may = |one: &&Candidate| {
            let Some(key) = ask.permission else {
                return true;
            };
            let provider = &self.settings.providers[one.provider].name;
            let full = one.names.iter().map(|own| format!("{provider}/{own}"));
            let full: Vec<String> = full.collect();
            let names = one.names.iter().chain(&full).map(String::as_str);
            let names: Vec<&str> = names.chain([called]).collect();
            key.may_ask(provider) && key.may_use(&names)
        };
        let mut forbidden = true;
        for tier in tiers.iter_mut() {
            tier.retain(|one| {
                let may = may(one);
                forbidden &= !may;
                let failed = ask.without.contains(&one.provider);
                if !may {
                    trace.out(one.provider, || "the key may not use it".to_owned());
                }
                if failed {
                    trace.out(one.provider, || "it has failed this request".to_owned());
                }
                may && !failed
            });
        }
        if !tiers.iter().all(Vec::is_empty) {
            Ok(())
        } else if forbidden {
            Err(NoPlan::Forbidden)
        } else {
            Err(NoPlan::Exhausted)
        }
    }

    /// Leaves out those whose model cannot do what is needed, unless none can.
    fn able(&self, ask: &PlanRequest<'_>, tiers: &mut [Vec<&Candidate>; 2], trace: &mut Trace) {
        if tiers.iter().map(Vec::len).sum::<usize>() < 2 {
            return;
        }
        let lacks = |one: &Candidate| one.lacks(&ask.needs, &self.settings.providers[one.provider]);
        let mut all = tiers.iter().flatten();
        if all.all(|one| lacks(one).is_some()) {
            return;
        }
        for tier in tiers {
            tier.retain(|one| match lacks(one) {
                None => true,
                Some(why) => {
                    trace.out(one.provider, || why.to_owned());
                    false
                }
            });
        }
    }

    /// Returns what candidates are ordered by now.
    fn order(
        &self,
        ask: &PlanRequest<'_>,
        tiers: &[Vec<&Candidate>; 2],
        strategy: Strategy,
        now: Instant,
    ) -> Order<'_> {
        let several = tiers.iter().map(Vec::len).sum::<usize>() > 1;
        let looks = several && strategy::looks(strategy);
        let id = tiers.iter().flatten().find_map(|one| one.model.listed());
        let standings = if looks {
            self.standings(tiers, id, now)
        } else {
            Vec::new()
        };
        let turn = if looks {
            let counter = &self.turns[id.map_or(0, |id| id.0 as usize) % COUNTERS];
            // Who only looks takes nobody's turn.
            counter.fetch_add(u64::from(!ask.looks_only), Ordering::Relaxed)
        } else {
            0
        };
        let providers = tiers.iter().flatten().map(|one| one.provider);
        let unavailable = providers.filter(|index| !self.view.available(*index, now));
        Order {
            strategy,
            unavailable: unavailable.collect(),
            providers: &self.settings.providers,
            standings,
            turn,
            tokens: ask.needs.tokens,
        }
    }

    /// By provider, each over its backends that have the model for which it would be asked; of one that does not list it,
    /// over all.
    fn standings(
        &self,
        tiers: &[Vec<&Candidate>; 2],
        id: Option<ModelId>,
        now: Instant,
    ) -> Vec<super::ProviderStanding> {
        let mut standings = self.view.standings(id, now);
        let mut seen = vec![id];
        for model in tiers.iter().flatten().map(|one| one.model.listed()) {
            if seen.contains(&model) {
                continue;
            }
            seen.push(model);
            let there = self.view.standings(model, now);
            for one in tiers.iter().flatten() {
                // A provider with several of the models is as well as the best of them.
                let index = one.provider;
                if one.model.listed() == model && !standings[index].healthy {
                    standings[index] = there[index];
                }
            }
        }
        standings
    }

    /// The same model elsewhere, and how long to wait for it here.
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
