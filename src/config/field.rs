//! A key as written: absent, stated, or stated wrongly; wrong ones wait until their path is known.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scalar::Scalar;
use super::yaml::Value;

/// The value of one key. Reading never fails, so that one bad value does not hide the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field<T> {
    /// Not written, or `null`.
    #[default]
    Absent,
    Stated(T),
    /// What should have been written.
    Bad(String),
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Field<T> {
        Field::Stated(value)
    }
}

impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Field<T> {
        value.map_or(Field::Absent, Field::Stated)
    }
}

impl<T> Field<T> {
    /// Returns the value, if it could be read.
    pub(super) fn stated(&self) -> Option<&T> {
        match self {
            Field::Stated(value) => Some(value),
            Field::Absent | Field::Bad(_) => None,
        }
    }

    /// Returns the field, and leaves one that is absent.
    pub(super) fn take(&mut self) -> Field<T> {
        std::mem::replace(self, Field::Absent)
    }

    /// Returns whether anything was written, good or bad.
    pub(super) fn is_stated(&self) -> bool {
        !matches!(self, Field::Absent)
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Field::Absent,
            value => T::read(&value).map_or_else(Field::Bad, Field::Stated),
        })
    }
}

impl<T: Scalar> Serialize for Field<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Stated(value) => value.write().serialize(serializer),
            Field::Absent | Field::Bad(_) => serializer.serialize_none(),
        }
    }
}
