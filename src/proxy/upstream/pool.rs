//! Idle plaintext connections of one provider, kept apart by worker thread: a connection stays with the
//! reactor of the thread that opened it, so handing it to another thread costs a wake-up per event.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use pingora::protocols::Stream;

use super::corked::Corked;
use crate::ids::BackendId;

/// Idle connections, bounded in number and age.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    shards: Box<[Mutex<Shard>]>,
    /// Connections kept at most, over all backends of the provider.
    size: usize,
    idle_timeout: Duration,
    kept: AtomicUsize,
    sweeping: std::sync::atomic::AtomicBool,
}

/// Idle connections of one worker thread, the latest last.
type Shard = AHashMap<BackendId, Vec<Idle>>;

#[derive(Debug)]
struct Idle {
    connection: Stream,
    since: Instant,
}

impl ConnectionPool {
    pub(crate) fn new(threads: usize, size: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..threads.max(1)).map(|_| Mutex::default()).collect(),
            size,
            idle_timeout,
            kept: AtomicUsize::new(0),
            sweeping: false.into(),
        })
    }

    /// Returns the latest idle connection of this thread to `backend` that is still open.
    pub(crate) fn take(&self, backend: BackendId) -> Option<Stream> {
        let mut shard = self.shard();
        let idle = shard.get_mut(&backend)?;
        while let Some(Idle { connection, since }) = idle.pop() {
            self.kept.fetch_sub(1, Ordering::Relaxed);
            let open = connection
                .as_any()
                .downcast_ref::<Corked>()
                .is_some_and(Corked::is_quiet);
            if open && since.elapsed() < self.idle_timeout {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for this thread's next request, or closes it when there are enough.
    pub(crate) fn put(self: &Arc<Self>, backend: BackendId, connection: Stream) {
        if self.kept.fetch_add(1, Ordering::Relaxed) >= self.size {
            self.kept.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.shard().entry(backend).or_default().push(Idle {
            connection,
            since: Instant::now(),
        });
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self), self.idle_timeout));
        }
    }

    /// Returns the calling thread's shard.
    fn shard(&self) -> MutexGuard<'_, Shard> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let index = THREAD.with(|thread| *thread) % self.shards.len();
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has been idle for too long. Returns how many are left.
    fn expire(&self) -> usize {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, idle| {
                let before = idle.len();
                idle.retain(|one| one.since.elapsed() < self.idle_timeout);
                self.kept.fetch_sub(before - idle.len(), Ordering::Relaxed);
                !idle.is_empty()
            });
        }
        self.kept.load(Ordering::Relaxed)
    }
}

/// Expires idle connections while there are any.
async fn sweep(pool: Weak<ConnectionPool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.expire() == 0 {
            pool.sweeping.store(false, Ordering::Release);
            // One that was put meanwhile has seen `sweeping` and relies on this task.
            if pool.kept.load(Ordering::Relaxed) == 0 || pool.sweeping.swap(true, Ordering::AcqRel)
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    const BACKEND: BackendId = BackendId(1);

    async fn connection() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (corked, accepted) = tokio::join!(
            Corked::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (Box::new(corked.unwrap()), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn gives_back_the_latest_that_is_open() {
        let pool = ConnectionPool::new(1, 8, Duration::from_secs(60));
        let (first, _first_end) = connection().await;
        let (second, second_end) = connection().await;
        let first_id = first.id();
        pool.put(BACKEND, first);
        pool.put(BACKEND, second);
        drop(second_end);
        // The close is seen as soon as the reactor has run.
        let mut taken = pool.take(BACKEND);
        while let Some(connection) = taken.take_if(|connection| connection.id() != first_id) {
            pool.put(BACKEND, connection);
            tokio::task::yield_now().await;
            taken = pool.take(BACKEND);
        }
        assert_eq!(taken.map(|connection| connection.id()), Some(first_id));
        assert!(pool.take(BACKEND).is_none());
        assert!(pool.take(BackendId(2)).is_none());
    }

    #[tokio::test]
    async fn keeps_no_more_than_its_size() {
        let pool = ConnectionPool::new(1, 1, Duration::from_secs(60));
        let (first, _first_end) = connection().await;
        let (second, mut second_end) = connection().await;
        pool.put(BACKEND, first);
        pool.put(BACKEND, second);
        assert_eq!(second_end.read(&mut [0]).await.unwrap(), 0);
        assert!(pool.take(BACKEND).is_some());
    }

    #[tokio::test]
    async fn closes_what_has_been_idle_for_too_long() {
        let pool = ConnectionPool::new(1, 8, Duration::from_millis(20));
        let (one, mut end) = connection().await;
        pool.put(BACKEND, one);
        assert_eq!(end.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(pool.kept.load(Ordering::Relaxed), 0);
    }
}
