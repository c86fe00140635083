//! Model names as small numbers: looked up on every request without lock or allocation.
//!
//! Only names that a backend reported are kept; what clients ask for is only looked up.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use arc_swap::ArcSwap;

use super::key::with_key;
use crate::ids::ModelId;

/// Names kept at most; a backend that reports more than a real fleet could hold is not believed.
const MOST: usize = 1 << 16;

#[derive(Default)]
struct Table {
    ids: AHashMap<Arc<str>, ModelId>,
    names: Vec<Arc<str>>,
}

/// Canonical name ↔ [`ModelId`]. Ids are given in order from 0 and stay as long as the process.
#[derive(Default)]
pub struct Models {
    table: ArcSwap<Table>,
    growing: Mutex<()>,
}

impl Models {
    /// The id of `name`, which may be spelled as Ollama allows (case, `:latest` left out); `None` if
    /// no backend ever reported it.
    pub fn lookup(&self, name: &str) -> Option<ModelId> {
        with_key(name, |key| self.table.load().ids.get(key).copied())?
    }

    /// The name of `id`: canonical for Ollama's models, the provider's in lower case for others.
    pub fn name(&self, id: ModelId) -> Option<Arc<str>> {
        self.table.load().names.get(id.0 as usize).cloned()
    }

    /// Number of names known.
    pub fn len(&self) -> usize {
        self.table.load().names.len()
    }

    /// Whether no backend has reported a model yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of canonical `names`, in their order; `None` when the table is full.
    pub fn intern<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<Option<ModelId>> {
        let known = self.find(names.clone());
        if known.iter().all(Option::is_some) {
            return known;
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        for name in names.clone() {
            table.add(name, name);
        }
        self.table.store(Arc::new(table));
        self.find(names)
    }

    /// The ids of names as providers spell them, in their order; `None` when the table is full or nothing can be
    /// called so.
    pub(super) fn intern_any(&self, names: &[String]) -> Vec<Option<ModelId>> {
        let find = || names.iter().map(|name| self.lookup(name)).collect();
        let known: Vec<_> = find();
        // An empty name is one that is not wanted.
        if known
            .iter()
            .zip(names)
            .all(|(id, name)| id.is_some() || name.is_empty())
        {
            return known;
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        for name in names {
            with_key(name, |key| table.add(key, &name.to_ascii_lowercase()));
        }
        self.table.store(Arc::new(table));
        find()
    }

    fn find<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Option<ModelId>> {
        let table = self.table.load();
        names.map(|name| table.ids.get(name).copied()).collect()
    }
}

impl Clone for Table {
    fn clone(&self) -> Self {
        Self {
            ids: self.ids.clone(),
            names: self.names.clone(),
        }
    }
}

impl Table {
    fn add(&mut self, key: &str, name: &str) {
        if self.ids.contains_key(key) || self.names.len() >= MOST {
            return;
        }
        let key: Arc<str> = key.into();
        let name = match *key == *name {
            true => Arc::clone(&key),
            false => name.into(),
        };
        let id = ModelId(u32::try_from(self.names.len()).expect("the table is bounded"));
        self.ids.insert(key, id);
        self.names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_and_spellings_meet() {
        let models = Models::default();
        assert!(models.is_empty());
        let first = models.intern(["llama3.2:latest", "qwen3:8b"].into_iter());
        assert_eq!(first, [Some(ModelId(0)), Some(ModelId(1))]);
        let second = models.intern(["qwen3:8b", "phi4:latest", "llama3.2:latest"].into_iter());
        assert_eq!(
            second,
            [Some(ModelId(1)), Some(ModelId(2)), Some(ModelId(0))]
        );
        assert_eq!(models.len(), 3);
        assert_eq!(models.lookup("Llama3.2"), Some(ModelId(0)));
        assert_eq!(models.lookup("QWEN3:8B"), Some(ModelId(1)));
        assert_eq!(models.lookup("llama3.3"), None);
        assert_eq!(models.lookup(""), None);
        assert_eq!(models.name(ModelId(2)).as_deref(), Some("phi4:latest"));
        assert_eq!(models.name(ModelId(3)), None);
    }

    #[test]
    fn names_of_providers_are_found_in_any_spelling() {
        let models = Models::default();
        let names = ["gpt-5.4", "openai/GPT-5.4", "accounts/f/models/M", ""];
        let ids = models.intern_any(&names.map(str::to_owned));
        assert_eq!(
            ids,
            [0, 1, 2]
                .map(|id| Some(ModelId(id)))
                .into_iter()
                .chain([None])
                .collect::<Vec<_>>()
        );
        assert_eq!(models.lookup("GPT-5.4:latest"), ids[0]);
        assert_eq!(models.lookup("openai/gpt-5.4"), ids[1]);
        assert_eq!(models.lookup("Accounts/f/models/m:latest"), ids[2]);
        assert_eq!(models.name(ModelId(0)).as_deref(), Some("gpt-5.4"));
        assert_eq!(models.name(ModelId(1)).as_deref(), Some("openai/gpt-5.4"));
        // Ollama's model of that name is the same.
        assert_eq!(models.intern(["gpt-5.4:latest"].into_iter()), [ids[0]]);
        assert_eq!(models.intern_any(&["gpt-5.4".to_owned()]), [ids[0]]);
        assert_eq!(models.len(), 3);
    }

    #[test]
    fn the_table_is_bounded() {
        let models = Models::default();
        let names: Vec<String> = (0..MOST + 3).map(|number| format!("m{number}")).collect();
        let ids = models.intern(names.iter().map(String::as_str));
        assert_eq!(ids.iter().flatten().count(), MOST);
        assert_eq!(models.len(), MOST);
    }
}
