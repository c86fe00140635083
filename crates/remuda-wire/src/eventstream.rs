//! Cuts AWS's binary event frames (`application/vnd.amazon.eventstream`) out of pieces that are split
//! anywhere, and writes them. AWS's own crate reads and writes a frame; this finds its ends, and
//! refuses it once its first 12 bytes (total length, headers' length, their CRC-32) are wrong.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;

/// Bytes of one frame's payload and of its headers, as AWS bounds them.
pub const MAX_PAYLOAD: usize = 24 << 20;
pub const MAX_HEADERS: usize = 128 << 10;

/// Total length, headers' length, and the CRC-32 of both.
const PRELUDE: usize = 12;
/// A frame's bytes besides headers and payload: the prelude, and the CRC-32 of all before it.
const OVERHEAD: usize = PRELUDE + 4;
/// What stays allocated for the beginnings of frames between two of them.
const KEPT_CAPACITY: usize = 16 << 10;

/// Why a stream of frames cannot be read on. Whatever follows is not read either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the stream is not one of event frames, or damaged")]
    Damaged,
    #[error(
        "a frame's headers are longer than {MAX_HEADERS} bytes or its payload than {MAX_PAYLOAD}"
    )]
    TooLong,
    #[error("a frame has no message type, or one that is not known")]
    Unknown,
    #[error("the stream ended within a frame")]
    CutShort,
}

/// One frame by its `:message-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `kind` is its `:event-type`.
    Event { kind: &'a str, payload: &'a [u8] },
    /// A failure that the service models; `kind` is its `:exception-type`.
    Exception { kind: &'a str, payload: &'a [u8] },
    /// A failure that it does not: `:error-code` and `:error-message`, each empty if missing.
    Error { code: &'a str, message: &'a str },
}

/// Finds frames in pieces. A frame that lies whole within a piece is read in place.
#[derive(Debug, Default)]
pub struct FrameSplitter {
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
    broken: Option<FrameError>,
}

impl FrameSplitter {
    /// Calls `on` for every frame that ends in `piece`. After an error every call gives that error.
    pub fn feed(&mut self, piece: &[u8], mut on: impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.read(piece, &mut on).inspect_err(|error| {
            self.broken = Some(*error);
            self.partial = Vec::new();
        })
    }

    /// Takes the stream's end: an error if it lies within a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.broken {
            Some(error) => Err(error),
            None if !self.partial.is_empty() => Err(FrameError::CutShort),
            None => Ok(()),
        }
    }

    fn read(&mut self, mut piece: &[u8], on: &mut impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
        while !self.partial.is_empty() && !piece.is_empty() {
            let wanted = frame_length(&self.partial)?.unwrap_or(PRELUDE);
            let (more, rest) = piece.split_at((wanted - self.partial.len()).min(piece.len()));
            piece = rest;
            self.partial.extend_from_slice(more);
            if frame_length(&self.partial)? == Some(self.partial.len()) {
                hand_on(&self.partial, on)?;
                self.partial.clear();
                self.partial.shrink_to(KEPT_CAPACITY);
            }
        }
        while let Some(length) = frame_length(piece)?
            && let Some((frame, rest)) = piece.split_at_checked(length)
        {
            piece = rest;
            hand_on(frame, on)?;
        }
        self.partial.extend_from_slice(piece);
        Ok(())
    }
}

/// Returns the length of the frame that begins `bytes`, once its prelude is there.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some((prelude, _)) = bytes.split_first_chunk::<PRELUDE>() else {
        return Ok(None);
    };
    let number = |at: usize| {
        u32::from_be_bytes([
            prelude[at],
            prelude[at + 1],
            prelude[at + 2],
            prelude[at + 3],
        ])
    };
    let (total, headers) = (number(0) as usize, number(4) as usize);
    if crc32fast::hash(&prelude[..8]) != number(8) {
        return Err(FrameError::Damaged);
    }
    let payload = total
        .checked_sub(headers.saturating_add(OVERHEAD))
        .ok_or(FrameError::Damaged)?;
    if headers > MAX_HEADERS || payload > MAX_PAYLOAD {
        return Err(FrameError::TooLong);
    }
    Ok(Some(total))
}

/// Reads one whole frame.
fn hand_on(frame: &[u8], on: &mut impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
    let message = read_message_from(frame).map_err(|_| FrameError::Damaged)?;
    let text = |name| text_header(message.headers(), name);
    let payload = &message.payload()[..];
    on(match text(":message-type") {
        Some("event") => Frame::Event {
            kind: text(":event-type").ok_or(FrameError::Unknown)?,
            payload,
        },
        Some("exception") => Frame::Exception {
            kind: text(":exception-type").ok_or(FrameError::Unknown)?,
            payload,
        },
        Some("error") => Frame::Error {
            code: text(":error-code").unwrap_or_default(),
            message: text(":error-message").unwrap_or_default(),
        },
        _ => return Err(FrameError::Unknown),
    });
    Ok(())
}

fn text_header<'m>(headers: &'m [Header], name: &str) -> Option<&'m str> {
    let header = headers
        .iter()
        .find(|header| header.name().as_str() == name)?;
    Some(header.value().as_string().ok()?.as_str())
}

/// Appends a frame, its payload marked as JSON. An error if a part is too long for one.
pub fn write(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let (headers, payload): ([(&'static str, &str); 3], &[u8]) = match *frame {
        Frame::Event { kind, payload } => (typed("event", ":event-type", kind), payload),
        Frame::Exception { kind, payload } => {
            (typed("exception", ":exception-type", kind), payload)
        }
        Frame::Error { code, message } => {
            let code = (":error-code", code);
            let message = (":error-message", message);
            ([code, message, (":message-type", "error")], b"")
        }
    };
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameError::TooLong);
    }
    let headers = headers
        .map(|(name, value)| Header::new(name, HeaderValue::String(value.to_owned().into())))
        .into();
    let message = Message::new_from_parts(headers, Bytes::copy_from_slice(payload));
    write_message_to(&message, out).map_err(|_| FrameError::TooLong)
}

fn typed<'a>(
    message_type: &'a str,
    kind_header: &'static str,
    kind: &'a str,
) -> [(&'static str, &'a str); 3] {
    [
        (kind_header, kind),
        (":content-type", "application/json"),
        (":message-type", message_type),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Both read by botocore's decoder too (`crates/remuda-formats/tests/aws/` asks it again).
    const MESSAGE_START: &str = "000000760000005296d5fade0b3a6576656e742d7479706507000c6d6573736167\
        6553746172740d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167\
        652d74797065070005\
        6576656e747b22726f6c65223a22617373697374616e74227d6fa8c599";
    const THROTTLING: &str = "0000008800000061de0175f40f3a657863657074696f6e2d7479706507001374687\
        26f74746c696e67457863657074696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a73\
        6f6e0d3a6d6573736167652d74797065070009657863657074696f6e7b226d657373616765223a22736c6f7720646f7\
        76e227d832ee072";

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn event(kind: &str, payload: &str) -> String {
        format!(
            "{:?}",
            Frame::Event {
                kind,
                payload: payload.as_bytes()
            }
        )
    }

    fn exception(kind: &str, payload: &str) -> String {
        format!(
            "{:?}",
            Frame::Exception {
                kind,
                payload: payload.as_bytes()
            }
        )
    }

    fn written(frames: &[Frame<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            write(frame, &mut out).unwrap();
        }
        out
    }

    /// The frames of `pieces`, and how the stream ended.
    fn split(pieces: &[&[u8]]) -> (Vec<String>, Result<(), FrameError>) {
        let mut splitter = FrameSplitter::default();
        let mut frames = Vec::new();
        for piece in pieces {
            let _ = splitter.feed(piece, |frame| frames.push(format!("{frame:?}")));
        }
        (frames, splitter.finish())
    }

    #[test]
    fn reads_golden_frames_at_every_split() {
        let error = Frame::Error {
            code: "InternalFailure",
            message: "né",
        };
        let stream = [
            from_hex(MESSAGE_START),
            from_hex(THROTTLING),
            written(&[error]),
        ]
        .concat();
        let expected = [
            event("messageStart", r#"{"role":"assistant"}"#),
            exception("throttlingException", r#"{"message":"slow down"}"#),
            format!("{error:?}"),
        ];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                let (frames, end) = split(&pieces);
                assert_eq!(frames, expected, "{first} {second}");
                assert_eq!(end, Ok(()));
            }
        }
        let (frames, end) = split(&stream.chunks(1).collect::<Vec<_>>());
        assert_eq!((frames.as_slice(), end), (&expected[..], Ok(())));
    }

    #[test]
    fn writes_golden_frames() {
        let start = Frame::Event {
            kind: "messageStart",
            payload: br#"{"role":"assistant"}"#,
        };
        let slow = Frame::Exception {
            kind: "throttlingException",
            payload: br#"{"message":"slow down"}"#,
        };
        assert_eq!(written(&[start]), from_hex(MESSAGE_START));
        assert_eq!(written(&[slow]), from_hex(THROTTLING));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let frame = from_hex(MESSAGE_START);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                split(&[&damaged]),
                (vec![], Err(FrameError::Damaged)),
                "{bit}"
            );
        }
    }

    #[test]
    fn json_is_no_frame() {
        let json = br#"{"message":"The security token included in the request is invalid."}"#;
        assert_eq!(split(&[json]).1, Err(FrameError::Damaged));
    }

    #[test]
    fn a_broken_stream_stays_broken() {
        let frame = from_hex(MESSAGE_START);
        assert_eq!(
            split(&[&[0; 12], &frame]),
            (vec![], Err(FrameError::Damaged))
        );
        let (frames, end) = split(&[&frame, &frame[..20]]);
        assert_eq!((frames.len(), end), (1, Err(FrameError::CutShort)));
    }

    /// A frame of raw headers with right checksums, whose lengths may lie.
    fn raw_frame(headers: &[u8], payload: &[u8], total: usize, claimed: usize) -> Vec<u8> {
        let mut frame = [(total as u32).to_be_bytes(), (claimed as u32).to_be_bytes()].concat();
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(headers);
        frame.extend_from_slice(payload);
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_kept() {
        let lengths = [
            (MAX_PAYLOAD + OVERHEAD, 0, Ok(())),
            (MAX_PAYLOAD + OVERHEAD + 1, 0, Err(FrameError::TooLong)),
            (MAX_HEADERS + OVERHEAD, MAX_HEADERS, Ok(())),
            (
                MAX_HEADERS + OVERHEAD + 1,
                MAX_HEADERS + 1,
                Err(FrameError::TooLong),
            ),
            (OVERHEAD, 0, Ok(())),
            (OVERHEAD - 1, 0, Err(FrameError::Damaged)),
            (
                u32::MAX as usize,
                u32::MAX as usize,
                Err(FrameError::Damaged),
            ),
        ];
        for (total, headers, expected) in lengths {
            let prelude = &raw_frame(b"", b"", total, headers)[..PRELUDE];
            let mut splitter = FrameSplitter::default();
            let fed = splitter.feed(prelude, |frame| panic!("{frame:?}"));
            assert_eq!(fed, expected, "{total} {headers}");
        }
        let payload = vec![b' '; MAX_PAYLOAD + 1];
        let long = Frame::Event {
            kind: "chunk",
            payload: &payload,
        };
        assert_eq!(write(&long, &mut Vec::new()), Err(FrameError::TooLong));
    }

    #[test]
    fn frames_of_unknown_types_end_the_stream() {
        let text = |name: &str, value: &str| {
            let mut header = vec![name.len() as u8];
            header.extend_from_slice(name.as_bytes());
            header.extend([7, 0, value.len() as u8]);
            header.extend_from_slice(value.as_bytes());
            header
        };
        for headers in [
            vec![],
            text(":message-type", "shout"),
            text(":message-type", "event"),
            text(":message-type", "exception"),
            // Its value is no text.
            b"\x0d:message-type\x00".to_vec(),
        ] {
            let frame = raw_frame(&headers, b"{}", OVERHEAD + headers.len() + 2, headers.len());
            assert_eq!(
                split(&[&frame]),
                (vec![], Err(FrameError::Unknown)),
                "{headers:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn takes_any_bytes(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = split(&pieces);
        }

        #[test]
        fn takes_any_headers_with_right_checksums(
            headers in prop::collection::vec(any::<u8>(), 0..64),
            near in prop::collection::vec(
                prop_oneof![Just(0u8), Just(1), Just(7), Just(9), Just(b'a'), any::<u8>()], 0..48
            ),
            payload in prop::collection::vec(any::<u8>(), 0..8),
            lie in -3i64..4,
        ) {
            for headers in [headers, near] {
                let total = OVERHEAD + headers.len() + payload.len();
                let claimed = (headers.len() as i64 + lie).max(0) as usize;
                let _ = split(&[&raw_frame(&headers, &payload, total, claimed)]);
            }
        }

        #[test]
        fn gives_back_what_was_written_in_any_split(
            frames in prop::collection::vec(("[a-zé]{0,20}", "[a-z{}\"é]{0,200}", 0..3), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let frames: Vec<Frame<'_>> = frames
                .iter()
                .map(|(kind, text, which)| match which {
                    0 => Frame::Event { kind, payload: text.as_bytes() },
                    1 => Frame::Exception { kind, payload: text.as_bytes() },
                    _ => Frame::Error { code: kind, message: text },
                })
                .collect();
            let stream = written(&frames);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let expected = frames.iter().map(|frame| format!("{frame:?}")).collect();
            prop_assert_eq!(split(&pieces), (expected, Ok(())));
        }
    }
}
