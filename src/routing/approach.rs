//! OptiLLM's names of models: `proxy-gpt-4` is `gpt-4`, and `bon&proxy-gpt-4` is `gpt-4` by way of an approach.

/// The approaches and plugins of OptiLLM that a prefix may name.
const APPROACHES: &[&str] = &[
    "autothink",
    "bon",
    "cepo",
    "coc",
    "cot_decoding",
    "cot_reflection",
    "deep_research",
    "deepthink",
    "entropy_decoding",
    "executecode",
    "genselect",
    "json",
    "leap",
    "longcepo",
    "majority_voting",
    "mars",
    "mcp",
    "mcts",
    "memory",
    "moa",
    "plansearch",
    "privacy",
    "pvg",
    "re2",
    "readurls",
    "router",
    "rstar",
    "rto",
    "self_consistency",
    "spl",
    "web_search",
    "z3",
];

/// What only says that the request is to be passed on.
const PASSING: [&str; 2] = ["proxy", "none"];

/// A model's name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixedName<'a> {
    /// The approaches that are named, `&` and `|` between them, without what only passes on; `None`: an ordinary request.
    pub approach: Option<&'a str>,
    /// What is left of the name.
    pub model: &'a str,
}

impl<'a> PrefixedName<'a> {
    /// Splits a name with the prefix of an approach; `None` if it has none.
    pub fn of(name: &'a str) -> Option<PrefixedName<'a>> {
        let (prefix, model) = split(name)?;
        let approach = PrefixedName::named(prefix);
        Some(PrefixedName { approach, model })
    }

    /// Returns the first approach in `text` (`bon`, `bon&proxy`, `proxy`) that does more than pass the request on.
    pub fn named(text: &'a str) -> Option<&'a str> {
        let mut parts = text.split(['&', '|']).map(str::trim);
        parts.find(|part| !part.is_empty() && !is(part, &PASSING))
    }
}

/// Splits an approach off a name. A combination may name approaches that are not listed here; a single word must be a
/// known one.
fn split(name: &str) -> Option<(&str, &str)> {
    let (prefix, model) = name.split_once('-')?;
    let combined = prefix.contains(['&', '|']);
    let known = |part: &str| is(part, &["proxy"]) || is(part, APPROACHES);
    let parts_are_words = || {
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        prefix.split(['&', '|']).all(word)
    };
    let fits = if combined {
        parts_are_words()
    } else {
        known(prefix)
    };
    (fits && !model.is_empty()).then_some((prefix, model))
}

fn is(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_taken_apart() {
        for (name, form) in [
            ("proxy-gpt-4", Some((None, "gpt-4"))),
            ("Proxy-openai/gpt-4", Some((None, "openai/gpt-4"))),
            ("bon&proxy-gpt-4", Some((Some("bon"), "gpt-4"))),
            ("proxy|moa-gpt-4", Some((Some("moa"), "gpt-4"))),
            ("mine&proxy-gpt-4", Some((Some("mine"), "gpt-4"))),
            ("moa-gpt-4o", Some((Some("moa"), "gpt-4o"))),
            ("cot_reflection-x", Some((Some("cot_reflection"), "x"))),
            ("proxy&proxy-x", Some((None, "x"))),
            ("gpt-4", None),
            ("proxy", None),
            ("proxy-", None),
            ("none-x", None),
            ("a b&c-x", None),
            ("&-x", None),
            ("llama3.2", None),
        ] {
            let form = form.map(|(approach, model)| PrefixedName { approach, model });
            assert_eq!(PrefixedName::of(name), form, "{name}");
        }
        assert_eq!(PrefixedName::named("proxy"), None);
        assert_eq!(PrefixedName::named("none"), None);
        assert_eq!(PrefixedName::named(" moa "), Some("moa"));
    }
}
