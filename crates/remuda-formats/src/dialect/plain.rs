//! What an error says whose body is not the JSON that it should be: a text, or an object that was cut or that is nobody's
//! form. A page is for people, and may tell what is no client's business.

use std::borrow::Cow;

use memchr::memmem;

use crate::wire::json::unescape;

/// Bytes of a body that are looked at.
const LONGEST: usize = 4096;

/// Members that hold an error's words, in the order in which they are asked.
const KEYS: [&[u8]; 4] = [b"\"message\"", b"\"msg\"", b"\"detail\"", b"\"error\""];

/// Returns the words of a page; nothing if it has none.
pub fn words(body: &[u8]) -> Cow<'_, str> {
    let body = body[..body.len().min(LONGEST)].trim_ascii();
    match body.first() {
        None | Some(b'<') => Cow::Borrowed(""),
        Some(b'{' | b'[') => KEYS
            .iter()
            .find_map(|key| value_of(body, key))
            .unwrap_or_default(),
        // What is packed or framed is no text.
        Some(_) if body.iter().any(|byte| is_of_no_text(*byte)) => Cow::Borrowed(""),
        Some(_) => String::from_utf8_lossy(body),
    }
}

fn is_of_no_text(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Returns the text of the first member of that name which has one, as far as it goes.
fn value_of<'b>(body: &'b [u8], key: &[u8]) -> Option<Cow<'b, str>> {
    memmem::find_iter(body, key).find_map(|at| {
        let rest = body[at + key.len()..].trim_ascii_start();
        let rest = rest.strip_prefix(b":")?.trim_ascii_start();
        let inside = rest.strip_prefix(b"\"")?;
        let text = unescape(&inside[..end_of_text(inside)]);
        (!text.trim().is_empty()).then_some(text)
    })
}

/// Returns where a string literal ends, or was cut.
fn end_of_text(inside: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = inside.get(at) {
        match byte {
            b'"' => return at,
            b'\\' if at + 1 >= inside.len() => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    inside.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_cut_objects_have_words_and_pages_have_none() {
        for (body, said) in [
            ("404 page not found\n", "404 page not found"),
            (
                r#"{"error":{"message":"it \"is\" so","type""#,
                r#"it "is" so"#,
            ),
            (r#"{"error":{"message":"it is s"#, "it is s"),
            (r#"{"error":{"message":"it is \"#, "it is "),
            (r#"{"error":{"type":"x","message": "it "#, "it"),
            (r#"{"detail" : "no"}"#, "no"),
            (r#"[{"msg":"no"}]"#, "no"),
            (r#"{"error":"no"#, "no"),
            (r#"{"message":null,"error":"no"}"#, "no"),
            ("<html>secret</html>", ""),
            ("\u{1f}\u{8b}\u{8}", ""),
            (r#"{"ok":false}"#, ""),
            (" \r\n", ""),
            ("", ""),
        ] {
            assert_eq!(words(body.as_bytes()), said, "{body}");
        }
        assert!(words(&[b'x'; 100_000]).len() <= LONGEST);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), text in r#"[{"]?("message"|"error"|:|"|\\|é|x){0,9}"#) {
            words(&body);
            words(text.as_bytes());
        }
    }
}
