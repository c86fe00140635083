//! Which providers may serve a request, and in which order: what a name means, the operator's rules, and the strategy.
//!
//! [`Router::plan`] is the one entrance. It looks at values alone: the fleet through [`View`], facts, settings, the time.

mod aliases;
mod approach;
mod ask;
mod bundled;
mod candidate;
mod changes;
mod explain;
mod filter;
mod memory;
mod pattern;
mod plan;
mod resolve;
mod router;
mod rules;
mod steps;
mod strategy;
mod unresolved;
mod view;

pub use approach::Form;
pub use ask::{Ask, BYTES_PER_TOKEN, Needs, NoPlan, Permission};
pub use changes::Changes;
pub use explain::{Explanation, Verdict};
pub use filter::Filter;
pub use plan::{Plan, Step, StepModel};
pub(crate) use resolve::names;
pub use router::{Front, Router, RouterError, Service};
pub use unresolved::Unresolved;
pub use view::{Having, Standing, View};
