//! The request path: the only floor that touches a Pingora session. The folders follow a request, and are named after
//! Pingora's phases where they stand for one: `listener` accepts the connection, `request_filter` finds out what is asked
//! and plans it, `dispatch` (`upstream_peer`) waits for a slot and makes attempts in turn, `attempt` asks one backend until
//! its first content, `response_body` relays the answer, and `logging` counts it. `phases` has the hooks themselves.

mod attempt;
mod ctx;
mod dispatch;
mod drain;
mod failure;
mod heads;
mod listener;
mod local;
mod logging;
mod offload;
mod phases;
mod prepared;
mod request_filter;
mod request_ids;
mod response_body;
mod upstream;

use std::sync::Arc;

use crate::access::Access;
use crate::admin::Introspection;
use crate::admission::Dispatcher;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::settings::Settings;
use remuda_formats::facts::Facts;

use attempt::upstreams::{UpstreamParts, Upstreams};
use dispatch::queue::SlotQueue;
use logging::record::Record;
use request_filter::admit::Admit;
use request_filter::plan::Planner;
use request_ids::RequestIds;

pub use ctx::Ctx;
pub use drain::Drain;
pub use listener::gate::Gate;
pub use listener::guarded::Bounds;
pub use listener::places::Places;
pub use response_body::unsent::Unsent;

/// Joins the stages of a request's way over what they share.
#[derive(Clone)]
pub struct Gateway(Arc<GatewayParts>);

impl std::ops::Deref for Gateway {
    type Target = GatewayParts;

    fn deref(&self) -> &GatewayParts {
        &self.0
    }
}

/// The parts of the gateway's state, which all requests share.
pub struct GatewayParts {
    settings: Arc<Settings>,
    admit: Admit,
    planner: Planner,
    record: Record,
    fleet: Arc<Fleet>,
    queue: SlotQueue,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    upstreams: Arc<Upstreams>,
    offload: Arc<offload::Offload>,
    request_ids: Arc<RequestIds>,
    facts: Arc<Facts>,
    introspection: Arc<Introspection>,
}

impl Gateway {
    /// Makes a gateway over `fleet`, whose events `dispatcher` already observes.
    pub fn new(
        settings: Arc<Settings>,
        access: Arc<Access>,
        fleet: Arc<Fleet>,
        dispatcher: Arc<Dispatcher>,
        metrics: Arc<Metrics>,
        drain: Arc<Drain>,
        introspection: Arc<Introspection>,
    ) -> Self {
        let offload = Arc::new(offload::Offload::new(settings.server.threads));
        let router = Arc::clone(&introspection.router);
        let request_ids = Arc::new(RequestIds::new());
        let parts = UpstreamParts {
            facts: Arc::clone(&introspection.facts),
            router: Arc::clone(&router),
            dispatcher: Arc::clone(&dispatcher),
            metrics: Arc::clone(&metrics),
            request_ids: Arc::clone(&request_ids),
            offload: Arc::clone(&offload),
        };
        let upstreams = Arc::new(Upstreams::new(&settings, &fleet, parts));
        let queue = SlotQueue::new(dispatcher, Arc::clone(&fleet), Arc::clone(&settings));
        Self(Arc::new(GatewayParts {
            admit: Admit::new(&settings, access, &metrics),
            planner: Planner::new(router, &settings, &fleet),
            record: Record::new(&settings, &fleet, &metrics, introspection.ledger.clone()),
            offload,
            settings,
            fleet,
            queue,
            metrics,
            drain,
            upstreams,
            request_ids,
            facts: Arc::clone(&introspection.facts),
            introspection,
        }))
    }

    /// Returns the places that its clients take.
    pub fn places(&self) -> &Arc<Places> {
        self.admit.places()
    }
}
