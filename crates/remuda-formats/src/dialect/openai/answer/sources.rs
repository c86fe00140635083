//! What a search found, gathered over an answer: some servers tell it piece by piece, others all of it in every chunk.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ir::{Event, Json, Text};

/// Bytes that are kept; more sources are left out.
const LONGEST: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Sources {
    /// The inside of a JSON array.
    found: Vec<u8>,
}

/// OpenAI's and OpenRouter's `annotations`.
#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(borrow)]
    url_citation: Option<Citation<'a>>,
}

#[derive(Deserialize)]
struct Citation<'a> {
    #[serde(borrow)]
    url: Option<Text<'a>>,
    title: Option<Text<'a>>,
}

impl Sources {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Takes `search_results`, which is all that was found so far.
    pub(super) fn replace(&mut self, array: &RawValue) {
        let inside = array
            .get()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let inside = inside.unwrap_or("").trim_ascii();
        if !inside.is_empty() && inside.len() <= LONGEST && inside.as_bytes() != self.found {
            self.found.clear();
            self.found.extend_from_slice(inside.as_bytes());
        }
    }

    /// Takes `citations`, which are addresses alone; they say less than what may be there already.
    pub(super) fn addresses(&mut self, array: &RawValue) {
        let urls: Vec<Text<'_>> = serde_json::from_str(array.get()).unwrap_or_default();
        if self.found.is_empty() {
            for url in &urls {
                self.add(url, None);
            }
        }
    }

    pub(super) fn annotations(&mut self, array: &RawValue) {
        let all: Vec<Annotation<'_>> = serde_json::from_str(array.get()).unwrap_or_default();
        for citation in all
            .into_iter()
            .filter_map(|annotation| annotation.url_citation)
        {
            if let Some(url) = &citation.url {
                self.add(url, citation.title.as_ref());
            }
        }
    }

    pub(super) fn emit(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.found.is_empty() {
            return;
        }
        self.found.insert(0, b'[');
        self.found.push(b']');
        if let Ok(array) = std::str::from_utf8(&self.found) {
            emit(Event::Sources(Json::trusted(array)));
        }
        self.found = Vec::new();
    }

    fn add(&mut self, url: &Text<'_>, title: Option<&Text<'_>>) {
        if self.found.len() + url.as_escaped().len() > LONGEST {
            return;
        }
        if !self.found.is_empty() {
            self.found.push(b',');
        }
        self.found.extend_from_slice(b"{\"url\":");
        url.write(&mut self.found);
        if let Some(title) = title {
            self.found.extend_from_slice(b",\"title\":");
            title.write(&mut self.found);
        }
        self.found.push(b'}');
    }
}
