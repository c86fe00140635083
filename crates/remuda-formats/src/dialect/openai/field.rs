//! Fields of a client's request, and the words in which a wrong one is refused. Those words hold nothing of its value.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ir::{Json, Refused, Text};
use crate::wire::json;

/// A field as it was written; null is absent.
pub(super) type Field<'a> = Option<&'a RawValue>;

/// Reads a string that is not empty.
pub(super) fn full(field: Field<'_>) -> Option<Text<'_>> {
    field.and_then(Text::of).filter(|text| !text.is_empty())
}

/// Reads the whole body.
pub(super) fn body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Refused::new("the body is not a JSON object"));
    }
    json::parse(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refused::new(match error.classify() {
            serde_json::error::Category::Data => {
                format!("the body is not a JSON object that has each field once ({place})")
            }
            _ => format!("the body is not valid JSON ({place})"),
        })
    })
}

/// Reads a field of any shape; `expected` says which, as in "must be a number".
pub(super) fn read<'a, T: Deserialize<'a>>(
    field: Field<'a>,
    name: &'static str,
    expected: &str,
) -> Result<Option<T>, Refused> {
    let Some(field) = field else { return Ok(None) };
    serde_json::from_str(field.get())
        .map(Some)
        .map_err(|_| Refused::field(name, format!("`{name}` must be {expected}")))
}

pub(super) fn number(field: Field<'_>, name: &'static str) -> Result<Option<f64>, Refused> {
    read(field, name, "a number")
}

/// Reads a whole number, also one that is written with a point.
pub(super) fn integer(field: Field<'_>, name: &'static str) -> Result<Option<i64>, Refused> {
    let Some(field) = field else { return Ok(None) };
    if let Ok(integer) = serde_json::from_str(field.get()) {
        return Ok(Some(integer));
    }
    match serde_json::from_str::<f64>(field.get()) {
        // The cast saturates; nothing that is counted here comes near.
        Ok(number) if number.fract() == 0.0 => Ok(Some(number as i64)),
        _ => Err(Refused::field(name, format!("`{name}` must be an integer"))),
    }
}

/// Reads a number of tokens; −1, by which some clients say "no limit", is none.
pub(super) fn tokens(field: Field<'_>, name: &'static str) -> Result<Option<u64>, Refused> {
    match integer(field, name)? {
        None | Some(-1) => Ok(None),
        Some(0) | Some(i64::MIN..-1) => {
            Err(Refused::field(name, format!("`{name}` must be at least 1")))
        }
        Some(tokens) => Ok(Some(tokens.unsigned_abs())),
    }
}

/// Returns the arguments of a call as text; some servers write them as the object that they are.
pub(super) fn arguments(field: Field<'_>) -> Text<'_> {
    let Some(raw) = field else {
        return Text::default();
    };
    match Text::of(raw) {
        Some(text) => text,
        None => Json::of(raw).to_text().into_owned(),
    }
}

pub(super) fn flag(field: Field<'_>, name: &'static str) -> Result<Option<bool>, Refused> {
    read(field, name, "true or false")
}

pub(super) fn text<'a>(field: Field<'a>, name: &'static str) -> Result<Option<Text<'a>>, Refused> {
    read(field, name, "a string")
}

/// Reads `stop`, one string or several; empty ones would stop at once and are left out.
pub(super) fn stop(field: Field<'_>) -> Result<Vec<Text<'_>>, Refused> {
    let mut stop = match field.and_then(Text::of) {
        Some(one) => vec![one],
        None => read::<Vec<Text<'_>>>(field, "stop", "a string or an array of strings")?
            .unwrap_or_default(),
    };
    stop.retain(|text| !text.is_empty());
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        assert_eq!(integer(Some(raw("3.0")), "n"), Ok(Some(3)));
        assert_eq!(integer(Some(raw("-3")), "n"), Ok(Some(-3)));
        assert!(integer(Some(raw("3.5")), "n").is_err());
        assert!(integer(Some(raw("\"3\"")), "n").is_err());
        assert_eq!(tokens(Some(raw("-1")), "max_tokens"), Ok(None));
        assert!(tokens(Some(raw("0")), "max_tokens").is_err());
        assert!(tokens(Some(raw("-2")), "max_tokens").is_err());
    }

    #[test]
    fn refusals_show_nothing_of_what_was_sent() {
        for refused in [
            text(Some(raw("[\"hunter2\"]")), "user").unwrap_err(),
            number(Some(raw("\"hunter2\"")), "temperature").unwrap_err(),
            body::<Vec<bool>>(br#"["hunter2"]"#).unwrap_err(),
            body::<Vec<bool>>(br#"[hunter2]"#).unwrap_err(),
            body::<Vec<bool>>(br#"{"hunter2": hunter2}"#).unwrap_err(),
        ] {
            assert!(!refused.text.contains("hunter"), "{refused}");
        }
    }

    #[test]
    fn stop_is_one_or_many() {
        assert_eq!(stop(Some(raw("\"a\""))), Ok(vec![Text::escaped("a")]));
        assert_eq!(
            stop(Some(raw("[\"\",\"b\"]"))),
            Ok(vec![Text::escaped("b")])
        );
        assert_eq!(stop(None), Ok(vec![]));
        assert!(stop(Some(raw("[1]"))).is_err());
    }
}
