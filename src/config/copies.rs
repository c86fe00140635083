//! How a fleet's servers hold copies of models: contexts, options, requests at once, and where models are loaded.

use serde::{Deserialize, Serialize};

use super::entries::Entries;
use super::field::Field;
use super::reader::Section;
use super::scalar::{Choice, Scalar, text};
use super::yaml::Value;
use crate::settings::{self, DigestRule, Elsewhere, Parallel, ProviderKind, RunnerOptions};

/// More tokens than any model's context has.
const MAX_CONTEXT: u32 = 1 << 30;
/// More requests at once than any server's copy serves.
pub(super) const MAX_PARALLEL: u32 = 1024;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Copies {
    contexts: Vec<Field<Tokens>>,
    model_contexts: Entries<Contexts>,
    options: Field<RunnerOptions>,
    parallel: Field<Parallel>,
    digest: Field<DigestRule>,
    place: Vec<Option<Place>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Place {
    models: Field<String>,
    on: Vec<Field<String>>,
    #[serde(rename = "else")]
    elsewhere: Field<Elsewhere>,
}

impl Choice for RunnerOptions {
    const NAMES: &'static [(&'static str, RunnerOptions)] =
        &[("pin", RunnerOptions::Pin), ("pass", RunnerOptions::Pass)];
}

impl Choice for DigestRule {
    const NAMES: &'static [(&'static str, DigestRule)] = &[
        ("any", DigestRule::Any),
        ("same", DigestRule::Same),
        ("newest", DigestRule::Newest),
    ];
}

impl Choice for Elsewhere {
    const NAMES: &'static [(&'static str, Elsewhere)] = &[
        ("never", Elsewhere::Never),
        ("overflow", Elsewhere::Overflow),
        ("any", Elsewhere::Any),
    ];
}

/// A length in tokens: `8192`, or `8k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tokens(u32);

impl Scalar for Tokens {
    fn read(value: &Value) -> Result<Tokens, String> {
        let text = text(value).unwrap_or_default();
        let (digits, unit) = match text.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1024),
            None => (&*text, 1),
        };
        let number: Option<u32> = digits.trim_end().parse().ok();
        number
            .and_then(|number| number.checked_mul(unit))
            .filter(|tokens| (1..=MAX_CONTEXT).contains(tokens))
            .map(Tokens)
            .ok_or_else(|| "expected a number of tokens, such as 8192 or 8k".into())
    }

    fn write(&self) -> Value {
        if self.0.is_multiple_of(1024) {
            format!("{}k", self.0 / 1024).into()
        } else {
            self.0.into()
        }
    }
}

/// One length, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contexts(Vec<u32>);

impl Scalar for Contexts {
    fn read(value: &Value) -> Result<Contexts, String> {
        let read = |value| Tokens::read(value).map(|tokens| tokens.0);
        let all: Result<Vec<u32>, String> = match value {
            Value::Sequence(list) => list.iter().map(read).collect(),
            one => read(one).map(|tokens| vec![tokens]),
        };
        all.ok()
            .filter(|all| !all.is_empty())
            .map(|all| Contexts(ascending(all)))
            .ok_or_else(|| "expected a list of numbers of tokens, such as [8k, 32k]".into())
    }

    fn write(&self) -> Value {
        self.0
            .iter()
            .map(|tokens| Tokens(*tokens).write())
            .collect()
    }
}

impl Scalar for Parallel {
    fn read(value: &Value) -> Result<Parallel, String> {
        let text = text(value).unwrap_or_default();
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Parallel::Auto);
        }
        text.parse()
            .ok()
            .filter(|number| (1..=MAX_PARALLEL).contains(number))
            .map(Parallel::Fixed)
            .ok_or_else(|| format!("expected auto or a whole number from 1 to {MAX_PARALLEL}"))
    }

    fn write(&self) -> Value {
        match self {
            Parallel::Auto => "auto".into(),
            Parallel::Fixed(number) => (*number).into(),
        }
    }
}

fn ascending(mut tokens: Vec<u32>) -> Vec<u32> {
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

impl Copies {
    pub(super) fn template() -> Copies {
        Copies {
            contexts: vec![Field::Absent],
            model_contexts: Entries::template(),
            place: vec![Some(Place {
                on: vec![Field::Absent],
                ..Place::default()
            })],
            ..Copies::default()
        }
    }

    /// Returns the keys that the file states and that mean nothing to the kind: a service's copies are its own.
    pub(super) fn idle_keys(&self, kind: ProviderKind) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("contexts", !self.contexts.is_empty()),
            ("model_contexts", !self.model_contexts.is_empty()),
            ("options", self.options.is_stated()),
            ("parallel", self.parallel.is_stated()),
            ("digest", self.digest.is_stated()),
            ("place", !self.place.is_empty()),
        ];
        let idle = move |(key, stated)| (stated && !kind.is_fleet()).then_some(key);
        keys.into_iter().filter_map(idle)
    }

    /// Fills in `used`, which has the defaults.
    pub(super) fn used(self, at: &mut Section<'_, '_>, used: &mut settings::Provider) {
        let mut list = at.section("contexts");
        let contexts = self.contexts.into_iter().enumerate();
        let contexts = contexts.filter_map(|(index, tokens)| list.stated_item(index, tokens));
        let contexts = ascending(contexts.map(|tokens| tokens.0).collect());
        let of_models = self.model_contexts.used(at, "model_contexts").into_iter();
        let model_contexts = of_models.map(|(name, contexts)| (name.into(), contexts.0));
        let model_contexts = model_contexts.collect();
        let options = at.stated("options", self.options).unwrap_or_default();
        let parallel = at.stated("parallel", self.parallel).unwrap_or_default();
        let digest = at.stated("digest", self.digest).unwrap_or_default();
        let mut rules = at.section("place");
        let place = self.place.into_iter().enumerate();
        let place = place.filter_map(|(index, rule)| rule?.used(rules.item(index)));
        let copies = settings::Copies {
            contexts,
            model_contexts,
            options,
            parallel,
            digest,
            place: place.collect(),
        };
        if used.kind.is_fleet() {
            used.copies = copies;
        }
    }
}

impl Place {
    fn used(self, mut at: Section<'_, '_>) -> Option<settings::PlaceRule> {
        if !self.models.is_stated() {
            at.problem_here("has no models; add their names, as in models: \"*70b*\"");
        }
        if self.on.is_empty() {
            at.problem_here("names no servers; add them, as in on: [gpu1]");
        }
        let models = at.stated("models", self.models);
        let elsewhere = at.stated("else", self.elsewhere).unwrap_or_default();
        let mut list = at.section("on");
        let on = self.on.into_iter().enumerate();
        let on = on.filter_map(|(index, server)| list.stated_item(index, server));
        let on = on.map(Into::into).collect();
        Some(settings::PlaceRule {
            models: models?.into(),
            on,
            elsewhere,
        })
    }
}

impl From<&settings::Provider> for Copies {
    fn from(used: &settings::Provider) -> Copies {
        if !used.kind.is_fleet() {
            return Copies::default();
        }
        let copies = &used.copies;
        let contexts = copies.contexts.iter();
        let of_models = copies.model_contexts.iter();
        Copies {
            contexts: contexts.map(|tokens| Tokens(*tokens).into()).collect(),
            model_contexts: of_models
                .map(|(name, contexts)| (name.to_string(), Contexts(contexts.clone())))
                .collect(),
            options: copies.options.into(),
            parallel: copies.parallel.into(),
            digest: copies.digest.into(),
            place: copies.place.iter().map(|rule| Some(rule.into())).collect(),
        }
    }
}

impl From<&settings::PlaceRule> for Place {
    fn from(used: &settings::PlaceRule) -> Place {
        let on = used.on.iter();
        Place {
            models: used.models.to_string().into(),
            on: on.map(|server| server.to_string().into()).collect(),
            elsewhere: used.elsewhere.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_numbers_of_tokens_or_of_1024_of_them() {
        for (text, tokens) in [
            ("8k", 8192),
            ("8 K", 8192),
            ("8192", 8192),
            ("10000", 10000),
            ("1", 1),
        ] {
            assert_eq!(Tokens::read(&text.into()), Ok(Tokens(tokens)), "{text}");
            let written = Tokens(tokens).write();
            assert_eq!(Tokens::read(&written), Ok(Tokens(tokens)), "{text}");
        }
        for text in ["", "k", "0", "0k", "-1", "8m", "4194304k", "1.5k"] {
            assert!(Tokens::read(&text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_lengths_ascend_and_repeat_nothing() {
        let read = |yaml: &str| Contexts::read(&crate::config::yaml::from_str(yaml).unwrap());
        assert_eq!(read("[32k, 8k, 8192]"), Ok(Contexts(vec![8192, 32768])));
        assert_eq!(read("4096"), Ok(Contexts(vec![4096])));
        assert!(read("[]").is_err());
        assert!(read("[8k, many]").is_err());
    }

    #[test]
    fn requests_at_once_are_a_number_or_learned() {
        assert_eq!(Parallel::read(&"Auto".into()), Ok(Parallel::Auto));
        assert_eq!(Parallel::read(&4.into()), Ok(Parallel::Fixed(4)));
        for text in ["0", "1025", "some"] {
            assert!(Parallel::read(&text.into()).is_err(), "{text}");
        }
    }
}
