//! Finds the text fields of a `multipart/form-data` body without its boundary's header.

use std::borrow::Cow;

use memchr::memmem;

/// Longest value that is taken for a text field, in bytes.
const MAX_VALUE: usize = 1024;

/// Calls `on_field` with the name and value of every text field (RFC 7578 §4.2) up to where the body
/// stops being a form.
///
/// The boundary is the body's first line, so that a value which merely looks like a part's head
/// (inside an uploaded file) is not taken for one.
pub(super) fn text_fields<'a>(body: &'a [u8], on_field: impl FnMut(&'a str, Cow<'a, str>)) {
    // `None` only says that the end was reached.
    let _ = walk(body, on_field);
}

fn walk<'a>(body: &'a [u8], mut on_field: impl FnMut(&'a str, Cow<'a, str>)) -> Option<()> {
    let line_end = memmem::find(body, b"\r\n")?;
    let boundary = body[..line_end]
        .strip_prefix(b"--")
        .filter(|boundary| !boundary.is_empty())?;
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut part_start = line_end;
    loop {
        let part_end = part_start + finder.find(&body[part_start..])?;
        if let Some((name, value)) = text_field(&body[part_start..part_end]) {
            on_field(name, value);
        }
        part_start = part_end + delimiter.len();
    }
}

/// The name and value of a part that is a short text; `part` begins with its delimiter's line end.
fn text_field(part: &[u8]) -> Option<(&str, Cow<'_, str>)> {
    let head_end = memmem::find(part, b"\r\n\r\n")?;
    let value = &part[head_end + 4..];
    if value.len() > MAX_VALUE {
        return None;
    }
    let head = str::from_utf8(&part[..head_end]).ok()?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (header, rest) = line.split_once(':')?;
        header
            .eq_ignore_ascii_case("content-disposition")
            .then_some(rest)
    })?;
    let parameter = |wanted: &str| {
        disposition.split(';').find_map(|parameter| {
            let (key, text) = parameter.trim().split_once('=')?;
            key.eq_ignore_ascii_case(wanted)
                .then_some(text.trim_matches('"'))
        })
    };
    if parameter("filename").is_some() {
        return None;
    }
    Some((parameter("name")?, String::from_utf8_lossy(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] =
        b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\nRIFF\r\n\r\nname=\"model\"\r\n\r\nwrong\r\n--xyz\r\n\
        content-disposition: form-data; name=model\r\n\r\nwhisper:base\r\n--xyz--\r\n";

    fn field(body: &[u8], name: &str) -> Option<String> {
        let mut found = None;
        text_fields(body, |key, value| {
            if key == name {
                found = Some(value.into_owned());
            }
        });
        found
    }

    #[test]
    fn finds_the_field_and_not_its_likeness_in_a_file() {
        assert_eq!(field(FORM, "model").as_deref(), Some("whisper:base"));
        assert_eq!(field(FORM, "language"), None);
        assert_eq!(field(FORM, "file"), None);
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
