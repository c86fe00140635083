//! How many tokens a request may take, guessed from its body before anybody has counted them.

use memchr::memchr2_iter;

use crate::wire::json::{Scanner, Span};

/// Bytes of a token of text, as English has it.
const BYTES: u64 = 4;
/// A run of so many bytes without a space or a quote is no text, but an image or a file in base64.
const BLOB: usize = 4096;
/// Tokens of one, about what providers count for an image of usual size.
const TOKENS_OF_BLOB: u64 = 1_500;

/// Tokens of the prompt.
pub(super) fn input(body: &[u8]) -> u64 {
    let (mut begun, mut blobs, mut in_blobs) = (0, 0, 0);
    let ends = memchr2_iter(b'"', b' ', body).chain([body.len()]);
    for end in ends {
        if end - begun >= BLOB {
            blobs += 1;
            in_blobs += end - begun;
        }
        begun = end + 1;
    }
    let text = (body.len() - in_blobs) as u64;
    text.div_ceil(BYTES) + blobs * TOKENS_OF_BLOB
}

/// The most tokens of output that a body asks for: `max_tokens` and its later names in OpenAI's and Anthropic's
/// formats, `options.num_predict` in Ollama's. A body that cannot be read is refused elsewhere.
pub fn most_output(body: &[u8]) -> Option<u64> {
    let mut options = None;
    let mut most = None;
    fields(body, 0, |name, value| match name {
        b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
            most = number(body, value).or(most);
        }
        b"options" => options = Some(value),
        _ => {}
    })?;
    if let Some(options) = options {
        fields(body, options.start, |name, value| {
            if name == b"num_predict" {
                most = number(body, value).or(most);
            }
        });
    }
    most
}

/// Tells the fields of the object at `start`; `None` if there is no whole one.
fn fields(body: &[u8], start: usize, mut tell: impl FnMut(&[u8], Span)) -> Option<()> {
    let mut scanner = Scanner::starting_at(body, start);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(name) = scanner.next_key(first).ok()? {
        first = false;
        let value = scanner.skip_value().ok()?;
        tell(name.inside(body), value);
    }
    Some(())
}

/// A number that is not negative: Ollama's -1 and -2 set no bound.
fn number(body: &[u8], value: Span) -> Option<u64> {
    std::str::from_utf8(value.of(body)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_stated_in_each_format() {
        for (body, most) in [
            (r#"{"max_tokens":5}"#, Some(5)),
            (
                r#"{"model":"m","max_completion_tokens": 7 ,"messages":[{"max_tokens":9}]}"#,
                Some(7),
            ),
            (r#"{"max_output_tokens":8,"max_tokens":null}"#, Some(8)),
            (r#"{"options":{"seed":1,"num_predict":6}}"#, Some(6)),
            (r#"{"options":{"num_predict":-1}}"#, None),
            (r#"{"options":null}"#, None),
            (r#"{"max_tokens":"5"}"#, None),
            (r#"{"max_tokens":5"#, None),
            ("", None),
            ("[1]", None),
        ] {
            assert_eq!(most_output(body.as_bytes()), most, "{body}");
        }
    }

    #[test]
    fn images_are_not_counted_by_their_bytes() {
        assert_eq!(input(b""), 0);
        assert_eq!(input(&[b'a'; 4095]), 1024);
        let text = "word ".repeat(4000);
        assert_eq!(input(text.as_bytes()), 5000);
        let image = format!("{text}\"{}\"{text}", "A".repeat(1_000_000));
        assert_eq!(input(image.as_bytes()), 10_001 + TOKENS_OF_BLOB);
    }
}
