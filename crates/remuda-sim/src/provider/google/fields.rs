//! Typed reads out of a request's JSON, as Google's parser of messages makes them.
//!
//! Names may be in camel or snake case, null is the same as nothing, numbers may be strings, and what is refused is
//! named in snake case: `Invalid value at 'generation_config.top_k' (TYPE_INT32), "x"`.

use serde_json::{Map, Value};

use super::super::picture;
use super::refused::Refused;

/// One JSON object and where it stands, as in `contents[0].parts[1]`.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    pub(super) fn root(body: &'a Value) -> Result<Self, Refused> {
        Self::of(body, String::new())
    }

    pub(super) fn of(value: &'a Value, path: String) -> Result<Self, Refused> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(invalid(&path, "message", other)),
        }
    }

    /// Returns where `key`, in camel case, stands.
    pub(super) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => snake(key),
            path => format!("{path}.{}", snake(key)),
        }
    }

    pub(super) fn here(&self) -> &str {
        &self.path
    }

    /// Refuses names that are not in `known`, which are in camel case.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refused> {
        let is_known = |key: &str| known.iter().any(|name| *name == key || snake(name) == key);
        let Some(key) = self.map.keys().find(|key| !is_known(key)) else {
            return Ok(());
        };
        let place = match self.path.as_str() {
            "" => String::new(),
            path => format!(" at '{path}'"),
        };
        Err(Refused::payload(
            &self.path,
            format!(
                "Invalid JSON payload received. Unknown name \"{key}\"{place}: Cannot find field."
            ),
        ))
    }

    /// Returns a field by its name in camel case.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let value = self.map.get(key).or_else(|| self.map.get(&snake(key)));
        value.filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, Refused> {
        self.typed(key, "TYPE_STRING", Value::as_str)
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Refused> {
        self.typed(key, "TYPE_BOOL", Value::as_bool)
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, Refused> {
        self.typed(key, "TYPE_INT32", |value| match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64().or_else(|| {
                let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
                Some(number as i64)
            }),
        })
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Refused> {
        self.typed(key, "TYPE_FLOAT", |value| match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_f64(),
        })
    }

    /// Returns one of a set of words in capitals, in any case; also returned in capitals.
    pub(super) fn word(
        &self,
        key: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, Refused> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let found = value.as_str().and_then(|text| {
            words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .copied()
        });
        match found {
            Some(word) => Ok(Some(word)),
            None if value.is_array() => Err(self.not_repeating(key)),
            None => Err(invalid(&self.path(key), "TYPE_ENUM", value)),
        }
    }

    /// Base64, which must be that.
    pub(super) fn bytes(&self, key: &str) -> Result<Option<&'a str>, Refused> {
        let text = self.typed(key, "TYPE_BYTES", Value::as_str)?;
        let Some(text) = text else {
            return Ok(None);
        };
        // Google's parser takes either alphabet.
        let standard = text.replace('-', "+").replace('_', "/");
        match picture::decode(&standard) {
            Some(_) => Ok(Some(text)),
            None => {
                let shown: String = text.chars().take(40).collect();
                let path = self.path(key);
                Err(Refused::payload(
                    &path,
                    format!(
                        "Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{shown}\""
                    ),
                ))
            }
        }
    }

    /// Returns a message within this one.
    pub(super) fn message(&self, key: &str) -> Result<Option<Fields<'a>>, Refused> {
        self.get(key)
            .map(|value| Fields::of(value, self.path(key)))
            .transpose()
    }

    /// Returns a repeated message; one alone may stand for a list of it.
    pub(super) fn messages(&self, key: &str) -> Result<Vec<Fields<'a>>, Refused> {
        let path = self.path(key);
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .enumerate()
                .map(|(index, value)| Fields::of(value, format!("{path}[{index}]")))
                .collect(),
            Some(value) => Ok(vec![Fields::of(value, format!("{path}[0]"))?]),
        }
    }

    pub(super) fn strings(&self, key: &str) -> Result<Vec<&'a str>, Refused> {
        let path = self.path(key);
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    let text = value.as_str();
                    text.ok_or_else(|| invalid(&format!("{path}[{index}]"), "TYPE_STRING", value))
                })
                .collect(),
            Some(value) => match value.as_str() {
                Some(text) => Ok(vec![text]),
                None => Err(invalid(&path, "TYPE_STRING", value)),
            },
        }
    }

    /// Returns a free-form object (`google.protobuf.Struct`).
    pub(super) fn free(&self, key: &str) -> Result<Option<&'a Value>, Refused> {
        let kind = "type.googleapis.com/google.protobuf.Struct";
        self.typed(key, kind, |value| value.is_object().then_some(value))
    }

    fn not_repeating(&self, key: &str) -> Refused {
        Refused::payload(
            &self.path(key),
            format!(
                "Invalid JSON payload received. Unknown name \"{key}\" at '{}': \
                 Proto field is not repeating, cannot start list.",
                self.path
            ),
        )
    }

    fn typed<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None if value.is_array() => Err(self.not_repeating(key)),
                None => Err(invalid(&self.path(key), kind, value)),
            },
        }
    }
}

fn invalid(path: &str, kind: &str, value: &Value) -> Refused {
    let mut shown = value.to_string();
    if let Some((end, _)) = shown.char_indices().nth(60) {
        shown.truncate(end);
    }
    Refused::payload(path, format!("Invalid value at '{path}' ({kind}), {shown}"))
}

/// `functionResponse` as `function_response`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_cases_are_read_and_null_is_nothing() {
        let body = json!({"topK": "4", "stop_sequences": ["a"], "seed": null});
        let fields = Fields::root(&body).unwrap();
        fields.only(&["topK", "stopSequences", "seed"]).unwrap();
        assert_eq!(fields.integer("topK"), Ok(Some(4)));
        assert_eq!(fields.strings("stopSequences"), Ok(vec!["a"]));
        assert_eq!(fields.integer("seed"), Ok(None));
        let refused = fields.only(&["topK", "seed"]).unwrap_err();
        assert!(
            refused.message.contains("Unknown name \"stop_sequences\""),
            "{refused:?}"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_shown() {
        let body = json!({"a": {"b": [1]}, "c": "no base64!"});
        let fields = Fields::root(&body).unwrap();
        let inner = fields.message("a").unwrap().unwrap();
        assert!(
            inner
                .string("b")
                .unwrap_err()
                .message
                .contains("cannot start list")
        );
        assert_eq!(
            fields.string("a").unwrap_err().message,
            "Invalid value at 'a' (TYPE_STRING), {\"b\":[1]}"
        );
        assert!(
            fields
                .bytes("c")
                .unwrap_err()
                .message
                .contains("Base64 decoding failed")
        );
    }
}
