//! Which providers may serve a request, and in which order.

mod plan;

pub use plan::{Plan, Step, StepModel};
