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
mod response_body;
mod upstream;

use std::sync::Arc;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::server::configuration::ServerConf;
use prometheus::IntCounter;

use crate::access::Access;
use crate::admin::Introspection;
use crate::admission::Dispatcher;
use crate::facts::{Facts, ModelFacts};
use crate::fleet::{Fleet, Provider};
use crate::metrics::{AttemptCounters, AttemptOutcome, Metrics};
use crate::settings::Settings;

use logging::record::Record;
use request_filter::admit::Admit;
use request_filter::identify::RequestIds;
use request_filter::plan::Planner;

pub use ctx::Ctx;
pub use drain::Drain;
pub use listener::gate::Gate;
pub use listener::guarded::Bounds;
pub use listener::places::Places;
pub use response_body::unsent::Unsent;

/// Joins the stages of a request's way over what they share.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

impl std::ops::Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The parts of the gateway's state, which all requests share.
pub struct Shared {
    settings: Arc<Settings>,
    admit: Admit,
    planner: Planner,
    record: Record,
    fleet: Arc<Fleet>,
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
    upstreams: Vec<ProviderSide>,
    turns: Arc<offload::Turns>,
    request_ids: RequestIds,
    facts: Arc<Facts>,
    introspection: Arc<Introspection>,
    unknown_model: ModelFacts,
    /// Ollama backends, and no names of the operator's own: a backend is sent the name that the client wrote.
    plain_names: bool,
}

/// What all attempts at one provider share.
struct ProviderSide {
    connections: upstream::Connections,
    attempts: Attempts,
    retries_denied: IntCounter,
    malformed: IntCounter,
    refusals: attempt::refusals::Refusals,
    turns: Arc<offload::Turns>,
}

/// Where the ends of attempts at one provider are counted.
struct Attempts {
    counters: AttemptCounters,
    provider: Arc<Provider>,
}

impl Attempts {
    fn count(&self, outcome: AttemptOutcome) {
        self.counters.count(outcome);
        self.provider.statistics.ended(outcome);
    }
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
        let turns = Arc::new(offload::Turns::new(settings.server.threads));
        let upstreams = fleet
            .providers()
            .map(|provider| {
                let pool = &provider.settings.pool;
                ProviderSide {
                    connections: upstream::Connections {
                        connector: Arc::new(Connector::new(Some(connector_options(pool.size)))),
                        pool: upstream::Pool::new(
                            settings.server.threads,
                            pool.size,
                            pool.idle_timeout,
                        ),
                        connect_timeout: provider.timeouts.connect,
                        idle_timeout: pool.idle_timeout,
                    },
                    attempts: Attempts {
                        counters: metrics.attempts(&provider.name),
                        provider: Arc::clone(provider),
                    },
                    retries_denied: metrics.retries_denied.with_label_values(&[&*provider.name]),
                    malformed: metrics
                        .malformed_events
                        .with_label_values(&[&*provider.name]),
                    refusals: attempt::refusals::Refusals::default(),
                    turns: Arc::clone(&turns),
                }
            })
            .collect();
        let plain_names = settings.routing.aliases.is_empty()
            && settings.providers.len() == 1
            && settings.providers[0].kind.is_fleet()
            && settings.providers[0].model_map.is_empty();
        let router = Arc::clone(&introspection.router);
        Self(Arc::new(Shared {
            admit: Admit::new(&settings, access, &metrics),
            planner: Planner::new(router, &settings, &fleet),
            record: Record::new(&settings, &fleet, &metrics, introspection.ledger.clone()),
            turns,
            settings,
            fleet,
            dispatcher,
            metrics,
            drain,
            upstreams,
            request_ids: RequestIds::new(),
            facts: Arc::clone(&introspection.facts),
            introspection,
            unknown_model: ModelFacts::default(),
            plain_names,
        }))
    }

    /// Returns the places that its clients take.
    pub fn places(&self) -> &Arc<Places> {
        self.admit.places()
    }
}

fn connector_options(pool_size: usize) -> ConnectorOptions {
    let mut options = ConnectorOptions::from_server_conf(&ServerConf::default());
    options.keepalive_pool_size = pool_size;
    options
}
