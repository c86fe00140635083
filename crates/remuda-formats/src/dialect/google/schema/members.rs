//! The members of a schema, which keep their order.

use std::fmt;

use ahash::AHashMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ir::Text;

/// An object's members in their order.
#[derive(Clone, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(Text<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}

impl<'a> Members<'a> {
    pub(super) fn of(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut members = self.0.iter();
        members
            .find(|(key, _)| key.as_escaped() == name)
            .map(|(_, value)| *value)
    }

    /// Adds members, in place of those of the same names.
    pub(super) fn extend(&mut self, more: Members<'a>) {
        if self.is_empty() {
            *self = more;
            return;
        }
        let names = self.0.iter().map(|(name, _)| name.as_escaped().to_owned());
        let mut places: AHashMap<String, usize> = names.zip(0..).collect();
        for (name, value) in more.0 {
            match places.get(name.as_escaped()) {
                Some(place) => self.0[*place].1 = value,
                None => {
                    places.insert(name.as_escaped().to_owned(), self.0.len());
                    self.0.push((name, value));
                }
            }
        }
    }

    /// Adds a member, in place of one of the same name.
    pub(super) fn put(&mut self, name: Text<'a>, value: &'a RawValue) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(member) => member.1 = value,
            None => self.0.push((name, value)),
        }
    }
}

/// References would make a schema larger than is sent.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct TooLarge;
