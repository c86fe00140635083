//! The gateway as its users meet it: the real binary on real ports, in front of simulated and scripted servers.
//!
//! One test crate with a module for each subject, as every further crate would be linked anew.

#![allow(clippy::too_many_lines, reason = "a test is as long as its story")]
#![allow(
    clippy::unwrap_used,
    reason = "tests state their expectations with unwrap"
)]

mod access;
mod accounts;
mod across;
mod agents;
mod alerts;
mod asking;
mod bodies;
mod connections;
mod contexts;
mod conversations;
mod digests;
mod evasions;
mod explain;
mod failover;
mod fallback;
mod fields;
mod gathered;
mod headers;
mod hedging;
mod hostile;
mod hosts;
mod introspection;
mod labels;
mod leaving;
mod lies;
mod lifecycle;
mod limits;
mod loading;
mod managing;
mod membership;
mod metrics;
mod names;
mod overload;
mod packed;
mod pages;
mod paths;
mod protocols;
mod queueing;
mod reading;
mod refusals;
mod replay;
mod resuming;
mod routing;
mod secrets;
mod servers;
mod sick;
mod sidedoors;
mod streaming;
mod support;
mod tls;
mod translation;
mod unread;
mod usage;
mod waiting;
