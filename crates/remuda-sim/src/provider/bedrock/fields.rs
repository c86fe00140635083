//! Typed reads out of a request's JSON, refused in the words of AWS.
//!
//! Names that the service has no member for are refused in the words of its SDKs, which let none pass: a request that
//! has one was not written against the API.

use serde_json::{Map, Value};

use super::refused::Refused;

/// One JSON object and where it stands, as in `messages.0.content.1.toolUse`.
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
            _ => Err(unfit(&path, "a structure")),
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(super) fn here(&self) -> &str {
        &self.path
    }

    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refused> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let place = if self.path.is_empty() {
                    "input"
                } else {
                    &self.path
                };
                Err(Refused::invalid(format!(
                    "Unknown parameter in {place}: \"{key}\", must be one of: {}",
                    known.join(", ")
                )))
            }
        }
    }

    /// Returns the one member of a union that is set, of those that are `known`.
    pub(super) fn union(&self, known: &[&'static str]) -> Result<&'static str, Refused> {
        self.only(known)?;
        let mut set = known.iter().filter(|key| self.has(key));
        match (set.next(), set.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(Refused::invalid(format!(
                "Invalid number of parameters set for tagged union structure {}. Can only set one of the following keys: {}.",
                self.path,
                known.join(", ")
            ))),
        }
    }

    /// Returns a member; null is none.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn required(&self, key: &str) -> Result<&'a Value, Refused> {
        self.get(key)
            .ok_or_else(|| Refused::constraint(&self.path(key), "null", "not be null"))
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, Refused> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(super) fn required_string(&self, key: &str) -> Result<&'a str, Refused> {
        self.required(key)?;
        Ok(self.string(key)?.unwrap_or_default())
    }

    /// Returns a string of 1 to `most` characters for which `legal` holds, which is what `pattern` says.
    pub(super) fn matching(
        &self,
        key: &str,
        most: usize,
        pattern: &str,
        legal: fn(u8) -> bool,
    ) -> Result<&'a str, Refused> {
        let text = self.required_string(key)?;
        let path = self.path(key);
        if text.len() > most {
            let why = format!("have length less than or equal to {most}");
            return Err(Refused::constraint(&path, text, &why));
        }
        if text.is_empty() || !text.bytes().all(legal) {
            let why = format!("satisfy regular expression pattern: {pattern}");
            return Err(Refused::constraint(&path, text, &why));
        }
        Ok(text)
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Refused> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, Refused> {
        self.typed(key, "an integer", Value::as_i64)
    }

    /// Returns a number from 0 to 1.
    pub(super) fn unit(&self, key: &str) -> Result<Option<f64>, Refused> {
        let number = self.typed(key, "a float", Value::as_f64)?;
        let wrong = |number: f64, why: &str| {
            Err(Refused::constraint(
                &self.path(key),
                &number.to_string(),
                why,
            ))
        };
        match number {
            Some(number) if number > 1.0 => wrong(number, "have value less than or equal to 1"),
            Some(number) if number < 0.0 => wrong(number, "have value greater than or equal to 0"),
            number => Ok(number),
        }
    }

    pub(super) fn word(&self, key: &str, words: &[&str]) -> Result<Option<&'a str>, Refused> {
        match self.string(key)? {
            Some(word) if !words.contains(&word) => Err(Refused::constraint(
                &self.path(key),
                word,
                &format!("satisfy enum value set: [{}]", words.join(", ")),
            )),
            word => Ok(word),
        }
    }

    pub(super) fn list(&self, key: &str) -> Result<&'a [Value], Refused> {
        let list = self.typed(key, "a list", Value::as_array)?;
        Ok(list.map_or(&[], Vec::as_slice))
    }

    /// Returns the structures of a list.
    pub(super) fn structures(&self, key: &str) -> Result<Vec<Fields<'a>>, Refused> {
        let path = self.path(key);
        let list = self.list(key)?.iter().enumerate();
        list.map(|(index, value)| Fields::of(value, format!("{path}.{index}")))
            .collect()
    }

    pub(super) fn strings(&self, key: &str) -> Result<Vec<&'a str>, Refused> {
        let path = self.path(key);
        let list = self.list(key)?.iter().enumerate();
        list.map(|(index, value)| {
            let text = value.as_str();
            text.ok_or_else(|| unfit(&format!("{path}.{index}"), "a string"))
        })
        .collect()
    }

    pub(super) fn structure(&self, key: &str) -> Result<Option<Fields<'a>>, Refused> {
        self.get(key)
            .map(|value| Fields::of(value, self.path(key)))
            .transpose()
    }

    pub(super) fn required_structure(&self, key: &str) -> Result<Fields<'a>, Refused> {
        Fields::of(self.required(key)?, self.path(key))
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
                None => Err(unfit(&self.path(key), kind)),
            },
        }
    }
}

/// JSON of another type than the member's.
fn unfit(path: &str, kind: &str) -> Refused {
    Refused::new(
        400,
        "SerializationException",
        format!("Unexpected value type in payload: {path} is not {kind}"),
    )
}
