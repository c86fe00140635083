//! Endpoints that Remuda answers itself: health, backends, metrics, and what Ollama clients ask of the
//! fleet as a whole. Pure functions of snapshots; `service` puts them on the admin listener.

mod aliases;
mod backends;
mod copies;
mod digests;
mod explain;
mod explained;
mod figures;
mod gauges;
mod health;
mod hosted;
mod introspection;
mod listing;
mod loading;
mod named;
mod page;
mod pages;
mod paths;
mod providers;
mod route;
mod service;
mod services;
mod slots;
mod starts;
mod state;
mod usage;
mod workers;

pub use aliases::Sources;
pub use explain::start_log;
pub use gauges::refresh;
pub use introspection::{Introspection, Lifecycle, Stage};
pub use listing::ListedModel;
pub use page::Page;
pub use pages::{models, openai_alias, openai_model, openai_models, ps, root, tags, version};
pub use paths::PagePath;
pub use service::AdminService;
pub use services::{
    anthropic_model, anthropic_models, counted_tokens, estimated_tokens, pulled, show,
};
pub use workers::{BEAT, Workers};
