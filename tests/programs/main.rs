//! The four programs that Remuda replaces: with the environment or the file of each, the real binary answers its
//! documented requests with its documented answers, in front of simulated servers.

#![allow(clippy::too_many_lines, reason = "a test is as long as its story")]
#![allow(
    clippy::unwrap_used,
    reason = "tests state their expectations with unwrap"
)]

mod migration;
mod multi_provider_proxy;
mod ollama_cloud_proxy;
mod optillm_proxy;
mod port_range_balancer;
#[path = "../gateway/support/mod.rs"]
mod support;
mod surroundings;
