//! What all attempts share: the connections and counters of each provider, the parameters that its models have refused of late,
//! and the names and facts of models by which requests are written.

use std::borrow::Cow;
use std::sync::Arc;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::server::configuration::ServerConf;
use prometheus::IntCounter;

use crate::admission::Dispatcher;
use crate::fleet::{Backend, Fleet, Provider};
use crate::ids::ProviderId;
use crate::metrics::{AttemptCounters, AttemptOutcome, Metrics};
use crate::proxy::attempt::refusals::RefusedParameters;
use crate::proxy::offload::Offload;
use crate::proxy::prepared::WantedModel;
use crate::proxy::request_ids::RequestIds;
use crate::proxy::upstream::{ConnectionPool, Connections};
use crate::routing::Router;
use crate::settings::Settings;
use remuda_formats::facts::{Facts, ModelFacts};

/// The upstream side of the gateway: what attempts at each provider share.
pub(crate) struct Upstreams {
    sides: Vec<ProviderSide>,
    pub(super) settings: Arc<Settings>,
    pub(super) facts: Arc<Facts>,
    pub(super) router: Arc<Router>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) request_ids: Arc<RequestIds>,
    pub(super) offload: Arc<Offload>,
    pub(super) unknown_model: ModelFacts,
    /// Whether every backend is sent the name that the client wrote: there are Ollama servers alone, and the operator has given
    /// no names.
    plain_names: bool,
}

/// What [`Upstreams`] is made of besides the settings and the fleet.
pub(crate) struct UpstreamParts {
    pub(crate) facts: Arc<Facts>,
    pub(crate) router: Arc<Router>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) request_ids: Arc<RequestIds>,
    pub(crate) offload: Arc<Offload>,
}

/// What all attempts at one provider share.
pub(crate) struct ProviderSide {
    pub(crate) connections: Connections,
    pub(crate) retries_denied: IntCounter,
    pub(crate) malformed: IntCounter,
    pub(super) refusals: RefusedParameters,
    pub(super) offload: Arc<Offload>,
    counters: AttemptCounters,
    provider: Arc<Provider>,
}

impl ProviderSide {
    fn new(
        provider: &Arc<Provider>,
        settings: &Settings,
        metrics: &Metrics,
        offload: &Arc<Offload>,
    ) -> Self {
        let pool = &provider.settings.pool;
        let name = &[&*provider.name];
        if provider.settings.kind.is_fleet() {
            // So that they are there with 0.
            let zero = [
                &metrics.upstream.cut_prompts,
                &metrics.loads.failures,
                &metrics.copies.late,
            ];
            for counter in zero {
                counter.with_label_values(name);
            }
            for result in ["healed", "failed"] {
                let labels = [&*provider.name, result];
                metrics.copies.heals.with_label_values(&labels);
            }
        }
        ProviderSide {
            connections: Connections {
                connector: Arc::new(Connector::new(Some(connector_options(pool.size)))),
                pool: ConnectionPool::new(settings.server.threads, pool.size, pool.idle_timeout),
                connect_timeout: provider.timeouts.connect,
                idle_timeout: pool.idle_timeout,
            },
            retries_denied: metrics.upstream.retries_denied.with_label_values(name),
            malformed: metrics.upstream.malformed_events.with_label_values(name),
            refusals: RefusedParameters::default(),
            offload: Arc::clone(offload),
            counters: metrics.attempts(&provider.name),
            provider: Arc::clone(provider),
        }
    }

    /// Counts how an attempt at the provider ended.
    pub(crate) fn count(&self, outcome: AttemptOutcome) {
        self.counters.count(outcome);
        self.provider.statistics.ended(outcome);
    }
}

impl Upstreams {
    pub(crate) fn new(settings: &Arc<Settings>, fleet: &Fleet, shared: UpstreamParts) -> Self {
        let UpstreamParts {
            facts,
            router,
            dispatcher,
            metrics,
            request_ids,
            offload,
        } = shared;
        let providers = fleet.providers();
        let side = |provider| ProviderSide::new(provider, settings, &metrics, &offload);
        Upstreams {
            sides: providers.map(side).collect(),
            plain_names: settings.routing.aliases.is_empty()
                && settings.providers.len() == 1
                && settings.providers[0].kind.is_fleet()
                && settings.providers[0].model_map.is_empty(),
            settings: Arc::clone(settings),
            unknown_model: ModelFacts::default(),
            facts,
            router,
            dispatcher,
            metrics,
            request_ids,
            offload,
        }
    }

    /// Returns how many providers there are.
    pub(crate) fn count_providers(&self) -> usize {
        self.sides.len()
    }

    /// Returns what attempts at that provider share.
    pub(crate) fn side(&self, provider: ProviderId) -> &ProviderSide {
        &self.sides[provider]
    }

    /// Counts how an attempt at the backend ended.
    pub(crate) fn count(&self, backend: &Backend, outcome: AttemptOutcome) {
        self.side(backend.provider.id).count(outcome);
    }

    /// Counts a request that makes the backend load its model.
    pub(crate) fn count_cold_load(&self, backend: &Backend) {
        let name = &*backend.provider.name;
        self.metrics
            .upstream
            .cold_loads
            .with_label_values(&[name])
            .inc();
    }

    /// Counts a request that has had no content from the backend for longer than its copy was expected to need.
    pub(crate) fn count_late(&self, backend: &Backend) {
        let late = &self.metrics.copies.late;
        late.with_label_values(&[&*backend.provider.name]).inc();
    }

    /// Returns the backend's name, if it is one of several and clients may know it.
    pub(crate) fn exposed<'b>(&self, backend: &'b Backend) -> Option<&'b str> {
        let settings = &backend.provider.settings;
        let several = settings.kind.is_fleet() || settings.backends.len() > 1;
        (several && self.settings.server.expose_backend).then_some(&*backend.name)
    }

    /// Returns what is known of a model, by the provider's own name for it.
    pub(crate) fn facts_of(&self, backend: &Backend, own: &str) -> &ModelFacts {
        let settings = &backend.provider.settings;
        let base = settings.azure.deployments.get(own);
        self.facts
            .find(settings.kind, base.map_or(own, |base| base))
    }

    /// Returns the provider's own name for the wanted model.
    pub(crate) fn own_name<'a>(&self, wanted: &'a WantedModel, backend: &Backend) -> Cow<'a, str> {
        let given = || Cow::Borrowed(wanted.own.as_deref().unwrap_or(wanted.name()));
        if backend.provider.settings.kind.is_fleet() && self.plain_names {
            return given();
        }
        match wanted.model.and_then(|model| backend.own_name(model)) {
            Some(own) => Cow::Owned(String::from(&*own)),
            None => given(),
        }
    }

    /// Returns the context of the wanted model at the backend in tokens, if that is known.
    pub(crate) fn context_of(&self, wanted: &WantedModel, backend: &Backend) -> Option<u64> {
        let settings = &backend.provider.settings;
        if let Some(num_ctx) = settings.num_ctx {
            return Some(u64::from(num_ctx));
        }
        let told = wanted
            .model
            .and_then(|model| backend.inventory().context(model));
        let own = self.own_name(wanted, backend);
        told.or(self.facts_of(backend, &own).context)
    }
}

fn connector_options(pool_size: usize) -> ConnectorOptions {
    let mut options = ConnectorOptions::from_server_conf(&ServerConf::default());
    options.keepalive_pool_size = pool_size;
    options
}
