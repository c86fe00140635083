//! JSON Schemas as OpenAI and many servers with its API ask for them: an object says what properties it has, if none, an
//! array what its items are, and the root of a function's parameters is an object.

use std::borrow::Cow;

use super::object::Object;
use crate::ir::Json;
use crate::wire::json::{Kind, Scanner, SyntaxError};

/// Schemas within schemas; in deeper ones nothing is looked for.
const DEEPEST: usize = 128;

const NO_PARAMETERS: &str = "{\"type\":\"object\",\"properties\":{}}";
const PROPERTIES: &str = "\"properties\":{},";
const ITEMS: &str = "\"items\":{},";
const TYPE: &str = "\"type\":\"object\",";

/// Writes a function's parameters as the member `key`.
pub(super) fn write_parameters(key: &str, schema: Option<&Json<'_>>, object: &mut Object<'_>) {
    match schema.filter(|schema| schema.is_object()) {
        None => object.raw(key, NO_PARAMETERS),
        Some(schema) if schema.as_str()[1..].trim_ascii_start() == "}" => {
            object.raw(key, NO_PARAMETERS);
        }
        Some(schema) => {
            let json = schema.as_str().as_bytes();
            object.json(
                key,
                &Json::trusted(written(schema, missing(json, &[], true))),
            );
        }
    }
}

/// Writes any schema as the member `key`.
pub(super) fn write_schema(key: &str, schema: &Json<'_>, object: &mut Object<'_>) {
    let missing = missing(schema.as_str().as_bytes(), &[], false);
    object.json(key, &Json::trusted(written(schema, missing)));
}

fn written<'s>(schema: &'s Json<'_>, missing: Vec<Missing>) -> Cow<'s, str> {
    match completed(schema.as_str().as_bytes(), missing) {
        None => Cow::Borrowed(schema.as_str()),
        Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// A step from a JSON value to one within it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hop {
    /// The way leads to each item.
    Item,
    /// The way leads to the member of this name.
    Key(&'static str),
}

/// Returns the value with what its schemas lack, which stand where one of the ways leads; `None` if they lack nothing.
pub(super) fn complete(json: &[u8], ways: &[&[Hop]]) -> Option<Vec<u8>> {
    let missing = ways.iter().flat_map(|way| missing(json, way, false));
    completed(json, missing.collect())
}

/// Where something is to be put in, and what.
type Missing = (usize, &'static str);

fn completed(json: &[u8], mut missing: Vec<Missing>) -> Option<Vec<u8>> {
    if missing.is_empty() {
        return None;
    }
    missing.sort_unstable();
    let mut whole = Vec::with_capacity(json.len() + missing.len() * PROPERTIES.len());
    let mut copied = 0;
    for (at, what) in missing {
        whole.extend_from_slice(&json[copied..at]);
        whole.extend_from_slice(what.as_bytes());
        copied = at;
    }
    whole.extend_from_slice(&json[copied..]);
    Some(whole)
}

/// Returns what the schemas lack to which `way` leads. `typed`: the type too is put in at the root. Of what is no JSON
/// nothing is said.
fn missing(json: &[u8], way: &[Hop], typed: bool) -> Vec<Missing> {
    let mut walk = Walk {
        json,
        scanner: Scanner::new(json),
        missing: Vec::new(),
    };
    let walked = if typed {
        walk.object(0, true)
    } else {
        walk.follow(way)
    };
    match walked {
        Ok(()) => walk.missing,
        Err(_) => Vec::new(),
    }
}

struct Walk<'j> {
    json: &'j [u8],
    scanner: Scanner<'j>,
    missing: Vec<Missing>,
}

/// What a keyword holds.
enum Holds {
    Type,
    Properties,
    Items,
    /// Completes a schema, or a list of them.
    Schemas,
    /// Schemas by name.
    Named,
    Other,
}

impl Holds {
    fn of(keyword: &str) -> Holds {
        match keyword {
            "type" => Holds::Type,
            "properties" => Holds::Properties,
            "items" => Holds::Items,
            "prefixItems"
            | "anyOf"
            | "oneOf"
            | "allOf"
            | "not"
            | "if"
            | "then"
            | "else"
            | "additionalProperties"
            | "additionalItems"
            | "contains"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties" => Holds::Schemas,
            "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => Holds::Named,
            _ => Holds::Other,
        }
    }
}

impl Walk<'_> {
    fn follow(&mut self, way: &[Hop]) -> Result<(), SyntaxError> {
        let Some((hop, rest)) = way.split_first() else {
            return self.schemas(0);
        };
        match (hop, self.scanner.kind()?) {
            (Hop::Item, Kind::Array) => self.items(|walk| walk.follow(rest)),
            (Hop::Key(name), Kind::Object) => self.members(|walk, key| {
                if key == *name {
                    walk.follow(rest)
                } else {
                    walk.skip()
                }
            }),
            _ => self.skip(),
        }
    }

    fn skip(&mut self) -> Result<(), SyntaxError> {
        self.scanner.skip_value().map(|_| ())
    }

    fn items(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), SyntaxError>,
    ) -> Result<(), SyntaxError> {
        self.scanner.begin_array()?;
        let mut first = true;
        while self.scanner.next_item(first)? {
            first = false;
            item(self)?;
        }
        Ok(())
    }

    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), SyntaxError>,
    ) -> Result<(), SyntaxError> {
        self.scanner.begin_object()?;
        let mut first = true;
        while let Some(key) = self.scanner.next_key(first)? {
            first = false;
            member(self, &key.text(self.json))?;
        }
        Ok(())
    }

    /// A schema, or a list of them.
    fn schemas(&mut self, depth: usize) -> Result<(), SyntaxError> {
        if depth > DEEPEST {
            return Err(SyntaxError::TooDeep);
        }
        match self.scanner.kind()? {
            Kind::Object => self.object(depth, false),
            Kind::Array => self.items(|walk| walk.schemas(depth + 1)),
            _ => self.skip(),
        }
    }

    fn object(&mut self, depth: usize, typed: bool) -> Result<(), SyntaxError> {
        self.scanner.peek();
        let inside = self.scanner.position() + 1;
        let mut kinds = None;
        let (mut has_properties, mut has_items) = (false, false);
        self.members(|walk, key| match Holds::of(key) {
            Holds::Type => {
                walk.scanner.peek();
                let value = walk.scanner.skip_value()?.of(walk.json);
                let says = |kind: &str| memchr::memmem::find(value, kind.as_bytes()).is_some();
                kinds = Some((says("\"object\""), says("\"array\"")));
                Ok(())
            }
            Holds::Properties => {
                has_properties = true;
                walk.named(depth)
            }
            Holds::Items => {
                has_items = true;
                walk.schemas(depth + 1)
            }
            Holds::Schemas => walk.schemas(depth + 1),
            Holds::Named => walk.named(depth),
            Holds::Other => walk.skip(),
        })?;
        if kinds.is_none() && typed {
            self.missing.push((inside, TYPE));
        }
        let (is_object, is_array) = kinds.unwrap_or((typed, false));
        if is_object && !has_properties {
            self.missing.push((inside, PROPERTIES));
        }
        if is_array && !has_items {
            self.missing.push((inside, ITEMS));
        }
        Ok(())
    }

    fn named(&mut self, depth: usize) -> Result<(), SyntaxError> {
        match self.scanner.kind()? {
            Kind::Object => self.members(|walk, _| walk.schemas(depth + 1)),
            _ => self.skip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parameters(schema: &str) -> String {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        write_parameters("p", Some(&Json::trusted(schema)), &mut object);
        object.end();
        let text = String::from_utf8(out).unwrap();
        text[5..text.len() - 1].to_owned()
    }

    #[test]
    fn every_object_has_properties_and_every_array_items() {
        for (schema, expected) in [
            (
                json!({"type": "object"}),
                json!({"type": "object", "properties": {}}),
            ),
            (json!({}), json!({"type": "object", "properties": {}})),
            (
                json!({"description": "d"}),
                json!({"type": "object", "properties": {}, "description": "d"}),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": ["object", "null"]}, "type": {"type": "array"},
                    "b": {"anyOf": [{"type": "object"}, {"type": "string"}]}, "items": {"items": {"type": "object"}}},
                    "$defs": {"d": {"type": "object"}}, "additionalProperties": {"type": "object"}}),
                json!({"type": "object", "properties": {"a": {"type": ["object", "null"], "properties": {}}, "type": {"type": "array", "items": {}},
                    "b": {"anyOf": [{"type": "object", "properties": {}}, {"type": "string"}]}, "items": {"items": {"type": "object", "properties": {}}}},
                    "$defs": {"d": {"type": "object", "properties": {}}}, "additionalProperties": {"type": "object", "properties": {}}}),
            ),
            // What is a value is no schema.
            (
                json!({"type": "object", "properties": {}, "enum": [{"type": "object"}], "default": {"type": "array"}}),
                json!({"type": "object", "properties": {}, "enum": [{"type": "object"}], "default": {"type": "array"}}),
            ),
        ] {
            let written: Value = serde_json::from_str(&parameters(&schema.to_string())).unwrap();
            assert_eq!(written, expected, "{schema}");
        }
        let whole = r#"{ "type" : "object", "properties":{"b":{"type":"string"} , "a":{}} }"#;
        assert_eq!(parameters(whole), whole);
        assert_eq!(parameters("7"), NO_PARAMETERS);
    }

    #[test]
    fn schemas_of_a_body_are_found_by_their_way() {
        let tools = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"custom","parameters":{"type":"object"}}]"#;
        let way: &[Hop] = &[Hop::Item, Hop::Key("function"), Hop::Key("parameters")];
        let whole = String::from_utf8(complete(tools.as_bytes(), &[way]).unwrap()).unwrap();
        let expected = tools.replacen(
            r#"{"type":"object"}"#,
            r#"{"properties":{},"type":"object"}"#,
            1,
        );
        assert_eq!(whole, expected);
        assert_eq!(complete(whole.as_bytes(), &[way]), None);
        assert_eq!(complete(b"[{]", &[way]), None);
    }

    #[test]
    fn deep_schemas_are_left_alone() {
        let deep = format!("{}1{}", r#"{"items":"#.repeat(5000), "}".repeat(5000));
        assert_eq!(complete(deep.as_bytes(), &[&[]]), None);
    }

    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!({"type": "object"})),
            Just(json!({"type": "string"})),
            Just(json!({"type": "array"})),
            Just(json!({})),
            Just(json!(true)),
        ];
        leaf.prop_recursive(4, 30, 3, |inner| {
            prop_oneof![
                prop::collection::btree_map("[a-c]|type|items|properties", inner.clone(), 0..3)
                    .prop_map(|named| json!({"type": "object", "properties": named})),
                prop::collection::btree_map("[a-c]", inner.clone(), 0..3)
                    .prop_map(|named| json!({"type": "object", "$defs": named})),
                prop::collection::vec(inner.clone(), 0..3).prop_map(|list| json!({"anyOf": list})),
                inner.prop_map(|items| json!({"type": "array", "items": items})),
            ]
        })
    }

    fn objection(schema: &Value) -> bool {
        let kind = schema.get("type").and_then(Value::as_str);
        let named = |key: &str| {
            let named = schema.get(key).and_then(Value::as_object);
            named.is_some_and(|named| named.values().any(objection))
        };
        (kind == Some("object") && schema.get("properties").is_none())
            || (kind == Some("array") && schema.get("items").is_none())
            || named("properties")
            || named("$defs")
            || schema.get("items").is_some_and(objection)
            || schema
                .get("anyOf")
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(objection))
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_object_to(schema in any_schema()) {
            let text = schema.to_string();
            let whole = complete(text.as_bytes(), &[&[]]);
            let whole = whole.map_or(text, |bytes| String::from_utf8(bytes).unwrap());
            prop_assert!(!objection(&serde_json::from_str(&whole).unwrap()), "{}", whole);
        }
    }
}
