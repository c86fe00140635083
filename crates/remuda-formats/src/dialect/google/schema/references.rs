//! References in schemas. Beside `$ref` Gemini takes no member whose name does not begin with `$`; where there are some,
//! what is referred to is written in place of the reference.

use serde_json::value::RawValue;

use super::super::json::{key, put, separate};
use super::members::{Members, TooLarge};
use super::pointers::{DEFINITIONS, Pointers, place};
use crate::ir::{Json, Text};

/// Schemas within schemas.
const DEEPEST: usize = 96;
/// Members beside a reference.
const MOST_BESIDE: usize = 256;
/// How much larger than it was a schema may become: so many times, and so many bytes.
const TIMES: usize = 16;
const BYTES: usize = 32 << 10;
/// How much more than there is of it may be read, as what is referred to is read anew at each reference, and what lies
/// within others with each of those: so many times, and so many bytes.
const TIMES_READ: usize = 128;
const BYTES_READ: usize = 1 << 20;
/// References that lead to each other.
const LONGEST_CHAIN: usize = 512;

/// Returns the schema without references that stand beside other members; `None` if it has none. `of_object`: at its
/// root there stands no reference at all, since the type of an object is to stand there.
///
/// # Errors
/// If it would be too large: references may double at each step.
pub(super) fn written_out(schema: &Json<'_>, of_object: bool) -> Result<Option<String>, TooLarge> {
    let text = schema.as_str();
    if memchr::memmem::find(text.as_bytes(), b"$ref").is_none() {
        return Ok(None);
    }
    let Ok(root) = serde_json::from_str::<&RawValue>(text) else {
        return Ok(None);
    };
    let mut writer = Writer {
        pointers: Pointers::of(text),
        open: Vec::new(),
        named: Vec::new(),
        most: text.len().saturating_mul(TIMES).saturating_add(BYTES),
        to_read: allowance(text.len()),
        changed: false,
    };
    let mut out = Vec::with_capacity(text.len() * 2);
    writer.root(root, of_object, &mut out)?;
    Ok(writer
        .changed
        .then(|| String::from_utf8_lossy(&out).into_owned()))
}

/// Returns how many bytes may be read of a schema that has so many.
pub(super) fn allowance(bytes: usize) -> usize {
    bytes.saturating_mul(TIMES_READ).saturating_add(BYTES_READ)
}

struct Writer<'a> {
    pointers: Pointers<'a>,
    /// Bytes that may still be read.
    to_read: usize,
    /// What is being written in place of references: within it the same stays a reference.
    open: Vec<usize>,
    /// What leads back to itself and stands where Gemini does not find it: it gets a name.
    named: Vec<(&'a RawValue, String)>,
    most: usize,
    changed: bool,
}

/// A schema when its reference has been looked at.
enum Resolved<'a> {
    Members(Members<'a>),
    /// It is a definition with this number; nothing can stand beside that.
    Named(usize),
}

/// Returns the members without what only the references of their own document name.
fn without_definitions<'a>(schema: &'a RawValue) -> Members<'a> {
    let mut members = Members::of(schema.get()).unwrap_or_default();
    let is_local = |name: &str| matches!(name, DEFINITIONS | "definitions");
    members.0.retain(|(name, _)| !is_local(name.as_escaped()));
    members
}

impl<'a> Writer<'a> {
    /// Writes the whole schema, with the definitions that it turns out to need.
    fn root(
        &mut self,
        root: &'a RawValue,
        always: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let Some(members) = Members::of(root.get()) else {
            put(root.get(), out);
            return Ok(());
        };
        let Resolved::Members(members) = self.resolved(members, always, true)? else {
            return Ok(());
        };
        out.push(b'{');
        let mut own = None;
        for (name, value) in &members.0 {
            match name.as_escaped() {
                DEFINITIONS => own = Some(*value),
                _ => self.member(name, value, 0, out)?,
            }
        }
        self.definitions(own, out)?;
        out.push(b'}');
        Ok(())
    }

    fn definitions(
        &mut self,
        own: Option<&'a RawValue>,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        if own.is_none() && self.named.is_empty() {
            return Ok(());
        }
        key(DEFINITIONS, out);
        match own {
            Some(own) => self.named(own, 0, out)?,
            None => put("{}", out),
        }
        let mut written = 0;
        while let Some((target, name)) = self.named.get(written).cloned() {
            written += 1;
            // An object ends here, to which there is one more to add.
            if out.last() != Some(&b'}') {
                return Ok(());
            }
            out.pop();
            key(&name, out);
            self.open = vec![place(target)];
            let members = without_definitions(target);
            match self.resolved(members, false, true)? {
                Resolved::Members(members) => self.members(&members, 0, out)?,
                Resolved::Named(_) => put("{}", out),
            }
            out.push(b'}');
        }
        Ok(())
    }

    fn schema(
        &mut self,
        schema: &'a RawValue,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        self.spend(schema)?;
        let Some(members) = Members::of(schema.get()) else {
            put(schema.get(), out);
            return Ok(());
        };
        if depth > DEEPEST {
            return Err(TooLarge);
        }
        let before = self.open.len();
        match self.resolved(members, false, false)? {
            Resolved::Members(members) => self.members(&members, depth, out)?,
            Resolved::Named(number) => {
                put(r##"{"$ref":"#/$defs/"##, out);
                put(&self.named[number].1, out);
                put(r#""}"#, out);
            }
        }
        self.open.truncate(before);
        Ok(())
    }

    fn members(
        &mut self,
        members: &Members<'a>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        out.push(b'{');
        for (name, value) in &members.0 {
            self.member(name, value, depth, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn member(
        &mut self,
        name: &Text<'a>,
        value: &'a RawValue,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        if out.len() + value.get().len() > self.most {
            return Err(TooLarge);
        }
        key(name.as_escaped(), out);
        match Holds::of(name.as_escaped()) {
            Holds::Schemas => self.schemas(value, depth, out)?,
            Holds::Named => self.named(value, depth, out)?,
            Holds::Values => put(value.get(), out),
        }
        Ok(())
    }

    fn spend(&mut self, read: &RawValue) -> Result<(), TooLarge> {
        let left = self.to_read.checked_sub(read.get().len());
        self.to_read = left.ok_or(TooLarge)?;
        Ok(())
    }

    /// Resolves a schema's reference, if that may not stay a reference. What stands beside it is nearer to the matter.
    fn resolved(
        &mut self,
        mut members: Members<'a>,
        always: bool,
        is_root: bool,
    ) -> Result<Resolved<'a>, TooLarge> {
        while let Some(pointer) = members.get("$ref") {
            let is_own = |name: &Text<'_>| !name.as_escaped().starts_with('$');
            // Gemini finds what it refers to there, and nowhere else.
            let is_known = pointer.get().starts_with("\"#/$defs/");
            let target = self.pointers.at(pointer);
            let stands_alone = !members.0.iter().any(|(name, _)| is_own(name));
            if !always && stands_alone && (is_known || target.is_none()) {
                break;
            }
            self.changed = true;
            match target {
                Some(target) if !self.open.contains(&place(target)) => {
                    if members.0.len() > MOST_BESIDE || self.open.len() > LONGEST_CHAIN {
                        return Err(TooLarge);
                    }
                    self.spend(target)?;
                    self.open.push(place(target));
                    let mut found = without_definitions(target);
                    for (name, value) in members.0 {
                        if name.as_escaped() != "$ref" {
                            found.put(name, value);
                        }
                    }
                    members = found;
                }
                // It leads back to where it stands.
                Some(_) if !always && is_known => {
                    members.0.retain(|(name, _)| !is_own(name));
                    break;
                }
                Some(target) if !is_root => return Ok(Resolved::Named(self.number(target))),
                _ => members.0.retain(|(name, _)| name.as_escaped() != "$ref"),
            }
        }
        Ok(Resolved::Members(members))
    }

    /// Returns the number of a definition, which gets a name that no other has.
    fn number(&mut self, target: &'a RawValue) -> usize {
        let known = self
            .named
            .iter()
            .position(|(known, _)| place(known) == place(target));
        known.unwrap_or_else(|| {
            let number = self.named.len();
            let mut name = format!("part{number}");
            while self.pointers.has_definition(&name) {
                name.push('_');
            }
            self.named.push((target, name));
            number
        })
    }

    /// Writes a schema, or a list of them.
    fn schemas(
        &mut self,
        value: &'a RawValue,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        if !value.get().starts_with('[') {
            return self.schema(value, depth + 1, out);
        }
        let list: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
        out.push(b'[');
        for schema in list {
            separate(out);
            self.schema(schema, depth + 1, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn named(
        &mut self,
        value: &'a RawValue,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let Some(members) = Members::of(value.get()) else {
            put(value.get(), out);
            return Ok(());
        };
        out.push(b'{');
        for (name, schema) in &members.0 {
            key(name.as_escaped(), out);
            self.schema(schema, depth + 1, out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// What a keyword holds.
enum Holds {
    /// A schema, or a list of them.
    Schemas,
    /// Schemas by name.
    Named,
    /// What is no schema, such as the values of an enumeration.
    Values,
}

impl Holds {
    fn of(keyword: &str) -> Holds {
        match keyword {
            "items"
            | "prefixItems"
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
            "properties" | "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => {
                Holds::Named
            }
            _ => Holds::Values,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn out(schema: &Value, of_object: bool) -> Option<Value> {
        let text = schema.to_string();
        let written = written_out(&Json::trusted(text.as_str()), of_object).unwrap()?;
        Some(serde_json::from_str(&written).unwrap())
    }

    /// Whether some reference stands beside what may not stand there.
    fn objection(schema: &Value) -> bool {
        match schema {
            Value::Object(members) => {
                let beside = members.keys().any(|name| !name.starts_with('$'));
                (members.get("$ref").is_some_and(Value::is_string) && beside)
                    || members.values().any(objection)
            }
            Value::Array(items) => items.iter().any(objection),
            _ => false,
        }
    }

    #[test]
    fn what_stands_beside_a_reference_goes_over_what_it_refers_to() {
        let color = json!({"type": "string", "enum": ["red"], "description": "any"});
        let schema = json!({"type": "object", "properties": {
                "a": {"$ref": "#/$defs/color", "description": "near", "default": "red"},
                "b": {"$ref": "#/$defs/color"},
                "c": {"anyOf": [{"$ref": "#/$defs/co~1l", "title": "t"}, {"type": "null"}]},
                "$ref": {"type": "string"}},
            "$defs": {"color": color, "co/l": {"$ref": "#/$defs/color", "title": "u"}}});
        let written = out(&schema, false).unwrap();
        assert_eq!(
            written["properties"]["a"],
            json!({"type": "string", "enum": ["red"], "description": "near", "default": "red"})
        );
        assert_eq!(written["properties"]["b"], json!({"$ref": "#/$defs/color"}));
        let titled = json!({"type": "string", "enum": ["red"], "description": "any", "title": "t"});
        assert_eq!(written["properties"]["c"]["anyOf"][0], titled);
        assert_eq!(written["properties"]["$ref"], json!({"type": "string"}));
        let plain = json!({"type": "object", "properties": {"b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}});
        assert_eq!(out(&plain, true), None);
        assert_eq!(
            out(&json!({"$ref": "#/nowhere", "title": "t"}), false),
            Some(json!({"title": "t"}))
        );
    }

    #[test]
    fn the_root_of_parameters_is_no_reference() {
        let schema = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "object", "properties": {}}}});
        assert_eq!(out(&schema, false), None);
        let written = out(&schema, true).unwrap();
        assert_eq!(written["type"], "object");
        assert!(written.get("$ref").is_none() && written.get("$defs").is_some());
    }

    #[test]
    fn what_refers_to_itself_is_written_out_once() {
        let node = json!({"type": "object", "properties": {
            "next": {"$ref": "#/$defs/node", "description": "the next"},
            "up": {"$ref": "#", "description": "all"}}});
        let schema = json!({"type": "object", "$defs": {"node": node},
            "properties": {"first": {"$ref": "#/$defs/node", "description": "the first"}}});
        let written = out(&schema, true).unwrap();
        assert!(!objection(&written), "{written}");
        assert_eq!(written["properties"]["first"]["description"], "the first");
        let inner = &written["properties"]["first"]["properties"]["next"];
        assert_eq!(*inner, json!({"$ref": "#/$defs/node"}));
        let knot = json!({"$ref": "#/$defs/a", "title": "t", "$defs": {
            "a": {"$ref": "#/$defs/b", "title": "u"}, "b": {"$ref": "#/$defs/a", "title": "v"}}});
        assert!(!objection(&out(&knot, true).unwrap()));
        assert!(!objection(&out(&knot, false).unwrap()));
    }

    /// However deep an answer goes, what it may say is known.
    #[test]
    fn the_root_that_refers_to_itself_becomes_a_definition() {
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#"}},
            "parent": {"$ref": "#", "description": "above"}}});
        for of_object in [false, true] {
            let written = out(&schema, of_object).unwrap();
            assert!(!objection(&written), "{written}");
            let parent = &written["properties"]["parent"];
            assert_eq!(parent["description"], "above");
            assert_eq!(parent["properties"]["name"], json!({"type": "string"}));
            let again = json!({"$ref": "#/$defs/part0"});
            assert_eq!(parent["properties"]["parent"], again);
            assert_eq!(parent["properties"]["children"]["items"], again);
            let defined = &written["$defs"]["part0"];
            assert_eq!(defined["type"], "object");
            assert_eq!(defined["properties"]["parent"], again);
            assert_eq!(defined["properties"]["children"]["items"], again);
        }
        // Beside definitions of its own, and from a place that Gemini does not know.
        let schema = json!({"type": "object", "$defs": {"part0": {"type": "string"}}, "properties": {
            "tree": {"type": "object", "properties": {
                "leaf": {"$ref": "#/$defs/part0"},
                "next": {"$ref": "#/properties/tree", "description": "the next"}}}}});
        let written = out(&schema, true).unwrap();
        let next = &written["properties"]["tree"]["properties"]["next"];
        assert_eq!(next["description"], "the next");
        assert_eq!(
            next["properties"]["next"],
            json!({"$ref": "#/$defs/part0_"})
        );
        assert_eq!(written["$defs"]["part0"], json!({"type": "string"}));
        let defined = &written["$defs"]["part0_"]["properties"];
        assert_eq!(defined["next"], json!({"$ref": "#/$defs/part0_"}));
        assert_eq!(defined["leaf"], json!({"$ref": "#/$defs/part0"}));
    }

    #[test]
    fn references_that_double_are_refused() {
        let mut defs = serde_json::Map::new();
        for number in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", number + 1), "title": "t"});
            defs.insert(
                format!("d{number}"),
                json!({"type": "object", "properties": {"a": next, "b": next}}),
            );
        }
        defs.insert("d40".into(), json!({"type": "string"}));
        let text = json!({"$ref": "#/$defs/d0", "title": "t", "$defs": defs}).to_string();
        assert_eq!(
            written_out(&Json::trusted(text.as_str()), false),
            Err(TooLarge)
        );
        let deep = format!(
            "{}{{\"$ref\":\"#\"}}{}",
            r#"{"items":"#.repeat(2000),
            "}".repeat(2000)
        );
        assert_eq!(
            written_out(&Json::trusted(deep.as_str()), false),
            Err(TooLarge)
        );
    }
}
