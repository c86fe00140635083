//! What the value of a key may be, in JSON Schema.

use serde_json::{Map, Value, json};

use super::keys::Takes;

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

/// A size with or without a unit.
const SIZE: &str = r"\+?[0-9]*\.?[0-9]+\s*([kKmMgGtTpPeE][iI]?)?[bB]?";
/// A number of tokens.
const TOKENS: &str = r"\+?[0-9]+\s*[kK]?";
const MOST_TOKENS: u32 = 1 << 30;
/// What is written as a whole number, or as a text.
const WHOLE: &[&str] = &["integer", "string"];
/// What is written as a text, or as a whole number where it needs no unit.
const TEXTUAL: &[&str] = &["string", "integer"];
/// What is written as a text, or as a number of seconds.
const SECONDS: &[&str] = &["string", "number"];
/// What is written as a number, or as a text.
const NUMERIC: &[&str] = &["number", "string"];

/// Returns the schema of a value. Nothing, which is the same as not written, is always one.
pub(super) fn value(takes: &Takes) -> Value {
    match takes {
        Takes::Truth => {
            let names = any_case(&["true", "yes", "on", "1", "false", "no", "off", "0"]);
            between(&["boolean", "string", "integer"], &names, 0, 1)
        }
        Takes::Whole(least, most) => between(WHOLE, r"\+?[0-9]+", *least, *most),
        Takes::Number(least, most) => number(*least, *most),
        Takes::Weight => with(written(NUMERIC, NUMBER), json!({ "maximum": 10_000 })),
        Takes::Amount => {
            let digits = r"\+?[0-9_]*[0-9][0-9_]*";
            between(WHOLE, digits, 1, 1_000_000_000_000_u64)
        }
        Takes::Priority => {
            let names = any_case(&["high", "normal", "low"]);
            let pattern = format!("[+-]?[0-9]+|{names}");
            between(WHOLE, &pattern, i32::MIN, i32::MAX)
        }
        Takes::Time => between(SECONDS, &time(), 0, YEAR),
        Takes::TimeAboveZero => {
            let bounds = json!({ "exclusiveMinimum": 0, "maximum": YEAR });
            with(written(SECONDS, &time()), bounds)
        }
        Takes::TimeOrOff => {
            let pattern = format!("off|false|{}", time());
            or_off(between(SECONDS, &pattern, 0, YEAR))
        }
        Takes::Days => between(TEXTUAL, &format!("0|{}", span()), 0, 0),
        Takes::Size => between(TEXTUAL, SIZE, 1, LARGEST),
        Takes::Tokens => between(TEXTUAL, TOKENS, 1, MOST_TOKENS),
        Takes::Contexts => {
            let several = json!({ "minItems": 1, "items": value(&Takes::Tokens) });
            let types = &["string", "integer", "array"];
            with(between(types, TOKENS, 1, MOST_TOKENS), several)
        }
        Takes::CountOrAuto => {
            let pattern = format!(r"{}|\+?[0-9]+", any_case(&["auto"]));
            between(TEXTUAL, &pattern, 1, 1024)
        }
        Takes::Rate => between(TEXTUAL, "0|off|[0-9]+r?/[smh]", 0, 0),
        Takes::Address => between(TEXTUAL, r"(\S*:)?\+?[0-9]+", 0, u16::MAX),
        Takes::AddressOrOff => {
            let pattern = r"off|none|false|(\S*:)?\+?[0-9]+";
            or_off(between(TEXTUAL, pattern, 0, u16::MAX))
        }
        Takes::Ports => between(TEXTUAL, r"\+?[0-9]+(\s*-\s*\+?[0-9]+)?", 1, u16::MAX),
        Takes::Text => text(&["string", "number", "boolean", "null"]),
        Takes::Texts => {
            let several = json!({ "minItems": 1, "items": text(&["string", "number", "boolean"]) });
            let types = &["string", "number", "boolean", "array", "null"];
            with(text(types), several)
        }
        Takes::OneOf(names) => one_of(&names()),
        Takes::List(of) => json!({ "type": ["array", "null"], "items": value(of) }),
        Takes::Names(of) => {
            json!({ "type": ["object", "null"], "additionalProperties": value(of) })
        }
        Takes::Sections => Value::Object(Map::new()),
        Takes::Backends => backends(),
    }
}

/// Returns the schema of a value of these types, whose text fits the pattern or names a variable.
fn written(types: &[&str], pattern: &str) -> Value {
    let types: Vec<&str> = types.iter().copied().chain(["null"]).collect();
    json!({ "type": types, "pattern": format!(r"^\s*({pattern})\s*$|{VARIABLE}") })
}

/// Does what [`written`] does, with bounds for what is written as a number.
fn between(
    types: &[&str],
    pattern: &str,
    least: impl Into<Value>,
    most: impl Into<Value>,
) -> Value {
    let (least, most) = (least.into(), most.into());
    with(
        written(types, pattern),
        json!({ "minimum": least, "maximum": most }),
    )
}

fn number(least: f64, most: Option<f64>) -> Value {
    let schema = with(written(NUMERIC, NUMBER), json!({ "minimum": least }));
    match most {
        Some(most) => with(schema, json!({ "maximum": most })),
        None => schema,
    }
}

/// Returns a schema that takes `false` too, as which YAML reads `off`.
fn or_off(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array_mut() {
        types.insert(types.len() - 1, json!("boolean"));
    }
    with(schema, json!({ "not": { "const": true } }))
}

fn text(types: &[&str]) -> Value {
    json!({ "type": types, "minLength": 1 })
}

/// Returns the schema of a list of mappings, in which a bare text is short for a mapping with that `url`.
fn backends() -> Value {
    json!({
        "type": ["array", "null"],
        "items": { "type": ["object", "string"], "additionalProperties": false, "properties": {} },
    })
}

/// Returns the schema with further members.
fn with(mut schema: Value, further: Value) -> Value {
    if let (Value::Object(schema), Value::Object(mut further)) = (&mut schema, further) {
        schema.append(&mut further);
    }
    schema
}

/// Returns a pattern for a duration with units.
fn span() -> String {
    format!(r"([0-9]+(\.[0-9]+)?\s*{UNITS}\s*)+")
}

/// Returns a pattern for a duration, or a number of seconds.
fn time() -> String {
    format!("{NUMBER}|{}", span())
}

/// Returns the schema of a choice: its names, which editors offer, or one of them in another case, or with `-` for `_`.
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

/// Returns a pattern that fits any of these names in any case: the patterns of JSON Schema have no flag for it.
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
