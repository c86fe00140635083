//! What the references of a schema point to.

use ahash::AHashMap;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use super::members::Members;
use crate::ir::Text;

/// Where definitions stand that Gemini finds.
pub(super) const DEFINITIONS: &str = "$defs";

/// Finds what references point to. What they lead through is taken apart once.
pub(super) struct Pointers<'a> {
    root: Option<&'a RawValue>,
    opened: AHashMap<usize, AHashMap<String, &'a RawValue>>,
}

impl<'a> Pointers<'a> {
    pub(super) fn of(root: &'a str) -> Self {
        Pointers {
            root: serde_json::from_str(root).ok(),
            opened: AHashMap::new(),
        }
    }

    /// Returns whether the root defines something by this name.
    pub(super) fn has_definition(&mut self, name: &str) -> bool {
        let root = self.root.and_then(|root| Members::of(root.get()));
        let definitions = root.and_then(|root| root.get(DEFINITIONS));
        let definitions = definitions.and_then(|definitions| Members::of(definitions.get()));
        definitions.is_some_and(|definitions| definitions.get(name).is_some())
    }

    /// Returns what a pointer such as `"#/$defs/name"` leads to (RFC 6901).
    pub(super) fn at(&mut self, pointer: &RawValue) -> Option<&'a RawValue> {
        let pointer = Text::of(pointer)?.decoded().into_owned();
        let mut found = self.root?;
        let steps = match pointer.strip_prefix('#')? {
            "" => return Some(found),
            steps => steps.strip_prefix('/')?,
        };
        for step in steps.split('/') {
            let step = percent_decode_str(step).decode_utf8_lossy();
            let step = step.replace("~1", "/").replace("~0", "~");
            let parts = self
                .opened
                .entry(place(found))
                .or_insert_with(|| parts(found));
            found = parts.get(&step)?;
        }
        Some(found)
    }
}

/// Returns where a value stands, by which it is known.
pub(super) fn place(value: &RawValue) -> usize {
    value.get().as_ptr() as usize
}

/// Returns the members of an object, or the items of an array by their numbers.
fn parts(value: &RawValue) -> AHashMap<String, &RawValue> {
    if value.get().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
        let number = |(number, item): (usize, _)| (number.to_string(), item);
        return items.into_iter().enumerate().map(number).collect();
    }
    let members = Members::of(value.get()).unwrap_or_default();
    let named = |(name, value): (Text<'_>, _)| (name.decoded().into_owned(), value);
    members.0.into_iter().map(named).collect()
}
