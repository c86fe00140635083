//! Bodies that come compressed (`Content-Encoding`, RFC 9110 section 8.4): unpacked step by step, so that whoever reads one
//! bounds what becomes of it and lets others have their turn in between.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

/// A step writes at most so many bytes.
pub const STEP: usize = 64 * 1024;
/// A body has at most so many members. Each costs a new start; parallel packers make one of 64 KiB or more.
const MAX_MEMBERS: usize = 4096;
/// The windows of zstd are not larger than this power of two (RFC 9659 section 3).
const ZSTD_WINDOW_LOG: u32 = 23;
/// A frame begins with these bytes (RFC 8878 section 3.1.1). Frames of older formats begin otherwise, and are not read.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The window of a gzip member or a zlib stream is the usual one, of so many bits.
const WINDOW_BITS: u8 = 15;

/// The way in which a body was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// The zlib format, as RFC 9110 section 8.4.1.2 has it.
    Deflate,
    Zstd,
}

/// The fault of a packed body that cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbled {
    #[error("is not valid")]
    Invalid,
    #[error("ends early")]
    Short,
    #[error("has something else behind its end")]
    Trailing,
    #[error("is in too many pieces")]
    Pieces,
}

/// Returns the names that the fields of `Content-Encoding` list, without `identity`, which changes nothing; the coding that
/// was put on last comes last.
pub fn listed<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let names = fields
        .into_iter()
        .flat_map(|field| field.split(|byte| *byte == b','));
    let names = names.map(<[u8]>::trim_ascii);
    names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"))
}

/// Returns the coding of that name.
pub fn named(name: &[u8]) -> Option<Coding> {
    const NAMES: [(&[u8], Coding); 4] = [
        (b"gzip", Coding::Gzip),
        (b"x-gzip", Coding::Gzip),
        (b"deflate", Coding::Deflate),
        (b"zstd", Coding::Zstd),
    ];
    let mut names = NAMES.iter();
    let found = names.find(|(known, _)| name.eq_ignore_ascii_case(known));
    found.map(|(_, coding)| *coding)
}

impl Coding {
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Zstd => "zstd",
        }
    }

    /// Returns how many bytes of what it has written a decoder holds besides, at most.
    pub fn memory(self) -> usize {
        match self {
            Coding::Zstd => 1 << ZSTD_WINDOW_LOG,
            Coding::Gzip | Coding::Deflate => 0,
        }
    }

    pub fn decoder(self) -> Result<AnyDecoder, Garbled> {
        Ok(match self {
            Coding::Gzip => AnyDecoder::Zlib(Decompress::new_gzip(WINDOW_BITS)),
            Coding::Deflate => AnyDecoder::Zlib(Decompress::new(true)),
            Coding::Zstd => {
                let mut decoder = Decoder::new().map_err(|_| Garbled::Invalid)?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG);
                decoder
                    .set_parameter(window)
                    .map_err(|_| Garbled::Invalid)?;
                AnyDecoder::Zstd(decoder)
            }
        })
    }
}

pub enum AnyDecoder {
    Zlib(Decompress),
    Zstd(Decoder<'static>),
}

/// The outcome of one call of a decoder.
pub struct Called {
    pub read: usize,
    pub written: usize,
    /// The member is whole.
    pub ended: bool,
}

impl AnyDecoder {
    pub fn call(&mut self, input: &[u8], output: &mut [u8]) -> Result<Called, Garbled> {
        match self {
            AnyDecoder::Zlib(inflate) => {
                let before = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::None);
                let status = status.map_err(|_| Garbled::Invalid)?;
                Ok(Called {
                    read: (inflate.total_in() - before.0) as usize,
                    written: (inflate.total_out() - before.1) as usize,
                    ended: status == Status::StreamEnd,
                })
            }
            AnyDecoder::Zstd(decoder) => {
                let done = decoder.run_on_buffers(input, output);
                let done = done.map_err(|_| Garbled::Invalid)?;
                Ok(Called {
                    read: done.bytes_read,
                    written: done.bytes_written,
                    ended: done.remaining == 0,
                })
            }
        }
    }
}

/// A packed body on its way to what it was.
pub struct Unpacking<'a> {
    coding: Coding,
    decoder: AnyDecoder,
    rest: &'a [u8],
    members: usize,
    /// A member has begun and has not ended.
    inside: bool,
}

/// The outcome of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// The step has written so many bytes, and more may follow.
    Wrote(usize),
    End,
}

impl<'a> Unpacking<'a> {
    pub fn new(coding: Coding, packed: &'a [u8]) -> Result<Self, Garbled> {
        Ok(Self {
            coding,
            decoder: coding.decoder()?,
            rest: packed,
            members: 0,
            inside: false,
        })
    }

    /// Unpacks as much as `output` holds, or less.
    pub fn step(&mut self, output: &mut [u8]) -> Result<Stepped, Garbled> {
        if !self.inside {
            if self.rest.is_empty() && self.members > 0 {
                return Ok(Stepped::End);
            }
            self.begin()?;
        }
        // Long runs of bytes that give nothing are gone through in steps, too.
        let input = &self.rest[..self.rest.len().min(STEP)];
        let called = self.decoder.call(input, output)?;
        self.rest = &self.rest[called.read..];
        self.inside = !called.ended;
        if self.inside && called.read == 0 && called.written == 0 {
            return Err(if self.rest.is_empty() {
                Garbled::Short
            } else {
                Garbled::Invalid
            });
        }
        Ok(Stepped::Wrote(called.written))
    }

    /// Begins the next member, or frame.
    fn begin(&mut self) -> Result<(), Garbled> {
        if self.rest.is_empty() {
            return Err(Garbled::Short);
        }
        let again = self.members > 0;
        if again && self.members >= MAX_MEMBERS {
            return Err(Garbled::Pieces);
        }
        match self.coding {
            Coding::Gzip if again && !self.rest.starts_with(&[0x1f, 0x8b]) => {
                return Err(Garbled::Trailing);
            }
            Coding::Deflate if again => return Err(Garbled::Trailing),
            Coding::Zstd if !is_frame(self.rest) => {
                return Err(if again {
                    Garbled::Trailing
                } else {
                    Garbled::Invalid
                });
            }
            _ => {}
        }
        if again {
            match &mut self.decoder {
                AnyDecoder::Zlib(_) => self.decoder = self.coding.decoder()?,
                AnyDecoder::Zstd(decoder) => decoder.reinit().map_err(|_| Garbled::Invalid)?,
            }
        }
        self.members += 1;
        self.inside = true;
        Ok(())
    }
}

/// Returns whether a frame begins here, or one that is to be skipped (RFC 8878 section 3.1.2).
fn is_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&ZSTD_MAGIC)
        || matches!(bytes, [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50)
        // As much of the beginning of one as there is: it ends early.
        || (bytes.len() < ZSTD_MAGIC.len() && ZSTD_MAGIC.starts_with(bytes))
}

/// Returns the whole of a packed body, as long as it comes to no more than `most` bytes; `None` if it comes to more.
///
/// # Errors
/// If it is not what its coding says.
pub fn unpacked(coding: Coding, packed: &[u8], most: usize) -> Result<Option<Vec<u8>>, Garbled> {
    let mut unpacking = Unpacking::new(coding, packed)?;
    let (mut output, mut whole) = (vec![0; STEP], Vec::new());
    while let Stepped::Wrote(count) = unpacking.step(&mut output)? {
        if whole.len() + count > most {
            return Ok(None);
        }
        whole.extend_from_slice(&output[..count]);
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

    fn packed(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        }
    }

    fn in_room(coding: Coding, packed: &[u8], room: usize) -> Result<Vec<u8>, Garbled> {
        let mut unpacking = Unpacking::new(coding, packed)?;
        let (mut output, mut whole) = (vec![0; room], Vec::new());
        while let Stepped::Wrote(count) = unpacking.step(&mut output)? {
            whole.extend_from_slice(&output[..count]);
        }
        Ok(whole)
    }

    fn text() -> Vec<u8> {
        (0..40_000_u32)
            .flat_map(|number| (number * number).to_le_bytes())
            .collect()
    }

    #[test]
    fn what_was_packed_comes_out_in_any_room() {
        for coding in ALL {
            for text in [&b""[..], b"{\"model\":\"m\"}", &text()] {
                for room in [1, 7, STEP]
                    .into_iter()
                    .filter(|room| room * 100_000 > text.len())
                {
                    let whole = in_room(coding, &packed(coding, text), room);
                    assert!(whole.as_deref() == Ok(text), "{coding:?} {room}");
                }
            }
        }
    }

    #[test]
    fn a_body_that_is_cut_or_goes_on_is_refused() {
        for coding in ALL {
            let whole = packed(coding, &text());
            for end in (0..whole.len())
                .step_by(997)
                .chain([1, 2, 3, whole.len() - 1])
            {
                let cut = in_room(coding, &whole[..end], STEP);
                assert_eq!(cut, Err(Garbled::Short), "{coding:?} {end}");
            }
            for more in [&b"x"[..], b"\0\0\0\0", b"garbage behind"] {
                let more = [&whole, more].concat();
                let read = in_room(coding, &more, STEP);
                assert_eq!(read, Err(Garbled::Trailing), "{coding:?}");
            }
            assert!(in_room(coding, b"{\"model\":\"m\"}", STEP).is_err());
        }
    }

    #[test]
    fn a_changed_body_is_no_other_text() {
        let text = text();
        for coding in [Coding::Gzip, Coding::Deflate] {
            let mut whole = packed(coding, &text);
            let last = whole.len() - 1;
            // Of the checksum, or of gzip's length.
            whole[last] ^= 1;
            assert_eq!(in_room(coding, &whole, STEP), Err(Garbled::Invalid));
        }
    }

    #[test]
    fn members_follow_one_another_within_bounds() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let one = packed(coding, b"one");
            let two = [one.clone(), one.clone()].concat();
            assert_eq!(in_room(coding, &two, STEP), Ok(b"oneone".to_vec()));
            let many = one.repeat(MAX_MEMBERS + 1);
            assert_eq!(in_room(coding, &many, STEP), Err(Garbled::Pieces));
        }
        let one = packed(Coding::Deflate, b"one");
        let two = [one.clone(), one].concat();
        assert_eq!(in_room(Coding::Deflate, &two, STEP), Err(Garbled::Trailing));
        let skipped = [
            &[0x5e, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2],
            &*packed(Coding::Zstd, b"x"),
        ];
        assert_eq!(
            in_room(Coding::Zstd, &skipped.concat(), STEP),
            Ok(b"x".to_vec())
        );
    }

    #[test]
    fn a_large_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(25).unwrap();
        encoder.write_all(&text()).unwrap();
        let large = encoder.finish().unwrap();
        assert_eq!(in_room(Coding::Zstd, &large, STEP), Err(Garbled::Invalid));
    }

    #[test]
    fn little_that_stands_for_much_is_given_up() {
        let much = vec![b' '; 4 << 20];
        for coding in ALL {
            let packed = packed(coding, &much);
            assert_eq!(unpacked(coding, &packed, (4 << 20) - 1), Ok(None));
            let whole = unpacked(coding, &packed, 4 << 20);
            assert!(whole == Ok(Some(much.clone())), "{coding:?}");
        }
    }
}
