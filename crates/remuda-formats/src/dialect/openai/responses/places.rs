//! Where the items of one sort stand among all that a response has told, by what an event may say of its item: finding one
//! costs the same however many there are.

use ahash::AHashMap;

use super::entry::Entry;

/// The items of one sort.
#[derive(Default)]
pub(super) struct Places {
    /// The places in their order.
    all: Vec<usize>,
    /// The last of each id.
    by_id: AHashMap<String, usize>,
    /// The items by their place in the response, with those that were open when they were looked for last.
    by_place: AHashMap<u64, Vec<usize>>,
    open: Vec<usize>,
    open_without_id: Vec<usize>,
    by_call: AHashMap<String, Called>,
}

/// The calls that have the same `call_id`, of which there should be one.
#[derive(Default)]
struct Called {
    all: Vec<usize>,
    /// The last at each place.
    by_place: AHashMap<u64, usize>,
    /// The last that says no place.
    unplaced: Option<usize>,
    /// How many of all were found to be repeated by the whole response.
    repeated: usize,
}

impl Places {
    pub(super) fn note(&mut self, at: usize, entry: &Entry) {
        self.all.push(at);
        self.open.push(at);
        if entry.id.is_empty() {
            self.open_without_id.push(at);
        } else {
            self.by_id.insert(entry.id.clone(), at);
        }
        if let Some(place) = entry.place {
            self.by_place.entry(place).or_default().push(at);
        }
        if !entry.call_id.is_empty() {
            let called = self.by_call.entry(entry.call_id.clone()).or_default();
            called.all.push(at);
            match entry.place {
                Some(place) => {
                    called.by_place.insert(place, at);
                }
                None => called.unplaced = Some(at),
            }
        }
    }

    pub(super) fn nth(&self, nth: usize) -> Option<usize> {
        self.all.get(nth).copied()
    }

    pub(super) fn of_id(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Returns the last that is not done.
    pub(super) fn open(&mut self, entries: &[Entry]) -> Option<usize> {
        last_open(&mut self.open, entries)
    }

    pub(super) fn open_without_id(&mut self, entries: &[Entry]) -> Option<usize> {
        last_open(&mut self.open_without_id, entries)
    }

    pub(super) fn open_at(&mut self, place: u64, entries: &[Entry]) -> Option<usize> {
        last_open(self.by_place.get_mut(&place)?, entries)
    }

    /// Returns the call of that `call_id` that is known to stand at that place.
    pub(super) fn called_exactly_at(&self, call_id: &str, place: u64) -> Option<usize> {
        self.by_call.get(call_id)?.by_place.get(&place).copied()
    }

    /// Returns the call of that `call_id` at that place, or the last of them if nothing says where it stands.
    pub(super) fn called_at(&self, call_id: &str, place: Option<u64>) -> Option<usize> {
        let called = self.by_call.get(call_id)?;
        match place {
            Some(place) => called.by_place.get(&place).copied().or(called.unplaced),
            None => called.all.last().copied(),
        }
    }

    /// Returns the last call of that `call_id`, wherever it stands.
    pub(super) fn last_called(&self, call_id: &str) -> Option<usize> {
        self.called_at(call_id, None)
    }

    /// Returns the first call of that `call_id` that the whole response has not repeated yet.
    pub(super) fn unrepeated(&mut self, call_id: &str, entries: &[Entry]) -> Option<usize> {
        let called = self.by_call.get_mut(call_id)?;
        while entries[*called.all.get(called.repeated)?].again {
            called.repeated += 1;
        }
        called.all.get(called.repeated).copied()
    }
}

/// Returns the last place whose entry is not done. What is done stays so, and is forgotten once it was looked at.
fn last_open(places: &mut Vec<usize>, entries: &[Entry]) -> Option<usize> {
    while entries[*places.last()?].done {
        places.pop();
    }
    places.last().copied()
}
