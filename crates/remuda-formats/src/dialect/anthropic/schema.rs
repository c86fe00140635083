//! Schemas as structured outputs take them: without the keywords that the provider refuses, which the model is told in
//! words, and closed, as every object must be. What is left stays in its order, in which the model writes.

use serde_json::value::RawValue;

use crate::ir::Json;
use crate::wire::json::{Object, write_string};

/// Schemas within schemas; deeper ones stay as they are.
const DEEPEST: usize = 96;

const REFUSED: [&str; 15] = [
    "uniqueItems",
    "minItems",
    "maxItems",
    "contains",
    "minContains",
    "maxContains",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
];
const DESCRIPTION: &str = "description";
const CLOSED: &str = "additionalProperties";

/// Appends the schema.
pub(super) fn write_closed(schema: &Json<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    write(schema.as_str().as_bytes(), 0, out);
    for byte in &mut out[start..] {
        // Between a value's parts a line's end means nothing, and within texts there is none.
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

fn write(schema: &[u8], depth: usize, out: &mut Vec<u8>) {
    let object = (depth < DEEPEST).then(|| Object::read(schema)).flatten();
    let Some(object) = object else {
        return out.extend_from_slice(schema);
    };
    let told = told(&object);
    let closes = object.get("type") == Some(b"\"object\"");
    let mut members = Members::new(out);
    for (name, key, value) in object.members() {
        match name {
            CLOSED if closes => {}
            DESCRIPTION if told.is_some() => {}
            _ if REFUSED.contains(&name) => {}
            _ => {
                let out = members.key(key);
                match name {
                    "properties" | "$defs" | "definitions" | "patternProperties" => {
                        write_named(value, depth + 1, out);
                    }
                    "items" | "prefixItems" | "anyOf" | "oneOf" | "allOf" | "not" | "if"
                    | "then" | "else" | CLOSED => write_schemas(value, depth + 1, out),
                    _ => out.extend_from_slice(value),
                }
            }
        }
    }
    if let Some(told) = told {
        write_string(&told, members.key(b"\"description\""));
    }
    if closes {
        members
            .key(b"\"additionalProperties\"")
            .extend_from_slice(b"false");
    }
    members.out.push(b'}');
}

/// Returns what the model still reads that the provider does not enforce, after the description.
fn told(schema: &Object<'_>) -> Option<String> {
    let limits: Vec<String> = REFUSED
        .iter()
        .filter_map(|name| {
            let value = schema.get(name)?;
            Some(format!("{name}: {}", String::from_utf8_lossy(value)))
        })
        .collect();
    if limits.is_empty() {
        return None;
    }
    let limits = limits.join(", ");
    let before = schema.get(DESCRIPTION);
    let before = before.and_then(|text| serde_json::from_slice::<String>(text).ok());
    Some(match before {
        Some(before) => format!("{before} ({limits})"),
        None => limits,
    })
}

/// Writes a schema, or a list of them.
fn write_schemas(value: &[u8], depth: usize, out: &mut Vec<u8>) {
    let Ok(list) = serde_json::from_slice::<Vec<&RawValue>>(value) else {
        return write(value, depth, out);
    };
    out.push(b'[');
    for (place, schema) in list.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(schema.get().as_bytes(), depth, out);
    }
    out.push(b']');
}

fn write_named(value: &[u8], depth: usize, out: &mut Vec<u8>) {
    let Some(named) = Object::read(value) else {
        return out.extend_from_slice(value);
    };
    let mut members = Members::new(out);
    for (_, key, schema) in named.members() {
        write(schema, depth, members.key(key));
    }
    members.out.push(b'}');
}

/// An object that is being written.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Members<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Members { out, first: true }
    }

    /// Begins a member; `key` has its quotes.
    fn key(&mut self, key: &[u8]) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.extend_from_slice(key);
        self.out.push(b':');
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(schema: &str) -> String {
        let mut out = Vec::new();
        write_closed(&Json::trusted(schema), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_left_stays_in_its_order() {
        assert_eq!(
            closed(
                r#"{"type":"object","properties":{"z":{"type":"string","minLength":2,"description":"d"},"a":{"anyOf":[{"type":"object"},{"type":"null"}]}},"required":["z"]}"#
            ),
            r#"{"type":"object","properties":{"z":{"type":"string","description":"d (minLength: 2)"},"a":{"anyOf":[{"type":"object","additionalProperties":false},{"type":"null"}]}},"required":["z"],"additionalProperties":false}"#
        );
    }

    #[test]
    fn names_and_values_are_no_keywords() {
        let schema = r#"{"type":"object","properties":{"minimum":{"type":"number"},"type":{"const":{"minimum":1,"type":"object"}}},"additionalProperties":false}"#;
        assert_eq!(closed(schema), schema);
        assert_eq!(closed("true"), "true");
        assert_eq!(
            closed("{\"enum\":[\n{\"maxItems\":1}]}"),
            r#"{"enum":[ {"maxItems":1}]}"#
        );
    }
}
