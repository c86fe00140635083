//! Requests that are called back from a copy that hangs, and how they hear of it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::AHashSet;
use tokio::sync::Notify;

use super::scheduler::Ticket;

/// The requests that have been called back and have not ended yet. One that is not among them takes no lock to know that.
#[derive(Debug, Default)]
pub(super) struct Recalls {
    tickets: Mutex<AHashSet<Ticket>>,
    /// How many there are.
    count: AtomicUsize,
    /// Some have been added.
    added: Notify,
    /// The scheduler wants to hear of every first content.
    wary: AtomicBool,
}

impl Recalls {
    pub(super) fn add(&self, ticket: Ticket) {
        let mut tickets = self.lock();
        tickets.insert(ticket);
        self.count.store(tickets.len(), Ordering::Release);
        drop(tickets);
        self.added.notify_waiters();
    }

    /// The request has left the copy. Called, as [`Self::add`] is, under the lock of the scheduler, so that the two are in order.
    pub(super) fn remove(&self, ticket: Ticket) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut tickets = self.lock();
            tickets.remove(&ticket);
            self.count.store(tickets.len(), Ordering::Release);
        }
    }

    /// Resolves once the request has been called back.
    pub(super) async fn of(&self, ticket: Ticket) {
        loop {
            let mut added = pin!(self.added.notified());
            // From here on nothing is missed.
            added.as_mut().enable();
            if self.has(ticket) {
                return;
            }
            added.await;
        }
    }

    pub(super) fn set_wary(&self, wary: bool) {
        self.wary.store(wary, Ordering::Relaxed);
    }

    pub(super) fn is_wary(&self) -> bool {
        self.wary.load(Ordering::Relaxed)
    }

    fn has(&self, ticket: Ticket) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().contains(&ticket)
    }

    fn lock(&self) -> MutexGuard<'_, AHashSet<Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
