//! Patterns for names of models: exact, with `*` and `?`, or regular expressions; the whole name, in any case.

use regex::{Regex, RegexBuilder};
use wildmatch::WildMatch;

use crate::settings::Matching;

/// Bytes that a compiled expression may take.
const LARGEST: usize = 1 << 20;

/// Returns a name as patterns see it: in lower case, without `:latest`.
pub(super) fn folded(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match name.strip_suffix(":latest") {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => name,
    }
}

/// One pattern.
#[derive(Debug)]
pub(super) enum Pattern {
    Glob(WildMatch),
    Regex(Regex),
}

impl Pattern {
    pub(super) fn glob(pattern: &str) -> Pattern {
        Pattern::Glob(WildMatch::new(&folded(pattern)))
    }

    /// Makes a pattern of an operator's text.
    ///
    /// # Errors
    /// If the text is no regular expression, or one that would take too much memory.
    pub(super) fn new(matching: &Matching) -> Result<Pattern, regex::Error> {
        match matching {
            Matching::Glob(pattern) => Ok(Pattern::glob(pattern)),
            Matching::Regex(text) => anchored(text).map(Pattern::Regex),
        }
    }

    /// Returns whether a [`folded`] name matches as a whole.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Glob(glob) => glob.matches(name),
            Pattern::Regex(regex) => regex.is_match(name),
        }
    }

    /// Returns `template` with `$0` for `name`, and with an expression's `$1`, `$name`.
    pub(super) fn expand(&self, name: &str, template: &str) -> String {
        let mut written = String::new();
        match self {
            Pattern::Regex(regex) => {
                if let Some(captures) = regex.captures(name) {
                    captures.expand(template, &mut written);
                }
            }
            Pattern::Glob(_) => written = template.replace("$0", name),
        }
        written
    }
}

/// Makes an expression that a name has to match as a whole.
///
/// # Errors
/// As [`Pattern::new`].
fn anchored(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .case_insensitive(true)
        .size_limit(LARGEST)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(matching: Matching) -> Pattern {
        Pattern::new(&matching).unwrap()
    }

    #[test]
    fn the_whole_name_has_to_match_in_any_case() {
        for (glob, name, is) in [
            ("gpt-4*", "gpt-4o", true),
            ("GPT-4*", "gpt-4", true),
            ("gpt-4*", "my-gpt-4", false),
            ("gpt-?", "gpt-5", true),
            ("gpt-?", "gpt-5.4", false),
            ("llama3.2", "llama3.2", true),
            ("llama3.2:latest", "llama3.2", true),
            ("*@*.openai.azure.com", "a@b.openai.azure.com", true),
            ("*@*.openai.azure.com", "a.openai.azure.com", false),
        ] {
            let pattern = pattern(Matching::Glob(glob.into()));
            assert_eq!(pattern.matches(name), is, "{glob} {name}");
        }
        let either = pattern(Matching::Regex("o[13]|gpt-4.*".into()));
        for (name, is) in [
            ("o1", true),
            ("o3", true),
            ("o3-mini", false),
            ("gpt-4", true),
            ("xo1", false),
        ] {
            assert_eq!(either.matches(name), is, "{name}");
        }
    }

    #[test]
    fn a_pattern_says_what_the_model_is_called() {
        let azure = pattern(Matching::Regex(r"([^@]+)@.+".into()));
        assert_eq!(azure.expand("my-gpt@x", "$1"), "my-gpt");
        let glob = pattern(Matching::Glob("gpt-*".into()));
        assert_eq!(glob.expand("gpt-5", "openai/$0"), "openai/gpt-5");
        assert_eq!(glob.expand("gpt-5", "gpt-4.1"), "gpt-4.1");
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["(", "a{99999}{99999}"] {
            assert!(Pattern::new(&Matching::Regex(text.into())).is_err());
        }
    }

    #[test]
    fn a_folded_name_is_its_own() {
        for (name, expected) in [
            (" GPT-4o:latest ", "gpt-4o"),
            ("m:8b", "m:8b"),
            (":latest", ":latest"),
        ] {
            assert_eq!(folded(name), expected);
            assert_eq!(folded(expected), expected);
        }
    }
}
