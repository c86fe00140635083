//! Writes JSON objects field by field, and arrays.

use std::io::Write as _;

use crate::ir::{Json, Text};
use crate::wire::json::write_string;

/// An object that is being written; [`Object::end`] closes it.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, first: true }
    }

    /// Writes the key, which needs no escape, and hands out where its value goes.
    pub(super) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Writes what is JSON already.
    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.key(key).extend_from_slice(json.as_bytes());
    }

    /// Writes a string that may need escapes.
    pub(super) fn string(&mut self, key: &str, string: &str) {
        write_string(string, self.key(key));
    }

    /// Writes a string that needs no escape.
    pub(super) fn word(&mut self, key: &str, word: &str) {
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
    }

    pub(super) fn text(&mut self, key: &str, text: &Text<'_>) {
        text.write(self.key(key));
    }

    pub(super) fn json(&mut self, key: &str, json: &Json<'_>) {
        json.write(self.key(key));
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    pub(super) fn integer(&mut self, key: &str, value: impl Into<i128>) {
        let value: i128 = value.into();
        write!(self.key(key), "{value}").expect("writing to a vector cannot fail");
    }

    /// Writes a finite number; what is none is left out, as JSON has no word for it.
    pub(super) fn number(&mut self, key: &str, value: f64) {
        if value.is_finite() {
            serde_json::to_writer(self.key(key), &value).expect("writing to a vector cannot fail");
        }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes an array.
pub(super) fn list<T>(items: &[T], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}
