//! How many tokens a request may take, guessed from its body before anybody has counted them.

use memchr::memchr2_iter;

/// Bytes of a token of text, as English has it.
const BYTES: u64 = 4;
/// A run of so many bytes without a space or a quote is no text, but an image or a file in base64, if it could be.
const BLOB: usize = 4096;
/// Tokens of one, about what providers count for an image of usual size.
const TOKENS_OF_BLOB: u64 = 1_500;

/// Tokens of the prompt.
pub(super) fn input(body: &[u8]) -> u64 {
    if body.len() < BLOB {
        return (body.len() as u64).div_ceil(BYTES);
    }
    let (mut begun, mut blobs, mut in_blobs) = (0, 0, 0);
    let ends = memchr2_iter(b'"', b' ', body).chain([body.len()]);
    for end in ends {
        if end - begun >= BLOB && could_be_base64(&body[begun..begun + BLOB]) {
            blobs += 1;
            in_blobs += end - begun;
        }
        begun = end + 1;
    }
    let text = (body.len() - in_blobs) as u64;
    text.div_ceil(BYTES) + blobs * TOKENS_OF_BLOB
}

/// Whether hardly anything is outside the alphabets of base64 (RFC 4648): a data URI's head, escaped line ends. Text
/// without spaces is not so: Chinese, as it is or in escapes, tables with commas.
fn could_be_base64(run: &[u8]) -> bool {
    let outside = |byte: &&u8| !(byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte));
    run.iter().filter(outside).count() <= run.len() / 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_not_counted_by_their_bytes() {
        assert_eq!(input(b""), 0);
        assert_eq!(input(&[b'a'; 4095]), 1024);
        // Without a space, but no image.
        assert_eq!(input("\u{4f60}\u{597d}".repeat(5000).as_bytes()), 7500);
        assert_eq!(input("\\u4f60".repeat(5000).as_bytes()), 7500);
        assert_eq!(input("12,3456,7\\n".repeat(1000).as_bytes()), 2750);
        let text = "word ".repeat(4000);
        assert_eq!(input(text.as_bytes()), 5000);
        let image = format!("{text}\"{}\"{text}", "A".repeat(1_000_000));
        assert_eq!(input(image.as_bytes()), 10_001 + TOKENS_OF_BLOB);
    }
}
