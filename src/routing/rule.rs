//! A rule: names that match its pattern go to its provider.

use std::sync::Arc;

use super::pattern::Pattern;

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// The pattern as the operator wrote it.
    pub(super) written: Arc<str>,
    pub(super) pattern: Pattern,
    /// A provider's name, or a kind.
    pub(super) provider: Arc<str>,
    /// What the provider calls the model, if not what the client does.
    pub(super) model: Option<Arc<str>>,
    /// Only a provider will do that is at the Azure resource whose host the name has after its `@`.
    pub(super) at_resource: bool,
    pub(super) is_bundled: bool,
}

impl Rule {
    /// Returns the model that the provider is asked for, where the rule says so.
    pub(super) fn own(&self, name: &str) -> Option<String> {
        let template = self.model.as_deref()?;
        let own = self.pattern.expand(name, template);
        Some(own).filter(|own| !own.is_empty())
    }
}
