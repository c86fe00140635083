//! What was said already about backends that answer and yet do not do their part, so that it is said once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last complaint about each backend of a provider, by the backend's name.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<Arc<str>, String>>);

impl Complaints {
    /// Whether this has not just been said.
    pub(super) fn is_new(&self, backend: &Arc<str>, what: &str) -> bool {
        let last = self.lock().insert(Arc::clone(backend), what.to_owned());
        last.as_deref() != Some(what)
    }

    /// The last complaint about the backend, if all is not well with it since.
    pub(super) fn present(&self, backend: &str) -> Option<String> {
        self.lock().get(backend).cloned()
    }

    /// All is well with the backend.
    pub(super) fn settle(&self, backend: &str) {
        self.lock().remove(backend);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, String>> {
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
        assert!(complaints.is_new(&one, "refused"));
        assert!(!complaints.is_new(&one, "refused"));
        assert!(complaints.is_new(&other, "refused"));
        assert!(complaints.is_new(&one, "late"));
        assert_eq!(complaints.present("a:443").as_deref(), Some("late"));
        complaints.settle("a:443");
        assert_eq!(complaints.present("a:443"), None);
        assert!(complaints.is_new(&one, "late"));
        assert!(!complaints.is_new(&other, "refused"));
    }
}
