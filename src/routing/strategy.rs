//! The strategies: in which order candidates are tried, and which of them are equals.

use std::cmp::Ordering;

use super::candidate::Candidate;
use super::view::ProviderStanding;
use crate::settings::{Provider, Strategy};

/// What a strategy may look at besides the candidates.
pub(super) struct Situation<'a> {
    pub(super) providers: &'a [Provider],
    /// How each provider is doing; empty for a strategy that does not look.
    pub(super) standings: &'a [ProviderStanding],
    /// Counts the requests for the model.
    pub(super) turn: u64,
    /// Prompt tokens.
    pub(super) tokens: u64,
}

/// Equals together, the best first.
pub(super) type Groups<'a> = Vec<Vec<&'a Candidate>>;

/// Returns whether the strategy looks at how providers are doing.
pub(super) fn looks(strategy: Strategy) -> bool {
    !matches!(strategy, Strategy::CapabilityBased | Strategy::Manual)
}

/// Returns whether all that have a model are gone through, bundled rules or not.
pub(super) fn spreads(strategy: Strategy) -> bool {
    looks(strategy)
}

/// Returns whether services that tell of no models take part although others list the model: as with balancers whose
/// providers all serve every name.
pub(super) fn asks_the_silent(strategy: Strategy) -> bool {
    matches!(
        strategy,
        Strategy::Weighted | Strategy::RoundRobin | Strategy::Failover
    )
}

/// Orders `candidates`. Those without a healthy backend come last.
pub(super) fn arrange<'a>(
    strategy: Strategy,
    mut candidates: Vec<&'a Candidate>,
    situation: &Situation<'_>,
) -> Groups<'a> {
    if !looks(strategy) {
        return vec![candidates];
    }
    if candidates.len() > 1 {
        order(strategy, &mut candidates, situation);
        candidates.sort_by_key(|one| !situation.standings[one.provider].healthy);
    }
    candidates.into_iter().map(|one| vec![one]).collect()
}

fn order(strategy: Strategy, candidates: &mut [&Candidate], situation: &Situation<'_>) {
    let Situation {
        providers,
        standings,
        turn,
        tokens,
    } = *situation;
    let settings = |one: &Candidate| &providers[one.provider];
    let standing = |one: &Candidate| &standings[one.provider];
    match strategy {
        Strategy::CapabilityBased | Strategy::Manual => {}
        Strategy::RoundRobin => take_turns(candidates, standings, turn),
        Strategy::Weighted => by_weight(candidates, situation),
        Strategy::Failover => candidates.sort_by_key(|one| {
            let priority = settings(one).priority;
            (priority.is_none(), priority)
        }),
        Strategy::LeastLoaded => {
            take_turns(candidates, standings, turn);
            let load = |one: &Candidate| standing(one).load();
            candidates.sort_by(|a, b| load(a).total_cmp(&load(b)));
        }
        Strategy::FastestResponse => {
            take_turns(candidates, standings, turn);
            candidates.sort_by(|a, b| quicker(standing(a), standing(b)));
        }
        Strategy::CostOptimized => {
            candidates.sort_by_key(|one| one.price(settings(one).kind, tokens));
        }
    }
}

/// Rotates candidates by turn. The turn is that of the healthy alone, so that nobody has the turns of one that is away.
fn take_turns(candidates: &mut [&Candidate], standings: &[ProviderStanding], turn: u64) {
    candidates.sort_by_key(|one| !standings[one.provider].healthy);
    let healthy = candidates.partition_point(|one| standings[one.provider].healthy);
    let rotate = |some: &mut [&Candidate]| {
        if let Some(by) = turn.checked_rem(some.len() as u64) {
            some.rotate_left(usize::try_from(by).unwrap_or(0));
        }
    };
    let (able, others) = candidates.split_at_mut(healthy);
    rotate(able);
    rotate(others);
}

/// Compares by response time. A provider of which nothing is known goes first, until it is serving a request that will
/// tell; then it waits for the outcome behind the others.
fn quicker(one: &ProviderStanding, other: &ProviderStanding) -> Ordering {
    let rank = |standing: &ProviderStanding| match standing.response {
        unknown if unknown == 0.0 && standing.in_flight > 0 => f64::INFINITY,
        known => known,
    };
    rank(one).total_cmp(&rank(other))
}

/// Draws candidates one after the other, each with the chance of its weight among those that are left (the unhealthy
/// have none while there are others).
fn by_weight(candidates: &mut [&Candidate], situation: &Situation<'_>) {
    let weight = |one: &Candidate| {
        if situation.standings[one.provider].healthy {
            u64::from(situation.providers[one.provider].weight.max(1))
        } else {
            0
        }
    };
    let mut draw = even(situation.turn);
    for start in 0..candidates.len() {
        let left = &mut candidates[start..];
        let total: u64 = left.iter().map(|one| weight(one)).sum();
        // As far into the weights as the draw is into the numbers that there are.
        let mut point = u64::try_from((u128::from(draw) * u128::from(total)) >> 64).unwrap_or(0);
        let drawn = left.iter().position(|one| {
            let here = weight(one);
            let found = point < here;
            point = point.saturating_sub(here);
            found
        });
        left[..=drawn.unwrap_or(0)].rotate_right(1);
        draw = mixed(draw);
    }
}

/// Draws that fill the range evenly however many there are: multiples of the golden ratio modulo 1 (in 2⁻⁶⁴), whose
/// discrepancy over n draws is O(log n / n), where that of independent ones is O(1 / √n).
fn even(turn: u64) -> u64 {
    turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns another draw that does not depend on the first in any simple way (SplitMix64's finalizer).
fn mixed(draw: u64) -> u64 {
    let mut z = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProviderId;
    use crate::routing::StepModel;
    use crate::settings::ProviderKind;
    use remuda_formats::facts::{Facts, ModelFacts};

    /// Providers with their candidates and standings, all healthy and idle.
    struct Herd {
        providers: Vec<Provider>,
        candidates: Vec<Candidate>,
        standings: Vec<ProviderStanding>,
    }

    impl Herd {
        fn of(count: usize) -> Herd {
            let provider = |number| Provider::named(&format!("p{number}"));
            let candidate = |number| {
                let named = StepModel::Named("m".into());
                Candidate::new(
                    ProviderId::at(number),
                    named,
                    Vec::new(),
                    &ModelFacts::default(),
                )
            };
            let healthy = ProviderStanding {
                healthy: true,
                slots: 10,
                ..ProviderStanding::ABSENT
            };
            Herd {
                providers: (0..count).map(provider).collect(),
                candidates: (0..count).map(candidate).collect(),
                standings: vec![healthy; count],
            }
        }

        fn order(&self, strategy: Strategy, turn: u64) -> Vec<usize> {
            let situation = Situation {
                providers: &self.providers,
                standings: &self.standings,
                turn,
                tokens: 1000,
            };
            let groups = arrange(strategy, self.candidates.iter().collect(), &situation);
            assert!(groups.iter().all(|group| group.len() == 1));
            groups
                .iter()
                .map(|group| group[0].provider.position())
                .collect()
        }

        /// How often each is first.
        fn firsts(&self, strategy: Strategy, turns: u64) -> Vec<u64> {
            let mut firsts = vec![0; self.providers.len()];
            for turn in 0..turns {
                firsts[self.order(strategy, turn)[0]] += 1;
            }
            firsts
        }
    }

    #[test]
    fn equals_stay_together() {
        let herd = Herd::of(3);
        let situation = Situation {
            providers: &herd.providers,
            standings: &[],
            turn: 1,
            tokens: 0,
        };
        for strategy in [Strategy::CapabilityBased, Strategy::Manual] {
            let groups = arrange(strategy, herd.candidates.iter().collect(), &situation);
            assert_eq!(groups.len(), 1);
            assert_eq!(groups[0].len(), 3);
        }
    }

    #[test]
    fn turns_are_taken_by_the_healthy() {
        let mut herd = Herd::of(3);
        assert_eq!(herd.order(Strategy::RoundRobin, 0), [0, 1, 2]);
        assert_eq!(herd.order(Strategy::RoundRobin, 1), [1, 2, 0]);
        assert_eq!(herd.firsts(Strategy::RoundRobin, 300), [100, 100, 100]);
        herd.standings[1].healthy = false;
        assert_eq!(herd.firsts(Strategy::RoundRobin, 300), [150, 0, 150]);
        assert_eq!(herd.order(Strategy::RoundRobin, 1), [2, 0, 1]);
    }

    #[test]
    fn weights_are_met_closely_from_any_start() {
        let mut herd = Herd::of(4);
        let weights = [5, 1, 3, 1];
        for (provider, weight) in herd.providers.iter_mut().zip(weights) {
            provider.weight = weight;
        }
        for start in [0, 1 << 40, u64::MAX - 500] {
            let mut firsts = [0_i64; 4];
            let mut seconds = [0_i64; 4];
            for turn in 0..10_000 {
                let order = herd.order(Strategy::Weighted, start.wrapping_add(turn));
                firsts[order[0]] += 1;
                seconds[order[1]] += 1;
                let mut all = order.clone();
                all.sort_unstable();
                assert_eq!(all, [0, 1, 2, 3]);
            }
            for (first, weight) in firsts.iter().zip(weights) {
                assert!((first - i64::from(weight) * 1000).abs() <= 20, "{firsts:?}");
            }
            // Those that are left keep their proportions: 5/10 × 3/5 + 1/10 × 3/9 × 2 for the third.
            let expected = [
                0.3 / 0.7 * 5000.0 / 0.5 * 0.5 + 1000.0 * 2.0 * 5.0 / 9.0,
                3666.7,
            ];
            assert!(
                (seconds[2] as f64 - expected[1]).abs() < 200.0,
                "{seconds:?}"
            );
            assert!(
                (seconds[0] as f64 - expected[0]).abs() < 200.0,
                "{seconds:?}"
            );
        }
        herd.standings[0].healthy = false;
        let firsts = herd.firsts(Strategy::Weighted, 5000);
        assert_eq!(firsts[0], 0);
        assert!(firsts[2].abs_diff(3000) <= 20, "{firsts:?}");
    }

    #[test]
    fn failover_goes_by_priority_then_by_the_file() {
        let mut herd = Herd::of(4);
        assert_eq!(herd.order(Strategy::Failover, 7), [0, 1, 2, 3]);
        herd.providers[3].priority = Some(1);
        herd.providers[1].priority = Some(2);
        assert_eq!(herd.order(Strategy::Failover, 7), [3, 1, 0, 2]);
        herd.standings[3].healthy = false;
        assert_eq!(herd.order(Strategy::Failover, 7), [1, 0, 2, 3]);
    }

    #[test]
    fn the_least_loaded_has_the_smallest_share_in_use() {
        let mut herd = Herd::of(3);
        for (standing, (in_flight, slots)) in
            herd.standings.iter_mut().zip([(5, 10), (3, 4), (1, 2)])
        {
            (standing.in_flight, standing.slots) = (in_flight, slots);
        }
        let order = herd.order(Strategy::LeastLoaded, 0);
        assert_eq!(order, [0, 2, 1]);
        // Equals take turns.
        assert_eq!(herd.order(Strategy::LeastLoaded, 1), [2, 0, 1]);
    }

    #[test]
    fn the_fastest_is_known_or_tried() {
        let mut herd = Herd::of(3);
        for (standing, response) in herd.standings.iter_mut().zip([300.0, 100.0, 0.0]) {
            standing.response = response;
        }
        assert_eq!(herd.order(Strategy::FastestResponse, 0), [2, 1, 0]);
        herd.standings[2].in_flight = 1;
        assert_eq!(herd.order(Strategy::FastestResponse, 0), [1, 0, 2]);
    }

    #[test]
    fn the_cheapest_is_known_or_usual() {
        let facts = Facts::bundled();
        let mut herd = Herd::of(5);
        let models = [
            (ProviderKind::Bedrock, "nobody-knows"),
            (ProviderKind::OpenRouter, "nobody-knows"),
            (ProviderKind::Anthropic, "claude-opus-5-5"),
            (ProviderKind::Anthropic, "claude-haiku-5-5"),
            (ProviderKind::Ollama, "llama3.2"),
        ];
        for (index, (kind, model)) in models.into_iter().enumerate() {
            herd.providers[index].kind = kind;
            let named = StepModel::Named(model.into());
            let known = facts.find(kind, model);
            herd.candidates[index] =
                Candidate::new(ProviderId::at(index), named, Vec::new(), known);
        }
        assert_eq!(herd.order(Strategy::CostOptimized, 0), [4, 3, 2, 1, 0]);
        herd.standings[4].healthy = false;
        herd.standings[3].healthy = false;
        assert_eq!(herd.order(Strategy::CostOptimized, 0), [2, 1, 0, 4, 3]);
    }
}
