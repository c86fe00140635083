//! The schemas of `parameters` and `responseSchema`: a subset of OpenAPI's, whose other keywords are unknown names.

use serde_json::Value;

use super::fields::Fields;
use super::refused::Refused;

/// Deeper than this no schema of a request goes.
const MAX_DEPTH: usize = 32;

const KNOWN: [&str; 21] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "propertyOrdering",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "minimum",
    "maximum",
];

const TYPES: [&str; 7] = [
    "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL",
];

/// Checks a schema and those within it.
pub(super) fn check(schema: &Fields) -> Result<(), Refused> {
    walk(schema, MAX_DEPTH)
}

/// Checks a schema that may be any JSON Schema: beside `$ref` only what begins with `$` may be set, and it leads to a
/// definition of the root.
pub(super) fn check_full(schema: &Value, path: &str) -> Result<(), Refused> {
    full(schema, path, MAX_DEPTH)
}

fn full(schema: &Value, path: &str, depth: usize) -> Result<(), Refused> {
    let (Some(members), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else {
        return Ok(());
    };
    if let Some(pointer) = members.get("$ref").and_then(Value::as_str) {
        if !pointer.starts_with("#/$defs/") {
            let why = format!("reference to undefined schema {pointer}");
            return Err(Refused::rule(path, &why));
        }
        if let Some(beside) = members.keys().find(|name| !name.starts_with('$')) {
            let why = format!("$ref cannot be set together with {beside}");
            return Err(Refused::rule(path, &why));
        }
    }
    for (name, value) in members {
        let path = format!("{path}.{name}");
        match name.as_str() {
            "properties" | "$defs" => {
                for schema in value
                    .as_object()
                    .into_iter()
                    .flat_map(|named| named.values())
                {
                    full(schema, &path, depth)?;
                }
            }
            "items" | "additionalProperties" => full(value, &path, depth)?,
            "anyOf" | "oneOf" | "prefixItems" => {
                for schema in value.as_array().into_iter().flatten() {
                    full(schema, &path, depth)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn walk(schema: &Fields, depth: usize) -> Result<(), Refused> {
    if depth == 0 {
        return Err(Refused::invalid(
            "A schema in the request exceeds the maximum allowed nesting depth.",
        ));
    }
    schema.only(&KNOWN)?;
    let kind = schema.word("type", &TYPES)?;
    let rule = |key: &str, why: &str| Err(Refused::rule(&schema.path(key), why));
    if kind.is_none() && !schema.has("anyOf") {
        return rule("type", "must be specified");
    }
    if schema.has("enum") {
        schema.strings("enum")?;
        if kind != Some("STRING") {
            return rule("enum", "only allowed for STRING type");
        }
    }
    match (kind, schema.string("format")?) {
        (Some("STRING"), Some("enum" | "date-time") | None) => {}
        (Some("STRING"), Some(_)) => {
            return rule(
                "format",
                "only 'enum' and 'date-time' are supported for STRING type",
            );
        }
        _ => {}
    }
    if kind == Some("ARRAY") && !schema.has("items") {
        return rule("items", "missing field.");
    }
    for inner in schema
        .message("items")?
        .into_iter()
        .chain(schema.messages("anyOf")?)
    {
        walk(&inner, depth - 1)?;
    }
    properties(schema, kind, depth)
}

fn properties(schema: &Fields, kind: Option<&str>, depth: usize) -> Result<(), Refused> {
    let named = schema
        .free("properties")?
        .and_then(|named| named.as_object());
    let none = serde_json::Map::new();
    let named = named.unwrap_or(&none);
    if kind == Some("OBJECT") && named.is_empty() {
        return Err(Refused::rule(
            &schema.path("properties"),
            "should be non-empty for OBJECT type",
        ));
    }
    for (index, name) in schema.strings("required")?.into_iter().enumerate() {
        if !named.contains_key(name) {
            let path = format!("{}[{index}]", schema.path("required"));
            return Err(Refused::rule(&path, "property is not defined"));
        }
    }
    for (name, property) in named {
        let path = format!("{}[{name}]", schema.path("properties"));
        walk(&Fields::of(property, path)?, depth - 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn why(schema: Value) -> String {
        let fields = Fields::of(&schema, "parameters".into()).unwrap();
        check(&fields)
            .err()
            .map_or(String::new(), |refused| refused.message)
    }

    #[test]
    fn the_subset_is_taken_in_either_case() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "STRING", "enum": ["x", "y"]},
            "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "b": {"anyOf": [{"type": "string", "nullable": true}, {"type": "number"}]}}});
        assert_eq!(why(schema), "");
    }

    #[test]
    fn json_schema_beyond_it_is_refused() {
        let inside =
            |property: Value| why(json!({"type": "OBJECT", "properties": {"a": property}}));
        for key in [
            "$ref",
            "$schema",
            "additionalProperties",
            "const",
            "default",
            "propertyNames",
            "oneOf",
            "allOf",
        ] {
            let message = inside(json!({"type": "STRING", (key): "x"}));
            assert!(
                message.contains(&format!(
                    "Unknown name \"{key}\" at 'parameters.properties[a]': Cannot find field."
                )),
                "{message}"
            );
        }
        assert!(inside(json!({"type": ["string", "null"]})).contains("cannot start list"));
        assert!(
            inside(json!({"type": "integer", "enum": ["1"]}))
                .contains("only allowed for STRING type")
        );
        assert!(inside(json!({"type": "array"})).contains("items: missing field"));
        assert!(
            why(json!({"type": "object", "properties": {}}))
                .contains("should be non-empty for OBJECT")
        );
        assert!(
            why(
                json!({"type": "object", "required": ["b"], "properties": {"a": {"type": "null"}}})
            )
            .contains("required[0]: property is not defined")
        );
    }
}
