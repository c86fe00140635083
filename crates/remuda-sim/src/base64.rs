//! Standard padded base64 as Go reads it, with the offset that Go reports for a bad byte.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Checks that `text` is base64; the error is the offset in Go's `illegal base64 data at input byte N`.
pub(super) fn check(text: &str) -> Result<(), usize> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let (mut in_quantum, mut offset) = (0, 0);
    // Go skips line breaks anywhere.
    let mut bytes = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    while let Some((at, byte)) = bytes.next() {
        offset = at + 1;
        if is_digit(byte) {
            in_quantum = (in_quantum + 1) % 4;
            continue;
        }
        let padded = byte == b'='
            && match in_quantum {
                2 => matches!(bytes.next(), Some((_, b'='))),
                3 => true,
                _ => false,
            };
        return match (padded, bytes.next()) {
            (true, None) => Ok(()),
            (true, Some((after, _))) => Err(after),
            (false, _) => Err(at),
        };
    }
    if in_quantum == 0 { Ok(()) } else { Err(offset) }
}

/// Padded base64 of `bytes`.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            if digit > chunk.len() {
                text.push('=');
            } else {
                let index = (word >> (18 - 6 * digit)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(check(coded), Ok(()));
        }
    }

    #[test]
    fn a_data_url_fails_where_go_says() {
        assert_eq!(check("data:image/png;base64,AAAA"), Err(4));
        assert_eq!(check("Zg==Zg=="), Err(4));
        assert!(check("Zg").is_err());
    }
}
