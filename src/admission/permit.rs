//! A slot on a backend for as long as a request runs there; dropping it gives the slot back.

use std::sync::Arc;
use std::time::Duration;

use super::dispatcher::{Dispatcher, Grant};
use super::scheduler::{Outcome, Refusal, Scope, Ticket};
use crate::ids::BackendId;

/// The right to have one request in flight on one backend.
#[derive(Debug)]
#[must_use = "dropping a permit gives its slot back"]
pub struct Permit {
    dispatcher: Arc<Dispatcher>,
    ticket: Ticket,
    grant: Grant,
    content_seen: bool,
    held: bool,
}

impl Permit {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, ticket: Ticket, grant: Grant) -> Self {
        Self {
            dispatcher,
            ticket,
            grant,
            content_seen: false,
            held: true,
        }
    }

    pub fn backend(&self) -> BackendId {
        self.grant.backend
    }

    /// Whether the backend has to load the model first.
    pub fn cold(&self) -> bool {
        self.grant.cold
    }

    /// How long the request waited for this slot.
    pub fn waited(&self) -> Duration {
        self.grant.waited
    }

    /// The first content has come, so a cold load is over and others may share it. Calls after the first cost nothing.
    pub fn first_content(&mut self) {
        if !self.content_seen {
            self.content_seen = true;
            if self.grant.cold {
                self.dispatcher.loaded(self.ticket);
            }
        }
    }

    /// The request has ended. A permit that is dropped instead counts as cancelled and teaches nothing.
    pub fn finish(mut self, outcome: Outcome) {
        self.held = false;
        self.dispatcher.complete(self.ticket, outcome);
    }

    /// The attempt has failed: gives the slot back, excludes this backend for this request, and waits for a slot
    /// elsewhere in the request's old place. Errors: [`Refusal::Exhausted`] when every backend has been tried.
    pub async fn retry(self) -> Result<Self, Refusal> {
        self.retry_within(None).await
    }

    /// As [`Self::retry`], from now on within `scope`, if one is given.
    pub async fn retry_within(mut self, scope: Option<Scope>) -> Result<Self, Refusal> {
        self.held = false;
        let dispatcher = Arc::clone(&self.dispatcher);
        dispatcher.retry(self.ticket, scope).await
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.held {
            self.dispatcher.cancel(self.ticket);
        }
    }
}
