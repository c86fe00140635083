//! How limits are kept for each model.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A model of a provider's, by the provider's own name: limits are kept for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelKey(pub(super) u64);

impl ModelKey {
    pub fn of(own_name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        own_name.hash(&mut hasher);
        Self(hasher.finish())
    }
}
