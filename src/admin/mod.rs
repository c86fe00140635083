//! Endpoints that Remuda answers itself: health, backends, metrics, and what Ollama clients ask of the
//! fleet as a whole. Pure functions of snapshots; `service` puts them on the admin listener.

mod gauges;
mod hosted;
mod listing;
mod pages;
mod service;
mod services;

pub use gauges::refresh;
pub use listing::{Listed, models};
pub use pages::{
    Page, backends, healthy_backends, openai_model, openai_models, ps, root, tags, version,
};
pub use service::{AdminService, Lifecycle, Stage};
pub use services::{anthropic_model, anthropic_models, estimated_tokens, pulled, show};
