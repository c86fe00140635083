//! What is known about models: sizes, capabilities, refused parameters, how they reason, prices.
//!
//! All of it is data: `conf/models.yaml`, compiled in, and the operator's own file before it. No code asks whether a
//! model's name holds some text.

use std::sync::{PoisonError, RwLock};

use ahash::AHashMap;
use wildmatch::WildMatch;

mod file;
mod model;
mod name;
mod price;
mod reasoning;
#[cfg(test)]
mod tests;

pub use file::FactsProblem;
pub use model::{Capability, ChatCompletions, EmbeddingFacts, ModelFacts, Parameter, SamplingRule};
pub use price::{Price, Rates, Tier, UsdPerMillion};
pub use reasoning::{EffortLevel, Reasoning, ReasoningControl, ReasoningSetting, ThinkingBudget};

use crate::provider::ProviderKind;

/// Names that are remembered, and the longest of them. They may be a client's own, so both have a bound.
const REMEMBERED: usize = 4096;
const LONGEST_REMEMBERED: usize = 256;

const BUNDLED: &str = include_str!("../../models.yaml");

/// The facts about every model, and the short names for some.
///
/// An entry names models exactly (`gpt-5.4-mini`) or by a pattern (`gpt-5.4*`, with `*` and `?`). A model is looked up
/// in the operator's file first, then in the bundled one; within a file an exact name goes before a pattern, and of
/// two patterns the one that is written first. Case, a vendor's prefix, a date or a version at the end, and what
/// follows a colon do not keep a name from being found; see [`Facts::find`].
#[derive(Debug)]
pub struct Facts {
    /// The operator's file, if any, before the bundled one.
    files: Vec<Index>,
    aliases: AHashMap<Box<str>, Box<str>>,
    prefixes: Vec<Box<str>>,
    unknown: ModelFacts,
    /// What was found for a provider's name: of each kind, where it stands.
    found: RwLock<Found>,
}

/// A file and an entry in it; `None` if nothing is known.
type Place = Option<(usize, usize)>;

type Found = AHashMap<Box<str>, Vec<(ProviderKind, Place)>>;

/// The entries of one file.
#[derive(Debug, Default)]
struct Index {
    /// The entries from the last to the first: one may be like one that is written below it.
    entries: Vec<Entry>,
    /// Places in `entries`.
    exact: AHashMap<Box<str>, Vec<usize>>,
    patterns: Vec<(WildMatch, usize)>,
}

/// The facts for some names at some kinds of provider.
#[derive(Debug)]
struct Entry {
    /// `None`: every kind but Ollama, whose servers say themselves what their models can do.
    kinds: Option<Vec<ProviderKind>>,
    /// Whether it is for every name, so that no model is meant by it and none is like it.
    is_for_all: bool,
    facts: ModelFacts,
}

impl Facts {
    /// Returns the facts of `conf/models.yaml`.
    pub fn bundled() -> Facts {
        let bundled = file::read(BUNDLED).expect("the bundled file is read in a test");
        Facts::of(None, bundled).expect("the bundled file is resolved in a test")
    }

    /// Returns the facts of `extra_yaml`, and those of `conf/models.yaml` for what it leaves open.
    pub fn with(extra_yaml: &str) -> Result<Facts, FactsProblem> {
        let bundled = file::read(BUNDLED).expect("the bundled file is read in a test");
        Facts::of(Some(file::read(extra_yaml)?), bundled)
    }

    fn of(extra: Option<file::File>, bundled: file::File) -> Result<Facts, FactsProblem> {
        let mut facts = Facts {
            files: Vec::new(),
            aliases: AHashMap::new(),
            prefixes: Vec::new(),
            unknown: ModelFacts::default(),
            found: RwLock::default(),
        };
        // From the last file to the first: `like` looks into what follows.
        for file in [Some(bundled), extra].into_iter().flatten() {
            facts.put_before(file)?;
        }
        Ok(facts)
    }

    /// Puts the entries of `file` before all others.
    fn put_before(&mut self, file: file::File) -> Result<(), FactsProblem> {
        for prefix in &file.prefixes {
            self.prefixes.push(prefix.to_ascii_lowercase().into());
        }
        for (alias, target) in &file.aliases {
            self.aliases
                .insert(alias.to_ascii_lowercase().into(), target.as_str().into());
        }
        let index = file.resolve(&self.files, &self.prefixes)?;
        self.files.insert(0, index);
        Ok(())
    }

    /// Returns what is known of a model by its provider's name for it; of an unknown one, that nothing is refused and
    /// everything is possible.
    ///
    /// Tried are the name as given, without its prefixes (`models/`, `us.anthropic.`), without `:variant`, without
    /// `-v1`, and without its date. What was found is remembered, as an unknown name is compared with every pattern.
    pub fn find(&self, kind: ProviderKind, model: &str) -> &ModelFacts {
        let place = self.remembered(kind, model).unwrap_or_else(|| {
            let place = self.search(kind, model);
            self.remember(kind, model, place);
            place
        });
        place.map_or(&self.unknown, |(file, entry)| {
            &self.files[file].entries[entry].facts
        })
    }

    /// Returns whether anything is known of a model by that name.
    pub fn knows(&self, kind: ProviderKind, model: &str) -> bool {
        !std::ptr::eq(self.find(kind, model), &raw const self.unknown)
    }

    fn remembered(&self, kind: ProviderKind, model: &str) -> Option<Place> {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        let kinds = found.get(model)?;
        let (_, place) = kinds.iter().find(|(known, _)| *known == kind)?;
        Some(*place)
    }

    fn remember(&self, kind: ProviderKind, model: &str, place: Place) {
        if model.len() > LONGEST_REMEMBERED {
            return;
        }
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        if found.len() < REMEMBERED {
            found.entry(model.into()).or_default().push((kind, place));
        }
    }

    fn search(&self, kind: ProviderKind, model: &str) -> Place {
        let name = model.to_ascii_lowercase();
        let forms = name::forms(&name, &self.prefixes);
        self.files.iter().enumerate().find_map(|(number, file)| {
            let place = file.find(&forms, |entry| entry.serves(kind))?;
            Some((number, place))
        })
    }

    /// The model that an alias stands for, as `provider/model`. Case and one `:latest` do not count.
    pub fn alias(&self, name: &str) -> Option<&str> {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_suffix(":latest").unwrap_or(&name);
        self.aliases.get(name).map(|target| &**target)
    }

    /// Every alias and what it stands for, in no order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases
            .iter()
            .map(|(alias, target)| (&**alias, &**target))
    }
}

impl Index {
    /// Adds an entry that is written above those that are there.
    fn add_above(&mut self, names: Vec<String>, entry: Entry) {
        let place = self.entries.len();
        self.entries.push(entry);
        for name in names {
            let name = name.to_ascii_lowercase();
            if name.contains(['*', '?']) {
                self.patterns.push((WildMatch::new(&name), place));
            } else {
                self.exact.entry(name.into()).or_default().push(place);
            }
        }
    }

    fn find(&self, forms: &name::Forms, serves: impl Fn(&Entry) -> bool) -> Option<usize> {
        let exact = forms.iter().find_map(|form| {
            let mut places = self.exact.get(form)?.iter().rev();
            places.find(|place| serves(&self.entries[**place]))
        });
        let place = exact.or_else(|| {
            let mut patterns = self.patterns.iter().rev();
            let found = patterns.find(|(pattern, place)| {
                forms.iter().any(|form| pattern.matches(form)) && serves(&self.entries[*place])
            });
            found.map(|(_, place)| place)
        });
        place.copied()
    }
}

impl Entry {
    fn serves(&self, kind: ProviderKind) -> bool {
        match &self.kinds {
            Some(kinds) => kinds.contains(&kind),
            None => kind != ProviderKind::Ollama,
        }
    }
}
