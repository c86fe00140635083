//! JSON as Go reads it into a struct: keys in any case, `null` as absent, the first value only, errors in Go's words.

use serde_json::{Map, Value};

use super::duration::KeepAlive;
use super::reply::Refusal;

/// Reads the first JSON value of a body, which has to be an object.
pub(super) fn object(body: &[u8], go_type: &str) -> Result<Map<String, Value>, Refusal> {
    // Go replaces what is not UTF-8.
    let text = String::from_utf8_lossy(body);
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    match values.next() {
        None => Err(Refusal::bad("missing request body")),
        Some(Ok(Value::Object(map))) => Ok(map),
        Some(Ok(Value::Null)) => Ok(Map::new()),
        Some(Ok(other)) => Err(Refusal::bad(format!(
            "json: cannot unmarshal {} into Go value of type api.{go_type}",
            kind(&other)
        ))),
        Some(Err(error)) => Err(Refusal::bad(syntax(&text, &error))),
    }
}

/// Go's message for what serde_json found.
fn syntax(text: &str, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".into();
    }
    let line = text.split('\n').nth(error.line().saturating_sub(1));
    let found = line
        .and_then(|line| {
            line.as_bytes()
                .get(error.column().saturating_sub(1))
                .copied()
        })
        .unwrap_or(b'\n');
    let found = match found {
        b'\n' => r"'\n'".to_owned(),
        b'\'' => r"'\''".to_owned(),
        printable @ b' '..=b'~' => format!("'{}'", char::from(printable)),
        other => format!("'{}'", char::from(other).escape_default()),
    };
    let message = error.to_string();
    let place = [
        (
            "key must be a string",
            "looking for beginning of object key string",
        ),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing comma", "looking for beginning of value"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
        ("invalid number", "in numeric literal"),
    ];
    let place = place
        .iter()
        .find_map(|(ours, theirs)| message.starts_with(ours).then_some(*theirs))
        .unwrap_or("looking for beginning of value");
    format!("invalid character {found} {place}")
}

/// What Go calls a value of this kind.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The fields of one Go struct.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// How errors name the struct and the way into it: `ChatRequest.messages`.
    path: String,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, path: impl Into<String>) -> Self {
        Self {
            map,
            path: path.into(),
        }
    }

    /// The field `name`, unless it is absent or null.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.map
            .get(name)
            .or_else(|| {
                let same = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
                self.map.iter().find(same).map(|(_, value)| value)
            })
            .filter(|value| !value.is_null())
    }

    /// A string, empty when absent.
    pub(super) fn string(&self, name: &str) -> Result<&'a str, Refusal> {
        Ok(self
            .typed(name, "string", Value::as_str)?
            .unwrap_or_default())
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.typed(name, "bool", Value::as_bool)
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.typed(name, "int", Value::as_i64)
    }

    pub(super) fn list(&self, name: &str, go_type: &str) -> Result<&'a [Value], Refusal> {
        let list = self.typed(name, go_type, Value::as_array)?;
        Ok(list.map(Vec::as_slice).unwrap_or_default())
    }

    pub(super) fn object(
        &self,
        name: &str,
        go_type: &str,
    ) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        self.typed(name, go_type, Value::as_object)
    }

    /// The objects of a list of structs.
    pub(super) fn structs(&self, name: &str, go_type: &str) -> Result<Vec<Fields<'a>>, Refusal> {
        let path = format!("{}.{name}", self.path);
        self.list(name, &format!("[]{go_type}"))?
            .iter()
            .map(|item| match item {
                Value::Object(map) => Ok(Fields::new(map, path.clone())),
                other => Err(mismatch(other, &path, go_type)),
            })
            .collect()
    }

    /// The legacy `name` where `model` is absent.
    pub(super) fn model(&self) -> Result<&'a str, Refusal> {
        match self.string("model")? {
            "" => self.string("name"),
            model => Ok(model),
        }
    }

    pub(super) fn keep_alive(&self) -> Result<Option<KeepAlive>, Refusal> {
        match self.value("keep_alive") {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64().map(KeepAlive::seconds)),
            Some(Value::String(text)) => KeepAlive::parse(text).map(Some).map_err(Refusal::bad),
            Some(other) => Err(Refusal::bad(format!("Unsupported type: '{}'", kind(other)))),
        }
    }

    fn typed<T>(
        &self,
        name: &str,
        go_type: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(typed) => Ok(Some(typed)),
            None => Err(mismatch(value, &format!("{}.{name}", self.path), go_type)),
        }
    }
}

fn mismatch(value: &Value, path: &str, go_type: &str) -> Refusal {
    let kind = match value {
        // Go prints the number where it does not fit an integer.
        Value::Number(number) if go_type == "int" => format!("number {number}"),
        other => kind(other).to_owned(),
    };
    Refusal::bad(format!(
        "json: cannot unmarshal {kind} into Go struct field {path} of type {go_type}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn error(body: &str) -> String {
        object(body.as_bytes(), "ChatRequest").unwrap_err().text
    }

    #[test]
    fn syntax_errors_are_in_the_words_of_go() {
        for (body, message) in [
            ("", "missing request body"),
            ("  \n", "missing request body"),
            ("{", "unexpected EOF"),
            ("{\"a\":", "unexpected EOF"),
            (
                "hello",
                "invalid character 'h' looking for beginning of value",
            ),
            (
                "{a:1}",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 2}",
                "invalid character '2' after object key:value pair",
            ),
            ("{\"a\":[1 2]}", "invalid character '2' after array element"),
            (
                "{\n\"a\":x}",
                "invalid character 'x' looking for beginning of value",
            ),
            (
                "[1]",
                "json: cannot unmarshal array into Go value of type api.ChatRequest",
            ),
        ] {
            assert_eq!(error(body), message, "{body}");
        }
    }

    #[test]
    fn keys_in_any_case_and_the_first_value_only() {
        let map = object(br#"{"MODEL":"a","Stream":false} trailing"#, "T").unwrap();
        let fields = Fields::new(&map, "T");
        assert_eq!(fields.string("model").unwrap(), "a");
        assert_eq!(fields.boolean("stream").unwrap(), Some(false));
    }

    #[test]
    fn wrong_types_name_the_field() {
        let map = object(br#"{"messages":[{"content":[]}],"stream":"no"}"#, "T").unwrap();
        let fields = Fields::new(&map, "ChatRequest");
        let messages = fields.structs("messages", "api.Message").unwrap();
        assert_eq!(
            messages[0].string("content").unwrap_err().text,
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
        );
        assert_eq!(
            fields.boolean("stream").unwrap_err().text,
            "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool"
        );
    }

    #[test]
    fn keep_alive_in_both_forms() {
        let keep_alive = |text: &str| {
            let map = object(text.as_bytes(), "T").unwrap();
            Fields::new(&map, "T").keep_alive()
        };
        let minute = Some(KeepAlive::For(Duration::from_secs(60)));
        assert_eq!(keep_alive(r#"{"keep_alive":60}"#).unwrap(), minute);
        assert_eq!(keep_alive(r#"{"keep_alive":"1m"}"#).unwrap(), minute);
        assert_eq!(keep_alive(r#"{"keep_alive":null}"#).unwrap(), None);
        assert!(keep_alive(r#"{"keep_alive":"300"}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = object(&body, "T");
        }
    }
}
