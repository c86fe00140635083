//! What a request holds at its server: a slot, and its place among those that are served. Both go back as soon as the server
//! has said everything, whether or not its client has read that.

use std::time::Duration;

use crate::admission::{Permit, RunOutcome};
use crate::fleet::InFlightRequest;

/// Both, until they are given back or dropped.
pub(crate) struct Hold {
    // Before the slot: whoever is given that finds the backend idle.
    serving: Option<InFlightRequest>,
    permit: Option<Permit>,
    /// How long the first content took.
    pub(crate) ttft: Duration,
}

impl Hold {
    pub(crate) fn new(
        serving: Option<InFlightRequest>,
        permit: Option<Permit>,
        ttft: Duration,
    ) -> Self {
        Hold {
            serving,
            permit,
            ttft,
        }
    }

    /// Gives everything back, as the server has said everything. `whole`: that was a whole answer.
    pub(crate) fn give_back(&mut self, whole: bool, load: Option<Duration>) {
        self.serving = None;
        if let Some(permit) = self.permit.take() {
            permit.finish(RunOutcome {
                ok: whole,
                load,
                ttft: Some(self.ttft),
                ..RunOutcome::default()
            });
        }
    }
}
