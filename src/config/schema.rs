//! The JSON Schema of the configuration, for editors: made of the table of keys.
//!
//! It takes whatever the reader of the configuration takes. It refuses unknown keys and what can be told by its look; what
//! depends on other keys, or on files, only `remuda check` tells.

use serde_json::{Map, Value, json};

use super::foreign;
use super::keys::{self, Key};
use super::schema_value::value;
use super::yaml;

/// The dialect that the schema is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Returns the schema as a text that ends with a newline.
pub fn schema() -> String {
    let mut root = object();
    for key in keys::all() {
        let place = at(&mut root, key.path);
        let stated = describe(key);
        // Keys beneath it may have come before.
        for (name, value) in stated {
            place.entry(name).or_insert(value);
        }
    }
    for (section, key, instead) in foreign::KEYS {
        let place = at(&mut root, &format!("{section}.{key}"));
        place.insert("deprecated".into(), true.into());
        place.insert("description".into(), format!("It {instead}.").into());
    }
    let mut whole = Map::new();
    whole.insert("$schema".into(), DIALECT.into());
    whole.insert("title".into(), "The configuration of Remuda".into());
    whole.append(&mut root);
    let mut text =
        serde_json::to_string_pretty(&Value::Object(whole)).expect("a schema is a plain value");
    text.push('\n');
    text
}

/// Returns the schema of a mapping that takes no other keys than those that it lists; `null` is the same as not
/// written.
fn object() -> Map<String, Value> {
    members(json!({ "type": ["object", "null"], "additionalProperties": false, "properties": {} }))
}

fn list() -> Map<String, Value> {
    members(json!({ "type": ["array", "null"], "items": {} }))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Returns the schema of the value at `path`, and makes those of the mappings and lists above it.
fn at<'a>(mut place: &'a mut Map<String, Value>, path: &str) -> &'a mut Map<String, Value> {
    for step in path.split('.') {
        let (name, is_item) = match step.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (step, false),
        };
        if place.is_empty() {
            *place = object();
        }
        place = match name {
            // The names are the operator's choice.
            "<name>" => {
                place.remove("properties");
                let any = &mut place["additionalProperties"];
                if any.is_boolean() {
                    *any = Value::Object(Map::new());
                }
                inside(any)
            }
            name => inside(
                inside(&mut place["properties"])
                    .entry(name)
                    .or_insert_with(|| Value::Object(Map::new())),
            ),
        };
        if is_item {
            if place.get("items").is_none() {
                place.append(&mut list());
            }
            place = inside(&mut place["items"]);
            // In a list, nothing is no mapping.
            if place.is_empty() {
                *place = object();
                place.insert("type".into(), "object".into());
            }
        }
    }
    place
}

fn inside(value: &mut Value) -> &mut Map<String, Value> {
    value
        .as_object_mut()
        .expect("schemas of mappings and lists are objects")
}

fn describe(key: &Key) -> Map<String, Value> {
    let mut schema = members(value(&key.takes));
    schema.insert("description".into(), key.description().into());
    let default = key
        .default_value()
        .map(|text| yaml::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())));
    if let Some(default) = default {
        schema.insert("default".into(), default);
    }
    schema
}
