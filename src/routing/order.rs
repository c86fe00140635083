//! What the candidates of one request are ordered by: the strategy, whose turn it is, and how their providers are doing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::ask::PlanRequest;
use super::candidate::Candidate;
use super::strategy::{self, Groups, Situation};
use super::tiers::Tiers;
use super::view::{ProviderStanding, View};
use crate::ids::{ModelId, ProviderId};
use crate::settings::{Provider, Strategy};

/// Counters for turns; models share one if their numbers meet.
const COUNTERS: usize = 64;

/// Counts the requests for each model, for the strategies that take turns.
pub(super) struct Turns(Vec<AtomicU64>);

impl Turns {
    /// Returns counters that begin anywhere: not all gateways are to begin with the same provider.
    pub(super) fn new() -> Turns {
        let turn = |_| AtomicU64::new(rand::random());
        Turns((0..COUNTERS).map(turn).collect())
    }

    /// Returns a model's turn, which a request that only looks does not take.
    fn of(&self, model: Option<ModelId>, looks_only: bool) -> u64 {
        let counter = &self.0[model.map_or(0, |id| id.0 as usize) % COUNTERS];
        counter.fetch_add(u64::from(!looks_only), Ordering::Relaxed)
    }
}

/// What candidates are ordered by, for one request.
pub(super) struct Order<'a> {
    strategy: Strategy,
    /// Providers that take no requests now.
    unavailable: Vec<ProviderId>,
    providers: &'a [Provider],
    /// How every provider is doing; empty where the strategy or the number of candidates makes that no matter.
    standings: Vec<ProviderStanding>,
    turn: u64,
    /// Prompt tokens, estimated.
    tokens: u64,
}

impl<'a> Order<'a> {
    /// Returns the order of these candidates as they are at `now`.
    pub(super) fn of(
        tiers: &Tiers<'a>,
        strategy: Strategy,
        ask: &PlanRequest<'_>,
        view: &dyn View,
        turns: &Turns,
        now: Instant,
    ) -> Order<'a> {
        let looks = tiers.len() > 1 && strategy::looks(strategy);
        let model = tiers.iter().find_map(|one| one.model.listed());
        let (standings, turn) = if looks {
            let turn = turns.of(model, ask.looks_only);
            (standings(tiers, model, view, now), turn)
        } else {
            (Vec::new(), 0)
        };
        let providers = tiers.iter().map(|one| one.provider);
        Order {
            strategy,
            unavailable: providers.filter(|id| !view.available(*id, now)).collect(),
            providers: tiers.providers(),
            standings,
            turn,
            tokens: ask.needs.tokens,
        }
    }

    pub(super) fn is_available(&self, one: &Candidate) -> bool {
        !self.unavailable.contains(&one.provider)
    }

    /// Orders the candidates of one rank, tier after tier.
    pub(super) fn groups<'f>(&self, tiers: [Vec<&'f Candidate>; 2]) -> Groups<'f> {
        let situation = Situation {
            providers: self.providers,
            standings: &self.standings,
            turn: self.turn,
            tokens: self.tokens,
        };
        let tiers = tiers.into_iter().filter(|tier| !tier.is_empty());
        let groups = tiers.flat_map(|tier| {
            if self.standings.is_empty() && strategy::looks(self.strategy) {
                vec![tier]
            } else {
                strategy::arrange(self.strategy, tier, &situation)
            }
        });
        groups.collect()
    }
}

/// Returns how each provider is doing, over its backends that have the model for which it would be asked; one that does
/// not list it, over all of its backends. `model` is that of the first candidate that lists one.
fn standings(
    tiers: &Tiers<'_>,
    model: Option<ModelId>,
    view: &dyn View,
    now: Instant,
) -> Vec<ProviderStanding> {
    let mut standings = view.standings(model, now);
    let mut seen = vec![model];
    for model in tiers.iter().map(|one| one.model.listed()) {
        if seen.contains(&model) {
            continue;
        }
        seen.push(model);
        let there = view.standings(model, now);
        for one in tiers.iter() {
            // A provider with several of the models is as well as the best of them.
            let id = one.provider;
            if one.model.listed() == model && !standings[id].healthy {
                standings[id] = there[id];
            }
        }
    }
    standings
}
