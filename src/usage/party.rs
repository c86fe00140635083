//! Who a request is charged to: a key and a tag, their instruments, and what the key has spent.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ahash::AHashMap;
use prometheus::{Counter, IntCounter};

use super::spent::{Spent, Sums};
use super::{Counts, Moment, Usd};
use crate::metrics::{Metrics, TokenType};

/// Pairs of a key and a tag that get label values of their own; the tags of further ones are `other` in metrics.
const MOST_LABELS: u32 = 500;

/// A key and a tag; either may be absent, which is written as an empty name.
pub struct Party {
    /// Unique in the ledger.
    pub(super) id: u32,
    pub(super) key: Arc<str>,
    pub(super) tag: Arc<str>,
    spent: Option<Arc<Spent>>,
    requests: IntCounter,
    tokens: [IntCounter; TokenType::ALL.len()],
    cost: Counter,
}

impl Party {
    pub(super) fn count(&self, counts: &Counts, now: Moment) {
        self.requests.inc_by(counts.requests);
        for (counter, kind) in self.tokens.iter().zip(TokenType::ALL) {
            super::account::add(counter, kind, &counts.tokens);
        }
        if counts.cost > Usd::ZERO {
            self.cost.inc_by(counts.cost.dollars());
            if let Some(spent) = &self.spent {
                spent.add(now, counts.cost);
            }
        }
    }
}

/// Returns the value of a label: Prometheus takes an empty one for none at all.
fn label(name: &str) -> &str {
    if name.is_empty() { "none" } else { name }
}

/// All parties. Keys are the operator's and tags are bounded, so these are too.
#[derive(Default)]
pub(super) struct Parties {
    /// The parties by key, then by tag.
    known: RwLock<Known>,
    spent: Mutex<AHashMap<Arc<str>, Arc<Spent>>>,
}

#[derive(Default)]
struct Known {
    parties: AHashMap<Arc<str>, AHashMap<Arc<str>, Arc<Party>>>,
    made: u32,
}

impl Parties {
    /// Returns the parties with what each key had spent when the process began.
    pub(super) fn starting(spent: Vec<(String, Sums)>) -> Parties {
        let spent = spent.into_iter();
        let spent = spent.map(|(key, sums)| (key.into(), Arc::new(Spent::starting(sums))));
        Parties {
            known: RwLock::default(),
            spent: Mutex::new(spent.collect()),
        }
    }

    pub(super) fn of(&self, key: &str, tag: &str, metrics: &Metrics) -> Arc<Party> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let tags = known.parties.get(key);
        if let Some(party) = tags.and_then(|tags| tags.get(tag)) {
            return Arc::clone(party);
        }
        drop(known);
        let spent = (!key.is_empty()).then(|| self.spent_of(key));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let id = known.made;
        let tags = known.parties.entry(key.into()).or_default();
        if let Some(party) = tags.get(tag) {
            return Arc::clone(party);
        }
        let tag_label = if id < MOST_LABELS {
            label(tag)
        } else {
            "other"
        };
        let labels = [label(key), tag_label];
        let party = Arc::new(Party {
            id,
            key: key.into(),
            tag: tag.into(),
            spent,
            requests: metrics.usage.key_requests.with_label_values(&labels),
            tokens: TokenType::ALL.map(|kind| {
                metrics
                    .usage
                    .key_tokens
                    .with_label_values(&[labels[0], labels[1], kind.name()])
            }),
            cost: metrics.usage.key_cost.with_label_values(&labels),
        });
        tags.insert(Arc::clone(&party.tag), Arc::clone(&party));
        known.made += 1;
        party
    }

    pub(super) fn spent_of(&self, key: &str) -> Arc<Spent> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(spent.entry(key.into()).or_default())
    }
}
