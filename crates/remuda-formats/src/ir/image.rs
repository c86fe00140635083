//! Images as all formats can say them: a media type that is true of the bytes, and standard base64.

use std::borrow::Cow;

use super::Text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image<'a> {
    Base64 {
        media_type: MediaType,
        /// Standard base64 with padding, no `data:` prefix, no white space.
        data: Cow<'a, str>,
        /// How closely the model is to look, in the words of OpenAI's `detail`.
        detail: Option<Text<'a>>,
    },
    /// `http` or `https`.
    Url {
        url: Text<'a>,
        detail: Option<Text<'a>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    Png,
    Jpeg,
    Gif,
    Webp,
    Bmp,
    Heic,
    Avif,
}

impl MediaType {
    /// Returns the name of the type, such as `image/png`.
    pub fn name(self) -> &'static str {
        match self {
            MediaType::Png => "image/png",
            MediaType::Jpeg => "image/jpeg",
            MediaType::Gif => "image/gif",
            MediaType::Webp => "image/webp",
            MediaType::Bmp => "image/bmp",
            MediaType::Heic => "image/heic",
            MediaType::Avif => "image/avif",
        }
    }

    /// Returns the subtype, such as `png`, which is Bedrock's word.
    pub fn subtype(self) -> &'static str {
        &self.name()["image/".len()..]
    }

    /// Finds the type by the first bytes of the file; the declared type may be wrong, and providers refuse a mismatch.
    pub fn sniff(bytes: &[u8]) -> Option<MediaType> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => Some(MediaType::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(MediaType::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(MediaType::Gif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(MediaType::Webp),
            [b'B', b'M', ..] => Some(MediaType::Bmp),
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] if brand.len() >= 4 => {
                match &brand[..4] {
                    b"avif" | b"avis" => Some(MediaType::Avif),
                    b"heic" | b"heix" | b"mif1" | b"msf1" | b"hevc" => Some(MediaType::Heic),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Why a text is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    #[error("the image is not valid base64")]
    NotBase64,
    #[error("the image is none of PNG, JPEG, GIF, WebP, BMP, HEIC, AVIF")]
    UnknownType,
    #[error("an image URL must begin with data:, http:// or https://")]
    NotUrl,
}

impl<'a> Image<'a> {
    /// Reads an image from base64, with or without `data:…;base64,`, padded or not, in either alphabet.
    ///
    /// # Errors
    /// If it is no base64, or of no known kind of image.
    pub fn from_base64(text: Cow<'a, str>) -> Result<Self, BadImage> {
        let data = clean_base64(text)?;
        let media_type = MediaType::sniff(&first_bytes(&data)).ok_or(BadImage::UnknownType)?;
        Ok(Image::Base64 {
            media_type,
            data,
            detail: None,
        })
    }

    /// Reads an image from a `data:` URI or a web address.
    ///
    /// # Errors
    /// If the address is neither, or its bytes are no image that [`Self::from_base64`] takes.
    pub fn from_url(url: Text<'a>, detail: Option<Text<'a>>) -> Result<Self, BadImage> {
        let escaped = url.as_escaped();
        if escaped
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
        {
            // JSON allows `\/`, which some clients write.
            let text = if escaped.contains('\\') {
                Cow::Owned(url.decoded().into_owned())
            } else {
                url.into_inner()
            };
            let Image::Base64 {
                media_type, data, ..
            } = Image::from_base64(text)?
            else {
                return Err(BadImage::NotBase64);
            };
            return Ok(Image::Base64 {
                media_type,
                data,
                detail,
            });
        }
        let decoded = url.decoded();
        let is_web = ["http:", "https:"].iter().any(|scheme| {
            decoded
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        drop(decoded);
        if is_web {
            Ok(Image::Url { url, detail })
        } else {
            Err(BadImage::NotUrl)
        }
    }

    /// Writes the image as a `data:` URI or an address, without quotes; both need no escape that is not there already.
    pub fn write_url(&self, out: &mut Vec<u8>) {
        match self {
            Image::Base64 {
                media_type, data, ..
            } => {
                out.extend_from_slice(b"data:");
                out.extend_from_slice(media_type.name().as_bytes());
                out.extend_from_slice(b";base64,");
                out.extend_from_slice(data.as_bytes());
            }
            Image::Url { url, .. } => out.extend_from_slice(url.as_escaped().as_bytes()),
        }
    }
}

/// Makes standard base64 with padding out of base64 in any spelling, with or without `data:…;base64,`.
///
/// # Errors
/// If it is no base64.
pub fn clean_base64(text: Cow<'_, str>) -> Result<Cow<'_, str>, BadImage> {
    standard_base64(strip_data_uri(text))
}

fn strip_data_uri(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_uri = text
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let Some(comma) = text.find(',').filter(|_| is_uri) else {
        return text;
    };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[comma + 1..]),
        Cow::Owned(mut text) => {
            text.drain(..=comma);
            Cow::Owned(text)
        }
    }
}

/// Returns base64 in the standard alphabet, padded. Borrows if it is so already.
fn standard_base64(text: Cow<'_, str>) -> Result<Cow<'_, str>, BadImage> {
    let payload = text.trim_end_matches('=');
    let padding = text.len() - payload.len();
    let standard = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if padding <= 2 && text.len().is_multiple_of(4) && payload.bytes().all(standard) {
        return Ok(text);
    }
    let mut clean = String::with_capacity(text.len() + 3);
    let mut ended = false;
    for character in text.chars() {
        match character {
            ' ' | '\t' | '\r' | '\n' => {}
            '=' => ended = true,
            _ if ended => return Err(BadImage::NotBase64),
            '-' => clean.push('+'),
            '_' => clean.push('/'),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => clean.push(character),
            _ => return Err(BadImage::NotBase64),
        }
    }
    match clean.len() % 4 {
        0 => {}
        1 => return Err(BadImage::NotBase64),
        2 => clean.push_str("=="),
        _ => clean.push('='),
    }
    Ok(Cow::Owned(clean))
}

/// Returns the first bytes that standard base64 stands for: 12 at most, enough to know an image by.
fn first_bytes(base64: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    base64.as_bytes()[..base64.len().min(16)]
        .chunks_exact(4)
        .flat_map(|group| {
            let bits = group.iter().fold(0, |bits, &byte| bits << 6 | value(byte));
            [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

    fn read(text: &str) -> Result<(MediaType, String), BadImage> {
        match Image::from_base64(Cow::Borrowed(text))? {
            Image::Base64 {
                media_type, data, ..
            } => Ok((media_type, data.into_owned())),
            Image::Url { .. } => unreachable!(),
        }
    }

    #[test]
    fn every_spelling_of_base64_becomes_the_standard_one() {
        let plain = Ok((MediaType::Png, PNG.to_owned()));
        assert_eq!(read(PNG), plain);
        assert_eq!(read(&format!("data:image/jpeg;base64,{PNG}")), plain);
        assert_eq!(
            read(&format!("data:;base64,{}\n{}", &PNG[..20], &PNG[20..])),
            plain
        );
        assert_eq!(
            read("_9j_4A").unwrap(),
            (MediaType::Jpeg, "/9j/4A==".into())
        );
        assert_eq!(read("/9j/4A=="), read("_9j_4A"));
        assert_eq!(read("/9j/4*=="), Err(BadImage::NotBase64));
        assert_eq!(read("aGVsbG8gd29ybGQhISEh"), Err(BadImage::UnknownType));
        assert_eq!(read(""), Err(BadImage::UnknownType));
    }

    #[test]
    fn urls_are_data_or_web() {
        let url = |text: &'static str| Image::from_url(Text::escaped(text), None);
        assert!(matches!(
            url(r"data:image\/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"),
            Ok(Image::Base64 { .. })
        ));
        assert!(matches!(url("HTTPS://x/y.png"), Ok(Image::Url { .. })));
        assert_eq!(url("file:///etc/passwd"), Err(BadImage::NotUrl));
    }

    #[test]
    fn types_are_told_by_the_first_bytes() {
        assert_eq!(
            MediaType::sniff(b"RIFF\0\0\0\0WEBPVP8 "),
            Some(MediaType::Webp)
        );
        assert_eq!(
            MediaType::sniff(b"\0\0\0\x20ftypavif"),
            Some(MediaType::Avif)
        );
        assert_eq!(MediaType::sniff(b"RIFF"), None);
        assert_eq!(MediaType::Webp.subtype(), "webp");
    }
}
