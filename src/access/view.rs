//! Which models a client sees in lists: those that its key may use.

use super::key::ClientKey;

/// What one client may see.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(Option<&'a ClientKey>);

impl<'a> View<'a> {
    /// Everything.
    pub const ALL: View<'static> = View(None);

    /// What this key may use; without a key, everything.
    pub fn of(key: Option<&'a ClientKey>) -> View<'a> {
        View(key)
    }

    /// Whether any of a provider's models may be seen.
    pub fn asks(self, provider: &str) -> bool {
        self.0.is_none_or(|key| key.may_ask(provider))
    }

    /// Whether a provider's model may be seen that goes by these names.
    pub fn shows(self, provider: &str, names: &[&str]) -> bool {
        let Some(key) = self.0 else { return true };
        key.may_ask(provider)
            && (key.any_model()
                || key.may_use(names.iter().copied())
                || names
                    .iter()
                    .any(|name| key.may_use([&*format!("{provider}/{name}")])))
    }
}
