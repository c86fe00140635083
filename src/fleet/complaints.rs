//! What was said already about backends that answer and yet do not do their part, so that it is said once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// It does not list its models.
    List,
    /// It lists more models than count.
    Many,
    ManyLoaded,
    /// It lists others each time.
    Churn,
    /// It does not tell what it has in memory.
    Loaded,
}

impl Topic {
    /// Returns whether the same complaint in other words is news: those of other topics differ in a number only.
    fn minds_words(self) -> bool {
        matches!(self, Self::List | Self::Loaded)
    }
}

type Said = HashMap<Arc<str>, BTreeMap<Topic, String>>;

/// The last complaints about each backend of a provider, by the backend's name.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Said>);

impl Complaints {
    /// Returns whether this has not just been said.
    pub(super) fn is_new(&self, backend: &Arc<str>, topic: Topic, what: &str) -> bool {
        let mut said = self.lock();
        let said = said.entry(Arc::clone(backend)).or_default();
        match said.insert(topic, what.to_owned()) {
            None => true,
            Some(last) => topic.minds_words() && last != what,
        }
    }

    /// Returns the complaints about the backend that still hold.
    pub(super) fn present(&self, backend: &str) -> Vec<String> {
        let said = self.lock();
        let said = said.get(backend).into_iter().flat_map(BTreeMap::values);
        said.cloned().collect()
    }

    /// Notes that all is well with the backend in that respect.
    pub(super) fn settle(&self, backend: &str, topic: Topic) {
        let mut all = self.lock();
        if let Some(said) = all.get_mut(backend) {
            said.remove(&topic);
            if said.is_empty() {
                all.remove(backend);
            }
        }
    }

    /// Forgets a backend that is gone.
    pub(super) fn forget(&self, backend: &str) {
        self.lock().remove(backend);
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_until_all_is_well() {
        let complaints = Complaints::default();
        let (one, other) = ("a:443".into(), "b:443".into());
        let is_new = |backend: &Arc<str>, what: &str| complaints.is_new(backend, Topic::List, what);
        assert!(is_new(&one, "refused"));
        assert!(!is_new(&one, "refused"));
        assert!(is_new(&other, "refused"));
        assert!(is_new(&one, "late"));
        assert_eq!(complaints.present("a:443"), ["late"]);
        complaints.settle("a:443", Topic::List);
        assert!(complaints.present("a:443").is_empty());
        assert!(is_new(&one, "late"));
        assert!(!is_new(&other, "refused"));
    }

    #[test]
    fn complaints_of_several_kinds_do_not_hide_one_another() {
        let complaints = Complaints::default();
        let one = "a:443".into();
        for round in 0..9 {
            let first = round == 0;
            assert_eq!(complaints.is_new(&one, Topic::Loaded, "status 500"), first);
            let many = format!("{round} models");
            assert_eq!(complaints.is_new(&one, Topic::Many, &many), first);
        }
        assert_eq!(complaints.present("a:443"), ["8 models", "status 500"]);
        complaints.settle("a:443", Topic::Many);
        assert_eq!(complaints.present("a:443"), ["status 500"]);
        complaints.forget("a:443");
        assert!(complaints.present("a:443").is_empty());
    }
}
