//! A mapping whose keys the operator chooses, such as `model_map`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::reader::Section;
use super::scalar::Scalar;
use super::yaml;

/// Stands for every key in the list of known ones.
pub(super) const ANY_KEY: &str = "<name>";

#[derive(Deserialize, Serialize)]
#[serde(transparent, bound = "")]
pub(super) struct Entries<T: Scalar>(BTreeMap<String, Field<T>>);

impl<T: Scalar> Default for Entries<T> {
    fn default() -> Entries<T> {
        Entries(BTreeMap::new())
    }
}

impl<T: Scalar> Entries<T> {
    /// Returns entries with one key that stands for all.
    pub(super) fn template() -> Entries<T> {
        Entries(BTreeMap::from([(ANY_KEY.to_owned(), Field::Absent)]))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries of the mapping at `key` that could be read; the others are reported.
    pub(super) fn used(self, at: &mut Section<'_, '_>, key: &str) -> Vec<(String, T)> {
        self.read(at, key, |at, name, field| at.stated(name, field))
    }

    /// Does what [`Entries::used`] does, without repeating a bad value in the message.
    pub(super) fn secret(self, at: &mut Section<'_, '_>, key: &str) -> Vec<(String, T)> {
        self.read(at, key, |at, name, field| at.secret(name, field))
    }

    fn read(
        self,
        at: &mut Section<'_, '_>,
        key: &str,
        read: impl Fn(&mut Section<'_, '_>, &str, Field<T>) -> Option<T>,
    ) -> Vec<(String, T)> {
        let mut at = at.section(key);
        let stated = |(name, field): (String, Field<T>)| {
            if name.is_empty() {
                at.problem_here("has an entry without a name");
            }
            let value = read(&mut at, &name, field)?;
            Some((name, value))
        };
        self.0.into_iter().filter_map(stated).collect()
    }
}

impl Entries<ModelName> {
    pub(super) fn names(self, at: &mut Section<'_, '_>, key: &str) -> BTreeMap<Arc<str>, Arc<str>> {
        let used = self.used(at, key).into_iter();
        used.map(|(name, model)| (name.into(), model.0)).collect()
    }
}

impl From<&BTreeMap<Arc<str>, Arc<str>>> for Entries<ModelName> {
    fn from(used: &BTreeMap<Arc<str>, Arc<str>>) -> Entries<ModelName> {
        used.iter()
            .map(|(name, model)| (name.to_string(), ModelName(Arc::clone(model))))
            .collect()
    }
}

impl Entries<AnyOf> {
    pub(super) fn lists(
        self,
        at: &mut Section<'_, '_>,
        key: &str,
    ) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let used = self.used(at, key).into_iter();
        used.map(|(name, models)| (name.into(), models.0)).collect()
    }
}

impl From<&BTreeMap<Arc<str>, Vec<Arc<str>>>> for Entries<AnyOf> {
    fn from(used: &BTreeMap<Arc<str>, Vec<Arc<str>>>) -> Entries<AnyOf> {
        used.iter()
            .map(|(name, models)| (name.to_string(), AnyOf(models.clone())))
            .collect()
    }
}

impl<T: Scalar> FromIterator<(String, T)> for Entries<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Entries<T> {
        let stated = entries.into_iter();
        Entries(stated.map(|(name, value)| (name, value.into())).collect())
    }
}

/// What a provider calls a model: `gpt-5.4`, `meta-llama/Llama-3.3-70B`, an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelName(pub(super) Arc<str>);

/// Longer than any ARN (2,048 characters at AWS).
const MAX_MODEL: usize = 2048;

impl Scalar for ModelName {
    fn read(value: &yaml::Value) -> Result<ModelName, String> {
        super::scalar::text(value)
            .filter(|name| (1..=MAX_MODEL).contains(&name.len()))
            .filter(|name| !name.contains(|c: char| c.is_control() || c.is_whitespace()))
            .map(|name| ModelName(name.as_ref().into()))
            .ok_or_else(|| "expected a model's name, without spaces".into())
    }

    fn write(&self) -> yaml::Value {
        (*self.0).into()
    }
}

/// One model, or a list of those of which any will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnyOf(Vec<Arc<str>>);

impl Scalar for AnyOf {
    fn read(value: &yaml::Value) -> Result<AnyOf, String> {
        let expected = || "expected a model's name, or a list of such names, without spaces".into();
        let read = |value| ModelName::read(value).map(|model| model.0);
        let models = match value {
            yaml::Value::Sequence(list) => list.iter().map(read).collect(),
            one => read(one).map(|model| vec![model]),
        };
        models
            .ok()
            .filter(|models: &Vec<_>| !models.is_empty())
            .map(AnyOf)
            .ok_or_else(expected)
    }

    fn write(&self) -> yaml::Value {
        match &self.0[..] {
            [one] => (**one).into(),
            several => several.iter().map(|model| (**model).to_owned()).collect(),
        }
    }
}
