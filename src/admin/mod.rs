//! Endpoints that Remuda answers itself: health, backends, metrics, and what Ollama clients ask of the
//! fleet as a whole. Pure functions of snapshots; `service` puts them on the admin listener.

mod aliases;
mod explained;
mod gauges;
mod health;
mod hosted;
mod introspection;
mod listing;
mod pages;
mod providers;
mod route;
mod service;
mod services;
mod usage;
mod workers;

pub use aliases::Sources;
pub use gauges::refresh;
pub use introspection::{Introspection, Lifecycle, Place, Stage};
pub use listing::Listed;
pub use pages::{Page, models, openai_alias, openai_model, openai_models, ps, root, tags, version};
pub use service::AdminService;
pub use services::{
    anthropic_model, anthropic_models, counted_tokens, estimated_tokens, pulled, show,
};
pub use workers::{BEAT, Workers};
