//! Who may start now, and where: slots, the queue, and the choice between a warm backend and a cold load.
//!
//! [`scheduler`] decides and knows nothing of sockets, tasks or clocks; [`Dispatcher`] lets tasks wait for it.

mod digests;
mod dispatcher;
mod loads;
mod observer;
mod own_loads;
mod permit;
mod recalls;
mod rules;
pub mod scheduler;
#[cfg(test)]
mod tests;

pub use dispatcher::{Dispatcher, StartListener, Want};
pub use loads::{HealOrder, HealTicket, LoadFault, LoadOrder, LoadRecipe, LoadTicket, Loader};
pub use observer::FleetEvents;
pub use permit::{Permit, QueueEntry, QueueWait};
pub use rules::rule_about;
pub use scheduler::{
    BackendSpec, Bar, Barred, BerthRule, Condition, CopyState, CopyView, ExpectedStart, LoadView,
    LoadedModel, Need, NoSlot, Policy, Providers, QueueSnapshot, Residency, RunOutcome, Scope,
    SlowCause, StartCandidate, StartChoice, StartExplanation, StoredModel, Wanted,
};
