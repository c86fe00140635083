//! That a provider refuses the gateway's key: since when, and what it was asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Trouble;

/// Its list of models, and requests: a list that anybody may see says nothing of the key.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<[Option<Trouble>; 2]>);

/// What the key was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    List,
    Request,
}

impl Refusals {
    /// The key was refused with that status. Whether this is news.
    pub(super) fn note(&self, asked: Asked, status: u16) -> bool {
        let what = match asked {
            Asked::List => "its list of models",
            Asked::Request => "a request",
        };
        let mut all = self.lock();
        let news = all[asked as usize].is_none();
        all[asked as usize].get_or_insert_with(|| Trouble {
            text: format!("it refuses the gateway's key: {what} was answered with status {status}"),
            since: SystemTime::now(),
        });
        news
    }

    /// The key was taken. Whether this is news.
    pub(super) fn settle(&self, asked: Asked) -> bool {
        self.lock()[asked as usize].take().is_some()
    }

    /// The refusal that still holds, the first of two.
    pub(super) fn present(&self) -> Option<Trouble> {
        let all = self.lock();
        let both = all.iter().flatten();
        both.min_by_key(|trouble| trouble.since).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Trouble>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_settled_by_its_like() {
        let refusals = Refusals::default();
        assert_eq!(refusals.present(), None);
        assert!(refusals.note(Asked::Request, 401));
        assert!(!refusals.note(Asked::Request, 403));
        assert!(!refusals.settle(Asked::List));
        let text = refusals.present().unwrap().text;
        assert_eq!(
            text,
            "it refuses the gateway's key: a request was answered with status 401"
        );
        assert!(refusals.note(Asked::List, 403));
        assert!(refusals.settle(Asked::Request));
        assert!(refusals.present().unwrap().text.contains("list of models"));
        assert!(refusals.settle(Asked::List));
        assert_eq!(refusals.present(), None);
    }
}
