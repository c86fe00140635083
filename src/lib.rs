//! Remuda: a reverse proxy for language models, built on Pingora.
//!
//! `ARCHITECTURE.md` shows the floors; imports point down only (`tests/layering.rs`).

#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        reason = "a test is as long as its table or its story; without tests, the limit holds"
    )
)]

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
