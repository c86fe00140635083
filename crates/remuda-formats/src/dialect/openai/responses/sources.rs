//! What the searches of one answer found, gathered: each of them is an item of its own.

use serde_json::value::RawValue;

use crate::ir::{Event, Json};

/// Bytes that are kept; more sources are left out.
const LONGEST: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Sources {
    /// A JSON array, or nothing.
    found: String,
}

impl Sources {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds a list, and tells all that was found so far.
    pub(super) fn add(&mut self, results: &RawValue, emit: &mut dyn FnMut(Event<'_>)) {
        let inside = results
            .get()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .map_or("", str::trim_ascii);
        if inside.is_empty() || self.found.len() + inside.len() > LONGEST {
            return;
        }
        match self.found.pop() {
            None => self.found.push('['),
            Some(_) => self.found.push(','),
        }
        self.found.push_str(inside);
        self.found.push(']');
        emit(Event::Sources(Json::trusted(self.found.as_str())));
    }
}
