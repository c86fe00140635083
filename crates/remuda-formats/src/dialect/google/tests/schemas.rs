//! Schemas in the subset, against the subset's rules.

use proptest::prelude::*;
use serde_json::json;

use super::super::schema::{write_object, write_parameters, write_subset};
use super::*;

const KEYWORDS: [&str; 19] = [
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
    "minLength",
    "maxLength",
    "pattern",
    "anyOf",
    "minimum",
    "maximum",
];

fn subset(schema: &Value) -> Value {
    let schema = schema.to_string();
    let mut out = Vec::new();
    write_subset(&Json::trusted(schema.as_str()), &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn parameters(schema: &str) -> String {
    let mut out = vec![b'{'];
    write_parameters(&Json::trusted(schema), &mut out);
    out.push(b'}');
    String::from_utf8(out).unwrap()
}

/// What the API refuses of a schema.
fn objection(schema: &Value) -> Option<String> {
    let object = schema.as_object()?;
    if let Some(unknown) = object.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Some(format!("unknown {unknown}"));
    }
    let kind = object.get("type").and_then(Value::as_str);
    if kind.is_none() && !object.contains_key("anyOf") {
        return Some(format!("no type: {schema}"));
    }
    if object.contains_key("enum") && kind != Some("string") {
        return Some(format!("enum: {schema}"));
    }
    let empty = serde_json::Map::new();
    let properties = object
        .get("properties")
        .map_or(&empty, |it| it.as_object().unwrap());
    if kind == Some("object") && properties.is_empty() {
        return Some(format!("no properties: {schema}"));
    }
    if kind == Some("array") && !object.contains_key("items") {
        return Some(format!("no items: {schema}"));
    }
    let required = object
        .get("required")
        .map_or(vec![], |it| it.as_array().unwrap().clone());
    if let Some(name) = required
        .iter()
        .find(|name| !properties.contains_key(name.as_str().unwrap()))
    {
        return Some(format!("required {name}"));
    }
    let alternatives = object
        .get("anyOf")
        .map_or(vec![], |it| it.as_array().unwrap().clone());
    properties
        .values()
        .chain(object.get("items"))
        .chain(&alternatives)
        .find_map(objection)
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn what_the_subset_lacks_is_said_otherwise() {
    for (schema, expected) in [
        (
            json!({"type": "STRING", "default": "x", "$schema": "s", "examples": []}),
            json!({"type": "string"}),
        ),
        (
            json!({"type": ["string", "null"]}),
            json!({"type": "string", "nullable": true}),
        ),
        (
            json!({"type": ["string", "integer"]}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        ),
        (
            json!({"const": "a"}),
            json!({"type": "string", "enum": ["a"]}),
        ),
        (
            json!({"enum": ["a", null, 1]}),
            json!({"type": "string", "nullable": true, "enum": ["a"]}),
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!({"type": "integer"}),
        ),
        (
            json!({"anyOf": [{"type": "number"}, {"type": "null"}]}),
            json!({"type": "number", "nullable": true}),
        ),
        (
            json!({"oneOf": [{"type": "number"}, {"type": "string"}], "title": "t"}),
            json!({"anyOf": [{"type": "number"}, {"type": "string"}], "title": "t"}),
        ),
        (
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b", "c"]}]}),
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a", "b"]}),
        ),
        (
            json!({"type": "string", "format": "uuid", "minLength": 1, "minimum": 2}),
            json!({"type": "string", "minLength": 1}),
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!({"type": "string", "format": "date-time"}),
        ),
        (
            json!({"type": "integer", "format": "int32", "exclusiveMinimum": 0}),
            json!({"type": "integer", "format": "int32"}),
        ),
        (
            json!({"type": "array", "uniqueItems": true, "maxItems": 3}),
            json!({"type": "array", "maxItems": 3, "items": {"type": "string"}}),
        ),
        (
            json!({"type": "array", "items": [{"type": "string"}]}),
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "description": "free"}),
            json!({"type": "string", "description": "free"}),
        ),
        (
            json!({"$defs": {"a/b": {"type": "boolean", "description": "d"}}, "type": "object", "properties": {"x": {"$ref": "#/$defs/a~1b", "description": "near"}, "y": {"$ref": "#/nowhere"}}}),
            json!({"type": "object", "properties": {"x": {"type": "boolean", "description": "near"}, "y": {"type": "string"}}}),
        ),
        (
            json!({"type": "object", "properties": {"properties": {"type": "string"}, "$ref": {"type": "integer"}, "default": {"type": "number"}}}),
            json!({"type": "object", "properties": {"properties": {"type": "string"}, "$ref": {"type": "integer"}, "default": {"type": "number"}}}),
        ),
        (json!(true), json!({"type": "string"})),
    ] {
        let written = subset(&schema);
        assert_eq!(written, expected, "{schema}");
        assert_eq!(objection(&written), None);
    }
}

#[test]
fn references_that_lead_to_themselves_come_to_an_end() {
    let tree = json!({"$defs": {"node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"});
    let written = subset(&tree);
    assert_eq!(objection(&written), None);
    assert!(written.to_string().len() < 1 << 20);
    let knot = json!({"$ref": "#", "allOf": [{"$ref": "#"}, {"$ref": "#"}], "anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
    assert_eq!(objection(&subset(&knot)), None);
}

#[test]
fn the_root_of_parameters_is_an_object() {
    assert_eq!(parameters(r#"{"type":"object","properties":{}}"#), "{}");
    assert_eq!(parameters("{}"), "{}");
    assert_eq!(parameters("[]"), "{}");
    assert_eq!(
        parameters(
            r#"{"type":["object","null"],"properties":{"a":{"type":"string"}},"oneOf":[{"required":["a"]}]}"#
        ),
        r#"{"parameters":{"type":"object","properties":{"a":{"type":"string"}}}}"#
    );
    let object = |schema: &str| {
        let mut out = Vec::new();
        write_object(&Json::trusted(schema), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let as_it_is = r##"{ "type": "object", "properties": {"a": {"$ref": "#/x"}}}"##;
    assert_eq!(object(as_it_is), as_it_is);
    assert_eq!(object("{}"), r#"{"type":"object"}"#);
    assert_eq!(
        object(r#"{"properties":{"é\"":{}},"type":["object"]}"#),
        r#"{"type":"object","properties":{"é\"":{}}}"#
    );
    assert_eq!(object("7"), r#"{"type":"object"}"#);
}

fn any_schema() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just(json!("object")),
        Just(json!("array")),
        Just(json!("string")),
        Just(json!(["integer", "null"])),
        Just(json!(["array", "object"])),
        Just(json!(7)),
    ];
    let leaf = (kind, prop::option::of("[a-d$]{1,2}")).prop_map(|(kind, name)| match name {
        Some(name) => json!({"type": kind, "enum": [name, 1], "default": 1, "required": [name]}),
        None => json!({"type": kind, "const": null, "title": 3, "minimum": "x"}),
    });
    leaf.prop_recursive(4, 40, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3);
        let named = prop::collection::btree_map("[a-c\"é]{0,2}", inner.clone(), 0..4);
        prop_oneof![
            named.clone().prop_map(|named| json!({"type": "object", "properties": named, "required": ["a", "b"], "additionalProperties": false})),
            named.prop_map(|named| json!({"$defs": named, "$ref": "#/$defs/a", "description": "d"})),
            inner.prop_map(|inner| json!({"type": "array", "items": inner, "uniqueItems": true})),
            (list.clone(), list).prop_map(|(one, other)| json!({"anyOf": one, "allOf": other, "nullable": "x"})),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_becomes_one_of_the_subset(schema in any_schema()) {
        prop_assert_eq!(objection(&subset(&schema)), None);
        let text = schema.to_string();
        let written: Value = serde_json::from_str(&parameters(&text)).unwrap();
        prop_assert_eq!(written.get("parameters").and_then(objection), None);
    }
}
