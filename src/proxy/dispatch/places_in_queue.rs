//! Places of one request in the queue, one for each step of its plan that it waits for; the first slot counts.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use tokio::time::sleep_until;

use crate::admission::{Permit, Refusal};

pub(crate) type Slot<'a> = Pin<Box<dyn Future<Output = Result<Permit, Refusal>> + Send + 'a>>;

/// Places in the queue for one request, of which the first slot counts. What is dropped leaves its place.
#[derive(Default)]
pub(crate) struct Race<'a> {
    running: Vec<Running<'a>>,
}

/// One of those places.
pub(crate) struct Running<'a> {
    pub(crate) step: usize,
    /// As its turn said.
    pub(crate) well: bool,
    /// As its scope says.
    pub(crate) elsewhere: bool,
    pub(crate) slot: Slot<'a>,
}

impl<'a> Race<'a> {
    pub(crate) fn enter(&mut self, running: Running<'a>) {
        self.running.push(running);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether any of its steps could be taken by a healthy backend.
    pub(crate) fn is_well(&self) -> bool {
        self.running.iter().any(|running| running.well)
    }

    pub(crate) fn holds(&self, step: usize) -> bool {
        self.running.iter().any(|running| running.step == step)
    }

    /// The first that is decided: its step, whether it had somewhere else to go, and what came of it.
    pub(crate) async fn first(&mut self) -> (usize, bool, Result<Permit, Refusal>) {
        std::future::poll_fn(|context| {
            for index in 0..self.running.len() {
                if let Poll::Ready(result) = self.running[index].slot.as_mut().poll(context) {
                    let Running {
                        step, elsewhere, ..
                    } = self.running.remove(index);
                    return Poll::Ready((step, elsewhere, result));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether the plan has to be looked at anew: its providers are closed, or down while there is somewhere `elsewhere`.
pub(crate) fn moves_on(refusal: &Refusal, elsewhere: bool) -> bool {
    match refusal {
        Refusal::Closed => true,
        Refusal::NoHealthyBackend { .. } => elsewhere,
        _ => false,
    }
}

/// Until the next step has its turn, if it has one.
pub(crate) async fn turn_of(next: Option<Instant>) {
    match next {
        Some(next) if next <= Instant::now() => {}
        Some(next) => sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}

/// Of two refusals the one that says more: that there is something to wait for.
pub(crate) fn keep_better(kept: &mut Option<Refusal>, refused: Refusal) {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::UnknownModel | Refusal::UnknownBackend => 0,
        Refusal::Closed | Refusal::Exhausted => 1,
        Refusal::NoHealthyBackend { .. } => 2,
        Refusal::QueueFull { .. } => 3,
        Refusal::TimedOut { healthy, .. } => 4 + u8::from(*healthy),
    };
    if kept.as_ref().is_none_or(|kept| rank(kept) < rank(&refused)) {
        *kept = Some(refused);
    }
}
