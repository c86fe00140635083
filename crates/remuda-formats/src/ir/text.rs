//! Pieces of JSON that cross from one format to another without being taken apart.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::wire::json::{escape_into, unescape};

/// The inside of a JSON string literal, still escaped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// Returns what a literal holds; `None` if the value is no string.
    pub fn of(value: &'a RawValue) -> Option<Self> {
        let inside = value.get().strip_prefix('"')?.strip_suffix('"')?;
        Some(Text(Cow::Borrowed(inside)))
    }

    /// Creates the inside of a literal that a JSON reader has accepted.
    pub fn escaped(inside: impl Into<Cow<'a, str>>) -> Self {
        Text(inside.into())
    }

    /// Creates a text that is not escaped yet. Borrows if it needs no escape.
    pub fn plain(text: &'a str) -> Self {
        if text.bytes().all(needs_no_escape) {
            return Text(Cow::Borrowed(text));
        }
        let mut inside = Vec::with_capacity(text.len() + text.len() / 8);
        escape_into(text, &mut inside);
        Text(Cow::Owned(
            String::from_utf8(inside).expect("escapes are ASCII, and the rest was a string"),
        ))
    }

    /// Returns the text as it stands in JSON, without the quotes.
    pub fn as_escaped(&self) -> &str {
        &self.0
    }

    /// Returns the text itself.
    pub fn decoded(&self) -> Cow<'_, str> {
        unescape(self.0.as_bytes())
    }

    /// Returns the text itself, for as long as this one was borrowed for.
    pub fn into_decoded(self) -> Cow<'a, str> {
        match self.0 {
            Cow::Borrowed(inside) => unescape(inside.as_bytes()),
            Cow::Owned(inside) => Cow::Owned(unescape(inside.as_bytes()).into_owned()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether there is nothing but white space.
    pub fn is_blank(&self) -> bool {
        self.0.trim_ascii().is_empty() || (self.0.len() < 64 && self.decoded().trim().is_empty())
    }

    /// Appends the literal, with its quotes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0.as_bytes());
        out.push(b'"');
    }

    /// Appends `more` to the text.
    pub fn push(&mut self, more: &Text<'_>) {
        self.0.to_mut().push_str(&more.0);
    }

    /// Returns how many characters the text itself has; nothing is decoded.
    pub fn chars(&self) -> usize {
        Units(self.0.as_bytes()).count()
    }

    /// Returns the text before the character with this number, and the rest. The first is the whole text if it has no
    /// such character.
    pub fn split_at_char(self, place: usize) -> (Text<'a>, Text<'a>) {
        let at = Units(self.0.as_bytes()).take(place).sum();
        match self.0 {
            Cow::Borrowed(inside) => {
                let (before, after) = inside.split_at(at);
                (Text(before.into()), Text(after.into()))
            }
            Cow::Owned(mut inside) => {
                let after = inside.split_off(at);
                (Text(inside.into()), Text(after.into()))
            }
        }
    }

    /// Returns the same text for as long as one likes.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    /// Returns the text as it stands in JSON, without the quotes.
    pub fn into_inner(self) -> Cow<'a, str> {
        self.0
    }

    /// Returns the same text, borrowed.
    pub fn borrow(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }
}

/// How many bytes each character takes, as it stands in JSON. Two escapes that are the halves of one character count as
/// one.
struct Units<'t>(&'t [u8]);

impl Iterator for Units<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let length = match self.0 {
            [] => return None,
            [
                b'\\',
                b'u',
                b'd' | b'D',
                half,
                _,
                _,
                b'\\',
                b'u',
                b'd' | b'D',
                other,
                _,
                _,
                ..,
            ] if matches!(half.to_ascii_lowercase(), b'8'..=b'9' | b'a'..=b'b')
                && matches!(other.to_ascii_lowercase(), b'c'..=b'f') =>
            {
                12
            }
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            [0xF0..=0xFF, ..] => 4,
            [0xE0..=0xEF, ..] => 3,
            [0xC0..=0xDF, ..] => 2,
            [_, ..] => 1,
        };
        let length = length.min(self.0.len());
        self.0 = &self.0[length..];
        Some(length)
    }
}

/// Returns whether all bytes are of those that [`escape_into`] leaves alone, all of them ASCII: cheap to decide and
/// nearly always so for names and ids.
fn needs_no_escape(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7E) && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// Shows the length only: what it holds is someone's prompt.
impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <&'de RawValue>::deserialize(deserializer)?;
        Text::of(value).ok_or_else(|| D::Error::custom("expected a string"))
    }
}

/// A JSON value as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    pub fn of(value: &'a RawValue) -> Self {
        Json(Cow::Borrowed(value.get()))
    }

    /// Creates a text that a JSON reader has accepted, or that was written as JSON.
    pub fn trusted(json: impl Into<Cow<'a, str>>) -> Self {
        Json(json.into())
    }

    /// Returns `{}`.
    pub fn empty_object() -> Self {
        Json(Cow::Borrowed("{}"))
    }

    /// Returns what a model wrote as the arguments of a call. Nothing at all is `{}`; what is no JSON object is kept
    /// under `_raw`, and the second value says so.
    pub fn arguments(text: Cow<'a, str>) -> (Self, bool) {
        if text.trim_ascii().is_empty() {
            return (Json::empty_object(), false);
        }
        let is_object = text.trim_ascii_start().starts_with('{')
            && serde_json::from_str::<&RawValue>(&text).is_ok();
        if is_object {
            return (Json(text), false);
        }
        let mut wrapped = b"{\"_raw\":".to_vec();
        Text::plain(&text).write(&mut wrapped);
        wrapped.push(b'}');
        let wrapped = String::from_utf8(wrapped).expect("made of strings");
        (Json(Cow::Owned(wrapped)), true)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// Appends the value, on one line: events and lines end with a line, and between a value's parts it means nothing.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.0.as_bytes());
        for at in memchr::memchr2_iter(b'\n', b'\r', self.0.as_bytes()) {
            out[start + at] = b' ';
        }
    }

    /// Returns the value as the text of a JSON string.
    pub fn to_text(&self) -> Text<'_> {
        Text::plain(&self.0)
    }

    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }

    pub fn borrow(&self) -> Json<'_> {
        Json(Cow::Borrowed(&self.0))
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Json::of(<&'de RawValue>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arguments_are_always_an_object() {
        let arguments = |text: &str| {
            let (json, wrapped) = Json::arguments(Cow::Borrowed(text));
            (json.as_str().to_owned(), wrapped)
        };
        assert_eq!(arguments(" "), ("{}".into(), false));
        assert_eq!(arguments(r#"{"a":1}"#), (r#"{"a":1}"#.into(), false));
        assert_eq!(
            arguments(r#"{"a":"#),
            (r#"{"_raw":"{\"a\":"}"#.into(), true)
        );
        assert_eq!(arguments("7"), (r#"{"_raw":"7"}"#.into(), true));
    }

    #[test]
    fn characters_are_counted_as_they_will_be_read() {
        for (escaped, count) in [
            ("", 0),
            (r"a\nb", 3),
            (r"\ud83d\uDE00x", 2),
            (r"\ud83dx", 2),
            (r"\ude00\ud83d", 2),
            ("äß漢😀", 4),
            (r#"\\\"\u00e9"#, 3),
        ] {
            let text = Text::escaped(escaped);
            assert_eq!(text.chars(), count, "{escaped}");
            assert_eq!(text.chars(), text.decoded().chars().count(), "{escaped}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_parted_between_characters(text in any::<String>(), place in 0..20_usize) {
            let written = serde_json::to_string(&text).unwrap();
            let inside = &written[1..written.len() - 1];
            let (before, after) = Text::escaped(inside).split_at_char(place);
            prop_assert_eq!(before.chars(), place.min(text.chars().count()));
            let expected: String = text.chars().take(place).collect();
            prop_assert_eq!(&*before.decoded(), expected.as_str());
            prop_assert_eq!(format!("{}{}", before.as_escaped(), after.as_escaped()), inside);
            let owned = Text::escaped(inside).into_owned().split_at_char(place);
            prop_assert_eq!(owned, (before, after));
        }
    }

    #[test]
    fn a_value_is_written_on_one_line() {
        let mut out = b"data: ".to_vec();
        Json::trusted("[\r\n  1,\n  \"a\\nb\"\n]").write(&mut out);
        assert_eq!(out, b"data: [    1,   \"a\\nb\" ]");
    }

    #[test]
    fn nothing_of_a_text_is_shown() {
        assert_eq!(format!("{:?}", Text::plain("secret")), "Text(6 bytes)");
        assert_eq!(format!("{:?}", Json::trusted("{}")), "Json(2 bytes)");
    }

    #[test]
    fn blank_is_white_space_in_any_spelling() {
        assert!(Text::escaped("").is_blank() && Text::escaped(r" \n\t\u00a0").is_blank());
        assert!(!Text::escaped("x").is_blank() && !Text::escaped(r"\\n").is_blank());
    }

    proptest! {
        #[test]
        fn a_text_is_what_it_was(text in any::<String>()) {
            let held = Text::plain(&text);
            prop_assert_eq!(held.decoded(), &*text);
            let mut literal = Vec::new();
            held.write(&mut literal);
            prop_assert_eq!(serde_json::from_slice::<String>(&literal).unwrap(), text.clone());
            let read: Text<'_> = serde_json::from_slice(&literal).unwrap();
            prop_assert_eq!(read.decoded(), &*text);
            prop_assert_eq!(read.into_decoded(), &*text);
            prop_assert_eq!(held.into_decoded(), &*text);
        }
    }
}
