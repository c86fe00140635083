//! How requests are spread over a provider's backends, and how many at once.

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::reader::Section;
use super::scalar::{Choice, Count, Weight, Whole};
use super::service::Service;
use super::size::Size;
use crate::settings::{self, Placement, ProviderKind, SelectorKind};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Balance {
    max_concurrent: Field<Count<0>>,
    max_concurrent_per_backend: Field<Count<1>>,
    selector: Field<SelectorKind>,
    placement: Field<Placement>,
    weight: Field<Weight>,
    priority: Field<Count<0>>,
    fallback_only: Field<bool>,
    approaches: Field<bool>,
    cost: Field<f64>,
    vram: Field<Size>,
}

impl Choice for SelectorKind {
    const NAMES: &'static [(&'static str, SelectorKind)] = &[
        ("least_in_flight", SelectorKind::LeastInFlight),
        ("round_robin", SelectorKind::RoundRobin),
        ("weighted", SelectorKind::Weighted),
        ("fastest_response", SelectorKind::FastestResponse),
        ("cost", SelectorKind::Cost),
    ];
}

impl Choice for Placement {
    const NAMES: &'static [(&'static str, Placement)] = &[
        ("warm_or_wait", Placement::WarmOrWait),
        ("off", Placement::Off),
        ("false", Placement::Off),
    ];
}

impl Balance {
    /// Returns the keys that the file states and that mean nothing to a service, which has no memory that the gateway
    /// looks after.
    pub(super) fn idle_keys(&self, kind: ProviderKind) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("placement", self.placement.is_stated()),
            ("vram", self.vram.is_stated()),
        ];
        let idle = move |(key, stated)| (stated && !kind.is_fleet()).then_some(key);
        keys.into_iter().filter_map(idle)
    }

    /// Fills in `used`, which has the kind's defaults; `service` is the one that the provider's name means.
    pub(super) fn used(
        self,
        at: &mut Section<'_, '_>,
        service: Option<&Service>,
        used: &mut settings::Provider,
    ) {
        let of_service = service.map(|service| service.variables("MAX_CONCURRENT_REQUESTS"));
        let of_service = of_service.unwrap_or_default();
        let limit = at.stated_or_first("max_concurrent", self.max_concurrent, &of_service);
        used.max_concurrent = limit.map(Whole::size).filter(|limit| *limit > 0);
        // The variable is that of a balancer of GPU servers.
        let each: &[&str] = if used.kind.is_fleet() {
            &["MAX_CONCURRENT_PER_BACKEND"]
        } else {
            &[]
        };
        let key = "max_concurrent_per_backend";
        if let Some(limit) = at.stated_or_first(key, self.max_concurrent_per_backend, each) {
            used.max_concurrent_per_backend = limit.0;
            used.bounds_backends = true;
        }
        if let Some(selector) = at.stated("selector", self.selector) {
            used.selector = selector;
        }
        if let Some(placement) = at.stated("placement", self.placement) {
            used.placement = placement;
        }
        if let Some(weight) = weight(at, self.weight) {
            used.weight = weight;
        }
        let of_service = service.map(|service| service.variables("PRIORITY"));
        let of_service = of_service.unwrap_or_default();
        let priority = at.stated_or_first("priority", self.priority, &of_service);
        used.priority = priority.map(|priority| priority.0);
        if let Some(fallback_only) = at.stated("fallback_only", self.fallback_only) {
            used.fallback_only = fallback_only;
        }
        if let Some(approaches) = at.stated("approaches", self.approaches) {
            if approaches && used.kind.is_fleet() {
                at.warning("approaches", "means nothing to the kind ollama");
            }
            used.approaches = approaches && !used.kind.is_fleet();
        }
        if let Some(cost) = at.stated("cost", self.cost) {
            used.cost = cost;
        }
        used.vram = at.stated("vram", self.vram).map(|size| size.0);
    }
}

/// Returns a weight; one that is not positive counts as 1, which is what it means in files of other balancers.
pub(super) fn weight(at: &mut Section<'_, '_>, field: Field<Weight>) -> Option<u32> {
    let Weight(weight) = at.stated("weight", field)?;
    if weight <= 0.0 {
        at.warning("weight", "is not positive and counts as 1");
        return Some(1);
    }
    Some(weight as u32)
}

impl From<&settings::Provider> for Balance {
    fn from(used: &settings::Provider) -> Balance {
        Balance {
            max_concurrent: used.max_concurrent.map(Whole::of).into(),
            max_concurrent_per_backend: used
                .bounds_backends
                .then_some(Whole(used.max_concurrent_per_backend))
                .into(),
            selector: used.selector.into(),
            placement: used.kind.is_fleet().then_some(used.placement).into(),
            weight: Weight(used.weight.into()).into(),
            priority: used.priority.map(Whole).into(),
            fallback_only: used.fallback_only.into(),
            approaches: used.approaches.into(),
            cost: used.cost.into(),
            vram: used.vram.map(Size).into(),
        }
    }
}
