//! Backends with a free slot, in the order in which their provider's selector would take them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::fleet::Standing;
use crate::ids::{BackendId, ProviderId};

/// A backend's place among the free ones of its provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) standing: Standing,
    pub(super) id: BackendId,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.standing
            .order(&other.standing)
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

/// Free backends by provider. Providers are few, so they lie in a sorted vector.
#[derive(Debug, Default)]
pub(super) struct Ready {
    providers: Vec<(ProviderId, BTreeSet<Key>)>,
}

impl Ready {
    pub(super) fn insert(&mut self, provider: ProviderId, key: Key) {
        let index = self.find(provider).unwrap_or_else(|index| {
            self.providers.insert(index, (provider, BTreeSet::new()));
            index
        });
        self.providers[index].1.insert(key);
    }

    pub(super) fn remove(&mut self, provider: ProviderId, key: &Key) {
        if let Ok(index) = self.find(provider) {
            self.providers[index].1.remove(key);
        }
    }

    /// The free backends of each provider, best first.
    pub(super) fn by_provider(
        &self,
    ) -> impl Iterator<Item = (ProviderId, impl Iterator<Item = BackendId>)> {
        self.providers
            .iter()
            .map(|(provider, keys)| (*provider, keys.iter().map(|key| key.id)))
    }

    fn find(&self, provider: ProviderId) -> Result<usize, usize> {
        self.providers
            .binary_search_by_key(&provider, |(provider, _)| *provider)
    }
}
