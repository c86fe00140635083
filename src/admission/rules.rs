//! What the operator has stated of a server's copies, for one model: how many requests each serves, with which context it is
//! loaded, and whether it may be loaded there.

use wildmatch::WildMatch;

use super::scheduler::BerthRule;
use crate::settings::{Elsewhere, Parallel, PlaceRule};

/// Requests in flight at most for each copy; `None`: it is learned. A bound of the whole server is trusted.
pub(super) fn lane(parallel: Parallel, bounded: bool) -> Option<u32> {
    match parallel {
        Parallel::Fixed(count) => Some(count),
        Parallel::Auto => bounded.then_some(u32::MAX),
    }
}

/// Returns the first rule that is about the model, by its name in its canonical form.
pub fn rule_about<'a>(rules: &'a [PlaceRule], model: &str) -> Option<&'a PlaceRule> {
    let about = |rule: &&PlaceRule| {
        let pattern = rule.models.to_lowercase();
        let untagged = model.strip_suffix(":latest");
        let names = std::iter::once(model).chain(untagged);
        let pattern = WildMatch::new(&pattern);
        names.into_iter().any(|name| pattern.matches(name))
    };
    rules.iter().find(about)
}

/// What the first rule that is about the model says of this server. `model` is the name in its canonical form, and `server`
/// is `host:port`.
pub(super) fn berth(rules: &[PlaceRule], model: &str, server: &str) -> BerthRule {
    let Some(rule) = rule_about(rules, model) else {
        return BerthRule::Allowed;
    };
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let names = |one: &str| one.eq_ignore_ascii_case(server) || one.eq_ignore_ascii_case(host);
    match rule.elsewhere {
        _ if rule.on.iter().any(|one| names(one)) => BerthRule::Allowed,
        Elsewhere::Never => BerthRule::Never,
        Elsewhere::Overflow => BerthRule::Overflow,
        Elsewhere::Any => BerthRule::Second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(models: &str, on: &[&str], elsewhere: Elsewhere) -> PlaceRule {
        PlaceRule {
            models: models.into(),
            on: on.iter().map(|name| (*name).into()).collect(),
            elsewhere,
        }
    }

    #[test]
    fn the_first_rule_about_a_model_holds() {
        let rules = [
            rule("*70B*", &["big1", "Big2:11434"], Elsewhere::Never),
            rule("llama*", &["small"], Elsewhere::Overflow),
            rule("qwen3", &["small"], Elsewhere::Any),
        ];
        for (model, server, expected) in [
            ("llama3.3:70b", "big1:11434", BerthRule::Allowed),
            ("llama3.3:70b", "big2:11434", BerthRule::Allowed),
            ("llama3.3:70b", "big2:11435", BerthRule::Never),
            ("llama3.3:70b", "small:11434", BerthRule::Never),
            ("llama3.2:latest", "small:11434", BerthRule::Allowed),
            ("llama3.2:latest", "big1:11434", BerthRule::Overflow),
            ("qwen3:latest", "big1:11434", BerthRule::Second),
            ("gemma3:4b", "big1:11434", BerthRule::Allowed),
        ] {
            assert_eq!(berth(&rules, model, server), expected, "{model} {server}");
        }
    }

    #[test]
    fn what_is_not_stated_is_learned() {
        assert_eq!(lane(Parallel::Auto, false), None);
        assert_eq!(lane(Parallel::Auto, true), Some(u32::MAX));
        assert_eq!(lane(Parallel::Fixed(4), true), Some(4));
    }
}
