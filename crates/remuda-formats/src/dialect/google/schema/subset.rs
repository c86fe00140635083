//! JSON Schema in the subset that OpenAPI knows: references are written out, alternatives are joined, and what has no
//! place is left out.

use ahash::AHashSet;
use serde_json::value::RawValue;

use super::super::json::{key, put, separate};
use super::members::Members;
use super::pointers::Pointers;
use super::references::allowance;
use crate::ir::{Json, Text};

/// Deeper than this nothing is written: a reference may lead to itself.
const MAX_DEPTH: usize = 24;
/// Schemas in one schema: references may double at each step.
const MAX_SCHEMAS: usize = 2000;
/// Types of one schema: JSON Schema has seven.
const MAX_TYPES: usize = 8;

/// Appends `parameters` in the subset; a function without any has no such member.
pub(in super::super) fn write_parameters(schema: &Json<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(schema.as_str());
    let root = writer.read_root(schema);
    if root.properties.is_empty() {
        return;
    }
    key("parameters", out);
    let root = Schema {
        types: vec!["object".into()],
        alternatives: Vec::new(),
        nullable: false,
        ..root
    };
    writer.write(root, 0, out);
}

/// Appends any schema in the subset.
pub(in super::super) fn write_subset(schema: &Json<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(schema.as_str());
    let root = writer.read_root(schema);
    writer.write(root, 0, out);
}

/// A schema with its references and the members of its `allOf` taken in.
#[derive(Default)]
struct Schema<'a> {
    types: Vec<Box<str>>,
    nullable: bool,
    /// Values of an enumeration that are texts.
    values: Vec<&'a RawValue>,
    alternatives: Vec<&'a RawValue>,
    properties: Members<'a>,
    required: Vec<Text<'a>>,
    items: Option<&'a RawValue>,
    format: Option<&'a RawValue>,
    /// What is written as it is.
    plain: Members<'a>,
}

impl<'a> Schema<'a> {
    /// Takes the types that `type` names, be it one or a list.
    fn set_types(&mut self, value: &'a RawValue) {
        let one = Text::of(value).map(|name| vec![name]);
        let names = one
            .or_else(|| serde_json::from_str(value.get()).ok())
            .unwrap_or_default();
        self.types.clear();
        for name in names {
            let name = name.decoded().to_ascii_lowercase();
            match name.as_str() {
                "null" => self.nullable = true,
                // A list of them has each once, and there are seven.
                _ if self.types.iter().any(|known| **known == *name) => {}
                _ if self.types.len() >= MAX_TYPES => {}
                _ => self.types.push(name.into()),
            }
        }
    }

    /// Takes the values of an enumeration, of which the subset has texts and null.
    fn set_values(&mut self, values: Vec<&'a RawValue>) {
        self.nullable |= values.iter().any(|value| value.get() == "null");
        let texts = values.into_iter();
        let texts = texts.filter(|value| value.get().starts_with('"'));
        self.values = texts.collect();
    }
}

struct Writer<'a> {
    pointers: Pointers<'a>,
    left: usize,
    /// Bytes that may still be read.
    to_read: usize,
}

impl<'a> Writer<'a> {
    fn new(root: &'a str) -> Self {
        Writer {
            pointers: Pointers::of(root),
            left: MAX_SCHEMAS,
            to_read: allowance(root.len()),
        }
    }

    fn read_root(&mut self, schema: &'a Json<'_>) -> Schema<'a> {
        let mut read = Schema::default();
        if let Ok(raw) = serde_json::from_str::<&RawValue>(schema.as_str()) {
            self.read(raw, 0, &mut read);
        }
        read
    }

    /// Takes `schema` into what is known already.
    fn read(&mut self, schema: &'a RawValue, depth: usize, into: &mut Schema<'a>) {
        if depth > MAX_DEPTH || self.left == 0 {
            return;
        }
        self.left -= 1;
        let Some(to_read) = self.to_read.checked_sub(schema.get().len()) else {
            self.left = 0;
            return;
        };
        self.to_read = to_read;
        let Some(members) = Members::of(schema.get()) else {
            return;
        };
        // First what is referred to: what stands beside the reference is nearer to the matter.
        let target = members
            .get("$ref")
            .and_then(|pointer| self.pointers.at(pointer));
        if let Some(target) = target {
            self.read(target, depth + 1, into);
        }
        for part in members.get("allOf").map(list).unwrap_or_default() {
            self.read(part, depth + 1, into);
        }
        for (name, value) in &members.0 {
            self.member(name, value, depth, into);
        }
    }

    fn member(
        &mut self,
        name: &Text<'a>,
        value: &'a RawValue,
        depth: usize,
        into: &mut Schema<'a>,
    ) {
        let json = value.get();
        match name.as_escaped() {
            "type" => into.set_types(value),
            "nullable" => into.nullable |= json == "true",
            "enum" => into.set_values(list(value)),
            "const" => into.set_values(vec![value]),
            "anyOf" | "oneOf" => {
                for alternative in list(value) {
                    let mut read = Schema::default();
                    self.read(alternative, depth + 1, &mut read);
                    if read.is_null() {
                        into.nullable = true;
                    } else {
                        into.alternatives.push(alternative);
                    }
                }
            }
            "properties" => {
                into.properties
                    .extend(Members::of(json).unwrap_or_default());
            }
            "required" => {
                let names: Vec<Text<'a>> = serde_json::from_str(json).unwrap_or_default();
                into.required.extend(names);
            }
            "items" if json.starts_with('{') => into.items = Some(value),
            "format" => into.format = Some(value),
            "title" | "description" | "pattern" if json.starts_with('"') => {
                into.plain.put(name.clone(), value);
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
            | "maxProperties" | "minimum" | "maximum"
                if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) =>
            {
                into.plain.put(name.clone(), value);
            }
            _ => {}
        }
    }

    fn write(&mut self, mut schema: Schema<'a>, depth: usize, out: &mut Vec<u8>) {
        if let [only] = schema.alternatives[..]
            && schema.types.is_empty()
        {
            schema.alternatives.clear();
            self.read(only, depth + 1, &mut schema);
        }
        out.push(b'{');
        let kind = schema.kind();
        if let Some(kind) = kind {
            key("type", out);
            Text::escaped(kind).write(out);
        } else {
            self.write_alternatives(&schema, depth, out);
        }
        if schema.nullable {
            key("nullable", out);
            put("true", out);
        }
        for (name, value) in &schema.plain.0 {
            if fits(name.as_escaped(), kind) {
                key(name.as_escaped(), out);
                put(value.get(), out);
            }
        }
        if let Some(format) = schema.format.filter(|format| is_known_format(format, kind)) {
            key("format", out);
            put(format.get(), out);
        }
        match kind {
            Some("string") if !schema.values.is_empty() => write_list("enum", &schema.values, out),
            Some("array") => {
                key("items", out);
                let mut items = Schema::default();
                if let Some(written) = schema.items {
                    self.read(written, depth + 1, &mut items);
                }
                self.write(items, depth + 1, out);
            }
            Some("object") => self.write_properties(&schema, depth, out),
            _ => {}
        }
        out.push(b'}');
    }

    /// Writes either alternatives, or several types.
    fn write_alternatives(&mut self, schema: &Schema<'a>, depth: usize, out: &mut Vec<u8>) {
        key("anyOf", out);
        out.push(b'[');
        for alternative in &schema.alternatives {
            separate(out);
            let mut read = Schema::default();
            self.read(alternative, depth + 1, &mut read);
            self.write(read, depth + 1, out);
        }
        if schema.alternatives.is_empty() {
            for kind in &schema.types {
                separate(out);
                let one = Schema {
                    types: vec![kind.clone()],
                    items: schema.items,
                    properties: schema.properties.clone(),
                    required: schema.required.clone(),
                    ..Schema::default()
                };
                self.write(one, depth + 1, out);
            }
        }
        out.push(b']');
    }

    fn write_properties(&mut self, schema: &Schema<'a>, depth: usize, out: &mut Vec<u8>) {
        key("properties", out);
        out.push(b'{');
        for (name, value) in &schema.properties.0 {
            key(name.as_escaped(), out);
            let mut read = Schema::default();
            self.read(value, depth + 1, &mut read);
            self.write(read, depth + 1, out);
        }
        out.push(b'}');
        let names = schema
            .properties
            .0
            .iter()
            .map(|(name, _)| name.as_escaped());
        let mut unsaid: AHashSet<&str> = names.collect();
        let required: Vec<&Text<'_>> = schema
            .required
            .iter()
            .filter(|name| unsaid.remove(name.as_escaped()))
            .collect();
        if !required.is_empty() {
            key("required", out);
            out.push(b'[');
            for name in required {
                separate(out);
                name.write(out);
            }
            out.push(b']');
        }
    }
}

impl Schema<'_> {
    /// Returns whether the schema allows nothing but null.
    fn is_null(&self) -> bool {
        self.nullable
            && self.types.is_empty()
            && self.values.is_empty()
            && self.alternatives.is_empty()
            && self.properties.is_empty()
    }

    /// Returns the one type that the API asks for; `None` where there are alternatives. Anything at all is a text, and
    /// so is an object of which nothing is known: the API has no other word for it.
    fn kind(&self) -> Option<&'static str> {
        if !self.alternatives.is_empty() && self.types.len() != 1 || self.types.len() > 1 {
            return None;
        }
        let kind = match self.types.first().map(|name| &**name) {
            Some("object") => "object",
            Some("array") => "array",
            Some("integer") => "integer",
            Some("number") => "number",
            Some("boolean") => "boolean",
            Some(_) => "string",
            None if !self.properties.is_empty() => "object",
            None if self.items.is_some() => "array",
            None => "string",
        };
        match kind {
            "object" if self.properties.is_empty() => Some("string"),
            kind => Some(kind),
        }
    }
}

fn write_list(name: &str, values: &[&RawValue], out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'[');
    for value in values {
        separate(out);
        put(value.get(), out);
    }
    out.push(b']');
}

/// Returns whether a bound concerns values of this type.
fn fits(name: &str, kind: Option<&str>) -> bool {
    match name {
        "minItems" | "maxItems" => kind == Some("array"),
        "minLength" | "maxLength" | "pattern" => kind == Some("string"),
        "minProperties" | "maxProperties" => kind == Some("object"),
        "minimum" | "maximum" => matches!(kind, Some("integer" | "number")),
        _ => true,
    }
}

fn is_known_format(format: &RawValue, kind: Option<&str>) -> bool {
    matches!(
        (kind, format.get()),
        (Some("string"), r#""date-time""# | r#""enum""#)
            | (Some("number"), r#""float""# | r#""double""#)
            | (Some("integer"), r#""int32""# | r#""int64""#)
    )
}

fn list(json: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(json.get()).unwrap_or_default()
}
