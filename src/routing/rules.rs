//! Rules: names that match go to a provider, before the strategy is asked. The operator's go before the bundled ones.

use std::sync::Arc;

use super::bundled;
use super::pattern::Pattern;
use crate::settings::{Matching, Routing};

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// As the operator wrote it.
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
    /// What the provider is asked for, where the rule says it.
    pub(super) fn own(&self, name: &str) -> Option<String> {
        let template = self.model.as_deref()?;
        let own = self.pattern.expand(name, template);
        Some(own).filter(|own| !own.is_empty())
    }
}

/// All rules in their order.
///
/// # Errors
/// The first expression that cannot be read.
pub(super) fn of(settings: &Routing) -> Result<Vec<Rule>, regex::Error> {
    let own = settings.rules.iter().map(|rule| {
        let (Matching::Glob(written) | Matching::Regex(written)) = &rule.matching;
        Ok(Rule {
            written: Arc::clone(written),
            pattern: Pattern::new(&rule.matching)?,
            provider: Arc::clone(&rule.provider),
            model: rule.model.clone(),
            at_resource: false,
            is_bundled: false,
        })
    });
    let mut rules = own.collect::<Result<Vec<_>, _>>()?;
    if settings.bundled_rules {
        rules.extend(bundled::rules());
    }
    Ok(rules)
}
