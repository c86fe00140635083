//! What a reader of a plan wants to know besides its reasons: what was looked at, and names like one that nobody knows.

use std::time::Instant;

use super::{Introspection, listing};
use crate::access::Visibility;
use crate::ids::ProviderId;
use crate::nearest;
use crate::routing::Explanation;
use crate::settings::{Provider, ProviderKind, Strategy};

/// Names that are told in place of an unknown one.
const SIMILAR: usize = 5;

/// Adds it to a plan that was made now.
pub(super) fn complete(it: &Introspection, explained: &mut Explanation, now: Instant) {
    if explained.steps.is_empty() {
        explained.similar = similar(it, &explained.model);
        return;
    }
    let verdicts = explained.providers.iter_mut().enumerate();
    for (position, verdict) in verdicts {
        let id = ProviderId::at(position);
        let step = verdict.step.and_then(|step| explained.steps.get(step - 1));
        if let Some(step) = step {
            verdict.facts = Looked {
                it,
                provider: &it.settings.providers[id],
                id,
                model: &step.model,
            }
            .facts(explained.strategy, now);
        }
    }
}

/// Returns names that are like `name`: of listed models, without their provider's, and of the operator's aliases.
fn similar(it: &Introspection, name: &str) -> Vec<String> {
    let listed = listing::models(&it.fleet, Visibility::ALL);
    // As people write it.
    let listed = listed
        .iter()
        .map(|one| one.id.strip_suffix(":latest").unwrap_or(&one.id));
    let aliases = it.settings.routing.aliases.keys().map(|alias| &**alias);
    let others = listed.chain(aliases);
    let others = others.filter(|other| !other.eq_ignore_ascii_case(name));
    let found = nearest::ranked(name, others, SIMILAR);
    found.into_iter().map(str::to_owned).collect()
}

/// One provider of a step.
struct Looked<'a> {
    it: &'a Introspection,
    provider: &'a Provider,
    id: ProviderId,
    /// Its own name.
    model: &'a str,
}

impl Looked<'_> {
    fn facts(&self, strategy: &str, now: Instant) -> Vec<String> {
        let strategy = Strategy::NAMES.iter().find(|(name, _)| *name == strategy);
        let of_strategy = match strategy.map(|(_, strategy)| strategy) {
            Some(Strategy::Weighted) => Some(format!("weight {}", self.provider.weight)),
            Some(Strategy::Failover) => Some(match self.provider.priority {
                Some(priority) => format!("priority {priority}"),
                None => "no priority".to_owned(),
            }),
            Some(Strategy::FastestResponse) => Some(self.response(now)),
            Some(Strategy::CostOptimized) => Some(self.price()),
            _ => None,
        };
        self.memory().into_iter().chain(of_strategy).collect()
    }

    /// Says where a fleet has the model in memory, which is where its requests go first.
    fn memory(&self) -> Option<String> {
        if !self.provider.kind.is_fleet() {
            return None;
        }
        let model = self.it.fleet.models().lookup(self.model)?;
        let snapshot = self.it.fleet.snapshot();
        let having: Vec<_> = snapshot
            .iter()
            .filter(|backend| backend.provider.id == self.id && backend.has(model))
            .collect();
        let loaded = having
            .iter()
            .filter(|backend| backend.inventory().has_loaded(model))
            .count();
        Some(format!(
            "loaded on {loaded} of the {} servers that have it",
            having.len()
        ))
    }

    fn response(&self, now: Instant) -> String {
        let snapshot = self.it.fleet.snapshot();
        let mine = snapshot
            .iter()
            .filter(|backend| backend.provider.id == self.id);
        let micros = mine.map(|backend| backend.load(0, now).latency_us);
        match micros.filter(|micros| *micros > 0.0).min_by(f64::total_cmp) {
            Some(micros) => format!("response time {:.0} ms", micros / 1000.0),
            None => "no response time measured".to_owned(),
        }
    }

    fn price(&self) -> String {
        let facts = self.it.facts.find(self.provider.kind, self.model);
        match (&facts.price, self.provider.kind) {
            (Some(price), _) => format!(
                "{} in and {} out, USD per million tokens",
                price.base.input, price.base.output
            ),
            (None, ProviderKind::Ollama) => "no price".to_owned(),
            (None, _) => "its price is not known".to_owned(),
        }
    }
}
