//! What keeps one provider's backends up to date: discovery, probes and its guard, run as a background service under
//! Pingora's load balancer, which also orders the backends for requests that need no slot.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::{BackgroundService, GenBackgroundService, background_service};
use pingora_load_balancing::{Backends, LoadBalancer};

use super::backend::Backend;
use super::discovery::Discovery;
use super::health::{Checkup, MemberCheck, Recovery};
use super::keeper::Keeper;
use super::members::Members;
use super::provider::Provider;
use super::ranked::Ranked;

/// One provider with what keeps it up to date.
pub(super) struct ManagedProvider {
    pub(super) provider: Arc<Provider>,
    pub(super) balancer: Arc<LoadBalancer<Ranked>>,
    pub(super) recovery: Arc<Recovery>,
    pub(super) keeper: Arc<Keeper>,
}

/// Discovers and probes the backends of one provider once.
pub(super) async fn round(balancer: Arc<LoadBalancer<Ranked>>) {
    // Discovery has no error to tell: what fails is logged at its place.
    let _ = balancer.update().await;
    balancer.backends().run_health_check(true).await;
}

impl ManagedProvider {
    pub(super) fn new(provider: Arc<Provider>, checkup: &Arc<Checkup>) -> Self {
        let members = Arc::clone(&checkup.members);
        let discovery = Discovery::new(Arc::clone(&provider), members, Arc::clone(&checkup.prober));
        let backends = Backends::new(Box::new(discovery));
        let mut balancer =
            LoadBalancer::from_backends_with_config(backends, Some(provider.selector));
        balancer.set_health_check(Box::new(MemberCheck::new(
            Arc::clone(checkup),
            Arc::clone(&provider),
        )));
        balancer.update_frequency = Some(provider.settings.interval);
        balancer.health_check_frequency = Some(provider.settings.interval);
        balancer.parallel_health_check = true;
        let recovery = Arc::new(Recovery::new(Arc::clone(checkup), Arc::clone(&provider)));
        let members = Arc::clone(&checkup.members);
        let keeper = Arc::new(Keeper::new(Arc::clone(&provider), members));
        Self {
            provider,
            balancer: Arc::new(balancer),
            recovery,
            keeper,
        }
    }

    pub(super) fn service(&self) -> GenBackgroundService<Upkeep> {
        let upkeep = Upkeep {
            balancer: Arc::clone(&self.balancer),
            recovery: Arc::clone(&self.recovery),
            keeper: Arc::clone(&self.keeper),
        };
        background_service(&format!("fleet {}", self.provider.name), upkeep)
    }

    /// Returns the best member that fits, in the order of [`Ranked`].
    pub(super) fn pick(
        &self,
        members: &Members,
        fits: impl Fn(&Backend) -> bool,
    ) -> Option<Arc<Backend>> {
        let all = self.balancer.backends().get_backend().len();
        let takes_turns = self.provider.selector.takes_turns();
        // The best comes first. The others are wanted only where every member that fits earns a part of a turn.
        let fitting = RefCell::new(Vec::new());
        // Pingora's own view of health is that of the last regular check; ours is newer.
        let accept = |target: &pingora_load_balancing::Backend, _ready: bool| {
            let backend = target.ext.get::<Arc<Backend>>();
            let Some(backend) = backend.filter(|backend| fits(backend)) else {
                return false;
            };
            fitting.borrow_mut().push(Arc::clone(backend));
            !takes_turns
        };
        let _ = self.balancer.select_with(b"", all, accept);
        let fitting = fitting.into_inner();
        let Some(best) = fitting.first() else {
            return self.newcomer(members, fits);
        };
        if takes_turns {
            self.take_turns(&fitting);
        }
        Some(Arc::clone(best))
    }

    /// Returns a member that fits and that Pingora does not know yet, as it takes over new members at the end of a
    /// scan.
    fn newcomer(&self, members: &Members, fits: impl Fn(&Backend) -> bool) -> Option<Arc<Backend>> {
        let snapshot = members.snapshot();
        let mut mine = snapshot
            .iter()
            .filter(|backend| backend.provider.id == self.provider.id);
        mine.find(|backend| fits(backend)).map(Arc::clone)
    }

    /// Notes that the first of these is taken: each earns its part of a turn, and the first pays for it.
    fn take_turns(&self, fitting: &[Arc<Backend>]) {
        let now = Instant::now();
        let loads: Vec<_> = fitting.iter().map(|one| one.load(0, now)).collect();
        let pay = |index: usize, change| fitting[index].pay(change);
        self.provider.selector.take_turns(&loads, 0, pay);
    }
}

/// Discovers, probes and recovers the backends of one provider, for as long as the server runs.
pub struct Upkeep {
    balancer: Arc<LoadBalancer<Ranked>>,
    recovery: Arc<Recovery>,
    keeper: Arc<Keeper>,
}

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start_with_ready_notifier(
        &self,
        shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        tokio::select! {
            () = self.balancer.run(shutdown, Some(ready)) => {}
            () = self.recovery.run() => {}
            () = self.recovery.rediscover(&self.balancer) => {}
            () = self.keeper.run() => {}
        }
    }

    async fn start(&self, shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.balancer.run(shutdown, None) => {}
            () = self.recovery.run() => {}
            () = self.recovery.rediscover(&self.balancer) => {}
            () = self.keeper.run() => {}
        }
    }
}
