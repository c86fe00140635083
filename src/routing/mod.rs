//! Which providers may serve a request, and in which order: what a name means, the operator's rules, and the strategy.
//!
//! [`Router::plan`] is the one entrance. It looks at values alone: the fleet through [`View`], facts, settings, the time.

mod aliases;
mod approach;
mod ask;
mod at_provider;
mod bundled;
mod candidate;
mod changes;
mod explain;
mod filter;
mod front;
mod lookup;
mod memory;
mod order;
mod pattern;
mod plan;
mod resolve;
mod router;
mod rule;
mod rules;
mod steps;
mod strategy;
mod tiers;
mod trace;
mod unresolved;
mod view;

pub use approach::PrefixedName;
pub use ask::{BYTES_PER_TOKEN, Needs, NoPlan, Permission, PlanRequest};
pub use changes::Changes;
pub use explain::{ExplainedStep, Explanation, Verdict};
pub use filter::Filter;
pub use front::{Front, Service};
pub(crate) use lookup::names;
pub use plan::{Plan, PlanStep, StepModel};
pub use router::{Router, RouterError};
pub use unresolved::Unresolved;
pub use view::{Having, ProviderStanding, View};
