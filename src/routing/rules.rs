//! Rules: names that match go to a provider, before the strategy is asked. The operator's go before the bundled ones.

use std::sync::Arc;

use super::bundled;
use super::pattern::Pattern;
use super::rule::Rule;
use crate::settings::{Matching, Routing};

/// Returns all rules in their order.
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
