//! Model names as small numbers: looked up on every request without lock or allocation.
//!
//! Only names that a backend reports are kept; what clients ask for is only looked up. A name that no backend has any more
//! is freed, so that a server which reports ever new ones does not fill the table; its number is never used again, so that
//! whatever still holds it (a request in flight, a series, an account) is never taken for another model's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use arc_swap::ArcSwap;

use super::key::with_key;
use crate::ids::ModelId;

/// Names kept at most.
const MOST: usize = 1 << 18;
/// Names from which on it is looked for such as nobody has.
const MANY: usize = 1 << 13;
/// How long a name stays that nobody has: longer than a probe takes, which has the numbers of what it found before others
/// know of it.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Table {
    ids: AHashMap<Arc<str>, ModelId>,
    names: AHashMap<ModelId, Name>,
    /// Numbers that nobody had when that was last looked at.
    idle: AHashSet<ModelId>,
    next: u32,
}

/// How a model is called.
#[derive(Clone)]
struct Name {
    /// Under which it is found.
    key: Arc<str>,
    shown: Arc<str>,
}

/// When names that nobody has are looked for.
struct Sweeping {
    last: Instant,
    /// From so many names on.
    at: usize,
}

/// Canonical name ↔ [`ModelId`]. Ids are given in order from 0, each once.
pub struct Models {
    table: ArcSwap<Table>,
    /// Held while the table is replaced.
    sweeping: Mutex<Sweeping>,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            sweeping: Mutex::new(Sweeping {
                last: Instant::now(),
                at: MANY,
            }),
        }
    }
}

impl Models {
    /// Returns the id of `name`, which may be spelled as Ollama allows (case, `:latest` left out); `None` if no backend
    /// reports it.
    pub fn lookup(&self, name: &str) -> Option<ModelId> {
        with_key(name, |key| self.table.load().ids.get(key).copied())?
    }

    /// Returns the name of `id`: canonical for Ollama's models, the provider's in lower case for others; `None` once it
    /// is freed.
    pub fn name(&self, id: ModelId) -> Option<Arc<str>> {
        let table = self.table.load();
        table.names.get(&id).map(|name| Arc::clone(&name.shown))
    }

    /// Returns the number of names that are known.
    pub fn len(&self) -> usize {
        self.table.load().names.len()
    }

    /// Returns whether no backend has reported a model yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the ids of canonical `names`, in their order; `None` when the table is full.
    pub fn intern<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<Option<ModelId>> {
        let pairs = names.map(|name| (name, None));
        self.intern_pairs(pairs, |key, look| Some(look(key)))
    }

    /// Returns the ids of names as providers spell them, in their order; `None` when the table is full or nothing can
    /// be called so.
    pub(super) fn intern_any(&self, names: &[String]) -> Vec<Option<ModelId>> {
        let pairs = names
            .iter()
            .map(|name| (name.as_str(), Some(name.as_str())));
        self.intern_pairs(pairs, |name, look| with_key(name, look))
    }

    /// Of names with the form that is shown of each, if it is not the key; `key` gives the form by which one is found.
    fn intern_pairs<'a>(
        &self,
        names: impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone,
        key: impl Fn(&str, &mut dyn FnMut(&str) -> Option<ModelId>) -> Option<Option<ModelId>>,
    ) -> Vec<Option<ModelId>> {
        let table = self.table.load();
        let mut news = false;
        let mut known = Vec::new();
        for (name, _) in names.clone() {
            let nameless = key(name, &mut |key| {
                let id = table.ids.get(key).copied();
                news |= id.is_none_or(|id| table.idle.contains(&id));
                id
            });
            known.push(nameless.flatten());
        }
        if !news {
            return known;
        }
        let _replacing = self.sweeping();
        let mut table = Table::clone(&self.table.load());
        let ids = names
            .map(|(name, shown)| {
                let id = key(name, &mut |key| match shown {
                    Some(shown) => table.add(key, &shown.to_ascii_lowercase()),
                    None => table.add(key, key),
                });
                id.flatten()
            })
            .collect();
        self.table.store(Arc::new(table));
        ids
    }

    /// Frees the names that nobody has now and nobody had a while ago, if there are many; `held` gives those that somebody
    /// has. Returns the numbers that stand for nothing from now on.
    pub(super) fn sweep(
        &self,
        now: Instant,
        held: impl FnOnce() -> AHashSet<ModelId>,
    ) -> Vec<ModelId> {
        if self.len() < MANY {
            return Vec::new();
        }
        let mut sweeping = self.sweeping();
        if self.len() < sweeping.at || now.saturating_duration_since(sweeping.last) < GRACE {
            return Vec::new();
        }
        sweeping.last = now;
        let held = held();
        let mut table = Table::clone(&self.table.load());
        let unheld: AHashSet<ModelId> = table
            .names
            .keys()
            .filter(|id| !held.contains(id))
            .copied()
            .collect();
        let freed: Vec<ModelId> = unheld.intersection(&table.idle).copied().collect();
        for id in &freed {
            if let Some(name) = table.names.remove(id) {
                table.ids.remove(&name.key);
            }
        }
        table.idle = unheld;
        for id in &freed {
            table.idle.remove(id);
        }
        sweeping.at = if table.idle.is_empty() {
            // What is left is there to stay.
            (table.names.len() * 2).clamp(MANY, MOST / 2)
        } else {
            MANY
        };
        self.table.store(Arc::new(table));
        freed
    }

    fn sweeping(&self) -> MutexGuard<'_, Sweeping> {
        self.sweeping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Returns the name's number, a new one if it has none; somebody has it.
    fn add(&mut self, key: &str, shown: &str) -> Option<ModelId> {
        if let Some(id) = self.ids.get(key).copied() {
            self.idle.remove(&id);
            return Some(id);
        }
        if self.names.len() >= MOST {
            return None;
        }
        let id = ModelId(self.next);
        self.next = self.next.checked_add(1)?;
        let key: Arc<str> = key.into();
        let shown = if *key == *shown {
            Arc::clone(&key)
        } else {
            shown.into()
        };
        self.ids.insert(Arc::clone(&key), id);
        self.names.insert(id, Name { key, shown });
        Some(id)
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

    #[test]
    fn names_that_nobody_has_make_room_and_their_numbers_do_not_come_back() {
        let models = Models::default();
        let now = Instant::now();
        let later = |rounds: u32| now + GRACE * rounds;
        let kept = models.intern(["kept:latest"].into_iter())[0].unwrap();
        let held = || AHashSet::from_iter([kept]);
        let mut seen = AHashSet::from_iter([kept]);
        let mut freed = 0;
        // A server that reports other names each time, for far longer than the table could hold them.
        for round in 1..=(4 * MOST / MANY) as u32 {
            let names: Vec<String> = (0..MANY).map(|name| format!("r{round}-{name}")).collect();
            let ids = models.intern(names.iter().map(String::as_str));
            assert!(ids.iter().all(Option::is_some), "round {round}");
            assert!(ids.iter().flatten().all(|id| seen.insert(*id)));
            let gone = models.sweep(later(round), held);
            assert!(!gone.contains(&kept));
            assert!(gone.iter().all(|id| models.name(*id).is_none()));
            freed += gone.len();
        }
        assert!(freed > MOST);
        assert!(models.len() <= 3 * MANY, "{}", models.len());
        assert_eq!(models.lookup("kept"), Some(kept));
        assert_eq!(models.name(kept).as_deref(), Some("kept:latest"));
    }

    #[test]
    fn a_name_that_is_reported_again_in_time_keeps_its_number() {
        let models = Models::default();
        let now = Instant::now();
        let names: Vec<String> = (0..2 * MANY).map(|name| format!("m{name}:1b")).collect();
        let all = || names.iter().map(String::as_str);
        let first = models.intern(all());
        assert_eq!(models.sweep(now + GRACE, AHashSet::new), []);
        // Its backend was away for a moment; the others' are not coming back.
        let again = models.intern(all().take(1));
        assert_eq!(again, first[..1]);
        let freed = models.sweep(now + GRACE * 2, AHashSet::new);
        assert_eq!(freed.len(), 2 * MANY - 1);
        assert_eq!(models.lookup("m0:1b"), first[0]);
        assert_eq!(models.lookup("m1:1b"), None);
        // Nothing is done in between, and nothing where there are few.
        let last = models.intern(["m1:1b"].into_iter())[0];
        assert!(last > first[2 * MANY - 1]);
    }
}
