//! Typed reads out of a request's JSON, refused in the words of the Messages API (`max_tokens: Field required`).

use serde_json::{Map, Value};

use super::refused::Refused;

/// One JSON object and where it stands in the body, as in `messages.0.content.1`.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Returns the body itself.
    pub(super) fn root(body: &'a Value) -> Result<Self, Refused> {
        Self::of(body, String::new())
    }

    /// Returns the object at `path`.
    pub(super) fn of(value: &'a Value, path: String) -> Result<Self, Refused> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            _ => Err(Refused::invalid(at(
                &path,
                "Input should be a valid dictionary",
            ))),
        }
    }

    /// Returns where `key` of this object stands.
    pub(super) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Returns where this object stands.
    pub(super) fn here(&self) -> &str {
        &self.path
    }

    /// Returns a refusal of `key`.
    pub(super) fn wrong(&self, key: &str, why: &str) -> Refused {
        Refused::invalid(format!("{}: {why}", self.path(key)))
    }

    /// Refuses keys that are not in `known`: the API forbids extra inputs at every level.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refused> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.wrong(key, "Extra inputs are not permitted")),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    /// Returns a field that may also be null.
    pub(super) fn nullable(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, key: &str) -> Result<&'a Value, Refused> {
        self.map
            .get(key)
            .ok_or_else(|| self.wrong(key, "Field required"))
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, Refused> {
        self.typed(key, "Input should be a valid string", Value::as_str)
    }

    pub(super) fn required_string(&self, key: &str) -> Result<&'a str, Refused> {
        self.required(key)?;
        Ok(self.string(key)?.unwrap_or_default())
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Refused> {
        self.typed(key, "Input should be a valid boolean", Value::as_bool)
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&'a Vec<Value>>, Refused> {
        self.typed(key, "Input should be a valid list", Value::as_array)
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, Refused> {
        self.get(key)
            .map(|value| Fields::of(value, self.path(key)))
            .transpose()
    }

    /// Returns one of a fixed set of words.
    pub(super) fn word(&self, key: &str, words: &[&str]) -> Result<Option<&'a str>, Refused> {
        let word = self.string(key)?;
        if word.is_some_and(|word| !words.contains(&word)) {
            let (last, rest) = words.split_last().expect("a set of words is never empty");
            let listed = match rest {
                [] => format!("'{last}'"),
                _ => format!("'{}' or '{last}'", rest.join("', '")),
            };
            return Err(self.wrong(key, &format!("Input should be {listed}")));
        }
        Ok(word)
    }

    pub(super) fn integer(&self, key: &str, least: i64) -> Result<Option<i64>, Refused> {
        let number = self.typed(key, "Input should be a valid integer", Value::as_i64)?;
        if number.is_some_and(|number| number < least) {
            let why = format!("Input should be greater than or equal to {least}");
            return Err(self.wrong(key, &why));
        }
        Ok(number)
    }

    /// Returns a number from 0 to 1.
    pub(super) fn unit(&self, key: &str) -> Result<Option<f64>, Refused> {
        let number = self.typed(key, "Input should be a valid number", Value::as_f64)?;
        match number {
            Some(number) if number < 0.0 => {
                Err(self.wrong(key, "Input should be greater than or equal to 0"))
            }
            Some(number) if number > 1.0 => {
                Err(self.wrong(key, "Input should be less than or equal to 1"))
            }
            number => Ok(number),
        }
    }

    fn typed<T>(
        &self,
        key: &str,
        why: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(key, why)),
        }
    }
}

fn at(path: &str, why: &str) -> String {
    match path {
        "" => why.to_owned(),
        path => format!("{path}: {why}"),
    }
}
