//! Which model a name stands for, which provider serves it, and what happens after a failed attempt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remuda_formats::preferences::{Fidelity, ReasoningField};

use super::{Adaptive, Breaker, Fallback, HealthCheck, Retry};

/// Where requests go, and what happens after a failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// The order of the providers that have a model (default [`Strategy::CapabilityBased`]).
    pub strategy: Strategy,
    /// Names that go to a provider before the strategy is asked; the first that applies holds.
    pub rules: Vec<Rule>,
    /// Whether the bundled rules (`gpt-4*` to openai, …) follow those (default true).
    pub bundled_rules: bool,
    /// What is different about a model, by the name that clients use.
    pub models: BTreeMap<Arc<str>, ModelRouting>,
    /// Serves names that mean nothing else. `None`: they are 404.
    pub default_model: Option<Arc<str>>,
    /// A file of patterns: which models there are for clients.
    pub models_filter: Option<PathBuf>,
    /// Further attempts at a provider's other backends after the first (default 2).
    pub max_retries: u32,
    pub fallback: Fallback,
    /// How long a request waits for a slot of a provider before the next of the plan is asked too (default 500 ms).
    pub slot_wait: Duration,
    pub retry: Retry,
    pub breaker: Breaker,
    pub adaptive: Adaptive,
    pub health_check: HealthCheck,
    pub fidelity: Fidelity,
    /// Names that clients may use and what each stands for: `provider/model`, or a bare name; of several, whichever
    /// can start soonest. Never an empty list.
    pub aliases: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Whether the aliases of the bundled model facts (`claude-sonnet`, `gemini`, …) hold where the operator has
    /// none of that name (default true).
    pub bundled_aliases: bool,
    /// Facts about models that go before the bundled ones.
    pub models_file: Option<PathBuf>,
    /// Under which name clients of OpenAI's chat API get reasoning text.
    pub reasoning_field: ReasoningField,
    /// What becomes of prompts that fit no context. `None`: [`Truncate::AsClient`] for clients of Ollama's API, and
    /// [`Truncate::Never`] for those of the others.
    pub truncate: Option<Truncate>,
    /// Who goes on with a streamed answer that broke off (default [`Resume::SameModel`]).
    pub resume: Resume,
}

/// Who goes on with a streamed answer that broke off after its first content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Another server or provider of the same model.
    SameModel,
    /// Nobody: the answer ends as broken.
    Off,
    /// Whoever is next in the plan, with another model too.
    Any,
}

/// What becomes of a prompt that is longer than the context of every server that could serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// It is refused.
    Never,
    /// The server shortens it, unless the client forbids that.
    AsClient,
}

/// How the providers that have a model are ordered for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Those whose model can do what the request needs, as equals (default).
    CapabilityBased,
    /// In turns.
    RoundRobin,
    /// At random, by the providers' weights.
    Weighted,
    /// By priority, then as in the file.
    Failover,
    /// The least used share of slots first.
    LeastLoaded,
    /// The shortest response time (peak EWMA × requests in flight) first.
    FastestResponse,
    /// The lowest price first.
    CostOptimized,
    /// None but the provider that the client or a rule names.
    Manual,
}

impl Strategy {
    /// Every strategy, as the configuration names it.
    pub const NAMES: &'static [(&'static str, Strategy)] = &[
        ("capability_based", Strategy::CapabilityBased),
        ("round_robin", Strategy::RoundRobin),
        ("weighted", Strategy::Weighted),
        ("failover", Strategy::Failover),
        ("least_loaded", Strategy::LeastLoaded),
        ("fastest_response", Strategy::FastestResponse),
        ("cost_optimized", Strategy::CostOptimized),
        ("manual", Strategy::Manual),
    ];

    /// Returns the name that the configuration has for it.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, strategy)| *strategy == self)
            .map_or("", |(name, _)| name)
    }
}

/// One entry of `rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matching: Matching,
    /// A provider's name, or a kind for all providers of that kind. A rule whose provider is not there does not apply.
    pub provider: Arc<str>,
    /// What the provider is asked for; `$0` is the client's name, `$1` an expression's first group. `None`: that name.
    pub model: Option<Arc<str>>,
}

/// Which names a rule is about: the whole name, in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matching {
    /// With `*` and `?`.
    Glob(Arc<str>),
    /// A regular expression.
    Regex(Arc<str>),
}

/// One entry of `models`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelRouting {
    /// Goes before that of all models.
    pub strategy: Option<Strategy>,
    /// The same model elsewhere, each as `provider/model` or another name that clients may use.
    pub overflow: Vec<Arc<str>>,
    /// How long a request waits for the model itself before its overflow is used. `None`: until its own backends are
    /// down.
    pub max_wait: Option<Duration>,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing {
            strategy: Strategy::CapabilityBased,
            rules: Vec::new(),
            bundled_rules: true,
            models: BTreeMap::new(),
            default_model: None,
            models_filter: None,
            max_retries: 2,
            fallback: Fallback::default(),
            slot_wait: Duration::from_millis(500),
            retry: Retry::default(),
            breaker: Breaker::default(),
            adaptive: Adaptive::default(),
            health_check: HealthCheck::default(),
            fidelity: Fidelity::Lenient,
            aliases: BTreeMap::new(),
            bundled_aliases: true,
            models_file: None,
            reasoning_field: ReasoningField::Both,
            truncate: None,
            resume: Resume::SameModel,
        }
    }
}
