//! The escapes of JSON string literals, written as Go's encoder writes them and read as its decoder reads them.

use std::borrow::Cow;

/// Appends `text` as the inside of a JSON string literal, without the quotes.
///
/// Like Go's `encoding/json`, which Ollama's clients see everywhere, `<`, `>` and `&` become
/// `\u003c`, `\u003e` and `\u0026`, and U+2028 and U+2029 are escaped.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
        let width = if byte == 0xE2 && bytes[at + 1] == 0x80 && bytes[at + 2] & 0xFE == 0xA8 {
            3
        } else {
            1
        };
        if width == 1 && !needs_escape(byte) {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            0xE2 => out.extend_from_slice(if bytes[at + 2] == 0xA8 {
                b"\\u2028"
            } else {
                b"\\u2029"
            }),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        at += width;
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// Appends `text` as a JSON string literal, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
}

/// Returns the text of a string literal's inside (without the quotes) that a scanner has accepted.
///
/// Like Go's decoder, bytes that are not UTF-8 and lone surrogates become U+FFFD. Borrows when the
/// literal holds neither.
pub fn unescape(inside: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside).is_none() {
        return String::from_utf8_lossy(inside);
    }
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..backslash]));
        rest = read_escape(&rest[backslash + 1..], &mut text);
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// Reads what follows a backslash and returns what follows the escape.
fn read_escape<'a>(rest: &'a [u8], text: &mut String) -> &'a [u8] {
    let Some((&code, after)) = rest.split_first() else {
        text.push(char::REPLACEMENT_CHARACTER);
        return rest;
    };
    text.push(match code {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return read_unicode(after, text),
        other => char::from(other),
    });
    after
}

/// Reads the four digits of `\uXXXX` and, where they are the first half of a pair, the second half.
fn read_unicode<'a>(digits: &'a [u8], text: &mut String) -> &'a [u8] {
    let Some(unit) = hex4(digits) else {
        text.push(char::REPLACEMENT_CHARACTER);
        return digits;
    };
    let after = &digits[4..];
    if let Some(character) = char::from_u32(unit) {
        text.push(character);
        return after;
    }
    let low = after.strip_prefix(b"\\u").and_then(hex4);
    if let (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) = (unit, low) {
        let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        text.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &after[6..];
    }
    text.push(char::REPLACEMENT_CHARACTER);
    after
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.get(..4)?.iter().try_fold(0, |value, &digit| {
        Some(value * 16 + char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_as_go_does() {
        let mut out = Vec::new();
        write_string(
            "<a href=\"x\">&\u{2028}\u{2029}\u{1}\u{8}\u{c}\n\r\t\\é€\u{7f}",
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""\u003ca href=\"x\"\u003e\u0026\u2028\u2029\u0001\b\f\n\r\t\\é€"#.to_owned()
                + "\u{7f}\""
        );
    }

    #[test]
    fn reads_surrogates_and_bad_bytes_as_go_does() {
        assert_eq!(unescape(br"\ud83d\ude00"), "😀");
        assert_eq!(unescape(br"\ud83dx"), "\u{fffd}x");
        assert_eq!(unescape(br"\ud83d\ud83d\ude00"), "\u{fffd}😀");
        assert_eq!(unescape(br"\ude00"), "\u{fffd}");
        assert_eq!(unescape(b"a\xffb\\n"), "a\u{fffd}b\n");
        assert!(matches!(unescape(b"plain"), Cow::Borrowed("plain")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
            prop_assert_eq!(unescape(&out[1..out.len() - 1]), text);
        }

        #[test]
        fn reads_what_serde_json_writes(text in any::<String>()) {
            let literal = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&literal.as_bytes()[1..literal.len() - 1]), text);
        }

        #[test]
        fn no_inside_makes_it_panic(inside in any::<Vec<u8>>()) {
            unescape(&inside);
        }
    }
}
