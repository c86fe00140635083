//! What is wrong with a text that is not JSON, in the words of Go's `encoding/json`.

/// What is wrong with a text that is not JSON, in the words of Go's `encoding/json`.
///
/// At most the one byte that cannot stand where it does is shown, never the text around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error("unexpected EOF")]
    Eof,
    #[error("invalid character {} {context}", quoted(*.byte))]
    Invalid {
        byte: u8,
        context: &'static str,
        /// Offset of the byte in the text.
        at: usize,
    },
    #[error("exceeded max depth")]
    TooDeep,
}

/// Returns a byte as Go quotes it in `invalid character …`.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0B => r"'\v'".to_owned(),
        0x0C => r"'\f'".to_owned(),
        0x00..=0x1F | 0x7F => format!(r"'\x{byte:02x}'"),
        0x80..=0xA0 | 0xAD => format!(r"'\u{byte:04x}'"),
        other => format!("'{}'", char::from(other)),
    }
}

/// Returns Go's words for a literal that goes wrong at its letter `place`.
pub(super) fn word_context(word: &[u8], place: usize) -> &'static str {
    match (word, place) {
        (b"true", 1) => "in literal true (expecting 'r')",
        (b"true", 2) => "in literal true (expecting 'u')",
        (b"true", _) => "in literal true (expecting 'e')",
        (b"false", 1) => "in literal false (expecting 'a')",
        (b"false", 2) => "in literal false (expecting 'l')",
        (b"false", 3) => "in literal false (expecting 's')",
        (b"false", _) => "in literal false (expecting 'e')",
        (_, 1) => "in literal null (expecting 'u')",
        _ => "in literal null (expecting 'l')",
    }
}
