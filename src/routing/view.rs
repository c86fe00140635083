//! What the planner sees of the fleet: names, who has a model, and how busy each provider is.

use std::sync::Arc;
use std::time::Instant;

use crate::fleet::Fleet;
use crate::ids::{ModelId, ProviderId};

/// How one provider is doing, over its backends that have a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProviderStanding {
    /// Whether any of them is healthy.
    pub healthy: bool,
    /// Requests in flight on the healthy ones.
    pub in_flight: u32,
    /// Requests that those may serve at once.
    pub slots: u32,
    /// Of the quickest: response time in microseconds (peak EWMA) × (requests in flight + 1). 0 if nothing was measured.
    pub response: f64,
}

impl ProviderStanding {
    /// The standing of a provider without a backend.
    pub const ABSENT: ProviderStanding = ProviderStanding {
        healthy: false,
        in_flight: 0,
        slots: 0,
        response: 0.0,
    };

    /// Returns the share of the slots that are used.
    pub fn load(&self) -> f64 {
        f64::from(self.in_flight) / f64::from(self.slots.max(1))
    }

    fn add(&mut self, in_flight: u32, slots: u32, micros: f64) {
        let response = micros * (f64::from(in_flight) + 1.0);
        let quicker = response > 0.0 && (self.response == 0.0 || response < self.response);
        if quicker {
            self.response = response;
        }
        self.healthy = true;
        self.in_flight += in_flight;
        self.slots += slots;
    }
}

/// A provider that has a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Having {
    pub provider: ProviderId,
    /// Its own name for the model, where that is known.
    pub own: Option<Arc<str>>,
    /// Tokens that it holds there, where the server has told.
    pub context: Option<u64>,
}

/// The fleet, or what a test puts in its place.
pub trait View: Send + Sync {
    /// Returns the model of that name in any spelling; `None` if no backend has ever listed it.
    fn lookup(&self, name: &str) -> Option<ModelId>;

    /// Returns the providers that have the model, in the order of the configuration.
    fn having(&self, model: ModelId) -> Vec<Having>;

    /// Returns whether the provider is a service that answers, but tells of no models but those of the configuration.
    fn tells_no_models(&self, provider: ProviderId) -> bool;

    /// Returns whether the provider's first probes have not ended, so that its models are about to come to light.
    fn is_settling(&self, provider: ProviderId) -> bool;

    /// Returns how every provider is doing, over its backends that have the model, or over all of them.
    fn standings(&self, model: Option<ModelId>, now: Instant) -> Vec<ProviderStanding>;

    /// Returns whether the provider takes requests now: its breaker is closed, and it is not cooling down.
    fn available(&self, provider: ProviderId, now: Instant) -> bool;
}

impl View for Fleet {
    fn lookup(&self, name: &str) -> Option<ModelId> {
        self.models().lookup(name)
    }

    fn having(&self, model: ModelId) -> Vec<Having> {
        let mut having: Vec<Having> = Vec::new();
        // By provider.
        for backend in self.snapshot().iter().filter(|backend| backend.has(model)) {
            let provider = backend.provider.id;
            let inventory = backend.inventory();
            let context = inventory.context(model);
            match having.last_mut() {
                // A prompt may come to any of them.
                Some(last) if last.provider == provider => {
                    last.context = last.context.zip(context).map(|(a, b)| a.max(b));
                }
                _ => {
                    let own = if backend.provider.settings.kind.is_fleet() {
                        inventory
                            .model(model)
                            .map(|entry| entry.name.as_str().into())
                    } else {
                        backend.own_name(model)
                    };
                    having.push(Having {
                        provider,
                        own,
                        context,
                    });
                }
            }
        }
        having
    }

    fn tells_no_models(&self, provider: ProviderId) -> bool {
        let snapshot = self.snapshot();
        let mut mine = snapshot
            .iter()
            .filter(|backend| backend.provider.id == provider);
        mine.next().is_some_and(|first| {
            let settings = &first.provider.settings;
            let stated = settings.models.is_empty() && settings.azure.deployments.is_empty();
            // Who refuses the key has not told; what nobody lists is not its business.
            let stated = stated && !first.provider.repels();
            let silent = |backend: &Arc<crate::fleet::Backend>| {
                let inventory = backend.inventory();
                let mut offers = inventory.offers().iter();
                backend.was_probed()
                    && offers.all(|offer| settings.model_map.contains_key(&offer.name))
            };
            stated && !settings.kind.is_fleet() && silent(first) && mine.all(silent)
        })
    }

    fn is_settling(&self, provider: ProviderId) -> bool {
        self.is_provider_settling(provider)
    }

    fn standings(&self, model: Option<ModelId>, now: Instant) -> Vec<ProviderStanding> {
        let mut standings = vec![ProviderStanding::ABSENT; self.providers().count()];
        let snapshot = self.snapshot();
        let able = snapshot
            .iter()
            .filter(|backend| backend.healthy() && model.is_none_or(|model| backend.has(model)));
        for backend in able {
            let micros = backend.load(0, now).latency_us;
            standings[backend.provider.id].add(backend.in_flight(), backend.slots, micros);
        }
        standings
    }

    fn available(&self, provider: ProviderId, now: Instant) -> bool {
        Fleet::available(self, provider, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_backend_speaks_for_its_provider() {
        let mut standing = ProviderStanding::ABSENT;
        assert_eq!(standing.load(), 0.0);
        standing.add(1, 2, 0.0);
        assert_eq!((standing.healthy, standing.response), (true, 0.0));
        standing.add(2, 2, 100.0);
        assert_eq!(standing.response, 300.0);
        standing.add(0, 4, 200.0);
        assert_eq!(standing.response, 200.0);
        assert_eq!((standing.in_flight, standing.slots), (3, 8));
        assert_eq!(standing.load(), 0.375);
    }
}
