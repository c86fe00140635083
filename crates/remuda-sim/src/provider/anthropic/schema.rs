//! The JSON Schemas that constrained answers take: a subset, whose other keywords are refused.

use serde_json::{Map, Value};

use super::refused::Refused;

/// Deeper than this no schema of a request goes.
const MAX_DEPTH: usize = 64;

/// Keywords that are refused, by the type that they belong to.
const REFUSED: [(&str, &[&str]); 5] = [
    ("string", &["minLength", "maxLength"]),
    ("number", &NUMBER),
    ("integer", &NUMBER),
    (
        "array",
        &[
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
        ],
    ),
    (
        "object",
        &[
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        ],
    ),
];

const NUMBER: [&str; 5] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];

/// Checks `schema`, which stands at `path` of the body.
pub(super) fn check(schema: &Value, path: &str) -> Result<(), Refused> {
    walk(schema, path, MAX_DEPTH)
}

fn walk(schema: &Value, path: &str, depth: usize) -> Result<(), Refused> {
    let refused = |why: String| Err(Refused::invalid(format!("{path}: {why}")));
    let Some(schema) = schema.as_object() else {
        return refused("Schema must be an object".into());
    };
    if depth == 0 {
        return refused("Schema is too complex.".into());
    }
    if schema.contains_key("oneOf") {
        return refused("Schema type 'oneOf' is not supported".into());
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str)
        && !target.starts_with('#')
    {
        return refused(format!(
            "External schema reference '{target}' is not supported"
        ));
    }
    let kind = schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    for (of, keywords) in REFUSED {
        if kind == of
            && let Some(keyword) = keywords
                .iter()
                .find(|keyword| schema.contains_key(**keyword))
        {
            return refused(format!(
                "For '{kind}' type, property '{keyword}' is not supported"
            ));
        }
    }
    if kind == "array"
        && let Some(least) = schema.get("minItems").and_then(Value::as_u64)
        && least > 1
    {
        return refused(
            "For 'array' type, 'minItems' values other than 0 or 1 are not supported".into(),
        );
    }
    if kind == "object" && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return refused(
            "For 'object' type, 'additionalProperties' must be explicitly set to false".into(),
        );
    }
    inner(schema).try_for_each(|schema| walk(schema, path, depth - 1))
}

/// Returns the schemas directly within a schema.
fn inner(schema: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let named = ["properties", "$defs", "definitions"].into_iter();
    let named = named.filter_map(|key| schema.get(key)?.as_object());
    let listed = ["anyOf", "allOf"].into_iter();
    let listed = listed.filter_map(|key| schema.get(key)?.as_array());
    let items = schema.get("items").into_iter();
    named
        .flat_map(Map::values)
        .chain(listed.flatten())
        .chain(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plain_schema_is_taken() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {
            "a": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": ["x"]}},
            "b": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/c"}]},
            "minLength": {"type": "integer"},
        }, "$defs": {"c": {"type": "number"}}});
        check(&schema, "s").unwrap();
    }

    #[test]
    fn keywords_of_the_wrong_kind_are_refused_at_any_depth() {
        for bad in [
            json!({"type": "array", "uniqueItems": true}),
            json!({"type": "array", "minItems": 2}),
            json!({"type": "integer", "minimum": 1}),
            json!({"type": "object", "properties": {}}),
            json!({"oneOf": []}),
        ] {
            check(&bad, "s").unwrap_err();
            check(&json!({"anyOf": [bad.clone()]}), "s").unwrap_err();
            check(&json!({"type": "array", "items": bad}), "s").unwrap_err();
        }
    }
}
