//! A value that fits a JSON Schema, for constrained answers and tool arguments.

use serde_json::{Map, Value};

use super::chance::Dice;

/// Deeper than this a schema that refers to itself ends in null.
const MAX_DEPTH: usize = 12;

/// A value that fits `schema`, as far as its types, enums, properties and bounds go.
pub(super) fn example(schema: &Value, dice: &mut Dice) -> Value {
    Example { root: schema, dice }.of(schema, MAX_DEPTH)
}

struct Example<'a> {
    root: &'a Value,
    dice: &'a mut Dice,
}

impl Example<'_> {
    fn of(&mut self, schema: &Value, depth: usize) -> Value {
        if depth == 0 {
            return Value::Null;
        }
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(choices) = schema["enum"].as_array().filter(|list| !list.is_empty()) {
            return choices[self.dice.below(choices.len())].clone();
        }
        if let Some(pointer) = schema["$ref"].as_str().and_then(|at| at.strip_prefix('#')) {
            let target = self.root.pointer(pointer).cloned().unwrap_or_default();
            return self.of(&target, depth - 1);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema[key].as_array().and_then(|list| list.first()) {
                return self.of(first, depth - 1);
            }
        }
        self.typed(schema, depth)
    }

    fn typed(&mut self, schema: &Value, depth: usize) -> Value {
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first().and_then(Value::as_str),
            kind => kind.as_str(),
        };
        let implied = if schema.get("properties").is_some() {
            "object"
        } else {
            "string"
        };
        match kind.unwrap_or(implied) {
            "object" => self.object(schema, depth),
            "array" => {
                let least = schema["minItems"].as_u64().unwrap_or(1).clamp(1, 16);
                (0..least)
                    .map(|_| self.of(&schema["items"], depth - 1))
                    .collect()
            }
            "integer" => Value::from(self.number(schema) as i64),
            // A whole one has no point, as models write it.
            "number" => match self.number(schema) {
                whole if whole.fract() == 0.0 => Value::from(whole as i64),
                other => Value::from(other),
            },
            "boolean" => Value::Bool(self.dice.below(2) == 1),
            "null" => Value::Null,
            _ => Value::from(PLACES[self.dice.below(PLACES.len())]),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                object.insert(name.clone(), self.of(property, depth - 1));
            }
        }
        Value::Object(object)
    }

    fn number(&mut self, schema: &Value) -> f64 {
        let low = schema["minimum"].as_f64().unwrap_or(1.0);
        let high = schema["maximum"].as_f64().unwrap_or(low + 99.0).max(low);
        low + (self.dice.unit() * (high - low)).floor()
    }
}

const PLACES: [&str; 8] = [
    "Oslo", "Lima", "Kyoto", "Zürich", "Nairobi", "Quito", "Bergen", "Perth",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(schema: Value) -> Value {
        example(&schema, &mut Dice::new(3))
    }

    #[test]
    fn types_enums_and_bounds_are_kept() {
        let value = of(json!({"type":"object","properties":{
            "unit":{"enum":["C","F"]},
            "days":{"type":"integer","minimum":3,"maximum":5},
            "tags":{"type":"array","items":{"type":"string"},"minItems":2},
            "maybe":{"type":["null","string"]},
        }}));
        assert!(["C", "F"].contains(&value["unit"].as_str().unwrap()));
        assert!((3..=5).contains(&value["days"].as_i64().unwrap()));
        assert!(of(json!({"type": "number"})).is_i64());
        assert!(of(json!({"type": "number", "minimum": 0.5})).is_f64());
        assert_eq!(value["tags"].as_array().unwrap().len(), 2);
        assert!(value["maybe"].is_null());
    }

    #[test]
    fn references_are_followed_but_not_for_ever() {
        let value = of(
            json!({"$ref":"#/$defs/node","$defs":{"node":{"type":"object",
            "properties":{"next":{"$ref":"#/$defs/node"}}}}}),
        );
        assert!(value["next"]["next"].is_object());
    }
}
