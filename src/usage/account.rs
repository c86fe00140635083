//! Where a request's cost goes by provider and model: names, price and instruments, resolved once.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ahash::{AHashMap, AHashSet};
use prometheus::{Counter, IntCounter};

use super::{Counts, Tokens, Usd};
use crate::ids::{ModelId, ProviderId};
use crate::metrics::{Metrics, TokenType};
use remuda_formats::facts::Price;
use remuda_formats::ir;

/// Models that no provider lists and that are kept apart all the same, of one provider; their names are clients' texts.
const MOST_UNLISTED: usize = 1000;
/// Distinct models that get a label value of their own.
const MOST_LABELS: u32 = 500;
/// What the others are called.
const OTHER: &str = "other";

/// What a provider's tokens cost.
#[derive(Clone, Debug, PartialEq)]
pub enum Pricing {
    /// Servers of one's own.
    Free,
    List(Price),
    Unknown,
}

/// What an account is for.
#[derive(Clone, Debug)]
pub struct Description {
    pub provider: Arc<str>,
    /// The provider's own name for the model.
    pub model: Arc<str>,
    pub pricing: Pricing,
}

/// A provider and a model.
pub struct Account {
    /// Unique in the ledger.
    pub(super) id: u32,
    pub(super) provider: Arc<str>,
    pub(super) model: Arc<str>,
    pricing: Pricing,
    /// What answers cost of late whose price only their provider knows, in billionths of a dollar; 0 before the first.
    usual: AtomicU64,
    tokens: [IntCounter; TokenType::ALL.len()],
    cost: Counter,
    unpriced: IntCounter,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({}/{})", self.provider, self.model)
    }
}

impl Account {
    /// Returns the cost of an answer: by the provider's own statement, else by the list. `None` if neither is known.
    pub(super) fn cost(&self, usage: Option<&ir::Usage>, tokens: &Tokens) -> Option<Usd> {
        match &self.pricing {
            Pricing::Free => Some(Usd::ZERO),
            pricing => {
                let stated = usage?.cost.and_then(Usd::stated);
                stated.or_else(|| match pricing {
                    Pricing::List(price) => Some(Usd::by_list(price, tokens)),
                    _ => None,
                })
            }
        }
    }

    /// Returns the expected cost of an answer of so many tokens, as far as anybody can say.
    pub fn expected(&self, tokens: &Tokens) -> Usd {
        match &self.pricing {
            Pricing::Free => Usd::ZERO,
            Pricing::List(price) => Usd::by_list(price, tokens),
            Pricing::Unknown => Usd::nanos(self.usual.load(Ordering::Relaxed)),
        }
    }

    /// Learns from what an answer cost.
    pub(super) fn learn(&self, cost: Usd) {
        if self.pricing == Pricing::Unknown && cost > Usd::ZERO {
            let before = self.usual.load(Ordering::Relaxed);
            let now = match before {
                0 => cost.as_nanos(),
                before => (before.saturating_mul(7).saturating_add(cost.as_nanos())) / 8,
            };
            // Two answers at once: one of them is not learned from.
            self.usual.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn count(&self, counts: &Counts) {
        for (counter, kind) in self.tokens.iter().zip(TokenType::ALL) {
            add(counter, kind, &counts.tokens);
        }
        if counts.cost > Usd::ZERO {
            self.cost.inc_by(counts.cost.dollars());
        }
        if counts.unpriced > 0 {
            self.unpriced.inc_by(counts.unpriced);
        }
    }
}

/// Counts one sort of tokens, if there are any.
pub(super) fn add(counter: &IntCounter, kind: TokenType, tokens: &Tokens) {
    let count = match kind {
        TokenType::Input => tokens.input,
        TokenType::Cached => tokens.cache_read,
        TokenType::CacheWrite => tokens.cache_write,
        TokenType::Output => tokens.output,
        TokenType::Reasoning => tokens.reasoning,
    };
    if count > 0 {
        counter.inc_by(count);
    }
}

type ByName = AHashMap<Arc<str>, Arc<Account>>;

/// All accounts.
#[derive(Default)]
pub(super) struct Accounts {
    /// The accounts of listed models, by provider and model as the fleet numbers them.
    listed: RwLock<AHashMap<(ProviderId, ModelId), Arc<Account>>>,
    /// The accounts of unlisted models, by provider and the name that a client gave.
    unlisted: RwLock<AHashMap<ProviderId, ByName>>,
    made: AtomicU32,
    /// Those of them whose models have label values of their own.
    labelled: AtomicU32,
}

impl Accounts {
    pub(super) fn listed(
        &self,
        provider: ProviderId,
        model: ModelId,
        metrics: &Metrics,
        describe: impl FnOnce() -> Description,
    ) -> Arc<Account> {
        let key = (provider, model);
        let known = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.get(&key) {
            return Arc::clone(account);
        }
        drop(known);
        let made = self.make(describe(), true, metrics);
        let mut known = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert(made))
    }

    /// Frees the accounts of models that are nowhere any more. Their numbers never come back, so that nobody would find them.
    pub(super) fn forget(&self, models: &[ModelId]) {
        let models: AHashSet<ModelId> = models.iter().copied().collect();
        let mut known = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, model), _| !models.contains(model));
    }

    #[cfg(test)]
    pub(super) fn listed_len(&self) -> usize {
        self.listed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub(super) fn unlisted(
        &self,
        provider: ProviderId,
        name: &str,
        metrics: &Metrics,
        describe: impl FnOnce() -> Description,
    ) -> Arc<Account> {
        let known = self.unlisted.read().unwrap_or_else(PoisonError::into_inner);
        let of_provider = known.get(&provider);
        if let Some(account) = of_provider.and_then(|names| names.get(name)) {
            return Arc::clone(account);
        }
        let full = of_provider.is_some_and(|names| names.len() >= MOST_UNLISTED);
        drop(known);
        let description = describe();
        if full {
            // Its price is its own, which is why it is not shared.
            let model = OTHER.into();
            return self.make(
                Description {
                    model,
                    ..description
                },
                false,
                metrics,
            );
        }
        let made = self.make(description, false, metrics);
        let mut known = self
            .unlisted
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let names = known.entry(provider).or_default();
        Arc::clone(names.entry(name.into()).or_insert(made))
    }

    fn make(&self, description: Description, listed: bool, metrics: &Metrics) -> Arc<Account> {
        let id = self.made.fetch_add(1, Ordering::Relaxed);
        // What no provider lists may be any client's text, which no label is made of.
        let own = listed && self.labelled.fetch_add(1, Ordering::Relaxed) < MOST_LABELS;
        let model = if own { &*description.model } else { OTHER };
        let labels = [&*description.provider, model];
        Arc::new(Account {
            id,
            usual: AtomicU64::new(0),
            tokens: TokenType::ALL.map(|kind| {
                metrics
                    .usage
                    .tokens
                    .with_label_values(&[labels[0], labels[1], kind.name()])
            }),
            cost: metrics.usage.cost.with_label_values(&labels),
            unpriced: metrics.usage.unpriced.with_label_values(&labels),
            provider: description.provider,
            model: description.model,
            pricing: description.pricing,
        })
    }
}
