//! Reads a body in one pass as Go reads JSON into structs: field names in any case, the last of several wins, `null` as
//! absent, unknown fields and what follows the first value ignored, bytes that are not UTF-8 replaced.

use std::borrow::Cow;

use super::MISSING_BODY;
use crate::ir::{Json, Refused, Text};
use crate::wire::json::{Kind, Literal, Scanner, SyntaxError};

/// A position in a body, with what was wrong so far.
///
/// A value of a wrong type is passed over and told at the end, as Go does, since a wrong syntax goes before it.
pub(super) struct Reader<'a> {
    body: &'a [u8],
    scanner: Scanner<'a>,
    wrong: Option<Refused>,
}

/// A field, as Go's errors name it: its struct and the way there (`ChatRequest.messages`), and its own name.
#[derive(Clone, Copy)]
pub(super) struct Field(pub(super) &'static str, pub(super) &'static str);

/// Reads a body that is one struct. `member` is called for every field with its name in lower case, and has to read or
/// skip its value.
///
/// # Errors
/// In Go's words: no body, wrong syntax, or the first value of a wrong type.
pub(super) fn read_struct<'a>(
    body: &'a [u8],
    go_type: &str,
    member: impl FnMut(&mut Reader<'a>, &str) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut reader = Reader {
        body,
        scanner: Scanner::new(body),
        wrong: None,
    };
    if reader.scanner.peek().is_none() {
        return Err(Refused::new(MISSING_BODY));
    }
    match reader.kind()? {
        Kind::Object => reader.members(member)?,
        found => {
            reader.skip()?;
            if found != Kind::Null {
                let found = found.go_name();
                return Err(Refused::new(format!(
                    "json: cannot unmarshal {found} into Go value of type api.{go_type}"
                )));
            }
        }
    }
    reader.wrong.map_or(Ok(()), Err)
}

impl<'a> Reader<'a> {
    /// Returns the kind of the value that is due.
    pub(super) fn kind(&mut self) -> Result<Kind, Refused> {
        self.scanner.kind().map_err(syntax)
    }

    pub(super) fn skip(&mut self) -> Result<(), Refused> {
        self.raw().map(|_| ())
    }

    /// Returns the value as it stands.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Refused> {
        let span = self.scanner.skip_value().map_err(syntax)?;
        Ok(span.of(self.body))
    }

    /// Returns the value as JSON, with its kind.
    pub(super) fn json(&mut self) -> Result<(Kind, Json<'a>), Refused> {
        let kind = self.kind()?;
        let value = replaced(self.raw()?);
        Ok((kind, Json::trusted(value)))
    }

    pub(super) fn text(&mut self, field: Field) -> Result<Option<Text<'a>>, Refused> {
        if self.kind()? != Kind::String {
            self.mismatch(field, "string")?;
            return Ok(None);
        }
        self.literal().map(Some)
    }

    /// Reads a string that is known to be due.
    pub(super) fn literal(&mut self) -> Result<Text<'a>, Refused> {
        let literal = self.scanner.string().map_err(syntax)?;
        Ok(Text::escaped(replaced(literal.inside(self.body))))
    }

    pub(super) fn boolean(&mut self, field: Field) -> Result<Option<bool>, Refused> {
        if self.kind()? != Kind::Bool {
            self.mismatch(field, "bool")?;
            return Ok(None);
        }
        Ok(Some(self.raw()? == b"true"))
    }

    /// Reads a number without a fraction.
    pub(super) fn integer(&mut self, field: Field) -> Result<Option<i64>, Refused> {
        if self.kind()? != Kind::Number {
            self.mismatch(field, "int")?;
            return Ok(None);
        }
        let digits = self.raw()?;
        let number = str::from_utf8(digits).ok().and_then(|n| n.parse().ok());
        if number.is_none() {
            self.wrong(field, "number", "int");
        }
        Ok(number)
    }

    /// Reads an object. Returns whether there was one.
    pub(super) fn structure(
        &mut self,
        field: Field,
        go_type: &str,
        member: impl FnMut(&mut Self, &str) -> Result<(), Refused>,
    ) -> Result<bool, Refused> {
        if self.kind()? != Kind::Object {
            self.mismatch(field, go_type)?;
            return Ok(false);
        }
        self.members(member)?;
        Ok(true)
    }

    /// Reads an array; `item` has to read or skip every item.
    pub(super) fn list(
        &mut self,
        field: Field,
        go_type: &str,
        item: impl FnMut(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        match self.kind()? {
            Kind::Array => self.items(item),
            _ => self.mismatch(field, go_type),
        }
    }

    /// Reads the items of an array that is known to be due.
    pub(super) fn items(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        self.scanner.begin_array().map_err(syntax)?;
        let mut first = true;
        while self.scanner.next_item(first).map_err(syntax)? {
            first = false;
            item(self)?;
        }
        Ok(())
    }

    /// Reads the members of an object that is known to be due.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        self.scanner.begin_object().map_err(syntax)?;
        let mut first = true;
        while let Some(key) = self.scanner.next_key(first).map_err(syntax)? {
            first = false;
            let key = folded(key, self.body);
            member(self, &key)?;
        }
        Ok(())
    }

    /// Skips a value that is not of the field's type; `null` is of any.
    pub(super) fn mismatch(&mut self, field: Field, go_type: &str) -> Result<(), Refused> {
        let found = self.kind()?;
        self.skip()?;
        if found != Kind::Null {
            self.wrong(field, found.go_name(), go_type);
        }
        Ok(())
    }

    fn wrong(&mut self, Field(path, name): Field, found: &str, go_type: &str) {
        self.wrong.get_or_insert_with(|| {
            Refused::field(
                name,
                format!(
                    "json: cannot unmarshal {found} into Go struct field {path}.{name} of type {go_type}"
                ),
            )
        });
    }
}

/// Returns the text with U+FFFD for what is not UTF-8. It is checked whole first, which is several times as fast as
/// looking for each fault.
fn replaced(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

fn syntax(error: SyntaxError) -> Refused {
    Refused::new(error.to_string())
}

/// Returns a field's name in lower case, by Unicode's simple case folding: two letters outside ASCII fold into it.
fn folded(key: Literal, body: &[u8]) -> Cow<'_, str> {
    let inside = key.inside(body);
    let plain = |byte: &u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if !key.escaped
        && inside.iter().all(plain)
        && let Ok(name) = str::from_utf8(inside)
    {
        return Cow::Borrowed(name);
    }
    let folded = key.text(body).to_ascii_lowercase();
    Cow::Owned(folded.replace('\u{17f}', "s").replace('\u{212a}', "k"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `{"text","flag","count","items":[{"name"}]}` into one line.
    fn read(body: &[u8]) -> Result<String, Refused> {
        let mut text = None;
        let mut flag = None;
        let mut count = None;
        let mut names = Vec::new();
        read_struct(body, "T", |reader, key| {
            match key {
                "text" => text = reader.text(Field("T", "text"))?.or(text.take()),
                "flag" => flag = reader.boolean(Field("T", "flag"))?.or(flag),
                "count" => count = reader.integer(Field("T", "count"))?.or(count),
                "items" => reader.list(Field("T", "items"), "[]api.Item", |reader| {
                    let mut name = None;
                    reader.structure(Field("T", "items"), "api.Item", |reader, key| {
                        match key {
                            "name" => name = reader.text(Field("T.items", "name"))?,
                            _ => reader.skip()?,
                        }
                        Ok(())
                    })?;
                    names.push(name.map(|name| name.decoded().into_owned()));
                    Ok(())
                })?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        let text = text.map(|text| text.decoded().into_owned());
        Ok(format!("{text:?} {flag:?} {count:?} {names:?}"))
    }

    fn error(body: &str) -> String {
        read(body.as_bytes()).unwrap_err().text.into_owned()
    }

    #[test]
    fn fields_are_found_in_any_case_and_the_last_one_wins() {
        let body = br#" {"TEXT":"a","unknown":[{}],"Text":"b\n","text":null,"flag":true,
            "it\u0065m\u017f":[{"Name":"x"},{"name":7e0}, null]} trailing"#;
        let wrong =
            "json: cannot unmarshal number into Go struct field T.items.name of type string";
        assert_eq!(read(body).unwrap_err().text, wrong);
        let body = String::from_utf8_lossy(body).replace("7e0", "null");
        assert_eq!(
            read(body.as_bytes()).unwrap(),
            r#"Some("b\n") Some(true) None [Some("x"), None, None]"#
        );
    }

    #[test]
    fn errors_are_in_the_words_of_go() {
        for (body, words) in [
            ("", "missing request body"),
            (" \n", "missing request body"),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type api.T",
            ),
            ("{\"items\":[1,", "unexpected EOF"),
            (
                "{\"items\":[{},]}",
                "invalid character ']' looking for beginning of value",
            ),
            (
                "{\"items\":[{} {}]}",
                "invalid character '{' after array element",
            ),
            (
                "{\"count\":1.5}",
                "json: cannot unmarshal number into Go struct field T.count of type int",
            ),
            (
                "{\"flag\":\"true\"}",
                "json: cannot unmarshal string into Go struct field T.flag of type bool",
            ),
            (
                "{\"items\":{}}",
                "json: cannot unmarshal object into Go struct field T.items of type []api.Item",
            ),
            (
                "{\"items\":[\"a\"]}",
                "json: cannot unmarshal string into Go struct field T.items of type api.Item",
            ),
            // A wrong syntax goes before a wrong type.
            (
                "{\"text\":1,\"flag\":tru}",
                "invalid character '}' in literal true (expecting 'e')",
            ),
        ] {
            assert_eq!(error(body), words, "{body}");
        }
        assert_eq!(read(b"null").unwrap(), "None None None []");
        assert_eq!(
            read(b"{\"text\":\"a\xff\"}").unwrap(),
            "Some(\"a\u{fffd}\") None None []"
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
            let _ = read(&body);
        }

        #[test]
        fn nothing_like_a_body_makes_it_panic(body in r#"[{}\[\]":,a-c0-9 ]{0,40}"#) {
            let _ = read(format!("{{\"items\":[{body}").as_bytes());
        }
    }
}
