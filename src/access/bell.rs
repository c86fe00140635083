//! How requests that wait for a lease and the task that gets leases know of each other.

use std::future::Future;

use tokio::sync::Notify;

/// Rung by requests, answered by the task.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Notify,
    answered: Notify,
}

impl Bell {
    /// Rings the bell: a request waits.
    pub(super) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Resolves when a request waits, or one has since the last time.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Wakes every request that waits.
    pub(super) fn answer(&self) {
        self.answered.notify_waiters();
    }

    /// Resolves with the next [`Self::answer`] after this call.
    pub(super) fn heard(&self) -> impl Future<Output = ()> + '_ {
        self.answered.notified()
    }
}
