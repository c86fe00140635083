//! What names were found to mean, until the fleet's models change. Names are the clients' own, so there is a bound.

use std::sync::{Arc, PoisonError, RwLock};

use ahash::AHashMap;

use super::resolve::Resolution;

/// Names kept at most, and the longest of them in bytes.
const MOST: usize = 4096;
const LONGEST: usize = 512;

/// What names were found to mean, by `X-Provider` (empty if there was none), then by name.
type Found = AHashMap<Box<str>, AHashMap<Box<str>, Arc<Resolution>>>;

#[derive(Debug, Default)]
pub(super) struct Memory(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Changes of the fleet when the first of these was looked for.
    changes: u64,
    names: usize,
    found: Found,
}

impl Memory {
    pub(super) fn get(&self, changes: u64, header: &str, name: &str) -> Option<Arc<Resolution>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = (kept.changes == changes).then(|| kept.found.get(header)?.get(name))?;
        found.cloned()
    }

    /// Keeps what was found after `changes` were counted.
    pub(super) fn keep(
        &self,
        changes: u64,
        header: &str,
        name: &str,
        resolution: &Arc<Resolution>,
    ) {
        if name.len() > LONGEST || header.len() > LONGEST {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.changes > changes {
            return;
        }
        if kept.changes < changes || kept.names >= MOST {
            *kept = Kept {
                changes,
                ..Kept::default()
            };
        }
        kept.names += 1;
        let by_name = kept.found.entry(header.into()).or_default();
        by_name.insert(name.into(), Arc::clone(resolution));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_as_new_as_the_fleet() {
        let memory = Memory::default();
        let found = Arc::new(Resolution::default());
        memory.keep(3, "", "a", &found);
        assert!(memory.get(3, "", "a").is_some());
        assert!(memory.get(3, "openai", "a").is_none());
        assert!(memory.get(4, "", "a").is_none());
        memory.keep(4, "openai", "b", &found);
        assert!(memory.get(4, "openai", "b").is_some());
        assert!(memory.get(4, "", "a").is_none());
        // It was looked for before the last change.
        memory.keep(3, "", "c", &found);
        assert!(memory.get(3, "", "c").is_none());
        assert!(memory.get(4, "openai", "b").is_some());
    }

    #[test]
    fn it_is_bounded() {
        let memory = Memory::default();
        let found = Arc::new(Resolution::default());
        memory.keep(0, "", &"x".repeat(LONGEST + 1), &found);
        assert_eq!(memory.0.read().unwrap().names, 0);
        for number in 0..=MOST {
            memory.keep(0, "", &number.to_string(), &found);
        }
        assert_eq!(memory.0.read().unwrap().names, 1);
        assert!(memory.get(0, "", &MOST.to_string()).is_some());
    }
}
