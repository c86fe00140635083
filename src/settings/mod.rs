//! The configuration as used: checked values with their defaults filled in, shared by all floors.
//!
//! `config/` reads what people write and makes these.

mod access;
mod adaptive;
mod breaker;
mod copies;
mod hosts;
mod monitoring;
mod origin;
mod provider;
mod queue;
mod retry;
mod routing;
mod server;
mod timeouts;
mod usage;

pub use self::access::{Access, Budget, ClientKey, KeyDigest, Limits, Network, Period, Shared};
pub use self::adaptive::{Adaptive, HealthCheck};
pub use self::breaker::Breaker;
pub use self::copies::{Copies, DigestRule, Elsewhere, Parallel, PlaceRule, RunnerOptions};
pub use self::hosts::{HostName, HostRule};
pub use self::monitoring::{LogFormat, Monitoring};
pub use self::origin::Origin;
pub use self::provider::{
    Aws, Azure, Placement, Pool, PortRange, Provider, Secret, SelectorKind, StaticBackend,
};
pub use self::queue::{Queue, WhenUnhealthy};
pub use self::retry::{Fallback, Retry};
pub use self::routing::{Matching, ModelRouting, Resume, Routing, Rule, Strategy, Truncate};
pub use self::server::{Forwarded, HealthStatus, ModelNames, PublicPage, RequestRate, Server};
pub use self::timeouts::{ProviderTimeouts, Timeouts};
pub use self::usage::Usage;
pub use remuda_formats::preferences::{Fidelity, ReasoningField};
pub use remuda_formats::provider::{ChatApi, ProviderKind, SamplingFields};

/// Everything that one running gateway needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub server: Server,
    pub access: Access,
    pub providers: Vec<Provider>,
    pub routing: Routing,
    pub timeouts: Timeouts,
    pub queue: Queue,
    pub monitoring: Monitoring,
    pub usage: Usage,
}
