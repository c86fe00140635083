//! The scanner against Go's words and against serde_json.

use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

fn error(text: &str) -> String {
    Scanner::new(text.as_bytes())
        .skip_value()
        .unwrap_err()
        .to_string()
}

/// What serde_json makes of the first value: where it ends, or nothing.
fn reference(bytes: &[u8]) -> Option<usize> {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    stream.next()?.ok()?;
    Some(stream.byte_offset())
}

fn skip(bytes: &[u8]) -> Option<usize> {
    Some(Scanner::new(bytes).skip_value().ok()?.end)
}

#[test]
fn arrays_are_walked_item_by_item() {
    let items = |text: &str| -> Result<Vec<String>, SyntaxError> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.begin_array()?;
        let mut items = Vec::new();
        while scanner.next_item(items.is_empty())? {
            let item = scanner.skip_value()?.of(text.as_bytes());
            items.push(String::from_utf8_lossy(item).into_owned());
        }
        assert_eq!(scanner.position(), text.len());
        Ok(items)
    };
    assert_eq!(items("[]"), Ok(vec![]));
    assert_eq!(items(" [ ]"), Ok(vec![]));
    let expected = ["1", "[2,3]", "\"]\"", "{}"].map(str::to_owned);
    assert_eq!(items("[1, [2,3] ,\"]\",{}]"), Ok(expected.to_vec()));
    for (text, words) in [
        ("{}", "invalid character '{' looking for beginning of value"),
        (
            "[,1]",
            "invalid character ',' looking for beginning of value",
        ),
        (
            "[1,]",
            "invalid character ']' looking for beginning of value",
        ),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1", "unexpected EOF"),
        ("[1,", "unexpected EOF"),
    ] {
        assert_eq!(items(text).unwrap_err().to_string(), words, "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn errors_have_go_words() {
    for (text, words) in [
        ("", "unexpected EOF"),
        ("{\"a\":", "unexpected EOF"),
        ("{\"a\"", "unexpected EOF"),
        ("[1", "unexpected EOF"),
        ("\"a", "unexpected EOF"),
        ("tru", "unexpected EOF"),
        ("-", "unexpected EOF"),
        ("x", "invalid character 'x' looking for beginning of value"),
        (
            "\u{feff}{}",
            "invalid character 'ï' looking for beginning of value",
        ),
        (
            "{x",
            "invalid character 'x' looking for beginning of object key string",
        ),
        (
            "{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string",
        ),
        ("{\"a\" 1", "invalid character '1' after object key"),
        (
            "{\"a\":1 \"",
            "invalid character '\"' after object key:value pair",
        ),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1}", "invalid character '}' after array element"),
        ("[01]", "invalid character '1' after array element"),
        ("\"a\nb\"", "invalid character '\\n' in string literal"),
        ("\"\u{0}\"", "invalid character '\\x00' in string literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        (
            "\"\\u12g4\"",
            "invalid character 'g' in \\u hexadecimal character escape",
        ),
        (
            "trux",
            "invalid character 'x' in literal true (expecting 'e')",
        ),
        (
            "fals!",
            "invalid character '!' in literal false (expecting 'e')",
        ),
        (
            "nil",
            "invalid character 'i' in literal null (expecting 'u')",
        ),
        ("-x", "invalid character 'x' in numeric literal"),
        (
            "1.x",
            "invalid character 'x' after decimal point in numeric literal",
        ),
        (
            "1ex",
            "invalid character 'x' in exponent of numeric literal",
        ),
        (
            "'a'",
            "invalid character '\\'' looking for beginning of value",
        ),
    ] {
        assert_eq!(error(text), words, "{text:?}");
    }
}

#[test]
fn nesting_is_bounded_and_mixed_levels_are_told_apart() {
    let nested = |depth: usize| "[{\"a\":".repeat(depth / 2) + "1" + &"}]".repeat(depth / 2);
    assert_eq!(
        skip(nested(MAX_DEPTH).as_bytes()),
        Some(nested(MAX_DEPTH).len())
    );
    assert_eq!(error(&nested(MAX_DEPTH + 2)), "exceeded max depth");
    assert_eq!(error(&"[".repeat(1 << 20)), "exceeded max depth");
    assert_eq!(error(&"{\"\":".repeat(1 << 20)), "exceeded max depth");
}

#[test]
fn objects_are_walked_key_by_key() {
    let body = br#" { "a" : 1 , "b\u0063" : [ { } ] , "d" : "" } rest"#;
    let mut scanner = Scanner::new(body);
    scanner.begin_object().unwrap();
    let mut seen = Vec::new();
    while let Some(key) = scanner.next_key(seen.is_empty()).unwrap() {
        let value = scanner.skip_value().unwrap();
        seen.push((
            key.text(body).into_owned(),
            String::from_utf8_lossy(value.of(body)),
        ));
    }
    let expected = [("a", "1"), ("bc", "[ { } ]"), ("d", "\"\"")];
    assert!(
        seen.iter()
            .map(|(key, value)| (&**key, &**value))
            .eq(expected)
    );
    assert_eq!(&body[scanner.position()..], b" rest");
}

#[test]
fn plain_text_is_measured_at_every_offset() {
    for length in 0..40 {
        let mut text = vec![b'a'; length];
        text.extend(b"\x7f\x80\xff~ ");
        assert_eq!(plain_prefix(&text), text.len());
        for stop in [b'"', b'\\', 0x1f, 0] {
            let mut stopped = text.clone();
            stopped.extend([stop, b'a', stop, b'"']);
            assert_eq!(plain_prefix(&stopped), text.len(), "{length} {stop}");
        }
    }
}

fn json() -> impl Strategy<Value = String> {
    let space = || "[ \n\r\t]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"(\\\\u[0-9a-fA-F]{4}|\\\\[\"\\\\/bfnrt]|[ -!#-\\[\\]-~]){0,12}\"",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let spaced = (space(), inner, space()).prop_map(|(a, value, b)| a + &value + &b);
        let pair =
            (space(), any::<String>(), space(), spaced.clone()).prop_map(|(a, key, b, value)| {
                a + &serde_json::to_string(&key).unwrap() + &b + ":" + &value
            });
        prop_oneof![
            (prop::collection::vec(spaced, 0..6), space())
                .prop_map(|(items, space)| format!("[{space}{}]", items.join(","))),
            (prop::collection::vec(pair, 0..6), space())
                .prop_map(|(pairs, space)| format!("{{{space}{}}}", pairs.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_valid_texts(text in json(), rest in any::<Vec<u8>>()) {
        let mut bytes = format!("[{text}]").into_bytes();
        let end = bytes.len();
        bytes.extend(rest);
        prop_assert_eq!(skip(&bytes), Some(end));
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_texts(
        text in json(),
        at in any::<prop::sample::Index>(),
        damage in prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"{}[]\",:\\0-.eE+tfnu \n\x00\x1f\x80"[..]),
        ],
        mode in 0..3,
    ) {
        let mut bytes = format!("[{text}]").into_bytes();
        let at = at.index(bytes.len());
        match mode {
            0 => bytes[at] = damage,
            1 => bytes.insert(at, damage),
            _ => { bytes.remove(at); }
        }
        // At the top level a number may be followed by anything.
        if bytes.first() == Some(&b'[') {
            prop_assert_eq!(skip(&bytes), reference(&bytes));
        }
    }

    #[test]
    fn every_truncation_is_an_unexpected_end(text in json(), at in any::<prop::sample::Index>()) {
        let whole = format!("[{text}]").into_bytes();
        let cut = &whole[..at.index(whole.len())];
        prop_assert_eq!(Scanner::new(cut).skip_value(), Err(SyntaxError::Eof));
    }

    #[test]
    fn agrees_with_serde_json_on_rows_of_numbers(noise in "[0-9,.\\- ]{0,40}", closed in any::<bool>()) {
        let bytes = format!("[{noise}{}", if closed { "]" } else { "" });
        prop_assert_eq!(skip(bytes.as_bytes()), reference(bytes.as_bytes()));
        let row = format!("[{},-1]", noise.replace(|letter: char| !letter.is_ascii_digit(), ",1"));
        prop_assert_eq!(skip(row.as_bytes()), reference(row.as_bytes()));
    }

    #[test]
    fn agrees_with_serde_json_on_noise(noise in "[\\[\\]{}\",:0-9eE.+\\-tfnul \\\\]{0,40}") {
        let bytes = format!("[{noise}");
        prop_assert_eq!(skip(bytes.as_bytes()), reference(bytes.as_bytes()));
    }

    #[test]
    fn literals_read_as_serde_json_reads_them(text in any::<String>()) {
        let literal = serde_json::to_string(&text).unwrap();
        let found = Scanner::new(literal.as_bytes()).string().unwrap();
        prop_assert_eq!(found.text(literal.as_bytes()), text);
        prop_assert_eq!(found.escaped, literal.contains('\\'));
    }
}
