//! Whether what goes wrong at a provider is the provider's fault or that of one of its models, by whose requests have
//! failed: in a row since anything went well, and within the breaker's window.

use std::time::{Duration, Instant};

use super::ModelKey;
use super::breaker::{OpenCause, Went};
use crate::settings;

/// Models that are told apart; failures of more count as the provider's.
const MOST_MODELS: usize = 64;

#[derive(Debug)]
pub(super) struct Blame {
    window: Duration,
    /// Failures in a row that open a breaker.
    failures: u32,
    models: Vec<Failing>,
    /// Failures that are no model's, such as a refused key.
    whole: Failing,
}

#[derive(Debug)]
struct Failing {
    model: ModelKey,
    /// Failures since anything went well.
    in_a_row: u32,
    last: Option<Instant>,
}

impl Failing {
    fn new(model: ModelKey) -> Self {
        Self {
            model,
            in_a_row: 0,
            last: None,
        }
    }

    fn is_recent(&self, window: Duration, now: Instant) -> bool {
        self.last
            .is_some_and(|last| now.saturating_duration_since(last) <= window)
    }
}

impl Blame {
    pub(super) fn new(policy: &settings::Breaker) -> Self {
        Self {
            window: policy.window,
            failures: policy.failures,
            models: Vec::new(),
            whole: Failing::new(ModelKey::default()),
        }
    }

    /// Notes how a request for `model` went, which is `None` if that says nothing about its model in particular.
    pub(super) fn note(&mut self, went: Went, model: Option<ModelKey>, now: Instant) {
        self.models.retain(|one| one.is_recent(self.window, now));
        if !self.whole.is_recent(self.window, now) {
            self.whole.in_a_row = 0;
        }
        if went != Went::Wrong {
            self.whole.in_a_row = 0;
            self.models.iter_mut().for_each(|one| one.in_a_row = 0);
        }
        if went == Went::Well {
            return;
        }
        let failing = self.failing(model);
        failing.last = Some(now);
        if went == Went::Wrong {
            failing.in_a_row = failing.in_a_row.saturating_add(1);
        }
    }

    /// Returns the model whose fault it is, where a breaker would open for that cause; `None` if it is the provider's.
    pub(super) fn sole(&self, cause: OpenCause, now: Instant) -> Option<ModelKey> {
        match cause {
            OpenCause::Rate { .. } | OpenCause::Slow { .. } => match self.models[..] {
                [ref one] if !self.whole.is_recent(self.window, now) => Some(one.model),
                _ => None,
            },
            _ if self.is_spread() => None,
            _ => {
                let worst = self.models.iter().max_by_key(|one| one.in_a_row);
                worst.map(|one| one.model)
            }
        }
    }

    /// Returns whether there are enough failures in a row when no model counts for more than half of them: so many of
    /// one model say nothing about the others.
    pub(super) fn is_spread(&self) -> bool {
        let most = self.failures.div_ceil(2).max(1);
        let failing = self.models.iter().filter(|one| one.in_a_row > 0);
        let counted = failing.clone().map(|one| one.in_a_row.min(most));
        let counted = counted.fold(self.whole.in_a_row, u32::saturating_add);
        let one_alone = self.whole.in_a_row == 0 && failing.count() <= 1;
        counted >= self.failures && !one_alone
    }

    fn failing(&mut self, model: Option<ModelKey>) -> &mut Failing {
        let Some(model) = model else {
            return &mut self.whole;
        };
        match self.models.iter().position(|one| one.model == model) {
            Some(place) => &mut self.models[place],
            None if self.models.len() >= MOST_MODELS => &mut self.whole,
            None => {
                self.models.push(Failing::new(model));
                self.models.last_mut().expect("one was just pushed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_A_ROW: OpenCause = OpenCause::InARow(5);
    const RATE: OpenCause = OpenCause::Rate { failed: 5, all: 10 };

    /// Who is to blame after these requests: of a model, or of none in particular if it is 0, and whether they failed.
    fn blamed(requests: &[(u64, bool)], cause: OpenCause) -> Option<u64> {
        let now = Instant::now();
        let mut blame = Blame::new(&settings::Breaker::default());
        for (model, failed) in requests {
            let went = if *failed { Went::Wrong } else { Went::Well };
            let model = Some(ModelKey(*model)).filter(|model| *model != ModelKey::default());
            blame.note(went, model, now);
        }
        blame.sole(cause, now).map(|model| model.0)
    }

    #[test]
    fn one_model_is_to_blame_until_others_fail_as_well() {
        let failures = |models: &[u64]| -> Vec<(u64, bool)> {
            models.iter().map(|model| (*model, true)).collect()
        };
        for (models, expected) in [
            (&[1, 1, 1, 1, 1][..], Some(1)),
            (&[1, 1, 1, 1, 2], Some(1)),
            (&[1, 1, 1, 1, 1, 1, 2], Some(1)),
            (&[1, 1, 1, 1, 1, 2, 2], None),
            (&[1, 1, 2, 2, 2], None),
            (&[1, 2, 3, 4, 5], None),
            (&[0, 0, 0, 0, 0], None),
            (&[1, 1, 1, 0, 0], None),
        ] {
            assert_eq!(blamed(&failures(models), IN_A_ROW), expected, "{models:?}");
        }
        // What has gone well since is forgiven.
        let requests = [&failures(&[2, 2, 2]), &[(3, false)][..], &failures(&[1; 5])].concat();
        assert_eq!(blamed(&requests, IN_A_ROW), Some(1));
        assert_eq!(blamed(&requests, RATE), None);
        let requests = [(1, true), (2, false), (1, true), (3, false)];
        assert_eq!(blamed(&requests, RATE), Some(1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let now = Instant::now();
        let policy = settings::Breaker::default();
        let mut blame = Blame::new(&policy);
        for model in 1..1_000 {
            blame.note(Went::Wrong, Some(ModelKey(model)), now);
        }
        assert_eq!(blame.models.len(), MOST_MODELS);
        let later = now + policy.window * 2;
        blame.note(Went::Wrong, Some(ModelKey(7)), later);
        assert_eq!(blame.models.len(), 1);
        assert_eq!(blame.sole(RATE, later), Some(ModelKey(7)));
    }
}
