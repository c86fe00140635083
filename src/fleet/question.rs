//! What one probe asks of a backend, and what probes ask with.

use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;

use super::churn::Told;
use super::complaints::Topic;
use super::endpoint::Endpoint;
use super::inventory::Inventory;
use super::models::Models;
use super::provider::Provider;

/// Probes backends over Pingora's own connector, so that TLS and HTTP/2 behave as for requests.
pub(super) struct Prober {
    pub(super) connector: Connector,
    pub(super) models: Arc<Models>,
    /// Names of all providers.
    pub(super) names: Vec<Arc<str>>,
}

impl Prober {
    pub(super) fn new(models: Arc<Models>, names: Vec<Arc<str>>) -> Self {
        Self {
            connector: Connector::new(None),
            models,
            names,
        }
    }
}

/// What to ask of a backend.
pub(super) struct Question<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) provider: &'a Provider,
    /// What the last good probe found, if there was one.
    pub(super) known: Option<&'a Inventory>,
    /// The version if it is known already.
    pub(super) version: Option<&'a str>,
    /// How long the answer may take.
    pub(super) timeout: Duration,
    /// It is in doubt whether it answers at all: that it accepts a connection is not enough.
    pub(super) doubted: bool,
}

impl<'a> Question<'a> {
    /// Returns the question for a backend that was never probed.
    pub(super) fn first(endpoint: &'a Endpoint, provider: &'a Provider) -> Self {
        Self {
            endpoint,
            provider,
            known: None,
            version: None,
            timeout: provider.settings.probe_timeout,
            doubted: false,
        }
    }

    /// Logs what the backend does instead of its part, once until it does its part again.
    pub(super) fn complain(&self, what: Topic, why: &str) {
        let (provider, name) = (self.provider, &self.endpoint.name);
        if provider.complaints.is_new(name, what, why) {
            log::warn!("{} {name}: {why}", provider.name);
        }
    }

    /// Takes note of what a good probe has found.
    pub(super) fn found(&self, mut inventory: Inventory) -> Inventory {
        let Some(known) = self.known else {
            return inventory;
        };
        match inventory.follow(known).told() {
            Some(Told::Changing { came, gone }) => self.complain(
                Topic::Churn,
                &format!(
                    "its list of models is another at each probe: of the last, {came} were not there before and {gone} \
                     are gone; it may not be what it is taken for"
                ),
            ),
            Some(Told::Steady) => self
                .provider
                .complaints
                .settle(&self.endpoint.name, Topic::Churn),
            None => {}
        }
        inventory
    }
}
