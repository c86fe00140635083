//! The file of facts as people write it, and what it comes to: strict about keys and values, with the line of what is
//! wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Deserialize, Deserializer, de};
use wildmatch::WildMatch;

use super::model::{
    Capability, ChatCompletions, EmbeddingFacts, ModelFacts, Parameter, SamplingRule,
};
use super::name;
use super::price::Price;
use super::reasoning::{EffortLevel, Reasoning, ReasoningControl, ThinkingBudget};
use super::{Entry, Index};
use crate::provider::ProviderKind;

/// What is wrong with a file of facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", line.map_or(String::new(), |line| format!("line {line}: ")))]
pub struct FactsProblem {
    /// The line, counted from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    pub message: String,
}

/// The pattern for every name.
const ALL: &str = "*";

/// A file of facts as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// When the facts were gathered; for readers.
    #[serde(default, rename = "as_of")]
    _as_of: Option<Day>,
    /// What is cut from the front of names before they are looked up.
    #[serde(default)]
    pub(super) prefixes: Vec<String>,
    #[serde(default, deserialize_with = "aliases")]
    pub(super) aliases: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) models: Vec<Written>,
    /// The text, to find lines in.
    #[serde(skip)]
    text: String,
}

/// One entry as written: what it leaves open is as with the model of `like`, or unknown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(rename = "match")]
    names: OneOrMore,
    kinds: Option<Vec<Kind>>,
    /// A model's name, looked up in the entries below this one.
    like: Option<String>,
    family: Option<String>,
    context: Option<u64>,
    max_output: Option<u64>,
    capabilities: Option<Vec<Capability>>,
    refused: Option<Vec<Parameter>>,
    refused_while_reasoning: Option<Vec<Parameter>>,
    reasoning: Option<WrittenReasoning>,
    chat_completions: Option<ChatCompletions>,
    sampling: Option<SamplingRule>,
    embeddings: Option<EmbeddingFacts>,
    /// `null` leaves open what `like` would bring; so with `retires`.
    #[serde(default, deserialize_with = "stated")]
    price: Option<Option<Price>>,
    #[serde(default, deserialize_with = "stated")]
    retires: Option<Option<Day>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenReasoning {
    form: ReasoningControl,
    #[serde(default)]
    efforts: Vec<EffortLevel>,
    #[serde(default = "no_effort")]
    default: EffortLevel,
    off: Option<bool>,
    budget: Option<ThinkingBudget>,
}

/// Returns what a key that is there says, `null` too.
fn stated<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn no_effort() -> EffortLevel {
    EffortLevel::None
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a model's name or a list of names")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug)]
struct Kind(ProviderKind);

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Kind, String> {
        let mut kinds = ProviderKind::NAMES.iter();
        kinds
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| Kind(*kind))
            .ok_or_else(|| format!("`{name}` is no kind of provider"))
    }
}

#[derive(Clone, Copy, Debug)]
struct Day(NaiveDate);

impl FromStr for Day {
    type Err = String;

    fn from_str(day: &str) -> Result<Day, String> {
        let read = day.parse().map(Day);
        read.map_err(|_| format!("`{day}` is no day like 2026-11-21"))
    }
}

/// What a text is parsed into; while it is visited, so that an error has the text's line.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_str(Parsed(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        deserializer.deserialize_str(Parsed(PhantomData))
    }
}

/// Refuses an alias that is written twice, and one whose target names no provider.
fn aliases<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Aliases;

    impl<'de> de::Visitor<'de> for Aliases {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("aliases and their targets")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut aliases = BTreeMap::new();
            while let Some((alias, target)) = map.next_entry::<String, String>()? {
                let named = target.split_once('/');
                if named.is_none_or(|(provider, model)| provider.is_empty() || model.is_empty()) {
                    return Err(de::Error::custom(format!(
                        "`{alias}` stands for `{target}`, which is not provider/model"
                    )));
                }
                if aliases.contains_key(&alias) {
                    return Err(de::Error::custom(format!("`{alias}` is there twice")));
                }
                aliases.insert(alias, target);
            }
            Ok(aliases)
        }
    }

    deserializer.deserialize_map(Aliases)
}

/// Reads a file; an empty one says nothing.
pub(super) fn read(text: &str) -> Result<File, FactsProblem> {
    // A file of comments alone reads as null.
    let file: Option<File> = serde_yaml::from_str(text).map_err(|error| {
        let message = error.to_string();
        let line = error.location().map(|place| place.line());
        // The reader's own words end with the place.
        let end = line.and_then(|line| message.rfind(&format!(" at line {line} ")));
        let message = message[..end.unwrap_or(message.len())].to_owned();
        FactsProblem { line, message }
    })?;
    let mut file = file.unwrap_or_else(File::empty);
    file.text = text.to_owned();
    Ok(file)
}

impl File {
    fn empty() -> File {
        File {
            _as_of: None,
            prefixes: Vec::new(),
            aliases: BTreeMap::new(),
            models: Vec::new(),
            text: String::new(),
        }
    }

    /// Returns the entries, each completed by the one it is like: of those below it, or of the files that follow.
    pub(super) fn resolve(
        self,
        following: &[Index],
        prefixes: &[Box<str>],
    ) -> Result<Index, FactsProblem> {
        let mut below = Index::default();
        let mut models = self.models;
        while let Some(written) = models.pop() {
            let base = match &written.like {
                None => ModelFacts::default(),
                Some(like) => {
                    let lower = like.to_ascii_lowercase();
                    let forms = name::forms(&lower, prefixes);
                    let wrong = |message| wrong(&self.text, "like", like, message);
                    if models.iter().any(|above| above.names.name_one_of(&forms)) {
                        return Err(wrong(format!(
                            "like: the entry of `{like}` has to be below"
                        )));
                    }
                    std::iter::once(&below)
                        .chain(following)
                        .find_map(|index| {
                            let place = index.find(&forms, |entry| !entry.is_for_all)?;
                            Some(index.entries[place].facts.clone())
                        })
                        .ok_or_else(|| wrong(format!("like: no entry below names `{like}`")))?
                }
            };
            let (names, entry) = written.over(base, &self.text)?;
            below.add_above(names, entry);
        }
        Ok(below)
    }
}

impl OneOrMore {
    fn as_slice(&self) -> &[String] {
        match self {
            OneOrMore::One(name) => std::slice::from_ref(name),
            OneOrMore::More(names) => names,
        }
    }

    fn name_one_of(&self, forms: &name::Forms) -> bool {
        let names = self.as_slice().iter().filter(|name| *name != ALL);
        names.into_iter().any(|name| {
            let pattern = WildMatch::new(&name.to_ascii_lowercase());
            forms.iter().any(|form| pattern.matches(form))
        })
    }
}

/// Returns a problem at the line that gives `value` to `key`.
fn wrong(text: &str, key: &str, value: &str, message: String) -> FactsProblem {
    let line = text.lines().position(|line| {
        let line = line.trim_start_matches([' ', '-']);
        line.strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with(':') && rest.contains(value))
    });
    FactsProblem {
        line: line.map(|line| line + 1),
        message,
    }
}

impl Written {
    /// Returns the names of this entry, and its facts: its own, and those of `base` for what it leaves open.
    fn over(self, base: ModelFacts, text: &str) -> Result<(Vec<String>, Entry), FactsProblem> {
        let names = self.names.as_slice().to_vec();
        let first = names.first().cloned().unwrap_or_default();
        let wrong = |message: &str| wrong(text, "match", &first, format!("{first}: {message}"));
        if names.is_empty() || names.iter().any(|name| name.trim().is_empty()) {
            return Err(wrong("match: expected a name"));
        }
        let reasoning = match self.reasoning {
            Some(written) => written.read().map_err(wrong)?,
            None => base.reasoning,
        };
        if let Some(Some(price)) = &self.price
            && !price.tiers.is_sorted_by_key(|tier| tier.above)
        {
            return Err(wrong("price: tiers: expected a rising `above`"));
        }
        let facts = ModelFacts {
            family: self.family.map_or(base.family, Into::into),
            context: self.context.or(base.context),
            max_output: self.max_output.or(base.max_output),
            capabilities: self.capabilities.or(base.capabilities),
            refused: self.refused.unwrap_or(base.refused),
            refused_while_reasoning: self
                .refused_while_reasoning
                .unwrap_or(base.refused_while_reasoning),
            reasoning,
            chat_completions: self.chat_completions.unwrap_or(base.chat_completions),
            sampling: self.sampling.unwrap_or(base.sampling),
            embeddings: self.embeddings.or(base.embeddings),
            price: self.price.unwrap_or(base.price),
            retires: match self.retires {
                Some(day) => day.map(|day| day.0),
                None => base.retires,
            },
        };
        let kinds = self
            .kinds
            .map(|kinds| kinds.iter().map(|kind| kind.0).collect());
        let entry = Entry {
            kinds,
            is_for_all: names == [ALL],
            facts,
        };
        Ok((names, entry))
    }
}

impl WrittenReasoning {
    fn read(self) -> Result<Reasoning, &'static str> {
        let mut efforts = self.efforts;
        efforts.sort_unstable();
        efforts.dedup();
        let by_level = matches!(
            self.form,
            ReasoningControl::Effort | ReasoningControl::Adaptive
        );
        if by_level == efforts.is_empty() {
            return Err(
                "reasoning: `efforts` belong to the forms effort and adaptive, and to no other",
            );
        }
        if self.form == ReasoningControl::Adaptive && efforts.contains(&EffortLevel::None) {
            return Err("reasoning: the form adaptive is switched off by `off`, not by an effort");
        }
        if self.form == ReasoningControl::Budget && self.budget.is_none() {
            return Err("reasoning: the form budget needs a `budget`");
        }
        if self.budget.is_some_and(|budget| budget.min > budget.max) {
            return Err("reasoning: budget: `min` is above `max`");
        }
        let off = match self.form {
            ReasoningControl::Effort => efforts.contains(&EffortLevel::None),
            _ => self.off.unwrap_or(true),
        };
        Ok(Reasoning {
            form: self.form,
            efforts,
            default: self.default,
            off,
            budget: self.budget,
        })
    }
}
