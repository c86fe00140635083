//! From a request to its seat: the model that it names, loaded, and one of its slots.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::catalogue::Model;
use super::link::Wire;
use super::names::Name;
use super::reply::Refusal;
use super::runner::{Lease, LoadError, Want};
use super::server::{OnDisk, Server};
use super::stats::{End, Visit};
use super::strike::Strike;

/// What Ollama says when the process that runs the model is gone.
pub(super) const RUNNER_DIED: &str = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details";

/// What a request has come to: the server, the connection, and what is to go wrong.
pub(super) struct Visitor {
    pub(super) server: Arc<Server>,
    pub(super) wire: Wire,
    /// The path that was asked for.
    pub(super) path: String,
    pub(super) strike: Strike,
}

/// A model, loaded, and one of its slots.
pub(super) struct Seat {
    pub(super) model: Arc<Model>,
    pub(super) lease: Lease,
    /// `None` once it has been left to others.
    slot: Option<OwnedSemaphorePermit>,
    pub(super) visit: Visit,
    pub(super) began: Instant,
    pub(super) load: Duration,
    /// How many times slower than it should this machine computes now.
    slowness: f64,
}

/// How long a prompt took, and how many of its tokens had been computed before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefill {
    pub(super) time: Duration,
    pub(super) cached: u64,
}

impl Visitor {
    /// Finds a model by what the client wrote; `missing` makes the text of the 404.
    pub(super) fn find(
        &self,
        written: &str,
        missing: impl FnOnce(&str) -> String,
    ) -> Result<OnDisk, Refusal> {
        if written.is_empty() {
            return Err(Refusal::not_found(missing(written)));
        }
        let name = Name::parse(written).ok_or_else(|| Refusal::bad("invalid model name"))?;
        self.server
            .model(&name)
            .ok_or_else(|| Refusal::not_found(missing(written)))
    }

    /// Waits for the model, then for one of its slots; never returns if it is one that generates nothing more.
    pub(super) async fn sit(&self, want: Want) -> Result<Seat, Refusal> {
        let began = Instant::now();
        let mut visit = self.server.counters.visit();
        let lease = self.hold(&want, &mut visit).await?;
        let load = began.elapsed();
        let slot = lease.inside.slot().await;
        visit.begin();
        let ailment = self.server.faults.run(&self.path, &want.model.name);
        if ailment.hangs {
            lease.inside.hang();
        }
        if ailment.freezes {
            lease.inside.freeze();
        }
        lease.inside.works().await;
        Ok(Seat {
            model: want.model,
            lease,
            slot: Some(slot),
            visit,
            began,
            load,
            slowness: ailment.slowness,
        })
    }

    /// Holds a model, loaded, without a wish for a slot.
    pub(super) async fn load(&self, want: Want) -> Result<Lease, Refusal> {
        let mut visit = self.server.counters.visit();
        let lease = self.hold(&want, &mut visit).await?;
        visit.end(End::Completed);
        Ok(lease)
    }

    async fn hold(&self, want: &Want, visit: &mut Visit) -> Result<Lease, Refusal> {
        let mishap = || self.server.faults.load(&want.model.name);
        let held = self.server.runners.acquire(want, mishap).await;
        held.map_err(|error| {
            visit.end(End::Failed);
            let status = match error {
                LoadError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                LoadError::TimedOut | LoadError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Refusal::new(status, error.to_string())
        })
    }
}

impl Seat {
    /// Leaves the slot to whoever is next in line for it; the model stays held.
    pub(super) fn leave_slot(&mut self) {
        self.slot = None;
    }

    /// Reads a prompt of so many tokens, which takes its time for those that the copy does not remember.
    pub(super) async fn read(&self, server: &Server, text: &str, tokens: u64) -> Prefill {
        let inside = &self.lease.inside;
        // The last token of a prompt is always computed.
        let cached = inside.remembered(text).min(tokens.saturating_sub(1));
        let start = Instant::now();
        let speed = server.machine.prompt_speed;
        let time = self.slowed(server, (tokens - cached) as f64, speed);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        inside.remember(text);
        Prefill {
            time: start.elapsed(),
            cached,
        }
    }

    /// How long this copy takes for `count` at what would be `per_second` in VRAM.
    pub(super) fn slowed(&self, server: &Server, count: f64, per_second: f64) -> Duration {
        // What is not in VRAM is read from memory that is about ten times slower.
        let share = self.lease.in_vram + (1.0 - self.lease.in_vram) * 0.1;
        server
            .machine
            .time(count * self.slowness, per_second * share)
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
