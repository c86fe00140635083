//! What pages count of a provider, and how they write figures.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::introspection::Introspection;
use crate::fleet::Provider;

/// A mapping by the names of providers, in the order of the configuration.
pub(super) struct ByName<T>(pub(super) Vec<(String, T)>);

impl<T: Serialize> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Attempts at one provider since the start.
pub(super) struct Counts {
    pub(super) attempts: u64,
    pub(super) failed: u64,
    pub(super) by_outcome: Vec<(&'static str, u64)>,
}

impl Counts {
    pub(super) fn of(from: &Introspection, provider: &Provider) -> Self {
        let counters = from.metrics.attempts(&provider.name);
        let mut counts = Counts {
            attempts: 0,
            failed: 0,
            by_outcome: Vec::new(),
        };
        for (outcome, count) in counters.counts() {
            counts.attempts += count;
            counts.failed += if outcome.failed() { count } else { 0 };
            counts.by_outcome.push((outcome.name(), count));
        }
        counts
    }
}

/// Returns the share that `part` is of `whole`, in percent; 0 if `whole` is nothing.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => part as f64 * 100.0 / whole as f64,
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
