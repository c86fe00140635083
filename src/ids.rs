//! Small numbers that stand for providers, backends, models and keys, so that the hot path compares and hashes integers.

use std::ops::{Index, IndexMut};

/// One provider, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(u32);

impl ProviderId {
    /// Returns the id of the provider at this position.
    pub fn at(position: usize) -> ProviderId {
        ProviderId(place(position))
    }

    /// Returns the ids of the first `count` providers, in the order of the configuration.
    pub fn first(count: usize) -> impl Iterator<Item = ProviderId> + Clone {
        (0..place(count)).map(ProviderId)
    }

    pub fn position(self) -> usize {
        self.0 as usize
    }
}

/// A list that has one entry for each provider.
impl<T> Index<ProviderId> for [T] {
    type Output = T;

    fn index(&self, provider: ProviderId) -> &T {
        &self[provider.position()]
    }
}

impl<T> IndexMut<ProviderId> for [T] {
    fn index_mut(&mut self, provider: ProviderId) -> &mut T {
        &mut self[provider.position()]
    }
}

impl<T> Index<ProviderId> for Vec<T> {
    type Output = T;

    fn index(&self, provider: ProviderId) -> &T {
        &self[..][provider]
    }
}

impl<T> IndexMut<ProviderId> for Vec<T> {
    fn index_mut(&mut self, provider: ProviderId) -> &mut T {
        &mut self[..][provider]
    }
}

/// One address of a provider, for as long as the process knows it. Handed out by the fleet, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

/// One model name in its canonical form (Ollama's rules: `:latest` filled in, case folded). Handed out by the fleet
/// for names that a backend has listed, never for names that only a client has sent, so their number is bounded. A name
/// that no backend has for a while is freed; its number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(pub u32);

/// One client key, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    /// Returns the id of the key at this position.
    pub fn at(position: usize) -> KeyId {
        KeyId(place(position))
    }
}

fn place(position: usize) -> u32 {
    u32::try_from(position).expect("a configuration of a few MiB has fewer entries")
}
