//! `images`: base64 of pictures, and of sounds for models that hear.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dialect::ollama::go::{Field, Reader};
use crate::ir::{Document, Image, Part, Refused, Text, clean_base64};
use crate::wire::json::Kind;

/// Reads `images` and adds what it holds to `parts`.
///
/// # Errors
/// If one is no base64, or of no known kind.
pub(in crate::dialect::ollama) fn read_attachments<'a>(
    reader: &mut Reader<'a>,
    field: Field,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Refused> {
    reader.list(field, "[]api.ImageData", |reader| {
        if reader.kind()? != Kind::String {
            return reader.mismatch(field, "api.ImageData");
        }
        parts.push(attachment(reader.literal()?.into_decoded())?);
        Ok(())
    })
}

fn attachment(text: Cow<'_, str>) -> Result<Part<'_>, Refused> {
    if let Some(media_type) = sound(&text) {
        let data =
            clean_base64(text).map_err(|error| Refused::field("images", error.to_string()))?;
        return Ok(Part::Document(Document {
            name: None,
            media_type: Cow::Borrowed(media_type),
            data,
        }));
    }
    Image::from_base64(text)
        .map(Part::Image)
        .map_err(|error| Refused::field("images", error.to_string()))
}

/// Returns the media type of a sound, by the base64 of its first bytes.
fn sound(text: &str) -> Option<&'static str> {
    let start = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => text.find(',')? + 1,
        _ => 0,
    };
    let data = &text.as_bytes()[start..];
    match data {
        // RIFF, four bytes of length, and WAVE, whose last three letters fill the fourth group.
        [b'U', b'k', b'l', b'G', b'R', ..] if data.get(12..16) == Some(b"QVZF") => {
            Some("audio/wav")
        }
        // ID3, or the eleven set bits of a frame.
        [b'S', b'U', b'Q', b'z', ..] | [b'/', b'/', ..] => Some("audio/mpeg"),
        [b'T', b'2', b'd', b'n', b'U', ..] => Some("audio/ogg"),
        [b'Z', b'k', b'x', b'h', b'Q', ..] => Some("audio/flac"),
        _ => None,
    }
}

/// Returns the text of a file that is text: models that take no files can read it all the same.
pub(in crate::dialect::ollama) fn text_of_file(document: &Document<'_>) -> Option<Text<'static>> {
    let media_type = document.media_type.split(';').next().unwrap_or_default();
    if !media_type.starts_with("text/") && media_type != "application/json" {
        return None;
    }
    let bytes = STANDARD.decode(document.data.as_bytes()).ok()?;
    Some(Text::plain(str::from_utf8(&bytes).ok()?).into_owned())
}

/// Appends a picture or a sound as Ollama takes it: bare base64. False if it is neither.
///
/// # Errors
/// For a picture that is only named by its address: nothing is fetched.
pub(in crate::dialect::ollama) fn write_attachment(
    part: &Part<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Refused> {
    let data = match part {
        Part::Image(Image::Base64 { data, .. }) => data,
        Part::Image(Image::Url { .. }) => {
            return Err(Refused::field(
                "messages",
                "an image is given by its address, which Ollama does not take: send it as base64",
            ));
        }
        Part::Document(document) if document.media_type.starts_with("audio/") => &document.data,
        _ => return Ok(false),
    };
    out.push(b'"');
    out.extend_from_slice(data.as_bytes());
    out.push(b'"');
    Ok(true)
}
