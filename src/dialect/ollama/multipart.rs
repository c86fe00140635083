//! Finds one text field of a `multipart/form-data` body without its boundary's header.

use std::borrow::Cow;

use memchr::memmem;

/// Longest value that is taken for a text field, in bytes.
const MAX_VALUE: usize = 1024;

/// The value of the form field `name` (RFC 7578 §4.2), or `None` when it cannot be told.
///
/// The boundary is the body's first line, so that a value which merely looks like a part's head
/// (inside an uploaded file) is not taken for one.
pub(super) fn field<'a>(body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let line_end = memmem::find(body, b"\r\n")?;
    let boundary = body[..line_end]
        .strip_prefix(b"--")
        .filter(|boundary| !boundary.is_empty())?;
    let mut delimiter = b"\r\n--".to_vec();
    delimiter.extend_from_slice(boundary);
    let finder = memmem::Finder::new(&delimiter);
    let mut part_start = line_end;
    loop {
        let part_end = part_start + finder.find(&body[part_start..])?;
        if let Some(value) = value_of(&body[part_start..part_end], name) {
            return Some(value);
        }
        part_start = part_end + delimiter.len();
    }
}

/// The value of a part whose head names the field; `part` begins with the line end of its delimiter.
fn value_of<'a>(part: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let head_end = memmem::find(part, b"\r\n\r\n")?;
    let head = str::from_utf8(&part[..head_end]).ok()?;
    let value = &part[head_end + 4..];
    let named = head.split("\r\n").any(|line| {
        let Some((header, rest)) = line.split_once(':') else {
            return false;
        };
        header.eq_ignore_ascii_case("content-disposition")
            && rest.split(';').any(|parameter| {
                parameter.trim().split_once('=').is_some_and(|(key, text)| {
                    key.eq_ignore_ascii_case("name") && text.trim_matches('"') == name
                })
            })
    });
    (named && value.len() <= MAX_VALUE).then(|| String::from_utf8_lossy(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] =
        b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\nRIFF\r\n\r\nname=\"model\"\r\n\r\nwrong\r\n--xyz\r\n\
        content-disposition: form-data; name=model\r\n\r\nwhisper:base\r\n--xyz--\r\n";

    #[test]
    fn finds_the_field_and_not_its_likeness_in_a_file() {
        assert_eq!(field(FORM, "model").as_deref(), Some("whisper:base"));
        assert_eq!(field(FORM, "language"), None);
    }

    #[test]
    fn a_body_cut_anywhere_gives_the_field_or_nothing() {
        for end in 0..FORM.len() {
            let found = field(&FORM[..end], "model");
            assert!(
                matches!(found.as_deref(), None | Some("whisper:base")),
                "{end}"
            );
        }
        assert_eq!(field(b"--\r\n\r\n--\r\n", "model"), None);
    }
}
