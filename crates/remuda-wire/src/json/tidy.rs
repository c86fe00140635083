//! JSON as the libraries of clients read it where it is not quite what a strict reader takes: of members that come twice the
//! last one counts, and what Python writes for a number that is none (`NaN`, `Infinity`) is null.

use std::borrow::Cow;
use std::collections::HashMap;

use memchr::memmem;

use super::{ByteSpan, Kind, MAX_DEPTH, Scanner, SyntaxError};

const NO_NUMBERS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];

/// Returns the same value without what a strict reader does not take; `None` if there is nothing of that, or it is no
/// JSON even so.
pub fn tidied(text: &[u8]) -> Option<Vec<u8>> {
    let numbered = numbered(text);
    let text = numbered.as_deref().unwrap_or(text);
    let mut repeated = Vec::new();
    let mut scanner = Scanner::new(text);
    value(&mut scanner, text, 0, &mut repeated).ok()?;
    match (scanner.peek(), repeated.is_empty()) {
        (Some(_), _) => None,
        (None, true) => numbered,
        (None, false) => Some(without(text, repeated)),
    }
}

/// Returns the text with null in place of numbers that are none, if there are any.
fn numbered(text: &[u8]) -> Option<Vec<u8>> {
    let may_have = |word: &&[u8]| memmem::find(text, word).is_some();
    if !NO_NUMBERS.iter().any(may_have) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut in_string, mut any) = (0, false, false);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let word = NO_NUMBERS.iter().find(|word| rest.starts_with(word));
        let taken = match (byte, word) {
            (b'\\', _) if in_string => rest.len().min(2),
            (b'"', _) => {
                in_string = !in_string;
                1
            }
            (_, Some(word)) if !in_string => {
                any = true;
                at += word.len();
                out.extend_from_slice(b"null");
                continue;
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..taken]);
        at += taken;
    }
    any.then_some(out)
}

/// Reads a value, and notes the members that one of the same name follows.
fn value(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    depth: usize,
    repeated: &mut Vec<ByteSpan>,
) -> Result<(), SyntaxError> {
    match scanner.kind()? {
        Kind::Object if depth < MAX_DEPTH => {
            scanner.begin_object()?;
            let mut members: HashMap<Cow<'_, str>, ByteSpan> = HashMap::new();
            let mut last: Option<(Cow<'_, str>, usize)> = None;
            loop {
                let key = scanner.next_key(last.is_none())?;
                // Up to the next key, so that the comma goes with it.
                let end = key.map_or(scanner.position(), |key| key.span.start);
                if let Some((name, start)) = last.take() {
                    repeated.extend(members.insert(name, ByteSpan { start, end }));
                }
                let Some(key) = key else { return Ok(()) };
                last = Some((key.text(text), key.span.start));
                value(scanner, text, depth + 1, repeated)?;
            }
        }
        Kind::Array if depth < MAX_DEPTH => {
            scanner.begin_array()?;
            let mut first = true;
            while scanner.next_item(first)? {
                first = false;
                value(scanner, text, depth + 1, repeated)?;
            }
            Ok(())
        }
        _ => scanner.skip_value().map(|_| ()),
    }
}

fn without(text: &[u8], mut spans: Vec<ByteSpan>) -> Vec<u8> {
    spans.sort_by_key(|span| span.start);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        // One may lie within another.
        if span.start >= at {
            out.extend_from_slice(&text[at..span.start]);
            at = span.end;
        }
    }
    out.extend_from_slice(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tidy(text: &str) -> Option<String> {
        tidied(text.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_last_of_members_counts_and_what_is_no_number_is_null() {
        for (text, expected) in [
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":1, "b":[] ,"a":2,"a":3}"#, r#"{"b":[] ,"a":3}"#),
            (
                r#"[{"a":{"b":1,"b":2},"a":{"b":1,"b":3}}]"#,
                r#"[{"a":{"b":3}}]"#,
            ),
            (r#"{"a":1,"\u0061":2}"#, r#"{"\u0061":2}"#),
            (
                r#"{"x":NaN,"y":[-Infinity,Infinity]}"#,
                r#"{"x":null,"y":[null,null]}"#,
            ),
            (r#"{"x":NaN,"x":"NaN\"NaN"}"#, r#"{"x":"NaN\"NaN"}"#),
        ] {
            assert_eq!(tidy(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "{}",
            r#"{"a":"NaN"}"#,
            r#"{"a":1,"a":2"#,
            r#"{"a":1,"a":2}}"#,
            r#"{"a":NaNa}"#,
            r#"[{"a":1},{"a":1}]"#,
        ] {
            assert_eq!(tidy(text), None, "{text}");
        }
    }

    #[test]
    fn the_work_is_linear_however_deep_the_members_are() {
        let text =
            format!("{}{}", r#"{"a":1,"a":"#.repeat(400), "}".repeat(400)).replace(":}", ":1}");
        let tidy = tidy(&text).unwrap();
        assert_eq!(tidy.matches("\"a\"").count(), 400);
        assert!(tidied("{\"a\":1,\"a\":".repeat(100_000).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn what_is_tidied_is_json(text in r#"([\[{},:"\\ ]|"a"|"b"|1|NaN){0,40}"#) {
            if let Some(tidy) = tidied(text.as_bytes()) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&tidy).is_ok());
                prop_assert_eq!(tidied(&tidy), None);
            }
        }
    }
}
