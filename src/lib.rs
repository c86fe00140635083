//! Remuda: a reverse proxy for language models, built on Pingora.
//!
//! `ARCHITECTURE.md` shows the floors; imports point down only (`tests/layering.rs`).

pub mod access;
pub mod admin;
pub mod admission;
pub mod cli;
pub mod clock;
pub mod coding;
pub mod config;
pub mod fleet;
pub mod ids;
pub mod metrics;
mod nearest;
pub mod proxy;
pub mod routing;
pub mod settings;
pub mod usage;
