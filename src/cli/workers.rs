//! The service of the clients' listener, with a task on each of its workers that notes that the worker runs.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use pingora::services::listening;

use crate::admin::{BEAT, Workers};

/// Tasks that are spawned for each worker: they go to any of them, and the last is missed once in a million starts.
const TRIES: usize = 16;

/// A service whose workers are watched.
pub(super) struct Watched<A> {
    pub(super) inner: listening::Service<A>,
    pub(super) workers: Arc<Workers>,
    /// How many there are.
    pub(super) threads: usize,
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for Watched<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        watch(&self.workers, self.threads);
        let inner = &mut self.inner;
        Service::start_service(inner, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Service::name(&self.inner)
    }

    fn threads(&self) -> Option<usize> {
        Service::threads(&self.inner)
    }
}

/// Spawns a task that notes the time on each of so many workers. Where workers take tasks from each other, there is only
/// whether any of them runs.
fn watch(workers: &Arc<Workers>, threads: usize) {
    for _ in 0..threads.saturating_mul(TRIES) {
        let workers = Arc::clone(workers);
        pingora_runtime::current_handle().spawn(async move {
            let Some(thread) = workers.enlist() else {
                return;
            };
            let mut beats = tokio::time::interval(BEAT);
            loop {
                beats.tick().await;
                workers.beat(thread);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use pingora_runtime::Runtime;

    use super::*;

    const ALONE: &str = "REMUDA_TEST_ALONE";

    /// In a process of its own: the handles of Pingora's runtime stay behind for threads that come later, and tests of
    /// services would spawn their tasks on a runtime that has ended.
    #[test]
    fn every_worker_is_watched() {
        if std::env::var_os(ALONE).is_none() {
            let mut alone = Command::new(std::env::current_exe().unwrap());
            alone.args(["--exact", "cli::workers::tests::every_worker_is_watched"]);
            let output = alone.env(ALONE, "1").output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
            return;
        }
        let runtime = Runtime::new_no_steal(3, "watched");
        let workers = Arc::new(Workers::default());
        let watching = Arc::clone(&workers);
        let (said, hears) = channel();
        runtime.get_handle().spawn(async move {
            watch(&watching, 3);
            said.send(()).unwrap();
        });
        hears.recv().unwrap();
        let start = Instant::now();
        while workers.count() < 3 {
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
