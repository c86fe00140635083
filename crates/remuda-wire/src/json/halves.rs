//! Texts that strict parsers refuse: halves of surrogate pairs, which JavaScript's strings hold where a text was cut
//! within a character, and bytes that are not UTF-8.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::{ByteSpan, Scanner};

/// The key of texts that hold JSON themselves: the arguments of calls.
const NESTED: &[u8] = b"arguments";

/// Returns the JSON text with U+FFFD in place of each half of a pair that stands alone, and of what is not UTF-8;
/// `None` if it has neither. An escape keeps its length. In the arguments of calls, which are JSON within a string,
/// escapes of their own are minded as well; of any other text they are the author's words.
pub fn whole_characters(json: &[u8]) -> Option<Vec<u8>> {
    let text = match std::str::from_utf8(json) {
        Ok(text) => Cow::Borrowed(text.as_bytes()),
        Err(_) => Cow::Owned(String::from_utf8_lossy(json).into_owned().into_bytes()),
    };
    let mut lone = lone_halves(&text, Escape::Plain);
    let nested = lone_halves(&text, Escape::Nested);
    if !nested.is_empty() {
        let spans = nested_texts(&text);
        let mut spans = spans.iter().peekable();
        for place in nested {
            while spans.next_if(|span| span.end <= place).is_some() {}
            if spans.peek().is_some_and(|span| span.start < place) {
                lone.push(place);
            }
        }
    }
    if lone.is_empty() && matches!(text, Cow::Borrowed(_)) {
        return None;
    }
    let mut mended = text.into_owned();
    for place in lone {
        mended[place..place + 4].copy_from_slice(b"fffd");
    }
    Some(mended)
}

/// Returns whether the inside of a string literal has an escape that may be half of a pair.
pub fn may_have_halves(inside: &str) -> bool {
    let bytes = inside.as_bytes();
    memmem::find_iter(bytes, b"\\u").any(|at| is_half(&bytes[at + 2..]).is_some())
}

/// Cuts the first half of a pair from the end of a string literal's inside, where the second may follow in another
/// piece.
pub fn cut_half(inside: &mut String) -> Option<String> {
    /// `\ud83d`.
    const LENGTH: usize = 6;
    let digits = inside.len().checked_sub(4)?;
    let is_last = lone_halves(inside.as_bytes(), Escape::Plain).last() == Some(&digits);
    let is_first = is_half(&inside.as_bytes()[digits..]) == Some(Half::First);
    (is_last && is_first).then(|| inside.split_off(inside.len() - LENGTH))
}

/// How an escape is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// `\u`.
    Plain,
    /// `\\u`: an escape of the JSON that the string holds.
    Nested,
}

impl Escape {
    fn is_begun_by(self, backslashes: usize) -> bool {
        match self {
            Escape::Plain => backslashes % 2 == 1,
            Escape::Nested => backslashes % 4 == 2,
        }
    }

    fn opening(self) -> &'static [u8] {
        match self {
            Escape::Plain => b"\\u",
            Escape::Nested => b"\\\\u",
        }
    }
}

/// Returns where the digits stand of each escape that is half of a pair without the other half.
fn lone_halves(text: &[u8], escape: Escape) -> Vec<usize> {
    let mut lone = Vec::new();
    // Where the second half of a pair has its digits.
    let mut second = None;
    for at in memmem::find_iter(text, b"\\u") {
        let digits = at + 2;
        let Some(half) = is_half(&text[digits..]) else {
            continue;
        };
        let backslashes = text[..=at]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        if second == Some(digits) || !escape.is_begun_by(backslashes) {
            continue;
        }
        let other = text[digits + 4..]
            .strip_prefix(escape.opening())
            .and_then(is_half);
        match (half, other) {
            (Half::First, Some(Half::Second)) => {
                second = Some(digits + 4 + escape.opening().len());
            }
            _ => lone.push(digits),
        }
    }
    lone
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

/// Returns which half an escape is, by its digits: D800 to DBFF are the first, DC00 to DFFF the second.
fn is_half(digits: &[u8]) -> Option<Half> {
    let digits = digits.get(..4)?;
    if digits[0] | 0x20 != b'd' || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    match digits[1] | 0x20 {
        b'8' | b'9' | b'a' | b'b' => Some(Half::First),
        b'c'..=b'f' => Some(Half::Second),
        _ => None,
    }
}

/// Returns the string literals that are arguments of calls, in order.
fn nested_texts(json: &[u8]) -> Vec<ByteSpan> {
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(quote) = memchr(b'"', &json[at..]) {
        let mut scanner = Scanner::starting_at(json, at + quote);
        let Ok(literal) = scanner.string() else {
            break;
        };
        at = literal.span.end;
        if literal.inside(json) != NESTED || scanner.peek() != Some(b':') {
            continue;
        }
        let mut value = Scanner::starting_at(json, scanner.position() + 1);
        if value.peek() == Some(b'"') {
            let Ok(literal) = value.string() else { break };
            at = literal.span.end;
            spans.push(literal.span);
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mended(json: &str) -> Option<String> {
        whole_characters(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn halves_alone_go_and_pairs_stay() {
        for (json, expected) in [
            (r#"{"a":"\ud83d"}"#, Some(r#"{"a":"\ufffd"}"#)),
            (r#"{"\uD83d":"\uDE00x"}"#, Some(r#"{"\ufffd":"\ufffdx"}"#)),
            (
                r#"["\ud83d\ud83d\ude00"]"#,
                Some(r#"["\ufffd\ud83d\ude00"]"#),
            ),
            (r#"["\ude00\ud83d"]"#, Some(r#"["\ufffd\ufffd"]"#)),
            (r#"["\ud83d\u0041"]"#, Some(r#"["\ufffd\u0041"]"#)),
            (r#"["\ud83d","\ude00"]"#, Some(r#"["\ufffd","\ufffd"]"#)),
            (r#"["\ud83d\ude00\ud83d\ude00"]"#, None),
            // Words about escapes are no escapes.
            (r#"["\\ud83d"]"#, None),
            (r#"["\\\ud83d"]"#, Some(r#"["\\\ufffd"]"#)),
            (r#"["\u00e4 \u0444 \\u \u"#, None),
        ] {
            assert_eq!(mended(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn arguments_are_json_within_json() {
        for (json, expected) in [
            (
                r#"{"arguments":"{\"x\":\"\\ud83d\"}","content":"\\ud83d"}"#,
                Some(r#"{"arguments":"{\"x\":\"\\ufffd\"}","content":"\\ud83d"}"#),
            ),
            (
                r#"{"content":"\\ud83d", "arguments" : "\\ud83d\\ude00 \\\\ud83d \ud83d"}"#,
                Some(r#"{"content":"\\ud83d", "arguments" : "\\ud83d\\ude00 \\\\ud83d \ufffd"}"#),
            ),
            (r#"{"arguments":{"x":"\\ud83d"}}"#, None),
            (r#"["arguments","\\ud83d"]"#, None),
        ] {
            assert_eq!(mended(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_become_characters() {
        let mend =
            |json: &[u8]| whole_characters(json).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(mend(b"[\"a\xffb\"]").as_deref(), Some("[\"a\u{fffd}b\"]"));
        // Half a pair as three bytes.
        let half = mend(b"[\"\xed\xa0\xbd\"]").unwrap();
        assert!(half.contains('\u{fffd}'));
        assert_eq!(mend("[\"é😀\"]".as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            parts in prop::collection::vec(prop_oneof![
                Just(r"\ud83d"), Just(r"\ude00"), Just(r"\\"), Just("ud83d"), Just(r"\u0041"), Just("x"),
            ], 0..12),
            name in prop_oneof![Just("arguments"), Just("content")],
        ) {
            let json = format!(r#"{{"{name}":"{}"}}"#, parts.concat());
            let fixed = mended(&json).unwrap_or_else(|| json.clone());
            let value: serde_json::Value = serde_json::from_str(&fixed).unwrap();
            prop_assert_eq!(mended(&fixed), None);
            // Nothing but lone halves changes.
            let before = super::super::unescape(&json.as_bytes()[name.len() + 5..json.len() - 2]);
            if name == "content" {
                prop_assert_eq!(value[name].as_str().unwrap(), before);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            whole_characters(&bytes);
        }
    }
}
