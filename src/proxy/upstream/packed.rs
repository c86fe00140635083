//! Answers that come compressed although nobody asked for it (`Content-Encoding`): unpacked as they come, so that they are
//! read and watched as any other.

use http::header::{self, HeaderValue};
use pingora::http::ResponseHeader;

use crate::coding::{AnyDecoder, Coding, Garbled, STEP, listed, named};

/// How an answer was packed.
pub(crate) enum Packed {
    Known(Box<Unpacker>),
    /// In a way, or several, that cannot be undone here.
    Unknown,
}

/// Unpacks a body, and keeps the bytes of it that have come and are not unpacked yet.
pub(crate) struct Unpacker {
    coding: Coding,
    decoder: AnyDecoder,
    rest: Vec<u8>,
    at: usize,
    /// A member has begun and has not ended.
    inside: bool,
    out: Vec<u8>,
}

/// Returns how the answer with that head is packed, and its head as it would be if it were not; `None` if it is not.
pub(crate) fn packed(head: &ResponseHeader) -> Option<(Packed, ResponseHeader)> {
    let fields = head.headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = listed(fields.map(HeaderValue::as_bytes));
    let first = codings.next()?;
    let known = named(first).filter(|_| codings.next().is_none());
    let packed = match known.and_then(|coding| Unpacker::new(coding).ok()) {
        Some(unpacker) => Packed::Known(Box::new(unpacker)),
        None => Packed::Unknown,
    };
    let mut plain = head.clone();
    if matches!(packed, Packed::Known(_)) {
        plain.remove_header(&header::CONTENT_ENCODING);
        plain.remove_header(&header::CONTENT_LENGTH);
    }
    Some((packed, plain))
}

impl Unpacker {
    fn new(coding: Coding) -> Result<Self, Garbled> {
        Ok(Unpacker {
            coding,
            decoder: coding.decoder()?,
            rest: Vec::new(),
            at: 0,
            inside: false,
            out: Vec::new(),
        })
    }

    /// Takes the next bytes of the packed body.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.rest.drain(..std::mem::take(&mut self.at));
        self.rest.extend_from_slice(piece);
    }

    /// Unpacks the next bytes, at most [`STEP`]; false if more has to be fed first.
    ///
    /// # Errors
    /// The body is not packed in the way that its head says.
    pub(crate) fn step(&mut self) -> Result<bool, Garbled> {
        self.out.resize(STEP, 0);
        loop {
            let rest = &self.rest[self.at..];
            if !self.inside {
                if rest.is_empty() {
                    return Ok(false);
                }
                // A member after another begins anew.
                self.decoder = self.coding.decoder()?;
                self.inside = true;
            }
            let called = self.decoder.call(rest, &mut self.out)?;
            self.at += called.read;
            self.inside = !called.ended;
            match called.written {
                0 if called.read == 0 && self.inside => return Ok(false),
                0 => {}
                written => {
                    self.out.truncate(written);
                    return Ok(true);
                }
            }
        }
    }

    /// Returns what the last step has unpacked.
    pub(crate) fn out(&self) -> &[u8] {
        &self.out
    }

    /// Returns whether the body may end here.
    pub(crate) fn is_whole(&self) -> bool {
        !self.inside && self.at == self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn packed_as(coding: Coding, bytes: &[u8]) -> Vec<u8> {
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

    fn unpacked(coding: Coding, packed: &[u8], size: usize) -> Result<(Vec<u8>, bool), Garbled> {
        let mut unpacker = Unpacker::new(coding)?;
        let mut whole = Vec::new();
        for piece in packed.chunks(size) {
            unpacker.feed(piece);
            while unpacker.step()? {
                whole.extend_from_slice(unpacker.out());
            }
        }
        Ok((whole, unpacker.is_whole()))
    }

    #[test]
    fn a_packed_body_comes_out_in_any_split() {
        let text: Vec<u8> = (0..30_000_u32)
            .flat_map(|number| (number * number).to_le_bytes())
            .collect();
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            for text in [&b"{}"[..], &text] {
                let packed = packed_as(coding, text);
                for size in [1, 7, 4096, packed.len()] {
                    let read = unpacked(coding, &packed, size).unwrap();
                    assert!(read == (text.to_vec(), true), "{coding:?} {size}");
                }
                let (_, whole) = unpacked(coding, &packed[..packed.len() - 1], 7).unwrap();
                assert!(!whole, "{coding:?}");
            }
            assert!(
                unpacked(coding, b"{\"model\":\"m\"}", 3).is_err(),
                "{coding:?}"
            );
        }
        let two = [
            packed_as(Coding::Gzip, b"one"),
            packed_as(Coding::Gzip, b"two"),
        ]
        .concat();
        assert_eq!(
            unpacked(Coding::Gzip, &two, 5),
            Ok((b"onetwo".to_vec(), true))
        );
    }

    /// What is written at once stays small, however much it is that comes packed.
    #[test]
    fn a_little_that_stands_for_much_comes_out_in_steps() {
        let much = vec![b' '; 8 << 20];
        let mut unpacker = Unpacker::new(Coding::Gzip).unwrap();
        unpacker.feed(&packed_as(Coding::Gzip, &much));
        let mut count = 0;
        while unpacker.step().unwrap() {
            assert!(unpacker.out().len() <= STEP);
            count += unpacker.out().len();
        }
        assert_eq!(count, much.len());
    }

    #[test]
    fn how_an_answer_is_packed_is_in_its_head() {
        let head = |codings: &[&str]| {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.insert_header("content-length", "7").unwrap();
            for coding in codings {
                head.append_header("content-encoding", *coding).unwrap();
            }
            head
        };
        for plain in [&[][..], &["identity"], &["identity, "]] {
            assert!(packed(&head(plain)).is_none(), "{plain:?}");
        }
        for known in [
            &["gzip"][..],
            &["X-GZIP"],
            &["identity, zstd"],
            &["deflate"],
        ] {
            let (how, plain) = packed(&head(known)).unwrap();
            assert!(matches!(how, Packed::Known(_)), "{known:?}");
            assert!(plain.headers.is_empty(), "{known:?}");
        }
        for unknown in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"]] {
            let (how, _) = packed(&head(unknown)).unwrap();
            assert!(matches!(how, Packed::Unknown), "{unknown:?}");
        }
    }
}
