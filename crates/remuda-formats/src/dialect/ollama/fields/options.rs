//! The types of `options`: a wrong one is an error in Ollama's words, `null` leaves an option as it is.

use crate::dialect::ollama::go::Reader;
use crate::ir::{Refused, Text};
use crate::wire::json::Kind;

pub(super) fn float(
    reader: &mut Reader<'_>,
    name: &'static str,
    option: &mut Option<f64>,
) -> Result<(), Refused> {
    if let Some(value) = number(reader, name, "float32")? {
        *option = Some(value);
    }
    Ok(())
}

/// Reads an integer, or a float whose fraction is cut.
pub(super) fn integer(
    reader: &mut Reader<'_>,
    name: &'static str,
    option: &mut Option<i64>,
) -> Result<(), Refused> {
    if let Some(value) = number(reader, name, "integer")? {
        *option = Some(value as i64);
    }
    Ok(())
}

pub(super) fn boolean(
    reader: &mut Reader<'_>,
    name: &'static str,
) -> Result<Option<bool>, Refused> {
    match reader.kind()? {
        Kind::Bool => Ok(Some(reader.raw()? == b"true")),
        Kind::Null => reader.skip().map(|()| None),
        _ => Err(wrong(name, "type boolean")),
    }
}

pub(super) fn strings<'a>(
    reader: &mut Reader<'a>,
    name: &'static str,
    option: &mut Vec<Text<'a>>,
) -> Result<(), Refused> {
    match reader.kind()? {
        Kind::Null => return reader.skip(),
        Kind::Array => option.clear(),
        _ => return Err(wrong(name, "type array")),
    }
    reader.items(|reader| {
        if reader.kind()? != Kind::String {
            return Err(wrong(name, "an array of strings"));
        }
        let text = reader.literal()?;
        // An empty one would be met at once.
        if !text.is_empty() {
            option.push(text);
        }
        Ok(())
    })
}

fn number(
    reader: &mut Reader<'_>,
    name: &'static str,
    go_type: &str,
) -> Result<Option<f64>, Refused> {
    let kind = reader.kind()?;
    let digits = reader.raw()?;
    if kind == Kind::Null {
        return Ok(None);
    }
    let number = (kind == Kind::Number)
        .then(|| str::from_utf8(digits).ok()?.parse::<f64>().ok())
        .flatten()
        .filter(|number| number.is_finite());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(wrong(name, &format!("type {go_type}"))),
    }
}

fn wrong(name: &'static str, expected: &str) -> Refused {
    Refused::field(name, format!("option {name:?} must be of {expected}"))
}
