//! Backends with a free slot, in the order in which their provider's selector would take them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::fleet::Standing;
use crate::ids::{BackendId, ProviderId};

/// A backend's place among the free ones of its provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// A part of the copy runs on the CPU: it is used where no other is free.
    pub(super) slow: bool,
    pub(super) standing: Standing,
    pub(super) id: BackendId,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.slow.cmp(&other.slow))
            .then_with(|| self.standing.order(&other.standing))
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

/// Free backends by provider, and within one by the tokens that the context of their copy holds. Providers and contexts are
/// few, so they lie in sorted vectors.
#[derive(Debug, Default)]
pub(super) struct Ready {
    providers: Vec<(ProviderId, Vec<Holding>)>,
}

/// The keys of those whose copies hold so many tokens.
type Holding = (u32, BTreeSet<Key>);

impl Ready {
    pub(super) fn insert(&mut self, provider: ProviderId, tokens: u32, key: Key) {
        let index = self.find(provider).unwrap_or_else(|index| {
            self.providers.insert(index, (provider, Vec::new()));
            index
        });
        let contexts = &mut self.providers[index].1;
        let place = contexts.binary_search_by_key(&tokens, |(tokens, _)| *tokens);
        let place = place.unwrap_or_else(|place| {
            contexts.insert(place, (tokens, BTreeSet::new()));
            place
        });
        contexts[place].1.insert(key);
    }

    pub(super) fn remove(&mut self, provider: ProviderId, tokens: u32, key: &Key) {
        let Ok(index) = self.find(provider) else {
            return;
        };
        let contexts = &mut self.providers[index].1;
        if let Ok(place) = contexts.binary_search_by_key(&tokens, |(tokens, _)| *tokens) {
            contexts[place].1.remove(key);
            // Servers may come up with ever other contexts.
            if contexts[place].1.is_empty() && contexts.len() > 1 {
                contexts.remove(place);
            }
        }
    }

    pub(super) fn providers(&self) -> impl Iterator<Item = ProviderId> {
        self.providers.iter().map(|(provider, _)| *provider)
    }

    /// The best free backend of each of these providers whose copy holds so many tokens, of those that are usable; of equal
    /// ones, that with the smaller context.
    pub(super) fn best(
        &self,
        tokens: u32,
        open: impl Fn(ProviderId) -> bool,
        usable: impl Fn(BackendId) -> bool,
    ) -> impl Iterator<Item = BackendId> {
        let providers = self.providers.iter();
        providers
            .filter(move |(provider, _)| open(*provider))
            .filter_map(move |(_, contexts)| {
                let from = contexts.partition_point(|(holds, _)| *holds < tokens);
                let first = |keys: &BTreeSet<Key>| keys.iter().find(|key| usable(key.id)).copied();
                let firsts = contexts[from..].iter().filter_map(|(_, keys)| first(keys));
                firsts.min().map(|key| key.id)
            })
    }

    /// Whether a free copy holds more than `above` tokens and fewer than `most`.
    pub(super) fn has_between(&self, above: u32, most: u32) -> bool {
        let mut contexts = self.providers.iter().flat_map(|(_, contexts)| contexts);
        contexts.any(|(holds, keys)| (above..most).contains(holds) && !keys.is_empty())
    }

    /// All of them.
    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = BackendId> {
        let contexts = self.providers.iter().flat_map(|(_, contexts)| contexts);
        contexts.flat_map(|(_, keys)| keys.iter().map(|key| key.id))
    }

    fn find(&self, provider: ProviderId) -> Result<usize, usize> {
        self.providers
            .binary_search_by_key(&provider, |(provider, _)| *provider)
    }
}
