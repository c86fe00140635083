//! Schemas. The API takes JSON Schema as it is; older models take a subset of OpenAPI's.

use std::fmt;

use ahash::AHashMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use references::{Pointers, written_out};

use super::json::{key, put};
use crate::ir::{Json, Text};

mod references;
mod subset;

pub(super) use subset::{write_parameters, write_subset};

/// An object's members in their order.
#[derive(Clone, Default)]
struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

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
    fn of(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut members = self.0.iter();
        members
            .find(|(key, _)| key.as_escaped() == name)
            .map(|(_, value)| *value)
    }

    /// Adds members, in place of those of the same names.
    fn extend(&mut self, more: Members<'a>) {
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
    fn put(&mut self, name: Text<'a>, value: &'a RawValue) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(member) => member.1 = value,
            None => self.0.push((name, value)),
        }
    }
}

/// References would make a schema larger than is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Appends any schema as JSON Schema.
///
/// # Errors
/// If it cannot be written without references that stand beside other members.
pub(super) fn write_any(schema: &Json<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    match written_out(schema, false)? {
        Some(written) => put(&written, out),
        None => put(schema.as_str(), out),
    }
    Ok(())
}

/// Appends the schema of an object as JSON Schema; its root says that it is one.
///
/// # Errors
/// As [`write_any`].
pub(super) fn write_object(schema: &Json<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    match written_out(schema, true)? {
        Some(written) => write_typed(&Json::trusted(written), out),
        None => write_typed(schema, out),
    }
    Ok(())
}

fn write_typed(schema: &Json<'_>, out: &mut Vec<u8>) {
    let members = Members::of(schema.as_str()).unwrap_or_default();
    if members
        .get("type")
        .is_some_and(|kind| kind.get() == r#""object""#)
    {
        return schema.write(out);
    }
    put(r#"{"type":"object""#, out);
    for (name, value) in &members.0 {
        if name.as_escaped() != "type" {
            key(name.as_escaped(), out);
            put(value.get(), out);
        }
    }
    out.push(b'}');
}
