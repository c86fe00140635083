//! How many tokens a request may take, guessed from its body before anybody has counted them. The guess grows with the
//! body, whatever is in it.

use memchr::{memchr2, memrchr2};

/// Bytes of a token of text, as English has it.
const BYTES: u64 = 4;
/// A run of so many bytes without a space or a quote is no text, but an image or a file in base64, if it could be.
const BLOB: usize = 4096;
/// Tokens of one at least, about what providers count for an image of usual size.
const TOKENS_OF_BLOB: u64 = 1_500;
/// Bytes of a token of a larger file: of sound, moving pictures and documents a token has several hundred to a thousand.
const BYTES_OF_FILE: u64 = 1_024;
/// A run is judged by so many samples, which lie all over it, of so many bytes each.
const SAMPLES: usize = 8;
const SAMPLE: usize = 512;

/// Estimates the tokens of the prompt in a body of JSON.
pub fn input(body: &[u8]) -> u64 {
    if body.len() < BLOB {
        return (body.len() as u64).div_ceil(BYTES);
    }
    let (mut begun, mut of_blobs, mut in_blobs) = (0, 0, 0);
    // Text is passed over in large steps: a run that is long enough to matter reaches over one of them whole.
    while let Some(next) = body.get(begun..begun + BLOB) {
        if let Some(at) = memrchr2(b'"', b' ', next) {
            begun += at + 1;
            continue;
        }
        let rest = memchr2(b'"', b' ', &body[begun + BLOB..]);
        let end = rest.map_or(body.len(), |at| begun + BLOB + at);
        if could_be_base64(&body[begun..end]) {
            let bytes = end - begun;
            of_blobs += TOKENS_OF_BLOB.max(bytes as u64 / BYTES_OF_FILE);
            in_blobs += bytes;
        }
        begun = end + 1;
    }
    let text = (body.len() - in_blobs) as u64;
    text.div_ceil(BYTES) + of_blobs
}

/// Estimates the tokens of a form that carries files as they are, such as sound to be written down.
pub fn of_form(body: &[u8]) -> u64 {
    (body.len() as u64).div_ceil(BYTES_OF_FILE)
}

/// Returns whether hardly anything is outside the alphabets of base64 (RFC 4648): a data URI's head, escaped line ends;
/// and letters of both sizes are in it. Text without spaces is not so: Chinese, as it is or in escapes, tables with
/// commas, words that something else than a space divides. Zeros, as silence and black pictures have many, are `A`s.
fn could_be_base64(run: &[u8]) -> bool {
    let (mut all, mut outside, mut upper, mut lower, mut zeros) = (0, 0, 0, 0, 0);
    let step = (run.len() - SAMPLE) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        for byte in &run[sample * step..][..SAMPLE] {
            all += 1;
            match byte {
                b'A' => zeros += 1,
                b'B'..=b'Z' => upper += 1,
                b'a'..=b'z' => lower += 1,
                b'0'..=b'9' | b'+' | b'/' | b'-' | b'_' | b'=' => {}
                _ => outside += 1,
            }
        }
    }
    let mixed = |many: usize| many * 16 >= all - zeros;
    outside <= all / 16 && mixed(upper) && mixed(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base64 of bytes that look as if drawn by lot.
    fn base64(length: usize) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut seed = 1_u64;
        let letters = (0..length).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(ALPHABET[(seed >> 58) as usize])
        });
        letters.collect()
    }

    #[test]
    fn images_are_not_counted_by_their_bytes() {
        assert_eq!(input(b""), 0);
        assert_eq!(input(&[b'a'; 4095]), 1024);
        // Without a space, but no image.
        assert_eq!(input("\u{4f60}\u{597d}".repeat(5000).as_bytes()), 7500);
        assert_eq!(input("\\u4f60".repeat(5000).as_bytes()), 7500);
        assert_eq!(input("12,3456,7\\n".repeat(1000).as_bytes()), 2750);
        assert_eq!(input("some_words_".repeat(1000).as_bytes()), 2750);
        assert_eq!(input("4f60deadbeef".repeat(1000).as_bytes()), 3000);
        assert_eq!(input("WORD_AFTER_WORD_".repeat(1000).as_bytes()), 4000);
        let text = "word ".repeat(4000);
        assert_eq!(input(text.as_bytes()), 5000);
        for blob in [base64(1_000_000), "A".repeat(1_000_000)] {
            let image = format!("{text}\"{blob}\"{text}");
            assert_eq!(input(image.as_bytes()), 10_001 + TOKENS_OF_BLOB);
        }
    }

    #[test]
    fn however_large_a_body_is_its_tokens_grow_with_it() {
        for text in [
            "word ".to_owned(),
            "\"".to_owned(),
            base64(5000),
            base64(100_000),
        ] {
            let one = input(text.repeat(2_000_000 / text.len()).as_bytes());
            let ten = input(text.repeat(20_000_000 / text.len()).as_bytes());
            assert!(ten >= 9 * one, "{one} and {ten}");
        }
        assert_eq!(of_form(&[0; 10_240_000]), 10 * of_form(&[0; 1_024_000]));
        assert_eq!(input(&b"words ".repeat(1_000_000)), 1_500_000);
    }

    /// What ends a run is found wherever it is.
    #[test]
    fn a_run_of_less_than_an_image_is_text() {
        for length in [BLOB - 1, BLOB, BLOB + 1] {
            for before in [0, 1, 100, BLOB - 1, BLOB] {
                let text = format!("{}\"{}\" ", " ".repeat(before), base64(length));
                let expected = if length < BLOB {
                    (text.len() as u64).div_ceil(BYTES)
                } else {
                    ((before + 3) as u64).div_ceil(BYTES) + TOKENS_OF_BLOB
                };
                assert_eq!(input(text.as_bytes()), expected, "{length} after {before}");
            }
        }
    }
}
