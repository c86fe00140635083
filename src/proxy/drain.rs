//! The end of the process: requests in flight are counted, and streams that outlast the limit are cut
//! with an error of their format rather than silently.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Requests in flight, and whether they may go on.
#[derive(Debug, Default)]
pub struct Drain {
    in_flight: AtomicUsize,
    draining: AtomicBool,
    cut: AtomicBool,
    idle: Notify,
    cutting: Notify,
}

impl Drain {
    /// Counts a request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// Returns how many requests are being served, or wait.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Returns whether the process is ending.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits for the requests in flight, at most `limit`; then cuts those that remain and gives them
    /// a moment to tell their clients. Returns how many were cut.
    pub async fn run(&self, limit: Duration) -> usize {
        self.draining.store(true, Ordering::Release);
        if tokio::time::timeout(limit, self.until_idle()).await.is_ok() {
            return 0;
        }
        self.cut_off().await
    }

    /// Cuts the requests that remain and gives them a moment to tell their clients, and to be accounted. Returns how many
    /// there were.
    pub async fn cut_off(&self) -> usize {
        let remaining = self.in_flight();
        self.cut.store(true, Ordering::Release);
        self.cutting.notify_waiters();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.until_idle()).await;
        remaining
    }

    async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Resolves when streams must end.
    pub async fn cut(&self) {
        loop {
            let cutting = self.cutting.notified();
            if self.cut.load(Ordering::Acquire) {
                return;
            }
            cutting.await;
        }
    }
}

/// One request in flight.
#[derive(Debug)]
pub struct InFlight(Arc<Drain>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_as_soon_as_nothing_is_in_flight() {
        let drain = Arc::new(Drain::default());
        let request = drain.enter();
        let ending = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move { drain.run(Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        assert!(drain.draining());
        drop(request);
        let started = tokio::time::Instant::now();
        assert_eq!(ending.await.unwrap(), 0);
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn cuts_what_outlasts_the_limit() {
        let drain = Arc::new(Drain::default());
        let request = drain.enter();
        let stream = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move {
                drain.cut().await;
                drop(request);
            }
        });
        assert_eq!(drain.run(Duration::from_secs(30)).await, 1);
        stream.await.unwrap();
        assert_eq!(drain.in_flight(), 0);
    }
}
