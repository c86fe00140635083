//! Pingora's `HealthCheck`, and the probes of members that are down or silent: both probe a member and enter what they
//! find.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::{Error, ErrorType, Result};
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::{Backend as Target, LoadBalancer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::backend::Backend;
use super::members::Members;
use super::miss::Miss;
use super::provider::Provider;
use super::question::{Prober, Question};
use super::ranked::Ranked;

/// Probes of one provider at once: enough that a range of 200 dead ports takes one time limit, few
/// enough for the usual limit of 1,024 file descriptors.
pub(super) const AT_ONCE: usize = 256;

/// How often it is looked whether a probe is due besides the regular round.
const LOOKS: Duration = Duration::from_millis(200);

/// Between two searches for backends that cannot be found.
const SEARCHES: Duration = Duration::from_secs(1);

/// Probes members.
pub(super) struct Checkup {
    pub(super) prober: Arc<Prober>,
    pub(super) members: Arc<Members>,
}

impl Checkup {
    /// Probes a member, within its usual time or `patience`, and enters what is found.
    async fn run(&self, backend: &Backend, patience: Duration) -> Result<(), Miss> {
        let begun = Instant::now();
        backend.vigil().begun(begun);
        let ended = Ended {
            backend,
            down: !backend.healthy(),
            well: false,
        };
        let asked = self.ask(backend, patience).await;
        match &asked {
            Ok(()) => ended.well(),
            Err(miss) => {
                log::debug!("{backend:?} missed a probe: {miss}");
                self.members.missed(backend, miss);
            }
        }
        asked
    }

    /// Probes a member and enters a good result.
    async fn ask(&self, backend: &Backend, patience: Duration) -> Result<(), Miss> {
        let (failures, was_known, silent) = {
            let vitals = backend.vitals();
            (vitals.failures(), vitals.known(), vitals.silent())
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
            timeout: if patience.is_zero() {
                backend.provider.settings.probe_timeout
            } else {
                patience
            },
            doubted: silent || !patience.is_zero(),
        };
        let inventory = self.prober.probe(&question).await?;
        if inventory.was_heard() {
            backend.vigil().answered();
        }
        self.members.passed(backend, inventory, failures);
        Ok(())
    }
}

/// Notes the end of a probe, also of one that was given up.
struct Ended<'a> {
    backend: &'a Backend,
    /// When it began.
    down: bool,
    well: bool,
}

impl Ended<'_> {
    fn well(mut self) {
        self.well = true;
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let interval = self.backend.provider.settings.interval;
        if self.well {
            self.backend.seen_well();
        }
        let well = self.well && self.backend.healthy();
        self.backend
            .vigil()
            .ended(well, self.down, interval, Instant::now());
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
        match self.checkup.run(backend, Duration::ZERO).await {
            Err(miss) if !backend.healthy() => {
                Error::e_explain(ErrorType::ConnectError, miss.to_string())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }

    fn backend_summary(&self, target: &Target) -> String {
        format!("{} {}", self.provider.name, target.addr)
    }
}

/// Probes besides the regular round: see `vigil.rs`.
pub(super) struct Recovery {
    checkup: Arc<Checkup>,
    provider: Arc<Provider>,
}

impl Recovery {
    pub(super) fn new(checkup: Arc<Checkup>, provider: Arc<Provider>) -> Self {
        Self { checkup, provider }
    }

    /// Probes the backend at once.
    pub(super) async fn probe(&self, backend: &Arc<Backend>) {
        probe(&self.checkup, backend, Duration::ZERO).await;
    }

    /// Runs until it is dropped.
    pub(super) async fn run(&self) {
        let mut running = JoinSet::new();
        let mut looks = tokio::time::interval(LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => self.look(&mut running),
                Some(_) = running.join_next() => {}
            }
        }
    }

    /// Looks for backends besides the regular round while some cannot be found: at growing intervals, and every second
    /// while requests wait. Runs until it is dropped.
    pub(super) async fn rediscover(&self, balancer: &LoadBalancer<Ranked>) {
        let mut pause = SEARCHES;
        loop {
            let wanted = self.checkup.members.waiting.any(Instant::now());
            tokio::time::sleep(if wanted { SEARCHES } else { pause }).await;
            if !self.is_searching(wanted) {
                pause = SEARCHES;
                continue;
            }
            // Discovery has no error to tell: what fails is logged at its place.
            let _ = balancer.update().await;
            pause = (pause * 2)
                .min(self.provider.settings.interval)
                .max(SEARCHES);
        }
    }

    /// Returns whether a name leads nowhere, there is another address for what is down, or servers of a range have left
    /// that requests may be waiting for.
    fn is_searching(&self, wanted: bool) -> bool {
        if !self.provider.discovered.load(Ordering::Acquire) {
            return false;
        }
        let members = self.checkup.members.of(&self.provider);
        let several = self.provider.several.load(Ordering::Acquire);
        let ranged = self.provider.settings.discover.is_some();
        let left = || {
            let remembered = self.checkup.members.remembered(Instant::now());
            let mut left = remembered.iter();
            left.any(|one| one.provider.id == self.provider.id)
        };
        !self.provider.unresolved().is_empty()
            || (several && members.iter().any(|one| one.was_probed() && !one.healthy()))
            || (ranged && wanted && (members.is_empty() || left()))
    }

    fn look(&self, running: &mut JoinSet<()>) {
        let now = Instant::now();
        let wanted = self.checkup.members.waiting.any(now);
        for backend in self.checkup.members.of(&self.provider) {
            if running.len() >= AT_ONCE {
                return;
            }
            if let Some(due) = backend.due(wanted, now) {
                // Before the task has its turn: it is not to be found due again.
                backend.vigil().begun(now);
                let checkup = Arc::clone(&self.checkup);
                running.spawn(async move { probe(&checkup, &backend, due.patience).await });
            }
        }
    }
}

async fn probe(checkup: &Checkup, backend: &Backend, patience: Duration) {
    // What it has missed is logged and entered.
    let _ = checkup.run(backend, patience).await;
}
