//! Pingora's `HealthCheck`, and the early probes after a failed request: both probe a member and
//! enter what they find.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::lb::Backend as Target;
use pingora::lb::health_check::HealthCheck;
use pingora::{Error, ErrorType, Result};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::members::Members;
use super::probe::{Prober, Question};
use super::{Backend, Miss, Provider};

/// Probes of one provider at once: enough that a range of 200 dead ports takes one time limit, few
/// enough for the usual limit of 1,024 file descriptors.
pub(super) const AT_ONCE: usize = 256;

/// How soon after a failed request the backend is probed; doubled at each further try.
const FIRST_EARLY_PROBE: Duration = Duration::from_millis(250);

/// Probes members.
pub(super) struct Checkup {
    pub(super) prober: Arc<Prober>,
    pub(super) members: Arc<Members>,
}

impl Checkup {
    /// Probes a member and enters a good result.
    async fn run(&self, backend: &Backend) -> Result<(), Miss> {
        let (failures, was_known) = {
            let vitals = backend.vitals();
            (vitals.failures(), vitals.known())
        };
        let known = backend.inventory();
        let version = backend
            .healthy()
            .then_some(&*known.version)
            .filter(|known| !known.is_empty());
        let question = Question {
            endpoint: &backend.endpoint,
            provider: &backend.provider,
            known: Some(&*known).filter(|_| was_known),
            version,
        };
        let inventory = self.prober.probe(&question).await?;
        self.members.passed(backend, inventory, failures);
        Ok(())
    }
}

/// The regular check of each member of one provider.
///
/// Health is decided by the fleet (`vitals.rs`), which also knows of requests. This tells Pingora
/// of it after each probe, so its own thresholds are 1.
pub(super) struct MemberCheck {
    checkup: Arc<Checkup>,
    provider: Arc<Provider>,
    permits: Semaphore,
}

impl MemberCheck {
    pub(super) fn new(checkup: Arc<Checkup>, provider: Arc<Provider>) -> Self {
        Self {
            checkup,
            provider,
            permits: Semaphore::new(AT_ONCE),
        }
    }
}

#[async_trait]
impl HealthCheck for MemberCheck {
    async fn check(&self, target: &Target) -> Result<()> {
        let Some(backend) = target.ext.get::<Arc<Backend>>() else {
            return Error::e_explain(ErrorType::InternalError, "a target that is no member");
        };
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        // One that discovery or an early probe has just seen need not be asked again.
        let fresh = backend.inventory().probed_at.elapsed() < self.provider.settings.interval / 2;
        let watched = self.provider.settings.watched;
        if backend.gone() || (backend.healthy() && (fresh || !watched)) {
            return Ok(());
        }
        match self.checkup.run(backend).await {
            Err(miss) => {
                self.checkup.members.missed(backend, &miss);
                if backend.healthy() {
                    log::debug!("{backend:?} missed a probe: {miss}");
                    return Ok(());
                }
                Error::e_explain(ErrorType::ConnectError, miss.to_string())
            }
            Ok(()) => Ok(()),
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }

    fn backend_summary(&self, target: &Target) -> String {
        format!("{} {}", self.provider.name, target.addr)
    }
}

/// Early probes of backends that a request has found unhealthy, so that they are back soon.
pub(super) struct Recovery {
    checkup: Arc<Checkup>,
    wanted: UnboundedSender<(Arc<Backend>, u32)>,
    queue: tokio::sync::Mutex<UnboundedReceiver<(Arc<Backend>, u32)>>,
}

impl Recovery {
    pub(super) fn new(checkup: Arc<Checkup>) -> Self {
        let (wanted, queue) = unbounded_channel();
        Self {
            checkup,
            wanted,
            queue: tokio::sync::Mutex::new(queue),
        }
    }

    /// Asks for early probes after the `setbacks`-th failure in a row. The queue holds at most one
    /// entry for each time a backend became unhealthy.
    pub(super) fn want(&self, backend: Arc<Backend>, setbacks: u32) {
        // The other end lives as long as this one.
        let _ = self.wanted.send((backend, setbacks));
    }

    /// Probes the backend at once.
    pub(super) async fn probe(&self, backend: &Arc<Backend>) {
        if let Err(miss) = self.checkup.run(backend).await {
            log::debug!("{backend:?} missed a probe: {miss}");
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(&self) {
        let mut queue = self.queue.lock().await;
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                Some((backend, setbacks)) = queue.recv() => {
                    running.spawn(recover(Arc::clone(&self.checkup), backend, setbacks));
                }
                Some(_) = running.join_next() => {}
            }
        }
    }
}

/// Probes at growing intervals until the backend is healthy or the regular check comes sooner.
async fn recover(checkup: Arc<Checkup>, backend: Arc<Backend>, setbacks: u32) {
    let now = Instant::now();
    let held = backend.vitals().held(now);
    if let Some(until) = held {
        sleep(until - now).await;
    }
    let mut delay = FIRST_EARLY_PROBE.saturating_mul(1 << setbacks.saturating_sub(1).min(16));
    while delay < backend.provider.settings.interval {
        sleep(delay).await;
        if backend.gone() || backend.healthy() {
            return;
        }
        if let Err(miss) = checkup.run(&backend).await {
            log::debug!("{backend:?} missed an early probe: {miss}");
        }
        delay *= 2;
    }
}
