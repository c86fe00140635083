//! The JSON Schema of the configuration, for editors: made of the table of keys.
//!
//! It takes whatever the reader of the configuration takes. It refuses unknown keys and what can be told by its look; what
//! depends on other keys, or on files, only `remuda check` tells.

use serde_json::{Map, Value, json};

use super::foreign;
use super::keys::{self, Key, Takes};
use super::yaml;

/// The dialect that the schema is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// A text with a variable, which may become anything.
const VARIABLE: &str = r"\$\{";
/// A decimal number, as Rust reads one.
const NUMBER: &str = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?";
/// The units that `humantime` knows.
const UNITS: &str = "(ns|nsec|nanos|us|usec|µs|ms|millis|msec|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|\
                     hrs|hour|hours|d|day|days|w|wk|wks|week|weeks|M|month|months|y|yr|yrs|year|years)";
/// 365 days in seconds.
const YEAR: u64 = 365 * 24 * 3600;
/// 1 PiB.
const LARGEST: u64 = 1 << 50;

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

/// A mapping that takes no other keys than those that it lists; `null` is the same as not written.
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

/// Returns what a value may be.
fn value(takes: &Takes) -> Value {
    let text = |pattern: &str| format!(r"^\s*({pattern})\s*$|{VARIABLE}");
    let time = format!(r"{NUMBER}|([0-9]+(\.[0-9]+)?\s*{UNITS}\s*)+");
    match takes {
        Takes::Truth => json!({
            "type": ["boolean", "string", "integer", "null"],
            "pattern": text(&any_case(&["true", "yes", "on", "1", "false", "no", "off", "0"])),
            "minimum": 0,
            "maximum": 1,
        }),
        Takes::Whole(least, most) => json!({
            "type": ["integer", "string", "null"],
            "pattern": text(r"\+?[0-9]+"),
            "minimum": least,
            "maximum": most,
        }),
        Takes::Number(least, most) => {
            let mut schema = json!({
                "type": ["number", "string", "null"],
                "pattern": text(NUMBER),
                "minimum": least,
            });
            if let Some(most) = most {
                schema["maximum"] = json!(most);
            }
            schema
        }
        Takes::Weight => json!({
            "type": ["number", "string", "null"],
            "pattern": text(NUMBER),
            "maximum": 10_000,
        }),
        Takes::Amount => json!({
            "type": ["integer", "string", "null"],
            "pattern": text(r"\+?[0-9_]*[0-9][0-9_]*"),
            "minimum": 1,
            "maximum": 1_000_000_000_000_u64,
        }),
        Takes::Priority => json!({
            "type": ["integer", "string", "null"],
            "pattern": text(&format!("[+-]?[0-9]+|{}", any_case(&["high", "normal", "low"]))),
            "minimum": i32::MIN,
            "maximum": i32::MAX,
        }),
        Takes::Time => json!({
            "type": ["string", "number", "null"],
            "pattern": text(&time),
            "minimum": 0,
            "maximum": YEAR,
        }),
        Takes::TimeAboveZero => json!({
            "type": ["string", "number", "null"],
            "pattern": text(&time),
            "exclusiveMinimum": 0,
            "maximum": YEAR,
        }),
        Takes::TimeOrOff => json!({
            "type": ["string", "number", "boolean", "null"],
            "pattern": text(&format!("off|false|{time}")),
            "not": { "const": true },
            "minimum": 0,
            "maximum": YEAR,
        }),
        Takes::Days => json!({
            "type": ["string", "integer", "null"],
            "pattern": text(&format!(r"0|([0-9]+(\.[0-9]+)?\s*{UNITS}\s*)+")),
            "minimum": 0,
            "maximum": 0,
        }),
        Takes::Size => json!({
            "type": ["string", "integer", "null"],
            "pattern": text(r"\+?[0-9]*\.?[0-9]+\s*([kKmMgGtTpPeE][iI]?)?[bB]?"),
            "minimum": 1,
            "maximum": LARGEST,
        }),
        Takes::Tokens => json!({
            "type": ["string", "integer", "null"],
            "pattern": text(r"\+?[0-9]+\s*[kK]?"),
            "minimum": 1,
            "maximum": 1 << 30,
        }),
        Takes::Contexts => json!({
            "type": ["string", "integer", "array", "null"],
            "pattern": text(r"\+?[0-9]+\s*[kK]?"),
            "minimum": 1,
            "maximum": 1 << 30,
            "minItems": 1,
            "items": value(&Takes::Tokens),
        }),
        Takes::CountOrAuto => json!({
            "type": ["string", "integer", "null"],
            "pattern": text(&format!(r"{}|\+?[0-9]+", any_case(&["auto"]))),
            "minimum": 1,
            "maximum": 1024,
        }),
        Takes::Rate => json!({
            "type": ["string", "integer", "null"],
            "pattern": text("0|off|[0-9]+r?/[smh]"),
            "minimum": 0,
            "maximum": 0,
        }),
        Takes::Address => json!({
            "type": ["string", "integer", "null"],
            "pattern": text(r"(\S*:)?\+?[0-9]+"),
            "minimum": 0,
            "maximum": u16::MAX,
        }),
        Takes::AddressOrOff => json!({
            "type": ["string", "integer", "boolean", "null"],
            "pattern": text(r"off|none|false|(\S*:)?\+?[0-9]+"),
            "not": { "const": true },
            "minimum": 0,
            "maximum": u16::MAX,
        }),
        Takes::Ports => json!({
            "type": ["string", "integer", "null"],
            "pattern": text(r"\+?[0-9]+(\s*-\s*\+?[0-9]+)?"),
            "minimum": 1,
            "maximum": u16::MAX,
        }),
        Takes::Text => json!({
            "type": ["string", "number", "boolean", "null"],
            "minLength": 1,
        }),
        Takes::Texts => json!({
            "type": ["string", "number", "boolean", "array", "null"],
            "minLength": 1,
            "minItems": 1,
            "items": { "type": ["string", "number", "boolean"], "minLength": 1 },
        }),
        Takes::OneOf(names) => one_of(&names()),
        Takes::List(of) => json!({ "type": ["array", "null"], "items": value(of) }),
        Takes::Names(of) => {
            json!({ "type": ["object", "null"], "additionalProperties": value(of) })
        }
        Takes::Sections => Value::Object(Map::new()),
        // A bare text is short for a mapping with that `url`.
        Takes::Backends => json!({
            "type": ["array", "null"],
            "items": { "type": ["object", "string"], "additionalProperties": false, "properties": {} },
        }),
    }
}

/// The names, which editors offer, or one of them in another case, or with `-` for `_`.
fn one_of(names: &[&str]) -> Value {
    let pattern = format!(
        r"^\s*{}\s*$|{VARIABLE}",
        any_case(names).replace('_', "[_-]")
    );
    // What YAML takes for a truth value is its text.
    let truths = names.iter().filter_map(|name| name.parse::<bool>().ok());
    let mut listed: Vec<Value> = names.iter().map(|name| json!(name)).collect();
    listed.extend(truths.map(Value::Bool));
    listed.push(Value::Null);
    json!({ "anyOf": [{ "enum": listed }, { "type": "string", "pattern": pattern }] })
}

/// A pattern that any of these names fits, in any case: the patterns of JSON Schema have no flag for it.
fn any_case(names: &[&str]) -> String {
    let folded = |name: &&str| {
        let letter = |c: char| {
            if c.is_ascii_alphabetic() {
                format!("[{}{c}]", c.to_ascii_uppercase())
            } else {
                c.to_string()
            }
        };
        name.chars().map(letter).collect::<String>()
    };
    let all: Vec<String> = names.iter().map(folded).collect();
    format!("({})", all.join("|"))
}
