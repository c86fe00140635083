//! How one backend is preferred to another: a table of values, one line each.
//!
//! A new selector is one function and one line in [`SELECTORS`]; the tests iterate over it.

use std::cmp::Ordering;

use crate::settings::SelectorKind;

/// What a selector may look at, for one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests that this backend is serving.
    pub in_flight: u32,
    /// Requests that it may serve at once.
    pub slots: u32,
    pub weight: u32,
    /// Relative price of a request.
    pub cost: f64,
    /// Response time in microseconds, peak EWMA; 0 if nothing was measured.
    pub latency_us: f64,
    /// Credit in the smooth weighted round robin; see [`Selector::turn`].
    pub turn: i64,
    /// Position by provider, then port: the last tie-break.
    pub order: u32,
}

/// One way to choose.
#[derive(Debug)]
pub struct Selector {
    pub kind: SelectorKind,
    /// The name that is written in the configuration.
    pub name: &'static str,
    /// The lowest rank wins; ties go to the least used share of slots, then to the lowest order.
    pub rank: fn(&Load) -> f64,
    /// Credit that a backend earns whenever one is chosen among it and others; 0 if turns play no
    /// part.
    pub turn: fn(&Load) -> i64,
}

/// All selectors.
pub static SELECTORS: [Selector; 5] = [
    Selector {
        kind: SelectorKind::LeastInFlight,
        name: "least_in_flight",
        rank: in_flight,
        turn: none,
    },
    Selector {
        kind: SelectorKind::RoundRobin,
        name: "round_robin",
        rank: longest_unused,
        turn: one,
    },
    Selector {
        kind: SelectorKind::Weighted,
        name: "weighted",
        rank: furthest_behind,
        turn: weight,
    },
    Selector {
        kind: SelectorKind::FastestResponse,
        name: "fastest_response",
        rank: response,
        turn: none,
    },
    Selector {
        kind: SelectorKind::Cost,
        name: "cost",
        rank: price,
        turn: none,
    },
];

fn in_flight(load: &Load) -> f64 {
    f64::from(load.in_flight)
}

fn longest_unused(load: &Load) -> f64 {
    -((load.turn + one(load)) as f64)
}

fn furthest_behind(load: &Load) -> f64 {
    -((load.turn + weight(load)) as f64)
}

/// Returns the peak EWMA × (requests in flight + 1). A backend that was never measured counts as very fast, so that it will be.
fn response(load: &Load) -> f64 {
    load.latency_us.max(1.0) * (f64::from(load.in_flight) + 1.0)
}

fn price(load: &Load) -> f64 {
    load.cost
}

fn none(_: &Load) -> i64 {
    0
}

fn one(_: &Load) -> i64 {
    1
}

fn weight(load: &Load) -> i64 {
    i64::from(load.weight)
}

/// Where a backend stands under one selector; the least is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    rank: f64,
    in_flight: u32,
    slots: u32,
    order: u32,
}

impl Standing {
    /// Total order: rank, used share of slots, order.
    pub fn order(&self, other: &Self) -> Ordering {
        // Mostly the rank decides, and a plain comparison is the cheapest.
        if self.rank < other.rank {
            return Ordering::Less;
        }
        if self.rank > other.rank {
            return Ordering::Greater;
        }
        // a / b < c / d, without dividing.
        let used = |a: &Self, b: &Self| u64::from(a.in_flight) * u64::from(b.slots);
        used(self, other)
            .cmp(&used(other, self))
            .then_with(|| self.order.cmp(&other.order))
    }
}

impl Selector {
    /// Returns the selector of that kind.
    pub fn of(kind: SelectorKind) -> &'static Self {
        SELECTORS
            .iter()
            .find(|selector| selector.kind == kind)
            .expect("every kind has a line in the table")
    }

    /// Returns whether turns play a part.
    pub fn takes_turns(&self) -> bool {
        let any = Load {
            weight: 1,
            ..Load::default()
        };
        (self.turn)(&any) != 0
    }

    /// Returns where a backend with this load stands.
    pub fn standing(&self, load: &Load) -> Standing {
        Standing {
            rank: (self.rank)(load),
            in_flight: load.in_flight,
            slots: load.slots.max(1),
            order: load.order,
        }
    }

    /// Returns the index of the best of `loads`; `None` if there are none.
    pub fn choose<'a>(&self, loads: impl IntoIterator<Item = &'a Load>) -> Option<usize> {
        loads
            .into_iter()
            .map(|load| self.standing(load))
            .enumerate()
            .min_by(|(_, left), (_, right)| left.order(right))
            .map(|(index, _)| index)
    }

    /// Moves the turns on after `candidates[chosen]` was taken; nginx's smooth weighted round robin:
    /// each candidate gains its share, and the chosen one pays what all have gained.
    /// `pay(index, change)` is called with each change to a candidate's turn.
    pub fn take_turns<'a>(
        &self,
        candidates: impl IntoIterator<Item = &'a Load>,
        chosen: usize,
        mut pay: impl FnMut(usize, i64),
    ) {
        if !self.takes_turns() {
            return;
        }
        let mut total = 0;
        for (index, load) in candidates.into_iter().enumerate() {
            let gained = (self.turn)(load);
            total += gained;
            pay(index, gained);
        }
        pay(chosen, -total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [SelectorKind; 5] = [
        SelectorKind::LeastInFlight,
        SelectorKind::RoundRobin,
        SelectorKind::Weighted,
        SelectorKind::FastestResponse,
        SelectorKind::Cost,
    ];

    fn fleet(weights: &[u32]) -> Vec<Load> {
        let load = |(order, weight): (u32, &u32)| Load {
            slots: 1,
            weight: *weight,
            cost: 1.0,
            order,
            ..Load::default()
        };
        (0..).zip(weights).map(load).collect()
    }

    /// Chooses `times` times in a row, with turns taken.
    fn sequence(selector: &Selector, loads: &mut [Load], times: usize) -> Vec<usize> {
        let pick = |_| {
            let chosen = selector.choose(loads.iter()).unwrap();
            let before = loads.to_vec();
            selector.take_turns(&before, chosen, |index, change| loads[index].turn += change);
            chosen
        };
        (0..times).map(pick).collect()
    }

    #[test]
    fn every_kind_has_one_line() {
        for kind in KINDS {
            assert_eq!(
                SELECTORS
                    .iter()
                    .filter(|selector| selector.kind == kind)
                    .count(),
                1
            );
            assert_eq!(Selector::of(kind).kind, kind);
        }
        assert_eq!(SELECTORS.len(), KINDS.len());
        for (index, selector) in SELECTORS.iter().enumerate() {
            assert!(
                SELECTORS[..index]
                    .iter()
                    .all(|other| other.name != selector.name)
            );
        }
    }

    #[test]
    fn every_selector_prefers_the_less_used_then_the_first_of_equals() {
        for selector in &SELECTORS {
            assert_eq!(selector.choose(&[]), None, "{}", selector.name);
            let mut loads = fleet(&[1, 1, 1]);
            assert_eq!(selector.choose(&loads), Some(0), "{}", selector.name);
            loads.reverse();
            assert_eq!(selector.choose(&loads), Some(2), "{}", selector.name);
            loads[2].in_flight = 1;
            assert_eq!(selector.choose(&loads), Some(1), "{}", selector.name);
            loads[1].in_flight = 1;
            loads[0].in_flight = 2;
            loads[1].slots = 4;
            assert_eq!(selector.choose(&loads), Some(1), "{}", selector.name);
        }
    }

    #[test]
    fn every_selector_that_takes_turns_is_fair_by_weight() {
        let weights = [5, 1, 3];
        for selector in &SELECTORS {
            let mut loads = fleet(&weights);
            let shares: Vec<i64> = loads.iter().map(selector.turn).collect();
            assert_eq!(
                selector.takes_turns(),
                shares.iter().all(|share| *share > 0)
            );
            let total: i64 = shares.iter().sum();
            let chosen = sequence(selector, &mut loads, usize::try_from(total).unwrap() * 4);
            assert!(loads.iter().all(|load| load.turn == 0), "{}", selector.name);
            for (index, share) in shares.iter().enumerate() {
                let count = chosen.iter().filter(|chosen| **chosen == index).count();
                assert_eq!(
                    i64::try_from(count).unwrap(),
                    share * 4,
                    "{}",
                    selector.name
                );
            }
        }
    }

    #[test]
    fn weighted_is_as_smooth_as_nginx() {
        let selector = Selector::of(SelectorKind::Weighted);
        assert_eq!(
            sequence(selector, &mut fleet(&[5, 1, 1]), 8),
            [0, 0, 1, 0, 2, 0, 0, 0]
        );
    }

    #[test]
    fn round_robin_goes_around() {
        let selector = Selector::of(SelectorKind::RoundRobin);
        assert_eq!(
            sequence(selector, &mut fleet(&[9, 1, 1]), 7),
            [0, 1, 2, 0, 1, 2, 0]
        );
    }

    #[test]
    fn fastest_response_weighs_what_is_in_flight() {
        let selector = Selector::of(SelectorKind::FastestResponse);
        let mut loads = fleet(&[1, 1]);
        loads[0].latency_us = 1000.0;
        loads[1].latency_us = 2500.0;
        assert_eq!(selector.choose(&loads), Some(0));
        loads[0].in_flight = 2;
        assert_eq!(selector.choose(&loads), Some(1));
        // What was never measured is tried.
        loads[0].latency_us = 0.0;
        assert_eq!(selector.choose(&loads), Some(0));
    }

    #[test]
    fn cost_takes_the_cheapest_whatever_it_is_doing() {
        let selector = Selector::of(SelectorKind::Cost);
        let mut loads = fleet(&[1, 1]);
        loads[1].cost = 0.5;
        loads[1].in_flight = 9;
        assert_eq!(selector.choose(&loads), Some(1));
    }
}
