//! Which model a name stands for, and what happens after a failed attempt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Adaptive, Breaker, Fallback, HealthCheck, Retry};

/// What happens after a failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
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
    /// Names that clients may use and what each stands for: `provider/model`, or a bare name.
    pub aliases: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether the aliases of the bundled model facts (`claude-sonnet`, `gemini`, …) hold where the operator has
    /// none of that name (default true).
    pub bundled_aliases: bool,
    /// Facts about models that go before the bundled ones.
    pub models_file: Option<PathBuf>,
    /// Under which name clients of OpenAI's chat API get reasoning text.
    pub reasoning_field: ReasoningField,
}

/// What happens to what a provider cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// It is left out and named in `X-Remuda-Dropped` (default).
    Lenient,
    /// The request is refused with 400.
    Strict,
}

/// The field that holds reasoning text; servers and clients differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningField {
    /// Both (default).
    Both,
    Reasoning,
    ReasoningContent,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing {
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
        }
    }
}
