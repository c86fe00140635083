//! Finds the text fields of a `multipart/form-data` body, and the boundary that it was read by.

use memchr::memmem;

use crate::wire::json::Span;

/// Longest value that is taken for a text field, in bytes.
const MAX_VALUE: usize = 1024;

/// A part of a form.
pub(super) enum Part<'a> {
    /// A text field (RFC 7578 §4.2), and where its value stands.
    Text(&'a str, Span),
    /// Anything else, a file as a rule.
    Other,
    /// Its name is written so that two readers may find different ones.
    Unclear,
}

/// The boundary of a form: that of the body's first line, so that a value which merely looks like a part's head (inside
/// an uploaded file) is not taken for one. `None` if the body is no form.
pub fn form_boundary(body: &[u8]) -> Option<&[u8]> {
    let line_end = memmem::find(body, b"\r\n")?;
    let boundary = body[..line_end].strip_prefix(b"--")?;
    (!boundary.is_empty()).then_some(boundary)
}

/// Calls `on_part` with every part up to where the body stops being a form.
pub(super) fn parts<'a>(body: &'a [u8], on_part: impl FnMut(Part<'a>)) {
    // `None` only says that the end was reached.
    let _ = walk(body, on_part);
}

fn walk<'a>(body: &'a [u8], mut on_part: impl FnMut(Part<'a>)) -> Option<()> {
    let boundary = form_boundary(body)?;
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut start = b"--".len() + boundary.len();
    loop {
        let end = start + finder.find(&body[start..])?;
        on_part(part(body, start, end));
        start = end + delimiter.len();
    }
}

/// The part from `start`, which is its delimiter's line end, to `end`.
fn part(body: &[u8], start: usize, end: usize) -> Part<'_> {
    let whole = &body[start..end];
    let Some(head_end) = memmem::find(whole, b"\r\n\r\n") else {
        return Part::Other;
    };
    let Ok(head) = str::from_utf8(&whole[..head_end]) else {
        return Part::Unclear;
    };
    let mut names = Vec::new();
    let mut is_file = false;
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            return Part::Unclear;
        }
        let Some((header, rest)) = line.split_once(':') else {
            continue;
        };
        if !header.eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        for parameter in rest.split(';') {
            let (key, text) = parameter.trim().split_once('=').unwrap_or((parameter, ""));
            if key.eq_ignore_ascii_case("name") {
                names.push(text.trim_matches('"'));
            }
            is_file |= key.eq_ignore_ascii_case("filename");
        }
    }
    let value = Span {
        start: start + head_end + b"\r\n\r\n".len(),
        end,
    };
    match names[..] {
        [name] if name.contains(['\\', '"']) => Part::Unclear,
        [_] if is_file || value.end - value.start > MAX_VALUE => Part::Other,
        [name] => Part::Text(name, value),
        _ => Part::Unclear,
    }
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
        parts(body, |part| match part {
            Part::Text(key, value) if key == name => {
                found = Some(String::from_utf8_lossy(value.of(body)).into_owned());
            }
            _ => {}
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

    #[test]
    fn a_name_that_can_be_read_in_two_ways_is_not_read() {
        for disposition in [
            "form-data; name=\"x\"; name=\"model\"",
            "form-data; name=\"x;name=model\"",
            "form-data; name=\"mo\\\"del\"",
            "form-data;\r\n name=\"model\"",
            "form-data",
        ] {
            let body = format!("--b\r\nContent-Disposition: {disposition}\r\n\r\nm\r\n--b--\r\n");
            let mut unclear = 0;
            parts(body.as_bytes(), |part| {
                unclear += usize::from(matches!(part, Part::Unclear));
            });
            assert_eq!(unclear, 1, "{disposition}");
        }
    }
}
