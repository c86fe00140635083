//! Which models a client sees in lists: those that its key may use.

use super::key::ClientKey;
use crate::routing::{Filter, Permission};

/// What one client may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visibility<'a> {
    key: Option<&'a ClientKey>,
    filter: Option<&'a Filter>,
}

impl<'a> Visibility<'a> {
    /// Everything.
    pub const ALL: Visibility<'static> = Visibility {
        key: None,
        filter: None,
    };

    /// Returns what this key may see; without a key, that is everything.
    pub fn of(key: Option<&'a ClientKey>) -> Visibility<'a> {
        Visibility { key, filter: None }
    }

    /// Returns what of it the operator's list lets through.
    pub fn within(self, filter: &'a Filter) -> Visibility<'a> {
        Visibility {
            filter: Some(filter),
            ..self
        }
    }

    /// Returns what the key may use, whatever the operator's list lets through.
    pub fn unfiltered(self) -> Visibility<'a> {
        Visibility {
            filter: None,
            ..self
        }
    }

    /// Returns the permission that the planner is to keep to; `None` permits everything.
    pub fn permission(self) -> Option<&'a dyn Permission> {
        let key = self.key?;
        let is_free = key.any_model() && key.any_provider();
        (!is_free).then_some(key as &dyn Permission)
    }

    /// Returns the name of a key that may not see everything.
    pub fn limited_to(self) -> Option<&'a str> {
        let key = self.key?;
        (!key.any_model() || !key.any_provider()).then_some(&*key.name)
    }

    /// Returns whether any of a provider's models may be seen.
    pub fn asks(self, provider: &str) -> bool {
        self.key.is_none_or(|key| key.may_ask(provider))
    }

    /// Returns whether a provider's model may be seen that goes by these names.
    pub fn shows(self, provider: &str, names: &[&str]) -> bool {
        if self
            .filter
            .is_some_and(|filter| !filter.admits(provider, names))
        {
            return false;
        }
        let Some(key) = self.key else { return true };
        key.may_ask(provider)
            && (key.any_model()
                || key.may_use(names.iter().copied())
                || names
                    .iter()
                    .any(|name| key.may_use([&*format!("{provider}/{name}")])))
    }
}
