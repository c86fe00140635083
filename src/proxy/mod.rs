//! The request path: the only floor that touches a Pingora session. The folders follow a request, and are named after
//! Pingora's phases where they stand for one: `listener` accepts the connection, `request_filter` finds out what is asked
//! and plans it, `dispatch` (`upstream_peer`) waits for a slot and makes attempts in turn, `attempt` asks one backend until
//! its first content, `response_body` relays the answer, and `logging` counts it. `phases` has the hooks themselves.

mod attempt;
mod ctx;
mod dispatch;
mod drain;
mod failure;
mod going_on;
mod heads;
mod listener;
mod loading;
mod local;
mod logging;
mod offload;
mod phases;
mod prepared;
mod request_filter;
mod request_ids;
mod response_body;
mod token_ratios;
mod upstream;

use std::sync::Arc;

use crate::access::Access;
use crate::admin::Introspection;
use crate::admission::Dispatcher;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::settings::Settings;

use attempt::upstreams::{UpstreamParts, Upstreams};
use dispatch::queue::SlotQueue;
use loading::loader::ModelLoader;
use local::pages::Pages;
use logging::record::Record;
use request_filter::admit::Admit;
use request_filter::plan::Planner;
use request_ids::RequestIds;
use response_body::responder::Responder;
use token_ratios::TokenRatios;

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
    fleet: Arc<Fleet>,
    drain: Arc<Drain>,
    offload: Arc<offload::Offload>,
    request_ids: Arc<RequestIds>,
    /// Who may ask.
    admit: Admit,
    /// Where a request may go.
    planner: Planner,
    /// What is answered without a backend.
    pages: Pages,
    /// Who has a slot next.
    queue: SlotQueue,
    /// The way to all providers.
    upstreams: Arc<Upstreams>,
    /// How clients are answered.
    responder: Responder,
    /// What is recorded of a request.
    record: Record,
    /// How many tokens prompts have.
    token_ratios: Arc<TokenRatios>,
}

/// What a gateway is made over.
pub struct GatewayBase {
    pub settings: Arc<Settings>,
    /// Who may ask.
    pub access: Arc<Access>,
    pub fleet: Arc<Fleet>,
    /// The scheduler, which already observes the events of `fleet`.
    pub dispatcher: Arc<Dispatcher>,
    pub metrics: Arc<Metrics>,
    /// How the process ends.
    pub drain: Arc<Drain>,
    /// What pages about the gateway are made from.
    pub introspection: Arc<Introspection>,
}

impl Gateway {
    /// Makes a gateway.
    pub fn new(base: GatewayBase) -> Self {
        let GatewayBase {
            settings,
            access,
            fleet,
            dispatcher,
            metrics,
            drain,
            introspection,
        } = base;
        let offload = Arc::new(offload::Offload::new(settings.server.threads));
        let router = Arc::clone(&introspection.router);
        let facts = Arc::clone(&introspection.facts);
        let ledger = introspection.ledger.clone();
        let request_ids = Arc::new(RequestIds::new());
        let parts = UpstreamParts {
            facts: Arc::clone(&facts),
            router: Arc::clone(&router),
            dispatcher: Arc::clone(&dispatcher),
            metrics: Arc::clone(&metrics),
            request_ids: Arc::clone(&request_ids),
            offload: Arc::clone(&offload),
        };
        let upstreams = Arc::new(Upstreams::new(&settings, &fleet, parts));
        let load = settings.timeouts.load;
        let loader = ModelLoader::new(&fleet, &upstreams, &metrics, load);
        dispatcher.set_loader(Arc::new(loader));
        Self(Arc::new(GatewayParts {
            admit: Admit::new(&settings, access, &metrics),
            planner: Planner::new(router, &settings, &fleet),
            pages: Pages::new(&settings, &fleet, introspection),
            queue: SlotQueue::new(dispatcher, Arc::clone(&fleet), Arc::clone(&settings)),
            responder: Responder::new(&settings, &fleet, &metrics, &upstreams, &drain),
            record: Record::new(&settings, &fleet, &facts, &metrics, ledger),
            token_ratios: Arc::default(),
            upstreams,
            offload,
            request_ids,
            drain,
            fleet,
            settings,
        }))
    }

    /// Returns the places that its clients take.
    pub fn places(&self) -> &Arc<Places> {
        self.admit.places()
    }
}
