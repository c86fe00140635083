//! The YAML library, named in this file alone, so that taking another one changes no other.

pub(in crate::config) use serde_yaml::{
    Deserializer, Mapping, Value, from_str, from_value, to_string, to_value,
};
