//! What it takes to answer clients: the part of the gateway's state that relays answers and tells errors.

use std::sync::Arc;

use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::ctx::Ctx;
use crate::proxy::drain::Drain;
use crate::settings::{Provider, Settings};

/// Answers clients: relays what backends say, and tells errors in the format of each client.
pub(crate) struct Responder {
    pub(super) settings: Arc<Settings>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) drain: Arc<Drain>,
}

impl Responder {
    pub(crate) fn new(
        settings: &Arc<Settings>,
        fleet: &Arc<Fleet>,
        metrics: &Arc<Metrics>,
        upstreams: &Arc<Upstreams>,
        drain: &Arc<Drain>,
    ) -> Responder {
        Responder {
            settings: Arc::clone(settings),
            fleet: Arc::clone(fleet),
            metrics: Arc::clone(metrics),
            upstreams: Arc::clone(upstreams),
            drain: Arc::clone(drain),
        }
    }

    /// Returns the provider that the attempt is at, as it is configured.
    pub(super) fn provider_of(&self, ctx: &Ctx) -> Option<&Provider> {
        ctx.attempt.provider.map(|id| &self.settings.providers[id])
    }

    /// Returns whether the attempt is at a provider that is no fleet.
    pub(super) fn is_service(&self, ctx: &Ctx) -> bool {
        self.provider_of(ctx)
            .is_some_and(|provider| !provider.kind.is_fleet())
    }
}
