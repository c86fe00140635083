//! Whether every worker still runs what it has to: on each of them a task notes the time, and whoever asks sees whether one
//! has not done so for long. A worker without that is stuck in something, and all the connections that it has with it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// How often each worker notes the time.
pub const BEAT: Duration = Duration::from_secs(1);
/// A worker that has not for so long is stuck: nothing that it does at a time takes a tenth of that.
const STUCK: Duration = Duration::from_secs(5);

/// The workers that serve clients.
#[derive(Debug, Default)]
pub struct Workers(Mutex<Vec<Worker>>);

#[derive(Debug)]
struct Worker {
    thread: ThreadId,
    seen: Instant,
}

/// Workers that are stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) count: usize,
    pub(super) of: usize,
    pub(super) longest: Duration,
}

impl Workers {
    /// Notes that this thread is a worker; returns its id, unless that was known.
    pub fn enlist(&self) -> Option<ThreadId> {
        let thread = std::thread::current().id();
        let mut workers = self.workers();
        let is_new = workers.iter().all(|worker| worker.thread != thread);
        if is_new {
            let seen = Instant::now();
            workers.push(Worker { thread, seen });
        }
        is_new.then_some(thread)
    }

    pub fn count(&self) -> usize {
        self.workers().len()
    }

    /// Notes that a task has run on that worker's thread.
    pub fn beat(&self, thread: ThreadId) {
        let mut workers = self.workers();
        if let Some(worker) = workers.iter_mut().find(|worker| worker.thread == thread) {
            worker.seen = Instant::now();
        }
    }

    /// Returns the workers that are stuck; `None` if there are none.
    pub(super) fn stuck(&self, now: Instant) -> Option<Stuck> {
        let workers = self.workers();
        let silences = workers
            .iter()
            .map(|worker| now.saturating_duration_since(worker.seen));
        let silences: Vec<Duration> = silences.filter(|silence| *silence > STUCK).collect();
        let longest = *silences.iter().max()?;
        Some(Stuck {
            count: silences.len(),
            of: workers.len(),
            longest,
        })
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn a_worker_that_does_not_beat_is_stuck_until_it_does() {
        let workers = Arc::new(Workers::default());
        assert_eq!(workers.stuck(Instant::now() + 10 * STUCK), None);
        let (go_on, waits) = mpsc::channel::<()>();
        let (said, hears) = mpsc::channel();
        let other = Arc::clone(&workers);
        let worker = std::thread::spawn(move || {
            let thread = other.enlist().unwrap();
            said.send(()).unwrap();
            while waits.recv().is_ok() {
                other.beat(thread);
                said.send(()).unwrap();
            }
        });
        hears.recv().unwrap();
        let own = workers.enlist().unwrap();
        assert_eq!(workers.enlist(), None);
        let start = Instant::now();
        assert_eq!(workers.stuck(start + STUCK / 2), None);
        let stuck = workers.stuck(start + 2 * STUCK).unwrap();
        assert_eq!((stuck.count, stuck.of), (2, 2));
        // One of them runs again.
        while start.elapsed() < Duration::from_millis(10) {
            std::thread::yield_now();
        }
        workers.beat(own);
        let stuck = workers
            .stuck(start + STUCK + Duration::from_millis(5))
            .unwrap();
        assert_eq!((stuck.count, stuck.of), (1, 2));
        go_on.send(()).unwrap();
        hears.recv().unwrap();
        assert_eq!(
            workers.stuck(start + STUCK + Duration::from_millis(5)),
            None
        );
        drop(go_on);
        worker.join().unwrap();
    }
}
