//! Pingora's `BackendSelection`, once, for every selector: the selector is its configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use pingora_load_balancing::Backend as Target;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use crate::settings::SelectorKind;

use super::backend::Backend;
use super::selector::{Load, Selector, Standing};

/// The members of one provider, to be gone through from the best to the worst.
pub(super) struct Ranked {
    selector: &'static Selector,
    targets: Vec<(Target, Arc<Backend>)>,
}

impl BackendSelection for Ranked {
    type Iter = Ranking;
    type Config = &'static Selector;

    fn build_with_config(targets: &BTreeSet<Target>, selector: &Self::Config) -> Self {
        let member =
            |target: &Target| Some((target.clone(), target.ext.get::<Arc<Backend>>()?.clone()));
        let mut targets: Vec<_> = targets.iter().filter_map(member).collect();
        targets.sort_by_key(|(_, backend)| (backend.port(), backend.addr));
        Self { selector, targets }
    }

    fn build(targets: &BTreeSet<Target>) -> Self {
        Self::build_with_config(targets, &Selector::of(SelectorKind::LeastInFlight))
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> Ranking {
        let now = Instant::now();
        let loads = self
            .targets
            .iter()
            .zip(0..)
            .map(|((_, backend), order)| backend.load(order, now));
        let standings = loads
            .map(|load: Load| self.selector.standing(&load))
            .zip(0..)
            .collect();
        Ranking {
            ranked: Arc::clone(self),
            left: standings,
        }
    }
}

/// Yields the best of those that are left. Mostly the first will do, so they are not sorted.
pub(super) struct Ranking {
    ranked: Arc<Ranked>,
    left: Vec<(Standing, usize)>,
}

impl BackendIter for Ranking {
    fn next(&mut self) -> Option<&Target> {
        let best = (0..self.left.len()).min_by(|a, b| self.left[*a].0.order(&self.left[*b].0))?;
        let (_, index) = self.left.swap_remove(best);
        Some(&self.ranked.targets[index].0)
    }
}
