//! Finds the text fields of a `multipart/form-data` body, and the boundary that it was read by.

use memchr::memmem;

use crate::wire::json::ByteSpan;

/// Longest value that is taken for a text field, in bytes.
const MAX_VALUE: usize = 1024;

/// A part of a form.
pub(super) enum Part<'a> {
    /// A text field (RFC 7578 §4.2), and where its value stands.
    Text(&'a str, ByteSpan),
    /// Anything else, a file as a rule.
    Other,
    /// Its name is written so that two readers may find different ones.
    Unclear,
}

/// Returns the boundary of a form: that of the body's first line, so that a value which merely looks like a part's head
/// (inside an uploaded file) is not taken for one. `None` if the body is no form.
pub fn form_boundary(body: &[u8]) -> Option<&[u8]> {
    let line_end = memmem::find(body, b"\r\n")?;
    let boundary = body[..line_end].strip_prefix(b"--")?;
    (!boundary.is_empty()).then_some(boundary)
}

/// Returns whether a boundary is written so that all readers find the same (RFC 2046 section 5.1.1).
pub fn is_plain_boundary(boundary: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(byte);
    (1..=70).contains(&boundary.len()) && boundary.iter().all(plain)
}

/// Calls `on_part` with every part, and once more if the body is not a form from its first line to its last: readers do
/// not agree on what is in such a one.
pub(super) fn parts<'a>(body: &'a [u8], mut on_part: impl FnMut(Part<'a>)) {
    if walk(body, &mut on_part).is_none() {
        on_part(Part::Unclear);
    }
}

fn walk<'a>(body: &'a [u8], on_part: &mut impl FnMut(Part<'a>)) -> Option<()> {
    let boundary = form_boundary(body)?;
    let dashes = &body[..b"--".len() + boundary.len()];
    let finder = memmem::Finder::new(dashes);
    let mut start = dashes.len();
    loop {
        let at = start + finder.find(&body[start..])?;
        // The boundary is nowhere but where a part ends, not even after half of a line's end.
        let end = at.checked_sub(2).filter(|end| *end >= start)?;
        if &body[end..at] != b"\r\n" {
            return None;
        }
        on_part(part(body, start, end));
        start = at + dashes.len();
        match &body[start..] {
            b"--" | b"--\r\n" => return Some(()),
            rest if rest.starts_with(b"\r\n") => {}
            _ => return None,
        }
    }
}

/// Returns the part from `start`, which is its delimiter's line end, to `end`.
fn part(body: &[u8], start: usize, end: usize) -> Part<'_> {
    let whole = &body[start..end];
    let Some(head_end) = memmem::find(whole, b"\r\n\r\n") else {
        return Part::Unclear;
    };
    let head = str::from_utf8(&whole[..head_end]).ok();
    let Some((name, is_file)) = head.and_then(named) else {
        return Part::Unclear;
    };
    let value = ByteSpan {
        start: start + head_end + b"\r\n\r\n".len(),
        end,
    };
    let is_text = !is_file && value.end - value.start <= MAX_VALUE;
    if is_text && name == DECISIVE {
        Part::Text(name, value)
    } else if is_decisive(name) {
        // A file to some readers is a text to others, and they differ in how names are written.
        Part::Unclear
    } else if is_text {
        Part::Text(name, value)
    } else {
        Part::Other
    }
}

/// What decides where a form goes.
const DECISIVE: &str = "model";

/// Returns whether some reader may take a field of this name for one that decides: as a list, or with white space
/// around it.
fn is_decisive(name: &str) -> bool {
    let plain = name.split(['[', '.']).next().unwrap_or_default().trim();
    plain.eq_ignore_ascii_case(DECISIVE)
}

/// Returns the name that a part's head has, and whether it is a file's. `None` unless it has one that all readers find.
fn named(head: &str) -> Option<(&str, bool)> {
    let mut found = None;
    for line in head.strip_prefix("\r\n")?.split("\r\n") {
        let (field, value) = line.split_once(':')?;
        if line.contains(|c: char| c.is_control() && c != '\t') || !is_token(field) {
            return None;
        }
        if field.eq_ignore_ascii_case("content-transfer-encoding") {
            // Some decode it.
            let plain = ["binary", "8bit", "7bit"];
            let value = value.trim();
            plain
                .iter()
                .find(|plain| value.eq_ignore_ascii_case(plain))?;
        }
        if field.eq_ignore_ascii_case("content-disposition")
            && found.replace(disposition(value)?).is_some()
        {
            return None;
        }
    }
    found
}

/// Returns the `name` of a disposition (RFC 7578 section 4.2), and whether there is a `filename`.
fn disposition(value: &str) -> Option<(&str, bool)> {
    let (kind, mut rest) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut is_file) = (None, false);
    loop {
        let (key, after) = rest.trim_start().split_once('=')?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        match key.to_ascii_lowercase().as_str() {
            "name" if is_plain(text) && name.is_none() => name = Some(text.trim_end()),
            // RFC 5987's writing is for file names alone, and not all read it.
            "filename" | "filename*" if !text.contains('"') && !text.ends_with('\\') => {
                is_file = true;
            }
            _ => return None,
        }
        rest = match after.trim_start() {
            "" => return Some((name?, is_file)),
            after => after.strip_prefix(';')?,
        };
        if rest.trim().is_empty() {
            return Some((name?, is_file));
        }
    }
}

/// Returns whether a name has nothing that is an escape or a quote to some readers.
fn is_plain(name: &str) -> bool {
    !name.contains(['\\', '"', '\'', '%', ';'])
}

/// Returns whether it is a field's name as RFC 9110 section 5.6.2 has it.
fn is_token(name: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~%".contains(&byte);
    !name.is_empty() && name.bytes().all(of_token)
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
            "form-data; name*=utf-8''model",
            "form-data; name=\"x\"; name*=utf-8''model",
            "form-data; name*0=\"mo\"; name*1=\"del\"",
            "form-data; name =\"model\"; name=\"x\"",
            "form-data; name=\"x\nname=model\"",
            "form-data; name=\"x\"\nContent-Disposition: form-data; name=\"model\"",
            "form-data; name=\"x\"\rContent-Disposition: form-data; name=\"model\"",
            "form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"",
            "form-data; name=\"x\"\r\nContent-Transfer-Encoding: quoted-printable",
            "form-data; name=\"model\"; filename=\"\"",
            "form-data; name=\"model[]\"",
            "form-data; name=\" model\"",
            "form-data; name='model'",
            "form-data; name=\"%6dodel\"",
            "attachment; name=\"model\"",
        ] {
            let body = format!("--b\r\nContent-Disposition: {disposition}\r\n\r\nm\r\n--b--\r\n");
            let mut unclear = 0;
            parts(body.as_bytes(), |part| {
                unclear += usize::from(matches!(part, Part::Unclear));
            });
            assert_eq!(unclear, 1, "{disposition}");
        }
    }

    fn is_clear(body: &[u8]) -> bool {
        let mut clear = true;
        parts(body, |part| clear &= !matches!(part, Part::Unclear));
        clear
    }

    #[test]
    fn a_body_that_readers_cut_otherwise_is_unclear() {
        assert!(is_clear(FORM));
        let file = "--b\r\nContent-Disposition: form-data; name=file; filename=\"caf\u{e9};.wav\"; filename*=utf-8''a\r\n\r\n";
        assert!(is_clear(format!("{file}a\nb\rc--\r\n--b--").as_bytes()));
        let hidden = "Content-Disposition: form-data; name=\"model\"";
        for rest in [
            // The end is missing.
            "a".to_owned(),
            "a\r\n--b\r\n".to_owned(),
            // Half of a line's end.
            format!("a\n--b\n{hidden}\n\nbig\n--b--\r\n--b--\r\n"),
            format!("a\r--b\r{hidden}\r\rbig\r\n--b--\r\n"),
            // After the end, or after a boundary that is longer.
            format!("a\r\n--b--\r\n--b\r\n{hidden}\r\n\r\nbig\r\n--b--\r\n"),
            format!("a\r\n--bc\r\n{hidden}\r\n\r\nbig\r\n--b--\r\n"),
            format!("a\r\n--b \r\n{hidden}\r\n\r\nbig\r\n--b--\r\n"),
        ] {
            let body = format!("{file}{rest}");
            assert!(!is_clear(body.as_bytes()), "{body:?}");
        }
        let long = format!(
            "--b\r\n{hidden}\r\n\r\n{}\r\n--b--\r\n",
            "x".repeat(MAX_VALUE + 1)
        );
        assert!(!is_clear(long.as_bytes()));
    }

    #[test]
    fn a_boundary_of_other_bytes_is_not_plain() {
        assert!(is_plain_boundary(b"----WebKitFormBoundary7MA4YWxkTrZu0gW"));
        for boundary in [&b""[..], b"x\\y", b"x y", b"x\"", b"x\n", &[b'x'; 71]] {
            assert!(!is_plain_boundary(boundary), "{boundary:?}");
        }
    }
}
