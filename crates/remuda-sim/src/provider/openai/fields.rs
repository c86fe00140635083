//! Fields of a request's body: which there are, and of which type and range, in OpenAI's words.

use serde_json::{Map, Value};

use super::error::Refusal;

/// What a field may hold; null is allowed everywhere, and the same as nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Flag,
    Integer(i64, i64),
    Decimal(f64, f64),
    List,
    Object,
    /// Checked elsewhere, or not at all.
    Any,
}

/// Returns a body that is a JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Refusal::bad(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)",
        )),
    }
}

/// Refuses fields that are not in `table`.
pub(crate) fn known(
    map: &Map<String, Value>,
    table: &[(&str, Kind)],
    prefix: &str,
) -> Result<(), Refusal> {
    let unknown = |name: &&String| !table.iter().any(|(known, _)| *known == name.as_str());
    match map.keys().find(unknown) {
        None => Ok(()),
        Some(name) => Err(
            Refusal::bad(format!("Unknown parameter: '{prefix}{name}'."))
                .of(format!("{prefix}{name}"))
                .code("unknown_parameter"),
        ),
    }
}

/// Checks the type and range of every field that is in `table`.
pub(crate) fn typed(
    map: &Map<String, Value>,
    table: &[(&str, Kind)],
    prefix: &str,
) -> Result<(), Refusal> {
    for (name, kind) in table {
        match map.get(*name) {
            None | Some(Value::Null) => {}
            Some(value) => kind.check(&format!("{prefix}{name}"), value)?,
        }
    }
    Ok(())
}

impl Kind {
    fn check(self, param: &str, value: &Value) -> Result<(), Refusal> {
        match (self, value) {
            (Self::Any, _)
            | (Self::Text, Value::String(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::List, Value::Array(_))
            | (Self::Object, Value::Object(_)) => Ok(()),
            (Self::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (Self::Word(words), Value::String(word)) => Err(Refusal::value(param, word, words)),
            (Self::Integer(low, high), Value::Number(number)) => match number.as_i64() {
                Some(integer) => bounds(param, "integer", integer as f64, low as f64, high as f64),
                None => Err(wrong_type(param, "an integer", "a decimal number")),
            },
            (Self::Decimal(low, high), Value::Number(number)) => {
                let number = number.as_f64().unwrap_or_default();
                bounds(param, "decimal", number, low, high)
            }
            (kind, value) => Err(wrong_type(param, kind.name(), type_name(value))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text | Self::Word(_) => "a string",
            Self::Flag => "a boolean",
            Self::Integer(..) => "an integer",
            Self::Decimal(..) => "a decimal",
            Self::List => "an array",
            Self::Object => "an object",
            Self::Any => "a value",
        }
    }
}

fn bounds(param: &str, kind: &str, number: f64, low: f64, high: f64) -> Result<(), Refusal> {
    let (side, sign, bound, code) = if number < low {
        ("below minimum", ">=", low, "below_min_value")
    } else if number > high {
        ("above maximum", "<=", high, "above_max_value")
    } else {
        return Ok(());
    };
    Err(Refusal::bad(format!(
        "Invalid '{param}': {kind} {side} value. Expected a value {sign} {bound}, but got {number} instead."
    ))
    .of(param)
    .code(&format!("{kind}_{code}")))
}

pub(crate) fn wrong_type(param: &str, expected: &str, got: &str) -> Refusal {
    Refusal::bad(format!(
        "Invalid type for '{param}': expected {expected}, but got {got} instead."
    ))
    .of(param)
    .code("invalid_type")
}

pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_i64() => "an integer",
        Value::Number(_) => "a decimal number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

pub(crate) fn empty_array(param: &str) -> Refusal {
    Refusal::bad(format!(
        "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    ))
    .of(param)
    .code("empty_array")
}

pub(crate) fn too_long_array(param: &str, most: usize, got: usize) -> Refusal {
    Refusal::bad(format!(
        "Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with length {got} instead."
    ))
    .of(param)
    .code("array_above_max_length")
}

/// Checks a name: 1 to 64 of `[A-Za-z0-9_-]`.
pub(crate) fn name(param: &str, value: Option<&Value>) -> Result<String, Refusal> {
    let name = match value {
        None | Some(Value::Null) => return Err(Refusal::missing(param)),
        Some(Value::String(name)) => name,
        Some(other) => return Err(wrong_type(param, "a string", type_name(other))),
    };
    at_most(param, name, 64)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Refusal::bad(format!(
            "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        ))
        .of(param)
        .code("invalid_value"));
    }
    Ok(name.clone())
}

/// Refuses a string of more than `most` characters.
pub(crate) fn at_most(param: &str, text: &str, most: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if length <= most {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
    ))
    .of(param)
    .code("string_above_max_length"))
}

/// Returns a field that is there and not null.
pub(crate) fn given<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).filter(|value| !value.is_null())
}

/// Returns a string that must be there.
pub(crate) fn text<'a>(value: &'a Value, name: &str, at: &str) -> Result<&'a str, Refusal> {
    let param = format!("{at}.{name}");
    match value.get(name) {
        None | Some(Value::Null) => Err(Refusal::missing(&param)),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_type(&param, "a string", type_name(other))),
    }
}

/// Stop strings: one, or up to `most`.
pub(crate) fn stop_strings(value: Option<&Value>, most: usize) -> Result<Vec<String>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop.clone()]),
        Some(Value::Array(stops)) if stops.len() > most => {
            Err(too_long_array("stop", most, stops.len()))
        }
        Some(Value::Array(stops)) => stops
            .iter()
            .enumerate()
            .map(|(index, stop)| match stop {
                Value::String(stop) => Ok(stop.clone()),
                other => Err(wrong_type(
                    &format!("stop[{index}]"),
                    "a string",
                    type_name(other),
                )),
            })
            .collect(),
        Some(other) => Err(wrong_type(
            "stop",
            "a string or an array of strings",
            type_name(other),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: [(&str, Kind); 3] = [
        ("a", Kind::Integer(0, 5)),
        ("b", Kind::Word(&["x", "y"])),
        ("c", Kind::Decimal(-2.0, 2.0)),
    ];

    fn code(value: Value) -> Option<String> {
        let map = value.as_object().unwrap();
        known(map, &TABLE, "")
            .and_then(|()| typed(map, &TABLE, ""))
            .err()
            .and_then(|refusal| refusal.code)
    }

    #[test]
    fn fields_are_checked_in_openais_words() {
        assert_eq!(code(json!({"a": 3, "b": "x", "c": null})), None);
        for (body, expected) in [
            (json!({"d": 1}), "unknown_parameter"),
            (json!({"a": 6}), "integer_above_max_value"),
            (json!({"a": 1.5}), "invalid_type"),
            (json!({"b": "z"}), "invalid_value"),
            (json!({"c": -3}), "decimal_below_min_value"),
            (json!({"c": "1"}), "invalid_type"),
        ] {
            assert_eq!(code(body).as_deref(), Some(expected));
        }
    }

    #[test]
    fn names_have_a_pattern() {
        assert_eq!(name("n", Some(&json!("get_time-2"))).unwrap(), "get_time-2");
        assert!(name("n", Some(&json!("a.b"))).is_err());
        assert!(name("n", Some(&json!("a".repeat(65)))).is_err());
        assert!(name("n", None).is_err());
    }
}
