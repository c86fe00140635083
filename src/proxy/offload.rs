//! Long computation off the workers: what a large body takes to be read or translated would hold up every other request of
//! its worker. A thread of its own does it; few do at once, and the others wait for their turn.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The bytes of a body from which on its work is done on another thread: reading so many takes about a millisecond, and
/// translating them ten to twenty.
pub(crate) const LONG: usize = 1 << 20;

/// Threads of their own for long computation, of which few run at once.
pub(crate) struct Offload(Arc<Semaphore>);

impl Offload {
    /// Makes room for half as many computations at once as there are workers, and for one at least.
    pub(crate) fn new(workers: usize) -> Self {
        Offload(Arc::new(Semaphore::new((workers / 2).max(1))))
    }

    /// Does the work on another thread once its turn has come. If the future is dropped, the work still goes on to its end, and
    /// keeps its turn until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        match done.await {
            Ok(done) => done,
            // As if it had happened here; the task is never aborted.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// A worker goes on with what else it has to do while something is computed, and no two of those run at once.
    #[tokio::test]
    async fn others_go_on_while_one_computes() {
        let turns = Offload::new(1);
        let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let served = Arc::<AtomicBool>::default();
        let long = || {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let served = Arc::clone(&served);
            turns.run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Until somebody else was served by the only worker.
                while !served.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        tokio::join!(long(), long(), long(), async {
            while running.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            served.store(true, Ordering::SeqCst);
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    /// Whoever leaves does not let another one begin before its own work has ended.
    #[tokio::test]
    async fn a_turn_lasts_as_long_as_the_work() {
        let turns = Offload::new(1);
        let ends = Arc::<AtomicBool>::default();
        let (until, ended) = (Arc::clone(&ends), Arc::<AtomicBool>::default());
        let done = Arc::clone(&ended);
        {
            let left = turns.run(move || {
                while !until.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                done.store(true, Ordering::SeqCst);
            });
            tokio::pin!(left);
            assert!(futures_pending(left.as_mut()).await);
        }
        ends.store(true, Ordering::SeqCst);
        assert!(turns.run(move || ended.load(Ordering::SeqCst)).await);
    }

    async fn futures_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
        let mut future = future;
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
        })
        .await
    }
}
